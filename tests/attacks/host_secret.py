"""Read a private file of the caller by its path.

Source: ~/.ssh, ~/.aws, .env: what most stealers in package registries read.
Stopped by: the mount namespace and pivot_root: the path does not exist. (Not removable: docs/attacks.md.)
"""

import sys

EXPECT = {"scene": "secret", "args": ["{secret}"], "says": "No such file or directory"}

try:
    with open(sys.argv[1]) as file:
        print("BREACH:", file.read())
except OSError as error:
    sys.exit(f"refused: {error}")
