"""Open an AF_ALG socket: the kernel's cryptography, which no namespace covers.

Source: CVE-2019-8912, CVE-2011-4081; rarely used families: CVE-2010-3904.
Stopped by: syscalls.
"""

import socket
import sys

EXPECT = {
    "says": "Operation not permitted",
    "violations": "socket",
    "absent": "CONFIG_CRYPTO_USER_API",
}

try:
    with socket.socket(38, socket.SOCK_SEQPACKET, 0) as opened:
        print("BREACH:", opened)
except OSError as error:
    if error.errno == 97:  # EAFNOSUPPORT: not the filter, which answers EPERM
        print("ABSENT: AF_ALG")
    sys.exit(f"refused: {error}")
