"""Settings stop at the door."""

from __future__ import annotations

import pytest

from benchmark.rehearsal.settings import load_contract_settings
from inference.core.choices import DEFAULT_BATCH_SIZE, DecoderName
from inference.core.errors import UsageError
from inference.settings.settings import load_settings


def test_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAKUNA_WORKERS", "3")
    monkeypatch.setenv("HAKUNA_BATCH_SIZE", "5")
    settings = load_settings(workers=7, batch_size=None)
    assert (settings.workers, settings.batch_size) == (7, 5)


def test_the_environment_wins_over_the_defaults_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAKUNA_DECODER", "fast")
    monkeypatch.setenv("HAKUNA_IMAGE", "mine:1")
    monkeypatch.setenv("hakuna_read_timeout", "2m")
    monkeypatch.setenv("HAKUNA_BATCH_SIZE", "")
    assert load_settings().sequences_per_batch == DEFAULT_BATCH_SIZE
    assert (load_settings().decoder, load_settings().read_timeout) == (DecoderName.FAST, 120)
    assert load_contract_settings().image == "mine:1"
    assert load_contract_settings(image="other:1").image == "other:1"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"HAKUNA_WROKERS": "3"}, "got HAKUNA_WROKERS"),
        ({"HAKUNA_WORKERS": "0"}, "^HAKUNA_WORKERS: must be greater than or equal to 1, got '0'$"),
        ({"HAKUNA_LOG_FORMAT": "xml"}, "^HAKUNA_LOG_FORMAT: must be 'auto', 'console' or 'json', got 'xml'$"),
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
    assert "HAKUNA_REQUIRE" not in str(error.value), "variables of the tests"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("8h", 28800),
        ("1h30m", 5400),
        ("90m", 5400),
        ("45s", 45),
        ("45", 45),
        ("1.5h", 5400),
        ("1h0m5s", 3605),
        (" 1 h 30 m ", 5400),
        ("8 h", 28800),
    ],
)
def test_durations_are_written_as_people_do(text: str, seconds: float) -> None:
    assert load_settings(budget=text).budget == seconds


@pytest.mark.parametrize("text", ["", "h", "8 hours", "1 2h", "9000h", "1e400", "-1h", "30m1h", "0", "nan"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="^--budget: must be"):
        load_settings(budget=text)


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), ("0%", 0), ("100%", 1), ("0.02", 0.02)])
def test_shares_can_be_percentages(text: str, share: float) -> None:
    assert load_settings(max_failures=text).max_failures == share


@pytest.mark.parametrize("text", ["101%", "-1%", "5", 5, "some", "-1"])
def test_what_is_no_share_is_refused(text: str | int) -> None:
    with pytest.raises(UsageError, match="^--max-failures: must be") as error:
        load_settings(max_failures=text)
    assert ("did you mean 5%?" in str(error.value)) == (str(text) == "5")
