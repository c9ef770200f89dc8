"""What a script nobody has reviewed might try: read a secret, call home, start a shell, mount, write the root."""

import ctypes
import os
import socket
import sys

failures = []


def attempt(what, act):
    try:
        act()
    except OSError as error:
        print(f"{what:<28} {error.strerror}")
        failures.append(what)
    else:
        print(f"{what:<28} DONE")


def reach_the_network():
    """Connecting a datagram socket sends nothing; it only asks whether there is a way out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("198.51.100.1", 53))


def mount():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


attempt("read /root/.ssh/id_ed25519", lambda: open("/root/.ssh/id_ed25519").close())
attempt("reach the network", reach_the_network)
attempt("fork", os.fork)
attempt("mount a file system", mount)
attempt("write /usr/bin/python3", lambda: open("/usr/bin/python3", "w").close())
sys.exit(1 if len(failures) == 5 else 0)
