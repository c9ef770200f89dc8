"""The namespaces of a run, each made by clone(2) or unshare(2), and the mapping of its user."""

from __future__ import annotations

import os
from collections.abc import Callable

from hivebox.doctor import causes
from hivebox.doctor.attempt import attempt
from hivebox.doctor.finding import Verdict, missing, ok
from hivebox.errors import HiveboxError
from hivebox.kernel import process
from hivebox.policy.model import Policy
from hivebox.steps.identity import INSIDE_ID
from hivebox.steps.namespaces import HOSTNAME
from hivebox.steps.network import Network

_FLAGS = {
    "mnt": process.CLONE_NEWNS,
    "pid": process.CLONE_NEWPID,
    "net": process.CLONE_NEWNET,
    "ipc": process.CLONE_NEWIPC,
    "uts": process.CLONE_NEWUTS,
}


def user(policy: Policy) -> Verdict:  # noqa: ARG001
    try:
        attempt(lambda: None, process.CLONE_NEWUSER)
    except OSError as error:
        return missing(causes.user_namespace(error))
    except HiveboxError:
        pass  # the namespace was made; its mapping is the next control
    return ok("clone(CLONE_NEWUSER)")


def identity(policy: Policy) -> Verdict:  # noqa: ARG001
    try:
        inside = attempt(os.getuid, process.CLONE_NEWUSER)
    except (OSError, HiveboxError) as error:
        return missing(causes.of(error, causes.identity))
    if inside != INSIDE_ID:
        raise HiveboxError("the probe of identity went wrong", f"expected uid {INSIDE_ID}, got {inside}", "report this")
    return ok("uid_map, a uid of its own for each run" if os.geteuid() == 0 else "uid_map, your own uid")


def other(kind: str) -> Callable[[Policy], Verdict]:
    """The probe of one more namespace; ``kind`` as in user.max_<kind>_namespaces."""
    flag = _FLAGS[kind]

    def probe(policy: Policy) -> Verdict:  # noqa: ARG001
        try:
            attempt(_USES.get(kind, _nothing), process.CLONE_NEWUSER | flag)
        except (OSError, HiveboxError) as error:
            return missing(causes.of(error, lambda os_error: causes.namespace(os_error, kind)))
        return ok(f"clone(CLONE_NEW{'NS' if kind == 'mnt' else kind.upper()})")

    return probe


def cgroup(policy: Policy) -> Verdict:  # noqa: ARG001
    try:
        attempt(lambda: process.unshare(process.CLONE_NEWCGROUP), process.CLONE_NEWUSER)
    except (OSError, HiveboxError) as error:
        return missing(causes.of(error, lambda os_error: causes.namespace(os_error, "cgroup")))
    return ok("unshare(CLONE_NEWCGROUP)")


def _nothing() -> None:
    pass


# What only works with capabilities in the new namespace: AppArmor may give the namespace and keep those back.
_USES: dict[str, Callable[[], None]] = {
    "uts": lambda: process.sethostname(HOSTNAME),
    "net": Network().set_up,
}
