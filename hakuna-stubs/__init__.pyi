# A single module cannot carry `py.typed`: type checkers read this instead of hakuna.py.
from benchmark.scoring.files import score as score
from inference.api import export as export
from inference.api import merge as merge
from inference.api import open_bundle as open_bundle
from inference.api import plan as plan
from inference.api import predict as predict
from inference.api import read_run as read_run
from inference.api import restack as restack
from inference.core.errors import HakunaError as HakunaError

__version__: str

def main() -> None: ...
