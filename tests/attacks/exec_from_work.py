"""Write a program into the work directory and run it.

Source: droppers: download, chmod +x, run.
Stopped by: workdir (mounted noexec) and Landlock (no EXECUTE there).
"""

import os
import shutil
import sys

EXPECT = {
    "groups": "process",
    "says": "Permission denied",
    "without": ["workdir.noexec+landlock"],
}

shutil.copy("/usr/bin/true", "dropped")
os.chmod("dropped", 0o755)
read_fd, write_fd = os.pipe()
pid = os.fork()
if pid == 0:
    try:
        os.execv("./dropped", ["dropped"])
    except OSError as error:
        os.write(write_fd, str(error).encode())
        os._exit(1)
os.close(write_fd)
if os.waitpid(pid, 0)[1]:
    sys.exit(f"refused: {os.read(read_fd, 200).decode()}")
print("BREACH: ran a program of my own making")
