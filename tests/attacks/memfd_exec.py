"""Run a program that is in no file system, from a memfd.

Source: fileless malware; runc's own defence against CVE-2019-5736 turned round.
Stopped by: syscalls: memfd_create needs MFD_NOEXEC_SEAL.
"""

import os
import sys

EXPECT = {
    "groups": "process",
    "says": "Operation not permitted",
    "violations": "memfd_create",
    "without": ["syscalls.memfd_create"],
    "polled": {
        "says": "Function not implemented",
        "violations": None,
        "without": ["syscalls.memfd_create+syscalls.memory_files"],
    },
}

try:
    handle = os.memfd_create("program")
except OSError as error:
    sys.exit(f"refused: {error}")
with open("/usr/bin/true", "rb") as program:
    os.write(handle, program.read())
pid = os.fork()
if pid == 0:
    try:
        os.execve(handle, ["true"], {})
    except OSError:
        os._exit(1)
if os.waitpid(pid, 0)[1]:
    sys.exit("refused: exec of a memfd")
print("BREACH: ran a program that no mount holds")
