"""What hivebox keeps on this host: its state directory, key, ledger, clock, profiles and roots."""

from __future__ import annotations

import os
import time

import hivebox
from hivebox.audit import custody, journal, keys
from hivebox.doctor.attempt import attempt
from hivebox.doctor.finding import Cause, Verdict, degraded, missing, ok
from hivebox.errors import HiveboxError, from_os_error
from hivebox.locations import OTHERS_WRITE, find_shipped, state_path
from hivebox.policy.model import Policy
from hivebox.rootfs import store
from hivebox.units import format_size

_ENOUGH_BYTES = 256 << 20  # a tree of the python recipe, and room for the ledger to grow


def directory(policy: Policy) -> Verdict:  # noqa: ARG001
    """Writable, and nobody else's: whoever can write there can put a key or a root of theirs in place."""
    path = state_path()
    existing = path
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    try:
        if existing == path:
            attempt(lambda: _check_private_dir(path))
        attempt(lambda: _write_in(existing))
    except (OSError, HiveboxError) as error:
        return missing(_explain(error))
    return ok(path if existing == path else f"{path} (made by the first run)")


def key(policy: Policy) -> Verdict:  # noqa: ARG001
    path = os.path.join(state_path(), "keys", keys.PRIVATE_NAME)
    return _file(path, custody.OTHERS_ANY, "made by the first run")


def signer(policy: Policy) -> Verdict:  # noqa: ARG001
    """With a key that is thrown away: this machine may lack the library, or its processor what the library needs."""
    try:
        attempt(_sign)
    except (OSError, HiveboxError) as error:
        return missing(_explain(error))
    return ok("Ed25519")


def ledger(policy: Policy) -> Verdict:  # noqa: ARG001
    path = os.path.join(state_path(), "audit", journal.NAME)
    return _file(path, OTHERS_WRITE, "made by the first run")


def clock(policy: Policy) -> Verdict:  # noqa: ARG001
    """A clock that is behind what was written earlier gives records a time that proves nothing."""
    ledger_path = os.path.join(state_path(), "audit", journal.NAME)
    written = [os.stat(path).st_mtime for path in (hivebox.__file__, ledger_path) if os.path.exists(path)]
    now = time.time()
    if now >= max(written):
        return ok("CLOCK_REALTIME, beside CLOCK_BOOTTIME and the boot id")
    why = f"the clock is {max(written) - now:.0f} s behind the newest file of hivebox"
    return degraded("CLOCK_BOOTTIME and the boot id", Cause(why, "sudo timedatectl set-ntp true"))


def profile(policy: Policy) -> Verdict:
    from hivebox.policy.profile import compile_profile  # noqa: PLC0415  # its packages may be what is missing

    try:
        compile_profile(policy.name)
    except HiveboxError as error:
        return missing(_explain(error))
    return ok(f"profile {policy.name}")


def rootfs(policy: Policy) -> Verdict:
    recipe = policy.rootfs.recipe
    try:
        tree = store.find(recipe, policy.rootfs.interpreter)
    except HiveboxError as error:
        return missing(_explain(error))
    if tree:
        return ok(f"recipe {recipe}, {tree.digest[:16]}")
    if not find_shipped("rootfs", recipe):
        cause = Cause(f"there is no recipe {recipe} in rootfs/ of any configuration directory", "scripts/setup")
        return missing(cause)
    free_bytes = _free_bytes(store.root_dir())
    if free_bytes < _ENOUGH_BYTES:
        why = f"{store.root_dir()}: {format_size(free_bytes)} free, a root needs up to {format_size(_ENOUGH_BYTES)}"
        return missing(Cause(why, "make room, or set HIVEBOX_STATE to a directory on a larger file system"))
    return ok(f"recipe {recipe} (built by the first run, or now: hivebox rootfs build)")


def _explain(error: OSError | HiveboxError) -> Cause:
    if isinstance(error, OSError):
        error = from_os_error("cannot use it", error, "set HIVEBOX_STATE to a directory of yours")
    return Cause(error.why or error.what, error.hint)


def _check_private_dir(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    custody.check_private(handle, path, OTHERS_WRITE)


def _write_in(path: str) -> None:
    """mkdir and rmdir: nothing is left, and a full or read-only file system refuses."""
    name = os.path.join(path, f".doctor-{os.urandom(8).hex()}")
    os.mkdir(name, 0o700)
    os.rmdir(name)


def _file(path: str, forbidden_mode: int, when_absent: str) -> Verdict:
    try:
        attempt(lambda: _check_private_file(path, forbidden_mode))
    except FileNotFoundError:
        return ok(f"{path} ({when_absent})")
    except (OSError, HiveboxError) as error:
        return missing(_explain(error))
    return ok(path)


def _check_private_file(path: str, forbidden_mode: int) -> None:
    """As audit/keys.py and audit/journal.py do before they use it."""
    if os.path.islink(path):
        raise HiveboxError("refusing a symbolic link", f"{path}: a symbolic link", "put the file itself there")
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    custody.check_regular(handle, path)
    custody.check_private(handle, path, forbidden_mode)


def _sign() -> None:
    try:
        keys.signer_from_seed(os.urandom(32)).sign(b"doctor")
    except ImportError as error:
        raise HiveboxError(
            "cannot sign records", f"a Python package is not installed: {error}", "scripts/setup"
        ) from error


def _free_bytes(path: str) -> int:
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize
