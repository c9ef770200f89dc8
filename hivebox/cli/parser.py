"""argparse whose mistakes have the one error shape. For every command but ``run`` (cli/options.py)."""

from __future__ import annotations

import argparse
from typing import NoReturn

from hivebox.errors import HiveboxError


class Parser(argparse.ArgumentParser):
    """Raises HiveboxError where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        raise HiveboxError(message, "", f"{self.prog} --help")
