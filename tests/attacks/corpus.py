"""The attacks of this directory as data: one file each, with a docstring for people and EXPECT for the tests.

EXPECT is a literal, read without importing the attack. Its keys, all optional:

``groups``, ``more_groups``, ``kill_after``, ``limits``   the policy, where it differs from harness.PLAIN_GROUPS
``scene``, ``grant``, ``args``                            what is arranged around it (scenes.py), mode of {shared}
``outcome``, ``says``, ``violations``, ``cause``          what the report holds when it was refused
``collect``                                               output path -> reason why it was left out ("": taken)
``without``                                               controls whose removal lets it through (mutate.py);
                                                          those joined by + are each a lock of their own
``outside``                                               how it is shown to succeed without a sandbox
``absent``                                                kernel option without which there is nothing to attack
``since``                                                 version of Linux that has what is attacked: "6.3"
``user``, ``as_user``, ``polled``                         "root": only then; what differs for an ordinary user, and
                                                          where there are no control groups
"""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any

from tests.harness import cgroup_available

HERE = Path(__file__).parent
_DEFAULTS: dict[str, Any] = {
    "groups": "plain",
    "more_groups": (),
    "kill_after": 256,
    "limits": {},
    "scene": "nothing",
    "grant": "",
    "args": (),
    "outcome": "failed",
    "breach_outcome": "",  # which alone shows that it got through: it may have no time to say so
    "says": "",
    "violations": None,
    "cause": None,
    "collect": None,
    "without": (),
    "outside": "plain",
    "absent": "",
    "since": "",
    "user": "",
    "as_user": {},
    "polled": {},
}


class Attack:
    """One file and what its EXPECT says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.stem
        module = ast.parse(path.read_text())
        self.doc = ast.get_docstring(module) or ""
        literal = next(
            node.value
            for node in module.body
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "EXPECT"
        )
        expected = ast.literal_eval(literal)
        unknown = expected.keys() - _DEFAULTS.keys()
        assert not unknown, f"{path.name}: EXPECT has no {unknown}"
        self.declared: dict[str, Any] = {**_DEFAULTS, **expected}  # the same whoever asks, for the documentation
        self.expect: dict[str, Any] = dict(self.declared)
        if os.geteuid() != 0:
            self.expect.update(self.expect["as_user"])
        if self.expect["polled"] and not cgroup_available():
            self.expect.update(self.expect["polled"])

    @property
    def removals(self) -> tuple[str, ...]:
        """Every set of controls without which it gets through, on whatever host."""
        return (*self.declared["without"], *self.declared["polled"].get("without", ()))


def attacks() -> list[Attack]:
    """Every file here that has an EXPECT."""
    return [Attack(path) for path in sorted(HERE.glob("*.py")) if "\nEXPECT = {" in path.read_text()]
