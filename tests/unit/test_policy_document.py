"""YAML as hivebox reads it: scalars without surprises, places that are right, files of bounded size."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hivebox.errors import ProfileError
from hivebox.policy import sources
from hivebox.policy.document import Text, parse


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("yes", "yes"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("010", "010"),
        ("0x10", "0x10"),
        ("1e3", "1e3"),
        (".inf", ".inf"),
        ("2020-01-01", "2020-01-01"),
        ("12", 12),
        ("-1.5", -1.5),
        ("true", True),
        ("'true'", "true"),
        ("~", None),
        ("", None),
    ],
)
def test_plain_scalars_are_what_they_look_like(written: str, value: object) -> None:
    [(_, node)] = parse(Text("p.yaml", f"key: {written}".encode())).value
    assert (node.value, type(node.value)) == (value, type(value))


def test_a_byte_order_mark_is_no_mistake() -> None:
    [(key, _)] = parse(Text("p.yaml", b"\xef\xbb\xbfkey: 1")).value
    assert (key.value, key.column) == ("key", 1)


def test_the_caret_is_under_the_word_after_a_tab_and_wide_text() -> None:
    error = Text("p.yaml", b"{}")
    with pytest.raises(ProfileError) as caught:
        parse(Text("p.yaml", "é: [\u4e2d, \t&x 1]".encode()))
    *_, line, caret = caught.value.why.splitlines()
    assert error.path == "p.yaml"
    assert line[caret.index("^")] == "&"


def test_a_long_line_is_shown_around_the_mistake() -> None:
    with pytest.raises(ProfileError) as caught:
        parse(Text("p.yaml", b"key: '" + b"x" * 5000 + b"' : &y z"))
    assert max(map(len, caught.value.why.splitlines())) < 130


def test_what_is_not_a_regular_file_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.yaml"
    os.mkfifo(fifo)
    for path in (str(fifo), "/dev/zero", str(tmp_path)):
        with pytest.raises(ProfileError, match="not a regular file"):
            sources.read(path)


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    path.write_bytes(b"#" * sources.LARGEST_FILE)
    assert sources.read(str(path)) == path.read_bytes()
    path.write_bytes(b"#" * (sources.LARGEST_FILE + 1))
    with pytest.raises(ProfileError, match="larger than 64 KiB"):
        sources.read(str(path))


def test_a_path_with_a_nul_is_refused() -> None:
    with pytest.raises(ProfileError, match="cannot read"):
        sources.read("/tmp/a\0b.yaml")
