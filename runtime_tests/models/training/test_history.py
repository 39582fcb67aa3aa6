"""What the log of a training says about its future."""

from structlog.testing import capture_logs

from models.spec.schedule import epochs_of, load_schedule
from models.training.history import TrainingProgress


def test_time_to_go_is_work_left_at_the_rate_of_work_done() -> None:
    epochs = epochs_of(load_schedule("two_branch"))[:1]
    times = iter([0.0, 40.0, 40.0])
    progress = TrainingProgress(epochs, n_training=100, n_validation=60, clock=lambda: next(times))
    with capture_logs() as lines:
        progress(epochs[0], n_batch=20, n_examples=20, loss=0.5)
    # 20 of 100 sequences learned from, which is as much work as 60 of the 360 passes: 40 s for 60, so 200 s for 300.
    assert [line["eta_seconds"] for line in lines] == [200]
