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
``user``, ``as_user``                                     "root": only then; what differs for an ordinary user
``gap``, ``poll_gap``                                     why it gets through, always or without control groups
"""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any

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
    "says": "",
    "violations": None,
    "cause": None,
    "collect": None,
    "without": (),
    "outside": "plain",
    "absent": "",
    "user": "",
    "gap": "",
    "poll_gap": "",
    "as_user": {},
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
        self.expect: dict[str, Any] = {**_DEFAULTS, **expected}
        self.outcome_of_root = self.expect["outcome"]
        if os.geteuid() != 0:
            self.expect.update(self.expect["as_user"])


def attacks() -> list[Attack]:
    """Every file here that has an EXPECT."""
    return [Attack(path) for path in sorted(HERE.glob("*.py")) if "\nEXPECT = {" in path.read_text()]
