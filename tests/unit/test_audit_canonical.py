"""Canonical JSON: one value, one byte form."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivebox.audit.canonical import MAX_DEPTH, NotCanonicalError, decode, encode

RELAXED = settings(database=None, deadline=None)  # a shared machine is slow at times
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(min_value=-(2**53) + 1, max_value=2**53 - 1)
    | TEXT
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))


@RELAXED
@given(VALUES)
def test_what_is_written_reads_back_and_writes_the_same(value: Any) -> None:
    once = encode(value)
    assert encode(decode(once)) == once
    once.decode("ascii")


@RELAXED
@given(st.dictionaries(TEXT, st.integers(-(2**63), 2**64 - 1) | TEXT))
def test_without_fractions_nothing_is_lost_and_the_standard_encoder_agrees(value: dict[str, Any]) -> None:
    assert decode(encode(value)) == value
    assert encode(value) == json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


@RELAXED
@given(st.floats(min_value=-1e6, max_value=1e6))
def test_fractions_keep_nanoseconds(value: float) -> None:
    assert abs(decode(encode(value)) - value) <= 0.5e-9 + abs(value) * 2**-52


@RELAXED
@given(st.binary())
def test_any_bytes_are_refused_or_exact(data: bytes) -> None:
    try:
        value = decode(data)
    except NotCanonicalError:
        return
    assert encode(value) == data


@RELAXED
@given(st.binary(), st.binary())
def test_two_arguments_that_differ_never_look_the_same(one: bytes, other: bytes) -> None:
    same = encode(os.fsdecode(one)) == encode(os.fsdecode(other))
    assert same is (one == other)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.25, "0.25"),
        (3.0, "3.0"),
        (1e-9, "0.000000001"),
        (4e-10, "0.0"),
        (-0.0, "0.0"),
        (-4e-10, "0.0"),
        (-0.05, "-0.05"),
        (1e15, "1000000000000000.0"),
        (0.1 + 0.2, "0.3"),
        (2**64 - 1, "18446744073709551615"),
        (True, "true"),
        ((1, "a"), '[1,"a"]'),
        ({"b": 1, "a": None}, '{"a":null,"b":1}'),
        ("\x7f/\u00e9\U0001f41d\n", '"\\u007f/\\u00e9\\ud83d\\udc1d\\n"'),
        ("\udcff", '{"base64":"/w=="}'),
    ],
)
def test_the_form_of(value: Any, text: str) -> None:
    assert encode(value) == text.encode()


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), 2.0**53, 2**64, -(2**63) - 1, b"bytes", {1: 2}, {"\udcff": 1}, "\ud800", object()],
)
def test_there_is_no_form_for(value: Any) -> None:
    with pytest.raises(NotCanonicalError):
        encode(value)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '{"a": 1}',
        '{"b":1,"a":1}',
        "1e3",
        "1.50",
        "-0",
        "-0.0",
        "01",
        "+1",
        "NaN",
        "Infinity",
        "1.0e0",
        '"\\/"',
        '"\\u0041"',
        '"\\u00E9"',
        '"\\ud800"',
        '"\\udcff"',
        '"a',
        "",
        " 1",
        "1 ",
        "1\n",
        "null null",
        "18446744073709551616",
        "9" * 5000,
        "[" * 100_000,
        "0.1234567891",
        "9007199254740992.0",
    ],
)
def test_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(NotCanonicalError):
        decode(text.encode())


def test_bytes_beyond_ascii_are_refused() -> None:
    for data in (b'"\xc3\xa9"', b"\xff\xfe1\x00", b"\xef\xbb\xbf1"):
        with pytest.raises(NotCanonicalError):
            decode(data)


def test_the_nesting_limit_holds_both_ways() -> None:
    def nested(depth: int) -> Any:
        return [nested(depth - 1)] if depth else 0

    assert decode(encode(nested(MAX_DEPTH))) == nested(MAX_DEPTH)
    with pytest.raises(NotCanonicalError):
        encode(nested(MAX_DEPTH + 1))
    with pytest.raises(NotCanonicalError):
        decode(b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2))
