"""seccomp programs as bytes: where a compiled one is kept, and the one constant that differs from run to run.

A program is an array of ``struct sock_filter`` (8 bytes each, linux/filter.h). This module is on the ``hivebox run``
path: compiling (``seccomp_compile``, 50 ms for its imports alone) happens on the first run of a policy only.
"""

from __future__ import annotations

import errno
import os
import struct

import hivebox
from hivebox import plainjson
from hivebox.digest import sha256
from hivebox.errors import HiveboxError, from_os_error
from hivebox.locations import make_private_dir, state_dir
from hivebox.policy.model import Policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# execveat(2) ignores its sixth register, where a filter can look: one exec, by the launcher alone, passes with a value
# drawn for that run (patch_exec_magic). The payload cannot guess 64 bits, and the launcher's memory ends with its exec.
EXEC_MAGIC_PLACEHOLDER = int.from_bytes(b"hivebox!", "big")
# sendmsg(2) passes on this descriptor whatever the profile says: the process that loads the filter sends the
# notification descriptor to the supervisor. It is close-on-exec and above limits.open_files.
CONTROL_FD = 1000

_INSTRUCTION = struct.Struct("=HBBI")  # code, jump if true, jump if false, constant
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
_RETURN_ERRNO = 0x0005_0000  # SECCOMP_RET_ERRNO
_ARGUMENT_5 = 16 + 8 * 5  # offset in struct seccomp_data; little-endian, so the low half comes first
_LOW = 0xFFFF_FFFF

_SOURCES = ("policy/syscall_groups.py", "policy/syscall_filters.py", "policy/syscall_numbers.py",
            "kernel/bpf.py", "kernel/seccomp_compile.py")  # fmt: skip
# A cache that cannot be written is not worth a failed run.
_CACHE_WRITE_ERRNOS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT}


def instructions(program: bytes) -> tuple[tuple[int, int, int, int], ...]:
    """(code, jump if true, jump if false, constant) of each instruction."""
    return tuple(_INSTRUCTION.iter_unpack(program))


def patch_exec_magic(program: bytes, magic: int) -> bytes:
    """The program that lets ``execveat(..., magic)`` through, for one run. An unpatched program would accept the
    placeholder, which is no secret: so patch always, with a value nobody keeps where nothing is to be exec'd.

    Raises HiveboxError unless the placeholder is compared with exactly once.
    """
    if not 0 < magic < 1 << 64 or magic == EXEC_MAGIC_PLACEHOLDER:
        raise HiveboxError("cannot patch the seccomp program", "the magic is not a secret 64-bit number", "report this")
    first = _find_magic(program)
    patched = bytearray(program)
    for index, half in ((first + 1, magic >> 32), (first + 3, magic & _LOW)):
        struct.pack_into("=I", patched, index * _INSTRUCTION.size + 4, half)
    return bytes(patched)


def refuse_call(program: bytes, number: int, errno_number: int) -> bytes:
    """The program behind three instructions that answer one call, whatever the rest would say."""
    first = ((_LOAD, 0, 0, 0), (_JUMP_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _RETURN_ERRNO | errno_number))
    return b"".join(_INSTRUCTION.pack(*each) for each in first) + program


def _find_magic(program: bytes) -> int:
    """The index of the four instructions that libseccomp makes of one 64-bit comparison."""
    high, low = EXEC_MAGIC_PLACEHOLDER >> 32, EXEC_MAGIC_PLACEHOLDER & _LOW
    steps = [(code, constant) for code, _, _, constant in instructions(program)]
    wanted = [(_LOAD, _ARGUMENT_5 + 4), (_JUMP_IF_EQUAL, high), (_LOAD, _ARGUMENT_5), (_JUMP_IF_EQUAL, low)]
    found = [index for index in range(len(steps)) if steps[index : index + len(wanted)] == wanted]
    if len(found) != 1 or sum(constant in (high, low) for _, constant in steps) > len((high, low)):
        raise HiveboxError(
            "cannot patch the seccomp program",
            f"expected one comparison with the launcher's placeholder, found {len(found)}",
            "report this with the version of libseccomp",
        )
    return found[0]


def program_for(policy: Policy) -> tuple[bytes, str]:
    """The unpatched program of a policy and its SHA-256 in hex: from the cache, or compiled and cached.

    Raises HiveboxError when it has to be compiled and cannot be.
    """
    key = _cache_key(policy)
    path = os.path.join(state_dir(), "cache", "seccomp", key + ".bpf")
    cached = _read(path, key)
    if cached:
        return cached
    from hivebox.kernel import seccomp_compile  # noqa: PLC0415  # imports pyseccomp: only when needed

    program = seccomp_compile.compile_program(policy)
    digest = sha256(program).hexdigest()
    library = seccomp_compile.library_path()
    _write(path, {"key": key, "sha256": digest, "library": library, **_fingerprint(library)}, program)
    return program, digest


def _cache_key(policy: Policy) -> str:
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sources = sha256()
    for name in _SOURCES:
        with open(os.path.join(package, name), "rb") as file:
            sources.update(file.read())
    calls = policy.syscalls
    parts = [hivebox.__version__, os.uname().machine, sources.hexdigest(), policy.filesystem.work_exec,
             sorted({mount.mode for mount in policy.filesystem.mounts}),
             *(sorted(set(names)) for names in (calls.groups, calls.allow, calls.deny))]  # fmt: skip
    return sha256(plainjson.dumps(parts).encode()).hexdigest()


def _fingerprint(library: str) -> dict[str, int]:
    """A security update of libseccomp keeps its version: size and time tell."""
    status = os.stat(library)
    return {"library_bytes": status.st_size, "library_mtime_ns": status.st_mtime_ns}


def _read(path: str, key: str) -> tuple[bytes, str] | None:
    """None for anything that is not whole, or was made for another policy or by another libseccomp."""
    try:
        with open(path, "rb") as file:
            header_line, _, program = file.read().partition(b"\n")
        header: dict[str, Any] = plainjson.loads(header_line)
        digest = sha256(program).hexdigest()
        library = _fingerprint(header["library"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    if header != {"key": key, "sha256": digest, "library": header["library"], **library}:
        return None
    return program, digest


def _write(path: str, header: dict[str, Any], program: bytes) -> None:
    temporary = f"{path}.{os.getpid()}"
    try:
        for directory in (state_dir(), os.path.join(state_dir(), "cache"), os.path.dirname(path)):
            make_private_dir(directory)
        with open(temporary, "wb") as file:
            file.write(plainjson.dumps(header).encode() + b"\n" + program)
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in _CACHE_WRITE_ERRNOS:
            raise from_os_error("cannot keep the compiled seccomp program", error, "check HIVEBOX_STATE") from error
