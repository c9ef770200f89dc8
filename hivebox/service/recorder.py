"""The process that has the key: forked by the service, which then never needs it.

A question is a message with a socket on which it is answered. Who asks while records are being written waits for that
sync anyway, so what has come meanwhile is written together, by one.
"""

from __future__ import annotations

import gc
import os
import signal

from hivebox.audit.ledger import Appended, Ledger, draft
from hivebox.errors import HiveboxError
from hivebox.kernel import process
from hivebox.launch.channel import Channel, Message, body_error, error_body
from hivebox.locations import state_dir
from hivebox.waiting import Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, NoReturn

    from hivebox.audit.statement import Draft
    from hivebox.waiting import Waiting

NAME = "hivebox-record"


class RemoteRecorder:
    """audit.recorder.Recorder by that process, which is started when it is needed, again if it died."""

    def __init__(self) -> None:
        self._door: Channel | None = None
        self._pid = 0

    def append(
        self, event: str, run_id: str, subjects: Sequence[tuple[str, str]], predicate: Mapping[str, Any]
    ) -> Waiting[Appended]:
        """As Recorder.append."""
        answer, theirs = Channel.pair()
        try:
            body = {"event": event, "run_id": run_id, "subjects": [*subjects], "predicate": dict(predicate)}
            self._ask(body, theirs)
            yield Wait(answer.fileno())
            message = answer.receive()
        finally:
            answer.close()
        if message is None:
            why = "the process that keeps the records ended before it had written this one"
            raise HiveboxError("cannot write the audit record", why, "run it again")
        if message.kind == "error":
            raise body_error(message.body)
        return Appended(**message.body)

    def _ask(self, body: dict[str, Any], theirs: Channel) -> None:
        try:
            try:
                self._opened().send("append", body, (theirs.fileno(),))
            except (BrokenPipeError, ConnectionResetError):
                self.close()
                self._opened().send("append", body, (theirs.fileno(),))
        finally:
            theirs.close()

    def _opened(self) -> Channel:
        if self._door is None:
            self._door, theirs = Channel.pair()
            self._pid = os.fork()
            if self._pid == 0:
                run_recorder(theirs)
            theirs.close()
        return self._door

    def close(self) -> None:
        """It ends when it has done what it was asked; wait for that."""
        if self._door:
            self._door.close()
            self._door = None
            os.waitpid(self._pid, 0)


def run_recorder(door: Channel) -> NoReturn:
    """In the new process; never returns."""
    status = 1
    try:
        process.keep_only((door.fileno(),))
        signal.set_wakeup_fd(-1)
        process.set_name(NAME)
        gc.enable()
        ledger = Ledger(state_dir())
        while questions := _take(door):
            _answer(ledger, questions)
        status = 0
    finally:
        os._exit(status)


def _take(door: Channel) -> list[Message]:
    """One question, and those that are there already. Empty when the service has closed the door."""
    questions = []
    first = door.receive()
    while first is not None:
        questions.append(first)
        first = door.receive() if door.has_message() else None
    return questions


def _answer(ledger: Ledger, questions: list[Message]) -> None:
    """Those that can be written as they are, together; each of the others hears what is wrong with it."""
    drafts: list[tuple[Message, Draft]] = []
    for question in questions:
        try:
            drafts.append((question, _draft(question.body)))
        except HiveboxError as error:
            _say(question, "error", error_body(error))
    if not drafts:
        return
    try:
        appended = ledger.append_all([drawn for _, drawn in drafts])
    except HiveboxError as error:
        said = [("error", error_body(error))] * len(drafts)
    except Exception as error:  # noqa: BLE001  # the askers must hear of it
        failure = HiveboxError("cannot write the audit record", repr(error), "report this")
        said = [("error", error_body(failure))] * len(drafts)
    else:
        said = [("done", where._asdict()) for where in appended]
    for (question, _), (kind, body) in zip(drafts, said, strict=True):
        _say(question, kind, body)


def _draft(body: dict[str, Any]) -> Draft:
    subjects = tuple((name, digest) for name, digest in body["subjects"])
    return draft(body["event"], body["run_id"], subjects, body["predicate"])


def _say(question: Message, kind: str, body: dict[str, Any]) -> None:
    answer = Channel.on(question.fds[0])
    try:
        answer.send(kind, body)
    except (BrokenPipeError, ConnectionResetError):
        pass
    finally:
        answer.close()
