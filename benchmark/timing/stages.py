"""The parts of a run as repeatable stages, made of the same functions as a run."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from benchmark.timing.measure import Stage
from benchmark.timing.reference_kernels import Kernel
from inference.api.jobs import build_job
from inference.bundle.passes import Effort, Pass, passes_for
from inference.bundle.reader import Bundle
from inference.core.choices import Device, EngineName, Precision
from inference.core.errors import UsageError
from inference.core.iteration import batched
from inference.core.sequences import FrameFailure, ImageSize, Pixels, Sequence, ViewedSequence
from inference.ensemble.estimator import Estimator
from inference.execution.job import RunOptions
from inference.execution.local_executor import LocalExecutor
from inference.execution.worker import Worker
from inference.images.decode_pillow import quarter_size
from inference.images.decode_turbo import decode_plain, plain_size
from inference.images.decoder import find_decoder
from inference.images.reading import read_image_file
from inference.images.resample import resize_lanczos
from inference.networks.call_size import SMALL, SplitNetwork
from inference.networks.engine import Engine, find_engine, load_networks, lower_precisions
from inference.networks.forward import LoadedNetworks, forward
from inference.preprocessing.info_strip import black_out_strip
from inference.preprocessing.views import make_views, same_size
from inference.process.stopwatch import Stopwatch
from inference.records.jsonl import SEQ_IDS, RecordWriter, digest_of_seq_ids
from inference.records.schema import RECORDS_NAME, Record
from inference.run.records_to_submission import records_to_submission
from inference.run.resume import records_header

FRAMES = (1, 3)
"""Numbers of frames to time; two is between them."""
FINISHED_RECORDS = 512
"""Records in the second phase, enough to make the cost of its files negligible."""
SEQUENCES_OF_A_SIZE = 8
MOST_SEQUENCES = 500
"""Sequences of a season to search for photos of each size."""


@dataclass(frozen=True)
class TimingScene:
    """Everything that the stages need, prepared outside the timing."""

    work: Worker
    engine: Engine
    estimator: Estimator
    networks: dict[Precision, LoadedNetworks]
    by_size: dict[tuple[ImageSize, int], list[Sequence]]
    """Sequences by photo size and number of frames."""
    folder: Path
    """Folder for the stages' outputs."""

    @property
    def bundle(self) -> Bundle:
        """The model bundle."""
        return self.work.job.bundle


def set_up(
    data: Path,
    bundle: Bundle,
    options: RunOptions,
    folder: Path,
    precisions: tuple[Precision, ...],
    *,
    engine: EngineName = EngineName.AUTO,
    device: Device = Device.AUTO,
) -> TimingScene:
    """Read the metadata, load the networks and the stackers."""
    job = build_job(data, bundle, engine=engine, device=device)
    found, decoder = find_engine(job.engine, job.device), find_decoder(job.decoder, options.n_workers, job.device)
    estimator = Estimator(bundle)
    work = Worker(job, options, decoder, Stopwatch())
    wanted = [one for one in precisions if one in (Precision.FLOAT32, *lower_precisions(bundle, found))]
    networks = {one: _in_equal_calls(load_networks(bundle, found, one, lambda: None)) for one in wanted}
    estimator.load()
    return TimingScene(work, found, estimator, networks, _by_size(work, job.plan.sequences), folder)


def _in_equal_calls(loaded: LoadedNetworks) -> LoadedNetworks:
    """Networks whose calls are not measured while they are timed."""
    uncut = {name: one.network for name, one in loaded.by_name.items() if isinstance(one, SplitNetwork)}
    return replace(loaded, by_name=uncut, max_call_images=SMALL) if uncut else loaded


def all_stages(scene: TimingScene, images_per_call: tuple[int, ...]) -> list[Stage]:
    """Every stage of a run, in the order of the data."""
    sizes = list(dict.fromkeys(size for size, _ in scene.by_size))
    photos = [stage for size in sizes for stage in _photo_stages(scene, size)]
    viewed = _some_viewed(scene, sizes[0])
    networks = [
        stage
        for precision, loaded in scene.networks.items()
        for number in range(len(_passes(scene)))
        for stage in _network_stages(scene, viewed, precision, loaded, number, images_per_call)
    ]
    return [*photos, *_view_stages(scene, sizes[0]), *networks, *_last_stages(scene, viewed), _end_to_end(scene)]


def _photo_stages(scene: TimingScene, size: ImageSize) -> list[Stage]:
    """Decoding and resampling on one core; all steps up to the views with all workers."""
    [sequence, *_] = scene.by_size[size, max(FRAMES)]
    files = [_read(scene, image.file_name) for image in sequence.images]
    pixels = [photo for data in files if (photo := decode_plain(data)) is not None]
    if len(pixels) < len(files):
        raise UsageError(f"{scene.work.job.photos}: must hold plain JPEG photos, got others")
    decode = partial(_each, decode_plain, files)
    resample = partial(_each, partial(resize_lanczos, size=quarter_size(size)), pixels)
    photos = partial(Stage, group="photos", height=size.height, width=size.width)
    stages = [
        photos(f"decode {size}", unit="photos", n_units=len(files), kernel=Kernel.JPEG, work=decode),
        photos(f"resample {size}", unit="photos", n_units=len(pixels), kernel=Kernel.MATRIX, work=resample),
    ]
    for n_frames in FRAMES:
        name, view = f"photos to views {size} x{n_frames}", partial(_view_all, scene, scene.by_size[size, n_frames])
        n_units, kernel = SEQUENCES_OF_A_SIZE, Kernel.JPEG_ALL
        stages.append(photos(name, unit="sequences", n_units=n_units, kernel=kernel, work=view, n_frames=n_frames))
    return stages


def _view_stages(scene: TimingScene, size: ImageSize) -> list[Stage]:
    """Info strip and views of a decoded sequence."""
    frames = {n_frames: _frames(scene, scene.by_size[size, n_frames][0]) for n_frames in FRAMES}
    return [
        Stage(f"views x{n}", "views", "sequences", 1, Kernel.COPY, partial(_make_views, scene, frames[n]), n_frames=n)
        for n in FRAMES
    ]


def _network_stages(
    scene: TimingScene,
    viewed: dict[int, ViewedSequence],
    precision: Precision,
    loaded: LoadedNetworks,
    number: int,
    images_per_call: tuple[int, ...],
) -> list[Stage]:
    """One output at several numbers of images per call, including mirror images as in a run."""
    passes = tuple(replace(one, is_asked=k == number) for k, one in enumerate(_passes(scene)))
    one = passes[number]
    copies = 1 + one.mirror
    source = viewed[1 if one.network.per_frame else max(FRAMES)]
    size = one.size.as_image_size()
    facts: dict[str, Any] = {"network": one.network.name, "precision": precision.value, **size._asdict()}
    stages = []
    for n_images in images_per_call:
        batch = [source] * max(1, n_images // copies)
        name, n_units = f"{one.network.name} {size} {precision.value} x{len(batch) * copies}", len(batch) * copies
        work = partial(forward, batch, passes, replace(loaded, max_call_images=n_images))
        stages.append(Stage(name, "network", "images", n_units, Kernel.CONVOLUTIONS, work, **facts))
    return stages


def _last_stages(scene: TimingScene, viewed: dict[int, ViewedSequence]) -> list[Stage]:
    """Records, stackers, submission."""
    work = scene.work
    [record] = work.predict(scene.networks[Precision.FLOAT32], [viewed[max(FRAMES)]])
    records = [replace(record, seq_id=f"{number}") for number in range(FINISHED_RECORDS)]
    finish = partial(Stage, group="finish", unit="sequences", n_units=len(records))
    to_submission = partial(records_to_submission, scene.folder, scene.estimator, scene.folder)
    return [
        finish("stackers", kernel=Kernel.JPEG_ALL, work=partial(scene.estimator, records)),
        finish("write records", kernel=Kernel.JPEG, work=partial(_write_records, scene, records)),
        finish("records to submission", kernel=Kernel.JPEG_ALL, work=to_submission),
    ]


def _end_to_end(scene: TimingScene) -> Stage:
    """Photos to estimates, decoding ahead of the networks like a run."""
    sequences = [one for same in scene.by_size.values() for one in same]

    def run() -> None:
        viewed = scene.work.prepared(sequences, 2 * scene.work.options.batch_size)
        for batch in batched(viewed, scene.work.options.batch_size):
            scene.estimator(scene.work.predict(scene.networks[Precision.FLOAT32], batch))

    return Stage("end to end", "end to end", "sequences", len(sequences), Kernel.JPEG_ALL, run)


def _by_size(work: Worker, sequences: tuple[Sequence, ...]) -> dict[tuple[ImageSize, int], list[Sequence]]:
    """Sequences by photo size and number of frames, for the numbers that the stages need."""
    found: dict[tuple[ImageSize, int], list[Sequence]] = {}
    storage = work.job.storage(work.options.read_timeout)
    for sequence in sequences[:MOST_SEQUENCES]:
        data = read_image_file(storage, sequence.images[0].file_name) if sequence.images else None
        size = plain_size(data) if isinstance(data, bytes) else None
        for n_frames in FRAMES:
            if size is not None and len(sequence.images) >= n_frames:
                cut = replace(sequence, images=sequence.images[:n_frames])
                found.setdefault((size, n_frames), []).append(cut)
    whole = {key: same for key, same in found.items() if (key[0], max(FRAMES)) in found}
    if not whole:
        raise UsageError(
            f"{work.job.photos}: must have a sequence of {max(FRAMES)} photos that are plain JPEG, got none"
        )
    return {key: (same * SEQUENCES_OF_A_SIZE)[:SEQUENCES_OF_A_SIZE] for key, same in whole.items()}


def _some_viewed(scene: TimingScene, size: ImageSize) -> dict[int, ViewedSequence]:
    """A sequence ready for the networks, by its number of frames."""
    return {
        n_frames: next(iter(scene.work.prepared(islice(scene.by_size[size, n_frames], 1), 1))) for n_frames in FRAMES
    }


def _passes(scene: TimingScene) -> tuple[Pass, ...]:
    return passes_for(scene.bundle.manifest, Effort.FULL, flip_tta=scene.work.job.flip_tta)


def _read(scene: TimingScene, file_name: str) -> bytes:
    data = read_image_file(scene.work.job.storage(scene.work.options.read_timeout), file_name)
    if isinstance(data, FrameFailure):
        raise UsageError(f"{scene.work.job.photos}: must hold photos that can be read, got {data}")
    return data


def _frames(scene: TimingScene, sequence: Sequence) -> list[Pixels]:
    files = [_read(scene, image.file_name) for image in sequence.images]
    frames = scene.work.decoder.decode(files, scene.work.job.preset)
    return [frame for frame in frames if not isinstance(frame, Exception)]


def _each(work: Callable[[Any], object], items: Iterable[object]) -> None:
    for item in items:
        work(item)


def _view_all(scene: TimingScene, sequences: list[Sequence]) -> None:
    for _ in scene.work.prepared(sequences, len(sequences)):
        pass


def _make_views(scene: TimingScene, frames: list[Pixels]) -> None:
    make_views(black_out_strip(same_size(frames)[0]), scene.bundle.manifest.view_keys)


def _write_records(scene: TimingScene, records: list[Record]) -> None:
    header = records_header(scene.work.job, LocalExecutor(scene.work, scene.engine, lambda: None).facts, None)
    fingerprint = header.fingerprint | {SEQ_IDS: digest_of_seq_ids(one.seq_id for one in records)}
    header = replace(header, fingerprint=fingerprint, n_sequences=len(records), n_all=len(records))
    writer = RecordWriter(scene.folder / RECORDS_NAME, header)
    writer.append(records)
    writer.close()
