"""The table of system call numbers agrees with the headers of the machine it runs on."""

import re
import subprocess
from pathlib import Path

import pytest

from hivebox.kernel.syscall_table import syscall_name, syscall_number
from hivebox.policy.syscall_numbers import MACHINES, all_names, numbers

# (machine, name, number): read off the kernel's tables, at both ends of every block of ours.
LANDMARKS = (
    ("x86_64", "read", 0),
    ("x86_64", "ptrace", 101),
    ("x86_64", "rseq", 334),
    ("x86_64", "uprobe", 336),
    ("aarch64", "io_setup", 0),
    ("aarch64", "ptrace", 117),
    ("aarch64", "recvmmsg", 243),
    ("aarch64", "wait4", 260),
    ("aarch64", "kexec_file_load", 294),
    *((machine, name, number) for machine in MACHINES for name, number in
      (("pidfd_send_signal", 424), ("clone3", 435), ("cachestat", 451), ("mseal", 462), ("file_setattr", 469),
       ("rseq_slice_yield", 471))),
)  # fmt: skip


@pytest.mark.parametrize(("machine", "name", "number"), LANDMARKS)
def test_landmarks(machine: str, name: str, number: int) -> None:
    assert syscall_number(name, machine) == number
    assert syscall_name(number, machine) == name


def _header_numbers(unistd: str) -> dict[str, int]:
    result = subprocess.run(
        ["gcc", "-E", "-dM", "-include", unistd, "-x", "c", "/dev/null"],
        check=True, capture_output=True, text=True)  # fmt: skip
    found = re.findall(r"^#define __NR_(\w+) (\d+)$", result.stdout, re.MULTILINE)
    return {name: int(number) for name, number in found}


def test_agrees_with_the_installed_headers() -> None:
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("linux-libc-dev for x86_64 is not installed")
    theirs = _header_numbers(str(header))
    assert len(theirs) > 300
    ours = numbers("x86_64")
    assert {name: ours.get(name) for name in theirs} == theirs


def test_unknown_is_no_name_and_no_number() -> None:
    assert syscall_name(9999) == ""
    assert syscall_name(-1) == ""
    assert syscall_name(250, "aarch64") == ""  # a gap of the table, not a call named "-"
    assert syscall_number("fork", "aarch64") is None
    assert numbers("s390x") == {}
    assert "-" not in all_names()
