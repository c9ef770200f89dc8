"""Walk out through a descriptor of a host directory that was left open across exec.

Source: runc CVE-2024-21626 (a working directory of /proc/self/fd/7), CVE-2016-9962.
Stopped by: descriptors: init closes every descriptor but those the plan names. Reading files through it is
Landlock's to refuse; listing is not.
"""

import os
import sys

EXPECT = {
    "scene": "inherited_directory",
    "args": ["{fd}"],
    "says": "no way out",
    "without": ["descriptors"],
}

for number in range(3, 64):
    try:
        names = os.listdir(number)
    except OSError:
        continue
    if any("horse" in name for name in names):
        print("BREACH: a directory of the host on descriptor", number, names)
        sys.exit(0)
sys.exit("no way out: no descriptor of a host directory")
