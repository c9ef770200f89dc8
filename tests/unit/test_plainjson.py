"""plainjson says what the standard library's json says."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivebox import plainjson
from hivebox.digest import sha256

ROOT = Path(__file__).parents[2]
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


def damaged() -> list[str]:
    """JSON with a character changed, inserted, removed, or its end missing: some of it is JSON still."""
    chance = random.Random(7)  # the same ones each time
    seed = '[{"a": [1, -2.5e3, true, null]}, "\\u00e9\\n\\\\", {}, [], {"b": {"c": "d"}}]'
    texts = [
        "[" * 100_000,
        '"',
        '"\\u12"',
        '"\\x"',
        "{1: 2}",
        '{"a" 1}',
        '{"a": 1,}',
        "[1 2]",
        '"\n"',
        "-",
        "01",
        "nul",
    ]
    for _ in range(3000):
        at, letter = chance.randrange(len(seed)), chance.choice('{}[]",:\\ 01-.eE+tfn\x00\u00e9')
        texts.append(chance.choice((seed[:at], seed[:at] + letter + seed[at:], seed[:at] + letter + seed[at + 1 :])))
        texts.append(seed[:at] + seed[at + 1 :])
    return texts


def taken(text: str) -> object:
    """What ``json`` reads, or None."""
    try:
        return [json.loads(text)]
    except (ValueError, RecursionError):
        return None


def test_loads_takes_and_refuses_what_json_does_where_json_is_not_imported() -> None:
    """In a process of its own: the C scanner's error is a class of json.decoder, which a run does not import."""
    code = (
        f"import sys; sys.path.append({str(ROOT)!r})\n"
        "from hivebox import plainjson\n"
        "assert 'json' not in sys.modules\n"  # since Python 3.13 the scanner's first error imports it
        "for text in plainjson.loads(sys.stdin.buffer.read()):\n"
        "    try: said = [plainjson.loads(text.encode())]\n"
        "    except ValueError: said = None\n"
        "    print(plainjson.dumps(said))\n"
    )
    texts = damaged()
    command = [sys.executable, "-IS", "-c", code]
    done = subprocess.run(command, input=json.dumps(texts).encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert said == [taken(text) for text in texts]
    assert 100 < sum(value is not None for value in said) < len(texts) - 100
