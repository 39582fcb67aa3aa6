"""Settings stop at the door."""

from __future__ import annotations

import pytest

from inference.domain import UsageError
from inference.settings import load_settings


def test_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAKUNA_WORKERS", "3")
    monkeypatch.setenv("HAKUNA_BATCH_SIZE", "5")
    settings = load_settings(workers=7, batch_size=None)
    assert (settings.workers, settings.batch_size) == (7, 5)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"HAKUNA_WROKERS": "3"}, "got HAKUNA_WROKERS"),
        ({"HAKUNA_WORKERS": "0"}, "setting workers: .* greater than or equal to 1, got '0'"),
        ({"HAKUNA_LOG_FORMAT": "xml"}, "setting log_format"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    variables: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=message) as error:
        load_settings()
    assert error.value.exit_code == 2
