"""Long work of a process that attends many runs: done by a copy of it, while the loop goes on."""

from __future__ import annotations

import os

from hivebox.errors import HiveboxError
from hivebox.kernel import process
from hivebox.launch.channel import Channel, body_error, error_body
from hivebox.waiting import Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import Any, NoReturn

    from hivebox.waiting import Waiting
else:
    import _signal as signal  # without the enumerations, which cost 3 ms


def aside(work: Callable[[], dict[str, Any]]) -> Waiting[dict[str, Any]]:
    """What ``work`` returns, JSON-ready, or the HiveboxError that it raises. It ends with this process."""
    answer, theirs = Channel.pair()
    parent, pid = os.getpid(), os.fork()
    if pid == 0:
        _do(work, theirs, parent)
    theirs.close()
    try:
        yield Wait(answer.fileno())
        message = answer.receive()
    except BaseException:
        os.kill(pid, signal.SIGKILL)  # not reaped yet, so the number is still its own
        raise
    finally:
        answer.close()
        os.waitpid(pid, 0)
    if message is None:
        raise HiveboxError("a helper of the supervisor died", "its process ended without an answer", "run it again")
    if message.kind == "error":
        raise body_error(message.body)
    return message.body


def _do(work: Callable[[], dict[str, Any]], answer: Channel, parent: int) -> NoReturn:
    try:
        process.set_pdeathsig(signal.SIGKILL)
        if os.getppid() == parent:
            answer.send("done", work())
    except HiveboxError as error:
        answer.send("error", error_body(error))
    except BaseException as error:  # noqa: BLE001  # the last resort of a process that must not return
        answer.send("error", error_body(HiveboxError("a helper of the supervisor failed", repr(error), "report this")))
    finally:
        os._exit(0)
