"""No capabilities, no way to gain any, no core of the set-up's authority left."""

from __future__ import annotations

from hivebox.kernel import process
from hivebox.steps.step import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Privileges(Step):
    """no_new_privs, empty capability sets (bounding and ambient too), securebits locked. Init drops them as well,
    in launch/child.py, once the payload is on its way."""

    name = "privileges"

    def __init__(self) -> None:
        self._last_capability = 0

    def describe(self) -> dict[str, Any]:
        return {"capabilities": [], "no_new_privs": True, "securebits": hex(process.SECUREBITS_LOCKED)}

    def prepare(self) -> None:
        self._last_capability = process.last_capability()

    def confine(self) -> None:
        process.drop_bounding_set(self._last_capability)
        process.lock_securebits()
        process.set_no_new_privs()
        process.drop_capabilities()
