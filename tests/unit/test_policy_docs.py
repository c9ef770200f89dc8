"""docs/profile.md is true: its examples load, its tables are the schema's, its transcripts are what is printed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hivebox.cli.main import main
from hivebox.errors import ProfileError
from hivebox.policy.bounds import LIMIT_RANGES, OFF_FIELDS, key_of
from hivebox.policy.model import Environment, Filesystem, Limits, Outputs, Policy, Syscalls
from hivebox.policy.profile import available
from hivebox.policy.schema import json_schema
from hivebox.policy.syscall_groups import GROUPS
from hivebox.report import OUTCOMES
from hivebox.units import parse_duration, parse_size
from tests.unit.policy_case import Home

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "docs" / "profile.md").read_text()
SECTIONS = {part.split("\n", 1)[0]: part for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)}
SCHEMA = json.loads(json_schema())["$defs"]


def blocks(language: str) -> list[tuple[str, str]]:
    """(the line before, the content) of fenced blocks."""
    return re.findall(rf"([^\n]*)\n```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def rows(section: str) -> list[list[str]]:
    """Cells of the tables of one section, without head and rule."""
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in SECTIONS[section].splitlines()
        if line[:1] == "|"
    ]
    return [row for row in cells if row[0].startswith("`")]


@pytest.mark.parametrize("name", ["rootfs", "filesystem", "network", "syscalls", "limits", "environment", "outputs"])
def test_each_section_has_all_its_keys(name: str) -> None:
    keys = {row[0].strip("`") for row in rows(name) if not row[0].startswith("`@")}
    entries = set(SCHEMA["AllowEntry"]["properties"]) if name == "network" else set()
    assert keys == set(SCHEMA[f"{name.capitalize()}Section"]["properties"]) | entries


def test_every_key_of_a_profile_has_a_heading() -> None:
    assert set(SCHEMA["ProfileDocument"]["properties"]) <= set(SECTIONS)
    assert {"security-policy", "import", "exit-codes", "outcomes"} <= set(SECTIONS)


def test_every_anchor_that_hivebox_prints_is_there() -> None:
    anchors = {
        anchor
        for path in (ROOT / "hivebox").rglob("*.py")
        for anchor in re.findall(r"profile\.md#([a-z-]+)", path.read_text())
    }
    assert anchors
    assert anchors <= set(SECTIONS)


def test_groups_and_outcomes_are_complete() -> None:
    assert {row[0].strip("`") for row in rows("syscalls") if row[0].startswith("`@")} == set(GROUPS)
    assert tuple(row[0].strip("`") for row in rows("outcomes")) == OUTCOMES


def test_defaults_are_those_of_the_model() -> None:
    values = {**Limits()._asdict(), **Outputs()._asdict()}
    for section in ("limits", "outputs"):
        for key, _bounds, default, *_ in rows(section):
            name, shown = key.strip("`"), default.strip("`")
            off = [field for field in OFF_FIELDS if key_of(field) == name]
            if off:
                assert (shown, values[off[0]]) == ("all", 0), name
            elif f"{name}_bytes" in values:
                assert parse_size(shown) == values[f"{name}_bytes"], name
            elif f"{name}_s" in values:
                assert parse_duration(shown) == values[f"{name}_s"], name
            else:
                assert shown == str(values[name]), name
    assert "`false`" in SECTIONS["filesystem"]
    assert Filesystem() == ((), False)
    assert Environment() == ((), ())
    assert Syscalls() == (("@base",), (), (), 256)


def _reader(field: str):
    if field.endswith(("_bytes", "_bytes_s")):
        return parse_size
    return parse_duration if field.endswith("_s") and not field.endswith("_ops_s") else float


def test_ranges_are_those_that_are_checked() -> None:
    for key, _bounds, _default, shown, _option in rows("limits"):
        name = key.strip("`")
        numbers = [part.removesuffix(" byte") for part in shown.removeprefix("from ").split(" to ") if part]
        for field, (least, most) in LIMIT_RANGES.items():
            if key_of(field) == name:
                assert _reader(field)(numbers[0]) == least, name
                assert len(numbers) == 1 or float(numbers[1]) == most, name


def test_the_table_of_shipped_profiles(home: Home) -> None:
    table = {row[0].strip("`"): row[2:] for row in rows(next(iter(SECTIONS)))}
    assert set(table) == set(available())
    for name, (threads, processes, programs, sockets, numbers) in table.items():
        policy: Policy = home.load(name)
        groups = {*policy.syscalls.groups}
        assert (threads == "yes") == bool({"@threads", "@process"} & groups), name
        assert (processes == "yes") == ("@process" in groups), name
        assert (programs != "no") == ("@exec" in groups), name
        assert (sockets != "none") == ("@network-local" in groups), name
        memory, wall_time = numbers.replace("iB", "").split(", ")
        assert (parse_size(memory), parse_duration(wall_time)) == (
            policy.limits.memory_bytes,
            policy.limits.wall_time_s,
        )


def test_the_examples_load(home: Home) -> None:
    profiles = [text for before, text in blocks("yaml") if "security_policy" not in before]
    assert len(profiles) == 3
    for text in profiles:
        home.profile("example", text)
        home.load("example")


def security_example() -> str:
    (text,) = (text for before, text in blocks("yaml") if "security_policy" in before)
    return text


def test_the_security_policy_example_has_every_key(home: Home) -> None:
    home.security(security_example())
    home.profile("mine", "{}\n")
    bounds = home.load("mine").bounds
    assert bounds.calls == ()
    stated = {key for key, _ in bounds.origins}
    sections = json.loads(json_schema())["$defs"]  # of profiles: its limits are those that can be bounded
    assert {f"limits.{key}" for key in ("wall_time", "memory", "cpus", "without_cgroup")} <= stated
    assert {key.partition(".")[2] for key in stated if key.startswith("limits.")} <= set(
        sections["LimitsSection"]["properties"]
    )
    assert {"filesystem.read_only", "filesystem.read_write", "filesystem.work_exec", "syscalls.groups", "syscalls.calls",
            "rootfs.recipes", "environment.pass", "required", "network.hosts", "network.cidrs", "network.dns",
            "network.host_loopback"} <= stated  # fmt: skip


def test_the_transcripts(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    typo, exceeding = (text for _, text in blocks("text"))
    path = home.profile("nightly", "limits:\n  wall_tme: 10s\n")
    with pytest.raises(ProfileError) as caught:
        home.load("nightly")
    assert str(caught.value).replace(str(path), "nightly.yaml") + "\n" == typo
    security = home.security(security_example())
    home.profile("nightly", "rootfs: {recipe: python}\nlimits:\n  without_cgroup: refuse\n  memory: 8G\n")
    with pytest.raises(ProfileError) as caught:
        home.load("nightly")
    shown = str(caught.value).replace(str(path), "profiles/nightly.yaml").replace(str(security), "security_policy.yml")
    assert shown + "\n" == exceeding


def test_the_commands(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """Each line of the block of commands, on real input."""
    ((_, text),) = blocks("console")
    commands = [line.partition("#")[0].split()[1:] for line in text.splitlines()]
    assert [command[1] for command in commands] == ["list", "explain", "show", "check", "import", "schema"]
    old = ROOT / "tests" / "vectors" / "profiles" / "import" / "wrapped.yaml"
    inputs = {"NAME": "default", "NAME|FILE": "python", "FILE": str(old)}
    for command in commands:
        assert main([inputs.get(word, word) for word in command]) == 0
        assert capsys.readouterr().out


def test_the_keys_of_the_predecessor_are_all_in_the_table() -> None:
    from tests.unit.test_policy_importer import KEYS

    named = [row[0].strip("`") for row in rows("import")]
    for key in KEYS:
        assert any(key == name or (name[-1] == "*" and f"{key}.".startswith(name[:-1])) for name in named), key
