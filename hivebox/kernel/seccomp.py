"""seccomp(2): loading a program in the child, answering its notifications in the supervisor."""

from __future__ import annotations

import fcntl
import os
import struct

from hivebox.frozen import Frozen
from hivebox.kernel.foreign import Short, String, Structure
from hivebox.kernel.libc import syscall

_SECCOMP_SET_MODE_FILTER = 1
_FILTER_FLAG_NEW_LISTENER = 8
# Linux 5.19: a signal does not restart a call that is being answered, which would be counted twice.
_FILTER_FLAG_WAIT_KILLABLE_RECV = 0x20
_EINVAL = 22
_NOTIF_RECV, _NOTIF_SEND = 0xC0502100, 0xC0182101
_NOTIF = struct.Struct("=QIIiIQ6Q")  # struct seccomp_notif, linux/seccomp.h
_RESPONSE = struct.Struct("=QqiI")


class _Program(Structure):
    _fields_ = (("len", Short), ("filter", String))


class RefusedCall(Frozen):
    """One notification. ``pid`` is the thread id as the supervisor sees it; ``arch`` an AUDIT_ARCH_* value."""

    cookie: int
    pid: int
    number: int
    arch: int
    arguments: tuple[int, ...]


def load(program: bytes) -> int:
    """Install ``program`` (struct sock_filter array) on the calling thread; the notification descriptor is
    returned and owned by the caller. Needs no_new_privs or CAP_SYS_ADMIN."""
    structure = _Program(len(program) // 8, program)
    flags = _FILTER_FLAG_NEW_LISTENER | _FILTER_FLAG_WAIT_KILLABLE_RECV
    try:
        return syscall("seccomp", _SECCOMP_SET_MODE_FILTER, flags, structure, detail="load")
    except OSError as error:
        if error.errno != _EINVAL:
            raise
    return syscall("seccomp", _SECCOMP_SET_MODE_FILTER, _FILTER_FLAG_NEW_LISTENER, structure, detail="load")


def receive(notify_fd: int) -> RefusedCall | None:
    """SECCOMP_IOCTL_NOTIF_RECV; None when the caller died meanwhile. Call it when the descriptor is readable."""
    buffer = bytearray(_NOTIF.size)
    try:
        fcntl.ioctl(notify_fd, _NOTIF_RECV, buffer)
    except FileNotFoundError:
        return None
    cookie, pid, _flags, number, arch, _ip, *arguments = _NOTIF.unpack(buffer)
    return RefusedCall(cookie, pid, number, arch, tuple(arguments))


def refuse(notify_fd: int, cookie: int, errno_number: int) -> None:
    """SECCOMP_IOCTL_NOTIF_SEND with an error. Never SECCOMP_USER_NOTIF_FLAG_CONTINUE: the caller could rewrite
    what a pointer argument refers to after we looked."""
    try:
        fcntl.ioctl(notify_fd, _NOTIF_SEND, _RESPONSE.pack(cookie, 0, -errno_number, 0))
    except FileNotFoundError:
        return  # the caller died meanwhile


def close_listener(notify_fd: int) -> None:
    """Later refused calls answer ENOSYS by themselves."""
    os.close(notify_fd)
