"""Crash so that a core is dumped: it is written by the kernel, or piped into a program that the host runs as root.

Source: apport CVE-2015-1325, CVE-2025-5054; systemd-coredump CVE-2025-4598.
Stopped by: rlimits.core, and the filter that keeps it as it is.
"""

import os
import resource
import signal
import sys

EXPECT = {
    "groups": "process",
    "says": "no core",
    "violations": "prlimit64",
    "outside": "small",
    "without": ["rlimits.core+syscalls.prlimit64"],
}

pid = os.fork()
if pid == 0:
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    except ValueError:
        pass  # refused
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)  # a shell's background job ignores it
    os.kill(os.getpid(), signal.SIGQUIT)
status = os.waitpid(pid, 0)[1]
if not os.WCOREDUMP(status):
    sys.exit("refused: no core was dumped")
print("BREACH: a core was dumped")
