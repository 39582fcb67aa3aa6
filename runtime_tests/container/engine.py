"""A private Docker engine on a Debian machine that has none, and no image registry to pull from.

The engine listens on a socket in a folder of its own and ends with the tests: no bridge, no firewall rules, nothing of a
Docker that may run beside it. Its base image is made of the machine's own Debian packages. No host is named: the
addresses of packages are asked of apt, and pip's settings are copied into the base image.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NEXT_SUITE = "trixie"
"""The Debian release after the one whose engine is used; its Compose is version 2, which Debian 12 does not have."""
PLUGINS = ("docker-compose", "docker-buildx")
PACKAGES = {"dockerd": "docker.io", "mmdebstrap": "mmdebstrap"}
"""Debian's packages by the program that is needed of them."""
BASE_PACKAGES = ("ca-certificates", "python3", "python3-pip", "python3-venv")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SOCKET_FOLDER = "/tmp"  # noqa: S108  # the path of a socket has 107 bytes at most
START_SECONDS = 30.0
STOP_SECONDS = 30.0
BASE_DOCKERFILE = """\
FROM local/rootfs
COPY ca.crt /etc/ssl/certs/ca-certificates.crt
COPY pip.conf /etc/pip.conf
RUN rm -f /usr/lib/python3*/EXTERNALLY-MANAGED \\
 && ln -s /usr/bin/python3 /usr/local/bin/python3 && ln -s /usr/bin/python3 /usr/local/bin/python
"""


class NoEngineError(RuntimeError):
    """No engine can be had on this machine; the message says what is missing."""


@dataclass(frozen=True)
class Engine:
    """A running engine."""

    environment: Mapping[str, str]
    """With which `docker` talks to it."""
    work: Path
    """A folder that ends with it."""
    base_image: str
    """Stands in for `python:3.11-slim-bookworm`."""

    def docker(
        self, *arguments: object, timeout: float = 300, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `docker ARGUMENTS` to its end, whatever that is."""
        return subprocess.run(
            ["docker", *map(str, arguments)],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            cwd=cwd,
        )

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Start `docker ARGUMENTS`, a program of the foreground."""
        return subprocess.Popen(
            ["docker", *map(str, arguments)],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def query(self, *arguments: object) -> str:
        """What `docker ARGUMENTS` prints; it must succeed."""
        result = self.docker(*arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()


@contextmanager
def private_engine(cache: Path | None, *, may_install: bool) -> Iterator[Engine]:
    """Start an engine, and end it with everything it ran.

    `cache` keeps the base file system, the plugins and the engine's layers for later; one engine at a time may have it.

    Raises
    ------
    NoEngineError
        Something is missing that the machine cannot get.
    """
    _check_machine()
    _have_packages(may_install=may_install)
    work = Path(tempfile.mkdtemp(prefix="hk", dir=SOCKET_FOLDER))
    kept = cache or work / "kept"
    kept.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "DOCKER_HOST": f"unix://{work}/d.sock",
        "DOCKER_CONFIG": str(work / "config"),
        "DOCKER_BUILDKIT": "1",
        "COMPOSE_BAKE": "false",
    }
    try:
        with _alone_in(kept):
            _link_plugins(_plugins(kept), work / "config" / "cli-plugins")
            base_tar = _base_file_system(kept)
            daemon = _start_daemon(work, kept / "engine", environment)
            try:
                engine = Engine(environment, work, _base_image_name(base_tar))
                _have_base_image(engine, base_tar)
                yield engine
            finally:
                _end_containers(environment)
                _stop(daemon)
    finally:
        _unmount_below(work, kept)
        shutil.rmtree(work, ignore_errors=True)


def _check_machine() -> None:
    if os.geteuid() != 0:
        raise NoEngineError(f"an engine must be started by root, got user {os.geteuid()}")
    if shutil.which("apt-get") is None:
        raise NoEngineError("an engine's base image is made of Debian packages: needs apt-get")


def _have_packages(*, may_install: bool) -> None:
    missing = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
    if not missing:
        return
    if not may_install:
        raise NoEngineError(f"needs the packages {', '.join(missing)}; HAKUNA_REQUIRE_CONTAINER=1 installs them")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    _run("apt-get", "update", "-qq", environment=quiet)
    _run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing, environment=quiet)


def _run(*command: object, cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    result = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, cwd=cwd, env=environment, timeout=600
    )
    if result.returncode:
        raise NoEngineError(
            f"{' '.join(map(str, command))}: must succeed, got {result.returncode}: {result.stderr[-800:]}"
        )
    return result.stdout


def _suite() -> str:
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    return next(line.partition("=")[2].strip('"') for line in lines if line.startswith("VERSION_CODENAME="))


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep a second engine out of a cache."""
    with open(folder / "lock", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _plugins(kept: Path) -> Path:
    """Compose and BuildKit's client, unpacked from packages of the next Debian release, not installed."""
    folder = kept / "plugins"
    if all((folder / name).is_file() for name in PLUGINS):
        return folder
    with tempfile.TemporaryDirectory(prefix="apt", dir=kept) as name:
        work = Path(name)
        for part in ("sources", "lists/partial", "cache/archives/partial", "packages"):
            (work / part).mkdir(parents=True)
        address = "$(REPO_URI)"
        found = _run("apt-get", "indextargets", "--format", address, f"Codename: {_suite()}", "Created-By: Packages")
        entry = f"deb [signed-by={KEYRING}] {min(found.split())} {NEXT_SUITE} main\n"
        (work / "sources" / "next.list").write_text(entry, encoding="utf-8")
        options = [
            f"-oDir::Etc::sourcelist={os.devnull}",
            f"-oDir::Etc::sourceparts={work / 'sources'}",
            f"-oDir::State::lists={work / 'lists'}",
            f"-oDir::Cache={work / 'cache'}",
            "-oAPT::Sandbox::User=root",
        ]
        _run("apt-get", *options, "update", "-qq")
        names = [f"{plugin}/{NEXT_SUITE}" for plugin in PLUGINS]
        _run("apt-get", *options, "download", "-qq", *names, cwd=work / "packages")
        for package in sorted((work / "packages").glob("*.deb")):
            _run("dpkg", "-x", package, work / "root")
        folder.mkdir(exist_ok=True)
        for plugin in PLUGINS:
            shutil.move(work / "root/usr/libexec/docker/cli-plugins" / plugin, folder / plugin)
    return folder


def _link_plugins(plugins: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in PLUGINS:
        (folder / name).symlink_to(plugins / name)


def _base_file_system(kept: Path) -> Path:
    target = kept / f"{_suite()}.tar"
    if not target.is_file():
        part = kept / "part.tar"
        _run("mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(BASE_PACKAGES)}", _suite(), part)
        part.rename(target)
    return target


def _start_daemon(work: Path, data: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    log = work / "engine.log"
    command = ["dockerd", "-H", environment["DOCKER_HOST"], "--data-root", data, "--exec-root", work / "exec"]
    command += ["--pidfile", work / "pid", "--storage-driver", "overlay2"]
    command += ["--exec-opt", "native.cgroupdriver=cgroupfs", "--bridge=none", "--iptables=false", "--ip6tables=false"]
    command += ["--ip-forward=false"]
    with open(log, "wb") as file:
        daemon = subprocess.Popen(list(map(str, command)), stdout=file, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and daemon.poll() is None:
        if subprocess.run(["docker", "info"], env=environment, capture_output=True, check=False).returncode == 0:
            return daemon
        time.sleep(0.2)
    _stop(daemon)
    raise NoEngineError(f"dockerd: must answer within {START_SECONDS:g} s: {log.read_text(errors='replace')[-1500:]}")


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _end_containers(environment: Mapping[str, str]) -> None:
    found = subprocess.run(["docker", "ps", "-aq"], env=environment, capture_output=True, text=True, check=False)
    if found.stdout.split():
        command = ["docker", "rm", "--force", "--volumes", *found.stdout.split()]
        subprocess.run(command, env=environment, capture_output=True, check=False)


def _unmount_below(*folders: Path) -> None:
    """The engine leaves the mount of its network namespace behind, and its layers if it was killed."""
    with open("/proc/mounts", encoding="utf-8") as file:
        points = [Path(line.split()[1]) for line in file]
    for point in reversed(points):
        if any(folder in point.parents for folder in folders):
            subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)


def _pip_settings() -> str:
    """Where this machine's pip finds packages, for the base image: the index, if it is not pip's own default."""
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    index = os.environ.get("PIP_INDEX_URL") or asked.stdout.strip()
    return "\n".join(["[global]", f"cert = {CERTIFICATES}", *([f"index-url = {index}"] if index else []), ""])


def _base_image_name(base_tar: Path) -> str:
    """Another file system or other settings are another image: what was built on the earlier one stays valid."""
    digest = hashlib.sha256()
    with open(base_tar, "rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    for content in (CERTIFICATES.read_bytes(), _pip_settings().encode(), BASE_DOCKERFILE.encode()):
        digest.update(hashlib.sha256(content).digest())
    return f"local/python-base:{digest.hexdigest()[:16]}"


def _have_base_image(engine: Engine, base_tar: Path) -> None:
    if engine.docker("image", "inspect", engine.base_image).returncode == 0:
        return
    engine.query("import", base_tar, "local/rootfs")
    context = engine.work / "base"
    context.mkdir()
    shutil.copyfile(CERTIFICATES, context / "ca.crt")
    (context / "pip.conf").write_text(_pip_settings(), encoding="utf-8")
    (context / "Dockerfile").write_text(BASE_DOCKERFILE, encoding="utf-8")
    engine.query("build", "--quiet", "--network", "none", "--tag", engine.base_image, context)
