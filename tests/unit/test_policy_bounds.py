"""security_policy.yml bounds a profile, what it extends and the command line; the most restrictive file wins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hivebox.errors import ProfileError
from hivebox.policy.bounds import LIMIT_RANGES, key_of
from hivebox.policy.load import load_policy, override
from hivebox.policy.model import Bounds, Limits, Mount
from hivebox.policy.profile import compile_profile

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Files below ``config/`` ($HIVEBOX_CONFIG) and ``user/hivebox/`` ($XDG_CONFIG_HOME)."""
    monkeypatch.setenv("HIVEBOX_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.setenv("HIVEBOX_STATE", str(tmp_path / "state"))

    def put(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return put


BOUND = "config/security_policy.yml"
PROFILE = "config/profiles/job.yaml"
LARGEST = {
    "limits": "limits: {memory: 100M, wall_time: 20s, pids: 10, cpus: 2}\n",
    "groups": 'syscalls: {groups: ["@base", "@python"]}\n',
    "paths": "filesystem: {read_only: [/srv], read_write: [/srv/out]}\n",
}

# (security_policy.yml, a profile within it, the same profile a little beyond it)
CASES = [
    ("limits: {memory: 100M}", "limits: {memory: 100M}", "limits: {memory: 101M}"),
    ("limits: {wall_time: 20s}", "limits: {wall_time: 20s}", "limits: {wall_time: 20.5s}"),
    ("limits: {cpu_time: 20s}", "limits: {cpu_time: 20s}", "limits: {cpu_time: 1m}"),
    ("limits: {pids: 10}", "limits: {pids: 10}", "limits: {pids: 11}"),
    ("limits: {cpus: 2}", "limits: {cpus: 2}", "limits: {cpus: all}"),
    ("limits: {file_size: 1M}", "limits: {file_size: 1M}", "limits: {file_size: 2M}"),
    ("limits: {open_files: 50}", "limits: {open_files: 50}", "limits: {open_files: 51}"),
    ("limits: {workdir_size: 1M}", "limits: {workdir_size: 1M}", "limits: {workdir_size: 2M}"),
    ("limits: {workdir_inodes: 50}", "limits: {workdir_inodes: 50}", "limits: {workdir_inodes: 51}"),
    ("limits: {output_size: 1M}", "limits: {output_size: 1M}", "limits: {output_size: 2M}"),
    ("limits: {without_cgroup: [refuse]}", "limits: {without_cgroup: refuse}", "limits: {without_cgroup: poll}"),
    ('syscalls: {groups: ["@base"]}', 'syscalls: {groups: ["@base"]}', 'syscalls: {groups: ["@base", "@exec"]}'),
    ('syscalls: {groups: ["@base"]}', 'syscalls: {groups: ["@base"]}', 'syscalls: {add_groups: ["@exec"]}'),
    ('syscalls: {groups: ["@base"]}', "syscalls: {allow: [read]}", "syscalls: {allow: [execve]}"),
    ('syscalls: {groups: ["@base"], calls: [fork]}', "syscalls: {allow: [fork]}", "syscalls: {allow: [vfork]}"),
    ("syscalls: {calls: [fork]}", "syscalls: {allow: [fork]}", "syscalls: {allow: [ptrace]}"),
    ("filesystem: {read_only: [/srv]}", "filesystem: {read_only: [/srv/a]}", "filesystem: {read_only: [/srvx]}"),
    ("filesystem: {read_only: [/srv]}", "filesystem: {overlay: [/srv/a]}", "filesystem: {overlay: [/opt]}"),
    ("filesystem: {read_only: [/srv]}", "filesystem: {read_only: [/srv]}", "filesystem: {read_write: [/srv]}"),
    ("filesystem: {read_write: [/srv]}", "filesystem: {read_write: [/srv]}", "filesystem: {read_write: [/opt]}"),
    (
        "filesystem: {read_only: [/srv], read_write: [/out]}",
        "filesystem: {read_only: [/out/a]}",
        "filesystem: {read_write: [/srv/a]}",
    ),
    ("filesystem: {work_exec: false}", "filesystem: {work_exec: false}", "filesystem: {work_exec: true}"),
    ("filesystem: {read_only: []}", "rootfs: {interpreter: /usr/bin/python3}", "rootfs: {interpreter: /opt/python3}"),
    ("rootfs: {recipes: [python]}", "rootfs: {recipe: python}", "rootfs: {recipe: host}"),
    ("environment: {pass: [LANG]}", "environment: {pass: [LANG]}", "environment: {pass: [LANG, HOME]}"),
    ("required: [landlock]", "optional: []", "optional: [landlock]"),
]


@pytest.mark.parametrize(("bound", "within", "beyond"), CASES)
def test_a_profile_cannot_exceed_it(write: Write, bound: str, within: str, beyond: str) -> None:
    write(BOUND, bound + "\n")
    write(PROFILE, within + "\n")
    compile_profile("job")
    profile = write(PROFILE, "# one line further down\n" + beyond + "\n")
    with pytest.raises(ProfileError) as caught:
        compile_profile("job")
    assert f"({profile}:2)" in caught.value.why
    assert "security_policy.yml:1)" in caught.value.why


@pytest.mark.parametrize(("bound", "_within", "beyond"), CASES)
def test_extending_does_not_help(write: Write, bound: str, _within: str, beyond: str) -> None:
    write(BOUND, bound + "\n")
    write("config/profiles/parent.yaml", beyond + "\n")
    write(PROFILE, "extends: parent\n")
    with pytest.raises(ProfileError, match=r"parent\.yaml:1"):
        compile_profile("job")


@pytest.mark.parametrize(("bound", "_within", "beyond"), CASES)
def test_nothing_is_refused_without_it(write: Write, bound: str, _within: str, beyond: str) -> None:
    """The refusals above come from the bounds and from nothing else."""
    assert bound
    write(PROFILE, beyond + "\n")
    assert compile_profile("job").policy.bounds == Bounds()


OVERRIDES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    *(
        (
            f"limits: {{{key_of(field)}: {1000 if field in ('pids', 'cpus', 'workdir_inodes') else 100}}}",
            {"limits": {field: least}},
            {"limits": {field: 1001 if field not in ("open_files",) else 101}},
        )
        for field, (least, _) in LIMIT_RANGES.items()
        if field not in ("memory_bytes", "workdir_size_bytes")
    ),
    ("limits: {memory: 1M}", {"limits": {"memory_bytes": 1 << 20}}, {"limits": {"memory_bytes": (1 << 20) + 1}}),
    (
        "filesystem: {read_only: [/srv]}",
        {"mounts": (Mount("/srv/a", "/a", "read_only"),)},
        {"mounts": (Mount("/opt", "/srv/a", "read_only"),)},
    ),
    (
        "filesystem: {read_only: [/srv]}",
        {"mounts": (Mount("/srv/a", "/a", "overlay"),)},
        {"mounts": (Mount("/srv/a", "/a", "read_write"),)},
    ),
    ("environment: {pass: [LANG]}", {"env_pass": ("LANG",)}, {"env_pass": ("SECRET",)}),
    ("filesystem: {read_only: []}", {"interpreter": "/usr/bin/python3"}, {"interpreter": "/home/x/bin/python3"}),
]


@pytest.mark.parametrize(("bound", "within", "beyond"), OVERRIDES)
def test_the_command_line_cannot_exceed_it(
    write: Write, bound: str, within: dict[str, Any], beyond: dict[str, Any]
) -> None:
    write(BOUND, bound + "\n")
    write(PROFILE, "optional: []\n")
    policy, _ = load_policy("job")
    override(policy, **within)
    with pytest.raises(ProfileError, match="command line") as caught:
        override(policy, **beyond)
    assert "security_policy.yml:1)" in caught.value.why
    override(policy._replace(bounds=Bounds()), **beyond)  # it was the bound that refused


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 0, -1, 1e300])
@pytest.mark.parametrize("field", LIMIT_RANGES)
def test_no_limit_can_be_lifted(write: Write, field: str, value: float) -> None:
    write(PROFILE, "{}\n")
    policy, _ = load_policy("job")
    with pytest.raises(ProfileError, match=key_of(field)):
        override(policy, limits={field: value})


def test_every_limit_has_a_range() -> None:
    assert {*LIMIT_RANGES, "without_cgroup"} == {*Limits._fields}


def test_the_most_restrictive_file_wins_whoever_wrote_it(write: Write) -> None:
    write(BOUND, "limits: {memory: 100M, pids: 10}\nfilesystem: {read_only: [/srv, /opt/a]}\n")
    write(
        "user/hivebox/security_policy.yaml",
        'limits: {memory: 50M, pids: 20, cpus: 1}\nfilesystem: {read_only: [/srv/x, /opt]}\nsyscalls: {groups: ["@base"]}\n',
    )
    write(PROFILE, "{}\n")
    policy = compile_profile("job").policy
    assert dict(policy.bounds.limits) == {"memory_bytes": 50 << 20, "pids": 10, "cpus": 1.0}
    assert set(policy.bounds.read_only or ()) == {"/srv/x", "/opt/a"}
    assert policy.bounds.groups == ("@base",)
    places = dict(policy.bounds.origins)
    assert places["limits.memory"].endswith("user/hivebox/security_policy.yaml:1")
    assert places["limits.pids"].endswith("config/security_policy.yml:1")


def test_a_file_without_a_bound_does_not_lift_it(write: Write) -> None:
    write(BOUND, "filesystem: {read_only: [/srv], work_exec: false}\nlimits: {without_cgroup: [refuse]}\n")
    write("user/hivebox/security_policy.yml", "filesystem: {read_write: [/out], work_exec: true}\n")
    write(PROFILE, "{}\n")
    bounds = compile_profile("job").policy.bounds
    assert (bounds.read_only, bounds.read_write) == (("/srv",), ())
    assert (bounds.work_exec, bounds.without_cgroup) == (False, ("refuse",))


def test_defaults_come_down_to_the_bound(write: Write) -> None:
    """What nobody wrote is no error."""
    write(BOUND, "limits: {memory: 100M, cpus: 2, without_cgroup: [refuse]}\n")
    write(PROFILE, "{}\n")
    limits = compile_profile("job").policy.limits
    assert (limits.memory_bytes, limits.cpus, limits.without_cgroup) == (100 << 20, 2.0, "refuse")
    assert limits.pids == Limits().pids


@pytest.mark.parametrize("text", ["", "limits: {memroy: 1M}", "limits: [", "limits: {memory: 0}"])
def test_a_broken_file_stops_every_run(write: Write, text: str) -> None:
    """An empty one too: that is what a full disk leaves of a file that bounded something."""
    write(PROFILE, "{}\n")
    write(BOUND, text)
    with pytest.raises(ProfileError, match=r"security_policy\.yml"):
        compile_profile("job")


def test_one_that_is_no_file_stops_every_run(write: Write) -> None:
    write(PROFILE, "{}\n")
    write(f"{BOUND}/x", "")
    with pytest.raises(ProfileError, match="not a regular file"):
        compile_profile("job")
