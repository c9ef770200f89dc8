"""Open a performance counter.

Source: CVE-2013-2094, CVE-2023-6931; side channels.
Stopped by: syscalls.
"""

import ctypes
import os
import sys

EXPECT = {
    "says": "Operation not permitted",
    "violations": "perf_event_open",
    "without": ["syscalls.perf_event_open"],
}

libc = ctypes.CDLL(None, use_errno=True)
PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}[os.uname().machine]
SOFTWARE, TASK_CLOCK, EXCLUDE_KERNEL_AND_HV = 1, 1, 0x60
attributes = bytearray(112)
attributes[0:8] = SOFTWARE.to_bytes(4, "little") + (112).to_bytes(4, "little")
attributes[8:16] = TASK_CLOCK.to_bytes(8, "little")
attributes[40:48] = EXCLUDE_KERNEL_AND_HV.to_bytes(8, "little")
handle = libc.syscall(PERF_EVENT_OPEN, bytes(attributes), 0, -1, -1, 0)
if handle < 0:
    sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
print("BREACH: counter", handle)
