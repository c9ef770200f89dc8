"""Canonical JSON: every value has exactly one byte form (docs/audit-format.md#canonical-json).

Keys sorted by code point, no white space, ASCII only, integers of at most 64 bits, finite numbers with a fraction
written with one to nine decimals and no exponent. Strict on the way in: what does not re-encode to the very same
bytes is refused, which leaves a forger no room (duplicate keys, spare blanks, second spellings of a number).
"""

from __future__ import annotations

from binascii import b2a_base64

from hivebox import plainjson
from hivebox.plainjson import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

MAX_DEPTH = 32
_SMALLEST_INT, _LARGEST_INT = -(1 << 63), (1 << 64) - 1
_LARGEST_FRACTION = float(1 << 53)
_HOLE = "\0"  # which canonical JSON never has
_LONGEST_INT = 20  # characters of -2**63 and of 2**64-1


class NotCanonicalError(ValueError):
    """The value has no canonical form, or the bytes are not one."""


class Hole:
    """Stands for a value that is known later."""


def encode(value: object) -> bytes:
    """Any mix of dict, list, tuple, str, int, float, bool and None. Raises NotCanonicalError.

    A str that is not valid Unicode (``os.fsdecode`` of a path or argument made of arbitrary bytes) becomes the object
    ``{"base64": ...}`` of its bytes: two arguments that differ never look the same in a record.
    """
    return _text(value, 0).encode("ascii")


def pieces(value: object) -> list[str]:
    """The texts before, between and after the holes of ``value``. Raises NotCanonicalError."""
    return _text(value, 0).split(_HOLE)


def decode(data: bytes) -> Any:
    """The inverse of ``encode``. Raises NotCanonicalError for anything that ``encode`` would not have written."""
    try:
        value = _DECODER.decode(data.decode("ascii"))
        again = encode(value)
    except RecursionError as error:  # a hostile file of a million brackets
        raise _too_deep() from error
    except NotCanonicalError:
        raise
    except ValueError as error:
        raise NotCanonicalError(f"not JSON in ASCII: {error}") from error
    if again != data:
        raise NotCanonicalError(_first_difference(again, data))
    return value


def _text(value: object, depth: int) -> str:
    """The usual kinds first, by their exact type: a record has more than a hundred values, and two are made a run."""
    if depth > MAX_DEPTH:
        raise _too_deep()
    kind = type(value)
    if kind is str:
        return _string(value)  # type: ignore[arg-type]
    if kind is dict:
        return _object(value, depth + 1)  # type: ignore[arg-type]
    if kind is list or kind is tuple:
        return "[" + ",".join([_text(item, depth + 1) for item in value]) + "]"  # type: ignore[attr-defined]
    return _other(value, depth)


def _object(value: dict[Any, Any], depth: int) -> str:
    if value and depth > MAX_DEPTH:
        raise _too_deep()
    items = []
    for key in sorted(value):
        item = value[key]
        text = quote(item) if type(item) is str and item.isascii() else _text(item, depth)
        items.append(f"{_key(key)}:{text}")
    return "{" + ",".join(items) + "}"


def _too_deep() -> NotCanonicalError:
    return NotCanonicalError(f"nested deeper than {MAX_DEPTH}")


def _other(value: object, depth: int) -> str:  # noqa: PLR0911  # one for each kind of value
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return fraction(value)
    if isinstance(value, Hole):
        return _HOLE
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, dict):
        return _text(dict(value), depth)
    if isinstance(value, list | tuple):
        return _text(list(value), depth)
    raise NotCanonicalError(f"no JSON form for {type(value).__name__}")


def _string(value: str) -> str:
    if value.isascii():
        return quote(value)
    try:
        value.encode()
    except UnicodeEncodeError:
        return '{"base64":' + quote(_undecodable(value)) + "}"
    return quote(value)


def _undecodable(value: str) -> str:
    try:
        return b2a_base64(value.encode(errors="surrogateescape"), newline=False).decode()
    except UnicodeEncodeError as error:
        raise NotCanonicalError("a text with a lone surrogate that stands for no byte") from error


def _key(key: object) -> str:
    if type(key) is str and key.isascii():
        return quote(key)
    text = _string(key) if isinstance(key, str) else ""
    if not text.startswith('"'):
        raise NotCanonicalError(f"a key must be a valid text, not {key!r}")
    return text


def _integer(value: int) -> str:
    if not _SMALLEST_INT <= value <= _LARGEST_INT:
        raise NotCanonicalError("an integer of more than 64 bits")
    return str(int(value))


def fraction(value: float) -> str:
    """``value`` in its one spelling. Raises NotCanonicalError."""
    if not -_LARGEST_FRACTION < value < _LARGEST_FRACTION:  # false for NaN too
        raise NotCanonicalError(f"a number that is not finite or not below 2**53: {value!r}")
    whole, _, decimals = f"{value:z.9f}".partition(".")  # z: no minus before a zero
    return f"{whole}.{decimals.rstrip('0') or '0'}"


def _no_constant(name: str) -> NoReturn:
    raise NotCanonicalError(f"{name} is not a number")


def _bounded_int(digits: str) -> int:
    if len(digits) > _LONGEST_INT:
        raise NotCanonicalError("an integer of more than 64 bits")
    return int(digits)


def _first_difference(expected: bytes, got: bytes) -> str:
    at = next((i for i, (a, b) in enumerate(zip(expected, got, strict=False)) if a != b), min(len(expected), len(got)))
    return f"not canonical at byte {at}: expected {expected[at : at + 12]!r}, got {got[at : at + 12]!r}"


_DECODER = plainjson.Decoder(parse_constant=_no_constant, parse_int=_bounded_int)
