"""list, show, check, explain, import and schema, as a person and as a program see them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hivebox.cli.main import main
from hivebox.policy.check import check
from hivebox.policy.explain import DENIES, GRANTS, Fact, explain
from hivebox.policy.model import Policy
from hivebox.policy.profile import compile_profile
from hivebox.policy.schema import json_schema
from tests.unit.policy_case import Home

ROOT = Path(__file__).parent.parent.parent
Captured = pytest.CaptureFixture[str]


def facts(name: str) -> list[Fact]:
    compiled = compile_profile(name)
    return list(explain(compiled.policy, compiled.origins))


def verdicts(name: str) -> dict[str, str]:
    return {fact.text: fact.verdict for fact in facts(name)}


class TestExplain:
    @pytest.mark.parametrize(
        ("power", "granting"),
        [
            ("starting processes", {"python", "shell"}),
            ("running another program", {"python", "shell"}),
            ("starting threads", {"default", "python", "shell", "node", "governance"}),
        ],
    )
    def test_what_a_reader_asks_first(self, home: Home, power: str, granting: set[str]) -> None:
        for name in ("default", "python", "shell", "node", "governance", "strict"):
            assert verdicts(name)[power] == (GRANTS if name in granting else DENIES), name

    def test_denying_fork_by_hand_is_seen(self, home: Home) -> None:
        home.profile("mine", "extends: python\nsyscalls: {deny: [fork, vfork]}\n")
        assert verdicts("mine")["starting processes"] == DENIES

    def test_each_fact_has_a_mechanism_and_an_origin(self, home: Home) -> None:
        home.profile(
            "mine", "extends: python\nfilesystem: {read_write: ['/srv/a:/b']}\nenvironment: {set: {A: x}, pass: [TZ]}\n"
        )
        assert all(fact.text and fact.mechanism and fact.origin for fact in facts("mine"))

    def test_what_the_security_policy_lowered_has_its_line(self, home: Home, capsys: Captured) -> None:
        path = home.security("limits:\n  wall_time: 5s\n  without_cgroup: [refuse]\n  pids: 3\n  memory: 1T\n")
        home.profile("mine", "extends: default\nlimits: {pids: 2}\n")
        for name in ("default", "mine"):
            said = {fact.text: fact.origin for fact in facts(name)}
            assert said["wall time: 5 s"] == f"{path}:2"
            assert said["running where no control group can be made"] == f"{path}:3"
            assert "default.yaml:" in said["memory of all its processes: 512 MiB"]
            assert main(["profile", "show", name]) == 0
            assert f"  wall_time: 5s  # {path}:2\n" in capsys.readouterr().out
        assert said["processes and threads: 2"].endswith("mine.yaml:2")

    def test_every_stated_key_is_in_it_with_its_line(self, home: Home) -> None:
        """A key that explain leaves out would be granted without a word."""
        path = home.profile(
            "mine",
            "rootfs:\n  recipe: shell\n  interpreter: /usr/bin/x\nfilesystem:\n  read_only:\n    - /srv/a\n  read_write:\n    - /srv/b\n"
            "  overlay:\n    - /srv/c\n  work_exec: true\nnetwork:\n  mode: none\nsyscalls:\n  groups:\n    - '@base'\n  allow:\n"
            "    - bpf\n  deny:\n    - kill\n  kill_after: 3\nlimits:\n  wall_time: 1s\n  cpu_time: 1s\n  memory: 9M\n  pids: 3\n"
            "  cpus: 1\n  file_size: 1M\n  open_files: 9\n  workdir_size: 1M\n  workdir_inodes: 99\n  output_size: 1M\n"
            "  without_cgroup: refuse\nenvironment:\n  set:\n    A: x\n  pass:\n    - TZ\noutputs:\n  max_size: 1M\n"
            "  max_files: 3\n  max_time: 1s\noptional:\n  - landlock\n",
        )
        stated = {
            f"{path}:{number}"
            for number, line in enumerate(path.read_text().splitlines(), 1)
            if not line.endswith(":") and "workdir" not in line
        }
        explained = {fact.origin for fact in facts("mine")}
        assert stated <= explained

    def test_bounds_are_in_it(self, home: Home) -> None:
        security = home.security("limits:\n  pids: 7\nrequired: [landlock]\n")
        home.profile("mine", "{}\n")
        found = {(fact.text, fact.origin) for fact in facts("mine")}
        assert ("processes and threads: 7", f"{security}:2") in found
        assert ("what a profile may say for limits.pids: at most 7", f"{security}:2") in found

    def test_json(self, home: Home, capsys: Captured) -> None:
        assert main(["profile", "explain", "default", "--json"]) == 0
        plain = json.loads(capsys.readouterr().out)
        assert plain["profile"] == "default"
        assert [Fact(**fact) for fact in plain["facts"]] == facts("default")

    def test_text(self, home: Home, capsys: Captured) -> None:
        assert main(["profile", "explain", "default"]) == 0
        printed = capsys.readouterr().out
        assert "\nnetwork\n  denies every network but its own loopback\n      by empty network namespace (" in printed


class TestShow:
    @pytest.mark.parametrize("name", ["default", "python", "shell", "node", "governance", "strict"])
    def test_it_reads_back_as_the_same_policy(self, home: Home, capsys: Captured, name: str) -> None:
        assert main(["profile", "show", name]) == 0
        path = home.profile("shown", capsys.readouterr().out)
        assert home.load("shown")._replace(name=name) == home.load(name)
        assert "\nextends:" not in path.read_text()

    def test_origins_are_comments(self, home: Home, capsys: Captured) -> None:
        path = home.profile("mine", "extends: default\nlimits:\n  pids: 6\n")
        main(["profile", "show", "mine"])
        printed = capsys.readouterr().out
        assert f"  pids: 6  # {path}:3\n" in printed
        assert "  cpus: all  # hivebox default\n" in printed

    def test_json(self, home: Home, capsys: Captured) -> None:
        assert main(["profile", "show", "default", "--json"]) == 0
        plain = json.loads(capsys.readouterr().out)
        assert plain["policy"]["limits"]["pids"] == 64
        assert len(plain["sha256"]) == 64


class TestCheck:
    def run(self, capsys: Captured, *arguments: str) -> tuple[int, Any]:
        code = main(["profile", "check", *arguments, "--json"])
        return code, json.loads(capsys.readouterr().out)

    def test_shipped_profiles_are_fine(self, home: Home, capsys: Captured) -> None:
        names = ("default", "python", "governance", "strict")
        code, results = self.run(capsys, *names)
        assert code == 0
        assert [(result["profile"], result["ok"]) for result in results] == [(name, True) for name in names]

    def test_one_that_cannot_be_used_does_not_hide_the_others(self, home: Home, capsys: Captured) -> None:
        home.profile("broken", "limits: {pid: 1}\n")
        code, results = self.run(capsys, "default", "broken", "missing", "strict")
        assert code == 1
        assert [result["ok"] for result in results] == [True, False, False, True]
        assert results[1]["error"]["hint"] == "did you mean pids?"

    @pytest.mark.parametrize(
        ("profile", "severity", "word"),
        [
            ("syscalls: {allow: [ptrace]}", "warning", "ptrace is dangerous"),
            ("syscalls: {allow: [bpf], deny: [bpf]}", "error", "both allowed and denied"),
            ("syscalls: {groups: []}", "error", "can start nothing"),
            ("rootfs: {recipe: pyhton}", "error", "no such recipe"),
            ("rootfs: {interpreter: /nowhere/python}", "error", "no such interpreter"),
            ("filesystem: {read_only: [/nowhere/at/all]}", "warning", "does not exist"),
            ("filesystem: {overlay: [/usr/bin/env]}", "error", "cannot overlay"),
            ("filesystem: {work_exec: true}\nsyscalls: {groups: ['@base']}", "note", "work_exec without @exec"),
            ("limits: {memory: 1M}", "note", "workdir_size is above memory"),
            ("limits: {file_size: 1G}", "note", "file_size is above"),
        ],
    )
    def test_what_it_finds(self, home: Home, capsys: Captured, profile: str, severity: str, word: str) -> None:
        home.profile("mine", f"extends: default\n{profile}\n")
        code, (result,) = self.run(capsys, "mine")
        assert [
            finding for finding in result["findings"] if finding["severity"] == severity and word in finding["what"]
        ]
        assert code == (severity == "error")
        home.profile("mine", "extends: default\n")
        _code, (result,) = self.run(capsys, "mine")
        assert result["findings"] == []

    def test_a_link_in_a_granted_path(self, home: Home) -> None:
        (home.base / "real").mkdir()
        (home.base / "link").symlink_to("real")
        found = {}
        for name in ("real", "link"):
            home.profile("mine", f"filesystem: {{read_only: [{home.base / name}]}}\n")
            found[name] = [finding.what for finding in check(home.load("mine")) if "symbolic link" in finding.what]
        # The state directory is beside them, not in them: only the link is questionable.
        assert (bool(found["real"]), bool(found["link"])) == (False, True)

    def test_text(self, home: Home, capsys: Captured) -> None:
        home.profile("mine", "extends: default\nsyscalls: {allow: [ptrace]}\n")
        assert main(["profile", "check", "mine", "default", "nod"]) == 1
        printed = capsys.readouterr().out
        assert printed.startswith("mine: ok (1 warning)\n  warning: ptrace is dangerous\n    why:  takes over")
        assert "\ndefault: ok\n" in printed
        assert "nod: cannot be used\n  no such profile" in printed

    def test_worst_first(self, home: Home) -> None:
        home.profile(
            "mine", "rootfs: {recipe: x}\nlimits: {memory: 1M}\nsyscalls: {allow: [ptrace], groups: ['@base']}\n"
        )
        severities = [finding.severity for finding in check(home.load("mine"))]
        assert severities == sorted(severities, key=("error", "warning", "note").index)
        assert set(severities) == {"error", "warning", "note"}


class TestList:
    def test_names_files_and_what_cannot_be_used(self, home: Home, capsys: Captured) -> None:
        mine = home.profile("mine", 'description: "two\\nlines \\e[31m"\n')
        home.profile("broken", "limits: {pid: 1}\n")
        home.profile("default", "description: of this host\n", where="system")
        assert main(["profile", "list"]) == 0
        printed = capsys.readouterr().out
        assert str(mine) in printed
        assert "broken      cannot be used: unknown key 'pid' in limits\n" in printed
        assert "default     of this host\n" in printed
        assert "\x1b" not in printed

    def test_json(self, home: Home, capsys: Captured) -> None:
        home.profile("broken", "limits: {pid: 1}\n")
        assert main(["profile", "list", "--json"]) == 0
        rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
        assert rows["default"]["description"]
        assert "pid" in rows["broken"]["error"]["what"]


class TestImport:
    def test_profile_on_stdout_account_on_stderr(self, home: Home, capsys: Captured) -> None:
        old = home.chosen / "old.yaml"
        old.write_text("security: {execution: {timeout_seconds: 9}, network: {allowed_domains: [a.org]}}\n")
        assert main(["profile", "import", str(old)]) == 0
        captured = capsys.readouterr()
        assert home.load(str(home.profile("new", captured.out))).limits.wall_time_s == 9.0
        assert "execution.timeout_seconds   9\n" in captured.err
        assert "mapped to limits.wall_time: 9s" in captured.err
        assert "not mapped: it names no ports: NOT granted" in captured.err
        assert captured.err.endswith("2 keys and items: 1 mapped, 1 not\n")

    def test_a_missing_file(self, home: Home, capsys: Captured) -> None:
        assert main(["profile", "import", "/nowhere/old.yaml"]) == 125
        assert "no such file" in capsys.readouterr().err


class TestSchema:
    def test_the_shipped_schema_is_current(self) -> None:
        """Mend with: hivebox profile schema > profiles/schema.json"""
        assert (ROOT / "profiles" / "schema.json").read_text() == json_schema()

    def test_it_is_printed(self, capsys: Captured) -> None:
        assert main(["profile", "schema"]) == 0
        assert capsys.readouterr().out == json_schema()

    def test_it_knows_every_key_of_the_policy(self) -> None:
        definitions = json.loads(json_schema())["$defs"]
        sections = definitions["ProfileDocument"]["properties"]
        assert set(sections) == {*Policy._fields} - {"name", "bounds"} | {"extends"}
        assert set(definitions["LimitsSection"]["properties"]) == {
            field.removesuffix("_s").removesuffix("_bytes") for field in Policy("x").limits._fields
        }
        assert all(definition["additionalProperties"] is False for definition in definitions.values())


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["show"], ["show", "a", "b"], ["check"], ["list", "--yaml"]])
def test_wrong_arguments_are_told_in_the_one_shape(arguments: list[str], capsys: Captured) -> None:
    assert main(["profile", *arguments]) == 125
    what, hint = capsys.readouterr().err.splitlines()
    assert not what.startswith("hivebox: hivebox")
    assert hint.startswith("try:  hivebox profile ")


def test_help(capsys: Captured) -> None:
    assert main(["profile", "--help"]) == 0
    assert "explain" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text", ["0", "1.5", "true", "null", "~", "", " x", "a: b", "# no", "é", "@base", "10s", "all"]
)
def test_any_description_is_shown_as_text(home: Home, capsys: Captured, text: str) -> None:
    home.profile("mine", f"description: {json.dumps(text)}\n")
    assert main(["profile", "show", "mine"]) == 0
    home.profile("shown", capsys.readouterr().out)
    assert home.load("shown").description == text


def test_one_finding_is_one_and_names_are_one_line(home: Home, capsys: Captured) -> None:
    home.profile("mine\nother\x1b[2J", "")
    path = home.profile("mine", "extends: python\nsyscalls: {allow: [ptrace]}\n")
    assert main(["profile", "list"]) == 0
    said = capsys.readouterr().out
    assert "mine?other?[2J  cannot be used" in said
    assert all(line.isprintable() for line in said.split("\n"))
    assert main(["profile", "check", str(path)]) == 0
    assert "(1 warning)" in capsys.readouterr().out
    home.security("limits: {wall_time: 5s}\n")
    assert main(["profile", "explain", "default"]) == 0
    assert "limits what a profile may say for limits.wall_time: at most 5 s" in capsys.readouterr().out
