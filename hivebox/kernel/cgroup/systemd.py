"""A group from systemd: a transient scope with ``Delegate=yes``, asked for over D-Bus.

    hivebox-PID-RUN.scope      systemd makes it and moves the sandbox's init in, across borders that we may not cross
      init                     a leaf for init, so that the scope itself is empty and can give controllers away
      payload                  the run's group, with the limits

Root asks the system's manager, everybody else their own user@UID.service, which has PID 1 move what it may not move
itself. Both listen on a private socket beside the bus, as systemctl(1) uses it, so that no bus is needed. The scope
ends when its last process does, and systemd removes its groups: nothing is left even if we are killed. So the figures
must be read while init lives (``settle``): it waits for that before it ends.

https://systemd.io/CONTROL_GROUP_INTERFACE, org.freedesktop.systemd1(5)
"""

from __future__ import annotations

import errno
import os
import time

from hivebox.errors import HiveboxError, from_os_error
from hivebox.kernel.cgroup import GroupLimits, Usage, read, write
from hivebox.kernel.cgroup.delegated import mount_point
from hivebox.kernel.cgroup.v2 import REQUIRED, CgroupV2, enable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TIMEOUT_S = 20.0
_SERIAL = 1
_REMOVED = {errno.ENOENT, errno.ENODEV}  # by its path, by an open descriptor
_HINT = "run `hivebox doctor`: it names what to do on this host"


def socket_path() -> str:
    """Of the manager's private socket."""
    if os.geteuid() == 0:
        return "/run/systemd/private"
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    return f"{runtime}/systemd/private"


class Scope(CgroupV2):
    """Connected when it is made; the rest needs a process to put in, and is done by ``attach``."""

    backend = "systemd"
    late = True

    def __init__(self, run_id: str, limits: GroupLimits) -> None:
        super().__init__()
        self._mount = mount_point()  # no use in asking for a scope whose files cannot be seen
        self._limits = limits
        self._name = f"hivebox-{os.getpid()}-{run_id}.scope"
        self._scope = ""
        self._final: Usage | None = None
        self._latest = Usage(0.0, 0.0, 0, 0, 0, 0)
        self._refused: dict[str, bool] = {}
        self._manager = _Manager(socket_path())

    def attach(self, init_pid: int) -> None:
        try:
            self._manager.start_scope(self._name, init_pid)
        finally:
            self._manager.close()
        try:
            self._divide(init_pid)
        except OSError as error:
            what = "cannot make a control group in the scope that systemd made"
            raise from_os_error(what, error, _HINT) from error

    def _divide(self, init_pid: int) -> None:
        own = next(line[3:] for line in read(f"/proc/{init_pid}/cgroup").splitlines() if line.startswith("0::"))
        if not own.endswith(f"/{self._name}"):
            raise HiveboxError("systemd did not make a scope", f"init is in {own}, not in {self._name}", _HINT)
        self._scope = self._mount + own
        os.mkdir(f"{self._scope}/init", 0o755)
        write(f"{self._scope}/init/cgroup.procs", str(init_pid))
        enable(self._scope, self._limits)
        self._fill(f"{self._scope}/payload", self._limits)

    def settle(self) -> None:
        if self._final is None:
            try:
                self._refused = {limit: super(Scope, self).reached(limit) for limit in REQUIRED}
                self._final = super().usage()
            except OSError as error:  # somebody else killed init, and systemd was faster than we
                if error.errno not in _REMOVED:
                    raise

    def usage(self) -> Usage:
        self.settle()
        return self._final or self._latest

    def reached(self, limit: str) -> bool:
        if self._final is None:
            try:
                return super().reached(limit)
            except OSError as error:
                if error.errno not in _REMOVED:
                    raise
        return self._refused.get(limit, False)

    def cpu_time_s(self) -> float:
        try:
            cpu = self._cpu()
            user_s, system_s = cpu[b"user_usec"] / 1e6, cpu[b"system_usec"] / 1e6
            self._latest = self._latest._replace(cpu_user_s=user_s, cpu_system_s=system_s)
        except OSError as error:
            if error.errno not in _REMOVED:
                raise
        return self._latest.cpu_user_s + self._latest.cpu_system_s

    def close(self) -> None:
        """What is left of the scope is systemd's; it removes it as soon as init is gone."""
        self._manager.close()
        super().close()
        self._scope = ""


class _Manager:
    """A connection to a service manager. Its private socket is no bus: nobody says Hello, and signals come unasked."""

    def __init__(self, path: str) -> None:
        self._socket: Any = None
        if not os.path.exists(path):
            whose = "the system's" if os.geteuid() == 0 else "this user's"
            raise HiveboxError(f"{whose} systemd does not run", f"{path}: no such file or directory (ENOENT)", _HINT)
        try:
            from jeepney import Parser  # noqa: PLC0415  # only where it is used: 20 ms
            from jeepney.io.blocking import prep_socket  # noqa: PLC0415
        except ImportError as error:
            raise HiveboxError("cannot speak D-Bus", f"{error}", "scripts/setup") from error
        self._parser = Parser()
        try:
            self._socket = prep_socket(path, timeout=_TIMEOUT_S)
        except (OSError, ValueError) as error:  # ValueError: it did not accept who we are
            raise HiveboxError("cannot connect to systemd", f"{path}: {error}", _HINT) from error

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def start_scope(self, name: str, pid: int) -> None:
        """Returns when ``pid`` is in it. Raises HiveboxError."""
        try:
            self._socket.sendall(_start_transient_unit(name, pid).serialise(serial=_SERIAL))
            result = self._result(time.monotonic() + _TIMEOUT_S)
        except OSError as error:  # TimeoutError is one
            raise HiveboxError("systemd did not answer", f"StartTransientUnit: {error}", _HINT) from error
        if result != "done":
            raise HiveboxError("systemd could not start a scope", f"{name}: its job ended as {result}", _HINT)

    def _result(self, deadline: float) -> str:
        """The reply names a job, and a signal says how that job ended; they may come in either order."""
        from jeepney import HeaderFields, MessageType  # noqa: PLC0415

        job, results = "", {}
        while not job or job not in results:
            message = self._receive(deadline)
            fields = message.header.fields
            if fields.get(HeaderFields.reply_serial) == _SERIAL:
                if message.header.message_type is MessageType.error:
                    why = f"{fields.get(HeaderFields.error_name)}: {message.body[0]}"
                    raise HiveboxError("systemd refused a scope", why, _HINT)
                job = message.body[0]
            elif fields.get(HeaderFields.member) == "JobRemoved":
                results[message.body[1]] = str(message.body[3])
        return results[job]

    def _receive(self, deadline: float) -> Any:
        while True:
            message = self._parser.get_next_message()
            if message is not None:
                return message
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            data = self._socket.recv(1 << 16)
            if not data:
                raise ConnectionResetError("the connection was closed")
            self._parser.add_data(data)


def _start_transient_unit(name: str, pid: int) -> Any:
    from jeepney import DBusAddress, new_method_call  # noqa: PLC0415

    manager = DBusAddress("/org/freedesktop/systemd1", "org.freedesktop.systemd1", "org.freedesktop.systemd1.Manager")
    properties = [
        ("Description", ("s", "hivebox run")),
        ("PIDs", ("au", [pid])),
        ("Delegate", ("b", True)),
        ("CollectMode", ("s", "inactive-or-failed")),
    ]
    return new_method_call(manager, "StartTransientUnit", "ssa(sv)a(sa(sv))", (name, "fail", properties, []))
