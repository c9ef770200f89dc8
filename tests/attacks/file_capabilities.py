"""Run a program that carries capabilities in its file.

Source: privileged programs as the ladder (CVE-2021-4034); setcap binaries: ping, dumpcap, interpreters.
Stopped by: privileges (no_new_privs, empty bounding set), grants.nosuid, and identity: started by root, the owner map
of the grant leaves the file's capabilities without a root to belong to.
"""

import os
import sys

EXPECT = {
    "groups": "process",
    "scene": "program_with_capabilities",
    "grant": "read_only",
    "args": ["{shared}"],
    "says": "Permission denied",
    "outside": "nobody",
    "user": "root",
    "without": ["privileges+grants.nosuid+identity"],
}

PROGRAM = """
import socket
try:
    with socket.create_server(("127.0.0.1", 80)):
        print("BREACH: listening on port 80")
except OSError as error:
    raise SystemExit(f"refused: {error}")
"""

try:
    os.execv(f"{sys.argv[1]}/python", ["python", "-I", "-S", "-c", PROGRAM])
except OSError as error:
    sys.exit(f"refused to run it: {error}")
