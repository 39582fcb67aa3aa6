"""`status.json`, rewritten every few seconds."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from inference.core.errors import InterruptedRunError, OutputError
from inference.core.files import write_json
from inference.process.lock import OutputFolder
from inference.process.progress import COMPLETE, FAILED, HEARTBEAT_SECONDS, INTERRUPTED, STATUS_NAME, RunState

log = structlog.get_logger()


@contextmanager
def heartbeat(
    state: RunState, folder: OutputFolder, seconds: float = HEARTBEAT_SECONDS
) -> Iterator[Callable[[str], None]]:
    """Rewrite `status.json` every few seconds, whatever the run is doing; the last one shows how the run ended.

    Yields a function that writes the last one, with this stage, for a thread that ends the process.
    """
    stopped = threading.Event()
    path = folder / STATUS_NAME

    def write(**changed: object) -> None:
        write_json({**state.as_status(), **changed}, path)

    def try_to_write(**changed: object) -> None:
        try:
            write(**changed)
        except OutputError as error:
            # If it matters, the run fails with the same error. It must not hide the error that ended the run.
            log.warning("heartbeat", error=str(error))

    def beat() -> None:
        while not stopped.wait(seconds):
            try_to_write()

    def end(stage: str) -> None:
        state.stage = stage
        stopped.set()
        thread.join()
        try_to_write(stage=stage)  # the run itself may be entering another one

    write()
    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield end
    except BaseException as error:
        end(INTERRUPTED if isinstance(error, InterruptedRunError) else FAILED)
        raise
    end(COMPLETE)
