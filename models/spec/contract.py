"""A competition's contract as data: folders, files, variables and limits of a program."""

import posixpath
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, ValidationError, model_validator

from inference.core.config_files import Strict, first_problem, load_toml
from inference.core.errors import UsageError
from inference.outputs.submission import SUBMISSION_NAME
from inference.settings.units import LONGEST_SECONDS, Seconds
from models.spec.kinds import DEFAULT_CONTRACT

CONTRACTS_FOLDER = Path(__file__).parents[1] / "contracts"
SYSTEM_FOLDERS = frozenset(
    {
        *("bin", "sbin", "lib", "lib32", "lib64", "usr", "etc", "boot", "dev", "proc", "sys"),
        *("home", "run", "tmp", "var", "scratch"),
    }
)
"""First parts of paths that a contract must leave to the system and to our image."""
OUR_FOLDERS = ("/opt/hakuna", "/opt/venv")
"""Of our image, which a mount would hide."""


def _below(path: str) -> str:
    if not path.isprintable() or ":" in path or posixpath.normpath(path) != path or path.startswith(("/", "..")):
        raise ValueError(f"must be a path below the root such as data, without '..' and ':', got {path!r}")
    return path


def _root(path: str) -> str:
    place = PurePosixPath(path)
    if place != PurePosixPath("/"):
        _below(path.removeprefix("/"))
    if (
        not place.root
        or place == PurePosixPath("/")
        or path == "/opt"
        or place.parts[1] in SYSTEM_FOLDERS
        or any(map(place.is_relative_to, OUR_FOLDERS))
    ):
        raise ValueError(f"must be an absolute path outside the system's folders, got {path!r}")
    return path


Below = Annotated[str, AfterValidator(_below)]
Lines = Annotated[
    tuple[str, ...], BeforeValidator(lambda given: (given,) * bool(given) if isinstance(given, str) else given)
]
TimeLimit = Annotated[Seconds, Field(gt=0, le=LONGEST_SECONDS)]


class Smoke(Strict):
    """A first run on a few sequences."""

    sequences: int = Field(gt=0)
    time_limit: TimeLimit
    environment: dict[str, str] = Field(default_factory=dict)
    """Variables besides those of the contract."""


class Contract(Strict):
    """Folders, files, variables and limits of a competition. All paths but `root` are below `root`."""

    format_version: Literal[1]
    name: str
    description: str
    sources: tuple[str, ...] = ()
    """Sources of the facts, for readers."""
    root: Annotated[str, AfterValidator(_root)]
    start: Below
    """Folder in which the program is started."""
    code: Below
    """Folder into which the archive is unpacked."""
    entry: Annotated[Below, Field(pattern=r"^[^/]+\.py$")]
    """File at the archive's root that Python runs."""
    data: Below
    """Photos, metadata and submission format, read-only."""
    models: Below | None = None
    """Folder of models that the platform brings, read-only."""
    submission: Below
    """File that the program must write."""
    writable: tuple[Below, ...]
    """Folders that the program may write to, besides /tmp; "." is all of them but the data."""
    reserved: tuple[Below, ...] = ()
    """Folders of the platform, which an archive must not bring."""
    files: dict[Below, Lines] = Field(default_factory=dict)
    """Further files that the archive must have, each with a line of which it must hold one ("" for none)."""
    environment: dict[str, str] = Field(default_factory=dict)
    budget_variable: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Variable with the seconds that are left when the program starts, where the platform sets one."""
    network: StrictBool
    """Whether the competition has one. A rehearsal never has."""
    time_limit: TimeLimit
    """In seconds, or a duration like `8h`; includes the unpacking."""
    memory_gib: float | None = Field(default=None, gt=0)
    base_image: str | None = None
    """Docker image that the competition's own is built on, for readers."""
    smoke: Smoke

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if posixpath.basename(self.submission) != SUBMISSION_NAME:
            raise ValueError(f"submission: must be a path of {SUBMISSION_NAME}, got {self.submission!r}")
        for name, folder in {"data": self.data, **({"models": self.models} if self.models else {})}.items():
            for one in (self.code, self.start, self.submission):
                if PurePosixPath(one).is_relative_to(folder):
                    raise ValueError(f"{name}: must be a folder of its own, got {folder!r}, which holds {one!r}")
        if not any(PurePosixPath(self.submission).is_relative_to(one) for one in self.writable):
            raise ValueError(f"writable: must hold {self.submission}, got {', '.join(self.writable) or 'nothing'}")
        return self

    def path(self, name: str) -> str:
        """Absolute path of something below the root, as the program sees it."""
        return posixpath.normpath(posixpath.join(self.root, name))

    def from_start(self, name: str) -> str:
        """Path of something below the root, from the folder in which the program is started."""
        return posixpath.relpath(self.path(name), self.path(self.start))

    def mounts(self, data: Path, models: Path | None = None) -> dict[str, Path]:
        """Folders of this machine that a program sees read-only, by their places below the root."""
        return {self.data: data} | ({self.models: models} if self.models and models else {})

    @property
    def out(self) -> str:
        """Folder of the submission."""
        return posixpath.dirname(self.submission) or "."

    @property
    def main(self) -> str:
        """The file that Python runs, from the folder in which it is started."""
        return self.from_start(posixpath.join(self.code, self.entry))

    def variables(self, seconds_left: float) -> dict[str, str]:
        """Variables of a program that starts now."""
        budget = {self.budget_variable: f"{seconds_left:.1f}"} if self.budget_variable else {}
        return self.environment | budget

    @property
    def reserved_names(self) -> frozenset[str]:
        """First parts of paths, in lower case, that an archive must not have."""
        inside = (PurePosixPath(one) for one in (self.data, self.models, *self.reserved) if one)
        names = (one.relative_to(self.code).parts[:1] for one in inside if one.is_relative_to(self.code))
        return frozenset(name.casefold() for parts in names for name in parts)

    def for_smoke(self) -> Self:
        """The contract of a smoke run."""
        return self.model_copy(update={"environment": self.environment | self.smoke.environment})


def load_contract(name_or_path: str) -> Contract:
    """Read a contract of the project by name, or any by path. Raises UsageError."""
    return load_toml("--contract", name_or_path, Contract, folder=CONTRACTS_FOLDER)


def read_handed_over(path: Path) -> Contract:
    """Read a contract as `Contract.model_dump_json` writes it. Raises UsageError."""
    try:
        return Contract.model_validate_json(path.read_bytes())
    except ValidationError as problem:
        raise UsageError(f"--contract {path}: {first_problem(problem, Contract)}") from problem
    except OSError as problem:
        raise UsageError(f"--contract {path}: must be a readable file, got: {problem.strerror}") from problem


SERENGETI_2019 = load_contract(DEFAULT_CONTRACT)
