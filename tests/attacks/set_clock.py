"""Set a parameter of the clock (to the value it has).

Source: CAP_SYS_TIME left to a container.
Stopped by: syscalls, and behind it the kernel: CAP_SYS_TIME counts in the first user namespace only.
"""

import ctypes
import os
import sys

EXPECT = {
    "says": "Operation not permitted",
    "violations": "clock_adjtime",
    "outside": "root",
}

libc = ctypes.CDLL(None, use_errno=True)
ADJ_TICK, TICK_AT = 0x4000, 88
state = ctypes.create_string_buffer(208)
if libc.adjtimex(state) < 0:
    sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
state[0:4] = ADJ_TICK.to_bytes(4, "little")
if libc.adjtimex(state) < 0:
    sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
print("BREACH: the tick was set to", int.from_bytes(state[TICK_AT : TICK_AT + 8], "little"))
