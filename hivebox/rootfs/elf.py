"""What the dynamic linker would read from an ELF file, without running it (elf(5), ld.so(8)).

ldd executes the program's own interpreter, so it is no tool for a file that nobody has reviewed. Every offset and size
read from the file is bounded: a crafted file is refused, it cannot make the builder read far or much.
"""

from __future__ import annotations

import os
import struct
import sys
from typing import NamedTuple

_MACHINES = {"x86_64": 62, "aarch64": 183, "riscv64": 243, "ppc64le": 21, "s390x": 22}
_CLASS_64 = 2
_DATA = 1 if sys.byteorder == "little" else 2
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_RPATH, _DT_RUNPATH = 0, 1, 5, 10, 15, 29
_LONGEST_PATH = 4096
_LARGEST_DYNAMIC = 1 << 16
_LARGEST_STRINGS = 64 << 20
_HEADER_SIZE = 64
_SEGMENT = struct.Struct("=IIQQQQQQ")  # type, flags, offset, vaddr, paddr, filesz, memsz, align
_TAG = struct.Struct("=qQ")


class Elf(NamedTuple):
    """``rpath`` and ``runpath`` are not expanded; ``strings`` is the dynamic string table, with the symbol names."""

    interpreter: str
    needed: tuple[str, ...]
    rpath: tuple[str, ...]
    runpath: tuple[str, ...]
    strings: bytes


class UnusableElfError(ValueError):
    """ELF, but 32-bit, of another architecture or byte order, damaged, or not something that can be loaded."""


class _Segment(NamedTuple):
    kind: int
    offset: int
    address: int
    size: int


def _read(file_fd: int, offset: int, length: int) -> bytes:
    if offset + length > os.fstat(file_fd).st_size:
        raise UnusableElfError("damaged: it says that it is longer than it is")
    return os.pread(file_fd, length, offset)


def _check_header(header: bytes) -> None:
    machine = os.uname().machine
    if header[4] != _CLASS_64:
        raise UnusableElfError("a 32-bit program; hivebox runs 64-bit ones")
    if header[5] != _DATA or struct.unpack_from("=H", header, 18)[0] != _MACHINES.get(machine):
        raise UnusableElfError(f"made for another architecture than {machine}")


def _segments(file_fd: int, header: bytes) -> list[_Segment]:
    (offset,) = struct.unpack_from("=Q", header, 32)
    size, count = struct.unpack_from("=HH", header, 54)
    if size != _SEGMENT.size:
        raise UnusableElfError("an object file, not a program or shared library")
    table = _read(file_fd, offset, size * count)
    return [_Segment(row[0], row[2], row[3], row[5]) for row in _SEGMENT.iter_unpack(table)]


def _dynamic(file_fd: int, segments: list[_Segment]) -> dict[int, list[int]]:
    """Tag -> values, in file order."""
    values: dict[int, list[int]] = {}
    for segment in segments:
        if segment.kind == _PT_DYNAMIC:
            size = min(segment.size, _LARGEST_DYNAMIC) // _TAG.size * _TAG.size
            for tag, value in _TAG.iter_unpack(_read(file_fd, segment.offset, size)):
                if tag == _DT_NULL:
                    break
                values.setdefault(tag, []).append(value)
    return values


def _string_table(file_fd: int, segments: list[_Segment], values: dict[int, list[int]]) -> bytes:
    if _DT_STRTAB not in values or _DT_STRSZ not in values:
        return b""
    address, size = values[_DT_STRTAB][0], min(values[_DT_STRSZ][0], _LARGEST_STRINGS)
    for segment in segments:
        if segment.kind == _PT_LOAD and segment.address <= address < segment.address + segment.size:
            return _read(file_fd, address - segment.address + segment.offset, size)
    raise UnusableElfError("damaged: its string table is in no segment")


def read(file_fd: int) -> Elf | None:
    """What an open file needs to be loaded; None when it is not ELF. Raises UnusableElfError."""
    header = os.pread(file_fd, _HEADER_SIZE, 0)
    if header[:4] != b"\x7fELF" or len(header) < _HEADER_SIZE:
        return None
    _check_header(header)
    segments = _segments(file_fd, header)
    values = _dynamic(file_fd, segments)
    strings = _string_table(file_fd, segments, values)
    names = [
        _read(file_fd, segment.offset, min(segment.size, _LONGEST_PATH))
        for segment in segments
        if segment.kind == _PT_INTERP
    ]

    def texts(tag: int) -> list[str]:
        return [os.fsdecode(strings[offset : offset + _LONGEST_PATH].split(b"\0")[0]) for offset in values.get(tag, [])]

    def paths(tag: int) -> tuple[str, ...]:
        return tuple(path for text in texts(tag) for path in text.split(":") if path)

    interpreter = os.fsdecode(b"".join(names[:1]).split(b"\0")[0])
    return Elf(interpreter, tuple(texts(_DT_NEEDED)), paths(_DT_RPATH), paths(_DT_RUNPATH), strings)
