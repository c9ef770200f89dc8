"""Learn where in the host's control groups one runs.

Source: the first step of the cgroup v1 release_agent escape (CVE-2022-0492); tells the container engine and its ids.
Stopped by: namespaces.cgroup: the run's own group is the root.
"""

import sys

EXPECT = {"says": "nothing but /", "without": ["namespaces.cgroup"]}

with open("/proc/self/cgroup") as file:
    paths = {line.rstrip("\n").split(":", 2)[2] for line in file}
if paths <= {"/"}:
    sys.exit("refused: nothing but /")
print("BREACH:", paths)
