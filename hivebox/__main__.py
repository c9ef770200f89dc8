"""``python -m hivebox``."""

from hivebox.cli.main import entry

entry()
