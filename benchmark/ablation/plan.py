"""The size of the ablation study."""

from dataclasses import dataclass, replace

from inference.core.sequences import ImageSize
from models.spec.kinds import NetworkKind
from models.spec.network_plan import NetworkPlan
from models.spec.schedule import Schedule, SizeStage

LEARNING, VALIDATION, STACKING, JUDGING = tuple(f"S{n}" for n in range(1, 8)), ("S8",), ("S9", "S10"), "S11"
"""The published program trains on seasons 1 to 8 and validates on 9. Here 8 validates; 9 and 10 train the stackers."""
ALL_SEASONS = tuple(range(1, 12))
DECAY = 0.15
LEAST_POSITIVES = 6
"""A class is stacked if each half of both seasons has this many positives."""
BATCH_SEQUENCES = 32
PHOTO_SIZE, NETWORK_SIZE = ImageSize(576, 768), ImageSize(96, 128)


@dataclass(frozen=True)
class AblationSize:
    """The size of the study.

    Attributes
    ----------
    n_sequences : sequences of every season
    photo_size : larger than the frames after the reference resize, so that the resize has an effect
    epochs, branch_epochs : epochs of networks, and of the two-branch network with its pretrained branches
    learning_rate, branch_learning_rate : initial rates
    rounds : most trees of a stacker
    """

    name: str = "full"
    seeds: tuple[int, ...] = (1, 2, 3)
    n_sequences: int = 450
    n_cameras: int = 12
    photo_size: ImageSize = PHOTO_SIZE
    size: ImageSize = NETWORK_SIZE
    epochs: int = 12
    branch_epochs: int = 6
    batch_size: int = 32
    learning_rate: float = 2e-3
    branch_learning_rate: float = 2e-4
    rounds: int = 1000


FULL = AblationSize()
MINI = replace(
    FULL,
    name="mini",
    seeds=(1,),
    n_sequences=30,
    n_cameras=4,
    photo_size=ImageSize(408, 544),
    size=ImageSize(48, 64),
    epochs=1,
    branch_epochs=1,
    batch_size=16,
    rounds=40,
)


def schedule_of(network: NetworkPlan, plan: AblationSize) -> Schedule:
    """One size; the two-branch network trains shorter and with a lower rate, as in the published program."""
    is_branched = network.kind is NetworkKind.TWO_BRANCH
    stage = SizeStage(
        height=plan.size.height,
        width=plan.size.width,
        batch_size=plan.batch_size,
        epochs=plan.branch_epochs if is_branched else plan.epochs,
        learning_rate=plan.branch_learning_rate if is_branched else plan.learning_rate,
    )
    return Schedule(format_version=1, description="The ablation study's", decay=DECAY, sizes=(stage,))
