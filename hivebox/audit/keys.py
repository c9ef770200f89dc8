"""The signing key: one Ed25519 key pair in ``<state>/keys``, made on first use, or a signer elsewhere
(audit/signers.py).

PKCS#8 and SubjectPublicKeyInfo of Ed25519 are a fixed prefix and 32 bytes (RFC 8410, sections 4 and 7), so the PEM
files are read and written here: cryptography's own PEM loader costs 15 ms more than the ``from_private_bytes`` used
instead, and the signer is on the ``hivebox run`` path. Openssl and cryptography read the same files.
"""

from __future__ import annotations

import binascii
import errno
import os

from hivebox import plainjson
from hivebox.audit.custody import OTHERS_ANY, check_private, check_regular, open_private_dir, path_in, write_new
from hivebox.digest import sha256
from hivebox.errors import HiveboxError, from_os_error
from hivebox.frozen import Frozen
from hivebox.kernel import libcrypto

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

PRIVATE_NAME = "signing.pem"
PUBLIC_NAME = "signing.pub.pem"
EXTERNAL_NAME = "signer.json"
_NEXT = "next-"
_PKCS8_PREFIX = bytes.fromhex("302e020100300506032b657004220420")
_SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")
_KEY_BYTES = 32
_LARGEST_FILE = 4096


class Signer(Frozen):
    """``keyid`` names ``public`` (32 bytes); ``sign`` gives 64 bytes for any message. The private key may live
    elsewhere: nothing but ``sign`` knows."""

    keyid: str
    public: bytes
    sign: Callable[[bytes], bytes]


def keyid_of(public: bytes) -> str:
    """SHA-256, in hex, of the key's DER SubjectPublicKeyInfo: ``openssl pkey -pubin -outform DER | sha256sum``."""
    return sha256(_SPKI_PREFIX + public).hexdigest()


def public_to_pem(public: bytes) -> bytes:
    """32 bytes -> a SubjectPublicKeyInfo PEM file."""
    return _to_pem("PUBLIC KEY", _SPKI_PREFIX + public)


def public_from_pem(pem: bytes) -> bytes:
    """A SubjectPublicKeyInfo PEM file -> 32 bytes. Raises ValueError."""
    return _from_pem("PUBLIC KEY", _SPKI_PREFIX, pem)


def signer_from_seed(seed: bytes) -> Signer:
    """``seed`` is the 32-byte private key of RFC 8032, section 5.1.5. Signs with the OpenSSL that hashlib has loaded,
    else with cryptography."""
    loaded = libcrypto.ed25519(seed)
    if loaded:
        public, sign = loaded
        return Signer(keyid_of(public), public, sign)
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    key = Ed25519PrivateKey.from_private_bytes(seed)
    public = key.public_key().public_bytes_raw()
    return Signer(keyid_of(public), public, key.sign)


def load_signer(state_dir: str) -> Signer:
    """The key of this state directory, made if there is none. Any number of first runs at once end with one key."""
    dir_fd = open_private_dir(state_dir, "keys")
    path = os.path.join(state_dir, "keys", PRIVATE_NAME)
    try:
        signer = _elsewhere(dir_fd, EXTERNAL_NAME)
        if signer is None:
            seed = _read_seed(dir_fd, path)
            if seed is None:
                _create(dir_fd, PRIVATE_NAME)
                seed = _read_seed(dir_fd, path)
            if seed is None:
                raise HiveboxError("cannot keep the signing key", f"{path}: removed while it was being made")
            signer = signer_from_seed(seed)
        _publish(dir_fd, signer.public)
        return signer
    except OSError as error:
        raise from_os_error(f"cannot use the signing key {path}", error) from error
    finally:
        os.close(dir_fd)


def prepare_next(state_dir: str, external: tuple[Mapping[str, Any], bytes] | None) -> Signer:
    """The key to rotate to, not in use yet: a new one in a file, or ``external`` (config, public key). A next key that
    an earlier rotation left unfinished is replaced."""
    dir_fd = open_private_dir(state_dir, "keys")
    try:
        for name in (_NEXT + PRIVATE_NAME, _NEXT + EXTERNAL_NAME):
            _unlink(dir_fd, name)
        if external is None:
            _create(dir_fd, _NEXT + PRIVATE_NAME)
        else:
            config = {**external[0], "public": binascii.b2a_base64(external[1], newline=False).decode()}
            write_new(dir_fd, _NEXT + EXTERNAL_NAME, plainjson.dumps(config).encode() + b"\n", 0o600)
        os.fsync(dir_fd)
        signer = _next(dir_fd)
        if signer is None:
            raise HiveboxError("cannot rotate the signing key", "the next key vanished")
        return signer
    finally:
        os.close(dir_fd)


def take_over(state_dir: str, keyid: str) -> Signer:
    """The signer that the ledger was handed over to. Finishes a rotation that was stopped between its record and the
    change of files; does nothing when that is done. Raises HiveboxError when the key is not here."""
    dir_fd = open_private_dir(state_dir, "keys")
    try:
        following = _next(dir_fd)
        if following and following.keyid == keyid:
            _retire(dir_fd)
            for name, stale in ((PRIVATE_NAME, EXTERNAL_NAME), (EXTERNAL_NAME, PRIVATE_NAME)):
                try:
                    os.rename(_NEXT + name, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
                except FileNotFoundError:
                    continue
                _unlink(dir_fd, stale)
            os.fsync(dir_fd)
    finally:
        os.close(dir_fd)
    signer = load_signer(state_dir)
    if signer.keyid != keyid:
        why = f"the ledger was handed over to key {keyid}, and the key here is {signer.keyid}"
        raise HiveboxError(
            "cannot sign for this ledger", why, "bring the key back, or move audit/ away to begin a new ledger"
        )
    return signer


def mark_revoked(state_dir: str, keyid: str) -> None:
    """Its public half stays, for the records before; what is verified only from here on no longer trusts it."""
    directory = os.path.join(state_dir, "keys")
    for name in os.listdir(directory):
        if (
            name.endswith(".pub.pem")
            and name != PUBLIC_NAME
            and keyid_of(read_public(os.path.join(directory, name))) == keyid
        ):
            os.rename(os.path.join(directory, name), os.path.join(directory, f"revoked-{keyid[:16]}.pub.pem"))


def _next(dir_fd: int) -> Signer | None:
    signer = _elsewhere(dir_fd, _NEXT + EXTERNAL_NAME)
    if signer:
        return signer
    seed = _read_seed(dir_fd, "keys/" + _NEXT + PRIVATE_NAME, _NEXT + PRIVATE_NAME)
    return signer_from_seed(seed) if seed else None


def _retire(dir_fd: int) -> None:
    """The old public half under its own name, for the records that it signed."""
    try:
        fd = os.open(PUBLIC_NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=dir_fd)
    except FileNotFoundError:
        return
    try:
        keyid = keyid_of(public_from_pem(os.read(fd, _LARGEST_FILE)))
    finally:
        os.close(fd)
    os.rename(PUBLIC_NAME, f"retired-{keyid[:16]}.pub.pem", src_dir_fd=dir_fd, dst_dir_fd=dir_fd)


def _unlink(dir_fd: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        pass
    except OSError as error:
        error.filename = path_in(dir_fd, name)
        raise


def _elsewhere(dir_fd: int, name: str) -> Signer | None:
    """The signer that a file of this name describes."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
    except FileNotFoundError:
        return None
    try:
        check_regular(fd, name)
        check_private(fd, name, OTHERS_ANY)
        config = plainjson.loads(os.read(fd, _LARGEST_FILE))
        public = binascii.a2b_base64(config["public"], strict_mode=True)
    except (ValueError, KeyError, TypeError) as error:
        raise HiveboxError(
            "cannot use the signer", f"keys/{name}: {error!r}", "see docs/admin.md#the-signing-key"
        ) from error
    finally:
        os.close(fd)
    from hivebox.audit import signers  # noqa: PLC0415  # only for who keeps the key elsewhere

    return Signer(keyid_of(public), public, signers.signer_of(config, public))


def public_keys(state_dir: str, *, revoked: bool = True) -> dict[str, bytes]:
    """keyid -> key: this state directory's own, past and present, without the revoked ones if asked. Raises
    HiveboxError."""
    directory = os.path.join(state_dir, "keys")
    found = {}
    for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else ():
        if (
            name.endswith(".pub.pem")
            and not name.startswith((".", _NEXT))
            and (revoked or not name.startswith("revoked-"))
        ):
            public = read_public(os.path.join(directory, name))
            found[keyid_of(public)] = public
    return found


def read_public(path: str) -> bytes:
    """A PEM file -> 32 bytes. Raises HiveboxError."""
    try:
        with open(path, "rb") as file:
            return public_from_pem(file.read(_LARGEST_FILE))
    except OSError as error:
        raise from_os_error("cannot read the public key", error, "give one with --key PUB.pem") from error
    except ValueError as error:
        hint = "export it with hivebox audit key --public"
        raise HiveboxError("cannot read the public key", f"{path}: {error}", hint) from error


def _read_seed(dir_fd: int, path: str, name: str = PRIVATE_NAME) -> bytes | None:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # O_NONBLOCK: a FIFO must not hang the run
    try:
        fd = os.open(name, flags, dir_fd=dir_fd)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise HiveboxError(
            "refusing a signing key that is a symbolic link", path, "put the key file itself there"
        ) from error
    try:
        check_regular(fd, path)
        check_private(fd, path, OTHERS_ANY)  # whoever read the key can write records in this user's name
        return _from_pem("PRIVATE KEY", _PKCS8_PREFIX, os.read(fd, _LARGEST_FILE))
    except ValueError as error:
        hint = f"an Ed25519 key without a passphrase: openssl genpkey -algorithm ed25519 -out {path}"
        raise HiveboxError("cannot read the signing key", f"{path}: {error}", hint) from error
    finally:
        os.close(fd)


def _create(dir_fd: int, name: str) -> None:
    """link(2) never replaces: of two first runs one wins, and the other finds the winner's key."""
    temporary = f".new-{os.getpid()}-{os.urandom(8).hex()}"
    write_new(dir_fd, temporary, _to_pem("PRIVATE KEY", _PKCS8_PREFIX + os.urandom(_KEY_BYTES)), 0o600)
    try:
        os.link(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd, follow_symlinks=False)
    except FileExistsError:
        pass
    finally:
        os.unlink(temporary, dir_fd=dir_fd)
    os.fsync(dir_fd)  # a record signed with a key that a power loss takes away could never be verified


def _publish(dir_fd: int, public: bytes) -> None:
    """The public half beside the private one, also after a crash between the two."""
    try:
        os.stat(PUBLIC_NAME, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        temporary = f".new-{os.getpid()}-{os.urandom(8).hex()}"
        write_new(dir_fd, temporary, public_to_pem(public), 0o644)
        os.rename(temporary, PUBLIC_NAME, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        os.fsync(dir_fd)


def _to_pem(label: str, der: bytes) -> bytes:
    body = binascii.b2a_base64(der).decode()  # 48 bytes at most: one line
    return f"-----BEGIN {label}-----\n{body}-----END {label}-----\n".encode()


def _from_pem(label: str, prefix: bytes, pem: bytes) -> bytes:
    lines = pem.decode("ascii").split()
    begin, end = f"-----BEGIN {label}-----".split(), f"-----END {label}-----".split()
    if lines[: len(begin)] != begin or lines[-len(end) :] != end:
        raise ValueError(f"not a PEM file of one {label}")
    der = binascii.a2b_base64("".join(lines[len(begin) : -len(end)]), strict_mode=True)
    if len(der) != len(prefix) + _KEY_BYTES or not der.startswith(prefix):
        raise ValueError("not a plain Ed25519 key (RFC 8410)")
    return der[len(prefix) :]
