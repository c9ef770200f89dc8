"""What the doctor says about one control."""

from __future__ import annotations

from typing import NamedTuple

OK, DEGRADED, MISSING = "ok", "degraded", "missing"


class Verdict(NamedTuple):
    """``mechanism`` is what enforces the control here, ``why`` the cause of anything but ``ok``, ``fix`` a command."""

    status: str
    mechanism: str
    why: str = ""
    fix: str = ""


class Finding(NamedTuple):
    """A verdict with the name of its control: one object of ``hivebox doctor --json``."""

    control: str
    status: str
    mechanism: str
    why: str
    fix: str


class Cause(NamedTuple):
    """Why a probe failed, and the command that mends it."""

    why: str
    fix: str


def ok(mechanism: str) -> Verdict:
    return Verdict(OK, mechanism)


def degraded(mechanism: str, cause: Cause) -> Verdict:
    """A run works, with less: ``mechanism`` is what is left."""
    return Verdict(DEGRADED, mechanism, *cause)


def missing(cause: Cause) -> Verdict:
    """A run with the default profile stops with exit 125."""
    return Verdict(MISSING, "none", *cause)
