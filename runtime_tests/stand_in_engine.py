"""An engine for tests that has lower precisions on every processor: the real networks, with noise added to their answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from inference.bundle.reader import Bundle
from inference.core.choices import Precision
from inference.core.errors import OutOfMemoryError
from inference.execution.executor import Block
from inference.execution.job import Job, RunOptions
from inference.execution.local_executor import LocalExecutor
from inference.execution.worker import Worker
from inference.images.decoder import find_decoder
from inference.networks.engine import Engine, find_engine, load_networks
from inference.networks.forward import CallableNetwork, LoadedNetworks
from inference.process.stopwatch import Stopwatch

if TYPE_CHECKING:
    from inference.core.sequences import Probabilities


@dataclass
class StandInEngine:
    """Makes executors whose engine has lower precisions, or none; as `local_executor`.

    Attributes
    ----------
    lower_precisions : those of the device
    noise : largest difference of a probability in them, the same for the same images
    noise_on_photos : the same for everything but the proof set; None: no other
    is_proving : whether the proof set is computed now
    has_memory : False where networks in them do not fit
    loaded : precisions in the order in which they were loaded
    overflows : whether they do not hold the first answer of a call, from now on
    """

    lower_precisions: tuple[Precision, ...] = (Precision.MIXED,)
    noise: float = 0.01
    noise_on_photos: float | None = None
    is_proving: bool = False
    has_memory: bool = True
    loaded: list[Precision] = field(default_factory=list)
    overflows: bool = False

    def __call__(self, job: Job, options: RunOptions, stopwatch: Stopwatch, check: Callable[[], None]) -> LocalExecutor:
        """The executor of a job."""
        engine = replace(find_engine(job.engine), lower_precisions=self.lower_precisions)
        worker = Worker(job, options, find_decoder(job.decoder, options.n_workers), stopwatch)
        executor = LocalExecutor(worker, engine, check, self.load)
        prove = executor.prove

        def proved(precision: Precision) -> Block:
            self.is_proving = True
            block = prove(precision)
            self.is_proving = False
            return block

        executor.prove = proved  # type: ignore[method-assign]
        return executor

    def load(self, bundle: Bundle, engine: Engine, precision: Precision, check: Callable[[], None]) -> LoadedNetworks:
        """As `load_networks`."""
        self.loaded.append(precision)
        networks = load_networks(bundle, engine, Precision.FLOAT32, check)
        if precision is Precision.FLOAT32:
            return networks
        if not self.has_memory:
            raise OutOfMemoryError("mixed precision: no room")
        probe = np.clip(networks.probe + self.noise + self.overflows, 0, 1).astype(np.float32)
        noisy = {name: self._noisy(one) for name, one in networks.by_name.items()}
        return replace(networks, by_name=noisy, probe=probe, in_float32=networks.by_name.__getitem__)

    def _noisy(self, network: CallableNetwork) -> CallableNetwork:
        def call(inputs: Mapping[str, npt.NDArray[np.float32]], /) -> Probabilities:
            exact = network(inputs)
            brightness = np.sum([one.mean(axis=(1, 2, 3)) for one in inputs.values()], axis=0)
            noise = self.noise if self.is_proving or self.noise_on_photos is None else self.noise_on_photos
            answers = np.clip(exact + noise * np.sin(brightness)[:, None], 0, 1).astype(np.float32)
            answers[: int(self.overflows)] = np.inf
            return answers

        return call
