"""Leave a link in a granted directory where a later run mounts something: the mount then lands on /etc.

Source: runc CVE-2025-52565 and CVE-2025-52881 (mounts and writes redirected by links), CVE-2021-30465 (mount targets).
Stopped by: grants.no_links: destinations are opened without following any link.
"""

import ctypes
import sys

EXPECT = {
    "scene": "linked_destination",
    "grant": "read_write",
    "args": ["{shared}", "{forged}"],
    "outcome": "not_started",
    "says": "too many levels of symbolic links",
    "outside": "userns",
    "without": ["grants.no_links"],
}

# Outside, in a mount namespace of our own, this is what a mount by path does; inside it is hivebox that mounts.
MS_BIND = 0x1000
ctypes.CDLL(None).mount(sys.argv[2].encode(), f"{sys.argv[1]}/cache".encode(), None, MS_BIND, None)
with open("/etc/hosts") as file:
    if "horse" in file.read():
        print("BREACH: /etc is now mine")
        sys.exit(0)
sys.exit("refused: /etc/hosts is the true one")
