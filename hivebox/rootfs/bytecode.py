"""Bytecode for a read-only tree: valid without a look at its source, and the same from the same input.

Python cannot write __pycache__ in the sandbox, and a timestamp in a .pyc would tie it to the mtime of a copy. So each
.py gets an unchecked hash-based .pyc (PEP 552): from the host's own where that is up to date, else compiled here when
this Python is of the same version, else none (the module is then compiled at every import).
The interpreter is not started for it: it may be one that nobody has reviewed.
"""

from __future__ import annotations

import _imp
import importlib.util
import marshal
import os
import struct
import sys
import warnings
from types import CodeType

from hivebox.rootfs.hostfile import opened, read_all

_HEADER = struct.Struct("<4sIII")
_HASH_BASED = 1
_LARGEST_SOURCE = 1 << 20  # the standard library has up to 0.7 MB; compiling takes 400 times as much memory
_LARGEST_PYC = 8 << 20
_UNCHECKED_HASH = 1  # hash-based (bit 0), check_source (bit 1) off


def cache_path(source: str, tag: str) -> str:
    """``dir/name.py`` -> ``dir/__pycache__/name.<tag>.pyc``."""
    directory, name = os.path.split(source)
    return os.path.join(directory, "__pycache__", f"{name.removesuffix('.py')}.{tag}.pyc")


def _host_code(source: str, status: os.stat_result, tag: str) -> tuple[bytes, bytes] | None:
    """(magic, marshalled code) of the host's .pyc, None when missing, too large or older than the source."""
    try:
        with opened(cache_path(source, tag)) as handle:
            data = read_all(handle, _LARGEST_PYC)
    except OSError:
        return None
    if data is None or len(data) <= _HEADER.size:
        return None
    magic, flags, mtime, size = _HEADER.unpack_from(data)
    if flags & _HASH_BASED or mtime != int(status.st_mtime) & 0xFFFFFFFF or size != status.st_size & 0xFFFFFFFF:
        return None
    return magic, data[_HEADER.size :]


def _compile(source: str, text: bytes) -> tuple[bytes, bytes] | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = compile(text, source, "exec", dont_inherit=True, optimize=0)
            return importlib.util.MAGIC_NUMBER, _dump(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):  # a template, or a test's bad input
        return None


def _dump(code: CodeType) -> bytes:
    """Which equal constants are one object, and so a reference, depends on what else is loaded (Python 3.13). Version 2
    of the format has no references; what is read back from it shares nothing but interned strings."""
    return marshal.dumps(marshal.loads(marshal.dumps(code, 2)))  # noqa: S302  # just written


def of(source: str, tag: str) -> bytes | None:
    """The content of the .pyc of ``source`` (a canonical path) for the interpreter with this cache tag, or None; it has
    none when it is too large."""
    with opened(source) as handle:
        status = os.fstat(handle)
        text = read_all(handle, _LARGEST_SOURCE)
    if text is None:
        return None
    code = _host_code(source, status, tag)
    if code is None and tag == sys.implementation.cache_tag:
        code = _compile(source, text)
    if code is None:
        return None
    # importlib.util.source_hash knows the running version's magic number only
    digest = _imp.source_hash(int.from_bytes(code[0], "little"), text)
    return struct.pack("<4sI8s", code[0], _UNCHECKED_HASH, digest) + code[1]
