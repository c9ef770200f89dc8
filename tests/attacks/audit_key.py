"""Read the key that signs the audit records, or the ledger, to forge what happened.

Source: whoever can read the key can sign anything: the threat that SLSA calls a compromised build.
Stopped by: the mount namespace: the state directory is in no root. (Not removable: docs/attacks.md.)
"""

import os
import sys

EXPECT = {"scene": "audit_state", "args": ["{state}"], "says": "No such file or directory"}

try:
    print("BREACH:", os.listdir(sys.argv[1]))
except OSError as error:
    sys.exit(f"refused: {error}")
