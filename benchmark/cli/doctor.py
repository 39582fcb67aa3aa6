"""`hakuna doctor`."""

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmark.cli.bench.request import command_line
from benchmark.sandbox.contract import CONTRACT_OUT
from inference.cli.options import JsonTarget
from inference.cli.printing import print_table, show_or_write
from inference.core.errors import UsageError


def doctor(
    gpu: Annotated[bool, typer.Option("--gpu", help="A GPU must be usable; exit 10 if it is not.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Output folder that must be writable; default: that of the container, if it is there."),
    ] = None,
    scratch: Annotated[
        Path | None,
        typer.Option(
            help="Scratch folder that must be writable; default: HAKUNA_SCRATCH, else that for temporary files."
        ),
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help="Also measure speed, answers and resuming (10 minutes), with --gpu on the GPU; else a rehearsal on the CPU.",
        ),
    ] = False,
    bundle: Annotated[
        Path | None,
        typer.Option(help="Model bundle for --full; default: untrained networks as large as the published ones."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="Photos for --full, with test_metadata.csv; default: drawn photos."
        ),
    ] = None,
    device_profile: Annotated[
        str | None,
        typer.Option(help="Profile whose assumptions --full checks; default: that of the GPU, or v100 in a rehearsal."),
    ] = None,
    json: JsonTarget = None,
) -> None:
    """Check this machine: versions, one convolution on every device, one known prediction, writable folders.

    Exit codes: 10 no usable GPU, 4 a wrong prediction, 5 a folder that is not writable, 1 anything else.

    Examples:
        hakuna doctor --out results
        hakuna doctor --gpu --full --json gpu.json
    """
    if not full and (
        given := [
            name for name, one in (("--bundle", bundle), ("--data", data), ("--device-profile", device_profile)) if one
        ]
    ):
        raise UsageError(f"{given[0]}: must come with --full")
    from benchmark.capacity.device_profiles import load_profile
    from benchmark.rehearsal.settings import load_contract_settings
    from benchmark.selftest import doctor as module

    profile = load_profile(device_profile) if device_profile else None
    used_scratch = scratch or load_contract_settings().scratch or Path(tempfile.gettempdir())
    used_out = out or (CONTRACT_OUT if CONTRACT_OUT.is_dir() else None)
    folders = {"scratch": used_scratch} | ({"output": used_out} if used_out else {})
    checks = module.examine(gpu=gpu, folders=folders)
    measured: dict[str, Any] = {}
    if full:
        measured = module.examine_fully(
            checks,
            gpu=gpu,
            bundle=bundle,
            data=data,
            profile=profile,
            scratch=used_scratch,
            command=command_line(),
        )
    code = module.exit_code(checks)
    figures = {"exit_code": code, "checks": [vars(check) for check in checks]} | measured

    def show() -> None:
        print_table(((check.name, check.outcome.value, check.found) for check in checks), "check", "outcome", "found")
        if decided := measured.get("decisions"):
            shown = (tuple(str(one) for one in decision.values()) for decision in decided)
            print_table(shown, f"assumption of {measured['profile']}", "assumed", "measured", "verdict")

    show_or_write(figures, json, show)
    if code:
        failed = [check.name for check in checks if check.outcome is module.CheckResult.FAILED]
        typer.echo(f"hakuna: doctor: {', '.join(failed)}", err=True)
        raise typer.Exit(code)
