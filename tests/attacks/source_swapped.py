"""A tenant replaces a granted directory by a link to a private one, after it was checked and before it is mounted.

Source: runc CVE-2025-31133 (the source of a bind mount, /dev/null, becomes a link), CVE-2023-27561, CVE-2021-30465.
Stopped by: grants.held_source: root mounts the descriptor that was checked; an ordinary user's run ends when the path
is no longer the same object.
"""

import sys

EXPECT = {
    "scene": "swapped_source",
    "grant": "read_only",
    "args": ["{shared}"],
    "says": "shared",
    "as_user": {"outcome": "not_started", "says": "cannot apply grants"},
    "without": ["grants.held_source"],
}

with open(f"{sys.argv[1]}/note") as file:
    text = file.read()
if "horse" not in text:
    sys.exit(f"refused: this is what was granted: {text}")
print("BREACH:", text)
