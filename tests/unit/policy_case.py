"""Profiles in a world of their own: a state directory, and three places for configuration, none of them this host's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from hivebox import locations
from hivebox.policy.load import load_policy
from hivebox.policy.model import Policy

Write = Callable[[str, str], Path]


class Home(NamedTuple):
    """``system`` stands for /etc/hivebox, ``user`` for ~/.config/hivebox, ``chosen`` for $HIVEBOX_CONFIG."""

    base: Path
    system: Path
    user: Path
    chosen: Path
    state: Path

    def profile(self, name: str, text: str, where: str = "chosen") -> Path:
        """Write profiles/NAME.yaml."""
        directory: Path = getattr(self, where) / "profiles"
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{name}.yaml"
        path.write_text(text)
        return path

    def security(self, text: str, where: str = "system", name: str = "security_policy.yml") -> Path:
        """Write the security policy."""
        directory: Path = getattr(self, where)
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / name
        path.write_text(text)
        return path

    def load(self, name: str) -> Policy:
        """The policy alone."""
        return load_policy(name)[0]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """Nothing of this host's configuration is seen, but for the shipped profiles."""
    place = Home(tmp_path, tmp_path / "etc", tmp_path / "xdg" / "hivebox", tmp_path / "chosen", tmp_path / "state")
    monkeypatch.setattr(locations, "SYSTEM_CONFIG", str(place.system))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    place.chosen.mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("HIVEBOX_CONFIG", str(place.chosen))
    monkeypatch.setenv("HIVEBOX_STATE", str(place.state))
    yield place
