"""A name server with bad habits: ``upstream.py ADDRESS GOOD``. Over UDP it first sends an answer to another question, and
another number, with a wrong address; then one that is cut short. Over TCP it answers, in two pieces. A name that begins
with ``fails`` gets SERVFAIL."""

from __future__ import annotations

import socket
import struct
import sys
import threading


def reply(question: bytes, flags: int, address: str = "") -> bytes:
    end = 12 + question[12:].index(0) + 5
    wanted = bool(address) and question[end - 3] == 1
    record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 0, 4) + socket.inet_aton(address) if wanted else b""
    return question[:2] + struct.pack(">HHHHH", flags, 1, wanted, 0, 0) + question[12:end] + record


def serve_datagrams(address: str) -> None:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 53))
    print("up", flush=True)
    while True:
        question, client = server.recvfrom(512)
        if question[13:18] == b"fails":
            server.sendto(reply(question, 0x8182), client)
            continue
        forged = bytes((question[0] ^ 1,)) + question[1:]
        server.sendto(reply(forged, 0x8180, "127.0.0.1"), client)
        server.sendto(reply(question.replace(b"pypi", b"evil"), 0x8180, "127.0.0.1"), client)
        server.sendto(reply(question, 0x8380), client)


def serve_streams(address: str, good: str) -> None:
    with socket.create_server((address, 53)) as listener:
        while True:
            client = listener.accept()[0]
            answer = reply(client.recv(512)[2:], 0x8180, good)
            for piece in (len(answer).to_bytes(2, "big") + answer[:20], answer[20:]):
                client.sendall(piece)
            client.close()


if __name__ == "__main__":
    threading.Thread(target=serve_streams, args=sys.argv[1:], daemon=True).start()
    serve_datagrams(sys.argv[1])
