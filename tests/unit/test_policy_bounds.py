"""security_policy.yml cannot be exceeded: not by a profile, not by what it extends, not by a command line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivebox.errors import ProfileError
from hivebox.policy.bounds import enforce_bounds, find_excesses, key_of
from hivebox.policy.grants import is_within
from hivebox.policy.load import override
from hivebox.policy.model import Bounds, Limits, Mount, Policy, Rootfs, Syscalls
from tests.unit.policy_case import Home

NOTHING: dict[str, Any] = {"limits": {}, "mounts": (), "env_set": (), "env_pass": (), "interpreter": ""}

# (bound, a profile that keeps it, a profile that exceeds it, the words that name it)
CASES = {
    "wall_time": (
        "limits: {wall_time: 1m}",
        "limits: {wall_time: 60s}",
        "limits: {wall_time: 61s}",
        "limits.wall_time",
    ),
    "cpu_time": ("limits: {cpu_time: 10}", "limits: {cpu_time: 10}", "limits: {cpu_time: 10.5}", "limits.cpu_time"),
    "memory": ("limits: {memory: 1G}", "limits: {memory: 1024M}", "limits: {memory: 1025M}", "limits.memory"),
    "pids": ("limits: {pids: 8}", "limits: {pids: 8}", "limits: {pids: 9}", "limits.pids"),
    "cpus": ("limits: {cpus: 2}", "limits: {cpus: 2}", "limits: {cpus: 2.5}", "limits.cpus"),
    "all cpus": ("limits: {cpus: 2}", "limits: {cpus: 1}", "limits: {cpus: all}", "limits.cpus"),
    "io_read": ("limits: {io_read: 1M}", "limits: {io_read: 1M}", "limits: {io_read: 2M}", "limits.io_read"),
    "all io_write": ("limits: {io_write: 1M}", "limits: {io_write: 4K}", "limits: {io_write: all}", "limits.io_write"),
    "io_read_ops": ("limits: {io_read_ops: 9}", "limits: {io_read_ops: 9}", "limits: {io_read_ops: 10}", "io_read_ops"),
    "all ops": (
        "limits: {io_write_ops: 9}",
        "limits: {io_write_ops: 1}",
        "limits: {io_write_ops: all}",
        "io_write_ops",
    ),
    "file_size": ("limits: {file_size: 1M}", "limits: {file_size: 1M}", "limits: {file_size: 2M}", "limits.file_size"),
    "open_files": (
        "limits: {open_files: 64}",
        "limits: {open_files: 64}",
        "limits: {open_files: 65}",
        "limits.open_files",
    ),
    "workdir_size": (
        "limits: {workdir_size: 1M}",
        "limits: {workdir_size: 1M}",
        "limits: {workdir_size: 2M}",
        "workdir_size",
    ),
    "workdir_inodes": (
        "limits: {workdir_inodes: 99}",
        "limits: {workdir_inodes: 99}",
        "limits: {workdir_inodes: 100}",
        "inodes",
    ),
    "output_size": (
        "limits: {output_size: 1M}",
        "limits: {output_size: 1M}",
        "limits: {output_size: 2M}",
        "output_size",
    ),
    "without_cgroup": (
        "limits: {without_cgroup: [refuse]}",
        "limits: {without_cgroup: refuse}",
        "limits: {without_cgroup: poll}",
        "limits.without_cgroup",
    ),
    "groups": (
        'syscalls: {groups: ["@base"]}',
        'syscalls: {groups: ["@base"]}',
        'syscalls: {groups: ["@exec"]}',
        "@exec",
    ),
    "added groups": ('syscalls: {groups: ["@base"]}', "{}", 'syscalls: {add_groups: ["@exec"]}', "@exec"),
    "calls of other groups": (
        'syscalls: {groups: ["@base"]}',
        "syscalls: {allow: [read]}",
        "syscalls: {allow: [execve]}",
        "execve",
    ),
    "calls": ("syscalls: {calls: [bpf]}", "syscalls: {allow: [bpf]}", "syscalls: {allow: [ptrace]}", "ptrace"),
    "recipes": ("rootfs: {recipes: [python]}", "rootfs: {recipe: python}", "rootfs: {recipe: host}", "host"),
    "pass": ("environment: {pass: [TZ]}", "environment: {pass: [TZ]}", "environment: {pass: [HOME]}", "HOME"),
    "work_exec": ("filesystem: {work_exec: false}", "{}", "filesystem: {work_exec: true}", "work_exec"),
    "read_only": (
        "filesystem: {read_only: [/srv/a]}",
        "filesystem: {read_only: [/srv/a/b, /srv/a]}",
        "filesystem: {read_only: [/srv/ab]}",
        "/srv/ab",
    ),
    "overlay": (
        "filesystem: {read_only: [/srv/a]}",
        "filesystem: {overlay: [/srv/a]}",
        "filesystem: {overlay: [/srv]}",
        "/srv",
    ),
    "read_write": (
        "filesystem: {read_write: [/srv/a]}",
        "filesystem: {read_write: [/srv/a]}",
        "filesystem: {read_write: [/srv/b]}",
        "/srv/b",
    ),
    "read_write by a bound on reading": (
        "filesystem: {read_only: [/srv/a]}",
        "{}",
        "filesystem: {read_write: [/srv/a]}",
        "/srv/a",
    ),
    "interpreter": (
        "filesystem: {read_only: [/srv/a]}",
        "rootfs: {interpreter: /usr/bin/python3}",
        "rootfs: {interpreter: /home/x/python}",
        "/home/x/python",
    ),
    "required": ("required: [landlock]", "optional: []", "optional: [landlock]", "landlock"),
}


@pytest.mark.parametrize("case", CASES)
class TestProfile:
    def test_a_profile_within_it_is_loaded(self, home: Home, case: str) -> None:
        bound, good, _bad, _word = CASES[case]
        home.security(bound + "\n")
        home.profile("mine", good + "\n")
        home.load("mine")

    def test_a_profile_beyond_it_is_refused_and_both_places_named(self, home: Home, case: str) -> None:
        bound, _good, bad, word = CASES[case]
        security = home.security(bound + "\n")
        path = home.profile("mine", "description: mine\n" + bad + "\n")
        with pytest.raises(ProfileError) as caught:
            home.load("mine")
        text = str(caught.value)
        assert word in text
        assert f"{security}:1" in text
        assert f"{path}:2" in text

    def test_without_the_bound_it_is_loaded(self, home: Home, case: str) -> None:
        """So that the test above fails for the bound, not for something else in the profile."""
        home.profile("mine", CASES[case][2] + "\n")
        home.load("mine")

    def test_extending_a_profile_beyond_it_is_refused(self, home: Home, case: str) -> None:
        bound, _good, bad, word = CASES[case]
        home.security(bound + "\n")
        lower = home.profile("lower", bad + "\n")
        home.profile("mine", "extends: lower\n")
        with pytest.raises(ProfileError) as caught:
            home.load("mine")
        assert word in str(caught.value)
        assert f"{lower}:1" in str(caught.value)


WITHIN = Policy(
    "within", rootfs=Rootfs(), limits=Limits(**{field: 16 for field in Limits._fields if field != "without_cgroup"})
)


def bounded(bounds: Bounds) -> Policy:
    return WITHIN._replace(bounds=bounds)


class TestCommandLine:
    @pytest.mark.parametrize("field", [field for field in Limits._fields if field != "without_cgroup"])
    def test_limits(self, field: str) -> None:
        least = 1 << 20
        policy = WITHIN._replace(bounds=Bounds(limits=((field, least),), origins=((f"limits.{key_of(field)}", "S:3"),)))
        if field not in ("open_files", "cpus"):
            override(policy, **{**NOTHING, "limits": {field: least}})
            with pytest.raises(ProfileError, match=r"command line(.|\n)*S:3"):
                override(policy, **{**NOTHING, "limits": {field: least + 1}})
        policy = policy._replace(bounds=policy.bounds._replace(limits=((field, 16),)))
        with pytest.raises(ProfileError, match=r"command line(.|\n)*S:3"):
            override(policy, **{**NOTHING, "limits": {field: 17 if "_bytes" not in field else 1 << 30}})

    @pytest.mark.parametrize("value", [float("inf"), float("nan"), 0, -1, 1e300])
    @pytest.mark.parametrize("field", [field for field in Limits._fields if field != "without_cgroup"])
    def test_no_limit_is_no_value(self, field: str, value: float) -> None:
        with pytest.raises(ProfileError):
            override(WITHIN, **{**NOTHING, "limits": {field: value}})

    @pytest.mark.parametrize("mode", ["read_only", "read_write", "overlay"])
    def test_mounts(self, mode: str) -> None:
        policy = bounded(Bounds(read_only=("/srv/a",), read_write=("/srv/a",)))
        override(policy, **{**NOTHING, "mounts": (Mount("/srv/a/x", "/x", mode),)})
        for source in ("/srv/ab", "/srv", "/srv/a/../b", "/srv/b"):
            with pytest.raises(ProfileError):
                override(policy, **{**NOTHING, "mounts": (Mount(source, "/x", mode),)})

    def test_pass_env(self) -> None:
        policy = bounded(Bounds(pass_environment=("TZ",)))
        assert override(policy, **{**NOTHING, "env_pass": ("TZ",)}).environment.passed == ("TZ",)
        with pytest.raises(ProfileError, match="SECRET"):
            override(policy, **{**NOTHING, "env_pass": ("TZ", "SECRET")})

    def test_interpreter(self) -> None:
        policy = bounded(Bounds(read_only=("/srv",)))
        assert override(policy, **{**NOTHING, "interpreter": "/srv/python"}).rootfs.interpreter == "/srv/python"
        with pytest.raises(ProfileError, match="/root/python"):
            override(policy, **{**NOTHING, "interpreter": "/root/python"})

    def test_through_a_loaded_profile(self, home: Home) -> None:
        security = home.security("limits:\n  memory: 1G\n")
        policy = home.load("default")
        with pytest.raises(ProfileError) as caught:
            override(policy, **{**NOTHING, "limits": {"memory_bytes": 2 << 30}})
        assert f"{security}:2" in str(caught.value)
        assert "command line" in str(caught.value)

    def test_what_was_overridden(self) -> None:
        policy = WITHIN._replace(environment=WITHIN.environment._replace(set=(("A", "1"), ("B", "2")), passed=("TZ",)))
        policy = policy._replace(filesystem=policy.filesystem._replace(mounts=(Mount("/srv/a", "/a", "read_only"),)))
        new = Mount("/srv/b", "/a", "overlay")
        result = override(
            policy,
            limits={"pids": 9},
            mounts=(new, Mount("/srv/c", "/c", "read_only")),
            env_set=(("B", "3"), ("C", "4")),
            env_pass=("TZ", "LANG"),
            interpreter="/usr/bin/python3",
        )
        assert result.limits == policy.limits._replace(pids=9)
        assert result.filesystem.mounts == (new, Mount("/srv/c", "/c", "read_only"))
        assert result.environment.set == (("A", "1"), ("B", "3"), ("C", "4"))
        assert result.environment.passed == ("TZ", "LANG")
        assert result.rootfs.interpreter == "/usr/bin/python3"


class TestNeverGranted:
    """Whatever the bounds say, these are a way out."""

    @pytest.mark.parametrize(
        "source", ["/", "/proc", "/proc/1", "/sys", "/sys/fs/cgroup", "/dev", "/dev/sda", "relative", "/a/../b"]
    )
    @pytest.mark.parametrize("mode", ["read_only", "read_write", "overlay"])
    def test_sources(self, source: str, mode: str) -> None:
        with pytest.raises(ProfileError):
            override(WITHIN, **{**NOTHING, "mounts": (Mount(source, "/x", mode),)})

    @pytest.mark.parametrize("dest", ["/", "/proc", "/proc/sys", "/dev/null", "/work", "/etc", "relative"])
    def test_destinations(self, dest: str) -> None:
        with pytest.raises(ProfileError):
            override(WITHIN, **{**NOTHING, "mounts": (Mount("/srv", dest, "read_only"),)})

    @pytest.mark.parametrize("mode", ["read_only", "read_write", "overlay"])
    def test_the_signing_key(self, home: Home, mode: str) -> None:
        home.state.mkdir()
        for source in (home.state, home.base, home.state / "keys"):
            with pytest.raises(ProfileError, match="keys, records"):
                override(WITHIN, **{**NOTHING, "mounts": (Mount(str(source), "/x", mode),)})
        beside = home.base / "state-of-something-else"
        override(WITHIN, **{**NOTHING, "mounts": (Mount(str(beside), "/x", mode),)})

    def test_the_rules_of_the_next_run(self, home: Home) -> None:
        for source in (home.system, home.user, home.chosen / "profiles"):
            with pytest.raises(ProfileError):
                override(WITHIN, **{**NOTHING, "mounts": (Mount(str(source), "/x", "read_write"),)})
            override(WITHIN, **{**NOTHING, "mounts": (Mount(str(source), "/x", "read_only"),)})

    def test_by_a_profile_too(self, home: Home) -> None:
        path = home.profile("mine", f"filesystem:\n  read_only:\n    - /srv\n    - {home.state}\n")
        with pytest.raises(ProfileError, match=f"{path}:4"):
            home.load("mine")

    def test_a_cached_profile_when_the_key_has_moved_there(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        keys = home.base / "later"
        home.profile("mine", f"filesystem: {{read_only: [{keys}]}}\n")
        home.load("mine")
        keys.mkdir()
        (home.state / "cache").rename(keys / "cache")
        monkeypatch.setenv("HIVEBOX_STATE", str(keys))
        with pytest.raises(ProfileError, match="keys, records"):
            home.load("mine")


class TestSeveralFiles:
    def test_the_most_restrictive_of_each_wins(self, home: Home) -> None:
        home.security("limits: {pids: 9, memory: 1G}\nfilesystem: {read_only: [/srv, /opt/a]}\n", "system")
        home.security("limits: {pids: 20, memory: 512M}\nfilesystem: {read_only: [/srv/a, /opt]}\n", "user")
        home.security('syscalls: {groups: ["@base"]}\nrequired: [landlock]\n', "chosen")
        home.profile("mine", "{}\n")
        bounds = home.load("mine").bounds
        assert dict(bounds.limits) == {"pids": 9, "memory_bytes": 512 << 20}
        assert bounds.read_only is not None
        assert set(bounds.read_only) == {"/srv/a", "/opt/a"}
        assert bounds.groups == ("@base",)
        assert bounds.required == ("landlock",)

    def test_lists_have_what_both_allow(self, home: Home) -> None:
        home.security("environment: {pass: [A, B]}\nrootfs: {recipes: [python, node]}\n", "system")
        home.security("environment: {pass: [B, C]}\nrootfs: {recipes: [python]}\n", "user")
        home.profile("mine", "{}\n")
        bounds = home.load("mine").bounds
        assert bounds.pass_environment == ("B",)
        assert bounds.recipes == ("python",)

    def test_work_exec_is_true_only_when_no_file_forbids_it(self, home: Home) -> None:
        home.security("filesystem: {work_exec: false}\n", "system")
        home.security("filesystem: {work_exec: true}\n", "user")
        home.profile("mine", "{}\n")
        assert not home.load("mine").bounds.work_exec

    @pytest.mark.parametrize("strict", ["system", "chosen"])
    def test_a_file_without_a_bound_does_not_lift_it(self, home: Home, strict: str) -> None:
        """In either order of reading."""
        lax = "user"
        home.security(
            "filesystem: {read_only: [/srv], work_exec: false}\nlimits: {without_cgroup: [refuse], pids: 3}\n"
            'syscalls: {groups: ["@base"]}\nenvironment: {pass: [A]}\n',
            strict,
        )
        home.security(
            "filesystem: {read_write: [/out], work_exec: true}\nlimits: {without_cgroup: [poll, refuse], pids: 4}\n"
            'syscalls: {groups: ["@base", "@exec"], calls: [bpf]}\nenvironment: {pass: [A, B]}\n',
            lax,
        )
        home.profile("mine", "{}\n")
        bounds = home.load("mine").bounds
        assert (bounds.read_only, bounds.read_write) == (("/srv",), ())
        assert (bounds.work_exec, bounds.without_cgroup) == (False, ("refuse",))
        assert (bounds.groups, bounds.calls, bounds.pass_environment) == (("@base",), (), ("A",))
        assert dict(bounds.limits) == {"pids": 3}

    @pytest.mark.parametrize("text", ["", "# nothing\n", "limits: [", "limits: {memory: 0}", "limits: {memory: .inf}"])
    def test_a_broken_file_stops_every_run(self, home: Home, text: str) -> None:
        """An empty one too: that is what a full disk leaves of a file that bounded something."""
        path = home.security(text)
        with pytest.raises(ProfileError, match=str(path)):
            home.load("default")

    def test_a_directory_in_its_place_stops_every_run(self, home: Home) -> None:
        (home.system / "security_policy.yml").mkdir(parents=True)
        with pytest.raises(ProfileError, match="not a regular file"):
            home.load("default")

    def test_a_mistake_in_one_stops_every_run(self, home: Home) -> None:
        home.security("limits: {pid: 9}\n")
        with pytest.raises(ProfileError, match=r"unknown key 'pid'(.|\n)*did you mean pids"):
            home.load("default")


def test_bounded_groups_bound_single_calls_however_the_bounds_were_made() -> None:
    policy = WITHIN._replace(bounds=Bounds(groups=("@base",)), syscalls=Syscalls(allow=("read", "execve")))
    assert [excess.item for excess in find_excesses(policy)] == ["execve"]


def test_defaults_that_nobody_wrote_come_down_to_the_bound(home: Home) -> None:
    home.security("limits: {pids: 3, cpus: 2, io_read: 1M, memory: 1T, without_cgroup: [refuse]}\n")
    home.profile("mine", "{}\n")
    limits = home.load("mine").limits
    assert (limits.pids, limits.cpus, limits.memory_bytes) == (3, 2.0, Limits().memory_bytes)
    assert (limits.io_read_bytes_s, limits.io_write_bytes_s) == (1 << 20, 0)
    assert limits.without_cgroup == "refuse"


@pytest.mark.parametrize("name", ["default", "python", "node"])
def test_a_shipped_profile_comes_down_to_the_bound_and_stays_usable(home: Home, name: str) -> None:
    home.security("limits: {memory: 64M, pids: 5, cpus: 2, without_cgroup: [refuse]}\n")
    limits = home.load(name).limits
    assert (limits.memory_bytes, limits.pids, limits.cpus) == (64 << 20, 5, 2.0)
    assert limits.without_cgroup == "refuse"


def test_what_a_profile_states_over_a_shipped_one_is_an_error_beyond_the_bound(home: Home) -> None:
    home.security("limits: {memory: 64M}\n")
    home.profile("mine", "extends: python\nlimits: {memory: 65M}\n")
    with pytest.raises(ProfileError, match="65 MiB"):
        home.load("mine")


@given(
    st.lists(st.sampled_from(["a", "ab", "b", "..", "a.b"]), max_size=4),
    st.lists(st.sampled_from(["a", "ab", "b"]), max_size=3),
)
def test_paths_are_compared_by_component(inner: list[str], outer: list[str]) -> None:
    if ".." not in inner:
        assert is_within("/" + "/".join(inner), "/" + "/".join(outer)) == (inner[: len(outer)] == outer)


LIMIT_VALUES = st.integers(1, 1000)


@given(
    st.fixed_dictionaries({field: LIMIT_VALUES for field in Limits._fields if field != "without_cgroup"}),
    st.dictionaries(st.sampled_from([f for f in Limits._fields if f != "without_cgroup"]), LIMIT_VALUES),
)
def test_no_excess_means_within(values: dict[str, int], most: dict[str, int]) -> None:
    policy = WITHIN._replace(limits=Limits(**values), bounds=Bounds(limits=tuple(most.items())))
    exceeded = any(values[field] > bound for field, bound in most.items())
    assert bool(tuple(find_excesses(policy))) == exceeded
    if exceeded:
        with pytest.raises(ProfileError):
            enforce_bounds(policy)
