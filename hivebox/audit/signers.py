"""Signers whose private key is elsewhere. ``keys/signer.json`` names one: its ``kind``, its public key, and where it
is.

A signer is a function from a message to 64 bytes (``keys.Signer``). Another kind is one function here and one line in
``_KINDS``.
"""

from __future__ import annotations

import base64
import os
import socket
import struct
from collections.abc import Callable, Mapping
from typing import Any

from hivebox.errors import HiveboxError

_ED25519 = b"ssh-ed25519"
_IDENTITIES, _IDENTITIES_ANSWER, _SIGN, _SIGN_ANSWER = 11, 12, 13, 14
_TIMEOUT_S = 10
_LARGEST_ANSWER = 1 << 20
Sign = Callable[[bytes], bytes]


def signer_of(config: Mapping[str, Any], public: bytes) -> Sign:
    """Raises HiveboxError for a kind that is not known."""
    make = _KINDS.get(config.get("kind", ""))
    if make is None:
        raise HiveboxError(
            "cannot use the signer", f"unknown kind {config.get('kind')!r}", "one of " + ", ".join(_KINDS)
        )
    return make(config, public)


def from_argument(text: str) -> tuple[dict[str, Any], bytes]:
    """``ssh-agent:PUBLIC_KEY_FILE`` or ``pkcs11:MODULE,TOKEN,LABEL,PIN_FILE`` -> (config, public key). Raises
    HiveboxError."""
    kind, _, rest = text.partition(":")
    if kind == "ssh-agent":
        path = os.environ.get("SSH_AUTH_SOCK", "")
        public = _ssh_public(rest)
        if not path or _ssh_blob(public) not in _identities(path):
            raise HiveboxError(
                "cannot use the ssh-agent", f"{path or 'no SSH_AUTH_SOCK'}: it does not have {rest}", "ssh-add it"
            )
        return {"kind": kind, "socket": path}, public
    if kind == "pkcs11" and rest.count(",") == 3:
        from hivebox.kernel import pkcs11  # noqa: PLC0415

        module, token, label, pin_file = rest.split(",")
        config = {"kind": kind, "module": module, "token": token, "label": label, "pin_file": pin_file}
        return config, pkcs11.public_key(module, token, label, _pin(pin_file))
    raise HiveboxError(f"no such signer: {text!r}", "", "ssh-agent:KEY.pub or pkcs11:MODULE,TOKEN,LABEL,PIN_FILE")


def _ssh_agent(config: Mapping[str, Any], public: bytes) -> Sign:
    def sign(message: bytes) -> bytes:
        body = bytes([_SIGN]) + _string(_ssh_blob(public)) + _string(message) + struct.pack(">I", 0)
        signature = _take(_take(_ask(config["socket"], body, _SIGN_ANSWER))[0])
        raw = _take(signature[1])[0]
        if signature[0] != _ED25519 or len(raw) != 64:
            raise HiveboxError("cannot sign with the ssh-agent", "its answer is not an Ed25519 signature")
        return raw

    return sign


def _pkcs11(config: Mapping[str, Any], _public: bytes) -> Sign:
    from hivebox.kernel import pkcs11  # noqa: PLC0415  # only for who has a token

    def sign(message: bytes) -> bytes:
        return pkcs11.sign(config["module"], config["token"], config["label"], _pin(config["pin_file"]), message)

    return sign


def _pin(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except OSError as error:
        raise HiveboxError(
            "cannot read the token's PIN", f"{path}: {error.strerror}", "a file that only you can read"
        ) from error


def _identities(path: str) -> list[bytes]:
    data = _ask(path, bytes([_IDENTITIES]), _IDENTITIES_ANSWER)
    (count,), data, blobs = struct.unpack(">I", data[:4]), data[4:], []
    for _ in range(count):
        blob, data = _take(data)
        _, data = _take(data)
        blobs.append(blob)
    return blobs


def _ask(path: str, body: bytes, wanted: int) -> bytes:
    """One request to the agent (https://datatracker.ietf.org/doc/html/draft-ietf-sshm-ssh-agent); its answer's body."""
    try:
        with socket.socket(socket.AF_UNIX) as agent:
            agent.settimeout(_TIMEOUT_S)
            agent.connect(path)
            agent.sendall(_string(body))
            answer = _receive(agent, struct.unpack(">I", _receive(agent, 4))[0])
    except OSError as error:
        raise HiveboxError("cannot reach the ssh-agent", f"{path}: {error}", "is it running? ssh-add -l") from error
    if answer[:1] != bytes([wanted]):
        raise HiveboxError(
            "the ssh-agent refused", f"{path}: answer {answer[:1].hex() or 'empty'}", "has it the key? ssh-add -l"
        )
    return answer[1:]


def _receive(agent: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < min(size, _LARGEST_ANSWER):
        block = agent.recv(size - len(data))
        if not block:
            raise ConnectionError("closed in the middle of an answer")
        data += block
    return data


def _ssh_public(path: str) -> bytes:
    try:
        with open(path, encoding="utf-8") as file:
            blob = base64.b64decode(file.read(4096).split()[1], validate=True)
        kind, rest = _take(blob)
        public = _take(rest)[0]
        if kind != _ED25519 or len(public) != 32:
            raise ValueError("not an Ed25519 key")
        return public
    except (OSError, ValueError, IndexError, struct.error) as error:
        raise HiveboxError("cannot read the ssh key", f"{path}: {error}", "ssh-keygen -t ed25519") from error


def _ssh_blob(public: bytes) -> bytes:
    return _string(_ED25519) + _string(public)


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _take(data: bytes) -> tuple[bytes, bytes]:
    (size,) = struct.unpack(">I", data[:4])
    return data[4 : 4 + size], data[4 + size :]


_KINDS: dict[str, Callable[[Mapping[str, Any], bytes], Sign]] = {"ssh-agent": _ssh_agent, "pkcs11": _pkcs11}
