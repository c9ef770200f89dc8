"""What a profile's ``syscalls: groups:`` may name: each group is reason -> calls.

Everything not granted is refused and reported (docs/syscalls.md). A call with an entry in ``syscall_filters`` is
allowed with its argument filter only. Calls that one architecture lacks are skipped there.

Rule for adding: the call is needed by a program that a shipped profile promises to run, what it can reach is bounded
by the sandbox's namespaces, mounts, limits and empty capability sets, and the group says why in one line.
"""

from __future__ import annotations

from typing import NamedTuple

from hivebox.errors import HiveboxError
from hivebox.policy.model import Syscalls
from hivebox.policy.syscall_numbers import all_names

GROUPS: dict[str, dict[str, str]] = {
    "@base": {
        "start and end of a program: loader, libc, signal return, the host's uprobes": (
            "arch_prctl set_tid_address set_robust_list rseq exit exit_group restart_syscall rt_sigreturn"
            " uprobe uretprobe"
        ),
        "its own memory; locking is bounded by RLIMIT_MEMLOCK": (
            "brk mmap munmap mremap mprotect madvise msync mlock mlock2 munlock mseal map_shadow_stack futex"
        ),
        "read and write open files": (
            "read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 lseek sendfile copy_file_range"
            " ftruncate fallocate fadvise64 fsync fdatasync sync_file_range"
        ),
        "open and inspect files; what exists is decided by the mounts": (
            "open openat creat close close_range access faccessat faccessat2 stat fstat lstat newfstatat statx statfs"
            " fstatfs readlink readlinkat getdents getdents64 getcwd chdir fchdir getxattr lgetxattr fgetxattr"
            " listxattr llistxattr flistxattr"
        ),
        "change files; what is writable is decided by the mounts": (
            "mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat mknod mknodat"
            " truncate chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat umask utime utimes futimesat"
            " utimensat setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr"
        ),
        "descriptors": "dup dup2 dup3 fcntl flock ioctl pipe pipe2",
        "wait for descriptors": (
            "poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2"
            " eventfd eventfd2 signalfd signalfd4 timerfd_create timerfd_settime timerfd_gettime"
        ),
        "time and timers, none of which set a clock": (
            "time gettimeofday clock_gettime clock_getres clock_nanosleep nanosleep alarm getitimer setitimer"
            " timer_create timer_settime timer_gettime timer_getoverrun timer_delete times"
        ),
        "signals: what they can reach is decided by the PID namespace": (
            "rt_sigaction rt_sigprocmask rt_sigpending rt_sigsuspend rt_sigtimedwait sigaltstack pause"
            " kill tkill tgkill"
        ),
        "who and where am I": (
            "getpid getppid gettid getpgrp getpgid getsid getuid geteuid getgid getegid getresuid getresgid getgroups"
            " capget uname sysinfo getcpu getrandom prctl personality"
        ),
        "its own limits and scheduling: read, and lower": (
            "getrlimit setrlimit prlimit64 getrusage getpriority setpriority sched_yield sched_getaffinity"
            " sched_getscheduler sched_getparam sched_getattr sched_get_priority_min sched_get_priority_max"
            " sched_rr_get_interval"
        ),
    },
    "@python": {
        "os.memfd_create, os.splice": "memfd_create splice",
        "os.sched_setaffinity and its kin: real-time needs RLIMIT_RTPRIO, which is 0": (
            "sched_setaffinity sched_setscheduler sched_setparam"
        ),
    },
    "@threads": {
        "threads; with @process absent the filter lets clone make nothing else": "clone membarrier",
    },
    "@process": {
        "fork in all its forms; the namespace flags are refused, the number is bounded by limits.pids": (
            "fork vfork clone"
        ),
        "children and process groups": "wait4 waitid setpgid setsid pidfd_open pidfd_send_signal",
        "posix_spawn's RESETIDS, su-like tools: without a capability the only ids to set are its own": (
            "setuid setgid setreuid setregid setresuid setresgid"
        ),
        "signals with a value: what they can reach is decided by the PID namespace": (
            "rt_sigqueueinfo rt_tgsigqueueinfo"
        ),
    },
    "@exec": {
        "replace the program; execveat adds nothing to execve of /proc/self/fd/N": "execve execveat",
    },
    "@network-local": {
        "sockets: what they can reach is decided by the network namespace, families and types by the filter": (
            "socket socketpair bind connect listen accept accept4 shutdown getsockname getpeername"
            " getsockopt setsockopt sendto sendmsg sendmmsg recvfrom recvmsg recvmmsg"
        ),
    },
    "@unix-sockets": {
        "Unix sockets that are connected by name, although host paths are granted: a socket file there leads out": (
            "socket socketpair bind connect"
        ),
    },
    "@node": {
        "V8's write protection of its code pages": "pkey_alloc pkey_free pkey_mprotect",
        # Not in @base: a watch on a shared read-only mount tells when the host's own processes use its files.
        "fs.watch": "inotify_init inotify_init1 inotify_add_watch inotify_rm_watch",
    },
    "@ipc": {
        "System V shared memory, semaphores, queues: they live and end with the IPC namespace": (
            "shmget shmat shmctl shmdt semget semop semtimedop semctl msgget msgsnd msgrcv msgctl"
        ),
        "POSIX message queues, likewise": ("mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr"),
    },
}

# Refused like everything else, but answered by the filter itself, without an event: libraries try these on every
# start and have another way. The errno is the one on which they take it. Each is as refused as any other call.
QUIET: dict[str, tuple[int, str]] = {
    "clone3": (38, "glibc falls back to clone, whose flags a filter can see"),
    "openat2": (38, "its flags are behind a pointer; libraries fall back to openat"),
    "get_mempolicy": (38, "libnuma takes it for a machine without NUMA"),
    "set_mempolicy": (38, "as get_mempolicy"),
    "mbind": (38, "OpenBLAS tries it on its buffers"),
    "landlock_create_ruleset": (38, "xz and others sandbox themselves where they can"),
    "getpeername": (88, "bash asks whether its standard input is a network connection; ENOTSOCK says no"),
}


class Grant(NamedTuple):
    """Why a call is allowed: the group ("" for ``syscalls: allow``) and its reason."""

    group: str
    reason: str


def members(group: str) -> frozenset[str]:
    """The calls of one group. Raises HiveboxError for a group there is not."""
    if group not in GROUPS:
        raise HiveboxError(
            f"no such system call group: {group}", f"the groups are {', '.join(GROUPS)}", "see docs/syscalls.md"
        )
    return frozenset(name for names in GROUPS[group].values() for name in names.split())


def granted(syscalls: Syscalls) -> dict[str, Grant]:
    """groups + allow - deny, as call -> why. Raises HiveboxError for a group or call there is not: a misspelt
    ``deny`` would otherwise deny nothing."""
    unknown = {*syscalls.allow, *syscalls.deny} - all_names()
    if unknown:
        raise HiveboxError(
            f"no such system call: {', '.join(sorted(unknown))}", "no architecture has it", "see syscalls(2)"
        )
    grants: dict[str, Grant] = {}
    for group in syscalls.groups:
        members(group)
        for reason, names in GROUPS[group].items():
            for name in names.split():
                grants.setdefault(name, Grant(group, reason))
    for name in syscalls.allow:
        grants.setdefault(name, Grant("", "named by the profile"))
    return {name: grant for name, grant in grants.items() if name not in syscalls.deny}
