"""Open a device that everyone on the host may open.

Source: device drivers as attack surface: tty, ptmx, fuse, kvm, tun.
Stopped by: root.devices: /dev holds null, zero, full, random and urandom.
"""

import os
import sys

EXPECT = {"says": "['full', 'null', 'random', 'urandom', 'zero']", "without": ["root.devices"]}

nodes = sorted(entry.name for entry in os.scandir("/dev") if not (entry.is_symlink() or entry.is_dir()))
if len(nodes) == 5:
    sys.exit(f"refused: {nodes}")
print("BREACH:", nodes)
