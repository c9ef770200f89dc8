"""Hosts that lack something, for real: what a process finds in namespaces with less in them, or behind a filter that
answers for the kernel. Each function here is, or makes, a ``preexec_fn`` or a part of one: it changes the process
that is about to become hivebox, and nothing else."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from hivebox.kernel import mount, process, seccomp
from hivebox.kernel.libc import call, syscall
from hivebox.kernel.syscall_table import syscall_number
from hivebox.steps.source import READ_ONLY

Change = Callable[[], None]

_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_SET, _RETURN = 0x20, 0x15, 0x45, 0x06
_RET_ERRNO, _RET_ALLOW = 0x0005_0000, 0x7FFF_0000
_UNAME26 = 0x0002_0000


class Answer(NamedTuple):
    """A call is answered with an errno; with ``mask``, only when that argument has one of its bits."""

    name: str
    errno: int
    argument: int = 0
    mask: int = 0


class _Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def answering(*answers: Answer) -> Change:
    """A kernel, or a container's filter, that answers these calls with an error."""
    code = [(_LOAD, 0, 0, 0)]
    for answer in answers:
        refused = (_RETURN, 0, 0, _RET_ERRNO | answer.errno)
        number = syscall_number(answer.name)
        assert number is not None
        if answer.mask:
            code += [(_JUMP_IF_EQUAL, 0, 4, number), (_LOAD, 0, 0, 16 + 8 * answer.argument)]
            code += [(_JUMP_IF_SET, 0, 1, answer.mask), refused, (_RETURN, 0, 0, _RET_ALLOW)]
        else:
            code += [(_JUMP_IF_EQUAL, 0, 1, number), refused]
    code.append((_RETURN, 0, 0, _RET_ALLOW))
    program = b"".join(struct.pack("=HBBI", *instruction) for instruction in code)

    def load() -> None:
        process.set_no_new_privs()
        syscall("seccomp", 1, 0, _Program(len(program) // 8, program), detail="load")

    return load


def listened_to() -> None:
    """Inside another sandbox that has itself notified of refused calls. Its listener lives on as our stdin: without
    one the kernel would allow another."""
    process.set_no_new_privs()
    os.dup2(seccomp.load(struct.pack("=HBBI", _RETURN, 0, 0, _RET_ALLOW)), 0)


def old() -> None:
    """uname(2) says 2.6: personality(2), UNAME26."""
    call("personality", _UNAME26)


def in_user_namespace(*changes: Change) -> Change:
    """A user namespace in which every id is itself, so that sysctls of its own can be set."""

    def enter() -> None:
        asks, answers = os.pipe(), os.pipe()
        writer = os.fork()
        if writer == 0:
            os.read(asks[0], 1)
            _map_everything(os.getppid())
            os.write(answers[1], b"m")
            os._exit(0)
        process.unshare(process.CLONE_NEWUSER)
        os.write(asks[1], b"u")
        os.read(answers[0], 1)
        os.waitpid(writer, 0)
        for change in changes:
            change()

    return enter


def _map_everything(pid: int) -> None:
    uid, gid = os.geteuid(), os.getegid()
    if uid:
        Path(f"/proc/{pid}/setgroups").write_text("deny")
    Path(f"/proc/{pid}/uid_map").write_text(f"{uid} {uid} 1" if uid else "0 0 4294967295")
    Path(f"/proc/{pid}/gid_map").write_text(f"{gid} {gid} 1" if uid else "0 0 4294967295")


def own_mounts() -> None:
    """A mount namespace, whose changes stay in it."""
    process.unshare(process.CLONE_NEWNS)
    mount.mount("", "/", "", mount.MS_REC | mount.MS_PRIVATE)


def in_mount_namespace(*changes: Change) -> Change:
    """A mount namespace; an ordinary user needs a user namespace around it."""

    def enter() -> None:
        own_mounts()
        for change in changes:
            change()

    return enter if os.geteuid() == 0 else in_user_namespace(enter)


def covered(path: str, files: dict[str, str] | None = None) -> Change:
    """An empty tmpfs over ``path``, or one with these files and those that hivebox itself needs there."""

    def cover() -> None:
        kept = {name: Path(path, name).read_text() for name in ("cap_last_cap",) if Path(path, name).exists()}
        mount.mount("tmpfs", path, "tmpfs", mount.MS_NOSUID, "mode=0755")
        for name, content in (kept | files if files else {}).items():
            Path(path, name).write_text(content)

    return cover


def sysctl(name: str, value: str) -> Change:
    """Only for what belongs to the user namespace: user.max_*."""

    def write() -> None:
        Path("/proc/sys", *name.split(".")).write_text(value)

    return write


def read_only(path: str) -> Change:
    """``path`` as on a file system that is mounted read-only."""

    def remount() -> None:
        tree_fd = mount.open_tree(os.open(path, os.O_PATH | os.O_DIRECTORY))
        mount.mount_setattr(tree_fd, READ_ONLY)
        mount.move_mount(tree_fd, os.open(path, os.O_PATH | os.O_DIRECTORY))

    return remount
