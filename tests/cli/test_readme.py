"""What the README says is what happens: its two commands exist, its indented commands run, its table is the profile's."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [line.strip().removeprefix("$ ") for line in re.findall(r"^    (.+)$", README, re.MULTILINE)]


@pytest.fixture
def tree(scratch: Path) -> Path:
    """A directory with every file that the README's examples name."""
    for name in ("tally.py", "ballots.json"):
        shutil.copy(ROOT / "examples" / name, scratch / name)
    (scratch / "script.py").write_text("print('hello')")
    (scratch / "report.py").write_text("open('/work/summary', 'w').write('1')")
    (scratch / "data.csv").write_text("a,b\n")
    (scratch / "repo").mkdir()
    return scratch


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("hivebox")])
def test_every_command_runs(command: str, tree: Path, hivebox) -> None:
    arguments = shlex.split(command.split("  #", maxsplit=1)[0])[1:]
    run_id = json.loads(hivebox("run", "--json", "--", "true").stdout)["run_id"] if "audit" in arguments else ""
    arguments = [
        run_id if word == "RUN" else word.replace("...", "true").replace("NAME", "default") for word in arguments
    ]
    done = subprocess.run(
        [sys.executable, "-m", "hivebox", *arguments],
        cwd=tree,
        capture_output=True,
        timeout=120,
        check=False,
        input=b"",
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", ["README.md", "docs/library.md"])
def test_the_python_runs(page: str, tree: Path) -> None:
    """Each page from top to bottom, as one program."""
    blocks = re.findall(r"^((?:    .*\n|\n)+)", (ROOT / page).read_text(), re.MULTILINE)
    program = "".join(textwrap.dedent(block) for block in blocks if "import hivebox" in block or "hivebox.run" in block)
    subprocess.run([sys.executable, "-c", program], cwd=tree, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)


def test_the_two_commands_are_what_ci_runs() -> None:
    ci = (ROOT / ".ci/run").read_text()
    scripts = [command for command in COMMANDS if command.startswith("scripts/")]
    assert scripts == ["scripts/demo", "scripts/test"]
    assert all(f"\n{script}\n" in ci and f"as_user {script}" in ci for script in scripts)


def test_every_linked_page_exists() -> None:
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "SECURITY.md"):
        for target, anchor in re.findall(r"\]\(([^)#:]+)(#[^)]+)?\)", page.read_text()):
            linked = page.parent / target
            assert linked.exists(), f"{page.name} links to {target}"
            if anchor and linked.suffix == ".md":
                headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
                slugs = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
                assert anchor[1:] in slugs, f"{page.name} links to {target}{anchor}"


def test_the_defaults_in_the_table(hivebox) -> None:
    shown = hivebox("profile", "show", "default").stdout.decode()
    limits = {"wall_time": "30", "memory": "512", "workdir_size": "64", "output_size": "10", "pids": "64"}
    for word, value in limits.items():
        assert re.search(rf"{word}: '?{value}", shown), (word, shown)
