"""The servers of world.py in one process: HTTP, HTTPS with a private CA, echo over TCP and UDP, an open proxy port that
only greets, and one that accepts and stays silent. Each answer says which address was reached and for whom."""

from __future__ import annotations

import resource
import socket
import ssl
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseRequestHandler, ThreadingTCPServer, ThreadingUDPServer
from typing import Any

from tests.network.world import ECHO_PORT, OPEN_PORT, OTHER, SILENT_PORT, UDP_PORT, WEB, WEB6


class _Dual:
    address_family = socket.AF_INET6
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 2048


class Web(_Dual, ThreadingHTTPServer):
    pass


class Stream(_Dual, ThreadingTCPServer):
    pass


class Datagram(_Dual, ThreadingUDPServer):
    max_packet_size = 65535


class Files(SimpleHTTPRequestHandler):
    """A directory, /whoami, and uploads."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.startswith("/whoami"):
            self._say(f"{self.headers['Host']} at {self.request.getsockname()[0].removeprefix('::ffff:')}\n".encode())
        else:
            super().do_GET()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._say(f"{len(body)} bytes\n".encode())

    def do_CONNECT(self) -> None:
        self._say(b"connected\n")

    def _say(self, text: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        sys.stderr.write(f"{self.request.getsockname()[:2]} {format % arguments}\n")


class Echo(BaseRequestHandler):
    def handle(self) -> None:
        if isinstance(self.request, tuple):
            data, reply = self.request
            reply.sendto(data, self.client_address)
            return
        while data := self.request.recv(1 << 16):
            self.request.sendall(data)


def stay_silent(listener: socket.socket) -> None:
    """Accept, and keep what was accepted."""
    kept = []
    while True:
        kept.append(listener.accept()[0])


def main(directory: str) -> None:
    """Serve for ever."""
    files = partial(Files, directory=f"{directory}/www")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{directory}/server.pem")
    secure = Web(("::", 443), files, bind_and_activate=False)
    secure.socket = context.wrap_socket(secure.socket, server_side=True, do_handshake_on_connect=False)
    secure.server_bind()
    secure.server_activate()
    servers = [secure, Web(("::", 80), files), Web(("::", OPEN_PORT), files), Stream(("::", ECHO_PORT), Echo)]
    # One for each address: an answer of a socket that is bound to none may come from another.
    servers += [Datagram((address, UDP_PORT), Echo) for address in (f"::ffff:{WEB}", f"::ffff:{OTHER}", WEB6)]
    servers += [Stream(("::", 22), Echo)]
    for server in servers[1:]:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    silent = socket.create_server(("::", SILENT_PORT), family=socket.AF_INET6, dualstack_ipv6=True, backlog=2048)
    threading.Thread(target=stay_silent, args=(silent,), daemon=True).start()
    servers[0].serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
