"""Every packet that arrives at an interface for a port, as it is on the wire: ``capture.py INTERFACE PORT``. Prints the
question of each, NAME/TYPE, or its bytes where it is no question."""

from __future__ import annotations

import socket
import struct
import sys

ETHERNET, OUTGOING = 14, 4


def question(message: bytes) -> str:
    labels, at = [], 12
    while message[at]:
        labels.append(message[at + 1 : at + 1 + message[at]].decode("latin-1"))
        at += 1 + message[at]
    return f"{'.'.join(labels)}/{struct.unpack_from('>H', message, at + 1)[0]}"


def main(interface: str, port: int) -> None:
    watcher = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    watcher.bind((interface, 3))
    print("up", flush=True)
    while True:
        frame, address = watcher.recvfrom(1 << 16)
        packet = frame[ETHERNET:]
        start = 40 if packet[0] >> 4 == 6 else 4 * (packet[0] & 15)
        protocol = packet[6] if packet[0] >> 4 == 6 else packet[9]
        if address[2] == OUTGOING or protocol not in (6, 17) or struct.unpack_from(">H", packet, start + 2)[0] != port:
            continue
        try:
            print(question(packet[start + 8 :]) if protocol == 17 else f"tcp:{packet.hex()}", flush=True)
        except (IndexError, struct.error):
            print(packet.hex(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
