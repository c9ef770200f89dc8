"""The ELF reader against real programs, and against damaged ones."""

from __future__ import annotations

import os
import random
import struct
import subprocess
from pathlib import Path

import pytest

from hivebox.rootfs import elf, ldcache

LIST = "/bin/ls"


def read(data: bytes, tmp_path: Path) -> elf.Elf | None:
    path = tmp_path / "program"
    path.write_bytes(data)
    handle = os.open(path, os.O_RDONLY)
    try:
        return elf.read(handle)
    finally:
        os.close(handle)


def test_reads_what_a_program_needs(tmp_path):
    program = read(Path(LIST).read_bytes(), tmp_path)
    assert program is not None
    assert Path(program.interpreter).exists()
    assert any(name.startswith("libc.") for name in program.needed)
    assert b"\0opendir\0" in program.strings


def test_a_script_is_not_elf(tmp_path):
    assert read(b"#!/bin/sh\n" * 20, tmp_path) is None
    assert read(b"\x7fELF", tmp_path) is None


@pytest.mark.parametrize(
    ("offset", "value", "words"),
    [(4, b"\1", "32-bit"), (18, b"\xf7\x7f", "another architecture"), (5, b"\2\0", "another architecture")],
)
def test_a_program_for_another_machine_is_refused(tmp_path, offset, value, words):
    data = bytearray(Path(LIST).read_bytes())
    data[offset : offset + len(value)] = value
    with pytest.raises(elf.UnusableElfError, match=words):
        read(bytes(data), tmp_path)


@pytest.mark.parametrize(("offset", "layout", "value"), [(32, "Q", 1 << 62), (56, "H", 0xFFFF), (54, "H", 7)])
def test_a_header_that_points_outside_is_refused(tmp_path, offset, layout, value):
    data = bytearray(Path(LIST).read_bytes())
    struct.pack_into("=" + layout, data, offset, value)
    with pytest.raises(elf.UnusableElfError):
        read(bytes(data), tmp_path)


def test_damage_never_ends_in_anything_but_a_refusal(tmp_path):
    original = Path(LIST).read_bytes()
    dice = random.Random(7)
    refused = 0
    for _ in range(300):
        data = bytearray(original[: dice.choice((200, 4000, len(original)))])
        for _ in range(8):
            data[dice.randrange(6, min(len(data), 1200))] = dice.randrange(256)
        try:
            read(bytes(data), tmp_path)
        except elf.UnusableElfError:
            refused += 1
    assert refused > 50


def test_runpath_is_read(tmp_path):
    source = tmp_path / "empty.c"
    source.write_text("int nothing;\n")
    target = tmp_path / "libempty.so"
    link = ["gcc", "-shared", "-o", target, source, "-Wl,-rpath,$ORIGIN/../lib:/opt/x", "-Wl,-soname,libempty.so.1"]
    try:
        subprocess.run([*link, "-Wl,--enable-new-dtags"], check=True)
    except FileNotFoundError:
        pytest.skip("no gcc")
    library = read(target.read_bytes(), tmp_path)
    assert library is not None
    assert library.runpath == ("$ORIGIN/../lib", "/opt/x")
    assert library.rpath == ()


def test_the_hosts_library_cache_is_read_as_ldconfig_prints_it():
    printed = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    lines = [line.split() for line in printed.splitlines() if " => " in line and "hwcap" not in line]
    assert [(library.name, library.path) for library in ldcache.read_host()] == [(line[0], line[-1]) for line in lines]


def test_a_written_library_cache_is_what_ldconfig_reads(tmp_path):
    flags = ldcache.read_host()[0].flags
    names = ["libz.so.1", "libssl.so.3", "libssl.so.10", "libfoo-2.so", "liba.so"]
    (tmp_path / "cache").write_bytes(ldcache.encode([ldcache.Library(n, f"/opt/{n}", flags) for n in names]))
    command = ["/sbin/ldconfig", "-p", "-C", tmp_path / "cache"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in printed.splitlines() if " => " in line] == [
        "libz.so.1", "libssl.so.10", "libssl.so.3", "libfoo-2.so", "liba.so",
    ]  # fmt: skip


def test_a_damaged_library_cache_is_taken_for_an_empty_one():
    whole = Path(ldcache.CACHE).read_bytes()
    assert ldcache.parse(whole[:2000]) == []
    assert ldcache.parse(b"") == []
