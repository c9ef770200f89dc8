"""Listen on a port below 1024.

Source: posing as a system service.
Stopped by: privileges: empty capability sets. (The port would be the sandbox's own: this attack shows that the
payload holds no capability in its namespaces.)
"""

import socket
import sys

EXPECT = {"says": "Permission denied", "outside": "netns", "without": ["privileges.capabilities"]}

try:
    with socket.create_server(("127.0.0.1", 80)):
        print("BREACH: listening on port 80")
except OSError as error:
    sys.exit(f"refused: {error}")
