"""The outputs on the page of examples, from its commands: `make examples`.

Prose and commands are edited on the page. The block `text` below each command is made here.
"""

import shlex
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from runtime_tests.examples import PAGE, VARIABLES, prepare, run_examples
from runtime_tests.running import HAKUNA, environment


def printed(command: str, folder: str) -> str:
    """Everything that a command prints, in its order."""
    words = [sys.executable, str(HAKUNA), *shlex.split(command)[1:]]
    result = subprocess.run(  # noqa: S603  # commands of our page
        words,
        cwd=folder,
        env=environment(**VARIABLES),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,  # an example may show a failure
    )
    return result.stdout


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    with TemporaryDirectory() as desk:
        prepare(Path(desk))
        for example, output in run_examples(lambda command: printed(command, desk), ("sh", "console")):
            text = text.replace(example[0], example[0].replace(f"```text\n{example[3]}", f"```text\n{output}"))
    PAGE.write_text(text, encoding="utf-8")
