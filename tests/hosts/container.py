"""Runs a command in an unprivileged container, as podman would make one for an ordinary user: by crun, with this machine's
own /usr, /etc and /home, read-only.

    python -m tests.hosts.container KIND COMMAND...
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_UID = 1000  # inside; root of the container is the user outside
_NEWUSER = 0x1000_0000
_SUBORDINATE = (100_000, 65_536)  # /etc/subuid, of the first user that useradd makes

# What a common container's filter refuses of what hivebox needs: clone(2) when it would make a user namespace, mounts.
_FILTER = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [
        {"names": ["unshare", "mount", "open_tree", "move_mount"], "action": "SCMP_ACT_ERRNO"},
        {
            "names": ["clone"],
            "action": "SCMP_ACT_ERRNO",
            "args": [{"index": 0, "value": _NEWUSER, "valueTwo": _NEWUSER, "op": "SCMP_CMP_MASKED_EQ"}],
        },
    ],
}


def configuration(kind: str, command: list[str]) -> dict[str, Any]:
    """``crun spec`` as it is (masked /proc, read-only control groups, few capabilities) for ``root`` and ``masked``; with
    a filter for ``filtered``; with all of /proc for ``open``. An ordinary user inside, but for ``root``."""
    plain: dict[str, Any] = json.loads(Path("config.json").read_text())
    uid = 0 if kind == "root" else _UID
    environment = [f"{name}={value}" for name, value in os.environ.items()]
    plain["process"] |= {"terminal": False, "args": command, "cwd": os.environ["PWD"], "env": environment}
    plain["process"]["user"] = {"uid": uid, "gid": uid}
    plain["mounts"] += [_bound(path, "ro") for path in ("/usr", "/etc", "/home")]
    plain["mounts"] += [_bound(path, "rw") for path in ("/tmp", "/var/tmp")]
    mapped = [_mapping(0, os.getuid(), 1), _mapping(1, *_SUBORDINATE)]
    plain["linux"] |= {"uidMappings": mapped, "gidMappings": mapped}
    if kind == "filtered":
        plain["linux"]["seccomp"] = _FILTER
    if kind == "open":
        plain["linux"] |= {"maskedPaths": [], "readonlyPaths": []}
    return plain


def _bound(path: str, mode: str) -> dict[str, Any]:
    return {"destination": path, "source": path, "type": "none", "options": ["bind", mode]}


def _mapping(inside: int, outside: int, count: int) -> dict[str, int]:
    return {"containerID": inside, "hostID": outside, "size": count}


def main(kind: str, command: list[str]) -> int:
    # Not below what is bound: through it, the container would see its /proc as it was before the masks.
    with tempfile.TemporaryDirectory(dir=f"/run/user/{os.getuid()}") as bundle:
        os.environ["PWD"] = os.getcwd()
        os.chdir(bundle)
        subprocess.run(["crun", "spec", "--rootless"], check=True)
        for name in ("usr", "etc", "home", "tmp", "var/tmp"):
            os.makedirs(f"rootfs/{name}")
        for name in ("bin", "sbin", "lib", "lib64"):
            os.symlink(f"usr/{name}", f"rootfs/{name}")
        Path("config.json").write_text(json.dumps(configuration(kind, command)))
        os.environ["XDG_RUNTIME_DIR"] = bundle
        options = ["--root", f"{bundle}/state", "--cgroup-manager=disabled"]
        return subprocess.run(["crun", *options, "run", f"hosts-{os.getpid()}"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
