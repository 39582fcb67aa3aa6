"""One bundle, every engine, every precision, every decoder: the same answer within stated bounds."""

from __future__ import annotations

import inspect
import re
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from benchmark.selftest.demo import BUNDLE_FOLDER
from inference.bundle.reader import Bundle, open_bundle
from inference.core.choices import DecoderName, Device, EngineName, Precision
from inference.core.errors import UnusableGpuError, UsageError
from inference.images import decoder
from inference.networks import engine as engines
from inference.networks import engine_openvino, engine_tensorflow
from inference.networks.engine import find_engine, has_fast_bfloat16, installed_engines, lower_precisions
from inference.settings import packages, settings
from inference.settings.settings import load_settings
from runtime_tests.damage import spoil_int8
from runtime_tests.processors import with_fast_bfloat16, with_processor
from runtime_tests.running import run
from runtime_tests.tables import probabilities

FILES = ("submission.csv", "failures.csv")


@pytest.fixture(scope="module")
def plain(season: Path, quick_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TensorFlow, float32, Pillow: what everything else is compared with."""
    out = tmp_path_factory.mktemp("plain")
    run(season, quick_bundle, out, engine=EngineName.TENSORFLOW, decoder=DecoderName.PILLOW)
    return out


@pytest.mark.parametrize("decoder", [DecoderName.PILLOW, DecoderName.FAST, DecoderName.DALI])
@pytest.mark.parametrize("engine", [EngineName.TENSORFLOW, EngineName.OPENVINO])
def test_float32_answers_agree(
    engine: EngineName, decoder: DecoderName, plain: Path, season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    report = run(season, quick_bundle, tmp_path, engine=engine, decoder=decoder)
    assert report["fingerprint"]["engine"].startswith(f"{engine.value} 2")
    assert report["precision"] == {"asked": "float32", "used": "float32"}
    np.testing.assert_allclose(
        probabilities(tmp_path / "submission.csv")[1], probabilities(plain / "submission.csv")[1], rtol=0, atol=1e-5
    )
    assert (tmp_path / "failures.csv").read_bytes() == (plain / "failures.csv").read_bytes()
    if engine is EngineName.TENSORFLOW:
        assert (tmp_path / "submission.csv").read_bytes() == (plain / "submission.csv").read_bytes()


def test_engines_offer_the_same_names() -> None:
    """`engine.py` uses either without knowing which; only TensorFlow has devices to prepare."""
    modules = (engine_openvino, engine_tensorflow)
    public = [
        {name for name, value in vars(module).items()
         if name[0] != "_" and getattr(value, "__module__", None) == module.__name__}
        for module in modules
    ]  # fmt: skip
    assert public[0] & public[1] == {"FrozenNetwork", "device", "lower_precisions"}
    assert public[0] - public[1] == {
        *("check_layers", "compiled", "has_bfloat16", "read_model", "save_model", "write_network")
    }
    assert public[1] - public[0] == {"prepare_devices", "allocate_on_demand"}
    for name in public[0] & public[1]:
        assert len({str(inspect.signature(getattr(module, name))) for module in modules}) == 1, name
    assert {type(module.device()) for module in modules} == {type(module.VERSION) for module in modules} == {str}
    assert all({*module.lower_precisions()} <= {Precision.MIXED, Precision.INT8} for module in modules)


def with_bound(bundle: Bundle, bound: float) -> Bundle:
    ensemble = bundle.manifest.ensemble.model_copy(update={"max_mixed_loss_increase": bound})
    manifest = bundle.manifest.model_copy(update={"ensemble": ensemble})
    return Bundle(bundle.folder, manifest, bundle.id)


@pytest.fixture
def needs_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor with bfloat16, fast or not."""
    if not engine_openvino.has_bfloat16():
        pytest.skip("needs a processor that multiplies in bfloat16")
    with_fast_bfloat16(monkeypatch)


@pytest.mark.usefixtures("needs_mixed")
def test_mixed_precision_that_proves_itself_is_used(
    plain: Path, season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    report = run(season, with_bound(quick_bundle, 0.05), tmp_path, precision=Precision.MIXED)
    precision = report["precision"]
    assert (precision["asked"], precision["used"]) == ("mixed", "mixed")
    assert 0 < precision["relative_loss_increase"] <= precision["bound"] == 0.05
    difference = np.abs(probabilities(tmp_path / "submission.csv")[1] - probabilities(plain / "submission.csv")[1])
    assert 0 < difference.mean() <= 5e-3


@pytest.mark.usefixtures("needs_mixed")
def test_mixed_precision_that_fails_its_proof_falls_back_to_float32(
    season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    report = run(season, with_bound(quick_bundle, 1e-12), tmp_path / "fallen", precision=Precision.MIXED)
    assert (report["precision"]["asked"], report["precision"]["used"]) == ("mixed", "float32")
    assert report["precision"]["relative_loss_increase"] > 1e-12
    run(season, quick_bundle, tmp_path / "float32")
    for name in FILES:
        assert (tmp_path / "fallen" / name).read_bytes() == (tmp_path / "float32" / name).read_bytes()


@pytest.mark.usefixtures("needs_mixed")
def test_mixed_precision_of_one_network_in_tensorflow_is_nothing_to_another(quick_bundle: Bundle) -> None:
    from inference.networks.engine_tensorflow import FrozenNetwork

    network = quick_bundle.manifest.networks[0]
    folder, names = quick_bundle.folder / network.folder, tuple(one.name for one in network.inputs)
    images = np.random.default_rng(1).uniform(0, 255, (4, 96, 128, 3)).astype(np.float32)
    exact = FrozenNetwork(folder, names)
    before = exact({names[0]: images})
    mixed = FrozenNetwork(folder, names, Precision.MIXED)
    assert 0 < np.abs(mixed({names[0]: images}) - before).max() < 0.05
    np.testing.assert_array_equal(exact({names[0]: images}), before)
    np.testing.assert_array_equal(FrozenNetwork(folder, names)({names[0]: images}), before)


def missing(absent: str) -> Callable[[str], object]:
    return lambda name: None if name == absent else find_spec(name)


def test_an_engine_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", missing("openvino"))
    with pytest.raises(UsageError, match="openvino: must be installed, got none"):
        find_engine(EngineName.OPENVINO)
    assert find_engine(EngineName.AUTO).name is EngineName.TENSORFLOW
    monkeypatch.setattr(packages, "find_spec", missing("tensorflow"))
    with pytest.raises(UsageError, match="tensorflow: must be installed, got none") as error:
        find_engine(EngineName.TENSORFLOW)
    assert error.value.hint.startswith(
        "run `make install` in a clone, or install the set 'train' as docs/how-to/install.md shows"
    )
    assert [engine.name for engine in installed_engines()] == [EngineName.OPENVINO]
    monkeypatch.setattr(packages, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match="openvino: must be installed, got none"):
        find_engine(EngineName.AUTO)


def test_auto_is_openvino_without_a_gpu_and_tensorflow_with_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(engines, "GPU_DRIVER", tmp_path / "absent")
    assert find_engine(EngineName.AUTO).name is EngineName.OPENVINO
    monkeypatch.setattr(engines, "GPU_DRIVER", tmp_path)
    assert find_engine(EngineName.AUTO).name is EngineName.TENSORFLOW


class FakeGpus:
    """TensorFlow's module, with the GPUs that it can use."""

    VERSION = "2.0"

    def __init__(self, *names: str) -> None:
        self._names = list(names)

    def prepare_devices(self, *, use_gpu: bool) -> list[str]:
        self._names = self._names if use_gpu else []
        return self._names

    def device(self) -> str:
        return [*self._names, "CPU"][0]

    def lower_precisions(self) -> tuple[Precision, ...]:
        return (Precision.MIXED,) if self._names else ()


@pytest.fixture
def with_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Lets a driver be loaded, and TensorFlow use GPUs of these names."""

    def use(*names: str, has_driver: bool = True) -> None:
        monkeypatch.setattr(engines, "GPU_DRIVER", tmp_path / ("" if has_driver else "absent"))
        real = engines._module  # the only way to the devices
        monkeypatch.setattr(
            engines, "_module", lambda name: FakeGpus(*names) if name is EngineName.TENSORFLOW else real(name)
        )

    return use


def test_a_gpu_that_is_wanted_is_used_or_the_run_ends_with_10(with_gpus: Callable[..., None]) -> None:
    with_gpus("Tesla V100")
    for name in (EngineName.AUTO, EngineName.TENSORFLOW):
        engine = find_engine(name, Device.GPU)
        assert (engine.name, engine.device) == (EngineName.TENSORFLOW, "Tesla V100")
    assert find_engine(EngineName.AUTO, Device.CPU).name is EngineName.OPENVINO
    assert find_engine(EngineName.TENSORFLOW, Device.CPU).device == "CPU"
    with pytest.raises(UsageError, match="--engine openvino: must run on the CPU, got --device gpu"):
        find_engine(EngineName.OPENVINO, Device.GPU)
    for has_driver, found in ((True, "a driver whose GPU it cannot use"), (False, "no NVIDIA driver")):
        with_gpus(has_driver=has_driver)
        with pytest.raises(UnusableGpuError, match=f"--device gpu: must be usable by TensorFlow, got {found}") as error:
            find_engine(EngineName.AUTO, Device.GPU)
        assert (error.value.exit_code, "--device cpu" in error.value.hint) == (10, True)


def test_no_gpu_is_left_idle_in_silence(with_gpus: Callable[..., None]) -> None:
    with_gpus()
    with capture_logs() as logs:
        assert find_engine(EngineName.AUTO).device == "CPU"
    assert [log["event"] for log in logs] == ["GPU not used: TensorFlow cannot use it"]
    with_gpus("Tesla V100", "Tesla T4", "Tesla P4")
    with capture_logs() as logs:
        assert find_engine(EngineName.AUTO).device == "Tesla V100"
    [warning] = logs
    assert (warning["used"], warning["others"]) == ("Tesla V100", "Tesla T4, Tesla P4")
    with_gpus("Tesla V100")
    with capture_logs() as logs:
        find_engine(EngineName.AUTO)
        find_engine(EngineName.AUTO, Device.CPU)
    assert logs == []


def test_dali_without_a_usable_gpu_ends_with_10_or_is_replaced_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def build(*_: object) -> None:
        raise RuntimeError("CUDA driver version is insufficient\nstack trace")

    monkeypatch.setattr(decoder, "GPU_DRIVER", tmp_path)
    monkeypatch.setattr("inference.images.decode_dali.DaliDecoder", build)
    for name, device in (
        (DecoderName.DALI, Device.AUTO),
        (DecoderName.DALI, Device.GPU),
        (DecoderName.AUTO, Device.GPU),
    ):
        with pytest.raises(
            UnusableGpuError, match="must have a GPU that DALI can use, got: CUDA driver .*insufficient$"
        ):
            decoder.find_decoder(name, device=device)
    with capture_logs() as logs:
        assert decoder.find_decoder(DecoderName.AUTO).name is DecoderName.FAST
        assert decoder.find_decoder(DecoderName.AUTO, device=Device.CPU).name is DecoderName.FAST
    assert [log["event"] for log in logs] == ["GPU not used for decoding: DALI cannot use it"]


def test_batches_fill_the_calls_of_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def batch(**given: object) -> int:
        return load_settings(**given).sequences_per_batch

    monkeypatch.setattr(settings, "GPU_DRIVER", tmp_path / "absent")
    assert (batch(), batch(device="gpu"), batch(batch_size=5, device="gpu")) == (8, 64, 5)
    monkeypatch.setattr(settings, "GPU_DRIVER", tmp_path)
    assert (batch(), batch(device="cpu"), batch(engine="openvino")) == (64, 8, 8)


def test_a_gpu_that_is_not_used_for_want_of_tensorflow_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(engines, "GPU_DRIVER", tmp_path)
    monkeypatch.setattr(packages, "find_spec", missing("tensorflow"))
    with capture_logs() as logs:
        assert find_engine(EngineName.AUTO).name is EngineName.OPENVINO
    assert logs == [{"event": "GPU not used: TensorFlow is not installed (extra gpu)", "log_level": "warning"}]


@pytest.fixture
def int8_bundle() -> Bundle:
    """A trained bundle with networks in int8."""
    if Precision.INT8 not in find_engine(EngineName.OPENVINO).lower_precisions:
        pytest.skip("needs a processor with VNNI")
    return open_bundle(BUNDLE_FOLDER)


def test_int8_is_used_where_it_holds_and_the_audit_compares_it_with_float32(
    season: Path, int8_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("inference.ensemble.audit.SHARE", 1.0)
    exact = run(season, int8_bundle, tmp_path / "float32")
    report = run(season, int8_bundle, tmp_path / "int8", precision=Precision.INT8)
    precision = report["precision"]
    assert (exact["precision"]["used"], precision["used"]) == ("float32", "int8")
    assert 0 < precision["relative_loss_increase"] <= precision["bound"] == 1e-3
    p, q = (probabilities(tmp_path / one / "submission.csv")[1] for one in ("float32", "int8"))
    assert 0 < np.abs(p - q).max() < 0.05
    assert precision["audit"]["verdict"] == "held"
    automatic = run(season, int8_bundle, tmp_path / "auto", precision=Precision.AUTO)
    assert automatic["precision"]["used"] == "int8"
    for name in FILES:
        if name != "run.json":
            assert (tmp_path / "auto" / name).read_bytes() == (tmp_path / "int8" / name).read_bytes()


def test_int8_with_spoilt_weights_is_refused_by_its_proof(season: Path, int8_bundle: Bundle, tmp_path: Path) -> None:
    """As a network would be that the processor computes otherwise than the one that quantised it."""
    copy = Path(shutil.copytree(int8_bundle.folder, tmp_path / "bundle"))
    spoil_int8(copy, int8_bundle.manifest.networks[0].int8_files)
    spoilt = open_bundle(copy)
    report = run(season, spoilt, tmp_path / "out", precision=Precision.INT8)
    assert report["precision"]["used"] == "float32"
    assert report["precision"]["relative_loss_increase"] > 10 * report["precision"]["bound"]
    run(season, int8_bundle, tmp_path / "float32")
    assert (tmp_path / "out/submission.csv").read_bytes() == (tmp_path / "float32/submission.csv").read_bytes()


def test_tensorflow_has_no_int8(int8_bundle: Bundle) -> None:
    assert Precision.INT8 not in lower_precisions(int8_bundle, find_engine(EngineName.TENSORFLOW))
    assert lower_precisions(int8_bundle, find_engine(EngineName.OPENVINO))[0] is Precision.INT8


def test_int8_needs_a_processor_with_vnni(monkeypatch: pytest.MonkeyPatch) -> None:
    with_processor(monkeypatch, lambda text: re.sub(r"\b(avx512_vnni|avx_vnni|amx_int8)\b", "", text))
    assert Precision.INT8 not in engine_openvino.lower_precisions()


@pytest.mark.parametrize(
    ("processor", "is_fast"),
    [
        ("GenuineIntel avx512_bf16 amx_bf16", True),
        ("AuthenticAMD avx512_bf16", True),
        ("GenuineIntel avx512_bf16", False),
        ("AuthenticAMD avx2", False),
    ],
)
def test_mixed_precision_is_offered_where_bfloat16_is_fast(
    processor: str, is_fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_processor(monkeypatch, lambda _: processor)
    assert has_fast_bfloat16() is is_fast
    assert (Precision.MIXED in engine_tensorflow.lower_precisions()) is is_fast
    if engine_openvino.has_bfloat16():
        assert (Precision.MIXED in engine_openvino.lower_precisions()) is is_fast
