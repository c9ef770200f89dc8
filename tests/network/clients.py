"""What the clients of test_clients.py need among the servers: a package index, a git repository over https and ssh."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.network.world import SSH_PORT, World

MODULE = "hivebox_test_package"


def package_index(www: Path) -> None:
    """PEP 503, with one wheel."""
    project = www / "simple" / MODULE.replace("_", "-")
    project.mkdir(parents=True, exist_ok=True)
    wheel = project / f"{MODULE}-1.0-py3-none-any.whl"
    info = f"{MODULE}-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{MODULE}.py", "print('installed')\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {MODULE}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"{MODULE}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (project / "index.html").write_text(f'<a href="{wheel.name}#sha256={digest}">{wheel.name}</a>')


def repository(www: Path) -> None:
    """Bare, for the plain HTTP protocol."""
    bare = www / "project.git"
    if bare.exists():
        return
    work = www.parent / "project"
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example", "-C", str(work)]
    subprocess.run(["git", "init", "-q", "-b", "main", str(work)], check=True)
    (work / "file").write_text("content\n")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "first"], check=True)
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(bare)], check=True)
    subprocess.run(["git", "--git-dir", str(bare), "update-server-info"], check=True)


def ssh_server(world: World) -> Path:
    """sshd among the servers; the directory with the client's key and the known host."""
    keys = world.directory / "ssh"
    if keys.exists():
        return keys
    keys.mkdir()
    for name in ("host", "client"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(keys / name)]
        subprocess.run(command, check=True)
    host_key = " ".join((keys / "host.pub").read_text().split()[:2])
    (keys / "known").write_text(f"[pypi.example]:{SSH_PORT} {host_key}\n")
    (keys / "authorized").write_text((keys / "client.pub").read_text())
    for readable in ("client", "known"):
        (keys / readable).chmod(0o600)
    (keys / "sshd.conf").write_text(
        f"Port {SSH_PORT}\nHostKey {keys}/host\nAuthorizedKeysFile {keys}/authorized\nStrictModes no\nUsePAM no\n"
        "PidFile none\nPermitRootLogin yes\nPasswordAuthentication no\n"
    )
    os.makedirs("/run/sshd", exist_ok=True)
    world.serve("/usr/sbin/sshd", "-D", "-e", "-f", f"{keys}/sshd.conf", stderr=subprocess.DEVNULL)
    return keys


def site_packages() -> str:
    """Where requests and aiohttp are."""
    return next(path for path in sys.path if path.endswith("site-packages"))
