"""Ed25519 with a key that does not leave its token: the few calls of PKCS #11 that this takes.

Source: OASIS PKCS #11 Base Specification 2.40 and 3.0 (CKM_EDDSA), https://docs.oasis-open.org/pkcs11/pkcs11-base/v3.0/.
The numbers are indices into CK_FUNCTION_LIST, whose order the standard fixes.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from typing import Any

from hivebox.errors import HiveboxError

_INITIALIZE, _GET_SLOT_LIST, _GET_TOKEN_INFO = 0, 4, 6
_OPEN_SESSION, _CLOSE_SESSION, _LOGIN = 12, 13, 18
_GET_ATTRIBUTE, _FIND_INIT, _FIND, _FIND_FINAL, _SIGN_INIT, _SIGN = 24, 26, 27, 28, 42, 43
_CKF_SERIAL, _CKU_USER = 4, 1
_CKA_CLASS, _CKA_LABEL, _CKA_EC_POINT = 0, 3, 0x181
_CKO_PUBLIC, _CKO_PRIVATE = 2, 3
_CKM_EDDSA = 0x1057
_ALREADY_INITIALIZED, _ALREADY_LOGGED_IN = 0x191, 0x100
_Long = ctypes.c_ulong


class _FunctionList(ctypes.Structure):
    _fields_ = [("version", ctypes.c_ubyte * 2), ("calls", ctypes.c_void_p * 68)]


class _Attribute(ctypes.Structure):
    _fields_ = [("type", _Long), ("value", ctypes.c_void_p), ("length", _Long)]


class _Mechanism(ctypes.Structure):
    _fields_ = [("mechanism", _Long), ("parameter", ctypes.c_void_p), ("length", _Long)]


def public_key(module: str, token: str, label: str, pin: str) -> bytes:
    """The 32 bytes of the Ed25519 public key with this label. Raises HiveboxError."""
    with _session(module, token, pin) as (library, session):
        key = _find(library, session, _CKO_PUBLIC, label)
        point = ctypes.create_string_buffer(64)
        wanted = _Attribute(_CKA_EC_POINT, ctypes.cast(point, ctypes.c_void_p), 64)
        library.call(_GET_ATTRIBUTE, session, key, ctypes.byref(wanted), _Long(1))
        raw = point.raw[: wanted.length]
        if len(raw) not in (32, 34):  # bare, or as a DER OCTET STRING
            raise HiveboxError(
                "cannot use the token", f"{label!r} is not an Ed25519 key", "make it with --key-type EC:edwards25519"
            )
        return raw[-32:]


def sign(module: str, token: str, label: str, pin: str, message: bytes) -> bytes:
    """64 bytes. Raises HiveboxError."""
    with _session(module, token, pin) as (library, session):
        key = _find(library, session, _CKO_PRIVATE, label)
        mechanism = _Mechanism(_CKM_EDDSA, None, 0)
        library.call(_SIGN_INIT, session, ctypes.byref(mechanism), key)
        signature, size = ctypes.create_string_buffer(64), _Long(64)
        library.call(_SIGN, session, message, _Long(len(message)), signature, ctypes.byref(size))
        return signature.raw[: size.value]


class _Library:
    def __init__(self, module: str) -> None:
        try:
            library = ctypes.CDLL(module)
            functions = ctypes.POINTER(_FunctionList)()
            library.C_GetFunctionList(ctypes.byref(functions))
        except (OSError, AttributeError) as error:
            raise HiveboxError("cannot load the PKCS #11 module", f"{module}: {error}", "name its .so file") from error
        self._calls = functions.contents.calls
        self.call(_INITIALIZE, None, allowed=_ALREADY_INITIALIZED)

    def call(self, index: int, *arguments: Any, allowed: int = 0) -> None:
        function = ctypes.CFUNCTYPE(_Long)(self._calls[index])
        function.argtypes = None  # type: ignore[assignment]  # as given: each is a ctypes value, bytes or None
        if (code := function(*arguments)) not in (0, allowed):
            raise HiveboxError(
                "the token refused", f"PKCS #11 call {index}: error {code:#x}", "see CKR_ in the standard"
            )


@contextlib.contextmanager
def _session(module: str, token: str, pin: str) -> Iterator[tuple[_Library, _Long]]:
    library = _Library(module)
    session = _Long()
    library.call(_OPEN_SESSION, _slot(library, token), _Long(_CKF_SERIAL), None, None, ctypes.byref(session))
    try:
        library.call(
            _LOGIN, session, _Long(_CKU_USER), pin.encode(), _Long(len(pin.encode())), allowed=_ALREADY_LOGGED_IN
        )
        yield library, session
    finally:
        library.call(_CLOSE_SESSION, session)


def _slot(library: _Library, token: str) -> _Long:
    count = _Long(64)
    slots = (_Long * 64)()
    library.call(_GET_SLOT_LIST, ctypes.c_ubyte(1), slots, ctypes.byref(count))
    for slot in slots[: count.value]:
        info = ctypes.create_string_buffer(512)
        library.call(_GET_TOKEN_INFO, _Long(slot), info)
        if info.raw[:32].decode(errors="replace").strip() == token:
            return _Long(slot)
    raise HiveboxError(
        "cannot find the token", f"{token!r} is in no slot", "see softhsm2-util --show-slots or pkcs11-tool -L"
    )


def _find(library: _Library, session: _Long, kind: int, label: str) -> _Long:
    name, wanted = ctypes.create_string_buffer(label.encode(), len(label.encode())), _Long(kind)
    template = (_Attribute * 2)(
        _Attribute(_CKA_CLASS, ctypes.cast(ctypes.pointer(wanted), ctypes.c_void_p), ctypes.sizeof(wanted)),
        _Attribute(_CKA_LABEL, ctypes.cast(name, ctypes.c_void_p), len(name)),
    )
    found, count = _Long(), _Long()
    library.call(_FIND_INIT, session, template, _Long(2))
    library.call(_FIND, session, ctypes.byref(found), _Long(1), ctypes.byref(count))
    library.call(_FIND_FINAL, session)
    if not count.value:
        raise HiveboxError("cannot find the key", f"no key with the label {label!r} on the token", "see pkcs11-tool -O")
    return found
