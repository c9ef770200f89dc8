"""/etc/ld.so.cache, read to find libraries as the dynamic linker does and written for the libraries of a tree.

Source: glibc sysdeps/generic/dl-cache.h (format "glibc-ld.so.cache1.1") and elf/dl-cache.c (_dl_cache_libcmp).
The tree's own cache is why libraries outside the default directories are found in it, and ctypes.util.find_library
and ``ldconfig -p`` answer with what is there.
"""

from __future__ import annotations

import os
import re
import struct
from typing import NamedTuple

CACHE = "/etc/ld.so.cache"
_MAGIC = b"glibc-ld.so.cache1.1"
_HEADER = struct.Struct("=20sIIB3xI12x")
_ENTRY = struct.Struct("=iIIIQ")
_LITTLE_ENDIAN, _BIG_ENDIAN = 2, 3


class Library(NamedTuple):
    """``flags`` is the cache's own word for the ABI (0x303: libc6, x86-64)."""

    name: str
    path: str
    flags: int


def _string(data: bytes, offset: int) -> str:
    return os.fsdecode(data[offset : data.index(b"\0", offset)])


def parse(data: bytes) -> list[Library]:
    """Every library of the cache in its order, those for special CPUs (hwcaps) left out. [] for an unknown format."""
    start = data.find(_MAGIC)  # an old-format table may come before it
    if start < 0 or len(data) < start + _HEADER.size:
        return []
    data = data[start:]
    count = _HEADER.unpack_from(data)[1]
    try:
        rows = [_ENTRY.unpack_from(data, _HEADER.size + index * _ENTRY.size) for index in range(count)]
        return [
            Library(_string(data, key), _string(data, value), flags)
            for flags, key, value, _, hwcap in rows
            if not hwcap
        ]
    except (struct.error, ValueError):
        return []


def read_host() -> list[Library]:
    try:
        with open(CACHE, "rb") as file:
            return parse(file.read())
    except FileNotFoundError:  # a host without glibc
        return []


def _collation(name: str) -> list[tuple[int, int]]:
    """The order of _dl_cache_libcmp, by which the dynamic linker searches: numbers by value, after other characters."""
    return [
        (1, int(part)) if part.isdigit() else (0, ord(part)) for part in re.findall(r"[0-9]+|[^0-9]", name, re.ASCII)
    ]


def encode(libraries: list[Library]) -> bytes:
    """A cache file for these libraries."""
    ordered = sorted(set(libraries), key=lambda library: (_collation(library.name), library), reverse=True)
    offset = _HEADER.size + _ENTRY.size * len(ordered)
    rows, strings = b"", b""
    for library in ordered:
        name, path = os.fsencode(library.name) + b"\0", os.fsencode(library.path) + b"\0"
        rows += _ENTRY.pack(library.flags, offset + len(strings), offset + len(strings) + len(name), 0, 0)
        strings += name + path
    order = _LITTLE_ENDIAN if struct.pack("=H", 1) == b"\1\0" else _BIG_ENDIAN
    return _HEADER.pack(_MAGIC, len(ordered), len(strings), order, 0) + rows + strings
