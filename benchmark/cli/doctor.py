"""`hakuna doctor`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    pass


def doctor(
    gpu: Annotated[bool, typer.Option("--gpu", help="A GPU must be usable; exit 10 if it is not.")] = False,
    out: Annotated[Path | None, typer.Option(help="Output folder that must be writable.")] = None,
    scratch: Annotated[Path | None, typer.Option(help="Scratch folder that must be writable.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Check this machine: versions, one convolution on every device, one prediction that is known, writable folders.

    Exit codes: 10 no usable GPU, 4 a wrong prediction, 5 a folder that is not writable, 1 anything else.

    Example: hakuna doctor --out results
    """
    from benchmark.rehearsal.settings import load_contract_settings
    from benchmark.sandbox.contract import CONTRACT_OUT
    from benchmark.selftest import doctor as module

    used_scratch = scratch or load_contract_settings().scratch or Path(tempfile.gettempdir())
    used_out = out or (CONTRACT_OUT if CONTRACT_OUT.is_dir() else None)
    folders = {"scratch": used_scratch} | ({"output": used_out} if used_out else {})
    checks = module.examine(gpu=gpu, folders=folders)
    code = module.exit_code(checks)
    if as_json:
        typer.echo(json.dumps({"exit_code": code, "checks": [vars(check) for check in checks]}, indent=1))
    else:
        from rich.console import Console
        from rich.table import Table

        table = Table("check", "outcome", "found")
        for check in checks:
            table.add_row(check.name, check.outcome.value, check.found)
        Console().print(table, markup=False, highlight=False)
    if code:
        failed = [check.name for check in checks if check.outcome is module.CheckResult.FAILED]
        typer.echo(f"hakuna: doctor: {', '.join(failed)}", err=True)
        raise typer.Exit(code)
