"""clone(2), unshare(2), prctl(2), capabilities, resource limits of the calling process."""

from __future__ import annotations

import os
import struct

from hivebox.kernel.foreign import String, api
from hivebox.kernel.libc import call, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x20000, 0x2000000, 0x4000000
CLONE_PARENT = 0x8000
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x8000000, 0x10000000, 0x20000000, 0x40000000
_SIGCHLD = 17
_HIGHEST_FD = (1 << 32) - 1

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NAME, _PR_CAPBSET_DROP = 1, 4, 15, 24
_PR_SET_SECUREBITS, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 28, 38, 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
# NOROOT, NO_SETUID_FIXUP, NO_CAP_AMBIENT_RAISE, each with its lock; KEEP_CAPS locked off.
SECUREBITS_LOCKED = 0x01 | 0x02 | 0x04 | 0x08 | 0x20 | 0x40 | 0x80
_CAPABILITY_VERSION_3 = 0x20080522


def clone(flags: int) -> int:
    """clone(2) without a shared address space, as fork(2) but into new namespaces: 0 in the child.

    unshare(2) and fork(2) would need a second process, since CLONE_NEWPID only takes effect for children. The
    interpreter is told through its own C API (PyOS_BeforeFork and its pair), as ``os.fork`` does, and its lock is held
    during the call: a thread that took it meanwhile would hold it in the child for ever. The caller must be
    single-threaded all the same: another thread may ask for the lock just then, and glibc's fork handlers do not run.
    """
    api("PyOS_BeforeFork")
    try:
        pid = syscall("clone", flags | _SIGCHLD, 0, 0, 0, 0, detail=hex(flags), locked=True)
    except OSError:
        api("PyOS_AfterFork_Parent")
        raise
    if pid == 0:
        api("PyOS_AfterFork_Child")
    else:
        api("PyOS_AfterFork_Parent")
    return pid


def close_range(first: int, last: int) -> None:
    """close_range(2), both included."""
    syscall("close_range", first, last, 0, detail=f"{first}-{last}")


def keep_only(kept_fds: Iterable[int]) -> None:
    """0 to 2 become /dev/null and every other descriptor is closed but ``kept_fds``: up to the highest number there
    can be, since one may be above a limit that was lowered after it was opened."""
    null_fd = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for number in range(3):
        os.dup2(null_fd, number)
    close_others({0, 1, 2, *kept_fds})


def close_others(kept_fds: Iterable[int]) -> None:
    """close_range(2) around ``kept_fds``."""
    lower = 0
    for kept in (*sorted(kept_fds), _HIGHEST_FD):
        if lower < kept:
            close_range(lower, kept - 1)
        lower = kept + 1


def unshare(flags: int) -> None:
    """unshare(2)."""
    call("unshare", flags, detail=hex(flags))


def sethostname(name: str) -> None:
    """sethostname(2)."""
    encoded = name.encode()
    call("sethostname", encoded, len(encoded), detail=name)


def _prctl(option: int, argument: int, detail: str) -> None:
    call("prctl", option, argument, 0, 0, 0, detail=detail)


def set_pdeathsig(signal_number: int) -> None:
    """PR_SET_PDEATHSIG. Any change of credentials clears it: call it after setresuid."""
    _prctl(_PR_SET_PDEATHSIG, signal_number, "PR_SET_PDEATHSIG")


def set_dumpable(*, dumpable: bool) -> None:
    """PR_SET_DUMPABLE. Not dumpable also means: no ptrace and no /proc/PID/{mem,fd,root} for the same user."""
    _prctl(_PR_SET_DUMPABLE, int(dumpable), "PR_SET_DUMPABLE")


def set_name(name: str) -> None:
    """PR_SET_NAME: at most 15 bytes."""
    call("prctl", _PR_SET_NAME, name.encode()[:15], 0, 0, 0, detail="PR_SET_NAME")


def set_no_new_privs() -> None:
    """PR_SET_NO_NEW_PRIVS."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1, "PR_SET_NO_NEW_PRIVS")


def drop_bounding_set(last_capability: int) -> None:
    """PR_CAPBSET_DROP for every capability up to ``last_capability``. Needs CAP_SETPCAP."""
    for capability in range(last_capability + 1):
        _prctl(_PR_CAPBSET_DROP, capability, f"PR_CAPBSET_DROP {capability}")


def lock_securebits() -> None:
    """PR_SET_SECUREBITS: uid 0 means nothing, for good. Needs CAP_SETPCAP."""
    _prctl(_PR_SET_SECUREBITS, SECUREBITS_LOCKED, "PR_SET_SECUREBITS")


def drop_capabilities() -> None:
    """capset(2) to empty sets, and the ambient set with them."""
    call("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, detail="PR_CAP_AMBIENT_CLEAR_ALL")
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    syscall("capset", header, bytes(24), detail="empty")


def last_capability() -> int:
    """The highest capability number of the running kernel."""
    handle = os.open("/proc/sys/kernel/cap_last_cap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return int(os.read(handle, 16))
    finally:
        os.close(handle)


def execveat(dir_fd: int, path: str, argv: list[bytes], envp: list[bytes], magic: int) -> None:
    """execveat(2) with ``magic`` in the sixth, unused register, where only a seccomp filter looks. Returns only
    by raising OSError."""
    argv_array = (String * (len(argv) + 1))(*argv, None)
    envp_array = (String * (len(envp) + 1))(*envp, None)
    signed = magic - (1 << 64) if magic >= 1 << 63 else magic
    syscall(
        "execveat",
        dir_fd,
        os.fsencode(path),
        argv_array,
        envp_array,
        0,
        signed,
        detail=path,
    )
