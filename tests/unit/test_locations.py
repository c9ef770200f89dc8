"""Whose word counts: directories of state and configuration that somebody else may change are refused before use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hivebox import locations
from hivebox.errors import HiveboxError
from hivebox.policy.load import load_policy
from hivebox.rootfs import recipe
from hivebox.rootfs.build import build

SOMEBODY = 54321


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "config"
    for name in ("profiles", "rootfs"):
        (directory / name).mkdir(parents=True)
    (directory / "profiles/mine.yaml").write_text("extends: default\n")
    (directory / "rootfs/small.yaml").write_text("programs: {required: [cat]}\n")
    (directory / "security_policy.yml").write_text("{}\n")
    monkeypatch.setenv("HIVEBOX_CONFIG", str(directory))
    monkeypatch.setenv("HIVEBOX_STATE", str(tmp_path / "state"))
    return directory


def _load() -> None:
    load_policy("mine")
    recipe.load("small")


class TestConfiguration:
    @pytest.mark.parametrize(
        "name", ["", "profiles", "rootfs", "profiles/mine.yaml", "rootfs/small.yaml", "security_policy.yml"]
    )
    def test_what_a_group_may_write_is_refused_by_name(self, config: Path, name: str) -> None:
        _load()
        path = config / name
        path.chmod(path.stat().st_mode | 0o020)
        if path.is_file():
            path.write_text(path.read_text() + "# another\n")  # what is unchanged need not be read again
        with pytest.raises(HiveboxError, match="others can change") as caught:
            _load()
        assert str(path) in caught.value.why

    @pytest.mark.root
    @pytest.mark.parametrize("name", ["", "profiles", "profiles/mine.yaml", "rootfs/small.yaml", "security_policy.yml"])
    def test_what_a_tenant_owns_is_no_rule_for_root(self, config: Path, name: str) -> None:
        os.chown(config / name, SOMEBODY, SOMEBODY)
        with pytest.raises(HiveboxError, match=f"owned by uid {SOMEBODY}|others can change"):
            _load()

    def test_a_profile_that_somebody_names_is_theirs_to_trust(self, config: Path, tmp_path: Path) -> None:
        (tmp_path / "p.yaml").write_text("extends: default\n")
        (tmp_path / "p.yaml").chmod(0o664)
        load_policy(str(tmp_path / "p.yaml"))

    @pytest.mark.root
    def test_home_in_the_environment_of_root_names_no_configuration(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """``su -m``, ``sudo -E``, a cron line."""
        monkeypatch.delenv("HIVEBOX_CONFIG")
        monkeypatch.setenv("HOME", "/home/tenant")
        assert not [path for path in locations.config_dirs() if path.startswith("/home/tenant")]

    def test_what_is_relative_names_none_below_the_current_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("HIVEBOX_CONFIG")
        monkeypatch.setenv("HOME", "home")
        assert all(map(os.path.isabs, locations.config_dirs()))
        monkeypatch.setenv("XDG_CONFIG_HOME", "config")
        assert locations.config_dirs() == (locations.SYSTEM_CONFIG,)

    @pytest.mark.root
    def test_nor_does_a_uid_without_home_and_passwd_entry(self, tmp_path: Path) -> None:
        code = (
            f"import os; from hivebox import locations; os.setgroups([]); os.setresgid(*[{SOMEBODY}] * 3)\n"
            f"os.setresuid(*[{SOMEBODY}] * 3); print(locations.config_dirs(), flush=True); locations.state_dir()"
        )
        environment = {"PATH": "/usr/bin", "PYTHONPATH": str(Path(locations.__file__).parents[1])}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, cwd="/", capture_output=True, text=True, check=False
        )
        assert done.stdout == "('/etc/hivebox',)\n", done.stderr
        assert "HOME, is not an absolute path" in done.stderr


class TestState:
    @pytest.fixture
    def state(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        state = tmp_path / "state"
        state.mkdir(mode=0o700)
        monkeypatch.setenv("HIVEBOX_STATE", str(state))
        return state

    @pytest.fixture
    def victim(self, tmp_path: Path) -> Path:
        """What a link in the state leads to: its owner's, and nothing that hivebox made."""
        (tmp_path / "victim/precious").mkdir(parents=True)
        (tmp_path / "victim").chmod(0o700)
        return tmp_path / "victim"

    def test_what_others_may_write_is_refused(self, state: Path) -> None:
        state.chmod(0o770)
        with pytest.raises(HiveboxError, match="mode 0770"):
            locations.state_dir()

    @pytest.mark.root
    def test_another_users_is_refused_before_anything_is_done_in_it(self, hivebox, state: Path, victim: Path) -> None:
        (state / "rootfs").mkdir()
        (state / "rootfs/trees").symlink_to(victim)
        os.chown(state, SOMEBODY, SOMEBODY)
        for command in (("run", "--", "true"), ("rootfs", "build"), ("rootfs", "prune"), ("rootfs", "list")):
            done = hivebox(*command)
            assert done.returncode == 125
            assert f"owned by uid {SOMEBODY}".encode() in done.stderr
        assert os.listdir(victim) == ["precious"]
        assert victim.stat().st_mode & 0o777 == 0o700
        assert os.listdir(state) == ["rootfs"]

    @pytest.mark.root
    @pytest.mark.parametrize("name", ["tenant/state", "tenant/link", "tenant/absent/state"])
    def test_roots_own_directory_must_be_where_only_root_can_replace_it(
        self, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        tenant = tmp_path / "tenant"
        (tenant / "state").mkdir(parents=True, mode=0o700)
        (tenant / "link").symlink_to(state)
        os.chown(tenant, SOMEBODY, SOMEBODY)
        monkeypatch.setenv("HIVEBOX_STATE", str(tmp_path / name))
        with pytest.raises(HiveboxError, match="below one that others can change"):
            locations.state_dir()
        os.chown(tenant, 0, 0)
        locations.state_dir()

    @pytest.mark.parametrize("name", ["rootfs", "rootfs/trees", "rootfs/building", "rootfs/index"])
    def test_a_link_in_it_is_not_followed_by_a_build(
        self, config: Path, state: Path, victim: Path, tmp_path: Path, name: str
    ) -> None:
        (state / name).parent.mkdir(exist_ok=True)
        (state / name).symlink_to(victim)
        with pytest.raises(HiveboxError, match="refusing a part of the state directory"):
            build("small", "")
        assert os.listdir(victim) == ["precious"]
        assert victim.stat().st_mode & 0o777 == 0o700

    @pytest.mark.parametrize("name", ["cache", "cache/policy", "cache/seccomp", "uids"])
    def test_nor_by_a_run(self, hivebox, state: Path, victim: Path, name: str) -> None:
        if name == "uids" and os.geteuid() != 0:
            pytest.skip("needs root")
        (state / name).parent.mkdir(exist_ok=True, mode=0o700)
        (state / name).symlink_to(victim)
        done = hivebox("run", "--", "true")
        assert b"refusing a part of the state directory" in done.stderr
        assert os.listdir(victim) == ["precious"]
