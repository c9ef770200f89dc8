"""``hivebox.run`` and ``hivebox.run_async``: the arguments of a Python call become a Job."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any, TypeAlias, TypedDict, Unpack

from hivebox.job import Job, granted
from hivebox.kernel.write import write_all
from hivebox.policy.model import Limits, Mount
from hivebox.report import Report
from hivebox.service.client import Call

Path: TypeAlias = str | os.PathLike[str]
Stream: TypeAlias = int | IO[Any] | None
Grants: TypeAlias = Iterable[Path | tuple[Path, str]]
_CODE_NAME = "main.py"


class Options(TypedDict, total=False):
    """The keywords of ``run``. A grant is a path, or a path and where it appears."""

    script: Path  # instead of a command: a file, run by the interpreter that its suffix or #! line names
    code: str | bytes  # instead of a command: the text of a Python script
    arguments: Sequence[str]  # of the script or code
    profile: Path  # a name, or the path of a YAML file; by default that of the script's suffix
    stdin: str | bytes | Stream  # None: empty
    stdout: Stream  # where it goes; None keeps it in the report
    stderr: Stream
    ro: Grants
    rw: Grants
    overlay: Grants  # changes are thrown away
    project: Path  # a directory granted read-only at its own path, where the program starts
    out: Path  # a directory that receives what is left in the work directory
    env: Mapping[str, str]
    pass_env: Sequence[str]  # names of the caller's variables
    allow_net: Sequence[str]  # as "api.example.org:443"
    python: Path  # the interpreter
    timeout_s: float  # wall clock; those below are fields of policy.model.Limits
    cpu_time_s: float
    memory_bytes: int
    pids: int
    cpus: float
    io_read_bytes_s: int
    io_write_bytes_s: int
    io_read_ops_s: int
    io_write_ops_s: int
    file_size_bytes: int
    open_files: int
    workdir_size_bytes: int
    workdir_inodes: int
    output_size_bytes: int


def run(command: Sequence[str] | None = None, **options: Unpack[Options]) -> Report:
    """Run a command (a program of the sandbox and its arguments), a script or code in a sandbox and wait for it.

    A program that fails, or is ended for a limit, is a Report like any other: ``outcome``, ``exit_code``, ``stdout``
    and ``stderr`` as bytes, ``ending``, ``audit``. Raises HiveboxError when hivebox could not do what it was asked,
    TypeError for a call that makes no sense. May be called from several threads at once; an exception while it waits
    (as by Ctrl-C) ends the run.
    """
    with _Prepared(command, options) as call:
        call.send()
        return call.report()


async def run_async(command: Sequence[str] | None = None, **options: Unpack[Options]) -> Report:
    """As ``run``, without blocking the event loop. Cancelling the task ends the run."""
    with _Prepared(command, options) as call:
        await _readable(call.send())
        return call.report()


async def _readable(handle: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(handle, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(handle)


class _Prepared:
    """The call, and the descriptors that are only for it."""

    def __init__(self, command: Sequence[str] | None, options: Options) -> None:
        unknown = options.keys() - Options.__annotations__.keys()
        if unknown:
            raise TypeError(f"run() has no option {', '.join(sorted(unknown))}")
        self._owned: list[int] = []
        try:
            stdin_fd = self._stdin(options.get("stdin"))
            sinks = [_descriptor(stream) for stream in (options.get("stdout"), options.get("stderr"))]
            self._call = Call(self._job(command, options), stdin_fd, *sinks)
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> Call:
        return self._call

    def __exit__(self, *_: object) -> None:
        self._call.close()
        self._close()

    def _close(self) -> None:
        for handle in self._owned:
            os.close(handle)

    def _stdin(self, source: str | bytes | Stream) -> int:
        if isinstance(source, (str, bytes)):
            return self._memory(source)
        handle = _descriptor(source)
        return -1 if handle is None else handle

    def _memory(self, content: str | bytes) -> int:
        handle = os.memfd_create("input", os.MFD_CLOEXEC)
        self._owned.append(handle)
        write_all(handle, content.encode() if isinstance(content, str) else content)
        os.lseek(handle, 0, os.SEEK_SET)
        return handle

    def _job(self, command: Sequence[str] | None, options: Options) -> Job:
        script, code = options.get("script"), options.get("code")
        if sum(given is not None for given in (command, script, code)) != 1:
            raise TypeError("give exactly one of command, script and code")
        if isinstance(command, (str, bytes)):
            raise TypeError(f"command is a list of words, not {command!r}: there is no shell that would split it")
        return Job(
            command=tuple(command or ()),
            script=_CODE_NAME if code is not None else _absolute(script),
            script_fd=self._memory(code) if code is not None else -1,
            arguments=tuple(options.get("arguments", ())),
            profile=_profile(options.get("profile", "")),
            limits=_limits(options),
            mounts=_mounts(options),
            project=_absolute(options.get("project")),
            env_set=tuple(options.get("env", {}).items()),
            env_pass=tuple(options.get("pass_env", ())),
            allow=tuple(options.get("allow_net", ())),
            interpreter=_absolute(options.get("python")),
            out_dir=_absolute(options.get("out")),
        )


def _limits(options: Options) -> dict[str, float | int]:
    given: Mapping[str, Any] = {**options, "wall_time_s": options.get("timeout_s")}
    return {field: given[field] for field in Limits._fields if given.get(field) is not None}


def _mounts(options: Options) -> tuple[Mount, ...]:
    mounts = []
    for grants, mode in (
        (options.get("ro", ()), "read_only"),
        (options.get("rw", ()), "read_write"),
        (options.get("overlay", ()), "overlay"),
    ):
        for grant in [grants] if isinstance(grants, (str, os.PathLike)) else grants:
            source, dest = grant if isinstance(grant, tuple) else (grant, "")
            mounts.append(granted(os.fspath(source), dest, mode=mode))
    return tuple(mounts)


def _profile(named: Path) -> str:
    """A name stays one; a path must not depend on where the service stands."""
    text = os.fspath(named)
    return os.path.abspath(text) if "/" in text or text.endswith((".yaml", ".yml")) else text


def _absolute(path: Path | None) -> str:
    return os.path.abspath(path) if path is not None else ""


def _descriptor(stream: Stream) -> int | None:
    if stream is None or isinstance(stream, int):
        return stream
    stream.flush()  # what is in the file object's own buffer comes first
    return stream.fileno()
