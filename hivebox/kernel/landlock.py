"""Landlock (Linux 5.13 and later): an allowlist on the calling thread, whatever the mounts say."""

from __future__ import annotations

import os
import struct

from hivebox.kernel.libc import syscall

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE_DIR, REMOVE_FILE, MAKE_CHAR, MAKE_DIR = 1 << 4, 1 << 5, 1 << 6, 1 << 7
MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK = 1 << 8, 1 << 9, 1 << 10, 1 << 11
MAKE_SYM, REFER, TRUNCATE, IOCTL_DEV = 1 << 12, 1 << 13, 1 << 14, 1 << 15
FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
_SCOPE_ABSTRACT_UNIX_SOCKET, _SCOPE_SIGNAL = 1, 2
_SINCE = ((2, REFER), (3, TRUNCATE), (5, IOCTL_DEV))
_RULE_PATH_BENEATH = 1


def abi() -> int:
    """The kernel's Landlock version; 0 where it is not built in (ENOSYS) or not enabled at boot (EOPNOTSUPP)."""
    try:
        return syscall("landlock_create_ruleset", None, 0, 1, detail="version")
    except OSError as error:
        if error.errno in {38, 95}:
            return 0
        raise


def handled(version: int) -> int:
    """Every file system right that ``version`` knows."""
    rights = (1 << 13) - 1
    for since, right in _SINCE:
        if version >= since:
            rights |= right
    return rights


def create_ruleset(version: int) -> int:
    """landlock_create_ruleset(2): all file rights denied unless a rule grants them; from version 6 also signals and
    abstract sockets to processes outside. The caller closes the descriptor."""
    scoped = _SCOPE_ABSTRACT_UNIX_SOCKET | _SCOPE_SIGNAL if version >= 6 else 0
    attributes = struct.pack("=QQQ", handled(version), 0, scoped)[: 24 if version >= 6 else 8]
    return syscall("landlock_create_ruleset", attributes, len(attributes), 0, detail="create")


def add_path(ruleset_fd: int, path: str, rights: int) -> None:
    """landlock_add_rule(2): grant ``rights`` beneath ``path`` (only file rights if it is a file)."""
    path_fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not os.path.isdir(path):
            rights &= FILE_RIGHTS
        rule = struct.pack("=Qi", rights, path_fd)
        syscall("landlock_add_rule", ruleset_fd, _RULE_PATH_BENEATH, rule, 0, detail=path)
    finally:
        os.close(path_fd)


def restrict_self(ruleset_fd: int) -> None:
    """landlock_restrict_self(2). Needs no_new_privs."""
    syscall("landlock_restrict_self", ruleset_fd, 0, detail="")
