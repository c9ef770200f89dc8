"""What is wrong with a profile's ``syscalls:`` section, for ``hivebox profile check``. Judges, and changes nothing."""

from __future__ import annotations

import difflib
from collections.abc import Container, Iterable
from typing import NamedTuple

from hivebox.policy.model import Policy, Syscalls
from hivebox.policy.syscall_groups import GROUPS, granted, members
from hivebox.policy.syscall_numbers import all_names

# What each would let a script do, or has let it do in a sandbox that allowed it. No group may hold one.
DANGEROUS: dict[str, str] = {
    name: attack
    for attack, names in {
        "takes over another process of this user, the sandbox's init among them": (
            "ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp process_madvise"
        ),
        "makes namespaces, where the script has every capability: the first step of most kernel exploits": (
            "unshare setns clone3"
        ),
        "rearranges the mounts that hold the script": (
            "mount umount2 pivot_root chroot move_mount open_tree open_tree_attr fsopen fsconfig fsmount fspick"
            " mount_setattr"
        ),
        "opens files by handle, outside every mount of the sandbox (CVE-2014-9357, shocker)": (
            "open_by_handle_at name_to_handle_at"
        ),
        "does other calls where no filter sees them (CVE-2022-1043 and many more)": (
            "io_uring_setup io_uring_enter io_uring_register"
        ),
        "loads code into the kernel": "bpf init_module finit_module delete_module kexec_load kexec_file_load",
        "large and buggy interface, shared by the whole host (CVE-2013-2094)": "perf_event_open",
        "stops the kernel in the middle of a copy: makes races winnable (CVE-2021-22555 and others)": "userfaultfd",
        "keyrings are not in a namespace (CVE-2016-0728)": "add_key request_key keyctl",
        "installs a filter that hides refused calls from the report": "seccomp",
        "sets the host's clock": "settimeofday clock_settime adjtimex clock_adjtime",
        "acts on the whole host": (
            "reboot swapon swapoff acct syslog quotactl quotactl_fd sethostname setdomainname vhangup sync syncfs"
            " fanotify_init fanotify_mark"
        ),
        "reaches hardware, or descriptor tables that exploits need": "iopl ioperm modify_ldt",
        "writes pages of files it may only read, through kernel bugs (CVE-2008-0600)": "vmsplice",
        "moves or reads the memory placement of other processes": "move_pages migrate_pages",
        "creates files with set-user-ID bits: its mode is behind a pointer": "openat2",
        "creates memory that no report, dump or debugger can see": "memfd_secret",
        "lists the mounts of any namespace": "statmount listmount listns",
        "asynchronous I/O that the I/O limits see late": "io_setup io_submit",
    }.items()
    for name in names.split()
}

# Each line does what another of the same line does: taking one away takes nothing away.
_EQUAL = (
    "open openat creat",
    "read readv pread64 preadv preadv2",
    "write writev pwrite64 pwritev pwritev2",
    "stat fstat lstat newfstatat statx",
    "fork vfork clone",
    "execve execveat",
    "kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal",
    "chmod fchmod fchmodat fchmodat2",
    "chown fchown lchown fchownat",
    "mkdir mkdirat",
    "mknod mknodat",
    "link linkat",
    "symlink symlinkat",
    "unlink unlinkat",
    "rename renameat renameat2",
    "truncate ftruncate",
    "setxattr lsetxattr fsetxattr",
    "utime utimes futimesat utimensat",
    "setrlimit prlimit64",
    "dup dup2 dup3 fcntl",
    "pipe pipe2",
    "accept accept4",
    "sendto sendmsg sendmmsg write",
    "recvfrom recvmsg recvmmsg read",
    "wait4 waitid",
)

# Without these no dynamically linked program reaches its first line.
_ESSENTIAL = (
    "read write close openat newfstatat mmap munmap mprotect brk arch_prctl set_tid_address exit_group rt_sigreturn"
)

_NEEDS = {
    "clone": "futex mmap mprotect set_robust_list",
    "fork": "wait4 clone",
    "wait4": "fork",
    "connect": "socket",
    "bind": "socket",
    "listen": "socket bind",
    "accept": "listen",
    "accept4": "listen",
    "epoll_ctl": "epoll_create1",
    "inotify_add_watch": "inotify_init1",
    "pkey_mprotect": "pkey_alloc",
    "shmat": "shmget",
    "semop": "semget",
    "msgsnd": "msgget",
    "mq_timedsend": "mq_open",
    "pidfd_send_signal": "pidfd_open",
}


class Finding(NamedTuple):
    """``severity`` is ``error`` (the section contradicts itself or cannot work), ``warning`` (it grants or takes
    something other than it seems to) or ``note``."""

    severity: str
    what: str
    why: str
    hint: str = ""


def check(policy: Policy) -> tuple[Finding, ...]:
    """Everything to say about ``policy.syscalls``, worst first. With unknown names, only those."""
    syscalls = policy.syscalls
    unknown = tuple(_unknown(syscalls))
    if unknown:
        return unknown
    calls = granted(syscalls)
    findings = [
        *_contradictions(syscalls),
        *_missing(calls),
        *_dangerous(calls),
        *_without_effect(syscalls, calls),
        *_notes(policy, calls),
    ]
    order = ("error", "warning", "note")
    return tuple(sorted(findings, key=lambda finding: order.index(finding.severity)))


def _unknown(syscalls: Syscalls) -> Iterable[Finding]:
    for kind, names, known in (
        ("group", syscalls.groups, frozenset(GROUPS)),
        ("system call", (*syscalls.allow, *syscalls.deny), all_names()),
    ):
        for name in dict.fromkeys(names):
            if name not in known:
                close = difflib.get_close_matches(name, sorted(known), n=1)
                hint = f"did you mean {close[0]}?" if close else "see docs/syscalls.md"
                yield Finding("error", f"no such {kind}: {name}", "it grants or denies nothing", hint)


def _contradictions(syscalls: Syscalls) -> Iterable[Finding]:
    for name in sorted({*syscalls.allow} & {*syscalls.deny}):
        yield Finding("error", f"{name} is both allowed and denied", "deny wins", "remove one of the two")


def _missing(calls: Container[str]) -> Iterable[Finding]:
    essential = [name for name in _ESSENTIAL.split() if name not in calls]
    if essential:
        why = f"without {', '.join(essential)} no program reaches its first line"
        yield Finding("error", "the profile can start nothing", why, "add the group @base")
    for name, needs in _NEEDS.items():
        missing = [need for need in needs.split() if need not in calls]
        threads_only = name == "clone" and "fork" not in calls
        if name in calls and missing and not (essential and threads_only):
            yield Finding("warning", f"{name} is of no use", f"it needs {', '.join(missing)}", "grant a whole group")


def _dangerous(calls: Container[str]) -> Iterable[Finding]:
    for name, attack in DANGEROUS.items():
        if name in calls:
            yield Finding(
                "warning", f"{name} is dangerous", attack, "remove it: no program of a shipped profile needs it"
            )


def _without_effect(syscalls: Syscalls, calls: Container[str]) -> Iterable[Finding]:
    in_groups = frozenset[str]().union(*(members(group) for group in syscalls.groups))
    for name in sorted({*syscalls.deny} - {*syscalls.allow}):
        remaining = [] if _fork_is_out(name, calls) else _remaining(name, calls)
        if name not in in_groups:
            yield Finding("warning", f"denying {name} takes nothing away", "no group of this profile grants it")
        elif remaining:
            why = f"{', '.join(remaining)} can do the same"
            yield Finding("warning", f"denying {name} takes no power away", why, "deny them all, or none")
    for name in sorted({*syscalls.allow} & in_groups):
        yield Finding("note", f"{name} is granted twice", "a group of this profile has it already")


def _remaining(name: str, calls: Container[str]) -> list[str]:
    """The granted calls that do what ``name`` does."""
    equals = (line.split() for line in _EQUAL)
    return [other for line in equals if name in line for other in line if other != name and other in calls]


def _fork_is_out(name: str, calls: Container[str]) -> bool:
    """Without fork, what remains of clone makes threads only: then denying fork (and vfork) did take something."""
    return name in ("fork", "vfork") and "fork" not in calls and "vfork" not in calls


def _notes(policy: Policy, calls: Container[str]) -> Iterable[Finding]:
    for group in policy.syscalls.groups:
        taken = sorted(members(group) & {*policy.syscalls.deny})
        if taken:
            yield Finding("note", f"{group} without {', '.join(taken)}", "the profile denies them")
    if "execve" in calls and "fork" not in calls:
        yield Finding("note", "@exec without @process", "a program can replace itself, not start another")
    if policy.filesystem.work_exec and "execve" not in calls:
        why = "files in the work directory can be mapped executable, not run"
        yield Finding("note", "filesystem.work_exec without @exec", why)
