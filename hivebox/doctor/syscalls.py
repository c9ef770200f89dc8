"""The two locks on system calls and files: seccomp and Landlock."""

from __future__ import annotations

import errno
import os
import select
import struct

from hivebox.doctor import causes
from hivebox.doctor.attempt import attempt
from hivebox.doctor.finding import Cause, Verdict, degraded, missing, ok
from hivebox.errors import HiveboxError
from hivebox.kernel import landlock as kernel_landlock
from hivebox.kernel import process, seccomp, seccomp_compile
from hivebox.kernel.syscall_table import MACHINE, syscall_number
from hivebox.policy.model import Policy

_HARMLESS = "getsid"  # nothing else in the probe calls it
_ANSWER = errno.EXDEV  # no kernel gives this for it, so it can only come from the supervisor
_LOAD_NUMBER, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_RET_USER_NOTIF, _RET_ALLOW = 0x7FC0_0000, 0x7FFF_0000
_ANSWER_TIMEOUT_S = 5
_SCOPES_SINCE_ABI = 6


def filtered(policy: Policy) -> Verdict:  # noqa: ARG001
    try:
        attempt(_refuse_one_call)
    except (OSError, HiveboxError) as error:
        return missing(causes.of(error, _explain_filter))
    return ok("seccomp(2), SECCOMP_RET_USER_NOTIF")


def compiler(policy: Policy) -> Verdict:
    try:
        instructions = attempt(lambda: len(seccomp_compile.compile_program(policy)) // 8)
    except (OSError, HiveboxError) as error:
        return missing(causes.of(error, causes.plain))
    return ok(f"libseccomp, {instructions} instructions")


def landlock(policy: Policy) -> Verdict:
    try:
        abi: int = attempt(_deny_everything)
    except (OSError, HiveboxError) as error:
        cause = causes.of(error, _explain_landlock)
        return degraded("mounts alone", cause) if "landlock" in policy.optional else missing(cause)
    if abi < _SCOPES_SINCE_ABI:
        why = "no scopes for signals and abstract sockets (ABI 6, Linux 6.12): the namespaces alone keep those in"
        return degraded(f"Landlock ABI {abi}", Cause(why, "boot Linux 6.12 or newer"))
    return ok(f"Landlock ABI {abi}")


def _explain_filter(error: OSError) -> Cause:
    if error.errno == errno.EBUSY:
        why = f"{causes.text(error)}: a sandbox around this process already listens for refused calls"
        return Cause(why, "run hivebox outside that sandbox")
    return causes.old_kernel(error, (5, 0), ", so it was built without CONFIG_SECCOMP_FILTER")


def _explain_landlock(error: OSError) -> Cause:
    if error.errno == errno.EOPNOTSUPP:
        why = f"{causes.text(error)}: built in, but not enabled at boot"
        return Cause(why, "add landlock to lsm= on the kernel's command line and boot (docs/install.md#landlock)")
    return causes.old_kernel(error, (5, 13), ", so it was built without CONFIG_SECURITY_LANDLOCK")


def _refuse_one_call() -> None:
    """Load a filter that asks about one call, make that call in a child, answer it."""
    number = syscall_number(_HARMLESS)
    if number is None:
        raise HiveboxError("cannot try a seccomp filter", f"no table of system calls for {MACHINE}", "run on x86_64")
    program = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (_LOAD_NUMBER, 0, 0, 0),
            (_JUMP_IF_EQUAL, 0, 1, number),
            (_RETURN, 0, 0, _RET_USER_NOTIF),
            (_RETURN, 0, 0, _RET_ALLOW),
        )
    )
    process.set_no_new_privs()
    notify_fd = seccomp.load(program)
    pid = os.fork()
    if pid == 0:
        os._exit(_call_and_check())
    if select.select([notify_fd], [], [], _ANSWER_TIMEOUT_S)[0]:
        call = seccomp.receive(notify_fd)
        if call and call.number == number:
            seccomp.refuse(notify_fd, call.cookie, _ANSWER)
    seccomp.close_listener(notify_fd)
    if os.waitpid(pid, 0)[1] != 0:
        raise HiveboxError("a seccomp filter did not refuse a call", "the answer did not arrive", "report this")


def _call_and_check() -> int:
    try:
        os.getsid(0)
    except OSError as error:
        return 0 if error.errno == _ANSWER else 1
    return 1


def _deny_everything() -> int:
    """The ABI, after a ruleset without rules was seen to deny."""
    abi = kernel_landlock.abi()
    process.set_no_new_privs()
    # Without Landlock this raises what abi() turned into 0: ENOSYS or EOPNOTSUPP.
    kernel_landlock.restrict_self(kernel_landlock.create_ruleset(abi or 1))
    try:
        os.listdir("/")
    except PermissionError:
        return abi
    raise HiveboxError("Landlock denied nothing", "a ruleset without rules let / be listed", "report this")
