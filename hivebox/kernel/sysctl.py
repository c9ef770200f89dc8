"""Kernel parameters that belong to a namespace: proc_sys_net(5), proc_sys_user(5)."""

from __future__ import annotations

from hivebox.errors import HiveboxError, errno_text
from hivebox.kernel.cgroup import write

_HINT = (
    "let it write below /proc/sys (docker: --security-opt systempaths=unconfined; systemd: ProtectKernelTunables=no)"
)


def write_sysctl(name: str, value: str) -> None:
    """``net/ipv4/tcp_rmem`` of the namespaces that this process is in. Raises HiveboxError."""
    try:
        write(f"/proc/sys/{name}", value)
    except OSError as error:
        why = f"/proc/sys/{name}: {errno_text(error.errno or 0)}"
        raise HiveboxError("cannot bound what the sandbox takes of the kernel", why, _HINT) from error
