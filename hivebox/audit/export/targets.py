"""Where records go. ``deliver`` returns when the target has taken the batch; until then the cursor stays.

file:PATH or -              appended and synced; lines
unix:PATH                   datagrams, as /dev/log takes them; taken when the kernel queued them
udp://HOST:PORT             datagrams; nobody tells whether they arrived
tcp://HOST:PORT             octet-counted (RFC 6587, section 3.4.1); taken when the peer has read to the end and closed
tls://HOST:PORT             the same in TLS (RFC 5425), the certificate verified; a close without close_notify counts,
                            so who sits on the way can make a batch be missed
http(s)://HOST/PATH         OTLP/HTTP; taken when the answer is 2xx
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hivebox.errors import HiveboxError
from hivebox.kernel.write import write_all

_TIMEOUT_S = 20
_LARGEST_DATAGRAM = 60_000
_LARGEST_ANSWER = 1 << 16


class Tls(NamedTuple):
    """``ca`` is a PEM file, "" for the system's; ``cert`` and ``key`` are this client's, if it needs one."""

    ca: str = ""
    cert: str = ""
    key: str = ""


Deliver = Callable[[Sequence[bytes]], None]


def target_of(text: str, tls: Tls) -> tuple[Deliver, bool]:
    """(deliver, whether it takes whole OTLP requests instead of lines). Raises HiveboxError."""
    if text == "-":
        return _to_stdout, False
    scheme, _, rest = text.partition(":")
    if scheme in ("http", "https"):
        return lambda batch: _post(text, batch, tls), True
    if scheme == "file" and rest:
        return lambda batch: _append(rest, batch), False
    if scheme == "unix" and rest:
        return lambda batch: _datagrams(socket.AF_UNIX, rest, batch), False
    host, port = _host_and_port(text)
    if scheme == "udp" and port:
        return lambda batch: _datagrams(*_udp_address(host, port), batch), False
    if scheme in ("tcp", "tls") and port:
        return lambda batch: _stream(host, port, batch, tls if scheme == "tls" else None), False
    raise HiveboxError(
        f"no such target: {text!r}", "", "file:PATH, unix:PATH, udp://H:P, tcp://H:P, tls://H:P, http(s)://H/v1/logs"
    )


def _host_and_port(text: str) -> tuple[str, int]:
    """("", 0) where it has none."""
    try:
        parts = urllib.parse.urlsplit(text)
        (parts.hostname or "").encode("idna")  # as getaddrinfo does: no name for it may raise later
        return (parts.hostname, parts.port) if parts.hostname and parts.port else ("", 0)
    except ValueError:
        return "", 0


def _udp_address(host: str, port: int) -> tuple[int, Any]:
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    return family, address


def _to_stdout(batch: Sequence[bytes]) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(b"".join(line + b"\n" for line in batch))
    sys.stdout.buffer.flush()


def _append(path: str, batch: Sequence[bytes]) -> None:
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(fd).st_size
        # A full disk or a crash left a part of a line: what comes again must not be glued to it.
        torn = size and os.pread(fd, 1, size - 1) != b"\n"
        write_all(fd, (b"\n" if torn else b"") + b"".join(line + b"\n" for line in batch))
        os.fsync(fd)
    finally:
        os.close(fd)


def _datagrams(family: int, address: str | tuple[object, ...], batch: Sequence[bytes]) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.settimeout(_TIMEOUT_S)
        for line in batch:
            sender.sendto(line[:_LARGEST_DATAGRAM], address)


def _stream(host: str, port: int, batch: Sequence[bytes], tls: Tls | None) -> None:
    """A connection a batch. Closing our half and waiting for the peer to close its own tells that it has read all of
    it: syslog has no acknowledgement, and bytes that only this kernel took are lost when the peer dies."""
    with socket.create_connection((host, port), _TIMEOUT_S) as plain:
        stream = _context(tls).wrap_socket(plain, server_hostname=host) if tls else plain
        stream.sendall(b"".join(b"%d %b" % (len(line), line) for line in batch))
        if isinstance(stream, ssl.SSLSocket):
            try:
                stream = stream.unwrap()  # close_notify, and waits for the peer's
            except ssl.SSLEOFError:
                return  # as rsyslog on Debian 13 closes; had it not read everything, it would be a reset
        stream.shutdown(socket.SHUT_WR)
        while stream.recv(4096):
            pass


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca or None)
    if tls.cert:
        context.load_cert_chain(tls.cert, tls.key or None)
    return context


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A POST that is sent elsewhere becomes a GET without the records, and whoever answers that has not taken them."""

    def redirect_request(self, *_: object) -> None:
        """None leaves the answer as it is: an error."""
        return


def _post(url: str, batch: Sequence[bytes], tls: Tls) -> None:
    https = urllib.request.HTTPSHandler(context=_context(tls) if url.startswith("https:") else None)
    opener = urllib.request.build_opener(_NoRedirect, https)
    for body in batch:
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310  # http(s)
        try:
            with opener.open(request, timeout=_TIMEOUT_S) as answer:
                said = answer.read(_LARGEST_ANSWER)
                if answer.length and len(said) < _LARGEST_ANSWER:
                    raise ConnectionError("the answer was cut off")
                _check(said)
        except urllib.error.HTTPError as error:
            raise ConnectionError(f"HTTP {error.code} {error.read(200)!r}") from error
        except http.client.HTTPException as error:
            raise ConnectionError(f"not an answer in HTTP: {error!r}") from error


def _check(answer: bytes) -> None:
    """A partial success is a refusal of some (OTLP specification, "Partial Success")."""
    try:
        rejected = int(json.loads(answer or b"{}").get("partialSuccess", {}).get("rejectedLogRecords", 0))
    except (ValueError, AttributeError, TypeError):
        return
    if rejected:
        raise ConnectionError(f"{rejected} records were rejected: {answer[:200]!r}")
