"""Compiled programs: what they decide (interpreted here, for every number), and what the kernel does with them.

The kernel tests load a real program in a child of this test, answer its notifications as the supervisor does, and
run as nobody, so that a program that lets a call through does no harm.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import json
import mmap
import os
import random
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hivebox.errors import HiveboxError
from hivebox.kernel import bpf, process, seccomp
from hivebox.kernel.seccomp_compile import _LAUNCHER_RULES, compile_program
from hivebox.kernel.syscall_table import MACHINE, syscall_name
from hivebox.policy.load import load_policy
from hivebox.policy.model import Filesystem, Policy, Syscalls
from hivebox.policy.syscall_filters import SyscallRule, rules
from hivebox.policy.syscall_groups import GROUPS, QUIET, granted
from hivebox.policy.syscall_numbers import numbers

PYTHON = ("@base", "@python", "@threads", "@process", "@exec", "@network-local")
STRICT = ("@base", "@python")
NUMBERS = numbers(MACHINE)
MAGIC = 0x0123_4567_89AB_CDEF
EPERM, ENOSYS, EINVAL, EBADF, ENOTSOCK, EAFNOSUPPORT = 1, 38, 22, 9, 88, 97
SIGCHLD = 17
NOBODY = 65534
AT_FDCWD = -100
LAST_NUMBER = 600


def policy(groups: tuple[str, ...], allow: tuple[str, ...] = (), *, work_exec: bool = False) -> Policy:
    return Policy("test", syscalls=Syscalls(groups, allow), filesystem=Filesystem(work_exec=work_exec))


# --- the program, interpreted ----------------------------------------------------------------------------------------

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[MACHINE]
ALLOW, NOTIFY, KILL_PROCESS, ERRNO = 0x7FFF0000, 0x7FC00000, 0x80000000, 0x00050000


def interpret(program: bytes, number: int, arguments: tuple[int, ...] = (), arch: int = AUDIT_ARCH) -> int:
    """What the kernel's BPF machine returns for one call (the instructions that libseccomp uses)."""
    data = struct.pack("=iIQ6Q", number, arch, 0, *(*arguments, *(0,) * (6 - len(arguments))))
    code = bpf.instructions(program)
    accumulator = at = 0
    while True:
        operation, if_true, if_false, constant = code[at]
        at += 1
        if operation == 0x06:
            return constant
        if operation == 0x20:
            accumulator = int.from_bytes(data[constant : constant + 4], "little")
        elif operation == 0x54:
            accumulator &= constant
        elif operation == 0x05:
            at += constant
        else:
            taken = {0x15: accumulator == constant, 0x25: accumulator > constant, 0x35: accumulator >= constant}
            at += if_true if taken[operation] else if_false


def expected(all_rules: list[SyscallRule], name: str, arguments: tuple[int, ...]) -> int:
    for rule in all_rules:
        if rule.call == name and all(arguments[c.argument] & c.mask == c.value for c in rule.conditions):
            return ALLOW if rule.errno is None else ERRNO | rule.errno
    return NOTIFY


def tricky_arguments(all_rules: list[SyscallRule], name: str, rng: random.Random) -> Iterator[tuple[int, ...]]:
    """Values at, beside and above what the rules of ``name`` compare with."""
    conditions = [condition for rule in all_rules if rule.call == name for condition in rule.conditions]
    yield (0,) * 6
    yield ((1 << 64) - 1,) * 6
    for _ in range(200 if conditions else 2):
        arguments = [rng.getrandbits(rng.choice((1, 8, 16, 32, 64))) for _ in range(6)]
        for condition in rng.sample(conditions, min(len(conditions), 3)):
            noise = rng.choice((0, 0, 1 << rng.randrange(64), rng.getrandbits(64) & ~condition.mask))
            arguments[condition.argument] = condition.value ^ noise
        yield tuple(arguments)


@pytest.mark.parametrize(
    "subject",
    [
        policy(("@base",)),
        policy(STRICT),
        policy(PYTHON),
        policy(tuple(GROUPS), work_exec=True),
        policy(PYTHON, ("ptrace", "clone3", "openat2")),
        Policy("denied", syscalls=Syscalls(PYTHON, (), ("fork", "socket", "execve", "execveat", "sendmsg"))),
    ],
    ids=["base", "strict", "python", "everything", "dangerous", "denied"],
)
def test_the_program_decides_what_the_rules_say(subject: Policy) -> None:
    """Every number, with arguments at the edges of every rule: libseccomp's optimiser changed nothing."""
    program = compile_program(subject)
    all_rules = [*rules(subject), *_LAUNCHER_RULES]
    rng = random.Random(1)
    for number in range(LAST_NUMBER):
        for arguments in tricky_arguments(all_rules, syscall_name(number), rng):
            verdict = interpret(program, number, arguments)
            assert verdict == expected(all_rules, syscall_name(number), arguments), (syscall_name(number), arguments)


@pytest.mark.parametrize("number", [NUMBERS["read"], NUMBERS["ptrace"], 9999])
def test_another_architecture_ends_the_process(number: int) -> None:
    program = compile_program(policy(PYTHON))
    for arch in (0x40000003, 0x40000028, 0):  # i386, 32-bit arm, nonsense
        assert interpret(program, number, (), arch) == KILL_PROCESS
    if MACHINE == "x86_64":
        assert interpret(program, number | 0x40000000) == KILL_PROCESS  # x32


def test_allowed_calls_without_a_filter_never_load_an_argument() -> None:
    """So the kernel answers them from its bitmap of constant verdicts (seccomp_cache_prepare), not by running this."""
    program = compile_program(policy(PYTHON))
    without = {rule.call for rule in rules(policy(PYTHON)) if not rule.conditions and rule.errno is None}
    code = bpf.instructions(program)
    for name in without & set(NUMBERS):
        accumulator = at = 0
        while code[at][0] != 0x06:
            operation, if_true, if_false, constant = code[at]
            at += 1
            if operation == 0x20:
                assert constant in (0, 4), f"{name} loads offset {constant}"
                accumulator = NUMBERS[name] if constant == 0 else AUDIT_ARCH
            elif operation == 0x05:
                at += constant
            else:
                taken = {0x15: accumulator == constant, 0x25: accumulator > constant, 0x35: accumulator >= constant}
                at += if_true if taken[operation] else if_false


# --- the launcher's exec ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [STRICT, PYTHON])
def test_only_the_magic_of_this_run_passes(groups: tuple[str, ...]) -> None:
    subject = policy(groups)
    program = bpf.patch_exec_magic(compile_program(subject), MAGIC)
    execveat = NUMBERS["execveat"]
    other = ALLOW if groups == PYTHON else NOTIFY
    assert interpret(program, execveat, (3, 0, 0, 0, 0x1000, MAGIC)) == ALLOW
    for wrong in (0, MAGIC ^ 1, MAGIC ^ 1 << 63, MAGIC & 0xFFFF_FFFF, MAGIC >> 32, bpf.EXEC_MAGIC_PLACEHOLDER):
        assert interpret(program, execveat, (3, 0, 0, 0, 0x1000, wrong)) == other
        assert interpret(program, execveat, (3, 0, 0, 0, 1 << 31, wrong)) == NOTIFY


def test_patching_changes_two_constants_and_nothing_else() -> None:
    before = bpf.instructions(compile_program(policy(STRICT)))
    after = bpf.instructions(bpf.patch_exec_magic(compile_program(policy(STRICT)), MAGIC))
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert [(new[3], new[:3] == old[:3]) for old, new in changed] == [(MAGIC >> 32, True), (MAGIC & 0xFFFF_FFFF, True)]


@pytest.mark.parametrize("magic", [0, -1, 1 << 64, bpf.EXEC_MAGIC_PLACEHOLDER])
def test_a_magic_that_is_no_secret_is_refused(magic: int) -> None:
    with pytest.raises(HiveboxError, match="cannot patch"):
        bpf.patch_exec_magic(compile_program(policy(STRICT)), magic)


def test_patching_anything_but_one_placeholder_is_an_error() -> None:
    program = compile_program(policy(STRICT))
    patched = bpf.patch_exec_magic(program, MAGIC)
    for wrong in (b"", patched, program + program, program[:-8] + program):
        with pytest.raises(HiveboxError, match="cannot patch"):
            bpf.patch_exec_magic(wrong, MAGIC)


# --- the cache -------------------------------------------------------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HIVEBOX_STATE", str(tmp_path))
    return tmp_path


def cached_file(state: Path) -> Path:
    (path,) = (state / "cache" / "seccomp").iterdir()
    return path


def imports_pyseccomp() -> bool:
    """Whether a new process needs pyseccomp for the program of ``policy(STRICT)``; it must get the same one."""
    source = (
        "import sys; from hivebox.kernel import bpf; from hivebox.policy.model import *\n"
        f"print(bpf.program_for(Policy('test', syscalls=Syscalls({STRICT!r})))[1], 'pyseccomp' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", source], check=True, capture_output=True, text=True)
    digest, imported = result.stdout.split()
    assert digest == bpf.program_for(policy(STRICT))[1]
    return imported == "True"


def test_a_second_run_compiles_nothing(state: Path) -> None:
    assert imports_pyseccomp()
    assert not imports_pyseccomp()
    assert [each.stat().st_mode & 0o077 for each in (state / "cache", state / "cache" / "seccomp")] == [0, 0]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "header", "library"])
def test_a_damaged_cache_is_rebuilt(state: Path, damage: str) -> None:
    program, digest = bpf.program_for(policy(STRICT))
    path = cached_file(state)
    whole = path.read_bytes()
    header = json.loads(whole.partition(b"\n")[0])
    path.write_bytes(
        {
            "truncated": whole[:-8],
            "flipped": whole[:-1] + bytes([whole[-1] ^ 1]),
            "empty": b"",
            "header": b"[1]\n" + program,
            "library": json.dumps(header | {"library_mtime_ns": 0}).encode() + b"\n" + program,
        }[damage]
    )
    assert bpf.program_for(policy(STRICT)) == (program, digest)
    assert path.read_bytes() == whole


def test_every_part_of_the_policy_that_matters_has_its_own_program(state: Path) -> None:
    subjects = [
        policy(STRICT),
        policy(STRICT, work_exec=True),
        policy(STRICT, ("ptrace",)),
        Policy("test", syscalls=Syscalls(STRICT, (), ("kill",))),
        policy(("@base",)),
    ]
    assert len({bpf.program_for(subject)[1] for subject in subjects}) == len(subjects)
    assert len(list((state / "cache" / "seccomp").iterdir())) == len(subjects)


def test_what_does_not_matter_shares_one(state: Path) -> None:
    bpf.program_for(policy(STRICT))
    bpf.program_for(Policy("another name", syscalls=Syscalls(STRICT[::-1], kill_after=1)))
    assert cached_file(state)


def test_a_cache_that_cannot_be_written_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIVEBOX_STATE", "/proc/nothing")
    with pytest.raises(HiveboxError, match="cannot keep"):  # ENOENT is not what a full or read-only disk gives
        bpf.program_for(policy(STRICT))
    monkeypatch.setenv("HIVEBOX_STATE", "/sys/kernel/nothing")
    assert bpf.program_for(policy(STRICT))[0] == compile_program(policy(STRICT))


# --- the kernel ------------------------------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """``result`` is what the child's function returned, ``refused`` the names that came by notification."""

    result: Any
    refused: list[str]
    status: int


_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def call(name: str | int, *arguments: int | bytes) -> int:
    """A raw system call: its result, or the negative errno."""
    number = NUMBERS[name] if isinstance(name, str) else name
    converted = [ctypes.c_ulong(a & (1 << 64) - 1) if isinstance(a, int) else a for a in arguments]
    result: int = _libc.syscall(ctypes.c_long(number), *converted)
    return -ctypes.get_errno() if result == -1 else result


def _child(program: bytes, function: Callable[[], Any], control: socket.socket, result_fd: int) -> None:
    os.dup2(control.fileno(), bpf.CONTROL_FD, inheritable=False)
    on_control = socket.socket(fileno=bpf.CONTROL_FD)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    process.set_no_new_privs()
    notify_fd = seccomp.load(program)
    on_control.sendmsg([b"fd"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [notify_fd]))])
    on_control.detach()  # its finaliser would call getsockname(2)
    os.close(notify_fd)
    os.write(result_fd, json.dumps(function()).encode())


def _supervise(notify_fd: int, pid: int) -> tuple[list[str], int]:
    refused = []
    pid_fd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(notify_fd, select.POLLIN)
    poll.register(pid_fd, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        if ready.get(notify_fd, 0) & select.POLLIN:
            request = seccomp.receive(notify_fd)
            if request:
                name = syscall_name(request.number)
                seccomp.refuse(notify_fd, request.cookie, EPERM if name else ENOSYS)
                refused.append(name or str(request.number))
        elif pid_fd in ready:
            break
    os.close(pid_fd)
    return refused, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def confined(subject: Policy, function: Callable[[], Any]) -> Outcome:
    """Run ``function`` in a child under the policy's program, patched with MAGIC."""
    program = bpf.patch_exec_magic(compile_program(subject), MAGIC)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            _child(program, function, theirs, write_fd)
            os._exit(0)
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
            os._exit(125)
    theirs.close()
    os.close(write_fd)
    try:
        _, ancillary, _, _ = ours.recvmsg(8, socket.CMSG_SPACE(4))
        (notify_fd,) = array.array("i", ancillary[0][2])
        refused, status = _supervise(notify_fd, pid)
        os.close(notify_fd)
        with os.fdopen(read_fd) as results:
            text = results.read()
    finally:
        ours.close()
    return Outcome(json.loads(text) if text else None, refused, status)


def test_the_child_hands_its_listener_over_even_without_sendmsg() -> None:
    """``confined`` itself needs it; and it is sendmsg on that descriptor only."""
    outcome = confined(policy(STRICT), lambda: [call("sendmsg", 5, 0, 0), call("sendmsg", 1 << 32 | 1000, 0, 0)])
    assert outcome == Outcome([-EPERM, -14], ["sendmsg"], 0)


def test_every_call_that_is_not_granted_is_refused_by_name() -> None:
    subject = policy(PYTHON)
    known = granted(subject.syscalls)
    refused = sorted(name for name in NUMBERS if name not in known and name not in QUIET)
    outcome = confined(subject, lambda: [call(name, *(0,) * 6) for name in refused])
    assert outcome == Outcome([-EPERM] * len(refused), refused, 0)
    assert {"ptrace", "bpf", "mount", "unshare", "setns", "io_uring_setup", "keyctl", "seccomp"} <= set(refused)


def test_numbers_nobody_knows_answer_enosys_and_are_reported() -> None:
    assert confined(policy(STRICT), lambda: [call(500), call(999)]) == Outcome([-ENOSYS] * 2, ["500", "999"], 0)


def test_quiet_calls_answer_their_errno_without_an_event() -> None:
    outcome = confined(policy(STRICT), lambda: [call(name, 0, 0, 0, 0) for name in QUIET])
    assert outcome == Outcome([-errno for errno, _ in QUIET.values()], [], 0)


def test_node_asks_for_a_ring_without_an_event() -> None:
    """Of exactly libuv's size, and where Node is what runs; nobody gets one."""
    rings = [("io_uring_setup", 256), ("io_uring_setup", 255)]
    outcome = confined(policy((*PYTHON, "@node")), lambda: [call(name, size, 0) for name, size in rings])
    assert outcome == Outcome([-ENOSYS, -EPERM], ["io_uring_setup"], 0)
    outcome = confined(policy(PYTHON), lambda: [call(name, size, 0) for name, size in rings])
    assert outcome == Outcome([-EPERM, -EPERM], ["io_uring_setup"] * 2, 0)


def test_the_process_outside_is_not_filtered() -> None:
    confined(policy(STRICT), lambda: None)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    assert "\nSeccomp:\t0\n" in status


needs_x86 = pytest.mark.skipif(MACHINE != "x86_64", reason="needs an x86_64 machine")


@needs_x86
def test_x32_calls_end_the_process() -> None:
    outcome = confined(policy(PYTHON), lambda: call(0x40000000 | NUMBERS["getpid"]))
    assert outcome.status == -signal.SIGSYS


def _int80(number: int) -> int:
    """i386's own way into the kernel: mov eax, number; int 0x80; ret."""
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"\xb8" + number.to_bytes(4, "little") + b"\xcd\x80\xc3")
    code = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    return int(code())


I386_GETPID = 20


@needs_x86
def test_i386_calls_end_the_process() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0 if _int80(I386_GETPID) == os.getpid() else 1)
    if os.waitpid(pid, 0)[1]:
        pytest.skip("this kernel has no IA32 emulation")
    assert confined(policy(PYTHON), lambda: _int80(I386_GETPID)).status == -signal.SIGSYS


@pytest.mark.parametrize("high", [0, 1 << 32, 0xFFFF_FFFF << 32])
@pytest.mark.parametrize(
    ("command", "allowed"),
    [(0x541B, True), (0x5401, True), (0x5412, False), (0x541C, False), (0x5423, False), (0x541D, False)],
    ids=["FIONREAD", "TCGETS", "TIOCSTI", "TIOCLINUX", "TIOCSETD", "TIOCCONS"],
)
def test_ioctl(command: int, allowed: bool, high: int) -> None:
    """High bits are no way around (CVE-2019-10063), nor a way to be refused."""
    outcome = confined(policy(STRICT), lambda: call("ioctl", 2000, high | command, 0))
    assert outcome == (Outcome(-EBADF, [], 0) if allowed else Outcome(-EPERM, ["ioctl"], 0))


NAMESPACES = {
    "NEWTIME": 0x80, "NEWNS": 0x20000, "NEWCGROUP": 0x2000000, "NEWUTS": 0x4000000, "NEWIPC": 0x8000000,
    "NEWUSER": 0x10000000, "NEWPID": 0x20000000, "NEWNET": 0x40000000,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMESPACES)
def test_clone_makes_no_namespace(name: str) -> None:
    flags = NAMESPACES[name] | (0 if name == "NEWTIME" else SIGCHLD)
    user = NAMESPACES["NEWUSER"]
    outcome = confined(policy(PYTHON), lambda: [call("clone", each, 0, 0, 0, 0) for each in (flags, flags | user)])
    assert outcome == Outcome([-EPERM] * 2, ["clone"] * 2, 0)


def _fork_once() -> str:
    try:
        pid = os.fork()
    except PermissionError:
        return "refused"
    if pid == 0:
        os._exit(0)
    return "forked" if os.waitpid(pid, 0)[1] == 0 else "lost"


def _thread_once() -> str:
    done: list[str] = []
    thread = threading.Thread(target=lambda: done.append("ran"))
    try:
        thread.start()
    except RuntimeError:
        return "refused"
    thread.join()
    return done[0]


@pytest.mark.parametrize(
    ("groups", "expected_results"),
    [
        (("@base",), ["refused", "refused"]),
        (("@base", "@threads"), ["refused", "ran"]),
        (("@base", "@process"), ["forked", "ran"]),
    ],
)
def test_threads_and_processes_as_granted(groups: tuple[str, ...], expected_results: list[str]) -> None:
    outcome = confined(policy(groups), lambda: [_fork_once(), _thread_once()])
    assert outcome.result == expected_results
    assert outcome.refused == ["clone"] * expected_results.count("refused")


def test_vfork_is_no_thread() -> None:
    vfork, vm = 0x4000, 0x100
    outcome = confined(policy(("@base", "@threads")), lambda: call("clone", vfork | vm | SIGCHLD, 0, 0, 0, 0))
    assert outcome == Outcome(-EPERM, ["clone"], 0)


O_CREAT, O_TMPFILE = os.O_CREAT, os.O_TMPFILE
SETUID, SETGID = 0o4755, 0o2755
MODE_CALLS: dict[str, Callable[[int], tuple[int | bytes, ...]]] = {
    "chmod": lambda mode: (b"/nowhere/x", mode),
    "fchmod": lambda mode: (2000, mode),
    "fchmodat": lambda mode: (AT_FDCWD, b"/nowhere/x", mode),
    "fchmodat2": lambda mode: (AT_FDCWD, b"/nowhere/x", mode, 0),
    "mkdir": lambda mode: (b"/nowhere/x", mode),
    "mkdirat": lambda mode: (AT_FDCWD, b"/nowhere/x", mode),
    "creat": lambda mode: (b"/nowhere/x", mode),
    "open": lambda mode: (b"/nowhere/x", O_CREAT | os.O_WRONLY, mode),
    "openat": lambda mode: (AT_FDCWD, b"/nowhere/x", O_CREAT | os.O_WRONLY, mode),
    "openat ": lambda mode: (AT_FDCWD, b"/nowhere", O_TMPFILE | os.O_WRONLY, mode),
    "mknod": lambda mode: (b"/nowhere/x", mode | 0o100000, 0),
    "mknodat": lambda mode: (AT_FDCWD, b"/nowhere/x", mode | 0o10000, 0),
}


@pytest.mark.parametrize("key", [name for name in MODE_CALLS if name.strip() in NUMBERS])
def test_no_set_id_files(key: str) -> None:
    name, arguments = key.strip(), MODE_CALLS[key]
    modes = (0o755, 0o1777, SETUID, SETGID, SETUID | 1 << 32)
    outcome = confined(policy(STRICT), lambda: [call(name, *arguments(mode)) for mode in modes])
    harmless, *refused = outcome.result[1:]
    assert outcome.result[0] == harmless
    assert harmless in (-2, -EBADF, -ENOSYS)  # it reached the kernel, where there is no such file
    assert refused == [-EPERM] * 3
    assert outcome.refused == [name] * 3


def test_a_mode_without_o_creat_is_not_looked_at() -> None:
    assert confined(policy(STRICT), lambda: call("openat", AT_FDCWD, b"/dev/null", 0, SETUID) > 0).result is True


@pytest.mark.parametrize("kind", [0o020000, 0o060000, 0o040000])
def test_no_device_nodes(kind: int) -> None:
    outcome = confined(policy(STRICT), lambda: call("mknodat", AT_FDCWD, b"/nowhere/x", kind | 0o644, 0))
    assert outcome == Outcome(-EPERM, ["mknodat"], 0)


@pytest.mark.parametrize("name", ["default", "governance", "node", "python", "shell", "strict"])
def test_no_shipped_profile_grants_huge_pages(name: str) -> None:
    """Nor does one with work_exec, or with System V segments."""
    shipped, _ = load_policy(name)
    wide = shipped._replace(
        filesystem=shipped.filesystem._replace(work_exec=True), syscalls=Syscalls((*shipped.syscalls.groups, "@ipc"))
    )
    for each in (shipped, wide):
        program = compile_program(each)
        for call_name, argument, bit in (("mmap", 3, 0x40000), ("memfd_create", 1, 4), ("shmget", 2, 0o4000)):
            plain = [0x8] * 6  # MFD_NOEXEC_SEAL
            huge = [*plain[:argument], plain[argument] | bit, *plain[argument + 1 :]]
            assert interpret(program, NUMBERS[call_name], tuple(huge)) != ALLOW
            granted_call = call_name in granted(each.syscalls)
            assert (interpret(program, NUMBERS[call_name], tuple(plain)) == ALLOW) == granted_call


def test_memfd_is_not_executable_unless_the_work_directory_is() -> None:
    noexec_seal, executable = 0x8, 0x10

    def memfd() -> list[bool]:
        return [call("memfd_create", b"x", flags) >= 0 for flags in (0, executable, noexec_seal)]

    strict, loose = confined(policy(STRICT), memfd), confined(policy(STRICT, work_exec=True), memfd)
    sealed_works = loose.result[2]  # Linux 6.3
    assert strict == Outcome([False, False, sealed_works], ["memfd_create"] * 2, 0)
    assert loose.result[0] is True
    assert loose.refused == []


def test_prlimit_of_others_can_be_read_not_set() -> None:
    nofile = 7

    def prlimit() -> list[int]:
        limit, parent = b"\xff" * 16, os.getppid()
        old = bytes(16)
        return [call("prlimit64", 0, nofile, 0, old), call("prlimit64", os.getpid(), nofile, 0, old),
                call("prlimit64", parent, nofile, limit, 0), call("prlimit64", 1, nofile, limit, 0)]  # fmt: skip

    assert confined(policy(STRICT), prlimit) == Outcome([0, 0, -EPERM, -EPERM], ["prlimit64"] * 2, 0)


UNIX, INET, INET6, NETLINK = socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK
FLAGS = socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK


@pytest.mark.parametrize(
    "arguments",
    [
        *((UNIX, kind | FLAGS, 0) for kind in (1, 2, 5)),
        *((family, kind, protocol) for family in (INET, INET6) for kind, protocol in ((1, 0), (1, 6), (2, 0), (2, 17))),
        (UNIX | 1 << 32, 1, 0),
    ],
)
def test_sockets_that_are_granted(arguments: tuple[int, int, int]) -> None:
    outcome = confined(policy(PYTHON), lambda: call("socket", *arguments))
    assert outcome.refused == []
    assert outcome.result >= 0 or outcome.result == -EAFNOSUPPORT  # a kernel without IPv6


@pytest.mark.parametrize(
    "arguments",
    [
        (INET, socket.SOCK_RAW, 1), (INET, socket.SOCK_DGRAM, 1), (INET, socket.SOCK_STREAM, 132),
        (INET, socket.SOCK_DGRAM, 136), (INET, socket.SOCK_STREAM, 262), (INET, 5, 132), (INET, 6, 33),
        (17, 3, 0), (38, 5, 0), (40, 1, 0), (44, 3, 0), (16, 3, 12), (16, 3, 15), (29, 3, 1), (31, 1, 3), (10, 3, 58),
        (1 << 31 | INET, 1, 0), (0, 0, 0),
    ],
)  # fmt: skip
def test_sockets_that_are_not(arguments: tuple[int, int, int]) -> None:
    assert confined(policy(PYTHON), lambda: call("socket", *arguments)) == Outcome(-EPERM, ["socket"], 0)


def test_libraries_that_ask_netlink_or_nscd_are_refused_quietly() -> None:
    asks = [(NETLINK, 3 | socket.SOCK_CLOEXEC, 0), (UNIX, 1 | FLAGS, 0), (UNIX, 1, 0)]
    outcome = confined(policy(STRICT), lambda: [call("socket", *ask) for ask in asks])
    assert outcome == Outcome([-EAFNOSUPPORT, -EAFNOSUPPORT, -EPERM], ["socket"], 0)


def test_names_resolve_without_netlink() -> None:
    outcome = confined(policy(PYTHON), lambda: socket.getaddrinfo("127.0.0.1", 80, proto=socket.IPPROTO_TCP)[0][4])
    assert outcome == Outcome(["127.0.0.1", 80], [], 0)


@pytest.mark.parametrize(
    ("level", "option", "allowed"),
    [
        (1, 2, True), (1, 25, True), (6, 1, True), (6, 18, True), (41, 26, True), (41, 67, True), (0, 1, True),
        (1, 26, False), (1, 50, False), (1, 51, False), (6, 31, False), (6, 19, False), (0, 64, False), (41, 64, False),
        (17, 100, False), (255, 1, False), (263, 10, False), (1, 1 << 31 | 2, False),
    ],
)  # fmt: skip
def test_setsockopt(level: int, option: int, allowed: bool) -> None:
    outcome = confined(policy(PYTHON), lambda: call("setsockopt", 2000, level, option, 0, 0))
    assert outcome == (Outcome(-EBADF, [], 0) if allowed else Outcome(-EPERM, ["setsockopt"], 0))


@pytest.mark.parametrize(
    ("name", "arguments", "allowed"),
    [
        ("prctl", (16, bytes(16)), True),
        ("prctl", (22, 1), False),  # PR_SET_SECCOMP
        ("prctl", (35, 13, 0), False),  # PR_SET_MM
        ("prctl", (0x59616D61, -1), False),  # PR_SET_PTRACER
        ("prctl", (47, 2, 0), False),  # PR_CAP_AMBIENT
        ("personality", (0xFFFFFFFF,), True),
        ("personality", (0,), True),
        ("personality", (0x0040000,), False),  # ADDR_NO_RANDOMIZE
        ("personality", (0x0400000,), False),  # READ_IMPLIES_EXEC
    ],
)
def test_process_state(name: str, arguments: tuple[int | bytes, ...], allowed: bool) -> None:
    outcome = confined(policy(STRICT), lambda: call(name, *arguments) != -EPERM)
    assert outcome == Outcome(allowed, [] if allowed else [name], 0)


# --- exec ------------------------------------------------------------------------------------------------------------

EXEC_AGAIN = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
try:
    os.execv("/bin/true", ["true"])
except PermissionError:
    print("execve refused")
argv = (ctypes.c_char_p * 2)(b"true", None)
for magic in (0, 1, %d):
    libc.syscall(%d, -100, b"/bin/true", argv, None, 0, ctypes.c_long(magic))
    print("execveat", ctypes.get_errno())
"""


# Found before privileges are dropped: a virtual environment may lie where only its owner can enter.
INTERPRETER = os.path.realpath(sys.executable)


def _exec(magic: int, source: str, output_fd: int) -> None:
    os.dup2(output_fd, 1)
    argv = [b"python", b"-I", b"-S", b"-c", source.encode()]
    try:
        process.execveat(AT_FDCWD, INTERPRETER, argv, [b"PATH=/usr/bin:/bin"], magic)
    except PermissionError:
        os._exit(99)


def run_python(subject: Policy, magic: int, source: str) -> tuple[Outcome, str]:
    with tempfile.TemporaryFile() as output:
        outcome = confined(subject, lambda: _exec(magic, source, output.fileno()))
        output.seek(0)
        return outcome, output.read().decode()


def test_one_exec_and_no_other() -> None:
    source = EXEC_AGAIN % (bpf.EXEC_MAGIC_PLACEHOLDER, NUMBERS["execveat"])
    outcome, output = run_python(policy(STRICT), MAGIC, source)
    assert output.splitlines() == ["execve refused", "execveat 1", "execveat 1", "execveat 1"]
    assert outcome == Outcome(None, ["execve", "execveat", "execveat", "execveat"], 0)


@pytest.mark.parametrize("magic", [1, MAGIC ^ 1, bpf.EXEC_MAGIC_PLACEHOLDER])
def test_no_exec_with_another_magic(magic: int) -> None:
    outcome, output = run_python(policy(STRICT), magic, "print('ran')")
    assert (outcome.refused, outcome.status, output) == (["execveat"], 99, "")


def test_exec_where_it_is_granted() -> None:
    outcome, output = run_python(
        policy(PYTHON), MAGIC, "import os; os.execv('/bin/echo', ['echo', str(os.system('exit 3'))])"
    )
    assert (outcome, output) == (Outcome(None, [], 0), "768\n")


# --- real programs ---------------------------------------------------------------------------------------------------

PYTHON_PROGRAM = """
import asyncio, concurrent.futures, hashlib, multiprocessing, os, socket, sqlite3, ssl, subprocess, tempfile, threading

async def talk():
    server = await asyncio.start_server(lambda r, w: (w.write(b"hello"), w.close()), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, _ = await asyncio.open_connection("127.0.0.1", port)
    assert await reader.read() == b"hello"
    server.close()
    child = await asyncio.create_subprocess_exec("true")
    assert await child.wait() == 0

asyncio.run(talk())
assert subprocess.run(["echo", "hi"], capture_output=True).stdout == b"hi\\n"
threads = [threading.Thread(target=hashlib.sha256) for _ in range(3)]
[t.start() for t in threads]; [t.join() for t in threads]
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(abs, [-1, -2]) == [1, 2]
with concurrent.futures.ThreadPoolExecutor(2) as pool:
    assert list(pool.map(abs, [-1])) == [1]
ssl.create_default_context()
with tempfile.TemporaryDirectory() as directory:
    database = sqlite3.connect(directory + "/x"); database.execute("pragma journal_mode=wal")
    database.execute("create table t(a)"); database.commit(); database.close()
print("done")
"""
SHELL_PROGRAM = (
    "set -e; cd $(mktemp -d); ls -l /usr/bin | sort | wc -l >/dev/null; echo b >f; cp -a f g; mv g h; ln -s f l;"
    " mkfifo p; tar cf t.tar f h; timeout 5 cat f | tr b c; id >/dev/null; find . -name h >/dev/null; sed -i s/b/d/ f;"
    ' nice -n 1 true; [ $( (sleep 0; echo x) & wait ) = x ]; rm -r "$PWD"'
)
GIT_PROGRAM = (
    "set -e; cd $(mktemp -d); export HOME=$PWD; git init -q r; cd r; git config --global user.email a@b;"
    " git config --global user.name a;"
    " echo 1 >a; git add a; git commit -qm one; echo 2 >>a; git diff | tail -1; git log --format=%s; git status -s;"
    ' git stash -q; git gc -q; git clone -q . ../s; rm -rf "$HOME"'
)
NODE_PROGRAM = """
const {execSync} = require('child_process'), fs = require('fs'), {Worker} = require('worker_threads'), net = require('net');
fs.rmdirSync(fs.mkdtempSync('/tmp/hivebox-node-')); fs.readFile('/etc/hostname', () => {}); fs.watch('/tmp').close();
new Worker('1', {eval: true});
const server = net.createServer(c => c.end('x')).listen(0, '127.0.0.1', () =>
  net.connect(server.address().port, '127.0.0.1').on('data', () => server.close()));
require('dns').lookup('localhost', () => {});
console.log(execSync('echo done').toString().trim());
"""

SHELL = ("@base", "@process", "@exec")
PROGRAMS = {
    "python": (PYTHON, ["/usr/bin/python3", "-I", "-c", PYTHON_PROGRAM], "done\n"),
    "bash": (SHELL, ["bash", "-c", SHELL_PROGRAM], "c\n"),
    "git": ((*SHELL, "@threads"), ["bash", "-c", GIT_PROGRAM], "+2\none\n M a\n"),
    "node": ((*SHELL, "@threads", "@network-local", "@node"), ["node", "-e", NODE_PROGRAM], "done\n"),
}


def _run_program(argv: list[str], output_fd: int) -> None:
    path = shutil.which(argv[0])
    assert path
    os.dup2(output_fd, 1)
    process.execveat(
        AT_FDCWD, path, [os.fsencode(arg) for arg in argv], [b"PATH=/usr/bin:/bin", b"LANG=C.UTF-8"], MAGIC
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_real_programs_work_and_are_refused_nothing(name: str) -> None:
    groups, argv, wanted = PROGRAMS[name]
    needed = {argv[0], "git"} if name == "git" else {argv[0]}
    if missing := [program for program in needed if not shutil.which(program)]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    with tempfile.TemporaryFile() as output:
        outcome = confined(policy(groups), lambda: _run_program(argv, output.fileno()))
        output.seek(0)
        assert (outcome, output.read().decode()) == (Outcome(None, [], 0), wanted)


def test_fcntl_constants_used_here_are_the_kernels() -> None:
    """FIONREAD as the tests above spell it works on a real pipe, outside."""
    read_fd, write_fd = os.pipe()
    os.write(write_fd, b"abc")
    assert int.from_bytes(fcntl.ioctl(read_fd, 0x541B, bytes(4)), "little") == len(b"abc")
    os.close(read_fd)
    os.close(write_fd)
