"""`hakuna verify`."""

from inference.cli import options
from inference.cli.printing import say, show_or_write
from inference.cli.session import working
from inference.core.errors import counted


def verify(
    run: options.Run,
    records: options.Records = None,
    json: options.JsonTarget = None,
) -> None:
    """Check the files of a finished run: their fields, the hashes in run.json, the checksum and place of every record.

    A run that its budget ended needs only the records of its final rows. `hakuna merge` checks the order of shards.

    Examples:
        hakuna verify results
    """
    from inference.outputs.verify import verify_run

    with working("checking the run"):
        found = verify_run(run, records)
    counts = f"{counted(found['sequences'], 'sequence')}, {counted(found['records'], 'record')}"
    line = f"{run}: intact, {found['status']}, {counts}; checked {', '.join(found['files'])}"
    show_or_write(found, json, lambda: say(line))
