"""The files that a policy came from, and those whose absence it relied on. Light: on the ``hivebox run`` path."""

from __future__ import annotations

import errno
import os
import stat

from hivebox.digest import sha256
from hivebox.errors import ProfileError, errno_text, from_os_error
from hivebox.frozen import Frozen
from hivebox.locations import check_config_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LARGEST_FILE = 64 << 10
_ABSENT = {errno.ENOENT, errno.ENOTDIR}


class Source(Frozen):
    """``sha256`` is of the content, in hexadecimal; "" means that there was no such file."""

    path: str
    sha256: str


def read(path: str, check: Callable[[str, os.stat_result], None] = lambda _path, _status: None) -> bytes | None:
    """The whole file, or None where there is none. Raises ProfileError for one that cannot be read, is not a regular
    file (a FIFO would hang every run) or is larger than 64 KiB. ``check`` sees what was opened."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in _ABSENT and not os.path.islink(path):
            return None
        # Not taken for absent: whoever hides security_policy.yml must not thereby lift its bounds.
        raise _unreadable(path, error) from error
    except ValueError as error:
        raise ProfileError(f"cannot read {path!r}", str(error), "give the path of a file") from error
    try:
        status = os.fstat(handle)
        check(path, status)
        if not stat.S_ISREG(status.st_mode):
            raise ProfileError(f"cannot read {path}", "it is not a regular file", "give the path of a file")
        content = os.read(handle, LARGEST_FILE + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(handle)
    if len(content) > LARGEST_FILE:
        raise ProfileError(f"cannot read {path}", f"it is larger than {LARGEST_FILE >> 10} KiB", "split it by extends:")
    return content


def _unreadable(path: str, error: OSError) -> ProfileError:
    closed = _closed_directory(path)
    if closed:
        why = f"{closed}, where {os.path.basename(path)} may be: {errno_text(error.errno or 0)}"
        return ProfileError(f"cannot look into {closed}", why, f"chmod u+rx {closed}, or remove it")
    wrapped = from_os_error(f"cannot read {path}", error)
    return ProfileError(wrapped.what, wrapped.why, "make it readable for whoever runs hivebox")


def _closed_directory(path: str) -> str:
    """The first directory above ``path`` that may not be searched, "" if all may."""
    directory, closed = os.path.dirname(os.path.abspath(path)), ""
    while directory != "/":
        closed = directory if os.path.isdir(directory) and not os.access(directory, os.X_OK) else closed
        directory = os.path.dirname(directory)
    return closed


def digest(content: bytes | None) -> str:
    """What ``Source.sha256`` holds for a file with this content."""
    return "" if content is None else sha256(content).hexdigest()


def unchanged(source: Source) -> bool:
    """True while the file is what it was, by content: a time stamp can be set back."""
    return digest(read(source.path)) == source.sha256


class Reader:
    """Reads files and remembers what it saw, so that what is hashed is what was parsed. Those of the configuration
    must be this user's or root's."""

    def __init__(self) -> None:
        self._seen: dict[str, bytes | None] = {}

    def read(self, path: str) -> bytes | None:
        """As ``read``, each path once."""
        if path not in self._seen:
            self._seen[path] = read(path, check_config_file)
        return self._seen[path]

    def sources(self) -> tuple[Source, ...]:
        """All that was read or missed, in that order."""
        return tuple(Source(path, digest(content)) for path, content in self._seen.items())
