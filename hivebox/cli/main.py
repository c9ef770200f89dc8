"""``hivebox COMMAND``: finds the command, shows errors in their one shape."""

from __future__ import annotations

import gc
import os
import sys

from hivebox import __version__
from hivebox.cli import streams
from hivebox.errors import HiveboxError, from_os_error, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_COMMANDS = {
    "run": "run a script or command in a sandbox",
    "doctor": "what this host can enforce, and how to mend the rest",
    "profile": "list, show, check, explain, import profiles",
    "rootfs": "build, list, verify read-only roots",
    "audit": "list, show, verify signed records; the key",
    "seccomp": "show a profile's system calls; OCI import and export",
}


def _usage() -> str:
    commands = "\n".join(f"  {name:<9} {text}" for name, text in _COMMANDS.items())
    return f"usage: hivebox COMMAND ...\n\n{commands}\n\n`hivebox COMMAND --help` tells more. Version {__version__}."


def _command(name: str) -> Callable[[list[str]], int]:
    """One command is imported, not all; by __import__, since importlib itself costs a millisecond."""
    command: Callable[[list[str]], int] = __import__(f"hivebox.cli.{name}", fromlist=["run"]).run
    return command


def print_error(error: HiveboxError) -> None:
    """The three lines, on stderr."""
    text = "\n".join(printable(line) for line in str(error).split("\n"))
    streams.remark(f"hivebox: {text}\n")


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in {"-h", "--help"}:
        sys.stdout.write(_usage() + "\n")
        return 0
    if arguments[0] == "--version":
        sys.stdout.write(f"hivebox {__version__}\n")
        return 0
    if arguments[0] not in _COMMANDS:
        raise HiveboxError(f"no such command: {arguments[0]}", "", "hivebox --help")
    return _command(arguments[0])(arguments[1:])


def _explained(error: OSError) -> HiveboxError:
    """An error that no command expected, by what it most often is."""
    if error.filename == streams.OUTPUT:
        return from_os_error("cannot print the output", error, "redirect it to where it can be written")
    if error.filename:
        hint = "make it accessible for you, or set HIVEBOX_STATE if it is of the state directory"
        return from_os_error(f"cannot use {os.fsdecode(error.filename)}", error, hint)
    try:
        os.getcwd()
    except OSError as gone:
        return from_os_error("there is no current directory", gone, "cd to one that exists")
    return from_os_error("hivebox could not go on", error, "run `hivebox doctor`")


def main(argv: list[str] | None = None) -> int:
    """Exit code of the command; 125 with three lines on stderr for every HiveboxError."""
    try:
        code = _dispatch(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
        return code
    except HiveboxError as error:
        print_error(error)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader is gone; nothing more can be said on stdout
        return 141
    except OSError as error:
        print_error(_explained(error))
        return 125
    except KeyboardInterrupt:
        return 130


def entry() -> None:
    """The console script. No garbage collection: a pass over what the imports made costs milliseconds here, and in the
    sandbox's init it would copy every page that the two share. No clean-up at the end either: the kernel does it."""
    gc.disable()
    streams.fill()
    os._exit(main())


if __name__ == "__main__":
    entry()
