"""What the locks hold: floors for safety, and ceilings for a Tesla V100, whose last kernels are in cuDNN 9.10 and CUDA 12."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "requirements"


def versions(flavour: str) -> dict[str, tuple[int, ...]]:
    """Of every package of a lock."""
    text = (FOLDER / f"{flavour}.txt").read_text(encoding="utf-8")
    found = re.findall(r"^([a-z0-9-]+)==([0-9]+(?:\.[0-9]+)*)", text, re.MULTILINE)
    return {name: tuple(map(int, version.split("."))) for name, version in found}


def test_gpu_flavour_is_of_cuda_12_and_of_a_cudnn_that_knows_volta() -> None:
    locked = versions("gpu")
    nvidia = {name: version for name, version in locked.items() if name.startswith("nvidia-")}
    assert nvidia["nvidia-cudnn-cu12"] < (9, 11), "9.11 has no kernels for sm_70"
    assert nvidia["nvidia-cuda-runtime-cu12"][0] == 12, "CUDA 13 has no sm_70"
    assert nvidia["nvidia-dali-cuda120"] >= (2, 3), "CVE-2026-65147, CVE-2026-65148"
    assert [name for name in nvidia if not re.search(r"-cu(12|da120)$", name)] == [], "nothing of another CUDA"
    assert locked["tensorflow"] == (2, 19, 1), "the last one whose own pins run on a Volta card"


@pytest.mark.parametrize("flavour", ["cpu", "cluster", "train", "gpu", "dev"])
def test_locks_keep_the_floors_carry_hashes_and_name_no_index(flavour: str) -> None:
    locked = versions(flavour)
    assert locked["pillow"] >= (13,), "CVE-2026-112403"
    assert locked["setuptools"] >= (78, 1, 1), "the project is built with it"
    assert ("ray" in locked) is (flavour in ("cluster", "dev"))
    if flavour in ("cpu", "cluster"):
        assert not {"tensorflow", "tensorflow-cpu", "keras", "h5py"} & locked.keys()
    else:
        assert locked["tensorflow" if flavour == "gpu" else "tensorflow-cpu"] == (2, 19, 1)
    text = (FOLDER / f"{flavour}.txt").read_text(encoding="utf-8")
    for block in re.split(r"\n(?=[a-z0-9])", text):
        if "==" in block.partition(" ")[0]:
            assert "--hash=sha256:" in block, block
    assert "://" not in text


def test_what_predicts_has_the_same_versions_in_every_set_for_cpus() -> None:
    assert versions("cpu").items() <= versions("train").items()
    assert versions("cpu").items() <= versions("cluster").items()
    assert versions("cpu").items() <= versions("dev").items()


def test_the_lock_of_the_site_has_the_versions_of_the_others() -> None:
    site, others = versions("docs"), versions("dev")
    assert {"sphinx", "furo", "myst-parser", "numpy"} <= site.keys()
    assert {name for name in site.keys() & others.keys() if site[name] != others[name]} == set()
    text = (FOLDER / "docs.txt").read_text(encoding="utf-8")
    assert "://" not in text
    packages = [block for block in re.split(r"\n(?=[a-z0-9])", text) if "==" in block.partition(" ")[0]]
    assert [block for block in packages if "--hash=sha256:" not in block] == []
