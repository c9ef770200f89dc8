"""Ed25519 by the OpenSSL library that the interpreter's own hashlib uses.

``import cryptography`` costs 8 to 12 ms, a quarter of a cold start; this costs two. Where there is no
libcrypto.so.3 the caller falls back (audit/keys.py). Source: EVP_PKEY_new_raw_private_key(3), EVP_DigestSign(3).
"""

from __future__ import annotations

from hivebox.kernel.foreign import Char, Int, Long, Pointer, call, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_EVP_PKEY_ED25519 = 1087
_PUBLIC_BYTES, _SIGNATURE_BYTES = 32, 64


def ed25519(seed: bytes) -> tuple[bytes, Callable[[bytes], bytes]] | None:
    """(public key, sign) of a 32-byte seed, or None where OpenSSL 3 cannot be loaded. ``sign`` raises OSError."""
    try:
        library = load("libcrypto.so.3")
        key = Pointer(call(library, "EVP_PKEY_new_raw_private_key", Pointer, _EVP_PKEY_ED25519, None, seed, len(seed)))
        public = (Char * _PUBLIC_BYTES)()
        if not key or call(library, "EVP_PKEY_get_raw_public_key", Int, key, public, Long(_PUBLIC_BYTES)) != 1:
            return None  # a library without Ed25519, as in FIPS mode
    except OSError:
        return None
    return bytes(public), lambda message: _sign(library, key, message)


def _sign(library: int, key: Pointer, message: bytes) -> bytes:
    signature = (Char * _SIGNATURE_BYTES)()
    context = Pointer(call(library, "EVP_MD_CTX_new", Pointer))
    size = Long(_SIGNATURE_BYTES)
    try:
        if call(library, "EVP_DigestSignInit", Int, context, None, None, None, key) != 1 or (
            call(library, "EVP_DigestSign", Int, context, signature, size, message, len(message)) != 1
        ):
            raise OSError(5, "OpenSSL could not sign", "EVP_DigestSign")
    finally:
        call(library, "EVP_MD_CTX_free", Int, context)
    return bytes(signature)
