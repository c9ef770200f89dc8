"""Put a key into a kernel keyring.

Source: CVE-2014-9529, CVE-2017-7472; keyrings are in no namespace of ours.
Stopped by: syscalls.
"""

import ctypes
import os
import sys

EXPECT = {
    "says": "Operation not permitted",
    "violations": "add_key",
    "without": ["syscalls.add_key"],
}

libc = ctypes.CDLL(None, use_errno=True)
ADD_KEY = {"x86_64": 248, "aarch64": 217}[os.uname().machine]
PROCESS_KEYRING = -2
key = libc.syscall(ADD_KEY, b"user", b"hivebox", b"payload", 7, PROCESS_KEYRING)
if key < 0:
    sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
print("BREACH: key", key)
