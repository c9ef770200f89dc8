"""Names of system call numbers on the running machine, without libseccomp."""

from __future__ import annotations

import functools
import os

from hivebox.policy import syscall_numbers

MACHINE = os.uname().machine


@functools.cache
def _names(machine: str) -> dict[int, str]:
    return {number: name for name, number in syscall_numbers.numbers(machine).items()}


def syscall_name(number: int, machine: str = MACHINE) -> str:
    """``101`` -> ``ptrace``; "" for a number that this version does not know."""
    return _names(machine).get(number, "")


def syscall_number(name: str, machine: str = MACHINE) -> int | None:
    """``ptrace`` -> ``101``; None where the machine has no such call (``fork`` on aarch64)."""
    return syscall_numbers.numbers(machine).get(name)
