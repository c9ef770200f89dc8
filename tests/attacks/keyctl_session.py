"""Join a new session keyring, where the reference count used to overflow.

Source: CVE-2016-0728.
Stopped by: syscalls.
"""

import ctypes
import os
import sys

EXPECT = {
    "says": "Operation not permitted",
    "violations": "keyctl",
    "without": ["syscalls.keyctl"],
}

libc = ctypes.CDLL(None, use_errno=True)
KEYCTL = {"x86_64": 250, "aarch64": 219}[os.uname().machine]
JOIN_SESSION_KEYRING = 1
keyring = libc.syscall(KEYCTL, JOIN_SESSION_KEYRING, None)
if keyring < 0:
    sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
print("BREACH: session keyring", keyring)
