"""The signing key: made once, refused when it is not the caller's alone."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from hivebox.audit import keys
from hivebox.errors import HiveboxError

SPAWN = multiprocessing.get_context("spawn")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "state"


def test_the_first_use_makes_the_key_and_later_ones_find_it(state: Path) -> None:
    first = keys.load_signer(str(state))
    assert keys.load_signer(str(state)).keyid == first.keyid
    assert sorted(path.name for path in (state / "keys").iterdir()) == ["signing.pem", "signing.pub.pem"]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_modes_do_not_depend_on_the_umask(tmp_path: Path, umask: int) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "keys").mkdir(mode=0o700)
    before = os.umask(umask)
    try:
        keys.load_signer(str(state))
    finally:
        os.umask(before)
    assert (mode(state / "keys/signing.pem"), mode(state / "keys/signing.pub.pem")) == (0o600, 0o644)


def test_the_directories_are_private_from_the_start(state: Path) -> None:
    before = os.umask(0)
    try:
        keys.load_signer(str(state))
    finally:
        os.umask(before)
    assert (mode(state), mode(state / "keys")) == (0o700, 0o700)


def test_other_tools_read_our_files_and_name_the_key_the_same(state: Path) -> None:
    signer = keys.load_signer(str(state))
    private = load_pem_private_key((state / "keys/signing.pem").read_bytes(), None)
    public = load_pem_public_key((state / "keys/signing.pub.pem").read_bytes())
    assert isinstance(private, Ed25519PrivateKey)
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert private.public_key() == public
    assert hashlib.sha256(der).hexdigest() == signer.keyid
    assert private.sign(b"x") == signer.sign(b"x")
    command = ["openssl", "pkey", "-in", str(state / "keys/signing.pem"), "-pubout"]
    printed = subprocess.run(command, capture_output=True, check=True).stdout
    assert printed == (state / "keys/signing.pub.pem").read_bytes() == keys.public_to_pem(signer.public)


def test_keys_of_other_tools_are_read(state: Path) -> None:
    keys.load_signer(str(state))
    path = state / "keys/signing.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(path)], check=True, capture_output=True)
    from_openssl = keys.load_signer(str(state))
    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert keys.load_signer(str(state)).public == key.public_key().public_bytes_raw() != from_openssl.public


def load_in_another_process(state: str, barrier: object) -> str:
    barrier.wait()  # type: ignore[attr-defined]
    return keys.load_signer(state).keyid


def test_first_runs_at_once_end_with_one_key(tmp_path: Path) -> None:
    with SPAWN.Manager() as manager, SPAWN.Pool(6) as pool:
        for attempt in range(5):
            barrier = manager.Barrier(6)
            state = str(tmp_path / str(attempt) / "state")
            keyids = pool.starmap(load_in_another_process, [(state, barrier)] * 6, chunksize=1)
            assert len(set(keyids)) == 1
            assert sorted(os.listdir(f"{state}/keys")) == ["signing.pem", "signing.pub.pem"]


def test_the_public_half_comes_back_after_a_crash_between_the_two(state: Path) -> None:
    signer = keys.load_signer(str(state))
    (state / "keys/signing.pub.pem").unlink()
    keys.load_signer(str(state))
    assert keys.public_from_pem((state / "keys/signing.pub.pem").read_bytes()) == signer.public


def readable_by_group(state: Path) -> None:
    (state / "keys/signing.pem").chmod(0o640)


def writable_by_others(state: Path) -> None:
    (state / "keys/signing.pem").chmod(0o602)


def open_keys_directory(state: Path) -> None:
    (state / "keys").chmod(0o770)


def open_state_directory(state: Path) -> None:
    state.chmod(0o777)


def linked_key(state: Path) -> None:
    (state / "keys/signing.pem").rename(state / "elsewhere.pem")
    (state / "keys/signing.pem").symlink_to(state / "elsewhere.pem")


def linked_directory(state: Path) -> None:
    (state / "keys").rename(state / "elsewhere")
    (state / "keys").symlink_to(state / "elsewhere")


def fifo(state: Path) -> None:
    (state / "keys/signing.pem").unlink()
    os.mkfifo(state / "keys/signing.pem", 0o600)


def directory(state: Path) -> None:
    (state / "keys/signing.pem").unlink()
    (state / "keys/signing.pem").mkdir(mode=0o700)


def empty(state: Path) -> None:
    (state / "keys/signing.pem").write_bytes(b"")


def public_in_its_place(state: Path) -> None:
    (state / "keys/signing.pem").write_bytes((state / "keys/signing.pub.pem").read_bytes())


def rsa(state: Path) -> None:
    out = str(state / "keys/signing.pem")
    subprocess.run(["openssl", "genrsa", "-out", out, "1024"], check=True, capture_output=True)


def with_passphrase(state: Path) -> None:
    path = state / "keys/signing.pem"
    locked = ["openssl", "pkey", "-in", str(path), "-aes256", "-passout", "pass:x"]
    path.write_bytes(subprocess.run(locked, check=True, capture_output=True).stdout)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (readable_by_group, "mode 0640"),
        (writable_by_others, "mode 0602"),
        (open_keys_directory, "mode 0770"),
        (open_state_directory, "mode 0777"),
        (linked_key, "symbolic link"),
        (linked_directory, "ENOTDIR"),
        (fifo, "not a regular file"),
        (directory, "not a regular file"),
        (empty, "not a PEM file"),
        (public_in_its_place, "not a PEM file"),
        (rsa, "not a plain Ed25519 key"),
        (with_passphrase, "not a PEM file"),
    ],
)
def test_a_key_is_refused_that_is(state: Path, spoil: Callable[[Path], None], why: str) -> None:
    keys.load_signer(str(state))
    spoil(state)
    with pytest.raises(HiveboxError, match=why):
        keys.load_signer(str(state))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
@pytest.mark.parametrize("name", ["", "keys", "keys/signing.pem"])
def test_what_belongs_to_another_user_is_refused(state: Path, name: str) -> None:
    keys.load_signer(str(state))
    os.chown(state / name, 65534, 65534)
    with pytest.raises(HiveboxError, match="owned by uid 65534"):
        keys.load_signer(str(state))


@pytest.mark.parametrize(
    "pem", [b"", b"\xff", b"-----BEGIN PUBLIC KEY-----", b"-----BEGIN PUBLIC KEY-----\n%\n-----END PUBLIC KEY-----"]
)
def test_a_broken_public_key_is_a_value_error(pem: bytes) -> None:
    with pytest.raises(ValueError):
        keys.public_from_pem(pem)


def test_loading_the_signer_takes_no_pem_loader() -> None:
    """cryptography.hazmat.primitives.serialization alone costs twice as much as all that signing needs."""
    code = "import hivebox.audit.ledger, sys; a = any(n.startswith('cryptography') for n in sys.modules)\n"
    code += "from hivebox.audit.keys import signer_from_seed; signer_from_seed(bytes(32))\n"
    code += "print(a, 'cryptography.hazmat.primitives.serialization' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["False", "False"]
