"""Sizes and durations as people write them, and back.

Sizes are binary (``K`` = 1024) and durations are decimal seconds. Nothing here yields infinity:
"no limit" is not a value (DESIGN: finite always wins).
"""

from __future__ import annotations

from hivebox.errors import HiveboxError

_SIZE = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_DURATION = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_LARGEST = 1 << 62


def _split(text: str) -> tuple[str, str]:
    stripped = text.strip()
    end = len(stripped)
    while end and not (stripped[end - 1].isascii() and stripped[end - 1].isdigit()):
        end -= 1
    return stripped[:end], stripped[end:].strip()


def _number(digits: str) -> float | None:
    if not digits or any(c not in "0123456789." for c in digits):
        return None
    try:
        return float(digits)
    except ValueError:
        return None


def parse_size(value: str | int) -> int:
    """``"64M"``, ``"1.5GiB"``, ``4096`` -> bytes (positive, below 2**62). Raises HiveboxError."""
    if isinstance(value, int) and not isinstance(value, bool):
        number, factor = float(value), 1
    else:
        digits, unit = _split(str(value))
        short = unit.upper().removesuffix("B").removesuffix("I")
        parsed = _number(digits)
        if parsed is None or short not in _SIZE:
            raise HiveboxError(f"not a size: {value!r}", "expected a number with B, K, M, G or T", "write 64M or 1.5G")
        number, factor = parsed, _SIZE[short]
    size = int(number * factor)
    if not 0 < size < _LARGEST:
        raise HiveboxError(f"size out of range: {value!r}", "expected more than 0 and less than 2**62 bytes")
    return size


def parse_duration(value: str | int | float) -> float:
    """``"10s"``, ``"1.5m"``, ``"250ms"``, ``3`` -> seconds (positive, finite). Raises HiveboxError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        digits, unit = _split(str(value))
        parsed = _number(digits)
        if parsed is None or unit not in _DURATION:
            raise HiveboxError(
                f"not a duration: {value!r}", "expected a number with ms, s, m, h or d", "write 10s or 5m"
            )
        seconds = parsed * _DURATION[unit]
    if not 0 < seconds < 1e9:
        raise HiveboxError(f"duration out of range: {value!r}", "expected more than 0 and less than 1e9 seconds")
    return seconds


def format_size(size_bytes: int) -> str:
    """``268435456`` -> ``256 MiB``."""
    for shift, unit in ((60, "EiB"), (50, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size_bytes >> shift:
            return f"{size_bytes / (1 << shift):.4g} {unit}"
    return f"{size_bytes} B"


def format_duration(seconds: float) -> str:
    """``90.0`` -> ``1.5 m``; below a second in milliseconds."""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    if seconds < 3600:
        return f"{seconds / 60:.3g} m"
    return f"{seconds / 3600:.3g} h"


def counted(number: int, word: str) -> str:
    """``1 error``, ``2 errors``."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
