"""What an attack needs around it: a listener, a secret, a victim on the host. A scene is a context manager that yields
the values its attack's arguments may name, and how the host can see that the attack succeeded."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hivebox.plan.plan import Plan
from hivebox.policy.model import Mount
from hivebox.rootfs.store import Tree, host_tree

SECRET = "correct-horse-battery-staple"


def _says_breach(output: str) -> bool:
    return "BREACH" in output


class Scene(NamedTuple):
    """``values`` fill ``{name}`` in the attack's arguments. ``breached`` looks at the output, or at the host.
    ``meanwhile`` is what the attacker does on the host once the plan is made; ``mounts`` are granted beside the
    attack's own; ``tree`` is the root to run on instead of the host's."""

    values: dict[str, str]
    breached: Callable[[str], bool] = _says_breach
    meanwhile: Callable[[Plan], Plan] = lambda plan: plan
    meanwhile_outside: Callable[[], None] = lambda: None
    mounts: tuple[Mount, ...] = ()
    tree: Tree | None = None


@contextmanager
def nothing(directory: Path) -> Iterator[Scene]:
    yield Scene({})


@contextmanager
def secret(directory: Path) -> Iterator[Scene]:
    """A private file of the caller."""
    path = directory / "private" / "key"
    path.parent.mkdir()
    path.write_text(SECRET)
    yield Scene({"secret": str(path)})


@contextmanager
def environment_secret(directory: Path) -> Iterator[Scene]:
    os.environ["HIVEBOX_TEST_TOKEN"] = SECRET
    yield Scene({})
    del os.environ["HIVEBOX_TEST_TOKEN"]


@contextmanager
def host_listener(directory: Path) -> Iterator[Scene]:
    """TCP and UDP on the host's loopback, each answering with a secret."""
    with socket.create_server(("127.0.0.1", 0)) as stream, socket.socket(type=socket.SOCK_DGRAM) as datagram:
        datagram.bind(("127.0.0.1", 0))

        def answer_stream() -> None:
            while True:
                try:
                    client, _ = stream.accept()
                except OSError:
                    return
                with client:
                    client.sendall(SECRET.encode())

        def answer_datagram() -> None:
            while True:
                try:
                    data, client = datagram.recvfrom(100)
                except OSError:
                    return
                if data == b"end":
                    return
                datagram.sendto(SECRET.encode(), client)

        threads = [threading.Thread(target=each) for each in (answer_stream, answer_datagram)]
        for thread in threads:
            thread.start()
        ports = {"tcp": str(stream.getsockname()[1]), "udp": str(datagram.getsockname()[1])}
        yield Scene(ports)
        stream.shutdown(socket.SHUT_RDWR)
        with socket.socket(type=socket.SOCK_DGRAM) as ender:
            ender.sendto(b"end", datagram.getsockname())
        for thread in threads:
            thread.join()


@contextmanager
def abstract_listener(directory: Path) -> Iterator[Scene]:
    name = f"hivebox-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0" + name)
        listener.listen()
        yield Scene({"name": name})


@contextmanager
def victim(directory: Path) -> Iterator[Scene]:
    """A process of the caller on the host."""
    process = subprocess.Popen(["sleep", "60"])

    def is_dead(output: str) -> bool:
        try:
            process.wait(0.5)  # a signal is sent sooner than its process is gone
        except subprocess.TimeoutExpired:
            return False
        return True

    yield Scene({"pid": str(process.pid)}, is_dead)
    process.kill()
    process.wait()


@contextmanager
def orphan(directory: Path) -> Iterator[Scene]:
    """``token`` is on the command line of whatever the attack starts; what still runs at the end is a breach."""
    token = f"orphan-{os.urandom(8).hex()}"
    yield Scene({"token": token}, lambda output: bool(_running(token)))
    for pid in _running(token):
        os.kill(pid, signal.SIGKILL)
    while _running(token):
        time.sleep(0.01)
    _remove_own_groups()


def _remove_own_groups() -> None:
    """Control groups that could not be removed while an orphan was in them."""
    for parent, names, _ in os.walk("/sys/fs/cgroup"):
        for name in names:
            while name.startswith(f"hivebox.{os.getpid()}.") and os.path.exists(f"{parent}/{name}"):
                try:
                    os.rmdir(f"{parent}/{name}")
                except OSError:  # its process is being reaped
                    time.sleep(0.01)


def _running(token: str) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and token.encode() in Path(f"/proc/{entry}/cmdline").read_bytes():
                found.append(int(entry))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


@contextmanager
def inherited_directory(directory: Path) -> Iterator[Scene]:
    """A descriptor of a host directory that a careless program left open across exec."""
    (directory / "private").mkdir()
    (directory / "private" / SECRET).touch()
    handle = os.open(directory / "private", os.O_RDONLY)
    os.set_inheritable(handle, True)
    yield Scene({"fd": str(handle)})
    os.close(handle)


@contextmanager
def _replaced(number: int, handle: int) -> Iterator[None]:
    saved = os.dup(number)
    os.dup2(handle, number)
    try:
        yield
    finally:
        os.dup2(saved, number)
        os.close(saved)


@contextmanager
def callers_stdin(directory: Path) -> Iterator[Scene]:
    """The caller's own standard input, with a line that is not the script's to read."""
    read_fd, write_fd = os.pipe()
    os.write(write_fd, SECRET.encode())
    os.close(write_fd)
    with _replaced(0, read_fd):
        yield Scene({})
    os.close(read_fd)


@contextmanager
def callers_log(directory: Path) -> Iterator[Scene]:
    """Standard error of the caller is a log file."""
    log = directory / "log"
    log.write_text("what happened before\n")
    handle = os.open(log, os.O_WRONLY | os.O_APPEND)
    with _replaced(2, handle):
        yield Scene({}, lambda output: "before" not in log.read_text())
    os.close(handle)


@contextmanager
def callers_terminal(directory: Path) -> Iterator[Scene]:
    """The caller sits at a terminal. The test runs in a process that has it as its controlling one (``terminal``)."""
    controller, terminal = pty.openpty()
    with _replaced(0, terminal):
        yield Scene({})
    os.close(controller)
    os.close(terminal)


@contextmanager
def shared_memory(directory: Path) -> Iterator[Scene]:
    """A System V segment of the host, readable by everyone, as databases make them."""
    made = subprocess.run(["ipcmk", "-M", "4096", "-p", "0666"], capture_output=True, text=True, check=True)
    number = made.stdout.split()[-1]
    yield Scene({"shmid": number})
    subprocess.run(["ipcrm", "-m", number], check=True)


@contextmanager
def host_name(directory: Path) -> Iterator[Scene]:
    yield Scene({"host": os.uname().nodename})


@contextmanager
def swapped_script(directory: Path) -> Iterator[Scene]:
    """The attacker replaces the script's text after it was hashed."""
    script = directory / "attack.py"

    def swap(plan: Plan) -> Plan:
        replace()
        return plan

    def replace() -> None:
        script.write_text("print('BREACH: another script ran than the one that was hashed')\n")

    yield Scene({}, meanwhile=swap, meanwhile_outside=replace)


@contextmanager
def swapped_source(directory: Path) -> Iterator[Scene]:
    """The attacker replaces a directory above the granted one by a link, after it was checked."""
    (directory / "private").mkdir()
    (directory / "private" / "note").write_text(SECRET)
    shared = directory / "shared"

    def swap() -> None:
        shared.rename(directory / "moved")
        shared.symlink_to("private")

    def meanwhile(plan: Plan) -> Plan:
        attach = plan.namespaces.attach

        def attach_and_swap(pid: int) -> None:
            attach(pid)
            swap()

        plan.namespaces.attach = attach_and_swap  # type: ignore[method-assign]
        return plan

    yield Scene({}, meanwhile=meanwhile, meanwhile_outside=swap)


@contextmanager
def locked_file(directory: Path) -> Iterator[Scene]:
    path = directory / "shared" / "locked"
    path.write_text(SECRET)
    path.chmod(0)
    yield Scene({})


@contextmanager
def foreign_file(directory: Path) -> Iterator[Scene]:
    """Root's file in a directory of somebody else."""
    path = directory / "shared" / "roots"
    path.write_text(SECRET)
    path.chmod(0o600)
    os.chown(directory / "shared", 65534, 65534)
    yield Scene({})


@contextmanager
def device_in_directory(directory: Path) -> Iterator[Scene]:
    path = directory / "shared" / "device"
    os.mknod(path, 0o020666, os.makedev(1, 5))  # /dev/zero under another name
    path.chmod(0o666)
    yield Scene({})


@contextmanager
def program_with_capabilities(directory: Path) -> Iterator[Scene]:
    """An interpreter that may bind low ports, as `setcap cap_net_bind_service=ep` makes it."""
    program = directory / "shared" / "python"
    shutil.copy(os.path.realpath("/usr/bin/python3"), program)
    revision_2_effective, net_bind_service = 0x02000001, 1 << 10
    content = struct.pack("<5I", revision_2_effective, net_bind_service, 0, 0, 0)
    os.setxattr(program, "security.capability", content)
    yield Scene({})


@contextmanager
def socket_in_directory(directory: Path) -> Iterator[Scene]:
    """A daemon that takes connections, and one that takes datagrams."""
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        for each, name in ((listener, "agent.sock"), (log, "log.sock")):
            each.bind(str(directory / "shared" / name))
            (directory / "shared" / name).chmod(0o666)
        listener.listen()
        yield Scene({})


@contextmanager
def lower_directory(directory: Path) -> Iterator[Scene]:
    shared = directory / "shared"

    def changed(output: str) -> bool:
        return [path.name for path in shared.iterdir()] != ["note"] or (shared / "note").read_text() != "shared\n"

    yield Scene({}, changed)


@contextmanager
def careless_tree(directory: Path) -> Iterator[Scene]:
    """A root with a file in it that everyone may write."""
    unit = Path(tempfile.mkdtemp(prefix="hivebox-unit-", dir="/var/tmp"))  # not below a mount point of the sandbox
    unit.chmod(0o755)
    (unit / "module.py").touch()
    (unit / "module.py").chmod(0o666)
    tree = host_tree()
    yield Scene({"unit": str(unit)}, tree=tree._replace(mounts=(*tree.mounts, str(unit))))
    shutil.rmtree(unit)


@contextmanager
def linked_destination(directory: Path) -> Iterator[Scene]:
    """An earlier run left a link in the shared directory, at the place where this run's second grant goes."""
    (directory / "shared" / "cache").symlink_to("/etc")
    forged = directory / "forged"
    forged.mkdir()
    (forged / "hosts").write_text(SECRET)
    yield Scene({"forged": str(forged)}, mounts=(Mount(str(forged), "/shared/cache", "read_only"),))


@contextmanager
def audit_state(directory: Path) -> Iterator[Scene]:
    yield Scene({"state": os.environ["HIVEBOX_STATE"]})


@contextmanager
def other_run(directory: Path) -> Iterator[Scene]:
    """A second sandbox of the same caller, with a file in its work directory."""
    supervisor = os.fork()
    if supervisor == 0:
        from tests.harness import Runner

        try:
            Runner().command("sh", "-c", f"echo {SECRET} > key; sleep 30")
        finally:
            os._exit(0)
    pid = 0
    while not _readable(f"/proc/{pid}/root/work/key"):
        time.sleep(0.02)
        pid = _only_child(_only_child(supervisor))
    yield Scene({"pid": str(pid)})
    os.kill(supervisor, signal.SIGTERM)  # which it passes on, and then tidies up
    os.waitpid(supervisor, 0)


def _readable(path: str) -> bool:
    try:
        return bool(Path(path).read_text())
    except (FileNotFoundError, PermissionError, ProcessLookupError):  # not yet there, or not yet the payload
        return False


def _only_child(pid: int) -> int:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(children[-1]) if pid and children else 0


SCENES = {
    each.__name__: each
    for each in (
        nothing, secret, environment_secret, host_listener, abstract_listener, victim, orphan, inherited_directory,
        callers_stdin, callers_log, callers_terminal, shared_memory, host_name, swapped_script, swapped_source,
        locked_file, foreign_file, device_in_directory, lower_directory, linked_destination,
        careless_tree, audit_state, socket_in_directory, program_with_capabilities, other_run,
    )
}  # fmt: skip
