"""Make pipes so large that the caller's other programs get pipes of two pages: their pages are counted by user.

Source: pipe(7), /proc/sys/fs/pipe-user-pages-soft; denial of service.
Stopped by: syscalls: F_SETPIPE_SZ is answered with EPERM, as above the user's own limit.
"""

import fcntl
import os
import sys

EXPECT = {"without": ["syscalls.fcntl"]}

reader, writer = os.pipe()
try:
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 1 << 20)
except PermissionError as error:
    sys.exit(f"refused: {error}")
print("BREACH: a pipe of", fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ), "bytes")
