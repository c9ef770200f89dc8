"""Take every inotify instance that the caller has: they are counted by user, through all user namespaces.

Source: inotify(7), /proc/sys/fs/inotify/max_user_instances; denial of service.
Stopped by: namespaces: the sandbox's user namespace has a share of its own.
"""

import ctypes
import os
import sys

EXPECT = {"more_groups": ["@node"], "without": ["namespaces.quotas"]}

MORE_THAN_ITS_SHARE = 32
libc = ctypes.CDLL(None, use_errno=True)
for taken in range(MORE_THAN_ITS_SHARE):
    if libc.inotify_init1(0) < 0:
        sys.exit(f"refused after {taken}: {os.strerror(ctypes.get_errno())}")
print("BREACH:", MORE_THAN_ITS_SHARE, "instances and no end")
