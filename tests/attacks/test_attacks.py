"""Every attack of this directory: it succeeds outside, is refused inside with the expected event, and gets through
as soon as the control that stops it is removed (mutate.py)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from hivebox.errors import HiveboxError
from hivebox.launch.zygote import Zygote
from hivebox.policy.model import Filesystem, Mount, Outputs, Syscalls
from hivebox.report import Report
from tests.attacks import terminal
from tests.attacks.corpus import Attack, attacks
from tests.attacks.mutate import naive_copy, without
from tests.attacks.scenes import SCENES, Scene
from tests.harness import LIMITS, PLAIN_GROUPS, PROCESS_GROUPS, Runner, policy, slack_s

PYTHON = "/usr/bin/python3"
_OUTSIDE = {
    "plain": (),
    "root": (),
    "userns": ("unshare", "-Urpfmniu", "--mount-proc", "--kill-child"),
    "netns": (
        "unshare",
        "-rn",
        "sh",
        "-c",
        'ip link set lo up && ip addr add 198.51.100.1/32 dev lo && exec "$0" "$@"',
    ),
    "nobody": (
        *("unshare", "-n", "sh", "-c"),
        'ip link set lo up && exec setpriv --reuid 65534 --regid 65534 --clear-groups "$0" "$@"',
    ),
    "shell": ("sh", "-c", '"$0" "$@"; :'),
    "small": ("prlimit", "--nofile=64:4096", "--core=0:unlimited"),
}
ATTACKS = attacks()
_EACH = pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)


def _needs_user(attack: Attack, user: str) -> None:
    if user == "root" and os.geteuid() != 0:
        pytest.skip(f"{attack.name} needs root")
    if user == "user" and os.geteuid() == 0:
        pytest.skip(f"{attack.name} needs an ordinary user")
    since, here = attack.expect["since"], os.uname().release
    if since and [int(part) for part in here.split(".")[:2]] < [int(part) for part in since.split(".")]:
        pytest.skip(f"this host has no Linux {since}, and {attack.name} is about what is new there")


def _arguments(attack: Attack, scene: Scene, **more: str) -> list[str]:
    return [each.format_map({**scene.values, **more}) for each in attack.expect["args"]]


def _furnish(attack: Attack, directory: Path) -> None:
    """The granted directory, and the attack's own copy of the script where the scene may change it."""
    shutil.copy(attack.path, directory / "attack.py")
    if attack.expect["grant"]:
        (directory / "shared").mkdir(exist_ok=True)
        (directory / "shared" / "note").write_text("shared\n")


# --- outside ---------------------------------------------------------------------------------------------------------


@_EACH
def test_succeeds_outside(attack: Attack, scratch: Path) -> None:
    """Otherwise its failure inside would say nothing about the sandbox."""
    _needs_user(attack, attack.expect["user"] or ("root" if attack.expect["outside"] == "root" else ""))
    work = scratch / "work"
    work.mkdir()
    _furnish(attack, scratch)
    with SCENES[attack.expect["scene"]](scratch) as scene:
        scene.meanwhile_outside()
        arguments = _arguments(attack, scene, shared=str(scratch / "shared"))
        command = [*_OUTSIDE[attack.expect["outside"]], PYTHON, str(scratch / "attack.py"), *arguments]
        if attack.expect["scene"] == "callers_terminal":
            output = terminal.run(lambda: _execute(command, work, new_session=False))
        else:
            output = _execute(command, work)
        if attack.expect["absent"] and "ABSENT" in output:
            return  # this kernel was built without what is attacked; docs/attacks.md says which
        if attack.expect["collect"] is not None:
            _prepare_out(scratch)
            naive_copy(str(work), str(scratch / "out"))
            assert _out_breached(attack, scratch / "out"), output
        else:
            assert scene.breached(output), output


def _execute(command: list[str], work: Path, *, new_session: bool = True) -> str:
    """Run to its end, or for ten seconds, and kill what it left of its process group."""
    process = subprocess.Popen(
        command,
        cwd=work,
        pass_fds=[int(each) for each in os.listdir("/proc/self/fd") if int(each) > 2 and _inheritable(int(each))],
        stdout=subprocess.PIPE,
        start_new_session=new_session,
        process_group=None if new_session else 0,
    )
    try:
        output, _ = process.communicate(timeout=10 + slack_s())
    except subprocess.TimeoutExpired:
        output = b"still runs after ten seconds"
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        process.wait()
    return output.decode(errors="replace")


def _inheritable(handle: int) -> bool:
    try:
        return os.get_inheritable(handle)
    except OSError:
        return False


# --- inside ----------------------------------------------------------------------------------------------------------


class Result:
    """What the tests ask of a Report, or of the error that there was instead; plain data, so that a fork can hand it
    over."""

    def __init__(self, report: Report | HiveboxError) -> None:
        self.cause: str | None = None
        self.violations: set[str] = set()
        self.left_out: dict[str, str] = {}  # output path -> reason, "" when it was taken
        if isinstance(report, HiveboxError):
            self.outcome, self.output = "not_started", str(report)
            return
        ending = report.ending
        self.outcome = report.outcome
        self.output = ((report.stdout or b"") + (report.stderr or b"")).decode(errors="replace")
        self.cause = ending.cause.control if ending.cause else None
        self.violations = {violation.name for violation in ending.violations}
        self.left_out = {output.path: output.skipped for output in report.files}


def _inside(attack: Attack, scratch: Path, scene: Scene, controls: str, zygote: Zygote | None = None) -> Result:
    expect = attack.expect
    grants = (Mount(str(scratch / "shared"), "/shared", expect["grant"]),) if expect["grant"] else ()
    grants += tuple(scene.mounts)
    groups = (PROCESS_GROUPS if expect["groups"] == "process" else PLAIN_GROUPS) + tuple(expect["more_groups"])
    chosen = policy(
        syscalls=Syscalls(groups=groups, kill_after=expect["kill_after"]),
        limits=LIMITS._replace(**{"wall_time_s": 10.0 + slack_s(), **expect["limits"]}),
        filesystem=Filesystem(mounts=grants),
        outputs=Outputs(max_size_bytes=1 << 20, max_files=20, max_time_s=5.0),
    )
    out_dir = ""
    if expect["collect"] is not None:
        _prepare_out(scratch)
        out_dir = str(scratch / "out")

    def run() -> Result:
        with without(controls) as weakened:
            try:
                report: Report | HiveboxError = Runner(zygote).script(
                    scratch / "attack.py",
                    *_arguments(attack, scene, shared="/shared"),
                    policy=weakened.policy(chosen),
                    tree=scene.tree,
                    transform=lambda plan: scene.meanwhile(weakened.plan(plan)),
                    out_dir=out_dir,
                )
            except HiveboxError as error:
                report = error
            except OSError as error:  # the orphan that the removed control should have ended holds its control group
                if not controls:
                    raise
                report = HiveboxError("the run could not be tidied up", str(error))
        return Result(report)

    return terminal.run(run) if expect["scene"] == "callers_terminal" else run()  # type: ignore[no-any-return]


def _breached(attack: Attack, result: Result, scene: Scene, scratch: Path) -> bool:
    if attack.expect["collect"] is not None:
        return _out_breached(attack, scratch / "out")
    return scene.breached(result.output) or result.outcome == attack.expect["breach_outcome"]


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    """As the service has one."""
    made = Zygote()
    yield made
    made.close()


@pytest.fixture(params=["command line", "library"])
def launcher(request: pytest.FixtureRequest, attack: Attack) -> Zygote | None:
    """What clones init: the supervisor itself, or a zygote."""
    # The service has no terminal; a scene that acts through the plan's own objects does so in this process.
    if request.param == "library" and attack.expect["scene"] not in ("callers_terminal", "swapped_source"):
        return request.getfixturevalue("zygote")  # type: ignore[no-any-return]
    return None


@_EACH
def test_refused_inside(attack: Attack, scratch: Path, launcher: Zygote | None) -> None:
    expect = attack.expect
    _needs_user(attack, expect["user"])
    before = _ours()
    _furnish(attack, scratch)
    with SCENES[expect["scene"]](scratch) as scene:
        result = _inside(attack, scratch, scene, "", launcher)
        assert not _breached(attack, result, scene, scratch), result.output
    assert result.outcome == expect["outcome"], result.output
    assert expect["says"] in result.output
    assert result.cause == expect["cause"]
    assert result.violations == ({expect["violations"]} if expect["violations"] else set())
    for path, reason in (expect["collect"] or {}).items():
        assert path in result.left_out, result.left_out
        assert (reason in result.left_out[path]) if reason else not result.left_out[path], result.left_out
    assert _ours() == before


def _ours() -> set[str]:
    """Children and control groups of this process, and the mounts it sees."""
    found = {f"mount {line}" for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    for task in os.listdir("/proc/self/task"):
        try:
            children = Path(f"/proc/self/task/{task}/children").read_text().split()
        except FileNotFoundError:
            continue  # a thread of the scene has ended between two reads
        found |= {f"process {pid}" for pid in children}
    for directory, names, _ in os.walk("/sys/fs/cgroup"):
        found |= {f"cgroup {directory}/{name}" for name in names if name.startswith(f"hivebox.{os.getpid()}.")}
    return found


# --- with one control removed ----------------------------------------------------------------------------------------

_REMOVALS = [
    pytest.param(attack, controls, id=f"{attack.name}-{controls}")
    for attack in ATTACKS
    for controls in attack.expect["without"]
]


@pytest.mark.parametrize(("attack", "controls"), _REMOVALS)
def test_gets_through_without_its_control(attack: Attack, controls: str, scratch: Path) -> None:
    """The proof that this control, and not an accident, is what stopped it."""
    _needs_user(attack, attack.expect["user"])
    _furnish(attack, scratch)
    with SCENES[attack.expect["scene"]](scratch) as scene:
        result = _inside(attack, scratch, scene, controls)
        assert _breached(attack, result, scene, scratch), (result.outcome, result.output)


_LOCKS = [
    pytest.param(attack, kept, "+".join(name for name in names if name != kept), id=f"{attack.name}-{kept}")
    for attack in ATTACKS
    for names in (controls.split("+") for controls in attack.expect["without"])
    for kept in (names if len(names) > 1 else ())
    if kept != "identity" or os.geteuid() == 0  # for an ordinary user there is no other identity to be given
]


@pytest.mark.parametrize(("attack", "kept", "removed"), _LOCKS)
def test_each_of_several_locks_holds_alone(attack: Attack, kept: str, removed: str, scratch: Path) -> None:
    """Where more than one control had to be removed, any one of them is enough to stop the attack."""
    _needs_user(attack, attack.expect["user"])
    _furnish(attack, scratch)
    with SCENES[attack.expect["scene"]](scratch) as scene:
        result = _inside(attack, scratch, scene, removed)
        assert not _breached(attack, result, scene, scratch), (result.outcome, result.output)


# --- collected outputs -----------------------------------------------------------------------------------------------


def _prepare_out(scratch: Path) -> None:
    (scratch / "out").mkdir()
    (scratch / "out" / "kept.txt").write_text("mine\n")


def _out_breached(attack: Attack, out: Path) -> bool:
    """Whether the output directory holds what a collector must not bring there."""
    from tests.attacks.scenes import SECRET

    files = [Path(directory, name) for directory, _, names in os.walk(out) for name in names]
    depth = max((len(path.relative_to(out).parts) for path in files), default=0)
    return (
        any(not path.is_file() or path.is_symlink() for path in files)
        or any(SECRET in path.read_text(errors="replace") for path in files if path.stat().st_size < 4096)
        or sum(path.stat().st_size for path in files) > 1 << 20
        or len(files) > 21
        or depth > 33
        or (out / "kept.txt").read_text() != "mine\n"
    )
