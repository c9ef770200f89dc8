"""From an errno to a cause and the command that mends it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from hivebox.doctor import host
from hivebox.doctor.finding import Cause
from hivebox.errors import HiveboxError, errno_text
from hivebox.steps.identity import UID_RANGE_SIZE, UID_RANGE_START

_DOCKER_FIX = (
    "docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined "
    "--security-opt systempaths=unconfined ..."
)
_APPARMOR_KNOB = "kernel.apparmor_restrict_unprivileged_userns"
_APPARMOR_FIX = f"sudo sysctl -w {_APPARMOR_KNOB}=0   (or, for this program only: docs/install.md#apparmor)"


def text(error: OSError) -> str:
    """``mount(proc on proc): operation not permitted (EPERM)``."""
    where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
    return where + errno_text(error.errno or 0)


def plain(error: OSError | HiveboxError) -> Cause:
    """When nothing better is known than what the failure itself says."""
    if isinstance(error, OSError):
        return Cause(text(error), "look into `dmesg`; if it says nothing, report this")
    return Cause(f"{error.what}: {error.why}", error.hint)


def old_kernel(error: OSError, since: host.Version, also: str = "") -> Cause:
    """A call or option of Linux ``since`` is not there. On a newer kernel something hides it."""
    version = host.kernel_version()
    needed, running = f"{since[0]}.{since[1]}", f"{version[0]}.{version[1]}"
    if version < since:
        return Cause(
            f"{text(error)}: it is there since Linux {needed}, this is {running}", f"boot Linux {needed} or newer"
        )
    if host.is_filtered():
        return Cause(f"{text(error)}: Linux {running} has it, but a seccomp filter answers for it", _DOCKER_FIX)
    return Cause(f"{text(error)}: Linux {running} is new enough{also}", "use a kernel with this feature built in")


def user_namespace(error: OSError) -> Cause:
    """clone(CLONE_NEWUSER) was refused: user_namespaces(7), clone(2)."""
    if error.errno in {errno.ENOSPC, errno.EUSERS}:
        return _too_many(error, "user")
    if error.errno == errno.EACCES:
        return _security_module(error)
    if error.errno == errno.EPERM:
        return _forbidden(error)
    return old_kernel(error, (3, 8), ", so it was built without CONFIG_USER_NS")


def _too_many(error: OSError, kind: str) -> Cause:
    knob = f"user.max_{kind}_namespaces"
    if host.sysctl(knob) == "0":
        return Cause(f"{text(error)}: {knob} is 0", f"sudo sysctl -w {knob}=15000")
    why = (
        f"{text(error)}: all {host.sysctl(knob)} are in use, or the limit of an outer namespace or of depth (32) is hit"
    )
    return Cause(why, f"sudo sysctl -w {knob}=100000   (in the outermost namespace)")


def _security_module(error: OSError) -> Cause:
    if host.sysctl(_APPARMOR_KNOB) == "1":
        return Cause(f"{text(error)}: AppArmor denies user namespaces to ordinary programs", _APPARMOR_FIX)
    profile = host.apparmor_profile()
    if profile:
        return Cause(_held(error, profile), "add the rule `userns,` to that profile   (docs/install.md#apparmor)")
    why = f"{text(error)}: a security module (AppArmor, SELinux) denies user namespaces"
    return Cause(why, "sudo journalctl -k -g 'DENIED|avc:'   (names the rule that did it)")


def _held(error: OSError, profile: str) -> str:
    return f"{text(error)}: AppArmor holds this process to the profile {profile}"


def _forbidden(error: OSError) -> Cause:
    knob = "kernel.unprivileged_userns_clone"
    if host.sysctl(knob) == "0":
        return Cause(f"{text(error)}: {knob} is 0", f"sudo sysctl -w {knob}=1")
    if host.is_filtered():
        seen = host.container()
        why = f"{text(error)}: a seccomp filter is in force on this process"
        return Cause(why + (f", and it looks like a container ({seen})" if seen else ""), _DOCKER_FIX)
    return Cause(
        f"{text(error)}: the process is in a chroot, or its user does not exist in the namespace it is in",
        "run hivebox outside the chroot",
    )


def in_user_namespace(error: OSError) -> Cause:
    """Something that a user namespace's own root may do was refused there."""
    if error.errno not in {errno.EPERM, errno.EACCES}:
        return plain(error)
    if host.sysctl(_APPARMOR_KNOB) == "1" and os.geteuid() != 0:
        return Cause(f"{text(error)}: AppArmor allows the user namespace, but no capability in it", _APPARMOR_FIX)
    profile = host.apparmor_profile()
    if profile:
        fix = "add the rule `capability,` to that profile   (or what `sudo journalctl -k -g DENIED` names)"
        return Cause(_held(error, profile), fix)
    if host.is_filtered():
        return Cause(f"{text(error)}: a seccomp filter is in force on this process", _DOCKER_FIX)
    return plain(error)


def namespace(error: OSError, kind: str) -> Cause:
    """clone(CLONE_NEWUSER|CLONE_NEW...) was refused although a user namespace alone is allowed."""
    if error.errno in {errno.ENOSPC, errno.EUSERS}:
        return _too_many(error, kind)
    if error.errno in {errno.EINVAL, errno.ENOSYS}:
        return Cause(f"{text(error)}: the kernel was built without it", "use a kernel with all namespaces built in")
    return in_user_namespace(error)


def identity(error: OSError) -> Cause:
    """uid_map or gid_map could not be written, or the mapped id not taken."""
    last = UID_RANGE_START + UID_RANGE_SIZE - 1
    if os.geteuid() == 0 and not host.maps_uid(last):
        why = f"{text(error)}: this root lives in a user namespace without the uids {UID_RANGE_START} to {last}"
        return Cause(why, "run hivebox as an ordinary user in it, or map that range into it")
    return in_user_namespace(error)


def private_proc(error: OSError) -> Cause:
    """mount_too_revealing() in fs/namespace.c: a fresh /proc would uncover what something covers on the host's."""
    covered = host.covered_proc()
    if error.errno == errno.EPERM and covered:
        names = ", ".join(covered[:3]) + (f" and {len(covered) - 3} more" if len(covered) > 3 else "")
        why = f"{text(error)}: parts of this host's own /proc are covered ({names}), as in a container"
        return Cause(why, "docker run --security-opt systempaths=unconfined ...   (or: umount what covers them)")
    return in_user_namespace(error)


def of(error: OSError | HiveboxError, explain: Callable[[OSError], Cause]) -> Cause:
    """``explain`` the OSError that ``error`` is or was raised from; without one, its own words."""
    cause = error if isinstance(error, OSError) else error.__cause__
    return explain(cause) if isinstance(cause, OSError) else plain(error)
