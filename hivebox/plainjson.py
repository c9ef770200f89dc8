"""JSON by the C functions beneath the standard library's ``json``, with the same results.

``import json`` costs 5 ms, nearly all of it for ``re``, which its Python parts need (docs/performance.md#cold-start).
Off the run path, and for text that a person writes or reads, use ``json``.
"""

from __future__ import annotations

from _json import encode_basestring_ascii, make_encoder, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_BLANKS = " \t\n\r"

quote = encode_basestring_ascii  # a str as JSON


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a number")


class Decoder:
    """As json.JSONDecoder, whose attributes the C scanner reads; NaN and Infinity are errors unless told otherwise."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float = float

    def __init__(
        self, parse_int: Callable[[str], int] = int, parse_constant: Callable[[str], object] = _refuse_constant
    ) -> None:
        self.parse_int = parse_int
        self.parse_constant = parse_constant
        self._scan = make_scanner(self)  # type: ignore[arg-type]  # anything with these attributes

    def decode(self, text: str) -> Any:
        """Exactly one value. Raises ValueError, RecursionError for a million brackets."""
        start = len(text) - len(text.lstrip(_BLANKS))
        try:
            value, end = self._scan(text, start)
        except StopIteration as error:
            raise ValueError(f"no JSON value at character {error.value}") from None
        except SystemError:  # Python 3.11: the scanner's own error is a class of json.decoder, which nobody imported
            raise ValueError("malformed JSON") from None
        if text[end:].strip(_BLANKS):
            raise ValueError(f"more than one JSON value, from character {end}")
        return value


_decoder = Decoder()


def loads(data: bytes) -> Any:
    """UTF-8 text of one JSON value. Raises ValueError."""
    try:
        return _decoder.decode(data.decode())
    except RecursionError:
        raise ValueError("nested too deep") from None


def _no_form(value: object) -> object:
    raise TypeError(f"no JSON form for {type(value).__name__}")


def dumps(value: object, *, sort_keys: bool = False, compact: bool = False) -> str:
    """ASCII only. ``compact`` leaves the blanks out. Raises TypeError or ValueError (NaN, a value within itself)."""
    colon, comma = (":", ",") if compact else (": ", ", ")
    encode = make_encoder({}, _no_form, encode_basestring_ascii, None, colon, comma, sort_keys, False, False)
    return "".join(encode(value, 0))
