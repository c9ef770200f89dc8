"""All controls together: a whole sandbox, launched up to the moment before its program."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile

from hivebox.doctor.attempt import attempt
from hivebox.doctor.finding import Cause, Verdict, missing, ok
from hivebox.errors import HiveboxError, errno_text
from hivebox.kernel import seccomp_compile
from hivebox.launch import launch
from hivebox.plan.resolve import Request, resolve
from hivebox.policy.model import Policy
from hivebox.rootfs.store import Tree
from hivebox.waiting import block

# Of this host, so that the doctor needs no built root: nothing in it is executed.
_TREE = Tree("host:doctor", "/", "doctor", ("/usr",), (), "", "/usr/bin", ())


def whole(policy: Policy) -> Verdict:
    # Ours, not the child's: an interrupted doctor kills the child, and still removes it.
    state = os.path.join(tempfile.gettempdir(), f"hivebox-doctor.{os.urandom(8).hex()}")
    try:
        os.mkdir(state, 0o700)
        steps = attempt(lambda: _launch(policy, state))
    except HiveboxError as error:
        return missing(Cause(f"{error.what}: {error.why}", error.hint))
    except OSError as error:
        why = f"{os.fsdecode(error.filename or '')}: {errno_text(error.errno or 0)}"
        return missing(Cause(why, "mend what is named above, then try again"))
    finally:
        _remove(state)
    return ok(f"{steps} steps of profile {policy.name}, up to its program")


def _remove(path: str) -> None:
    """Twice, since the interrupt may come now."""
    try:
        shutil.rmtree(path, ignore_errors=True)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _launch(policy: Policy, state: str) -> int:
    """The number of steps applied. Nothing of it stays: the group and the process end here."""
    program = seccomp_compile.compile_program(policy)
    digest = hashlib.sha256(program).hexdigest()
    plan = resolve(policy, Request(command="/usr/bin/true"), _TREE, (program, digest), "doctor", state)
    try:
        sandbox = block(launch.Launch(plan).wait_ready())
        launch.kill(sandbox.init_fd)
        block(sandbox.wait())
        sandbox.close()
    finally:
        plan.release()
    return len(plan.steps)
