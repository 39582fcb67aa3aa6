"""What the GPU flavour is locked to runs on a Tesla V100: read from the wheel itself, which needs no GPU."""

from __future__ import annotations

import io
import os
import re
import ssl
import subprocess
import sys
import tomllib
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import pytest

from runtime_tests.container.conftest import PROJECT
from runtime_tests.container.engine import CERTIFICATES, Engine

pytestmark = pytest.mark.container

BUILD_INFO = "tensorflow/python/platform/build_info.py"
LOCK = PROJECT / "requirements" / "gpu.txt"
BLOCK_BYTES = 1 << 18


class RemoteFile(io.RawIOBase):
    """A file of a web server that is read in pieces: a wheel of 600 MB need not be fetched for one member."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._context = ssl.create_default_context()
        self._position = 0
        self._blocks: dict[int, bytes] = {}
        request = urllib.request.Request(address, method="HEAD")  # noqa: S310  # the address is pip's
        with urllib.request.urlopen(request, context=self._context, timeout=60) as answer:  # noqa: S310
            self.size = int(answer.headers["Content-Length"])

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        number, start = divmod(self._position, BLOCK_BYTES)
        if number not in self._blocks:
            self._blocks[number] = self._fetch(number * BLOCK_BYTES)
        piece = self._blocks[number][start : start + len(buffer)]
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def _fetch(self, start: int) -> bytes:
        if start >= self.size:
            return b""
        wanted = {"Range": f"bytes={start}-{min(start + BLOCK_BYTES, self.size) - 1}"}
        request = urllib.request.Request(self._address, headers=wanted)  # noqa: S310
        with urllib.request.urlopen(request, context=self._context, timeout=60) as answer:  # noqa: S310
            assert answer.status == 206, "the index must send parts of a file"
            return bytes(answer.read())


@pytest.fixture(scope="module")
def wheels(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """By package, the wheels that the index has for the lock on the machine the flavour is for; none is fetched."""
    found = engine.work / "pylock.gpu.toml"
    command: list[str | Path] = [
        Path(sys.prefix) / "bin" / "uv",
        "pip",
        "compile",
        "--quiet",
        "--no-deps",
        "--only-binary",
        ":all:",
    ]
    command += ["--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28"]
    command += ["--format", "pylock.toml", "--output-file", found, LOCK]
    trusted = {**os.environ, "SSL_CERT_FILE": str(CERTIFICATES)}
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, env=trusted)
    assert result.returncode == 0, result.stderr
    return {one["name"]: one.get("wheels", []) for one in tomllib.loads(found.read_text())["packages"]}


def test_lock_of_the_gpu_flavour_can_be_installed_with_its_hashes(wheels: dict[str, list[dict[str, Any]]]) -> None:
    assert {"tensorflow", "nvidia-cudnn-cu12", "nvidia-dali-cuda120", "lightgbm", "pillow"} <= wheels.keys()
    assert "tensorflow-cpu" not in wheels
    lock = LOCK.read_text(encoding="utf-8")
    for name, files in wheels.items():
        assert files, name
        assert all(file["hashes"]["sha256"] in lock for file in files), name


def test_tensorflow_of_the_gpu_flavour_is_built_for_cuda_12_and_volta(wheels: dict[str, list[dict[str, Any]]]) -> None:
    [address] = [file["url"] for file in wheels["tensorflow"] if "-cp311-" in file["url"]]
    with zipfile.ZipFile(io.BufferedReader(RemoteFile(address))) as archive:
        text = archive.read(BUILD_INFO).decode()
    assert re.search(r"['\"]cuda_version['\"]\s*[:,]\s*['\"]12\.", text), text
    kernels = set(re.findall(r"['\"]((?:sm|compute)_\d+)['\"]", text))
    page = (PROJECT / "docs" / "how-to" / "gpu.md").read_text(encoding="utf-8")
    assert kernels == set(re.findall(r"`((?:sm|compute)_\d+)`", page)) | {"sm_60"}, text


def test_locks_are_what_make_lock_would_write(engine: Engine) -> None:
    assert engine.work.is_dir(), "where there is an engine there is a package index"
    result = subprocess.run(
        ["make", "lock-check", f"VENV={sys.prefix}", f"--old-file={sys.prefix}/bin/.dev-installed"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env={**os.environ, "SSL_CERT_FILE": str(CERTIFICATES)},
    )
    assert result.returncode == 0, result.stdout + result.stderr
