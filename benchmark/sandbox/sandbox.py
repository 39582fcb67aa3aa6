"""The place where a participant's program runs, and its isolation."""

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmark.sandbox import bubblewrap, landlock
from benchmark.sandbox.contract import MODELS_FOLDER, SUBMISSION_FOLDER, Rule
from benchmark.sandbox.isolated_python import python_without_ours
from inference.core.errors import HakunaError, OutputError
from inference.core.files import os_errors, output_errors, remove_tree, walk
from inference.dataset.metadata import FORMAT_NAME
from models.spec.contract import SERENGETI_2019, Contract

PASSED_ON = frozenset(
    {
        *("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH"),
        *("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"),
        *("NVIDIA_TF32_OVERRIDE", "XLA_FLAGS", "TF_XLA_FLAGS", "TF_ENABLE_ONEDNN_OPTS", "TF_DETERMINISTIC_OPS"),
        *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "TF_FORCE_GPU_ALLOW_GROWTH", "TF_CPP_MIN_LOG_LEVEL"),
        *("OMP_NUM_THREADS", "OMP_PROC_BIND", "OMP_PLACES", "KMP_AFFINITY", "KMP_BLOCKTIME"),
        *("MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
    }
)
"""Variables that a participant's program gets: facts of the machine and settings of its libraries.
Names that only begin alike may be secrets: Terraform reads TF_TOKEN_*."""
SUPERVISED = (Rule.TIME, Rule.PROCESS_END, Rule.PACKAGES)
"""Rules that are enforced wherever a program runs."""
READ_THE_FORMAT = f"open('{{}}/{FORMAT_NAME}').close()"
"""The first program in every isolated place: its failure is not the participant's fault."""


@dataclass(frozen=True)
class Sandbox:
    """A place for one run of a program.

    Attributes
    ----------
    work : the contract's root, with its folders, which are empty but for the data
    python : the interpreter for it
    prefix : words before its command
    environment : its variables
    runner : description of this place, for people
    enforced, not_enforced : rules of the contract
    owner : user on this machine that its command runs as, None if it is the one who starts it
    """

    work: Path
    python: Path
    prefix: tuple[str, ...]
    environment: dict[str, str]
    runner: str
    enforced: tuple[str, ...]
    not_enforced: tuple[str, ...] = ()
    owner: int | None = None

    def hand_over(self, folder: Path) -> None:
        """Give a folder and its whole content to the program's user, before it runs."""
        if self.owner is None or not folder.exists():
            return
        for parent, _, files in walk(folder):
            for name in (".", *files):
                with output_errors(folder):
                    os.chown(os.path.join(parent, name), self.owner, self.owner, follow_symlinks=False)


@contextmanager
def in_container(
    root: Path, data: Path, scratch: Path | None, contract: Contract = SERENGETI_2019
) -> Iterator[Sandbox]:
    """The container's own `root` if it is writable and nothing but mounts, else a scratch folder with a link to the data.

    The surroundings of the container (network, privileges, memory) are the responsibility of the person who started it.
    """
    named = (contract.data, contract.models, *contract.reserved, SUBMISSION_FOLDER, MODELS_FOLDER)
    mounts = {one.partition("/")[0] for one in named if one}
    with scratch_folder(scratch) as folder:
        use_root = (
            os.access(root, os.W_OK | os.X_OK)
            and {one.name for one in root.iterdir()} <= mounts
            and (root / contract.data).is_dir()
        )
        try:
            yield Sandbox(
                work=_with_folders(root, contract)
                if use_root
                else _with_links(folder, contract.mounts(data), contract),
                python=python_without_ours(folder / "python"),
                prefix=(),
                environment=_environment(str(folder / "tmp"), os.environ.get("HOME")),
                runner="container",
                enforced=SUPERVISED,
            )
        finally:
            if use_root:
                _remove_all_but(mounts, root)


@contextmanager
def in_bubblewrap(
    data: Path,
    scratch: Path | None,
    hidden: tuple[Path, ...] = (),
    contract: Contract = SERENGETI_2019,
    models: Path | None = None,
) -> Iterator[Sandbox]:
    """A place where a program sees the contract's folders and the system's programs, and nothing else of this machine.

    `hidden` are files that it must not read, such as labels beside the data; `models` is for the contract's place of
    that name. Raises HakunaError if a program cannot be started there.
    """
    with scratch_folder(scratch) as folder:
        work, temporary = _with_folders(folder / "work", contract), folder / "tmp"
        mounts = contract.mounts(data, models)
        with output_errors(work):
            for name in mounts:
                (work / name).mkdir(parents=True, exist_ok=True)
            for name in (".", contract.start):  # whatever the umask: bwrap enters it before it becomes the owner
                (work / name).chmod(0o755)
        python = python_without_ours(folder / "python")
        programs = bubblewrap.files_of_interpreter(python)
        sandbox = Sandbox(
            work=work,
            python=python,
            prefix=bubblewrap.prefix(contract, work, mounts, temporary, programs, hidden),
            environment=_environment("/tmp"),  # noqa: S108  # its own
            runner="bubblewrap",
            enforced=_all_but(Rule.MEMORY),
            not_enforced=(
                Rule.MEMORY,
                "limits of processes and disk space",
                "system programs and settings are in sight",
            ),
            owner=bubblewrap.owner(),
        )
        for one in (work, temporary, folder / "python"):
            sandbox.hand_over(one)
        first = READ_THE_FORMAT.format(contract.from_start(contract.data))
        complaint = bubblewrap.complaint_of([*sandbox.prefix, str(python), "-I", "-S", "-c", first])
        if complaint:
            user = os.geteuid() if sandbox.owner is None else sandbox.owner
            raise HakunaError(
                f"bubblewrap: a program of user {user} must be able to start and to read {data}, got: {complaint}"
            )
        yield sandbox


@contextmanager
def in_process(
    data: Path,
    scratch: Path | None,
    hidden: tuple[Path, ...] = (),
    contract: Contract = SERENGETI_2019,
    models: Path | None = None,
) -> Iterator[Sandbox]:
    """A folder without isolation; `hidden` are files that the program must not read, if the kernel can hide them."""
    prefix = (sys.executable, "-I", "-S", landlock.__file__, *(str(one.resolve()) for one in hidden), "--")
    if not hidden or bubblewrap.complaint_of([*prefix, "/bin/true"]):
        prefix = ()
    enforced = (*SUPERVISED, Rule.LABELS) if prefix else SUPERVISED
    with scratch_folder(scratch) as folder:
        yield Sandbox(
            work=_with_links(folder, contract.mounts(data, models), contract),
            python=python_without_ours(folder / "python"),
            prefix=prefix,
            environment=_environment(str(folder / "tmp")),
            runner="process",
            enforced=enforced,
            not_enforced=(*_all_but(*enforced), f"{contract.root} exists"),
        )


def _all_but(*rules: Rule) -> tuple[Rule, ...]:
    return tuple(rule for rule in Rule if rule not in rules)


def _environment(temporary: str, home: str | None = None) -> dict[str, str]:
    """Some of the variables that this process was started with (our packages set more on import), and ours."""
    given = (one.partition("=") for one in os.fsdecode(Path("/proc/self/environ").read_bytes()).split("\0"))
    passed_on = {name: value for name, _, value in given if name in PASSED_ON}
    own = dict.fromkeys(("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONNOUSERSITE"), "1")
    return {**passed_on, "HOME": temporary if home is None else home, "TMPDIR": temporary, **own}


@contextmanager
def scratch_folder(parent: Path | None) -> Iterator[Path]:
    """A new folder on disk, with a folder `tmp` in it, that is removed afterwards with its content."""
    with os_errors(OutputError, f"{parent or tempfile.gettempdir()} must be writable (HAKUNA_SCRATCH)"):
        folder = Path(tempfile.mkdtemp(prefix="hakuna-entry-", dir=parent))
    try:
        (folder / "tmp").mkdir()
        yield folder
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    with suppress(OSError):  # files of another user, for example: not an error of the run
        remove_tree(folder)


def _remove_all_but(mounts: set[str], root: Path) -> None:
    """Remove the files that the archive and its program left in the container's root, which was empty before."""
    for one in root.iterdir():
        if one.name in mounts:
            continue
        if one.is_dir() and not one.is_symlink():
            _remove(one)
        else:
            with output_errors(one):
                one.unlink()


def _with_folders(work: Path, contract: Contract) -> Path:
    """A root with the folders of the contract, except those with data and models."""
    with output_errors(work):
        for one in (contract.code, contract.start, contract.out, *contract.writable):
            (work / one).mkdir(parents=True, exist_ok=True)
    return work


def _with_links(folder: Path, mounts: Mapping[str, Path], contract: Contract) -> Path:
    work = _with_folders(folder / "work", contract)
    for name, source in mounts.items():
        with output_errors(work / name):
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).symlink_to(source.resolve(), target_is_directory=True)
    return work
