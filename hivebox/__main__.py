"""``python -m hivebox``."""

import sys

from hivebox.cli.main import main

sys.exit(main())
