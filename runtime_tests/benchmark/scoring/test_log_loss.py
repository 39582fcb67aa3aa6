"""The competition's metric, against a naive loop."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from benchmark.scoring.log_loss import score
from inference.core.errors import InputError
from inference.core.labels import CLASS_PRIORS, LABELS
from inference.dataset.label_tables import Table, read_labels, read_submission


def naive_log_loss(labels: np.ndarray, predictions: np.ndarray, epsilon: float) -> float:
    total = 0.0
    for row_y, row_p in zip(labels.tolist(), predictions.tolist(), strict=True):
        for y, p in zip(row_y, row_p, strict=True):
            clipped = min(max(p, epsilon), 1 - epsilon)
            total -= y * math.log(clipped) + (1 - y) * math.log(1 - clipped)
    return total / (len(labels) * len(LABELS))


def tables(n: int, random: np.random.Generator) -> tuple[Table, Table]:
    seq_ids = tuple(f"s{row}" for row in range(n))
    predictions = random.uniform(0, 1, (n, 54)) ** 8
    predictions[0, :2] = (0.0, 1.0)
    labels = (random.random((n, 54)) < 0.1).astype(np.float64)
    labels[0, :2] = (1.0, 0.0)  # as wrong as can be: clipping decides
    return Table(seq_ids, predictions), Table(seq_ids, labels)


@pytest.mark.parametrize("epsilon", [1e-15, 1e-7, 0.01])
def test_score_is_that_of_a_naive_loop(epsilon: float, random: np.random.Generator) -> None:
    submission, labels = tables(40, random)
    expected = naive_log_loss(labels.values, submission.values, epsilon)
    assert score(submission, labels, epsilon).log_loss == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_contributions_add_up_and_are_sorted(random: np.random.Generator) -> None:
    result = score(*tables(40, random))
    contributions = [one.contribution for one in result.classes]
    assert sum(contributions) == pytest.approx(result.log_loss, rel=1e-12)
    assert contributions == sorted(contributions, reverse=True)
    assert {one.label for one in result.classes} == set(LABELS)


def test_the_order_of_the_rows_does_not_matter(random: np.random.Generator) -> None:
    submission, labels = tables(20, random)
    order = random.permutation(20)
    shuffled = Table(tuple(submission.seq_ids[row] for row in order), submission.values[order])
    assert score(shuffled, labels) == score(submission, labels)


def test_all_one_half_scores_the_logarithm_of_two() -> None:
    """REFERENCE.md section 1: 0.693."""
    labels = np.zeros((3, 54))
    labels[:, 15] = 1
    ids = ("a", "b", "c")
    assert score(Table(ids, np.full((3, 54), 0.5)), Table(ids, labels)).log_loss == pytest.approx(math.log(2))


def test_priors_score_what_the_competition_reported() -> None:
    """REFERENCE.md section 1: class priors alone 0.0320; here as the expectation over labels drawn from them."""
    priors = np.array(list(CLASS_PRIORS.values()))
    entropy = -(priors * np.log(priors) + (1 - priors) * np.log(1 - priors)).mean()
    assert entropy == pytest.approx(0.0320, abs=2e-4)


def write(path: Path, rows: list[str], header: str = "seq_id," + ",".join(LABELS)) -> Path:
    path.write_text("\n".join([header, *rows, ""]))
    return path


def row(seq_id: str, first: str = "0") -> str:
    return ",".join([seq_id, first, *["0"] * 53])


def test_columns_may_come_in_any_order(tmp_path: Path) -> None:
    header = "seq_id," + ",".join(reversed(LABELS))
    table = read_labels(write(tmp_path / "l.csv", [row("a", "1")], header))
    assert table.values[0].tolist() == [0.0] * 53 + [1.0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row("a", "x")], "row 2, column aardvark: must be a number, got 'x'"),
        ([row("a", "")], "row 2, column aardvark: must be a number, got ''"),
        ([row("a", "nan")], r"sequence a, column aardvark: must be in \[0, 1\], got nan"),
        ([row("a", "-0.1")], r"sequence a, column aardvark: must be in \[0, 1\], got -0.1"),
        ([row("a"), row("b", "1.5")], r"sequence b, column aardvark: must be in \[0, 1\], got 1.5"),
        ([row("a"), row("a")], "row 3, column seq_id: must be unique"),
        (["a,0"], "row 2: must have 55 columns, got 2"),
        ([], "at least one row"),
    ],
)
def test_a_submission_that_is_none_is_refused_with_its_place(rows: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as error:
        read_submission(write(tmp_path / "s.csv", rows))
    assert "s.csv" in str(error.value)


def test_labels_must_be_zero_or_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sequence a, column aardvark: must be 0 or 1, got 0.5"):
        read_labels(write(tmp_path / "l.csv", [row("a", "0.5")]))


@pytest.mark.parametrize("header", ["", "id,zebra", "seq_id,zebra,unicorn"])
def test_other_columns_are_refused(header: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="row 1"):
        read_submission(write(tmp_path / "s.csv", [], header))


def test_other_sequences_are_refused(random: np.random.Generator) -> None:
    submission, labels = tables(5, random)
    other = Table(("x", *labels.seq_ids[1:]), labels.values)
    with pytest.raises(InputError, match=r"1 missing \['x'\] and 1 unknown \['s0'\]"):
        score(submission, other)


def spellings(n: int, random: np.random.Generator) -> list[list[str]]:
    """Numbers as programs and people write them: all of them a float for Python."""
    values = random.random((n, 54)) ** 30
    return [[random.choice([f"{v:.9g}", f"{v:.17g}", f"{v:e}", "0", "1", "1.0", "0.0"]) for v in row] for row in values]


@pytest.mark.parametrize("extra", [[], ["0.5", ".5"], ["0.5", "+.5e0"], ["0", " 1"], ["1", "0_1"]])
def test_numbers_are_read_as_python_reads_them(extra: list[str], tmp_path: Path, random: np.random.Generator) -> None:
    """Ordinary files take a short cut, others (the last spelling of `extra`) do not: both end in the same numbers."""
    rows = spellings(30, random)
    rows[7][: len(extra)] = extra
    path = write(tmp_path / "s.csv", [",".join([f"s{n}", *row]) for n, row in enumerate(rows)])
    np.testing.assert_array_equal(read_submission(path).values, [[float(text) for text in row] for row in rows])


def test_quoted_and_bare_ids_are_the_same_and_so_is_a_byte_order_mark(tmp_path: Path) -> None:
    bare = read_labels(write(tmp_path / "a.csv", [row("a", "1"), row("b")]))
    quoted = read_labels(write(tmp_path / "b.csv", [row('"a"', "1"), row("b")]))
    marked = tmp_path / "c.csv"
    marked.write_bytes(b"\xef\xbb\xbf" + (tmp_path / "a.csv").read_bytes().replace(b"\n", b"\r\n"))
    for other in (quoted, read_labels(marked)):
        assert other.seq_ids == bare.seq_ids == ("a", "b")
        np.testing.assert_array_equal(other.values, bare.values)


@pytest.mark.parametrize("value", ["null", "true", "[0]", '""', "NaN", "1e400", "9" * 400])
def test_what_only_json_would_read_is_refused(value: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="column aardvark"):
        read_submission(write(tmp_path / "s.csv", [row("a"), row("b", value)]))


def test_ids_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", [row("a")])
    path.write_bytes(path.read_bytes().replace(b"\na,", b"\n\xff,"))
    with pytest.raises(InputError, match="must be valid CSV in UTF-8"):
        read_submission(path)
