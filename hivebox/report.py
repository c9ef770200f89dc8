"""What a run was: the authoritative account that the CLI prints and the audit record carries."""

from __future__ import annotations

from hivebox.frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OUTCOMES = (
    "ok",
    "failed",
    "signaled",
    "timeout",
    "cpu_time",
    "memory",
    "pids",
    "output",
    "killed_by_policy",
    "cancelled",
    "not_started",
)
TIMEOUT_EXIT, MEMORY_EXIT, CANNOT_EXIT = 124, 137, 125
NOT_REGULAR = "not a regular file"  # of an output: left out by design, where any other reason is a loss


class Cause(Frozen):
    """Why a run was ended: the limit or rule, the mechanism that noticed, one sentence."""

    control: str
    mechanism: str
    text: str


class Violation(Frozen):
    """A refused act. ``detail`` holds the call's arguments in hexadecimal; repeats of the same act are counted."""

    kind: str
    name: str
    detail: tuple[str, ...]
    pid: int
    first_s: float
    times: int


class Output(Frozen):
    """One collected file: path below the work directory, size in bytes, SHA-256 of what was written, or the reason
    it was left out."""

    path: str
    size_bytes: int
    sha256: str
    skipped: str = ""


class Ending(Frozen):
    """How the payload ended. Exactly one of ``exit_code`` and ``signal`` is set once it has started. CPU in seconds,
    sizes in bytes, of the script's tree alone; ``pids_peak`` 0 means that this host does not count it. ``stall_*``: for
    so long at least one thread waited for that resource (PSI); None where the kernel does not say. ``network`` is None
    without an allowlist: docs/network.md#events."""

    outcome: str
    exit_code: int | None = None
    signal: int | None = None
    cause: Cause | None = None
    wall_s: float = 0.0
    cpu_user_s: float = 0.0
    cpu_system_s: float = 0.0
    memory_peak_bytes: int = 0
    pids_peak: int = 0
    io_read_bytes: int = 0
    io_write_bytes: int = 0
    stall_cpu_s: float | None = None
    stall_memory_s: float | None = None
    stall_io_s: float | None = None
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    violations: tuple[Violation, ...] = ()
    violations_dropped: int = 0
    network: dict[str, Any] | None = None

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        plain: dict[str, Any] = self._asdict()
        plain["cause"] = self.cause._asdict() if self.cause else None
        plain["violations"] = [violation._asdict() for violation in self.violations]
        return plain


class Report(Frozen):
    """One run."""

    run_id: str
    argv: tuple[str, ...]
    profile: str
    ending: Ending
    controls: dict[str, dict[str, Any]]
    files: tuple[Output, ...]
    audit: dict[str, Any]
    stdout: bytes | None = None
    stderr: bytes | None = None

    @property
    def outcome(self) -> str:
        """One of OUTCOMES."""
        return self.ending.outcome

    @property
    def exit_code(self) -> int:
        """The command's exit code: docs/profile.md#exit-codes."""
        ending = self.ending
        if ending.outcome in {"timeout", "cpu_time"}:
            return TIMEOUT_EXIT
        if ending.outcome == "memory":
            return MEMORY_EXIT
        if ending.outcome == "not_started":
            return CANNOT_EXIT
        if ending.signal is not None:
            return 128 + ending.signal
        if ending.exit_code == 0 and self.is_lossy:
            return CANNOT_EXIT
        return ending.exit_code if ending.exit_code is not None else CANNOT_EXIT

    @property
    def is_lossy(self) -> bool:
        """Output that could not be passed on, a file not collected, an account of the network that is missing."""
        cause = self.ending.cause
        lost = any(output.skipped not in ("", NOT_REGULAR) for output in self.files)
        return lost or (cause is not None and cause.control in ("streams", "outputs", "network"))

    def wire(self) -> dict[str, Any]:
        """JSON-ready, for ``from_wire``; without the captured streams."""
        files = [output._asdict() for output in self.files]
        return {**self._asdict(), "ending": self.ending.plain(), "files": files, "stdout": None, "stderr": None}

    @classmethod
    def from_wire(cls, wire: dict[str, Any], stdout: bytes | None, stderr: bytes | None) -> Report:
        """What ``wire`` gave, with the streams."""
        said = wire["ending"]
        ending = Ending(
            **{
                **said,
                "cause": Cause(**said["cause"]) if said["cause"] else None,
                "violations": tuple(
                    Violation(**{**violation, "detail": tuple(violation["detail"])}) for violation in said["violations"]
                ),
            }
        )
        files = tuple(Output(**output) for output in wire["files"])
        changed = {"argv": tuple(wire["argv"]), "ending": ending, "files": files, "stdout": stdout, "stderr": stderr}
        return cls(**{**wire, **changed})

    def plain(self) -> dict[str, Any]:
        """JSON-ready: the ending's fields at the top level, captured streams as text where they are UTF-8."""
        plain: dict[str, Any] = {"run_id": self.run_id, "argv": list(self.argv), "profile": self.profile}
        plain.update(self.ending.plain())
        plain["controls"] = self.controls
        plain["files"] = [output._asdict() for output in self.files]
        plain["audit"] = self.audit
        for name, captured in (("stdout", self.stdout), ("stderr", self.stderr)):
            if captured is not None:
                plain.update(_captured(name, captured))
        spelled: dict[str, Any] = _spelled(plain)
        return spelled


def _spelled(value: Any) -> Any:
    """A name that is not valid Unicode as the record of the run spells it: docs/audit-format.md#canonical-json."""
    if isinstance(value, dict):
        return {key: _spelled(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_spelled(item) for item in value]
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return {"base64": _base64(value.encode(errors="surrogateescape"))}
    return value


def _captured(name: str, content: bytes) -> dict[str, str]:
    try:
        return {name: content.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": _base64(content)}


def _base64(content: bytes) -> str:
    from binascii import b2a_base64  # noqa: PLC0415  # only for what is not text

    return b2a_base64(content, newline=False).decode()
