"""Ed25519 by the OpenSSL library that the interpreter's own hashlib has loaded already.

``import cryptography`` costs 8 to 12 ms, a sixth of a cold start; this costs less than one. Where there is no
libcrypto.so.3 the caller falls back (audit/keys.py). Source: EVP_PKEY_new_raw_private_key(3), EVP_DigestSign(3).
"""

from __future__ import annotations

import ctypes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_EVP_PKEY_ED25519 = 1087
_PUBLIC_BYTES, _SIGNATURE_BYTES = 32, 64
_Pointer = ctypes.c_void_p
_Size = ctypes.c_size_t
_PROTOTYPES = {
    "EVP_PKEY_new_raw_private_key": (_Pointer, [ctypes.c_int, _Pointer, ctypes.c_char_p, _Size]),
    "EVP_PKEY_get_raw_public_key": (ctypes.c_int, [_Pointer, ctypes.c_char_p, ctypes.POINTER(_Size)]),
    "EVP_MD_CTX_new": (_Pointer, []),
    "EVP_MD_CTX_free": (None, [_Pointer]),
    "EVP_DigestSignInit": (ctypes.c_int, [_Pointer] * 5),
    "EVP_DigestSign": (ctypes.c_int, [_Pointer, ctypes.c_char_p, ctypes.POINTER(_Size), ctypes.c_char_p, _Size]),
}


def ed25519(seed: bytes) -> tuple[bytes, Callable[[bytes], bytes]] | None:
    """(public key, sign) of a 32-byte seed, or None where OpenSSL 3 cannot be loaded. ``sign`` raises OSError."""
    try:
        library = ctypes.CDLL("libcrypto.so.3")
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError):
        return None
    key = library.EVP_PKEY_new_raw_private_key(_EVP_PKEY_ED25519, None, seed, len(seed))
    public = ctypes.create_string_buffer(_PUBLIC_BYTES)
    if not key or library.EVP_PKEY_get_raw_public_key(key, public, ctypes.byref(_Size(_PUBLIC_BYTES))) != 1:
        return None  # a library without Ed25519, as in FIPS mode

    def sign(message: bytes) -> bytes:
        signature = ctypes.create_string_buffer(_SIGNATURE_BYTES)
        context = library.EVP_MD_CTX_new()
        try:
            size = ctypes.byref(_Size(_SIGNATURE_BYTES))
            if library.EVP_DigestSignInit(context, None, None, None, key) != 1 or (
                library.EVP_DigestSign(context, signature, size, message, len(message)) != 1
            ):
                raise OSError(5, "OpenSSL could not sign", "EVP_DigestSign")
        finally:
            library.EVP_MD_CTX_free(context)
        return signature.raw

    return public.raw, sign
