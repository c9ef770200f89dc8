"""Look for tokens in the environment.

Source: CI tokens and cloud keys in variables: what most stealers in package registries read first.
Stopped by: environment: an allowlist; nothing is inherited.
"""

import os
import sys

EXPECT = {"scene": "environment_secret", "says": "no secret", "without": ["environment"]}

secrets = {name: value for name, value in os.environ.items() if "TOKEN" in name}
if secrets:
    print("BREACH:", secrets)
else:
    sys.exit("no secret in the environment")
