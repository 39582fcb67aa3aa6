"""Which precision a run uses, on every processor: the engine is a stand-in whose lower precisions add noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inference import api
from inference.bundle.reader import Bundle
from inference.core.choices import Precision
from inference.core.errors import BundleError, CheckpointError, UsageError
from inference.execution.executor import Block
from inference.execution.job import RunOptions
from inference.execution.local_executor import LocalExecutor
from inference.process.progress import Progress
from inference.settings.cache import CACHE_VARIABLE
from runtime_tests.running import ignore_progress, job_for, run_job
from runtime_tests.stand_in_engine import StandInEngine
from runtime_tests.tables import probabilities

FLOAT32, MIXED = Precision.FLOAT32, Precision.MIXED


def predict(
    season: Path,
    bundle: Bundle,
    out: Path,
    engine: StandInEngine,
    precision: Precision = MIXED,
    bound: float = 0.5,
    on_progress: Progress = ignore_progress,
) -> dict[str, Any]:
    ensemble = bundle.manifest.ensemble.model_copy(update={"max_mixed_loss_increase": bound})
    bundle = Bundle(bundle.folder, bundle.manifest.model_copy(update={"ensemble": ensemble}), bundle.id)
    job = replace(job_for(season, bundle), precision=precision)
    return run_job(job, out, RunOptions(n_workers=2, batch_size=2), on_progress, executor_for=engine)


def test_mixed_precision_that_holds_is_used(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    engine = StandInEngine()
    report = predict(season, quick_bundle, tmp_path, engine)
    precision = report["precision"]
    assert (precision["asked"], precision["used"], precision["n_sequences"]) == ("mixed", "mixed", 4)
    assert 0 < precision["relative_loss_increase"] <= precision["bound"] == 0.5
    assert engine.loaded == [MIXED]
    assert report["degraded"] is False
    assert (tmp_path / "submission.csv").read_bytes() != (quick_prediction / "submission.csv").read_bytes()


def test_mixed_precision_that_does_not_hold_leaves_float32(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    engine = StandInEngine()
    report = predict(season, quick_bundle, tmp_path, engine, bound=1e-12)
    assert (report["precision"]["asked"], report["precision"]["used"]) == ("mixed", "float32")
    assert report["precision"]["relative_loss_increase"] > 1e-12
    assert engine.loaded == [MIXED, FLOAT32]
    assert (tmp_path / "submission.csv").read_bytes() == (quick_prediction / "submission.csv").read_bytes()


def test_a_device_without_mixed_precision_uses_float32_and_reports_it(
    season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    engine = StandInEngine(())
    report = predict(season, quick_bundle, tmp_path, engine)
    assert report["precision"] == {"asked": "mixed", "used": "float32", "reason": "not offered by the device"}
    assert engine.loaded == [FLOAT32]


def test_mixed_precision_that_overflows_in_the_comparison_does_not_hold(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    """Half of its answers would come from float32, after twice the work."""
    engine = StandInEngine(noise=0.0, overflows=True)
    report = predict(season, quick_bundle, tmp_path, engine)
    assert report["precision"]["used"] == "float32"
    assert report["precision"]["relative_loss_increase"] == 0
    assert report["precision"]["n_repeated"] > 0
    assert report["counts"]["calls_repeated_in_float32"] == 0
    assert (tmp_path / "submission.csv").read_bytes() == (quick_prediction / "submission.csv").read_bytes()


def test_what_mixed_precision_cannot_hold_later_comes_from_float32_and_is_counted(
    season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    engine = StandInEngine()

    def overflow_from_now_on(*_: int) -> None:
        engine.overflows = True

    report = predict(season, quick_bundle, tmp_path, engine, on_progress=overflow_from_now_on)
    assert report["precision"]["used"] == "mixed"
    assert report["counts"]["calls_repeated_in_float32"] > 12
    values = probabilities(tmp_path / "submission.csv")[1]
    assert ((values >= 0) & (values <= 1)).all()


def test_a_continued_run_keeps_the_precision_that_was_selected(
    season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    predict(season, quick_bundle, tmp_path, StandInEngine())
    whole = {name: (tmp_path / name).read_bytes() for name in ("records.jsonl", "submission.csv")}
    (tmp_path / "records.jsonl").write_bytes(whole["records.jsonl"][: len(whole["records.jsonl"]) // 2])
    engine = StandInEngine()
    predict(season, quick_bundle, tmp_path, engine)
    assert engine.loaded == [MIXED], "nothing is compared again"
    assert {name: (tmp_path / name).read_bytes() for name in whole} == whole
    with pytest.raises(CheckpointError, match="differs in precision"):
        predict(season, quick_bundle, tmp_path, StandInEngine(), precision=FLOAT32)


def proofs(folder: Path) -> list[Path]:
    return list((folder / "hakuna" / "proof").iterdir())


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


class CountingEngine(StandInEngine):
    """Counts how often the proof set is computed."""

    n_proofs = 0

    def __call__(self, *arguments: Any) -> LocalExecutor:
        executor = super().__call__(*arguments)
        prove = executor.prove

        def counted(precision: Precision) -> Block:
            self.n_proofs += 1
            return prove(precision)

        executor.prove = counted  # type: ignore[method-assign]
        return executor


def test_a_proof_is_remembered_for_the_same_answers_and_judged_by_the_bound_of_the_run(
    season: Path, quick_bundle: Bundle, cache: Path, tmp_path: Path
) -> None:
    first, second, refused, other = (CountingEngine() for _ in range(4))
    report = predict(season, quick_bundle, tmp_path / "1", first)
    again = predict(season, quick_bundle, tmp_path / "2", second)
    assert (first.n_proofs, second.n_proofs) == (1, 0)
    assert again["precision"] == report["precision"]
    report = predict(season, quick_bundle, tmp_path / "3", refused, bound=1e-12)
    assert (refused.n_proofs, report["precision"]["used"], report["precision"]["bound"]) == (0, "float32", 1e-12)
    other.noise = 0.02  # another kind of processor: its networks answer the probe differently
    predict(season, quick_bundle, tmp_path / "4", other)
    assert other.n_proofs == 1
    assert len(proofs(cache)) == 2


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"n_sequences": 4, "mean_kl": null}'])
def test_a_damaged_proof_is_made_anew(
    damage: str, season: Path, quick_bundle: Bundle, cache: Path, tmp_path: Path
) -> None:
    report = predict(season, quick_bundle, tmp_path / "1", CountingEngine())
    [proof] = proofs(cache)
    whole = proof.read_text()
    proof.write_text(damage)
    engine = CountingEngine()
    assert predict(season, quick_bundle, tmp_path / "2", engine)["precision"] == report["precision"]
    assert engine.n_proofs == 1
    assert proof.read_text() == whole


def test_without_a_writable_cache_each_run_proves_its_precision(
    season: Path, quick_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    for number in range(2):
        engine = CountingEngine()
        report = predict(season, quick_bundle, tmp_path / str(number), engine)
        assert (report["precision"]["used"], engine.n_proofs) == ("mixed", 1)


def test_auto_uses_the_fastest_precision_that_holds(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    auto = Precision.AUTO
    report = predict(season, quick_bundle, tmp_path / "holds", StandInEngine(), auto)
    assert (report["precision"]["asked"], report["precision"]["used"]) == ("auto", "mixed")
    report = predict(season, quick_bundle, tmp_path / "refused", StandInEngine(), auto, bound=1e-12)
    assert (report["precision"]["asked"], report["precision"]["used"]) == ("auto", "float32")
    report = predict(season, quick_bundle, tmp_path / "none", StandInEngine(()), auto)
    assert report["precision"] == {"asked": "auto", "used": "float32", "reason": "not offered by the device"}
    expected = (quick_prediction / "submission.csv").read_bytes()
    assert (tmp_path / "none" / "submission.csv").read_bytes() == expected


def test_int8_needs_a_bundle_that_has_it(season: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="must have networks in int8, got none") as error:
        predict(season, quick_bundle, tmp_path, StandInEngine((Precision.INT8,)), Precision.INT8)
    assert "hakuna bundle quantize" in str(error.value.hint)
    report = predict(season, quick_bundle, tmp_path / "auto", StandInEngine((Precision.INT8, MIXED)), Precision.AUTO)
    assert report["precision"]["used"] == "mixed"


def test_records_in_a_precision_that_this_machine_does_not_offer_are_left_alone(
    season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    """Int8 without VNNI saturates: the networks would answer, only otherwise."""
    predict(season, quick_bundle, tmp_path, StandInEngine())
    path = tmp_path / "records.jsonl"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=r"were begun in mixed, which must be offered by this machine") as error:
        predict(season, quick_bundle, tmp_path, StandInEngine(()))
    assert error.value.exit_code == 8
    assert path.read_bytes() == before


def test_shards_name_their_precision(season: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--precision auto: must not be given with --shard"):
        api.predict(season, quick_bundle.folder, tmp_path, precision="auto", shard="1/2")
