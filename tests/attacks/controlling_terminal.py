"""Open the controlling terminal by name.

Source: password prompts forged on /dev/tty.
Stopped by: root.devices (there is no /dev/tty) and a session without a terminal.
"""

import os
import sys

EXPECT = {
    "scene": "callers_terminal",
    "says": "No such file or directory",
    "without": ["root.devices+streams.session"],
}

try:
    os.close(os.open("/dev/tty", os.O_RDWR))
except OSError as error:
    sys.exit(f"refused: {error}")
print("BREACH: the caller's terminal is open")
