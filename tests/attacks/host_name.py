"""Learn the host's name.

Source: reconnaissance; targeted payloads wait for the right machine.
Stopped by: namespaces.uts: it is called hive in there.
"""

import os
import sys

EXPECT = {"scene": "host_name", "args": ["{host}"], "says": "hive", "without": ["namespaces.uts"]}

name = os.uname().nodename
if name != sys.argv[1]:
    sys.exit(f"refused: this machine says it is {name}")
print("BREACH: the host is", name)
