"""Judges the figures of the full check: each function returns a complaint, or None."""

from typing import Any

from inference.core.choices import DecoderName, Precision

LARGEST_DIFFERENCE = 2e-4
"""Of a probability in float32 from that of the CPU, or from that of the same run without a kill on a GPU."""
NEARLY_EQUAL = 0.9
"""Share of DALI's values that equal Pillow's; the others may differ by one. A GPU has an inverse transform of its own."""
LARGEST_ERROR = 0.25
"""Of the projected time of a run on a GPU."""


def about_pixels(decoders: dict[str, dict[str, Any]]) -> str | None:
    """`fast` must have Pillow's pixels, DALI nearly, and neither may have left photos to another decoder."""
    for name, one in decoders.items():
        least, most = (NEARLY_EQUAL, 1) if name == DecoderName.DALI else (1.0, 0)
        if one["photos_left_to_another_decoder"]:
            return f"decoder {name}: must decode each photo itself, got {one['photos_left_to_another_decoder']} left"
        if one["values_equal_to_pillow"] < least or one["largest_difference"] > most:
            return f"decoder {name}: must have the pixels of Pillow, got {one}"
    return None


def about_answers(figures: dict[str, Any], *, supports_mixed: bool) -> str | None:
    """float32 must be that of the CPU; mixed precision must be used where there is any, and hold."""
    difference, increase = (
        figures["largest_difference_in_float32"],
        figures["relative_loss_increase_in_mixed_precision"],
    )
    if not difference <= LARGEST_DIFFERENCE:
        return f"float32: must differ by at most {LARGEST_DIFFERENCE:g} from the CPU, got {difference:.2g}"
    if supports_mixed and figures["precision"]["used"] != Precision.MIXED:
        return f"mixed precision: must hold, got {figures['precision']}"
    if not increase <= figures["bound"]:
        return f"mixed precision: must increase the loss by at most {figures['bound']:g}, got {increase:.2g}"
    return None


def about_resuming(figures: dict[str, Any], *, is_exact: bool) -> str | None:
    """A run must have been killed between its records, and its resumption must keep them and give the same answers."""
    before, n_all = figures["records_before_the_kill"], figures["records_in_all"]
    if not figures["was_killed"] or not 0 < before < n_all:
        return f"kill: must come between the records of a run, got {before} of {n_all} before it"
    if not figures["records_kept"]:
        return "records: must be kept byte for byte by a resumed run, got others"
    difference, most = figures["largest_difference"], 0.0 if is_exact else LARGEST_DIFFERENCE
    if not difference <= most:
        return f"submission: must differ by at most {most:g} from that of a run without a kill, got {difference:.2g}"
    return None


def about_speed(figures: dict[str, dict[str, Any]]) -> str | None:
    """A GPU must have been watched, and must have worked."""
    for precision, one in figures.items():
        if one["gpu_idle_share"] is None or one["gpu_memory_mib"] is None:
            return f"{precision}: nvidia-smi must report the load and memory of the GPU, got none"
        if one["gpu_idle_share"] == 1:
            return f"{precision}: the GPU must work during the run, got no moment in which it did"
    return None


def about_projection(figures: dict[str, dict[str, Any]]) -> str | None:
    """Runs on a GPU must take the time that the measured rates project."""
    for precision, one in figures.items():
        if abs(one["error"]) > LARGEST_ERROR:
            return f"{precision}: must be projected within {LARGEST_ERROR:.0%}, got an error of {one['error']:+.0%}"
    return None
