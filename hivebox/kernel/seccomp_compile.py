"""From a policy to a seccomp program, with libseccomp. The only user of pyseccomp.

The program is default-deny: what no rule answers goes to the supervisor (SECCOMP_RET_USER_NOTIF), which reports it
and answers with an error. Calls of another architecture (i386 by ``int 0x80``, x32 by bit 30 of the number) have
other numbers for the same names, so they end the process. A binary tree of numbers keeps the refused ones cheap;
allowed ones without an argument filter are answered from the kernel's own bitmap.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from typing import Any

from hivebox.errors import HiveboxError, errno_text
from hivebox.kernel.bpf import CONTROL_FD, EXEC_MAGIC_PLACEHOLDER
from hivebox.kernel.syscall_table import MACHINE
from hivebox.policy.model import Policy
from hivebox.policy.syscall_filters import Condition, SyscallRule, rules
from hivebox.policy.syscall_numbers import MACHINES, numbers

_OPTIMIZE_BINARY_TREE = 2
_MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS
_INSTALL_HINT = "install libseccomp (Debian: apt install libseccomp2) and `pip install pyseccomp`"

# The two calls of the launcher itself, between loading the filter and being the payload (kernel/bpf.py).
_LAUNCHER_RULES = (
    SyscallRule("execveat", (Condition(5, (1 << 64) - 1, EXEC_MAGIC_PLACEHOLDER),)),
    SyscallRule("sendmsg", (Condition(0, 0xFFFF_FFFF, CONTROL_FD),)),
)


def _pyseccomp() -> Any:
    """The module. Its import takes 50 ms: it runs ldconfig to find the library."""
    try:
        import pyseccomp  # noqa: PLC0415
    except (ImportError, RuntimeError) as error:
        raise HiveboxError("cannot compile the seccomp program", str(error), _INSTALL_HINT) from error
    return pyseccomp


def library_path() -> str:
    """The libseccomp that this process uses."""
    _pyseccomp()
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            path = line.split(maxsplit=5)[-1].rstrip("\n")
            if path.startswith("/") and "libseccomp" in path.rpartition("/")[2]:
                return path
    raise HiveboxError("cannot find libseccomp", "it is not among this process's mappings", _INSTALL_HINT)


def compile_program(policy: Policy) -> bytes:
    """An array of ``struct sock_filter`` for the running machine, still with EXEC_MAGIC_PLACEHOLDER in it.

    Raises HiveboxError for an unknown group, machine or call, or a libseccomp that is missing or refuses.
    """
    if MACHINE not in MACHINES:
        raise HiveboxError(
            "cannot compile the seccomp program",
            f"no table of system calls for {MACHINE}",
            f"run on {' or '.join(MACHINES)}",
        )
    pyseccomp = _pyseccomp()
    try:
        program = _build(pyseccomp, rules(policy))
    except OSError as error:
        why = f"libseccomp {library_path()}: {errno_text(error.errno or 0)}"
        hint = "libseccomp 2.5 or newer and Linux 5.5 or newer are needed"
        raise HiveboxError("cannot compile the seccomp program", why, hint) from error
    if len(program) // 8 > _MAX_INSTRUCTIONS:
        raise HiveboxError("the seccomp program is too long", f"{len(program) // 8} instructions", "grant fewer calls")
    return program


def _build(pyseccomp: Any, policy_rules: Iterable[SyscallRule]) -> bytes:
    seccomp_filter = pyseccomp.SyscallFilter(pyseccomp.NOTIFY)
    seccomp_filter.set_attr(pyseccomp.Attr.ACT_BADARCH, pyseccomp.KILL_PROCESS)
    seccomp_filter.set_attr(pyseccomp.Attr.CTL_NNP, 0)  # a step of its own
    seccomp_filter.set_attr(pyseccomp.Attr.CTL_OPTIMIZE, _OPTIMIZE_BINARY_TREE)
    number_of = numbers(MACHINE)
    unconditional = set()
    for rule in (*policy_rules, *_LAUNCHER_RULES):
        if rule.call not in number_of or rule.call in unconditional:
            continue  # not a call of this machine; or sendmsg, when it is allowed anyway
        if not rule.conditions:
            unconditional.add(rule.call)
        _add(pyseccomp, seccomp_filter, number_of[rule.call], rule)
    return _export(seccomp_filter)


def _add(pyseccomp: Any, seccomp_filter: Any, number: int, rule: SyscallRule) -> None:
    action = pyseccomp.ALLOW if rule.errno is None else pyseccomp.ERRNO(rule.errno)
    comparisons = (pyseccomp.Arg(item.argument, pyseccomp.MASKED_EQ, item.mask, item.value) for item in rule.conditions)
    seccomp_filter.add_rule_exactly(action, number, *comparisons)


def _export(seccomp_filter: Any) -> bytes:
    with tempfile.TemporaryFile() as file:
        seccomp_filter.export_bpf(file)
        return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0)
