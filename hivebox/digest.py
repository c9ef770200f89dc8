"""SHA-256 by the interpreter's own code.

``import hashlib`` loads OpenSSL, which costs 2 to 4 ms and gives init more memory to copy. For files of megabytes it is
several times faster and worth that (supervise/collect.py).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import sha256
else:
    try:
        from _sha2 import sha256  # Python 3.12 and later
    except ImportError:
        try:
            from _sha256 import sha256
        except ImportError:  # an interpreter built without them
            from hashlib import sha256

__all__ = ["sha256"]
