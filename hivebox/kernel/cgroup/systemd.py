"""A group from systemd: a transient scope with ``Delegate=yes``, asked for over D-Bus.

    hivebox-PID-RUN.scope      systemd makes it and moves the sandbox's init in, across borders that we may not cross
      init                     a leaf for init, so that the scope itself is empty and can give controllers away
      payload                  the run's group, with the limits

Root asks the system's manager, everybody else their own user@UID.service, which has PID 1 move what it may not move
itself. Both listen on a private socket beside the bus, as systemctl(1) uses it, so that no bus is needed. The scope
ends when its last process does, and systemd removes its groups: nothing is left even if we are killed.

https://systemd.io/CONTROL_GROUP_INTERFACE, org.freedesktop.systemd1(5)
"""

from __future__ import annotations

import os
import time
from typing import Any

from hivebox.errors import HiveboxError, errno_text, from_os_error
from hivebox.kernel.cgroup import GroupLimits, read, write
from hivebox.kernel.cgroup.delegated import mount_point
from hivebox.kernel.cgroup.v2 import CgroupV2, enable

_TIMEOUT_S = 20.0
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
        self._limits = limits
        self._name = f"hivebox-{os.getpid()}-{run_id}.scope"
        self._scope = ""
        self._manager = _Manager(socket_path())

    def attach(self, init_pid: int) -> None:
        try:
            self._manager.start_scope(self._name, init_pid)
        finally:
            self._manager.close()
        try:
            self._divide(init_pid)
        except OSError as error:
            raise from_os_error("cannot divide the scope that systemd made", error, _HINT) from error

    def _divide(self, init_pid: int) -> None:
        own = next(line[3:] for line in read(f"/proc/{init_pid}/cgroup").splitlines() if line.startswith("0::"))
        if not own.endswith(f"/{self._name}"):
            raise HiveboxError("systemd did not make a scope", f"init is in {own}, not in {self._name}", _HINT)
        self._scope = mount_point() + own
        os.mkdir(f"{self._scope}/init", 0o755)
        write(f"{self._scope}/init/cgroup.procs", str(init_pid))
        enable(self._scope, self._limits)
        self._fill(f"{self._scope}/payload", self._limits)

    def close(self) -> None:
        """What is left of the scope is systemd's; it removes it as soon as init is gone."""
        self._manager.close()
        super().close()
        self._scope = ""


class _Manager:
    """One connection to a service manager."""

    def __init__(self, path: str) -> None:
        self._connection: Any = None
        if not os.path.exists(path):
            whose = "the system's" if os.geteuid() == 0 else "this user's"
            raise HiveboxError(f"{whose} systemd does not run", f"{path}: no such file or directory (ENOENT)", _HINT)
        try:
            from jeepney.io.blocking import DBusConnection, prep_socket  # noqa: PLC0415  # only where it is used
        except ImportError as error:
            raise HiveboxError("cannot speak D-Bus", f"{error}", "scripts/setup") from error
        try:
            self._connection = DBusConnection(prep_socket(path, timeout=_TIMEOUT_S))
        except OSError as error:
            why = f"{path}: {errno_text(error.errno or 0)}"
            raise HiveboxError("cannot connect to systemd", why, _HINT) from error

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def start_scope(self, name: str, pid: int) -> None:
        """StartTransientUnit, then wait until its job is done."""
        from jeepney import DBusAddress, MatchRule, MessageType, new_method_call  # noqa: PLC0415

        manager = DBusAddress(
            "/org/freedesktop/systemd1", "org.freedesktop.systemd1", "org.freedesktop.systemd1.Manager"
        )
        properties = [
            ("Description", ("s", "hivebox run")),
            ("PIDs", ("au", [pid])),
            ("Delegate", ("b", True)),
            ("CollectMode", ("s", "inactive-or-failed")),
        ]
        call = new_method_call(manager, "StartTransientUnit", "ssa(sv)a(sa(sv))", (name, "fail", properties, []))
        deadline = time.monotonic() + _TIMEOUT_S
        with self._connection.filter(MatchRule(type="signal", member="JobRemoved")) as removed:
            try:
                reply = self._connection.send_and_get_reply(call, timeout=_TIMEOUT_S)
                if reply.header.message_type is MessageType.error:
                    raise HiveboxError("systemd refused a scope", f"StartTransientUnit: {reply.body[0]}", _HINT)
                result = self._result(removed, reply.body[0], deadline)
            except (TimeoutError, OSError) as error:
                raise HiveboxError("systemd did not answer", f"StartTransientUnit: {error}", _HINT) from error
        if result != "done":
            raise HiveboxError("systemd could not start a scope", f"{name}: {result}", f"journalctl -u {name}")

    def _result(self, removed: Any, job: str, deadline: float) -> str:
        """``done``, ``failed``, ``canceled``, ``timeout``... of this job."""
        while True:
            signal = self._connection.recv_until_filtered(removed, timeout=max(deadline - time.monotonic(), 0.001))
            if signal.body[1] == job:
                return str(signal.body[3])
