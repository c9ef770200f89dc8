"""Paths of the host in the sandbox: read-only, read-write, overlay, project, script; what never widens them."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from hivebox.errors import HiveboxError
from hivebox.policy.model import Filesystem, Mount
from tests.harness import Runner, policy


@pytest.fixture
def data(scratch: Path) -> Path:
    """A private directory: 0700, owned by whoever runs the tests, like a project below /root or a home."""
    directory = scratch / "data"
    (directory / "sub").mkdir(parents=True)
    (directory / "file").write_text("content")
    (directory / "sub" / "deep").write_text("deep")
    directory.chmod(0o700)
    (directory / "file").chmod(0o600)
    return directory


def granting(mode: str, source: Path, dest: str, **fields: bool):
    return policy(filesystem=Filesystem(mounts=(Mount(str(source), dest, mode),), **fields))


def shell(runner: Runner, script: str, chosen) -> tuple[int | None, str]:
    report = runner.command("sh", "-c", f"exec 2>&1; {script}", policy=chosen)
    return report.ending.exit_code, report.stdout.decode()


def test_read_only_is_readable_and_not_writable(runner: Runner, data: Path) -> None:
    chosen = granting("read_only", data, "/data")
    assert shell(runner, "cat /data/file /data/sub/deep", chosen) == (0, "contentdeep")
    for act in ("echo x > /data/file", "touch /data/new", "rm /data/file", "mkdir /data/d", "mv /data/file /data/g"):
        code, said = shell(runner, act, chosen)
        assert code != 0, act
        assert "Read-only" in said or "denied" in said
    assert (data / "file").read_text() == "content"


def test_read_write_writes_as_the_owner(runner: Runner, data: Path) -> None:
    code, _ = shell(runner, "echo new > /data/made; echo more >> /data/file", granting("read_write", data, "/data"))
    assert code == 0
    assert (data / "made").read_text() == "new\n"
    assert (data / "made").stat().st_uid == data.stat().st_uid
    assert (data / "file").read_text() == "contentmore\n"


def test_overlay_keeps_the_changes_inside(runner: Runner, data: Path) -> None:
    chosen = granting("overlay", data, "/data")
    script = "echo changed > /data/file; rm /data/sub/deep; touch /data/new; cat /data/file; ls /data /data/sub"
    code, said = shell(runner, script, chosen)
    assert code == 0
    assert said.startswith("changed\n")
    assert (data / "file").read_text() == "content"
    assert sorted(path.name for path in data.rglob("*")) == ["deep", "file", "sub"]


def test_overlay_counts_against_the_work_directory(runner: Runner, data: Path) -> None:
    code, said = shell(runner, "head -c 90000000 /dev/zero > /data/big", granting("overlay", data, "/data"))
    assert code != 0
    assert "No space left" in said or "limit exceeded" in said


def test_a_single_file(runner: Runner, data: Path) -> None:
    assert shell(runner, "cat /etc-like/name", granting("read_only", data / "file", "/etc-like/name")) == (0, "content")


def test_a_grant_inside_the_work_directory(runner: Runner, data: Path) -> None:
    assert shell(runner, "cat /work/in/file", granting("read_only", data, "/work/in")) == (0, "content")


@pytest.mark.parametrize("top", ["/tmp", "/work", "/dev/shm"])
def test_no_fifo_is_left_in_a_grant_inside_a_directory_where_fifos_are_allowed(
    runner: Runner, data: Path, top: str
) -> None:
    code, said = shell(runner, f"mkfifo {top}/in/trap", granting("read_write", data, f"{top}/in"))
    assert code != 0
    assert "denied" in said
    assert not (data / "trap").exists()


def test_nested_grants_are_mounted_outermost_first(runner: Runner, data: Path, scratch: Path) -> None:
    (scratch / "inner").mkdir()
    (scratch / "inner" / "i").write_text("inner")
    mounts = (Mount(str(scratch / "inner"), "/data/sub", "read_only"), Mount(str(data), "/data", "read_only"))
    chosen = policy(filesystem=Filesystem(mounts=mounts))
    assert shell(runner, "cat /data/sub/i", chosen) == (0, "inner")


def test_a_link_in_the_source_path_is_refused(runner: Runner, data: Path, scratch: Path) -> None:
    (scratch / "link").symlink_to(data)
    with pytest.raises(HiveboxError, match="ELOOP"):
        shell(runner, "true", granting("read_only", scratch / "link", "/data"))


def test_a_link_in_a_granted_directory_cannot_redirect_a_later_grant(runner: Runner, data: Path, scratch: Path) -> None:
    (data / "trap").symlink_to("/etc")
    mounts = (Mount(str(data), "/data", "read_only"), Mount(str(data / "sub"), "/data/trap/x", "read_only"))
    with pytest.raises(HiveboxError, match="cannot mount on"):
        shell(runner, "true", policy(filesystem=Filesystem(mounts=mounts)))


def test_mount_points_are_never_made_on_the_host(runner: Runner, data: Path) -> None:
    mounts = (Mount(str(data), "/data", "read_write"), Mount(str(data / "sub"), "/data/absent", "read_only"))
    with pytest.raises(HiveboxError, match="cannot mount on"):
        shell(runner, "true", policy(filesystem=Filesystem(mounts=mounts)))
    assert not (data / "absent").exists()


def test_links_out_of_a_grant_lead_nowhere(runner: Runner, data: Path) -> None:
    secret = data.parent / "secret"
    secret.write_text("secret")
    (data / "out").symlink_to(secret)
    (data / "up").symlink_to("../secret")
    code, said = shell(runner, "cat /data/out /data/up /data/../secret", granting("read_only", data, "/data"))
    assert code != 0
    assert "secret" not in said.replace("/secret", "").replace("'/data/out'", "")


def test_a_missing_source_names_itself(runner: Runner, scratch: Path) -> None:
    with pytest.raises(HiveboxError, match="absent") as caught:
        shell(runner, "true", granting("read_only", scratch / "absent", "/data"))
    assert "ENOENT" in caught.value.why


def test_no_setuid_bit_can_be_left_in_a_granted_directory(runner: Runner, data: Path) -> None:
    shell(
        runner, "cp /bin/true /data/x; chmod 4755 /data/x; chmod g+s /data/sub", granting("read_write", data, "/data")
    )
    assert not [path for path in data.rglob("*") if path.stat().st_mode & 0o6000]


def test_the_script_that_runs_is_the_script_that_was_hashed(runner: Runner, data: Path) -> None:
    """Somebody rewrites the file between the hash and the start."""
    script = data / "self.py"
    script.write_text("import sys\nprint('reviewed', sys.argv, sys.path[0])\n")
    digest = hashlib.sha256(script.read_bytes()).hexdigest()

    def rewrite(plan):
        script.write_text("print('rewritten')")
        return plan

    chosen = granting("read_only", data, str(data))
    report = runner.script(script, "a b", policy=chosen, project=str(data), transform=rewrite)
    assert report.stdout.decode() == f"reviewed ['{script}', 'a b'] {data}\n"
    assert report.controls["script"]["sha256"] == digest


def test_a_project_is_the_working_directory(runner: Runner, data: Path) -> None:
    script = data / "cwd.py"
    script.write_text("import os; print(os.getcwd(), sorted(os.listdir()))")
    report = runner.script(script, policy=granting("read_only", data, str(data)), project=str(data))
    assert report.stdout.decode() == f"{data} ['cwd.py', 'file', 'sub']\n"


@pytest.mark.root
def test_root_maps_the_owner_and_nobody_else(runner: Runner, data: Path) -> None:
    os.chown(data / "file", 12345, 12345)
    code, _ = shell(runner, "cat /data/file", granting("read_only", data, "/data"))
    assert code != 0, "a file of somebody else's, mode 0600, below a directory of ours"


@pytest.mark.parametrize("source", ["/proc", "/proc/self", "/sys/fs/cgroup", "/sys"])
def test_kernel_file_systems_are_never_granted(runner: Runner, source: str) -> None:
    with pytest.raises(HiveboxError, match="cannot grant"):
        shell(runner, "true", granting("read_only", Path(os.path.realpath(source)), "/data"))


def grant_after(setup: str, source: str, mode: str = "read_only") -> str:
    """What a run says that is granted ``source``, in a mount namespace where ``setup`` was done: why it was refused, or
    what the sandbox has there."""
    code = (
        "import sys; sys.path[:0] = ['.']; from tests.harness import *\n"
        "from hivebox.policy.model import *\n"
        "grant = Filesystem(mounts=(Mount(sys.argv[1], '/data', sys.argv[2]),))\n"
        "try: print(Runner().command('ls', '/data', policy=policy(filesystem=grant)).stdout.decode())\n"
        "except HiveboxError as error: print(error.why)\n"
    )
    command = ["unshare", "--mount", "sh", "-c", f'{setup}\nexec "$@"', "sh", sys.executable, "-c", code, source, mode]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert not done.stderr
    return done.stdout


@pytest.mark.root
@pytest.mark.parametrize("name", ["chroot", "chroot é", "back\\slash"])
def test_nor_a_directory_that_has_one_below_it(scratch: Path, name: str) -> None:
    (scratch / name / "proc").mkdir(parents=True)
    assert "proc file system" in grant_after(f"mount -t proc proc '{scratch}/{name}/proc'", str(scratch / name))


@pytest.mark.root
def test_a_mount_whose_name_is_no_text_hinders_nobody(data: Path) -> None:
    setup = f'd={data.parent}/$(printf \'a\\377b\'); mkdir "$d"; mount -t tmpfs none "$d"'
    assert grant_after(setup, str(data)) == "file\nsub\n\n"


@pytest.mark.root
@pytest.mark.parametrize("mode", ["read_only", "read_write", "overlay"])
@pytest.mark.parametrize("granted", ["alias", "alias/state", "alias/state/keys", "above"])
def test_the_key_is_not_granted_under_another_mounts_name(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, granted: str, mode: str
) -> None:
    """As a container's or a chroot's view of the host has it."""
    (scratch / "disk/state/keys").mkdir(parents=True)
    (scratch / "disk/state").chmod(0o700)
    (scratch / "alias").mkdir()
    (scratch / "above/below").mkdir(parents=True)
    monkeypatch.setenv("HIVEBOX_STATE", str(scratch / "disk/state"))
    setup = f"cd {scratch}; mount --bind disk alias; mount --bind disk/state/keys above/below; cd - > /dev/null"
    assert "is there under another name" in grant_after(setup, str(scratch / granted), mode)
    assert grant_after("", str(scratch / granted.replace("alias", "above")).split("/state")[0]) == "below\n\n"


@pytest.mark.root
def test_nor_when_it_is_on_a_disk_of_its_own(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (scratch / "state/keys").mkdir(parents=True)
    (scratch / "state").chmod(0o700)
    (scratch / "alias").mkdir()
    monkeypatch.setenv("HIVEBOX_STATE", str(scratch / "state"))
    setup = f"mount -t tmpfs -o mode=700 none {scratch}/state/keys; mount --bind {scratch}/state/keys {scratch}/alias"
    assert "is there under another name" in grant_after(setup, str(scratch / "alias"))


_REDIRECT = """
import contextlib, socket
for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
    for name in ("STREAM", "SEQPACKET", "DGRAM"):
        one, other = socket.socketpair(socket.AF_UNIX, kind)
        try:
            one.connect(f"/data/{name}")
            print("connected", kind, name)
        except OSError as error:
            print(error.strerror)
        with contextlib.suppress(OSError):
            one.sendto(b"to the host", f"/data/{name}")
        other.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            print("stayed inside:", other.recv(100))
"""


def test_a_connected_socket_pair_cannot_be_turned_to_a_granted_socket(runner: Runner, data: Path) -> None:
    """The kinds of pairs that the filter leaves where directories are granted."""
    with ExitStack() as stack:
        listeners = {}
        for name in ("STREAM", "SEQPACKET", "DGRAM"):
            kind = getattr(socket, f"SOCK_{name}") | socket.SOCK_NONBLOCK
            listeners[name] = stack.enter_context(socket.socket(socket.AF_UNIX, kind))
            listeners[name].bind(str(data / name))
            (data / name).chmod(0o666)
        listeners["STREAM"].listen()
        listeners["SEQPACKET"].listen()
        report = runner.command("/usr/bin/python3", "-c", _REDIRECT, policy=granting("read_only", data, "/data"))
        said = report.stdout.decode()
        assert report.outcome == "ok", report.stderr
        assert "connected" not in said.replace("already connected", "")
        for name in ("STREAM", "SEQPACKET"):
            with pytest.raises(BlockingIOError):
                listeners[name].accept()
        with pytest.raises(BlockingIOError):
            listeners["DGRAM"].recv(100)


def test_asyncio_and_a_process_pool_work_beside_a_grant(runner: Runner, data: Path) -> None:
    """What programs do with sockets of their own needs no name."""
    program = (
        "import asyncio, multiprocessing as m; asyncio.run(asyncio.sleep(0)); "
        "print(m.get_context('fork').Pool(2).map(abs, [-1, -2]))"
    )
    report = runner.command("/usr/bin/python3", "-c", program, policy=granting("read_only", data, "/data"))
    assert (report.stdout, report.ending.violations) == (b"[1, 2]\n", ()), report.stderr
