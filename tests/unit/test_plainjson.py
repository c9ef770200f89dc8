"""plainjson says what the standard library's json says."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivebox import plainjson
from hivebox.digest import sha256

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_dumps_as_json_does(value: object) -> None:
    assert plainjson.dumps(value) == json.dumps(value)
    assert plainjson.dumps(value, sort_keys=True, compact=True) == json.dumps(
        value, sort_keys=True, separators=(",", ":")
    )


@given(VALUES, st.sampled_from(["", " ", "\n\t\r "]))
def test_loads_what_json_wrote(value: object, blanks: str) -> None:
    text = blanks + json.dumps(value, indent=1) + blanks
    assert plainjson.loads(text.encode()) == json.loads(text)


@pytest.mark.parametrize(
    "text", ["", " ", "{", "[1,]", "1 2", '{"a":1}x', "NaN", "-Infinity", "[Infinity]", "'a'", '"\n"']
)
def test_loads_refuses(text: str) -> None:
    with pytest.raises(ValueError):
        plainjson.loads(text.encode())


def test_loads_refuses_other_bytes() -> None:
    with pytest.raises(ValueError):
        plainjson.loads(b'"\xff"')


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"a", object()])
def test_dumps_refuses(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        plainjson.dumps(value)


def test_quote() -> None:
    assert plainjson.quote('é"\n\x00😀') == json.dumps('é"\n\x00😀')


@given(st.binary())
def test_sha256_is_sha256(content: bytes) -> None:
    assert sha256(content).hexdigest() == hashlib.sha256(content).hexdigest()
