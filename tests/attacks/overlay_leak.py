"""Write through an overlay into the directory below it.

Source: overlayfs CVE-2015-1328, CVE-2021-3493, CVE-2023-0386.
Stopped by: grants.overlay: the upper layer is in the work tmpfs, the lower one is read-only.
"""

import os
import sys

EXPECT = {
    "scene": "lower_directory",
    "grant": "overlay",
    "args": ["{shared}"],
    "outcome": "ok",
    "without": ["grants.overlay"],
}

with open(f"{sys.argv[1]}/note", "a") as file:
    file.write("changed\n")
os.rename(f"{sys.argv[1]}/note", f"{sys.argv[1]}/moved")
os.mkdir(f"{sys.argv[1]}/new")
