"""Stackers: the published parameters, inputs that only a stacker can use, separate halves, interrupted runs."""

from __future__ import annotations

import csv
import json
import math
import multiprocessing
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import lightgbm
import numpy as np
import numpy.typing as npt
import pytest

from inference.bundle.booster_check import feature_names_of
from inference.bundle.manifest import Blend
from inference.bundle.passes import Effort
from inference.bundle.reader import open_bundle
from inference.core.errors import BundleError, CheckpointError, InputError, InterruptedRunError, UsageError
from inference.core.files import sha256_of_file
from inference.core.labels import LABELS, N_CLASSES
from inference.process.progress import RunState
from inference.records.jsonl import SEQ_IDS, RecordWriter, digest_of_seq_ids, read_header
from inference.records.schema import RECORDS_NAME, Record, RecordsHeader, outputs_of
from models.bundling.import_assets import import_assets
from models.spec.recipe import Recipe, load_recipe, manifest_of
from models.stacking import train_class
from models.stacking.matrix import FIRST, SECOND, HalfSeason, half_of, read_season
from models.stacking.stack import MATRICES_NAME, StackingJob, StackingOptions, stack
from runtime_tests.conftest import SECOND_RECIPE
from runtime_tests.running import HAKUNA

ZEBRA = LABELS.index("zebra")
N_SEQUENCES = 600
QUICK = StackingOptions(n_workers=2, seed=1, rounds=150)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """Stacks zebra on a network on frames, one on the mean, and the month."""
    second = load_recipe(str(SECOND_RECIPE))
    assert second.stacking
    return second.model_copy(update={"stacking": second.stacking.model_copy(update={"classes": ("zebra",)})})


def write_season(
    folder: Path, name: str, recipe: Recipe, seed: int, *, tta: str = "off", identity: str | None = None
) -> None:
    """Records in which a zebra is there if the network on frames and the one on the mean disagree.

    Each of them alone, their mean and their median know nothing about it: all are a half, whatever the truth.
    """
    manifest = manifest_of(recipe)
    random = np.random.default_rng(seed)
    outputs = tuple(
        replace(one, identity=identity) if identity and one.network == "mean_net" else one
        for one in outputs_of(manifest)
    )
    seq_ids = [f"SER_{name}#A#1#{number}" for number in range(N_SEQUENCES)]
    header = RecordsHeader(
        fingerprint={"flip TTA": tta, "season": name, SEQ_IDS: digest_of_seq_ids(seq_ids)},
        outputs=outputs,
        labels=LABELS,
        n_sequences=N_SEQUENCES,
        first=0,
        n_all=N_SEQUENCES,
        precision={},
    )
    n_frame = sum(output.per_frame for output in outputs)
    (folder / name).mkdir(parents=True)
    writer = RecordWriter(folder / name / RECORDS_NAME, header)
    rows = []
    for number, seq_id in enumerate(seq_ids):
        on_frames, on_mean = random.integers(0, 2, 2)
        frames = np.full((2, n_frame, N_CLASSES), 0.01, np.float32)
        frames[:, :, ZEBRA] = np.clip(on_frames + random.normal(0, 0.1, frames.shape[:2]), 0, 1)
        mean = np.full((len(outputs) - n_frame, N_CLASSES), 0.01, np.float32)
        mean[:, ZEBRA] = np.clip(on_mean + random.normal(0, 0.1, len(mean)), 0, 1)
        is_zebra = (on_frames != on_mean) != (random.random() < 0.05)
        rows.append((seq_id, is_zebra))
        effort = Effort.FIRST_NETWORK if number == 7 else Effort.FULL
        if number == 3:
            frames, mean = frames[:0], mean[:0]
        writer.append([Record(seq_id, frames, mean, 12, 7, (), 0, has_metadata=True, effort=effort)])
    writer.close()
    with (folder / "labels.csv").open("a", newline="") as file:
        table = csv.writer(file)
        if file.tell() == 0:
            table.writerow(["seq_id", *LABELS])
        for seq_id, is_zebra in rows:
            table.writerow([seq_id, *[int(label == ("zebra" if is_zebra else "empty")) for label in LABELS]])


@pytest.fixture(scope="module")
def records(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("records")
    for seed, name in enumerate(("S9", "S10")):
        write_season(folder, name, recipe, seed)
    return folder


def job_for(records: Path, recipe: Recipe, out: Path) -> StackingJob:
    return StackingJob(
        recipe=recipe,
        train="S9",
        valid="S10",
        records=records,
        labels=records / "labels.csv",
        out=out,
        reverse_out=None,
        classes=None,
    )


@pytest.fixture(scope="module")
def stackers(records: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both ways."""
    folder = tmp_path_factory.mktemp("stackers")
    stack(replace(job_for(records, recipe, folder / "S9"), reverse_out=folder / "S10"), QUICK, RunState())
    return folder


def test_a_stacker_uses_what_no_mean_and_no_median_can(stackers: Path) -> None:
    """The entropy of 5 % noise is 0.199; the frames alone, a mean or a median know nothing and cannot get below ln 2."""
    for name in ("S9", "S10"):
        [result] = json.loads((stackers / name / "stacking.json").read_text())["classes"]
        assert result["before"] > math.log(2)
        assert result["after"] < 0.45
        assert result["n_trees"] > 10


def test_the_mean_and_the_median_of_the_same_networks_gain_nothing(
    records: Path, recipe: Recipe, tmp_path: Path
) -> None:
    for method in ("mean", "median"):
        ensemble = recipe.ensemble.model_copy(update={"blends": (Blend(networks=("mean_net",), method=method),)})
        blended = recipe.model_copy(update={"ensemble": ensemble})
        season = read_season("S9", records, records / "labels.csv", manifest_of(blended), tmp_path, RunState().check)
        for half in season.halves:
            assert train_class.log_loss(half.estimate[:, ZEBRA], half.targets[:, ZEBRA]) > 0.68


def test_boosters_carry_the_names_of_their_features(stackers: Path, recipe: Recipe) -> None:
    names = manifest_of(recipe).feature_names
    assert feature_names_of((stackers / "S9/zebra.txt").read_bytes()) == list(names)
    assert names[0] == "month"


def test_the_judging_half_is_never_learned_from(records: Path, recipe: Recipe, tmp_path: Path) -> None:
    manifest = manifest_of(recipe)
    season = read_season("S10", records, records / "labels.csv", manifest, tmp_path, RunState().check)
    ids = [f"SER_S10#A#1#{number}" for number in range(N_SEQUENCES) if number not in (3, 7)]
    assert [len(half.targets) for half in season.halves] == [
        sum(half_of(one) == half for one in ids) for half in (0, 1)
    ]
    assert season.n_left_out == 2, "one without frames, one degraded"
    assert 0.4 < len(season.halves[0].targets) / len(ids) < 0.6


def test_a_run_that_goes_on_keeps_what_is_trained_unless_the_data_changed(
    records: Path, recipe: Recipe, tmp_path: Path
) -> None:
    out = tmp_path / "S9"
    both = replace(job_for(records, recipe, out), classes=("zebra", "empty"))
    quick = replace(QUICK, rounds=5)
    trained: list[str] = []

    def one_process(
        tasks: list[train_class.Task], _n_together: int, check: Callable[[], None]
    ) -> list[train_class.ClassResult]:
        check()
        trained.extend(task.label for task in tasks)
        return [train_class.train_class(task) for task in tasks]

    stack(replace(both, classes=("zebra",)), quick, RunState(), one_process)
    first = (out / "zebra.txt").read_bytes()
    stack(both, quick, RunState(), one_process)
    assert trained == ["zebra", "empty"]
    (out / "zebra.txt").write_bytes(first + b"touched\n")
    stack(both, quick, RunState(), one_process)
    assert trained == ["zebra", "empty", "zebra"]
    assert (out / "zebra.txt").read_bytes() == first, "the same data give the same booster"
    stack(both, replace(quick, seed=2), RunState(), one_process)
    assert trained[3:] == ["zebra", "empty"]
    stack(both, replace(quick, seed=2, fresh=True), RunState(), one_process)
    assert trained[5:] == ["zebra", "empty"]
    assert not [path for path in out.iterdir() if path.name.startswith(".")], "the matrices are removed"


class PretendTraining:
    """Instead of training stackers, it writes down which ones would be."""

    def __init__(self) -> None:
        self.labels: list[str] = []

    def __call__(
        self, tasks: list[train_class.Task], _n_together: int, _check: Callable[[], None]
    ) -> list[train_class.ClassResult]:
        for task in tasks:
            task.path.write_text(task.label)
        self.labels.extend(task.label for task in tasks)
        return [
            train_class.ClassResult(task.label, 0.5, 0.4, 1, 2, 3, 1.0, sha256_of_file(task.path)) for task in tasks
        ]


@pytest.fixture
def trained() -> PretendTraining:
    return PretendTraining()


def test_classes_trained_one_after_the_other_are_all_kept(
    records: Path, recipe: Recipe, tmp_path: Path, trained: PretendTraining
) -> None:
    job = job_for(records, recipe, tmp_path / "S9")
    for classes in (("empty",), ("zebra",), ("zebra", "empty")):
        [(_, results)] = stack(replace(job, classes=classes), QUICK, RunState(), trained)
        assert [one.label for one in results] == list(classes)
    assert trained.labels == ["empty", "zebra"]
    report = json.loads((tmp_path / "S9" / "stacking.json").read_text())
    assert [one["label"] for one in report["classes"]] == ["empty", "zebra"]


def test_boosters_of_another_ensemble_are_not_kept(
    records: Path, recipe: Recipe, tmp_path: Path, trained: PretendTraining
) -> None:
    """Whatever changes the matrix, or how it is learnt from, under the same names of features."""
    assert recipe.stacking
    weights = (1.0, 0.1, 0.1)[: len(recipe.ensemble.frame_weights)]
    others = [
        recipe.model_copy(update={"ensemble": recipe.ensemble.model_copy(update={"frame_weights": weights})}),
        recipe.model_copy(update={"stacking": recipe.stacking.model_copy(update={"missing_frame": -5.0})}),
        recipe.model_copy(update={"priors": {**recipe.priors, "zebra": 0.2}}),
    ]
    for number, one in enumerate([recipe, *others], start=1):
        stack(job_for(records, one, tmp_path / "S9"), QUICK, RunState(), trained)
        stack(job_for(records, one, tmp_path / "S9"), QUICK, RunState(), trained)
        assert trained.labels == ["zebra"] * number


def test_boosters_of_other_records_with_the_same_header_are_not_kept(
    records: Path, recipe: Recipe, tmp_path: Path, trained: PretendTraining
) -> None:
    """As after photos were repaired: no header tells what is in a photo."""
    made = tmp_path / "records"
    shutil.copytree(records, made)
    job = job_for(made, recipe, tmp_path / "S9")
    stack(job, QUICK, RunState(), trained)
    write_season(tmp_path / "again", "S9", recipe, seed=7)
    shutil.copy(tmp_path / "again/S9" / RECORDS_NAME, made / "S9" / RECORDS_NAME)
    stack(job, QUICK, RunState(), trained)
    assert trained.labels == ["zebra", "zebra"]


def test_a_class_that_only_the_recipe_adds_does_not_train_the_others_again(
    records: Path, recipe: Recipe, tmp_path: Path, trained: PretendTraining
) -> None:
    assert recipe.stacking
    wider = recipe.model_copy(update={"stacking": recipe.stacking.model_copy(update={"classes": ("zebra", "empty")})})
    stack(job_for(records, recipe, tmp_path / "S9"), QUICK, RunState(), trained)
    stack(job_for(records, wider, tmp_path / "S9"), QUICK, RunState(), trained)
    assert trained.labels == ["zebra", "empty"]


def test_fresh_trains_the_classes_asked_for_and_keeps_the_others(
    records: Path, recipe: Recipe, tmp_path: Path, trained: PretendTraining
) -> None:
    job = replace(job_for(records, recipe, tmp_path / "S9"), classes=("zebra", "empty"))
    stack(job, QUICK, RunState(), trained)
    stack(replace(job, classes=("zebra",)), replace(QUICK, fresh=True), RunState(), trained)
    stack(job, QUICK, RunState(), trained)
    assert trained.labels == ["zebra", "empty", "zebra"]
    (tmp_path / "S9" / "stacking.json").write_text("{}")
    stack(job, replace(QUICK, fresh=True), RunState(), trained)
    assert trained.labels[3:] == ["zebra", "empty"]


def test_a_season_that_is_learnt_does_not_judge_under_another_name(recipe: Recipe, tmp_path: Path) -> None:
    write_season(tmp_path, "S9", recipe, 1)
    shutil.copytree(tmp_path / "S9", tmp_path / "S10")
    with pytest.raises(InputError, match="must have no sequence in common, got 598, the first SER_S9#A#1#0"):
        stack(job_for(tmp_path, recipe, tmp_path / "out"), QUICK, RunState())


def test_what_a_killed_run_left_is_removed(
    records: Path, recipe: Recipe, tmp_path: Path, trained: PretendTraining
) -> None:
    left = tmp_path / "S9" / MATRICES_NAME
    left.mkdir(parents=True)
    (left / "S1_0.float32").write_bytes(bytes(100))
    stack(job_for(records, recipe, tmp_path / "S9"), QUICK, RunState(), trained)
    assert trained.labels == ["zebra"]
    assert not left.exists()


@pytest.mark.faults
def test_a_stacking_that_is_killed_again_and_again_ends_in_the_same_bytes(
    records: Path, seed: int, tmp_path: Path
) -> None:
    def command(out: Path) -> list[str]:
        words = ["stack", "--train", "S9", "--valid", "S10", "--records", records, "--labels", records / "labels.csv"]
        words += ["--recipe", SECOND_RECIPE, "--classes", "zebra,empty", "--rounds", 150, "--workers", 2, "--out", out]
        return [sys.executable, str(HAKUNA), *map(str, words)]

    def files(out: Path) -> dict[str, bytes]:
        return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}

    begun = time.monotonic()
    subprocess.run(command(tmp_path / "undisturbed"), check=True, capture_output=True, timeout=300)
    seconds = time.monotonic() - begun
    random, n_kills = np.random.default_rng(seed), 0
    for number in range(10):
        out = tmp_path / str(number)
        for _ in range(2):
            process = subprocess.Popen(command(out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(random.uniform(0.2, 0.95) * seconds)
            process.kill()
            n_kills += process.wait(timeout=60) == -signal.SIGKILL
        done = subprocess.run(command(out), check=False, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert files(out) == files(tmp_path / "undisturbed")
    assert n_kills >= 10


def test_a_signal_ends_the_processes_that_train(records: Path, recipe: Recipe, tmp_path: Path) -> None:
    others = set(multiprocessing.active_children())

    def trainers() -> set[multiprocessing.process.BaseProcess]:
        return set(multiprocessing.active_children()) - others

    class Stopping(RunState):
        """Asks the run to stop as soon as boosters are being trained."""

        def check(self) -> None:
            self.stop_signal = signal.SIGTERM if trainers() else None
            super().check()

    before, threads = time.monotonic(), set(threading.enumerate())
    with pytest.raises(InterruptedRunError, match="SIGTERM"):
        stack(job_for(records, recipe, tmp_path / "S9"), replace(QUICK, rounds=3000), Stopping())
    assert time.monotonic() - before < 30
    assert set(threading.enumerate()) <= threads  # a thread of the pool would race with the end of the program
    deadline = time.monotonic() + 20
    # The pool's own thread may wait for them first, so that their exit codes are not to be had here.
    while any(Path(f"/proc/{child.pid}").exists() for child in trainers()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not [child for child in trainers() if Path(f"/proc/{child.pid}").exists()]
    assert not (tmp_path / "S9" / MATRICES_NAME).exists()


def test_a_bundle_whose_feature_order_differs_is_refused(
    stackers: Path, recipe: Recipe, second_assets: Path, tmp_path: Path
) -> None:
    assert recipe.stacking
    own = recipe.stacking.model_copy(update={"folders": {"only": "S9"}})
    swapped = own.model_copy(update={"blocks": ("month", "frame_outputs", "mean_net")})
    for name in ("small.h5", "mean_net.h5", "large.h5"):
        (stackers / name).write_bytes((second_assets / name).read_bytes())
    import_assets(stackers, recipe.model_copy(update={"stacking": own}), tmp_path / "good", demo=True)
    with pytest.raises(BundleError, match="feature 1 must be small_96x128_frame1_aardvark, got mean_net_aardvark"):
        import_assets(stackers, recipe.model_copy(update={"stacking": swapped}), tmp_path / "bad", demo=True)
    assert not (tmp_path / "bad").exists()
    assert open_bundle(tmp_path / "good").manifest.feature_names[0] == "month"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"valid": "S9"}, UsageError, "--train, --valid: must be different seasons, got S9 twice"),
        ({"classes": ("unicorn",)}, UsageError, "--classes: must be among the 54 labels, got unicorn"),
        (
            {"classes": ("bat",)},
            InputError,
            "class bat: season S9 must have sequences with and without it, got 0 of 598",
        ),
        ({"train": "S3"}, CheckpointError, "must be readable records"),
    ],
)
def test_what_cannot_be_stacked_is_refused(
    change: dict, error: type[Exception], message: str, records: Path, recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        stack(replace(job_for(records, recipe, tmp_path / "out"), **change), QUICK, RunState())


def test_records_that_are_not_those_of_every_sequence_are_not_learnt_from(
    records: Path, recipe: Recipe, tmp_path: Path
) -> None:
    path = tmp_path / "S9" / RECORDS_NAME
    path.parent.mkdir()
    lines = (records / "S9" / RECORDS_NAME).read_bytes().splitlines(keepends=True)
    for changed, message in (
        ([*lines[:5], lines[4], *lines[6:]], "must have one record per sequence"),
        ([*lines, lines[-1]], f"must have {N_SEQUENCES} records, got more"),
        (lines[:-1], f"must have {N_SEQUENCES} complete records, got {N_SEQUENCES - 1}"),
    ):
        path.write_bytes(b"".join(changed))
        with pytest.raises(CheckpointError, match=message):
            read_season("S9", tmp_path, records / "labels.csv", manifest_of(recipe), tmp_path, RunState().check)


def test_records_of_something_else_are_refused(records: Path, recipe: Recipe, tmp_path: Path) -> None:
    def refused(path: Path, message: str, one: Recipe = recipe) -> None:
        with pytest.raises(CheckpointError, match=message):
            read_season("S9", path, records / "labels.csv", manifest_of(one), tmp_path, RunState().check)

    write_season(tmp_path / "mirrored", "S9", recipe, 1, tta="on")
    refused(tmp_path / "mirrored", "must have been made with --no-tta")
    refused(records, "must have been made with the networks of recipe third_place", load_recipe("third_place"))
    path = tmp_path / "torn" / "S9" / RECORDS_NAME
    path.parent.mkdir(parents=True)
    path.write_bytes((records / "S9" / RECORDS_NAME).read_bytes()[:-9])
    refused(tmp_path / "torn", "must have 600 complete records, got 599")
    (tmp_path / "out").mkdir()
    for text, problem in (("{}", "KeyError"), ("[" * 100_000, "RecursionError")):
        (tmp_path / "out" / "stacking.json").write_text(text)
        with pytest.raises(CheckpointError, match=f"json: must be the report of an earlier run, got: {problem}"):
            stack(job_for(records, recipe, tmp_path / "out"), QUICK, RunState())
    without = recipe.model_copy(update={"stacking": None})
    with pytest.raises(UsageError, match="--recipe second: must have stackers, got none"):
        stack(job_for(records, without, tmp_path / "out"), QUICK, RunState())


@pytest.mark.parametrize(
    "change",
    [
        lambda report: report["classes"][0].update(before="low"),
        lambda report: report["classes"][0].update(label=["zebra"]),
        lambda report: report["classes"].append("zebra"),
        lambda _: "[" * 100_000,
    ],
)
def test_a_damaged_report_is_refused(
    change: Callable[[dict], str | None], records: Path, recipe: Recipe, tmp_path: Path, trained: PretendTraining
) -> None:
    job = job_for(records, recipe, tmp_path / "S9")
    stack(job, QUICK, RunState(), trained)
    path = tmp_path / "S9" / "stacking.json"
    report = json.loads(path.read_text())
    path.write_text(change(report) or json.dumps(report))
    with pytest.raises(CheckpointError, match="stacking.json: must be the report of an earlier run, got: "):
        stack(job, QUICK, RunState(), trained)


def test_a_report_that_names_files_elsewhere_reads_none(
    records: Path, recipe: Recipe, tmp_path: Path, trained: PretendTraining
) -> None:
    job = job_for(records, recipe, tmp_path / "S9")
    stack(job, QUICK, RunState(), trained)
    path = tmp_path / "S9" / "stacking.json"
    report = json.loads(path.read_text())
    (tmp_path / "elsewhere.txt").write_text("a secret")
    other = {**report["classes"][0], "label": "../elsewhere", "sha256": sha256_of_file(tmp_path / "elsewhere.txt")}
    path.write_text(json.dumps({**report, "classes": [*report["classes"], other]}))
    (tmp_path / "S9" / "zebra.txt").unlink()
    stack(job, QUICK, RunState(), trained)
    assert [one["label"] for one in json.loads(path.read_text())["classes"]] == ["zebra"]


def test_seasons_that_different_networks_looked_at_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    write_season(tmp_path, "S9", recipe, 1)
    trained_again = recipe.networks[1].as_network("f" * 64).identity
    path = tmp_path / "S10" / RECORDS_NAME
    write_season(tmp_path, "S10", recipe, 2, identity=trained_again)
    assert trained_again in path.read_text().splitlines()[0]
    with pytest.raises(CheckpointError, match="by the same networks, but these differ: mean_net"):
        stack(job_for(tmp_path, recipe, tmp_path / "out"), QUICK, RunState())


@dataclass(frozen=True)
class WatchedHalf(HalfSeason):
    """Keeps the order in which matrices are asked for."""

    opened: list[str] = field(default_factory=list)

    def features(self) -> npt.NDArray[np.float32]:
        self.opened.append(self.matrix.stem)
        return super().features()


@pytest.fixture
def task(records: Path, recipe: Recipe, tmp_path: Path) -> train_class.Task:
    """A class that nothing tells: about half of the training season has it, and a little less of the other, by chance."""
    manifest, random, opened = manifest_of(recipe), np.random.default_rng(5), list[str]()
    seasons = []
    for name, share in (("S9", 0.5), ("S10", 0.45)):
        season = read_season(name, records, records / "labels.csv", manifest, tmp_path, RunState().check).of_class(
            ZEBRA
        )
        first, second = (
            WatchedHalf(
                half.matrix,
                half.n_features,
                half.estimate,
                random.binomial(1, share, (len(half.targets), 1)).astype(np.uint8),
                opened,
            )
            for half in season.halves
        )
        seasons.append(replace(season, halves=(first, second)))
    names = manifest.feature_names
    return train_class.Task("zebra", seasons[0], seasons[1], names, 0.45, 1, 200, 1, tmp_path / "zebra.txt")


def test_one_half_stops_the_training_and_the_other_judges_what_is_in_the_file(task: train_class.Task) -> None:
    result = train_class.train_class(task)
    held_out = task.valid.halves[SECOND]
    assert isinstance(held_out, WatchedHalf)
    assert held_out.opened == ["S9_0", "S9_1", "S10_0", "S10_1"]  # learnt from, learnt from, stops, judges
    booster = lightgbm.Booster(model_file=str(task.path))
    assert booster.num_trees() == result.n_trees < task.rounds - train_class.EARLY_STOPPING
    truth = held_out.targets[:, 0].tolist()
    predicted = np.asarray(booster.predict(held_out.features())).tolist()
    expected = -sum(math.log(p if y else 1 - p) for p, y in zip(predicted, truth, strict=True)) / len(truth)
    assert result.after == pytest.approx(expected, rel=1e-9)
    assert (result.n_sequences, result.n_positive) == (len(truth), sum(truth))
    learnt = [y for half in task.train.halves for y in half.targets[:, 0].tolist()]
    assert result.scale_pos_weight == pytest.approx(0.45 / (sum(learnt) / len(learnt)))
    assert result.sha256 == sha256_of_file(task.path)


def test_the_number_of_threads_changes_no_byte_of_a_booster(task: train_class.Task) -> None:
    task = replace(task, rounds=3)
    train_class.train_class(task)
    train_class.train_class(replace(task, n_threads=2, path=task.path.with_name("again.txt")))
    assert task.path.with_name("again.txt").read_bytes() == task.path.read_bytes()


@pytest.mark.parametrize(
    ("season", "half", "value", "message"),
    [
        ("train", None, 0, "season S9 must have sequences with and without it, got 0 of 598"),
        ("train", None, 1, "season S9 must have sequences with and without it, got 598 of 598"),
        ("valid", FIRST, 0, "the first half of season S10 must have sequences with and without it, got 0 of"),
        ("valid", SECOND, 1, r"the held-out half of season S10 must have .*, got (\d+) of \1$"),
    ],
)
def test_a_class_that_a_part_shows_never_or_always_is_refused(
    season: str, half: int | None, value: int, message: str, task: train_class.Task
) -> None:
    train_class.check_trainable(task)
    for number, one in enumerate(getattr(task, season).halves):
        if half in (None, number):
            one.targets[:] = value
    with pytest.raises(InputError, match=f"class zebra: {message}"):
        train_class.check_trainable(task)


def test_boosters_of_other_labels_or_another_number_of_rounds_are_not_kept(
    records: Path, recipe: Recipe, tmp_path: Path, trained: PretendTraining
) -> None:
    job = job_for(records, recipe, tmp_path / "S9")
    stack(job, QUICK, RunState(), trained)
    with job.labels.open(newline="") as file:
        header, (seq_id, *values), *rows = csv.reader(file)
    zebra = header.index("zebra") - 1
    values[zebra] = str(1 - int(values[zebra]))
    corrected = tmp_path / "labels.csv"
    with corrected.open("w", newline="") as file:
        csv.writer(file).writerows([header, [seq_id, *values], *rows])
    stack(replace(job, labels=corrected), QUICK, RunState(), trained)
    assert trained.labels == ["zebra"] * 2
    stack(replace(job, labels=corrected), replace(QUICK, rounds=QUICK.rounds + 1), RunState(), trained)
    assert trained.labels == ["zebra"] * 3


def test_a_shard_is_no_season(records: Path, recipe: Recipe, tmp_path: Path) -> None:
    header = read_header(records / "S9" / RECORDS_NAME)
    (tmp_path / "S9").mkdir()
    RecordWriter(tmp_path / "S9" / RECORDS_NAME, replace(header, n_all=2 * N_SEQUENCES)).close()
    with pytest.raises(CheckpointError, match="must hold all 1200 sequences, got a shard of 600"):
        read_season("S9", tmp_path, records / "labels.csv", manifest_of(recipe), tmp_path, RunState().check)
