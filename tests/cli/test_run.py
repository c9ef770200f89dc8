"""``hivebox run`` as its users meet it: exit codes, remarks, errors in their one shape, reports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest


@pytest.fixture
def script(scratch: Path):
    def write(text: str, name: str = "script.py") -> str:
        path = scratch / name
        path.write_text(text)
        return str(path)

    return write


def test_a_script_runs_as_python_would_run_it(hivebox, script) -> None:
    path = script("import sys\nprint(__name__, sys.argv[1:], __file__)\nsys.exit(7)")
    done = hivebox("run", path, "-x", "--timeout", "y")
    assert done.returncode == 7
    assert done.stdout == b"__main__ ['-x', '--timeout', 'y'] /script/script.py\n"
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("options", "command", "code"),
    [
        ((), ("true",), 0),
        ((), ("false",), 1),
        (("--timeout", "0.3"), ("sleep", "9"), 124),
        (("--cpu-time", "0.3"), ("python3", "-c", "while True: pass"), 124),
        (("--memory", "32M"), ("python3", "-c", "import time\nx=[]\nwhile 1: x.append(bytearray(1<<20)); time.sleep(.002)"), 137),
        ((), ("python3", "-c", "import os; os.abort()"), 134),
        ((), ("no-such-program",), 127),
        ((), ("/etc/passwd",), 126),
        ((), ("/absent",), 127),
    ],
)  # fmt: skip
def test_exit_codes(hivebox, options, command, code) -> None:
    done = hivebox("run", *options, "--", *command)
    assert done.returncode == code, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--no-such-option", "x"),
        ("--timeout",),
        ("--timeout", "soon", "x.py"),
        ("--timeout", "-1s", "x.py"),
        ("--timeout", "inf", "x.py"),
        ("--memory", "lots", "x.py"),
        ("--memory", "0", "x.py"),
        ("--pids", "1.5", "x.py"),
        ("--cpus", "nan", "x.py"),
        ("--env", "NOEQUALS", "x.py"),
        ("--ro", "/no/such/path", "--", "true"),
        ("--ro", "", "--", "true"),
        ("--project", "", "--", "true"),
        ("-p", "", "--", "true"),
        ("--profile=", "--", "true"),
        ("--python", "", "--", "true"),
        ("--out", "", "--", "true"),
        ("--ro", "/tmp:relative", "--", "true"),
        ("--ro", "/tmp:/proc", "--", "true"),
        ("--ro", "/tmp:/", "--", "true"),
        ("--rw", "/tmp:/usr", "--", "true"),
        ("--project", "/no/such", "--", "true"),
        ("--profile", "nosuch", "x.py"),
        ("--profile", "/no/such.yaml", "x.py"),
        ("--stdin", "/no/such", "--", "true"),
        ("--python", "/no/such/python", "x.py"),
        ("--python", "/bin/true", "--", "true"),
        ("--quiet", "--quiet", "x.py"),
        ("/no/such/script.py",),
        ("/tmp",),
        ("/etc/hostname",),
    ],
)
def test_bad_input_is_an_error_in_three_lines_and_never_a_traceback(hivebox, arguments) -> None:
    done = hivebox("run", *arguments)
    assert done.returncode in {125, 126, 127}
    assert done.stdout == b""
    assert done.stderr.startswith(b"hivebox: ")
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--ro", "/"), b"each by itself"),
        (("--project", os.environ["HIVEBOX_STATE"]), b"each by itself"),
        (("--ro", "/etc:/proc"), b"mount it elsewhere"),
        (("--ro", "co:lon"), b"a file with a : in its name"),
        (("--ro", "/etc/hostname:/usr"), b"a directory is there"),
        (("--ro", "/etc:/usr/bin/env"), b"what is there is no directory"),
        (("--out", ""), b"--out needs a value"),
    ],
)
def test_the_advice_of_a_grant_that_cannot_be_helps(hivebox, arguments, words) -> None:
    done = hivebox("run", *arguments, "--", "true")
    assert done.returncode == 125
    assert words in done.stderr, done.stderr


def test_a_link_on_the_command_line_is_followed_once(hivebox, scratch: Path) -> None:
    (scratch / "real").mkdir()
    (scratch / "real/file").write_text("content")
    (scratch / "link").symlink_to("real")
    done = hivebox("run", "--ro", str(scratch / "link"), "--", "cat", str(scratch / "link/file"))
    assert done.stdout == b"content", done.stderr


def test_a_mistyped_option_is_recognised(hivebox) -> None:
    assert b"did you mean --memory?" in hivebox("run", "--memroy", "1G", "x.py").stderr


def test_the_json_report(hivebox) -> None:
    done = hivebox("run", "--json", "--", "python3", "-c", "import os; print('x'); os.fork()")
    report = json.loads(done.stdout)
    assert report["outcome"] == "failed"
    assert report["exit_code"] == done.returncode == 1
    assert report["stdout"] == "x\n"
    assert [violation["name"] for violation in report["violations"]] == ["clone"]
    wanted = (
        "run_id outcome exit_code signal cause wall_s cpu_user_s cpu_system_s memory_peak_bytes pids_peak io_read_bytes"
    )
    assert set(f"{wanted} io_write_bytes violations controls files audit".split()) <= set(report)


def test_a_report_in_a_file_leaves_the_streams_alone(hivebox, scratch: Path) -> None:
    done = hivebox("run", "--report", str(scratch / "r.json"), "--", "echo", "hello")
    assert (done.stdout, done.stderr) == (b"hello\n", b"")
    assert json.loads((scratch / "r.json").read_text())["outcome"] == "ok"


@pytest.mark.parametrize(
    ("option", "path"),
    [
        ("--report", "link.json"),
        ("--report", "there/report.json"),
        ("--report", "there/new.json"),
        ("--out", "there"),
        ("--out", "there/new"),
    ],
)
@pytest.mark.parametrize("relative", [True, False])
def test_a_link_that_an_earlier_run_left_does_not_choose_what_is_written(
    hivebox, script, scratch: Path, option: str, path: str, relative: bool
) -> None:
    shared, private = scratch / "shared", scratch / "private"
    shared.mkdir()
    private.mkdir()
    (private / "report.json").write_text("precious")
    leave = f"import os\nos.symlink({str(private)!r}, '/shared/there')\n"
    leave += f"os.symlink({str(private / 'report.json')!r}, '/shared/link.json')\n"
    assert hivebox("run", "--rw", f"{shared}:/shared", script(leave)).returncode == 0
    result = script("open('result', 'w').write('x')")
    done = hivebox("run", option, path if relative else str(shared / path), result, cwd=shared)
    assert (done.returncode, b"ELOOP" in done.stderr) == (125, True), done.stderr
    assert [(each.name, each.read_text()) for each in private.iterdir()] == [("report.json", "precious")]


def test_a_report_goes_to_what_the_caller_has_open(hivebox, scratch: Path) -> None:
    done = hivebox("run", "--report", "/dev/stderr", "--", "true")
    assert json.loads(done.stderr)["outcome"] == "ok"
    shell = 'exec 9>&1; "$0" -m hivebox run --report /dev/fd/9 -- true > /dev/null'
    done = subprocess.run(["bash", "-c", shell, sys.executable], capture_output=True, check=True)
    assert json.loads(done.stdout)["outcome"] == "ok"


def test_a_report_goes_to_a_fifo_only_when_somebody_reads_it(hivebox, scratch: Path) -> None:
    os.mkfifo(scratch / "fifo")
    done = hivebox("run", "--report", str(scratch / "fifo"), "--", "true")
    assert b"ENXIO" in done.stderr
    reader = os.open(scratch / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    done = hivebox("run", "--report", str(scratch / "fifo"), "--", "true")
    assert json.loads(os.read(reader, 1 << 16))["outcome"] == "ok"
    os.close(reader)


def test_outputs_go_into_a_directory_that_is_made(hivebox, script, scratch: Path) -> None:
    path = script("open('result', 'w').write('x')")
    for out in ("a/b", "./a/../c/", str(scratch / "d/e")):
        assert hivebox("run", "--out", out, path, cwd=scratch).returncode == 0
        assert (scratch / out / "result").read_text() == "x"


def test_remarks_name_limit_and_refusal(hivebox) -> None:
    done = hivebox("run", "--timeout", "0.3", "--", "sleep", "9")
    assert b"hivebox: stopped: wall time limit of 300 ms reached" in done.stderr
    done = hivebox("run", "--", "python3", "-c", "import os\ntry: os.fork()\nexcept OSError: pass")
    assert b"hivebox: refused: clone(" in done.stderr
    assert hivebox("run", "-q", "--timeout", "0.3", "--", "sleep", "9").stderr == b""


def test_a_refused_fork_is_followed_by_the_profile_that_grants_it(hivebox) -> None:
    code = "import os, subprocess\ntry: subprocess.run(['ls'])\nexcept OSError: os.fork()"
    notes = [line for line in hivebox("run", "--", "python3", "-c", code).stderr.splitlines() if b"note:" in line]
    assert notes == [b"hivebox: note: vfork, clone: granted by @process (-p python has it)"]


def test_no_group_is_named_for_what_none_grants(hivebox) -> None:
    code = "import ctypes; l = ctypes.CDLL(None); l.syscall(56, 0x10000000, 0, 0, 0, 0); l.syscall(165, 0)"
    done = hivebox("run", "--", "python3", "-c", code)
    assert b"refused: clone(0x10000000" in done.stderr and b"refused: mount(" in done.stderr
    assert b"note:" not in done.stderr


def test_a_signal_that_the_script_sent_itself_is_not_taken_for_a_limit(hivebox) -> None:
    for number, words in (
        (25, b"SIGXFSZ was sent by the script itself"),
        (31, b"SIGSYS was sent by the script itself"),
    ):
        code = f"import os, signal; signal.signal({number}, 0); os.kill(os.getpid(), {number})"
        assert words in hivebox("run", "--", "python3", "-c", code).stderr


def test_limits_are_named_whatever_their_size(hivebox) -> None:
    code = "import threading; threading.Thread(target=print).start()"
    done = hivebox("run", "--pids", "1", "--", "python3", "-c", code)
    assert b"limit of processes and threads reached: 1 (" in done.stderr
    assert b"from 1 MiB to 4 EiB" in hivebox("run", "--memory", "1", "--", "true").stderr


def test_a_dry_run_shows_the_plan_and_starts_nothing(hivebox, script, scratch: Path) -> None:
    path = script("print(1)", "never-run.py")
    done = hivebox("run", "--dry-run", "--memory", "100M", path)
    controls = json.loads(done.stdout)["controls"]
    assert {"namespaces", "identity", "rootfs", "syscalls", "landlock", "privileges"} <= set(controls)
    assert b"never-run.py" not in hivebox("audit", "list", "--json").stdout


def test_the_environment_is_an_allowlist(hivebox) -> None:
    environment = {**os.environ, "SECRET": "s3cret", "WANTED": "w"}
    done = hivebox("run", "--env", "A=1", "--pass-env", "WANTED", "--pass-env", "ABSENT", "--", "env", env=environment)
    seen = dict(line.split("=", 1) for line in done.stdout.decode().splitlines())
    assert set(seen) == {"HOME", "USER", "LOGNAME", "LANG", "TMPDIR", "PATH", "A", "WANTED"}


def test_stdin(hivebox, scratch: Path) -> None:
    (scratch / "in").write_text("from a file")
    assert hivebox("run", "--", "cat", input=b"ignored").stdout == b""
    assert hivebox("run", "--stdin", "inherit", "--", "cat", input=b"piped").stdout == b"piped"
    assert hivebox("run", "--stdin", str(scratch / "in"), "--", "cat").stdout == b"from a file"


def test_crlf_and_shebang_scripts(hivebox, script) -> None:
    assert hivebox("run", script("print('crlf')\r\n")).stdout == b"crlf\n"
    assert hivebox("run", script("#!/usr/bin/env python3\nprint('shebang')\n", "noext")).stdout == b"shebang\n"
    assert hivebox("run", script("echo $((1+1))\n", "x.sh")).stdout == b"2\n"


def test_two_first_runs_at_once_build_one_root(hivebox_pipe, scratch: Path) -> None:
    environment = {**os.environ, "HIVEBOX_STATE": str(scratch / "state")}
    runs = [hivebox_pipe("--", "echo", "hi", env=environment) for _ in range(3)]
    assert [process.communicate(timeout=120) for process in runs] == [(b"hi\n", b"")] * 3
    assert len(list((scratch / "state/rootfs/trees").glob("*.json"))) == 1


_TINY = "description: for a test\ninterpreter: none\nprograms: {required: [bash, ls]}\n"


def test_the_record_says_by_digest_what_ran(hivebox, script) -> None:
    """Script, interpreter, root, filter and policy: the interpreter's own file, as whoever has the tree can compute."""
    path = script("print(1)")
    report = json.loads(hivebox("run", "--json", path).stdout)
    shown = json.loads(hivebox("audit", "show", report["run_id"], "--json").stdout)
    subjects = {each["name"]: each["digest"]["sha256"] for each in shown["records"][0]["statement"]["subject"]}
    assert set(subjects) == {"policy", "rootfs", "interpreter", "seccomp", "script:script.py"}
    tree = Path(os.environ["HIVEBOX_STATE"], "rootfs", "trees", subjects["rootfs"])
    program = report["controls"]["execute"]["argv"][0].lstrip("/")
    assert subjects["interpreter"] == sha256((tree / program).resolve().read_bytes()).hexdigest()
    assert subjects["script:script.py"] == sha256(Path(path).read_bytes()).hexdigest()


def test_a_root_in_use_is_not_pruned(hivebox, hivebox_pipe, scratch: Path) -> None:
    """`rootfs prune` from another shell, when the recipe has changed under a run."""
    recipe, profile = scratch / "rootfs" / "tiny.yaml", scratch / "profiles" / "tiny.yaml"
    for path, text in ((recipe, _TINY), (profile, "extends: shell\nrootfs: {recipe: tiny}\n")):
        path.parent.mkdir()
        path.write_text(text)
    environment = {**os.environ, "HIVEBOX_CONFIG": str(scratch), "HIVEBOX_STATE": str(scratch / "state")}
    command = ("-p", "tiny", "--stdin", "inherit", "--", "bash", "-c", "echo up; read; exec ls /usr/bin/ls")
    running = hivebox_pipe(*command, stdin=subprocess.PIPE, env=environment)
    assert running.stdout.readline() == b"up\n", running.stderr.read()
    recipe.write_text(_TINY + "# changed: no run would take that tree any more\n")
    assert hivebox("rootfs", "prune", env=environment).stdout == b""
    assert running.communicate(b"\n")[0] == b"/usr/bin/ls\n"
    assert hivebox("rootfs", "prune", env=environment).stdout.startswith(b"removed ")


def test_a_script_without_a_suffix_runs_by_its_first_line(hivebox, script) -> None:
    for first in ("#!/bin/sh", "#!/usr/bin/env -S bash"):
        done = hivebox("run", script(f"{first}\nls / >/dev/null && echo by $0\n", "tool"))
        assert (done.returncode, done.stdout) == (0, b"by /script/tool\n"), done.stderr
    done = hivebox("run", script("#!/usr/bin/python3\nprint('snake')\n", "tool"))
    assert (done.returncode, done.stdout) == (0, b"snake\n"), done.stderr


@pytest.mark.parametrize(
    ("options", "content", "name", "code", "expected"),
    [
        (("-p", "shell"), "print(1)", "x.py", 127, "leave -p out, or -p python"),
        (("-p", "default"), "echo", "x.sh", 127, "for example -p shell"),
        (("-p", "shell"), "#!/usr/bin/gcc", "x", 127, "grant the directory that it is in"),
        (("-p", "default"), "1", "x.js", 127, "-p node"),
        ((), "\x7fELF...", "python", 126, "hivebox run --python "),
        ((), "\x7fELF...", "prog", 126, " -- "),
        ((), "#!/bin/sh\0x\n", "x", 126, "NUL"),
    ],
)
def test_advice_that_can_help(hivebox, script, options, content, name, code, expected) -> None:
    done = hivebox("run", *options, script(content, name))
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 3
    assert expected in done.stderr.decode()


def test_an_empty_command_is_no_command(hivebox) -> None:
    done = hivebox("run", "--", "")
    assert (done.returncode, done.stderr.splitlines()[0]) == (127, b"hivebox: nothing to run")


def test_a_name_that_is_no_text_is_spelled_as_in_the_record(hivebox, scratch) -> None:
    code = "import os; open(os.fsdecode(b'x\\xff'), 'w').close()"
    done = hivebox("run", "--json", "--out", str(scratch / "out"), "--", "python3", "-c", code)
    report = json.loads(done.stdout)
    assert [file["path"] for file in report["files"]] == [{"base64": "eP8="}]
    shown = json.loads(hivebox("audit", "show", report["run_id"], "--json").stdout)
    assert [file["path"] for file in shown["records"][1]["statement"]["predicate"]["files"]] == [{"base64": "eP8="}]


def test_stdin_is_looked_at_before_the_run(hivebox, scratch) -> None:
    done = hivebox("run", "--stdin", str(scratch), "--", "cat")
    assert (done.returncode, done.stdout) == (125, b"")
    assert b"it is a directory" in done.stderr


def test_a_fifo_as_stdin_is_waited_for_by_the_run_only(hivebox, hivebox_pipe, scratch) -> None:
    fifo = str(scratch / "fifo")
    os.mkfifo(fifo)
    assert hivebox("run", "--timeout", "0.5s", "--stdin", fifo, "--", "cat").returncode == 124
    reading = hivebox_pipe("--stdin", fifo, "--", "cat")
    with open(fifo, "wb") as writer:
        writer.write(b"late")
    assert reading.communicate(timeout=60)[0] == b"late"
    assert reading.returncode == 0
