"""``hivebox run``."""

from __future__ import annotations

import errno
import os
import stat
import sys

from hivebox.cli import streams
from hivebox.cli.options import Option, parse
from hivebox.errors import HiveboxError, from_os_error, printable
from hivebox.frozen import Frozen
from hivebox.job import Job, granted
from hivebox.kernel.mount import open_no_symlinks
from hivebox.pipeline import make_plan, new_run_id
from hivebox.pipeline import run as run_pipeline
from hivebox.policy.model import Mount, Policy
from hivebox.rootfs.store import ensure
from hivebox.steps.environment import Sinks
from hivebox.units import format_size, parse_duration, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hivebox.report import Cause, Report, Violation

_OPTIONS = (
    Option("--profile", "NAME|FILE", "what the script may do (default: by its suffix or #! line)", short="-p"),
    Option("--timeout", "TIME", "wall clock limit, as 10s"),
    Option("--cpu-time", "TIME", "CPU time limit of the whole tree"),
    Option("--memory", "SIZE", "memory limit of the whole tree, as 256M"),
    Option("--pids", "N", "limit of processes and threads"),
    Option("--cpus", "N", "CPU bandwidth, as 1.5"),
    Option("--io-read", "SIZE", "bytes read from each disk in a second, as 10M"),
    Option("--io-write", "SIZE", "bytes written to each disk in a second"),
    Option("--io-read-ops", "N", "read operations on each disk in a second"),
    Option("--io-write-ops", "N", "write operations on each disk in a second"),
    Option("--file-size", "SIZE", "largest file it may write"),
    Option("--workdir-size", "SIZE", "size of its work directory, /tmp and /dev/shm together"),
    Option("--output-size", "SIZE", "limit of stdout and stderr together"),
    Option("--ro", "PATH[:DEST]", "grant a path read-only", many=True),
    Option("--rw", "PATH[:DEST]", "grant a path read-write", many=True),
    Option("--overlay", "PATH[:DEST]", "grant a directory whose changes are thrown away", many=True),
    Option("--project", "DIR", "grant DIR read-only at its own path and start there"),
    Option("--out", "DIR", "collect what it left in its work directory"),
    Option("--env", "K=V", "set a variable", many=True),
    Option("--pass-env", "K", "pass a variable on", many=True),
    Option("--allow-net", "HOST[:PORT]", "let it reach a host, as api.example.org:443, or 192.0.2.0/24:22", many=True),
    Option("--stdin", "inherit|null|FILE", "its standard input (default: null)"),
    Option("--python", "PATH", "the interpreter, as .venv/bin/python"),
    Option("--report", "FILE|-", "write the report as JSON"),
    Option("--json", "", "print the report instead of the streams, which it then holds"),
    Option("--quiet", "", "no remarks on stderr", short="-q"),
    Option("--dry-run", "", "show the plan, start nothing"),
)
_DESCRIPTORS = ("/dev", "/dev/fd", "/proc/self/fd")  # /dev/stderr, and >(command) of a shell
_USAGE = "hivebox run [OPTIONS] SCRIPT [ARGS...] | hivebox run [OPTIONS] -- COMMAND [ARGS...]"
_LIMITS = (
    ("--timeout", "wall_time_s", parse_duration),
    ("--cpu-time", "cpu_time_s", parse_duration),
    ("--memory", "memory_bytes", parse_size),
    ("--io-read", "io_read_bytes_s", parse_size),
    ("--io-write", "io_write_bytes_s", parse_size),
    ("--file-size", "file_size_bytes", parse_size),
    ("--workdir-size", "workdir_size_bytes", parse_size),
    ("--output-size", "output_size_bytes", parse_size),
)
_COUNTS = (("--pids", "pids"), ("--io-read-ops", "io_read_ops_s"), ("--io-write-ops", "io_write_ops_s"))


class _Chosen(Frozen):
    options: dict[str, list[str]]
    words: tuple[str, ...]
    is_command: bool

    def one(self, name: str, default: str = "") -> str:
        return self.options.get(name, [default])[-1]

    def has(self, name: str) -> bool:
        return name in self.options


def run(argv: list[str]) -> int:
    """The run's own exit code: docs/profile.md#exit-codes."""
    parsed = parse(_USAGE, _OPTIONS, argv)
    if parsed is None:
        return 0
    chosen = _Chosen(*parsed)
    if not chosen.words:
        raise HiveboxError("nothing to run", "no script and no command was given", _USAGE)
    if chosen.has("--json") and chosen.one("--report") == "-":
        raise HiveboxError("--json and --report - are the same", "both print the report", "keep one of them")
    job = _job(chosen)
    kept = chosen.has("--json")
    sinks = Sinks(_open_stdin(chosen), None if kept else 1, None if kept else 2)
    policy = job.policy()
    tree = ensure(policy.rootfs.recipe, policy.rootfs.interpreter, _progress(chosen))
    inputs = job.inputs(policy, tree, sinks)
    if chosen.has("--dry-run"):
        _print_json({"policy": policy.name, "controls": make_plan(inputs, new_run_id()).describe()})
        return 0
    report_fd = _open_report(chosen)
    report = run_pipeline(inputs)
    _present(report, policy, chosen, report_fd)
    return report.exit_code


def _job(chosen: _Chosen) -> Job:
    what = (
        {"command": chosen.words} if chosen.is_command else {"script": chosen.words[0], "arguments": chosen.words[1:]}
    )
    return Job(
        **what,
        profile=chosen.one("--profile"),
        limits=_limits(chosen),
        mounts=_mounts(chosen),
        project=os.path.abspath(chosen.one("--project")) if chosen.has("--project") else "",
        env_set=tuple(_assignment(text) for text in chosen.options.get("--env", ())),
        env_pass=tuple(chosen.options.get("--pass-env", ())),
        allow=tuple(chosen.options.get("--allow-net", ())),
        interpreter=_interpreter(chosen),
        out_dir=chosen.one("--out"),
    )


def _limits(chosen: _Chosen) -> dict[str, float | int]:
    limits: dict[str, float | int] = {
        field: read(chosen.one(option)) for option, field, read in _LIMITS if chosen.has(option)
    }
    for option, field in _COUNTS:
        if chosen.has(option):
            limits[field] = _count(option, chosen.one(option))
    if chosen.has("--cpus"):
        limits["cpus"] = _number("--cpus", chosen.one("--cpus"))
    return limits


def _number(option: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e6:
        raise HiveboxError(f"bad value for {option}: {text!r}", "expected a positive number", f"write {option} 4")
    return value


def _count(option: str, text: str) -> int:
    value = _number(option, text)
    if value != int(value):
        raise HiveboxError(f"bad value for {option}: {text!r}", "expected a whole number", f"write {option} 32")
    return int(value)


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise HiveboxError(f"bad value for --env: {text!r}", "expected NAME=VALUE", "use --pass-env to pass one on")
    return name, value


def _mounts(chosen: _Chosen) -> tuple[Mount, ...]:
    mounts = []
    for option, mode in (("--ro", "read_only"), ("--rw", "read_write"), ("--overlay", "overlay")):
        for text in chosen.options.get(option, ()):
            source, _, dest = text.partition(":")
            if not source:
                raise HiveboxError(f"bad value for {option}: {text!r}", "expected PATH or PATH:DEST", "name a path")
            if dest and not dest.startswith("/"):
                why = f"{dest!r} is not an absolute path: what follows the first : is DEST"
                hint = "grant the directory of a file with a : in its name"
                raise HiveboxError(f"bad value for {option}: {text!r}", why, hint)
            mounts.append(granted(source, dest, mode=mode))
    return tuple(mounts)


def _interpreter(chosen: _Chosen) -> str:
    """As a shell finds it: a bare name in PATH."""
    given = chosen.one("--python")
    if not given or "/" in given:
        return os.path.abspath(given) if given else ""
    for directory in os.get_exec_path():
        if os.access(os.path.join(directory, given), os.X_OK):
            return os.path.abspath(os.path.join(directory, given))
    raise HiveboxError(f"no such interpreter: {given}", "it is not in PATH", "give its path")


def _open_stdin(chosen: _Chosen) -> int:
    source = chosen.one("--stdin", "null")
    if source == "null":
        return -1
    if source == "inherit":
        return 0
    try:
        # A FIFO that nobody writes to yet must not hold up the run, whose clock does not tick before it.
        handle = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise from_os_error("cannot read the standard input", error, "check --stdin") from error
    if stat.S_ISDIR(os.fstat(handle).st_mode):
        raise HiveboxError("cannot read the standard input", f"{source}: it is a directory", "check --stdin")
    os.set_blocking(handle, True)
    return handle


def _progress(chosen: _Chosen) -> Any:
    """Building a root on first use takes seconds: say so on a terminal."""
    if chosen.has("--quiet") or not sys.stderr.isatty():
        return None

    def show(stage: str, done: int, total: int) -> None:
        streams.remark(f"\r\x1b[Khivebox: building the root, {stage} {done}/{total}")
        if done >= total:
            streams.remark("\r\x1b[K")

    return show


def _pretty(plain: dict[str, Any]) -> str:
    import json  # noqa: PLC0415  # 5 ms that only these options need: plainjson has no indentation

    return json.dumps(plain, indent=2, sort_keys=True) + "\n"


def _print_json(plain: dict[str, Any]) -> None:
    sys.stdout.write(_pretty(plain))
    sys.stdout.flush()


def _open_report(chosen: _Chosen) -> int:
    """Before the run: the script may be granted the directory, and must not choose by a link what we write. Nor may
    one that an earlier run was granted it have: no link is followed, but for those to a descriptor of the caller's."""
    path = chosen.one("--report", "-")
    if path == "-":
        return -1
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    try:
        own = os.path.dirname(os.path.abspath(path)) in _DESCRIPTORS
        report_fd = os.open(path, flags) if own else open_no_symlinks(path, flags, 0o644)
    except OSError as error:
        hint = "`realpath` shows where the link leads" if error.errno == errno.ELOOP else "check --report"
        raise from_os_error("cannot write the report", error, hint) from error
    os.set_blocking(report_fd, True)
    return report_fd


def _present(report: Report, policy: Policy, chosen: _Chosen, report_fd: int) -> None:
    if chosen.has("--json") or (chosen.has("--report") and report_fd < 0):
        _print_json(report.plain())
    if report_fd >= 0:
        _write_report(report, report_fd)
    if not chosen.has("--quiet") and not chosen.has("--json"):
        streams.remark("".join(f"hivebox: {printable(line)}\n" for line in _remarks(report, policy)))


def _write_report(report: Report, report_fd: int) -> None:
    try:
        if stat.S_ISREG(os.fstat(report_fd).st_mode):
            os.ftruncate(report_fd, 0)
        with os.fdopen(report_fd, "w", encoding="utf-8") as file:
            file.write(_pretty(report.plain()))
    except OSError as error:
        raise from_os_error("cannot write the report", error, "the run itself is in the audit ledger") from error


def _advice(violations: tuple[Violation, ...], policy: Policy) -> list[str]:
    if not violations:
        return []
    from hivebox.cli.advice import advice  # noqa: PLC0415  # only after a refusal

    return advice(violations, policy)


def _telling(violations: tuple[Violation, ...]) -> list[Violation]:
    """At most five, of as many different calls as there are."""
    seen: dict[str, int] = {}
    ranked = []
    for violation in violations:
        seen[violation.name] = seen.get(violation.name, 0) + 1
        ranked.append((seen[violation.name], violation))
    return [violation for _, violation in sorted(ranked, key=lambda pair: pair[0])[:5]]


def _refused_network(report: Report) -> list[str]:
    """Each refusal, and for a name the line of a profile that would allow it."""
    if not report.ending.network:
        return []
    from hivebox.cli.network import remarks  # noqa: PLC0415  # only after a run with rules

    return remarks(report.ending.network)


def _mechanism(cause: Cause) -> str:
    return "polled, as there is no control group: hivebox doctor" if cause.mechanism == "poll" else cause.mechanism


def _remarks(report: Report, policy: Policy) -> list[str]:
    """What the reader must know and cannot see from the script's own output; nothing after a plain success."""
    lines = []
    ending = report.ending
    if ending.cause:
        usage = (
            f"CPU {ending.cpu_user_s + ending.cpu_system_s:.2f} s, memory peak {format_size(ending.memory_peak_bytes)}"
        )
        head = "lost" if ending.cause.control in ("streams", "network") else "stopped"
        lines.append(f"{head}: {ending.cause.text} ({_mechanism(ending.cause)}; {usage})")
    told = _telling(ending.violations)
    for violation in told:
        times = f", {violation.times} times" if violation.times > 1 else ""
        lines.append(f"refused: {violation.name}({', '.join(violation.detail)}) by process {violation.pid}{times}")
    lines += _advice(ending.violations, policy)
    hidden = len(ending.violations) - len(told) + ending.violations_dropped
    if hidden > 0:
        lines.append(f"refused: {hidden} more; see hivebox audit show {report.run_id}")
    lines += _refused_network(report)
    lines += [f"not collected: {output.path}: {output.skipped}" for output in report.files if output.skipped]
    return lines
