"""Open a file by its handle, past every directory that should be in the way.

Source: shocker.c (2014), which left Docker by CAP_DAC_READ_SEARCH.
Stopped by: syscalls, and behind it the kernel: the capability counts in the first user namespace, or for a mount of one's own.
"""

import ctypes
import os
import sys

EXPECT = {
    "says": "Operation not permitted",
    "violations": "name_to_handle_at",
    "outside": "root",
}

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
with open("target", "w") as file:
    file.write("found by handle")
handle = ctypes.create_string_buffer((128).to_bytes(4, "little"), 8 + 128)
mount_id = ctypes.c_int()
if libc.name_to_handle_at(AT_FDCWD, b"target", handle, ctypes.byref(mount_id), 0) < 0:
    sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
directory = os.open(".", os.O_RDONLY)
found = libc.open_by_handle_at(directory, handle, os.O_RDONLY)
if found < 0:
    sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
print("BREACH:", os.read(found, 100))
