"""Everything that `hakuna score` tells, against loops that do it the slow way."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from rich.console import Console

from benchmark.scoring import bootstrap, tables
from benchmark.scoring import report as score_report
from benchmark.scoring import temperature as tempering
from benchmark.scoring.bootstrap import Clusters, clusters_of, interval, resample
from benchmark.scoring.calibration import N_BINS, reliability
from benchmark.scoring.log_loss import log_losses
from benchmark.scoring.strata import Stratum, strata_of
from inference.core.errors import InputError
from inference.core.labels import EMPTY, LABELS
from inference.dataset.label_tables import Table

SCHEMA = Path(__file__).parent / "score_schema.json"
N_SITES = 7


@pytest.fixture
def judged(random: np.random.Generator) -> tuple[Table, Table]:
    """Predictions and labels of 300 sequences at seven sites."""
    predictions = random.uniform(0, 1, (300, 54)) ** 6
    predictions[0, :3] = (0.0, 1.0, 0.1)
    labels = (random.random((300, 54)) < predictions).astype(np.float64)
    seq_ids = tuple(f"SER_S{1 + row % 2}#B{row % N_SITES:02d}#1#{row}" for row in range(300))
    return Table(seq_ids, predictions), Table(seq_ids, labels)


def test_draws_give_what_repeating_the_rows_of_the_drawn_sites_gives(random: np.random.Generator) -> None:
    codes = random.integers(0, N_SITES, 50)
    units = Clusters("sites", codes, N_SITES)
    values = random.random((50, 3))
    draws = resample(units, 20)
    means = draws.means(units.sums(values))
    for times, got in zip(draws.times, means, strict=True):
        rows = [row for site in range(N_SITES) for row in np.flatnonzero(codes == site).tolist() * int(times[site])]
        np.testing.assert_allclose(got, values[rows].mean(axis=0), rtol=1e-12)


def test_draws_are_the_same_every_time_and_as_many_as_there_are_sites() -> None:
    units = Clusters("sites", np.arange(5), 5)
    np.testing.assert_array_equal(resample(units, 30).times, resample(units, 30).times)
    assert (resample(units, 30).times.sum(axis=1) == 5).all()


def test_interval_lies_between_the_2_5th_and_the_97_5th_percentile() -> None:
    low, high = interval(np.arange(1001, dtype=np.float64)[:, None])
    assert (low[0], high[0]) == (pytest.approx(25), pytest.approx(975))


def test_without_sites_sequences_are_drawn_and_many_of_them_in_bags() -> None:
    assert clusters_of(None, 10).kind == "sequences"
    assert clusters_of(None, 10).n_units == 10
    assert clusters_of(Stratum(("only",), np.zeros(10, np.int64)), 10).kind == "sequences"
    two_sites = clusters_of(Stratum(("a", "b"), np.arange(10) % 2), 10)
    assert (two_sites.kind, two_sites.n_units) == ("sites", 2)
    many = clusters_of(None, 2500)
    assert many.n_units == bootstrap.MOST_UNITS
    assert set(many.counts()) == {2.0, 3.0}


def test_the_interval_covers_the_truth_about_as_often_as_it_says(random: np.random.Generator) -> None:
    """120 worlds of 40 sites that differ: the true mean is 0. Drawing sequences instead would be far too sure."""
    covered = {"sites": 0, "sequences": 0}
    for _ in range(120):
        sites = Stratum(tuple(map(str, range(40))), np.repeat(np.arange(40), 25))
        values = (random.normal(0, 1, 40)[sites.codes] + random.normal(0, 0.5, 1000))[:, None]
        for kind, units in (("sites", clusters_of(sites, 1000)), ("sequences", clusters_of(None, 1000))):
            draws = resample(units, 200)
            low, high = interval(draws.means(units.sums(values)))
            covered[kind] += bool(low[0] <= 0 <= high[0])
    assert 0.87 < covered["sites"] / 120 < 0.995
    assert covered["sequences"] / 120 < 0.5


def test_intervals_of_few_sites_are_too_narrow_and_say_so(random: np.random.Generator) -> None:
    """600 worlds each, in the columns; what the constant and the documentation tell."""
    for n_sites, low, high in ((2, 0.4, 0.6), (3, 0.68, 0.83), (5, 0.8, 0.9), (20, 0.88, 0.96)):
        units = Clusters("sites", np.arange(n_sites), n_sites)
        lows, highs = interval(resample(units, 1000).means(random.normal(0, 1, (n_sites, 600))))
        assert low < ((lows <= 0) & (highs >= 0)).mean() < high
        warned = bootstrap.small_sample_note(units)
        assert (warned is None) == (n_sites >= 20)
        assert warned is None or warned.startswith(f"caution: {n_sites} sites are too few")


def test_very_many_sites_are_drawn_in_bags_that_cut_none_in_two() -> None:
    codes = np.repeat(np.arange(7000), 3)
    units = clusters_of(Stratum(tuple(map(str, range(7000))), codes), len(codes))
    assert (units.kind, units.n_units) == ("sites", bootstrap.MOST_SITES)
    bags = units.codes.reshape(7000, 3)
    assert (bags == bags[:, :1]).all()
    assert set(units.counts()) == {6.0, 9.0}
    assert resample(units).times.nbytes < 50e6


def naive_reliability(p: list[float], y: list[float]) -> tuple[list[tuple[int, float, float]], float]:
    bins: dict[int, list[tuple[float, float]]] = {}
    for one, label in zip(p, y, strict=True):
        edges_below = sum(one > k / N_BINS for k in range(1, N_BINS))
        bins.setdefault(edges_below, []).append((one, label))
    found, error = [], 0.0
    for number in sorted(bins):
        members = bins[number]
        mean_p = math.fsum(a for a, _ in members) / len(members)
        mean_y = math.fsum(b for _, b in members) / len(members)
        found.append((len(members), mean_p, mean_y))
        error += len(members) / len(p) * abs(mean_p - mean_y)
    return found, error


def test_reliability_is_that_of_a_naive_loop(judged: tuple[Table, Table]) -> None:
    predictions, truth = judged[0].values, judged[1].values
    curves = reliability(predictions, truth)
    for c in (0, 1, 2, EMPTY, 53):  # 0 and 1 have a prediction of 0 and 1, 2 one at the end of a bin
        expected, error = naive_reliability(predictions[:, c].tolist(), truth[:, c].tolist())
        filled = curves.counts[c] > 0
        assert curves.counts[c][filled].tolist() == [n for n, _, _ in expected]
        np.testing.assert_allclose(curves.mean_prediction[c][filled], [p for _, p, _ in expected], rtol=1e-12)
        np.testing.assert_allclose(curves.share_positive[c][filled], [y for _, _, y in expected], rtol=1e-12)
        assert curves.errors[c] == pytest.approx(error, abs=1e-12)


def test_headline_figures_are_those_of_a_naive_loop(judged: tuple[Table, Table]) -> None:
    predictions, truth = judged[0].values.copy(), judged[1].values.copy()
    truth[5] = 0
    truth[6, :] = 0
    truth[6, EMPTY] = 1
    got = score_report.headline(predictions, truth)
    right = sum((row_p[EMPTY] >= 0.5) == (row_y[EMPTY] == 1) for row_p, row_y in zip(predictions, truth, strict=True))
    assert got.empty_accuracy == pytest.approx(right / 300, abs=1e-12)
    hits = n = 0
    for row_p, row_y in zip(predictions.tolist(), truth.tolist(), strict=True):
        species = [c for c in range(54) if LABELS[c] != "empty"]
        if not any(row_y[c] for c in species):
            continue
        n += 1
        hits += row_y[max(species, key=lambda c: row_p[c])] == 1
    assert got.n_not_empty == n
    assert got.species_top1_accuracy == pytest.approx(hits / n, abs=1e-12)


def test_a_season_without_animals_has_no_species_accuracy() -> None:
    truth = np.zeros((3, 54))
    truth[:, EMPTY] = 1
    got = score_report.headline(np.full((3, 54), 0.4), truth)
    assert (got.empty_accuracy, got.species_top1_accuracy, got.n_not_empty) == (0.0, None, 0)


def test_groups_have_their_own_log_loss_and_shares_that_add_up(judged: tuple[Table, Table]) -> None:
    submission, labels = judged
    strata = strata_of(labels.seq_ids, None)
    report = score_report.report(submission, labels, strata, n_resamples=100)
    losses = log_losses(submission.values, labels.values)
    assert set(report.breakdowns) == {"season", "site"}
    assert (report.resampling.drawn, report.resampling.n_units) == ("sites", N_SITES)
    for group in report.breakdowns["site"]:
        rows = [row for row, seq_id in enumerate(labels.seq_ids) if seq_id.split("#")[1] == group.name]
        assert group.n_sequences == len(rows)
        assert group.log_loss == pytest.approx(losses[rows].mean(), rel=1e-12)
    for groups in report.breakdowns.values():
        assert sum(one.share for one in groups) == pytest.approx(1, rel=1e-12)
    assert report.interval.low < report.log_loss < report.interval.high


METADATA = """seq_id,datetime,file_name
a,2015-01-01 05:59:59,cam1/1.JPG
a,2015-01-01 06:00:00,cam1/2.JPG
b,2015-01-01 18:59:59,cam2/1.JPG
c,2015-01-01 19:00:00,cam2/2.JPG
c,2015-01-01 19:00:01,cam2/3.JPG
c,2015-01-01 19:00:01,cam2/4.JPG
c,2015-01-01 19:00:01,cam2/5.JPG
"""


def names(group: Stratum) -> list[str]:
    return [group.names[code] for code in group.codes]


def test_metadata_tell_hour_light_frames_and_folder(tmp_path: Path) -> None:
    path = tmp_path / "metadata.csv"
    path.write_text(METADATA)
    groups = strata_of(("c", "a", "b", "x"), path)
    assert names(groups["hour"]) == ["19", "05", "18", "unknown"]
    assert names(groups["light"]) == ["night", "night", "day", "unknown"]
    assert names(groups["frames"]) == ["4 or more", "2", "1", "unknown"]
    assert names(groups["site"]) == ["cam2", "cam1", "cam2", "unknown"]
    assert "season" not in groups
    with pytest.raises(InputError, match="must be the metadata of the predicted sequences, got none of them"):
        strata_of(("x", "y"), path)


def test_what_is_not_known_of_a_sequence_is_unknown_and_neither_noon_nor_midnight(tmp_path: Path) -> None:
    path = tmp_path / "metadata.csv"
    path.write_text("seq_id,datetime,file_name\na,,1.jpg\nb,2015-01-01 12:00:00,2.jpg\nc,2015-01-01,3.jpg\n")
    groups = strata_of(("a", "b", "c"), path)
    assert names(groups["hour"]) == ["unknown", "12", "unknown"]
    assert names(groups["light"]) == ["unknown", "day", "unknown"]


def test_metadata_that_lack_a_site_or_a_sequence_leave_what_else_is_known(tmp_path: Path) -> None:
    ids = ("SER_S1#B04#1#1", "SER_S1#C05#1#2", "SER_S1#D06#1#3")
    path = tmp_path / "metadata.csv"
    path.write_text(f"seq_id,datetime,file_name,site\n{ids[0]},,a.jpg,\n{ids[1]},,b.jpg,hill\n")
    assert names(strata_of(ids, path)["site"]) == ["B04", "hill", "D06"]
    path.write_text("seq_id,datetime,file_name,site\na,,north/a.jpg,\nb,,south/b.jpg,\n")
    assert names(strata_of(("a", "b", "c"), path)["site"]) == ["north", "south", "unknown"]


def test_folders_of_one_card_are_one_site(tmp_path: Path) -> None:
    path = tmp_path / "metadata.csv"
    path.write_text(
        "seq_id,datetime,file_name\n"
        "a,,hill/DCIM/100RECNX/a.jpg\nb,,hill/DCIM/101RECNX/b.jpg\nc,,river/DCIM/100RECNX/c.jpg\n"
    )
    assert names(strata_of(("a", "b", "c"), path)["site"]) == ["hill", "hill", "river"]


def test_public_ids_tell_season_and_site_and_a_list_of_sites_wins(tmp_path: Path) -> None:
    ids = ("SER_S1#B04#1#1", "SER_S10#U09#2#7", "S2#B04#1#1")
    groups = strata_of(ids, None)
    assert names(groups["season"]) == ["S1", "S10", "S2"]
    assert names(groups["site"]) == ["B04", "U09", "B04"]
    path = tmp_path / "sites.csv"
    path.write_text("site,seq_id\nnorth,SER_S1#B04#1#1\nsouth,SER_S10#U09#2#7\n,S2#B04#1#1\n")
    assert names(strata_of(ids, None, path)["site"]) == ["north", "south", "B04"]
    with pytest.raises(InputError, match=r"must hold the site of every sequence, got 1 missing \['S3#A#1#1'\]"):
        strata_of((*ids, "S3#A#1#1"), None, path)
    assert strata_of(("ABCFN", "x"), None) == {}
    path = tmp_path / "metadata.csv"
    path.write_text("seq_id,datetime,file_name,site\nS2#B04#1#1,,a/b.JPG,hill\n")
    assert names(strata_of(ids[2:], path)["site"]) == ["hill"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"seq_id,place\n", "must have the columns seq_id, site"),
        (b"seq_id,site\n\xff,1\n", "must be UTF-8"),
        (None, "readable CSV"),
    ],
)
def test_a_list_of_sites_that_is_none_is_refused(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "sites.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        strata_of(("a",), None, path)


def test_clipping_and_temperature_are_scored_as_a_loop_would_on_the_other_half(judged: tuple[Table, Table]) -> None:
    predictions = judged[0].values.astype(np.float32).astype(np.float64)
    truth = judged[1].values.copy()
    truth[:6, :] = 1 - truth[:6, :]  # far too sure of themselves
    units = Clusters("sites", np.arange(300) % N_SITES, N_SITES)
    folds = tempering.study(predictions, truth, log_losses(predictions, truth), units, 1e-15)
    assert sum(fold.n_sequences for fold in folds) == 300
    order = np.random.default_rng(tempering.SPLIT_SEED).permutation(N_SITES)
    first = (order < N_SITES // 2)[units.codes]
    for fold, rows in zip(folds, (first, ~first), strict=True):
        p, y = predictions[rows], truth[rows]
        assert fold.n_sequences == rows.sum()
        assert fold.as_it_is == pytest.approx(log_losses(p, y).mean(), rel=1e-12)
        assert fold.epsilon > 0
        assert fold.clipped == pytest.approx(log_losses(p, y, fold.epsilon).mean(), rel=1e-6)
        assert fold.clipped < fold.as_it_is
        assert fold.tempered == pytest.approx(naive_tempered(p, y, fold.temperature), rel=1e-6)
        assert fold.temperature > 1
        # What was chosen is the best on the half where it was chosen, of those that are tried.
        p, y = predictions[~rows], truth[~rows]
        tried = [1 / (1 + math.exp(logit)) for logit in tempering.CLIPPINGS]
        assert fold.epsilon == pytest.approx(min(tried, key=lambda one: log_losses(p, y, one).mean()))
        best = naive_tempered(p, y, fold.temperature)
        assert best <= min(naive_tempered(p, y, fold.temperature * factor) for factor in (0.97, 1.03))


def naive_tempered(p: npt.NDArray[np.float64], y: npt.NDArray[np.float64], temperature: float) -> float:
    total = 0.0
    for one, label in zip(p.ravel().tolist(), y.ravel().tolist(), strict=True):
        clipped = min(max(one, 1e-15), 1 - 1e-15)
        logit = math.log(clipped / (1 - clipped)) / temperature
        total += min(math.log1p(math.exp(-logit if label else logit)), -math.log(1e-15))
    return total / p.size


def test_calibrated_predictions_are_left_alone(random: np.random.Generator) -> None:
    predictions = random.uniform(0.02, 0.98, (4000, 54))
    truth = (random.random((4000, 54)) < predictions).astype(np.float64)
    units = clusters_of(None, 4000)
    for fold in tempering.study(predictions, truth, log_losses(predictions, truth), units, 1e-15):
        assert fold.temperature == pytest.approx(1, abs=0.02)
        assert fold.clipped == pytest.approx(fold.as_it_is, rel=1e-4)
        assert fold.epsilon == 0, "no logit is beyond 4: of equals the weakest clipping, which is none"


def test_the_metric_s_own_clipping_applies_to_what_is_tried(judged: tuple[Table, Table]) -> None:
    predictions, truth = judged[0].values, judged[1].values
    units = Clusters("sites", np.arange(300) % N_SITES, N_SITES)
    folds = tempering.study(predictions, truth, log_losses(predictions, truth, 0.1), units, 0.1)
    order = np.random.default_rng(tempering.SPLIT_SEED).permutation(N_SITES)
    first = (order < N_SITES // 2)[units.codes]
    clipped = np.clip(predictions, 1e-15, 1 - 1e-15)
    odds = clipped / (1 - clipped)
    for fold, rows in zip(folds, (first, ~first), strict=True):
        assert fold.epsilon == 0
        assert fold.clipped == pytest.approx(fold.as_it_is, rel=1e-12)
        tempered = odds[rows] ** (1 / fold.temperature)
        expected = log_losses(tempered / (1 + tempered), truth[rows], 0.1).mean()
        assert fold.tempered == pytest.approx(expected, rel=1e-6)
    assert tempering.study(predictions, truth, predictions, Clusters("sites", np.zeros(300, np.int64), 1), 1e-15) == []


def test_a_submission_is_no_better_than_itself(judged: tuple[Table, Table]) -> None:
    submission, labels = judged
    comparison = score_report.report(submission, labels, {}, against=submission, n_resamples=100).comparison
    assert comparison is not None
    assert (comparison.difference, comparison.better) == (0.0, "unclear")
    assert {one.better for one in comparison.classes} == {"unclear"}


def test_who_gains_is_told_by_class_and_turns_round_with_the_submissions(judged: tuple[Table, Table]) -> None:
    submission, labels = judged
    worse = submission.values.copy()
    worse[:, EMPTY] = 0.5
    other = Table(submission.seq_ids, worse)
    strata = strata_of(labels.seq_ids, None)
    there = score_report.report(submission, labels, strata, against=other, n_resamples=200).comparison
    back = score_report.report(other, labels, strata, against=submission, n_resamples=200).comparison
    assert there is not None
    assert back is not None
    assert (there.better, there.classes[0].label, there.classes[0].better) == ("first", "empty", "first")
    assert there.share_first_better == 1
    assert {one.difference for one in there.classes[1:]} == {0.0}
    gained = log_losses(submission.values, labels.values).mean() - log_losses(worse, labels.values).mean()
    assert there.difference == pytest.approx(gained, rel=1e-9)
    assert there.classes[0].contribution == pytest.approx(there.difference, rel=1e-9)
    assert back.better == "second"
    assert back.difference == pytest.approx(-there.difference, rel=1e-12)
    assert back.interval.low == pytest.approx(-there.interval.high, rel=1e-9)


def test_a_class_that_few_sites_show_has_no_verdict(random: np.random.Generator) -> None:
    """The second submission says less of every class everywhere: better where nothing is there, and that is no merit."""
    n_showing = (0, 1, 4, 5, 7)
    seq_ids = tuple(f"S1#B{row % N_SITES:02d}#1#{row}" for row in range(70))
    truth = np.zeros((70, 54))
    for c, n_sites in enumerate(n_showing):
        truth[:n_sites, c] = 1
    first = np.full((70, 54), 0.2) + random.uniform(0, 1e-3, (70, 54))
    comparison = score_report.report(
        Table(seq_ids, first), Table(seq_ids, truth), strata_of(seq_ids, None),
        against=Table(seq_ids, np.full((70, 54), 0.1)), n_resamples=200,
    ).comparison  # fmt: skip
    assert comparison is not None
    found = {one.label: one for one in comparison.classes}
    assert [found[label].units_with_positives for label in LABELS[:5]] == list(n_showing)
    for label, n_sites in zip(LABELS, [*n_showing, *[0] * 49], strict=True):
        bounds = found[label].interval
        is_clear = bounds.low > 0 or bounds.high < 0
        assert (found[label].better == "unclear") == (n_sites < 5 or not is_clear)
    assert found["zorilla"].interval.low > 0
    assert found[LABELS[3]].better == "second"


def test_what_is_not_clipped_is_not_said_to_be_clipped_to_nothing() -> None:
    values = {"as_it_is": 1.0, "clipped": 1.0, "tempered": 1.0, "temperatures": (1.0, 1.0)}
    for epsilons, words in (
        ((0.0, 0.0), "not clipped (no gain on either half)"),
        ((0.0, 0.018), "not clipped or clipped to 1.8e-02"),
        ((0.001, 0.018), "clipped to 1.0e-03 or clipped to 1.8e-02"),
    ):
        assert score_report.Tuning(epsilons=epsilons, **values).clipping == words


def test_the_schema_of_the_json_changes_only_on_purpose() -> None:
    """A change of this file is a change of `schema_version`, unless it only adds what others may ignore."""
    assert json.loads(SCHEMA.read_text()) == score_report.ScoreReport.model_json_schema()


def test_a_document_without_what_was_added_later_is_still_one(judged: tuple[Table, Table]) -> None:
    submission, labels = judged
    strata = strata_of(labels.seq_ids, None)
    content = score_report.report(submission, labels, strata, against=submission, n_resamples=100).model_dump()
    del content["resampling"]["small_sample_note"]
    for one in content["comparison"]["classes"]:
        del one["units_with_positives"]
    assert score_report.ScoreReport.model_validate(content).log_loss == content["log_loss"]


def test_a_report_survives_its_json(judged: tuple[Table, Table]) -> None:
    submission, labels = judged
    report = score_report.report(
        submission, labels, strata_of(labels.seq_ids, None), against=submission, n_resamples=100
    )
    assert score_report.ScoreReport.model_validate_json(report.model_dump_json()) == report


@pytest.mark.parametrize("width", [80, 120, 140])
def test_the_tables_fit_a_terminal_and_cut_no_label(
    width: int, judged: tuple[Table, Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(tables, "wide_console", lambda: Console(file=shown, width=width))
    submission, labels = judged
    strata = strata_of(labels.seq_ids, None)
    report = score_report.report(submission, labels, strata, against=submission, n_resamples=100)
    tables.print_report(report, "a.csv", "b.csv")
    table_lines = [line for line in shown.getvalue().splitlines() if line[:1] in "┏┃┡│└"]
    assert all(len(line) <= width for line in table_lines)
    assert "…" not in shown.getvalue()
    rows = {line.split("│")[1].strip() for line in table_lines if line.startswith("│")}
    assert set(LABELS) <= rows
