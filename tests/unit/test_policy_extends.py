"""Inheritance: what replaces, what is merged, what appends; where each value came from; circles and depth."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from hivebox import locations
from hivebox.errors import ProfileError
from hivebox.policy.load import load_policy, override
from hivebox.policy.model import Mount
from hivebox.policy.profile import available, compile_profile

Put = Callable[[str, str], Path]
CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Writes files below $HIVEBOX_CONFIG, or below the user's directory for ``user/...``."""
    monkeypatch.setattr(locations, "SYSTEM_CONFIG", str(tmp_path / "etc"))
    (tmp_path / "config").mkdir()
    monkeypatch.setenv("HIVEBOX_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config" / "user"))
    monkeypatch.setenv("HIVEBOX_STATE", str(tmp_path / "state"))

    def write(name: str, text: str) -> Path:
        path = tmp_path / "config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


PARENT = """\
limits: {memory: 10M, pids: 5}
syscalls: {groups: ["@base", "@python"], deny: [kill, tkill]}
environment: {set: {A: parent, B: parent}, pass: [LANG]}
filesystem: {read_only: [/srv, /opt]}
optional: [landlock]
"""


def test_scalars_and_lists_replace_and_variables_merge(put: Put) -> None:
    put("profiles/parent.yaml", PARENT)
    put(
        "profiles/child.yaml",
        "extends: parent\nlimits: {pids: 6}\nsyscalls: {deny: [tgkill]}\n"
        "environment: {set: {B: child, C: child}}\nfilesystem: {read_only: [/data]}\noptional: []\n",
    )
    policy = compile_profile("child").policy
    assert (policy.limits.memory_bytes, policy.limits.pids) == (10 << 20, 6)
    assert policy.syscalls.groups == ("@base", "@python")
    assert policy.syscalls.deny == ("tgkill",)
    assert dict(policy.environment.set) == {"A": "parent", "B": "child", "C": "child"}
    assert policy.environment.passed == ("LANG",)
    assert policy.filesystem.mounts == (Mount("/data", "/data", "read_only"),)
    assert policy.optional == ()


def test_add_groups_appends_along_the_chain_and_groups_starts_again(put: Put) -> None:
    put("profiles/one.yaml", 'syscalls: {add_groups: ["@python"]}\n')
    put("profiles/two.yaml", 'extends: one\nsyscalls: {add_groups: ["@exec", "@python"]}\n')
    put("profiles/three.yaml", 'extends: two\nsyscalls: {groups: ["@base"], add_groups: ["@threads"]}\n')
    assert compile_profile("one").policy.syscalls.groups == ("@base", "@python")
    assert set(compile_profile("two").policy.syscalls.groups) == {"@base", "@python", "@exec"}
    assert compile_profile("three").policy.syscalls.groups == ("@base", "@threads")


def test_every_value_knows_its_line(put: Put) -> None:
    parent = put("profiles/parent.yaml", PARENT)
    child = put("profiles/child.yaml", 'extends: parent\nsyscalls:\n  add_groups:\n    - "@exec"\nlimits:\n  pids: 6\n')
    origins = compile_profile("child").origins
    assert origins["limits.memory"] == f"{parent}:1"
    assert origins["limits.pids"] == f"{child}:6"
    assert origins["syscalls.groups.@base"] == f"{parent}:2"
    assert origins["syscalls.groups.@exec"] == f"{child}:4"
    assert origins["environment.set.A"] == f"{parent}:3"
    assert origins["filesystem.read_only./srv"] == f"{parent}:4"
    assert "limits.cpus" not in origins


def test_a_replaced_list_leaves_no_origin_behind(put: Put) -> None:
    put("profiles/parent.yaml", PARENT)
    put("profiles/child.yaml", "extends: parent\nsyscalls: {deny: []}\nfilesystem: {read_only: []}\n")
    assert not [key for key in compile_profile("child").origins if key.endswith((".kill", "./srv"))]


def test_a_relative_path_is_relative_to_the_file(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    put("shared/parent.yaml", "limits: {pids: 5}\n")
    child = put("team/child.yaml", "extends: ../shared/parent.yaml\n")
    monkeypatch.chdir("/")
    assert compile_profile(str(child)).policy.limits.pids == 5


def test_a_profile_may_extend_the_one_of_its_own_name_that_it_hides(put: Put) -> None:
    shipped = compile_profile("default").policy
    put("profiles/default.yaml", "extends: default\nlimits: {pids: 5}\n")
    put("user/hivebox/profiles/default.yaml", "extends: default\nlimits: {wall_time: 1s}\n")
    policy = compile_profile("default").policy
    assert (policy.limits.pids, policy.limits.wall_time_s) == (5, 1.0)
    assert policy.syscalls == shipped.syscalls
    assert len([source for source in compile_profile("default").sources if source.sha256]) == 3


def test_a_name_alone_in_the_search_path_cannot_extend_itself(put: Put) -> None:
    put("profiles/lonely.yaml", "extends: lonely\n")
    with pytest.raises(ProfileError, match="in a circle"):
        compile_profile("lonely")


def test_a_circle_through_others(put: Put) -> None:
    put("profiles/a.yaml", "extends: b\n")
    put("profiles/b.yaml", "extends: c\n")
    put("profiles/c.yaml", "extends: a\n")
    with pytest.raises(ProfileError, match="circle"):
        compile_profile("a")


def test_depth_is_bounded(put: Put) -> None:
    put("profiles/p0.yaml", "{}\n")
    for number in range(1, 9):
        put(f"profiles/p{number}.yaml", f"extends: p{number - 1}\n")
    compile_profile("p7")
    with pytest.raises(ProfileError, match="more than 8"):
        compile_profile("p8")


def test_two_grants_on_one_destination_across_files_are_refused(put: Put) -> None:
    put("profiles/parent.yaml", "filesystem: {read_only: [/srv]}\n")
    put("profiles/child.yaml", 'extends: parent\nfilesystem: {read_write: ["/opt:/srv"]}\n')
    with pytest.raises(ProfileError, match=r"granted twice.*parent\.yaml:1"):
        compile_profile("child")


def test_the_command_line_takes_the_place_of_a_grant(put: Put) -> None:
    put("profiles/p.yaml", "filesystem: {read_only: [/srv, /opt]}\nenvironment: {set: {A: a, B: b}, pass: [LANG]}\n")
    policy, _ = load_policy("p")
    changed = override(
        policy,
        limits={"pids": 3},
        mounts=(Mount("/srv", "/srv", "overlay"),),
        env_set=(("B", "x"),),
        env_pass=("LANG", "TERM"),
        interpreter="/usr/bin/python3",
    )
    assert changed.filesystem.mounts == (Mount("/opt", "/opt", "read_only"), Mount("/srv", "/srv", "overlay"))
    assert dict(changed.environment.set) == {"A": "a", "B": "x"}
    assert changed.environment.passed == ("LANG", "TERM")
    assert changed.limits == policy.limits._replace(pids=3)
    assert changed.rootfs.interpreter == "/usr/bin/python3"


@pytest.mark.parametrize(
    "mount",
    [
        Mount("/", "/host", "read_only"),
        Mount("/proc", "/p", "read_only"),
        Mount("/proc/1/root", "/p", "read_only"),
        Mount("/sys/fs/cgroup", "/c", "read_only"),
        Mount("/dev", "/d", "read_only"),
        Mount("/srv", "/proc", "read_only"),
        Mount("/srv", "/dev/null", "read_only"),
        Mount("/srv", "/etc", "read_only"),
        Mount("/srv", "/", "read_only"),
        Mount("/srv", "/work", "read_only"),
        Mount("/srv/../etc", "/x", "read_only"),
        Mount("srv", "/x", "read_only"),
        Mount("/srv", "//x", "read_only"),
    ],
)
def test_some_grants_are_never_allowed(put: Put, mount: Mount) -> None:
    put("profiles/p.yaml", "{}\n")
    policy, _ = load_policy("p")
    with pytest.raises(ProfileError, match="cannot grant") as caught:
        override(policy, mounts=(mount,))
    assert "keeps its keys" not in caught.value.why  # that / holds /proc is reason enough


@pytest.mark.parametrize("below", ["", "state", "state/audit"])
@pytest.mark.parametrize("mode", ["read_only", "read_write", "overlay"])
def test_the_key_and_the_ledger_cannot_be_granted(put: Put, tmp_path: Path, mode: str, below: str) -> None:
    """Nor a directory that holds them, nor by a link to it."""
    put("profiles/p.yaml", "{}\n")
    policy, _ = load_policy("p")
    source = str(tmp_path / below)
    with pytest.raises(ProfileError, match="keeps its keys"):
        override(policy, mounts=(Mount(source, "/x", mode),))
    override(policy, mounts=(Mount(str(tmp_path / "other"), "/x", mode),))


def test_the_state_directory_is_found_behind_a_link(put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put("profiles/p.yaml", "{}\n")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.setenv("HIVEBOX_STATE", str(tmp_path / "link"))
    policy, _ = load_policy("p")
    with pytest.raises(ProfileError, match="keeps its keys"):
        override(policy, mounts=(Mount(str(tmp_path / "real"), "/x", "read_only"),))


def test_what_says_what_may_be_done_cannot_be_granted_for_writing(put: Put, tmp_path: Path) -> None:
    put("profiles/p.yaml", "{}\n")
    policy, _ = load_policy("p")
    config = str(tmp_path / "config" / "profiles")
    override(policy, mounts=(Mount(config, "/x", "read_only"),))
    with pytest.raises(ProfileError, match="rules"):
        override(policy, mounts=(Mount(config, "/x", "read_write"),))


@pytest.mark.parametrize(
    "place",
    [
        str(CHECKOUT),
        str(CHECKOUT / "hivebox"),
        str(CHECKOUT / "hivebox/kernel/syscall_table.py"),
        str(CHECKOUT / "profiles"),
        str(CHECKOUT / "rootfs"),
        os.path.realpath(sys.prefix),
        os.path.dirname(os.path.realpath(os.__file__)),
        os.path.realpath(yaml.__path__[0]),
    ],
)
def test_hiveboxs_own_code_cannot_be_granted_for_writing(put: Put, place: str) -> None:
    """A script that writes there is outside as soon as its supervisor imports the next module."""
    put("profiles/p.yaml", "{}\n")
    policy, _ = load_policy("p")
    override(policy, mounts=(Mount(place, "/x", "read_only"), Mount(place, "/y", "overlay")))
    with pytest.raises(ProfileError, match=r"code|modules"):
        override(policy, mounts=(Mount(place, "/x", "read_write"),))


def test_nor_where_python_would_look_for_it_first(put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put("profiles/p.yaml", "{}\n")
    policy, _ = load_policy("p")
    monkeypatch.syspath_prepend(tmp_path / "program")
    with pytest.raises(ProfileError, match="looks for the modules"):
        override(policy, mounts=(Mount(str(tmp_path / "program"), "/x", "read_write"),))
    override(policy, mounts=(Mount(str(tmp_path / "program/data"), "/x", "read_write"),))  # as a program keeps it


def test_available_lists_the_first_of_each_name(put: Put) -> None:
    mine = put("profiles/default.yaml", "{}\n")
    put("profiles/.hidden.yaml", "{}\n")
    put("profiles/notes.txt", "")
    found = available()
    assert found["default"] == str(mine)
    assert {"python", "shell", "node", "governance", "strict"} <= found.keys()
    assert not {".hidden", "notes", "notes.txt"} & found.keys()
