"""What a script does to keep a refused call out of the record."""

from __future__ import annotations

from hivebox.cli.run import _remarks as remarks
from hivebox.policy import syscall_arguments
from hivebox.policy.syscall_numbers import all_names
from hivebox.report import Ending, Report, Violation
from tests.harness import Runner, policy

PYTHON = "/usr/bin/python3"
_UNSHARE, _MOUNT, _BPF, _KEXEC_LOAD, _IO_URING_SETUP = 272, 165, 321, 246, 425


def test_many_acts_of_one_call_bury_no_other(runner: Runner) -> None:
    """unshare(2) has one argument: the rest is noise."""
    others = (_BPF, _MOUNT, _KEXEC_LOAD, _IO_URING_SETUP)
    code = (
        "import ctypes; l = ctypes.CDLL(None)\n"
        f"for i in range(60): l.syscall({_UNSHARE}, 0x10000000, i, 0, 0, 0, 0)\n"
        f"for i in range(60): l.syscall({_UNSHARE}, i, 0, 0, 0, 0, 0)\n"
        f"for call in {others}: l.syscall(call, 0, 0, 0, 0, 0, 0)"
    )
    ending = runner.command(PYTHON, "-c", code).ending
    assert {each.name for each in ending.violations} == {"unshare", "bpf", "mount", "kexec_load", "io_uring_setup"}
    noisy = next(each for each in ending.violations if each.name == "unshare")
    assert (noisy.detail, noisy.times) == (("0x10000000",), 60)
    assert sum(each.times for each in ending.violations) + ending.violations_dropped == 124


def test_numbers_without_a_name_bury_nothing(runner: Runner) -> None:
    code = (
        "import ctypes; l = ctypes.CDLL(None)\n"
        "for number in range(4000, 4200): l.syscall(number, 0, 0, 0, 0, 0, 0)\n"
        f"l.syscall({_MOUNT}, 0, 0, 0, 0, 0, 0)"
    )
    ending = runner.command(PYTHON, "-c", code).ending
    assert ending.violations[-1].name == "mount"
    assert len(ending.violations) == 11


def test_the_refusals_shown_are_of_different_calls(hivebox) -> None:
    code = (
        "import ctypes; l = ctypes.CDLL(None)\n"
        f"for i in range(9): l.syscall({_UNSHARE}, i)\n"
        f"l.syscall({_MOUNT}, 0, 0, 0, 0, 0)"
    )
    shown = hivebox("run", "--", "python3", "-c", code).stderr
    assert b"refused: mount(0x0, 0x0, 0x0, 0x0, 0x0) " in shown
    assert b"refused: 5 more; see hivebox audit show" in shown


def test_what_is_not_shown_is_counted(hivebox) -> None:
    """Of one call ten acts are kept, five shown. Of calls that were taken back none is."""
    code = f"import ctypes; l = ctypes.CDLL(None)\nfor i in range(14): l.syscall({_UNSHARE}, i)"
    assert b"refused: 9 more;" in hivebox("run", "--", "python3", "-c", code).stderr
    one = Violation("syscall", "unshare", ("0x0",), 1, 0.0, 1)
    ending = Ending("failed", exit_code=1, violations=(one,), violations_dropped=3)
    lines = remarks(Report("id", ("x",), "default", ending, {}, (), {}), policy())
    assert lines[-1].startswith("refused: 3 more;")


def test_counts_are_of_calls_that_there_are() -> None:
    counted = [name for names in syscall_arguments._NAMES for name in names.split()]
    assert len(counted) == len(set(counted))
    assert set(counted) <= all_names()
    shown = {name: syscall_arguments.argument_count(name) for name in ("getpid", "unshare", "mount", "mmap", "no_such")}
    assert shown == {"getpid": 0, "unshare": 1, "mount": 5, "mmap": 6, "no_such": 6}
