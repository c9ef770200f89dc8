"""Options of ``hivebox run``: argparse alone costs as much as a whole sandbox (8 ms)."""

from __future__ import annotations

import sys

from hivebox.errors import HiveboxError
from hivebox.frozen import Frozen


class Option(Frozen):
    """``metavar`` "" is a flag; ``many`` may be repeated."""

    name: str
    metavar: str
    text: str
    short: str = ""
    many: bool = False


def _help(usage: str, options: tuple[Option, ...]) -> str:
    lines = [f"usage: {usage}", ""]
    for option in options:
        names = ", ".join(name for name in (option.short, option.name) if name)
        repeat = " (repeatable)" if option.many else ""
        lines.append(f"  {f'{names} {option.metavar}':<34} {option.text}{repeat}")
    return "\n".join(lines) + "\n"


def _unknown(word: str, options: tuple[Option, ...]) -> HiveboxError:
    import difflib  # noqa: PLC0415  # only for the error

    close = difflib.get_close_matches(word, [option.name for option in options], 1)
    return HiveboxError(f"no such option: {word}", "", f"did you mean {close[0]}?" if close else "see --help")


def parse(
    usage: str, options: tuple[Option, ...], argv: list[str]
) -> tuple[dict[str, list[str]], tuple[str, ...], bool] | None:
    """(option -> values, the words after the options, whether ``--`` introduced them), or None after --help.

    Options end at the first word that is not one, so that a script's own options stay its own.
    """
    by_name = {name: option for option in options for name in (option.name, option.short) if name}
    found: dict[str, list[str]] = {}
    words = list(argv)
    while words and words[0].startswith("-") and words[0] != "-":
        word = words.pop(0)
        if word == "--":
            return found, tuple(words), True
        if word in {"-h", "--help"}:
            sys.stdout.write(_help(usage, options))
            return None
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        option = by_name.get(name)
        if option is None:
            raise _unknown(name, options)
        if option.metavar and not equals:
            if not words:
                raise HiveboxError(f"{name} needs a value", f"expected {option.metavar}", usage)
            value = words.pop(0)
        if option.metavar and not value:  # as of an unset variable: no option means the same as no option at all
            raise HiveboxError(f"{name} needs a value", f"expected {option.metavar}, got nothing", usage)
        if option.name in found and not option.many:
            raise HiveboxError(f"{name} was given twice", "it takes one value", "keep one of them")
        found.setdefault(option.name, []).append(value)
    return found, tuple(words), False
