"""write(2) in full."""

from __future__ import annotations

import os


def write_all(fd: int, data: bytes) -> None:
    """One write(2) in the ordinary case. A short one, as on a full disk, goes on, so that what stopped it is raised
    (OSError)."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
