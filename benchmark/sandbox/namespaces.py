"""Runs a command where it sees no network, no other process, and the competition's folders: as Docker would, without it.

This file is a program of its own: `python namespaces.py CONFIG COMMAND ...`. It needs a Linux kernel that lets the user
make user namespaces, and nothing outside the standard library, as it becomes process 1 of the new namespace.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import sys
from dataclasses import asdict, dataclass

CONTRACT_ROOT = "/inference"
CONTRACT_UID = 1000
"""User of the program in the competition's container."""

OWN_MOUNTS = ("proc", "tmp", CONTRACT_ROOT.strip("/"))
"""Folders of the root that are not the machine's."""

# sched.h, sys/mount.h, linux/mount.h, net/if.h, linux/sockios.h, sys/prctl.h
CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER = 0x20000, 0x8000000, 0x10000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 0x2, 0x4, 0x8, 0x1000, 0x4000, 0x40000
MNT_DETACH = 2
AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = -100, 0x8000, 1
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
SIOCSIFFLAGS, IFF_UP_AND_RUNNING = 0x8914, 0x41
SYS_MOUNT_SETATTR = 442
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
SHARED_MEMORY_BYTES = 64 << 20
"""Of /dev/shm: what Docker gives."""
CANNOT_RUN = 126
"""Exit code of a program that could not be started, as shells have it."""

libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Config:
    """What the command sees.

    Attributes
    ----------
    work : folder that it sees, writable, as /inference
    data : folder that it sees, read-only, as /inference/data
    root, tmp : empty folders: what becomes its root, what it sees as /tmp
    visible : folders below /tmp that it sees all the same
    hidden : files that it sees empty
    """

    work: str
    data: str
    root: str
    tmp: str
    visible: list[str]
    hidden: list[str]

    def as_argument(self) -> str:
        """For the command line."""
        return json.dumps(asdict(self))


def main() -> None:
    """Make the namespaces, run the command in them, end as it does."""
    config, command = Config(**json.loads(sys.argv[1])), sys.argv[2:]
    uid, gid = os.geteuid(), os.getegid()
    _call("unshare", CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{CONTRACT_UID} {uid} 1")
    _write("/proc/self/gid_map", f"{CONTRACT_UID} {gid} 1")
    # Signals of the process group are for the command; these two end after it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    first = os.fork()
    if first == 0:
        _become_first_process(config, command)
    _end_like(os.waitpid(first, 0)[1])


def _become_first_process(config: Config, command: list[str]) -> None:
    """Process 1 of the namespace: when it ends the kernel kills all others in there."""
    try:
        _call("prctl", PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        _build_root(config)
        _loopback_up()
        _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    except OSError as error:
        sys.stderr.write(f"namespaces: {error}\n")
        os._exit(CANNOT_RUN)
    child = os.fork()
    if child == 0:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        try:
            os.execv(command[0], command)  # noqa: S606  # no shell is wanted
        except OSError as error:
            sys.stderr.write(f"namespaces: {command[0]}: {error}\n")
            os._exit(CANNOT_RUN)
    while True:  # orphans are this process's to bury
        pid, status = os.wait()
        if pid == child:
            _end_like(status)


def _end_like(status: int) -> None:
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def _build_root(config: Config) -> None:
    """Everything as it is, but read-only; /inference, /inference/data and /tmp as the contract has them."""
    root = config.root
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    _mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    for name in sorted(set(os.listdir("/")) - set(OWN_MOUNTS)):
        _show(f"/{name}", f"{root}/{name}")
    for name in OWN_MOUNTS:
        os.mkdir(f"{root}/{name}")
    _make_read_only(root)
    try:
        _mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except PermissionError:  # inside a container, whose own /proc has masks that must not be lifted
        _mount("/proc", f"{root}/proc", None, MS_BIND | MS_REC)
    shared_memory = os.path.join(root, "dev", "shm")
    if os.path.isdir(shared_memory):
        _mount("tmpfs", shared_memory, "tmpfs", MS_NOSUID | MS_NODEV, f"size={SHARED_MEMORY_BYTES},mode=1777")
    _mount(config.tmp, os.path.join(root, "tmp"), None, MS_BIND)
    for folder in config.visible:
        os.makedirs(f"{root}{folder}", exist_ok=True)
        _mount(folder, f"{root}{folder}", None, MS_BIND | MS_REC)
        _make_read_only(f"{root}{folder}")
    work = f"{root}{CONTRACT_ROOT}"
    _mount(config.work, work, None, MS_BIND | MS_REC)
    _mount(config.data, f"{work}/data", None, MS_BIND | MS_REC)
    _make_read_only(f"{work}/data")
    for file in config.hidden:
        _hide(file, root)
        if os.path.commonpath([file, config.data]) == config.data:
            _hide(file[len(config.data) :], f"{work}/data")
    os.chdir(root)
    _call("syscall", ctypes.c_long(SYS_PIVOT_ROOT[os.uname().machine]), b".", b".", where="pivot_root")
    _call("umount2", b".", MNT_DETACH)
    os.chdir(CONTRACT_ROOT)


def _show(source: str, target: str) -> None:
    """A link or folder of the real root, at its place."""
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
    elif os.path.isdir(source):
        os.mkdir(target)
        _mount(source, target, None, MS_BIND | MS_REC)


def _hide(file: str, below: str) -> None:
    if os.path.exists(below + file):
        _mount("/dev/null", below + file, None, MS_BIND)


def _make_read_only(folder: str) -> None:
    attributes = struct.pack("=4Q", MOUNT_ATTR_RDONLY, 0, 0, 0)
    arguments = (AT_FDCWD, folder.encode(), AT_RECURSIVE, attributes, ctypes.c_size_t(len(attributes)))
    _call("syscall", ctypes.c_long(SYS_MOUNT_SETATTR), *arguments, where=f"mount_setattr {folder}")


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    texts = [text.encode() if text is not None else None for text in (source, target, kind)]
    _call("mount", *texts, ctypes.c_ulong(flags), options.encode() if options else None, where=target)


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        fcntl.ioctl(one, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP_AND_RUNNING))


def _call(name: str, *arguments: object, where: str = "") -> None:
    if getattr(libc, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}", where or None)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


if __name__ == "__main__":
    main()
