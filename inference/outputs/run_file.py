"""The fields of `run.json` and `status.json`, from which `make commands` makes their JSON Schemas and tables; the readers.

Types are checked because people edit files.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt, TypeAdapter, ValidationError

from inference.core.choices import Precision
from inference.core.config_files import first_problem
from inference.core.files import read_json

RUN_REPORT_NAME = "run.json"
Count = NonNegativeInt
Positive = Annotated[FiniteFloat, Field(gt=0)]
BY_EFFORT = "Degraded sequences by degree of degradation."
IN_LOWER_PRECISION = "Sequences for which a lower precision was turned on to save time."
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def absent(description: str | None = None) -> Any:
    """Default of a field that not every run has; null is refused."""
    return Field(default_factory=dict, description=description)


class _Part(BaseModel):
    """Other keys are allowed."""

    model_config = ConfigDict(strict=True)


class Bundle(_Part):
    """The model bundle."""

    id: Sha256 = Field(description="SHA-256 of its manifest.")
    name: str = Field(description="Its name.")
    demo: bool = Field(description="Whether it is a demo, which allows no conclusions.")


class Audit(_Part):
    """A random sample of the run, computed in float32 too; only in a lower precision."""

    verdict: Literal["held", "broken", "not shown"] = Field(
        description="Whether the increase of the log loss is within its bound on all sequences, with a confidence of 95 %. "
        "`not shown`: too few sequences for either."
    )
    n_sampled: Count = Field(description="Sequences that were compared.")
    n_population: Count = Field(description="Sequences that they stand for.")
    mean_kl: FiniteFloat | None = Field(
        description="Expected increase of the log loss, mean over the sample; null without one."
    )
    mean_entropy: FiniteFloat | None = Field(description="Expected log loss in float32, mean over the sample.")
    kl_lower: FiniteFloat = Field(description="Lower bound of the increase on all sequences.")
    kl_upper: FiniteFloat = Field(description="Upper bound of the increase on all sequences.")
    bound: FiniteFloat = Field(description="Largest accepted increase, relative to the log loss.")
    n_clipped: Count = Field(description="Sequences with an increase so large that it counts as 0.35.")


class NetworkPrecision(_Part):
    """The precision of the networks, and its comparison with float32 on the bundle's proof set, if it was made."""

    asked: Precision = Field(description="As given.")
    used: Precision = Field(description="As the networks ran.")
    reason: str = absent("Why the precision is another than asked for, where the comparison does not show it.")
    relative_loss_increase: FiniteFloat = absent("`mean_kl` / `mean_entropy`.")
    n_sequences: Count = absent("Sequences that were compared.")
    mean_kl: FiniteFloat = absent("Expected increase of the log loss.")
    mean_entropy: FiniteFloat = absent("Expected log loss in float32.")
    bound: FiniteFloat = absent("Largest accepted `relative_loss_increase`.")
    n_repeated: Count = absent("Calls of a network that half precision could not hold.")
    audit: Audit = absent()


class Versions(_Part):
    """Versions of the program, of Python, and of the libraries whose numbers count."""

    hakuna: str = Field(description="Hakuna Runtime.")
    python: str = Field(description="Python.")


class Counts(_Part):
    """Counts of the run."""

    sequences: Count = Field(description="All sequences; of a shard, its own.")
    sequences_with_priors: Count = Field(
        description="Sequences whose row is the usual share of each class, because no photo was seen."
    )


class ShortCounts(Counts):
    """Counts of the run."""

    failed_photos: Count = Field(description="Photos that could not be used.")
    calls_repeated_in_float32: Count = Field(description="Calls of a network that half precision could not hold.")


class ShardCounts(ShortCounts):
    """Counts of the run."""

    sequences_by_effort: dict[str, Count] = Field(description=BY_EFFORT)
    sequences_in_lower_precision_for_lack_of_time: Count = Field(description=IN_LOWER_PRECISION)


class OutOfTimeCounts(ShortCounts):
    """Counts of the run."""

    sequences_finished: Count = Field(description="Rows of the submission, from the top, that are final.")


class FullCounts(Counts):
    """Counts of the run."""

    frames: Count = Field(description="Photos that the networks saw.")
    sequences_without_usable_photos: Count = Field(description="Of those with priors: their photos could not be used.")
    sequences_without_datetime: Count = Field(description="Sequences with photos, none of which has a time.")
    sequences_by_effort: dict[str, Count] = Field(description=BY_EFFORT)
    sequences_in_lower_precision_for_lack_of_time: Count = Field(description=IN_LOWER_PRECISION)
    frames_resized: Count = Field(description="Frames whose size differed from the first of their burst.")
    photos_cut_short: Count = Field(description="Photos without their end that were used; the missing part is grey.")
    failed_photos: dict[str, Count] = Field(description="Photos that could not be used, by reason.")
    sequences_by_label: dict[str, Count] = Field(
        description="Sequences that a network processed, by their likeliest label."
    )
    sequences_to_check: Count = Field(
        description="Sequences whose likeliest label has less than 0.5, or that no network processed."
    )
    sequences_without_metadata: Count = absent("Sequences of the submission format that the metadata lacks.")
    sequences_not_in_format: Count = absent("Sequences of the metadata that the submission format lacks.")
    duplicate_metadata_rows: Count = absent("Rows of the metadata that repeat an earlier one.")
    unreadable_datetimes: Count = absent("Cells of the metadata that are not a datetime.")
    datetimes_without_time: Count = absent("Cells of the metadata that are a date alone.")
    calls_repeated_in_float32: Count = absent("Calls of a network that half precision could not hold.")


class ProbeDifferences(_Part):
    """Only where records of other processors were mixed."""

    sequences: Count = Field(description="Sequences whose networks answered fixed noise otherwise.")
    largest: FiniteFloat = Field(description="Largest difference of the answers.")


class Neighbours(_Part):
    """Only with a recipe that uses them."""

    used: bool = Field(description="False if too few sequences have neighbours.")
    coverage_by_window: tuple[FiniteFloat, ...] = Field(description="Share of sequences with a neighbour, by window.")
    sequences_without_camera_or_moment: Count = Field(description="Sequences that cannot have neighbours.")


class Budget(_Part):
    """Only with `--budget`."""

    seconds: Positive = Field(description="The time limit.")
    used_seconds: FiniteFloat = Field(description="Seconds used in the end.")


class Overlap(_Part):
    """How much of the decoding ran in parallel with the networks."""

    workers: Count = Field(description="Threads that decode.")
    networks_waited_seconds: FiniteFloat = Field(description="Seconds that the networks waited for photos.")
    each_worker_waited_seconds: FiniteFloat = Field(description="Seconds that each thread waited for the networks.")
    bottleneck: Literal["networks", "photos"] = Field(description="Which of them the other waited for.")


class Cluster(_Part):
    """The workers of a run on a cluster. Nodes are named by their address and the start of their id."""

    workers: Count = Field(description="Workers at the end.")
    lost: Count = Field(description="Workers that ended early.")
    asked_twice: Count = Field(description="Blocks of sequences that a second worker was given.")
    left_out: dict[str, str] = Field(description="Nodes, or GPUs of nodes, that could not compute this run, and why.")
    sequences_by_node: dict[str, int] = Field(description="Sequences computed on each node by this run.")


class Files(_Part):
    """Hashes of the outputs."""

    submission: Sha256 = Field(alias="submission.csv", description="SHA-256 of the submission.")
    failures: Sha256 = Field(alias="failures.csv", description="SHA-256 of the list of failed photos.")


class Shard(_Part):
    """The part of the sequences."""

    first: Count = Field(description="Index of its first sequence among all.")
    sequences: Count = Field(description="Number of its sequences.")
    of: Count = Field(description="Number of all sequences.")


class _Run(_Part):
    format_version: Literal[2] = Field(description="Version of this format.")
    status: str
    warning: str = absent("`demo model: not for conclusions`, where the bundle is a demo.")
    bundle: Bundle
    counts: Counts
    probe_differences: ProbeDifferences = absent()
    degraded: bool = Field(description="Whether any sequence got less than the full ensemble.")


class OutOfTimeRun(_Run):
    """The budget ended before every sequence had its record."""

    status: Literal["out of time"] = Field(description="How the run ended.")
    counts: OutOfTimeCounts
    stage: str = Field(description="The stage at that moment.")
    budget: Budget
    files: Files


class _Finished(_Run):
    fingerprint: dict[str, str] = Field(description="Everything that the records depend on, each under its name.")
    seconds: dict[str, FiniteFloat] = Field(
        description="`elapsed`, and the time of each stage. Stages marked `all workers` add up the threads."
    )
    sequences_kept_from_earlier_run: Count = Field(description="Sequences whose record an interrupted run had left.")


class CompleteShard(_Finished):
    """A part for `hakuna merge`."""

    status: Literal["shard complete"] = Field(description="How the run ended.")
    shard: Shard
    counts: ShardCounts
    budget: Budget = absent()


class CompleteRun(_Finished):
    """Every sequence has its record."""

    status: Literal["complete"] = Field(description="How the run ended.")
    precision: NetworkPrecision
    versions: Versions
    counts: FullCounts
    neighbours: Neighbours = absent()
    budget: Budget = absent()
    overlap: Overlap = absent()
    cluster: Cluster = absent()
    sequences_per_second: FiniteFloat = Field(description="Of the sequences that this run predicted.")
    files: Files


class Status(_Part):
    """The progress of a run."""

    format_version: Literal[1] = Field(description="Version of this format.")
    stage: str = Field(
        description="Such as `loading the networks`, `photos to records`, `records to submission`. At the end `complete` "
        "or, after a budget, `out of time`, both with exit code 0; `interrupted`; `failed`."
    )
    done: Count = Field(description="Sequences that have their record.")
    total: Count = Field(description="All sequences; of a shard, its own.")
    kept_from_earlier_run: Count = Field(description="Of those done.")
    sequences_per_second: FiniteFloat = Field(description="Of this process.")
    eta_seconds: Count | None = Field(description="Seconds to the end; null before the first sequence.")
    elapsed_seconds: FiniteFloat = Field(description="Of this process.")
    failed_photos: Count = Field(description="Photos that could not be used so far.")
    degraded_sequences: Count = Field(description="Sequences with less than the full ensemble so far.")
    workers: Count = absent("On a cluster: workers that compute.")
    waiting_for: str | None = absent("On a cluster: the sequences that the run waits for; null while it does not.")
    waiting_seconds: FiniteFloat = absent("On a cluster: seconds that the run has waited for them.")


RUN: TypeAdapter[CompleteRun | OutOfTimeRun | CompleteShard] = TypeAdapter(
    Annotated[CompleteRun | OutOfTimeRun | CompleteShard, Field(discriminator="status")]
)
STATUS = TypeAdapter(Status)


def read_run_file(folder: Path) -> dict[str, Any]:
    """The content of `run.json`. Raises OSError if it cannot be read, ValueError if it is invalid."""
    return read_checked(folder / RUN_REPORT_NAME, RUN)


def read_checked(path: Path, fields: TypeAdapter[Any]) -> dict[str, Any]:
    """The content of a JSON file with these fields. Raises OSError if it cannot be read, ValueError if it is invalid."""
    try:
        content: dict[str, Any] = read_json(path)
        fields.validate_json(json.dumps(content))
    except ValidationError as error:
        raise ValueError(first_problem(error)) from error
    except RecursionError as error:
        raise ValueError("too many brackets") from error
    return content
