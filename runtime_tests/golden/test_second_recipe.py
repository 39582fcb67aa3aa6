"""An ensemble that differs from the published one in every respect a recipe can express needs no code."""

from __future__ import annotations

from pathlib import Path

import cv2
import keras
import numpy as np

from inference.bundle.reader import Bundle
from inference.core.choices import Preset
from inference.core.labels import LABELS
from inference.dataset.metadata import METADATA_NAME, read_metadata
from inference.images.decode_pillow import decode
from runtime_tests import naive
from runtime_tests.running import run
from runtime_tests.tables import rows_of


def test_features_of_another_recipe_are_what_its_networks_say(
    season: Path, second_bundle: Bundle, second_assets: Path, tmp_path: Path
) -> None:
    run(season, second_bundle, tmp_path / "out", features=tmp_path / "features.npz")
    got = np.load(tmp_path / "features.npz")
    names = list(got["feature_names"])
    assert names[0] == "month"
    assert names[1] == "mean_net_aardvark"
    assert "small_96x128_frame2_zebra" in names
    assert len(names) == 1 + 52 + (1 + 1) * 2 * 52
    small, large, mean_net = (
        keras.models.load_model(second_assets / f"{n}.h5") for n in ("small", "large", "mean_net")
    )
    zebra = LABELS.index("zebra")
    sequences = read_metadata(season / METADATA_NAME).sequences
    row = next(position for position, count in enumerate(got["count"]) if count == 2)
    images = sequences[str(got["seq_id"][row])].images[:2]
    frames = [decode((season / image.file_name).read_bytes(), Preset.QUARTER_JPEG) for image in images]
    frames = naive.black_out(frames)
    second = frames[1]

    # The first network: no mirror images, 0-1.
    x = cv2.resize(second, (128, 96), interpolation=cv2.INTER_LINEAR).astype(np.float32)[None] / 255
    expected = small.predict(x, verbose=0)[0, zebra]
    np.testing.assert_allclose(got["X"][row, names.index("small_96x128_frame2_zebra")], expected, atol=1e-6)

    # The second one: mirror images, -1 to 1.
    x = cv2.resize(second, (192, 144), interpolation=cv2.INTER_LINEAR).astype(np.float32)[None] / 127.5 - 1
    expected = (large.predict(x, verbose=0)[0] + large.predict(x[:, :, ::-1], verbose=0)[0])[zebra] / 2
    np.testing.assert_allclose(got["X"][row, names.index("large_144x192_frame2_zebra")], expected, atol=1e-6)

    # The mean image at three sizes, median over them.
    mean = np.mean(frames, axis=0)
    answers = []
    for width, height in ((128, 96), (160, 120), (192, 144)):
        x = cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32)[None] / 127.5 - 1
        answers.append((mean_net.predict(x, verbose=0)[0] + mean_net.predict(x[:, :, ::-1], verbose=0)[0]) / 2)
    expected = np.median(answers, axis=0)[zebra]
    np.testing.assert_allclose(got["X"][row, names.index("mean_net_zebra")], expected, atol=1e-6)


def test_stacked_classes_of_another_recipe_come_from_its_boosters(
    season: Path, second_bundle: Bundle, second_assets: Path, tmp_path: Path
) -> None:
    import lightgbm

    run(season, second_bundle, tmp_path / "out", features=tmp_path / "features.npz")
    features = np.load(tmp_path / "features.npz")
    rows = {row["seq_id"]: row for row in rows_of(tmp_path / "out" / "submission.csv")}
    booster = lightgbm.Booster(model_file=str(second_assets / "boosters" / "zebra.txt"))
    expected = booster.predict(features["X"].astype(np.float64))
    got = [float(rows[seq_id]["zebra"]) for seq_id in features["seq_id"]]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-7)
