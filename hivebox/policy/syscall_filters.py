"""Argument filters: the calls that are allowed for some arguments only, and which.

A filter can compare registers, never what a pointer points at: another thread could change it after the check. So
each rule tests integer arguments, as ``argument & mask == value``. The kernel ignores the upper half of an ``int`` or
``unsigned int`` argument, and so must a rule, or setting a high bit walks around it (CVE-2019-10063, TIOCSTI): masks
have 32 bits except for pointers.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import NamedTuple

from hivebox.policy.model import Policy
from hivebox.policy.syscall_groups import QUIET, granted

_INT = 0xFFFF_FFFF
_POINTER = 0xFFFF_FFFF_FFFF_FFFF


class Condition(NamedTuple):
    """``arguments[argument] & mask == value``."""

    argument: int
    mask: int
    value: int


class SyscallRule(NamedTuple):
    """``call`` is allowed (``errno`` None) or answered with ``errno`` when every condition holds; ``errno`` 0 says that
    it was done, although it was not. A call that no rule answers is refused and reported."""

    call: str
    conditions: tuple[Condition, ...] = ()
    errno: int | None = None


Conditions = tuple[Condition, ...]


class Filter(NamedTuple):
    """``only`` says in words what ``alternatives`` test; the call is allowed when one of them holds."""

    only: str
    alternatives: tuple[Conditions, ...]


def _equal(argument: int, *values: int) -> tuple[Conditions, ...]:
    return tuple((Condition(argument, _INT, value),) for value in values)


def _without(argument: int, bits: int) -> Condition:
    return Condition(argument, bits, 0)


def _between(argument: int, first: int, last: int) -> Iterable[Condition]:
    """``first <= argument <= last`` as aligned powers of two, since a rule can only mask and compare."""
    while first <= last:
        size = first & -first or 1 << 32
        while first + size - 1 > last:
            size >>= 1
        yield Condition(argument, _INT & ~(size - 1), first)
        first += size


# --- files -----------------------------------------------------------------------------------------------------------

# A set-user-ID file left in a granted directory would run as this user for whoever starts it outside, where
# no_new_privs does not hold. (As systemd's RestrictSUIDSGID=; open and its kin take a mode only with these flags.)
_SET_ID_BITS = 0o6000
_O_CREAT_OR_TMPFILE = 0o100 | 0o20000000
_S_IFMT = 0o170000
_FILE_TYPES = (0, 0o100000, 0o010000, 0o140000)  # 0 and S_IFREG are regular files, S_IFIFO, S_IFSOCK
_MFD_HUGETLB, _MFD_NOEXEC_SEAL = 0x4, 0x8


def _mode(argument: int) -> tuple[Conditions, ...]:
    return ((_without(argument, _SET_ID_BITS),),)


def _open(flags: int, mode: int) -> tuple[Conditions, ...]:
    return (_without(flags, _O_CREAT_OR_TMPFILE),), (_without(mode, _SET_ID_BITS),)


def _mknod(mode: int) -> tuple[Conditions, ...]:
    """No device nodes: character device 0:0 needs no privilege, and hides a file of an overlay's lower layer."""
    return tuple((Condition(mode, _S_IFMT | _SET_ID_BITS, kind),) for kind in _FILE_TYPES)


# Not F_SETPIPE_SZ (1031): pipes count against the host's user, and above a soft limit every new one has two pages.
_F_SETPIPE_SZ = 1031
# Not F_SETLEASE (1024): a lease on a granted file makes whoever opens it outside wait for 45 s. Not F_NOTIFY (1026):
# inotify by another name, and it tells when the host's processes use the files of a shared mount.
_FCNTL_COMMANDS = ((0, 16), (36, 38), (1025, 1025), (1027, 1030), (1032, 1040))


def _fcntl() -> tuple[Conditions, ...]:
    return tuple((command,) for first, last in _FCNTL_COMMANDS for command in _between(1, first, last))


def _own_limit(argument: int) -> tuple[Conditions, ...]:
    """Every RLIMIT_* but CORE (4), which hivebox sets to 1: with 0, a host that pipes cores to a handler would run it,
    as root, on what the script left of itself; only 1 stops that (core(5))."""
    return tuple((resource,) for first, last in ((0, 3), (5, 15)) for resource in _between(argument, first, last))


# --- memory ----------------------------------------------------------------------------------------------------------

# Reserved huge pages are in no memory control group. As on a host that has none reserved, the answer is ENOMEM.
_HUGE_PAGES = (("mmap", 3, 0x40000), ("memfd_create", 1, _MFD_HUGETLB), ("shmget", 2, 0o4000))


def _no_huge_pages(argument: int, bit: int) -> Filter:
    return Filter("no huge pages", ((_without(argument, bit),),))


# --- processes -------------------------------------------------------------------------------------------------------

# A new user namespace holds every capability over a fresh set of namespaces: most kernel exploits start there.
_CLONE_NAMESPACES = 0x7E02_0080  # NEWUSER NEWPID NEWNET NEWIPC NEWUTS NEWCGROUP, NEWNS, NEWTIME
_CLONE_THREAD = 0x0001_0000 | 0x0000_0800 | 0x0000_0100  # CLONE_THREAD, CLONE_SIGHAND, CLONE_VM


def makes_namespaces(clone_flags: int) -> bool:
    """Whether clone(2) is refused with these flags whatever a profile grants."""
    return bool(clone_flags & _CLONE_NAMESPACES)


_PRCTL = (
    *(1, 2),  # PR_SET_PDEATHSIG, PR_GET
    *(3, 4),  # PR_GET_DUMPABLE, PR_SET: of itself
    *(15, 16),  # PR_SET_NAME, PR_GET
    *(7, 21, 23, 27, 39),  # PR_GET_KEEPCAPS, _SECCOMP, CAPBSET_READ, _SECUREBITS, _NO_NEW_PRIVS
    *(29, 30),  # PR_SET_TIMERSLACK, PR_GET
    *(36, 37),  # PR_SET_CHILD_SUBREAPER, PR_GET
    38,  # PR_SET_NO_NEW_PRIVS: already set
    *(41, 42),  # PR_SET_THP_DISABLE, PR_GET
    52,  # PR_GET_SPECULATION_CTRL
    0x53564D41,  # PR_SET_VMA: names for /proc/self/maps
)
# Not there: PR_SET_SECCOMP (its own filter could hide refused calls from ours: an errno beats a notification),
# PR_SET_MM (forged /proc/self/cmdline and exe), PR_SET_PTRACER, PR_SET_TSC, PR_SCHED_CORE, PR_CAP_AMBIENT.

_IOCTL = (
    *(0x541B, 0x5421, 0x5450, 0x5451, 0x5452),  # FIONREAD FIONBIO FIONCLEX FIOCLEX FIOASYNC
    *(0x5401, 0x5402, 0x5403, 0x5404),  # TCGETS TCSETS TCSETSW TCSETSF
    *(0x802C542A, 0x402C542B, 0x402C542C, 0x402C542D),  # the same with struct termios2
    *(0x5409, 0x5425, 0x540A, 0x540B, 0x5411),  # TCSBRK TCSBRKP TCXONC TCFLSH TIOCOUTQ
    *(0x540E, 0x540F, 0x5410, 0x5422, 0x5429),  # TIOCSCTTY TIOCGPGRP TIOCSPGRP TIOCNOTTY TIOCGSID
    *(0x5413, 0x5414),  # TIOCGWINSZ TIOCSWINSZ
    *(0x80045430, 0x40045431, 0x80045439, 0x5441, 0x5420),  # TIOCGPTN TIOCSPTLCK TIOCGPTLCK TIOCGPTPEER TIOCPKT
    0x40049409,  # FICLONE: cp tries it on every file
    *(0x8905, 0x8910, 0x8912, 0x8913, 0x8915),  # SIOCATMARK, SIOCGIFNAME CONF FLAGS ADDR
    *(0x8917, 0x8919, 0x891B, 0x8921, 0x8927),  # SIOCGIFDSTADDR BRDADDR NETMASK MTU HWADDR
    *(0x8933, 0x8942, 0x8970),  # SIOCGIFINDEX TXQLEN MAP
)
# An allowlist, because each driver and file system brings its own commands. Not there, among 1,000 others: TIOCSTI
# and TIOCLINUX (type into the caller's terminal), TIOCSETD (loads line disciplines), TIOCCONS, SIOCSIF*, KVM, FS_IOC_*.

# --- sockets ---------------------------------------------------------------------------------------------------------

_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_SOCK_TYPE_MASK = 0xF  # the rest of ``type`` is SOCK_CLOEXEC and SOCK_NONBLOCK
_STREAM, _DGRAM, _SEQPACKET = 1, 2, 5
_TCP, _UDP = 6, 17
_EPERM, _ENOMEM, _ENOSYS, _EAFNOSUPPORT = 1, 12, 38, 97
_LIBUV_RING_ENTRIES = 256
_NSCD_SOCKET_TYPE = _STREAM | 0o2000000 | 0o4000  # SOCK_CLOEXEC | SOCK_NONBLOCK


def _names_stay_inside(policy: Policy) -> bool:
    """Whether every socket file that the script can see is the sandbox's own. One in a granted directory belongs to
    a daemon of the host (docker.sock, an ssh-agent), and neither a read-only mount nor Landlock stops connect(2). One
    seen through an overlay is another inode: nobody listens there."""
    return all(mount.mode == "overlay" for mount in policy.filesystem.mounts)


def unix_sockets(policy: Policy) -> bool:
    """Whether a Unix socket may be connected by name."""
    return _names_stay_inside(policy) or "@unix-sockets" in policy.syscalls.groups


def _internet() -> tuple[Conditions, ...]:
    """TCP and UDP. The other families and protocols (SCTP, VSOCK, ALG, PACKET, NETLINK, …) are where kernel exploits
    come from; VSOCK and ALG also ignore the network namespace."""
    return tuple(
        (Condition(0, _INT, family), Condition(1, _SOCK_TYPE_MASK, kind), Condition(2, _INT, protocol))
        for family in (_AF_INET, _AF_INET6)
        for kind, protocol in ((_STREAM, 0), (_STREAM, _TCP), (_DGRAM, 0), (_DGRAM, _UDP))
    )


# Answered, not done: a listener's buffer is that of each connection that waits for accept(2), and in no control group.
# Few programs could do with an error. SO_RCVLOWAT makes room for what it waits for.
_SOL_SOCKET, _SO_RCVBUF, _SO_RCVLOWAT = 1, 8, 18
# level -> ranges of options. Left out: SO_ATTACH_* (BPF in the kernel), TCP_MD5SIG, TCP_REPAIR* and TCP_ULP (kernel
# TLS), UDP_ENCAP, and 64 and 65 of the IP levels (netfilter tables).
_SOCKET_OPTIONS = {
    _SOL_SOCKET: ((0, 7), (9, 17), (19, 25), (28, 49)),
    0: ((0, 63),),  # IPPROTO_IP
    41: ((0, 63), (66, 79)),  # IPPROTO_IPV6
    _TCP: ((0, 13), (15, 18), (23, 28), (30, 30), (36, 36)),
    _UDP: ((0, 1), (103, 104)),  # UDP_CORK, UDP_SEGMENT, UDP_GRO
}


def _setsockopt() -> tuple[Conditions, ...]:
    return tuple(
        (Condition(1, _INT, level), option)
        for level, ranges in _SOCKET_OPTIONS.items()
        for first, last in ranges
        for option in _between(2, first, last)
    )


# --- the tables ------------------------------------------------------------------------------------------------------


_NO_SET_ID = "without set-user-ID and set-group-ID bits"

_FILTERS: dict[str, Filter] = {
    "chmod": Filter(_NO_SET_ID, _mode(1)),
    "fchmod": Filter(_NO_SET_ID, _mode(1)),
    "fchmodat": Filter(_NO_SET_ID, _mode(2)),
    "fchmodat2": Filter(_NO_SET_ID, _mode(2)),
    "mkdir": Filter(_NO_SET_ID, _mode(1)),
    "mkdirat": Filter(_NO_SET_ID, _mode(2)),
    "creat": Filter(_NO_SET_ID, _mode(1)),
    "open": Filter(_NO_SET_ID, _open(1, 2)),
    "openat": Filter(_NO_SET_ID, _open(2, 3)),
    "mknod": Filter("regular files, FIFOs and sockets", _mknod(1)),
    "mknodat": Filter("regular files, FIFOs and sockets", _mknod(2)),
    "fcntl": Filter("all commands but leases, directory notifications, sizes of pipes", _fcntl()),
    "ioctl": Filter("terminal state, byte counts, flags of a descriptor, reading interfaces", _equal(1, *_IOCTL)),
    "prctl": Filter("name, parent-death signal and queries of itself", _equal(0, *_PRCTL)),
    **{call: _no_huge_pages(argument, bit) for call, argument, bit in _HUGE_PAGES},
    # READ_IMPLIES_EXEC and ADDR_NO_RANDOMIZE weaken the next program.
    "personality": Filter("the query and PER_LINUX", _equal(0, 0, 0xFFFF_FFFF)),
    # The sandbox's init runs as the same user.
    "setrlimit": Filter("all but the core limit", _own_limit(0)),
    "prlimit64": Filter(
        "setting its own but the core limit, reading anyone's",
        (*((Condition(0, _INT, 0), *resource) for resource in _own_limit(1)), (Condition(2, _POINTER, 0),)),
    ),
    # Holds for every flag there is. It keeps the shape of the rule, so that the launcher's exec can be patched in.
    "execveat": Filter("flags that exist", ((_without(4, 0xFFFC_0000),),)),
    "socket": Filter("TCP, UDP", _internet()),
    # Connected for good. One of datagrams could still send to a name, as an unconnected socket does.
    "socketpair": Filter(
        "connected Unix sockets",
        tuple((Condition(0, _INT, _AF_UNIX), Condition(1, _SOCK_TYPE_MASK, kind)) for kind in (_STREAM, _SEQPACKET)),
    ),
    "setsockopt": Filter("options that bring no BPF, kernel TLS or netfilter", _setsockopt()),
}
_PROCESSES = Filter("no new namespaces", ((_without(0, _CLONE_NAMESPACES),),))
# vfork and posix_spawn set CLONE_VM without CLONE_THREAD: processes.
_THREADS = Filter("threads", ((Condition(0, _CLONE_NAMESPACES | _CLONE_THREAD, _CLONE_THREAD),),))
_ANY_UNIX = {
    "socket": Filter("Unix sockets, TCP, UDP", (*_equal(0, _AF_UNIX), *_internet())),
    "socketpair": Filter("Unix sockets", _equal(0, _AF_UNIX)),
}
# A program run from an executable memfd is in no mount: "nothing writable is executable" would not hold.
_NOEXEC_MEMFD = Filter("with MFD_NOEXEC_SEAL", ((Condition(1, _MFD_NOEXEC_SEAL | _MFD_HUGETLB, _MFD_NOEXEC_SEAL),),))


def filter_of(call: str, policy: Policy, granted_calls: Container[str]) -> Filter | None:
    """The argument filter of one granted call; None for a call that is allowed whatever its arguments."""
    if call == "clone":
        return _PROCESSES if "fork" in granted_calls else _THREADS
    if call == "memfd_create" and not policy.filesystem.work_exec:
        return _NOEXEC_MEMFD
    if call in _ANY_UNIX and unix_sockets(policy):
        return _ANY_UNIX[call]
    return _FILTERS.get(call)


def _quiet(policy: Policy, granted_calls: Container[str]) -> Iterable[SyscallRule]:
    for call, (errno, _why) in QUIET.items():
        if call not in granted_calls:
            yield SyscallRule(call, errno=errno)
    for call, argument, bit in _HUGE_PAGES:
        if call in granted_calls:
            yield SyscallRule(call, (Condition(argument, bit, bit),), _ENOMEM)
    yield SyscallRule("fcntl", (Condition(1, _INT, _F_SETPIPE_SZ),), _EPERM)  # as above the user's own limit
    if "setsockopt" in granted_calls:
        for option in (_SO_RCVBUF, _SO_RCVLOWAT):
            yield SyscallRule("setsockopt", (Condition(1, _INT, _SOL_SOCKET), Condition(2, _INT, option)), 0)
    # getaddrinfo asks NETLINK_ROUTE which address families there are, and takes a refusal for "all".
    netlink = (Condition(0, _INT, _AF_NETLINK), Condition(2, _INT, 0))
    yield SyscallRule("socket", netlink, _EAFNOSUPPORT)
    if "@node" in policy.syscalls.groups and "io_uring_setup" not in granted_calls:
        # libuv 1.50 (Debian 13) asks for a ring of exactly this size per event loop, and does without if it must.
        yield SyscallRule("io_uring_setup", (Condition(0, _INT, _LIBUV_RING_ENTRIES),), _ENOSYS)
    if "socket" not in granted_calls or not unix_sockets(policy):
        # glibc looks for nscd whenever a user or group is looked up (`ls -l`), with exactly this type.
        nscd = (Condition(0, _INT, _AF_UNIX), Condition(1, _INT, _NSCD_SOCKET_TYPE), Condition(2, _INT, 0))
        yield SyscallRule("socket", nscd, _EAFNOSUPPORT)


def rules(policy: Policy) -> tuple[SyscallRule, ...]:
    """The whole filter of a policy, in a fixed order. Raises HiveboxError for a group or call there is not."""
    granted_calls = granted(policy.syscalls)
    allowed: list[SyscallRule] = []
    for call in sorted(granted_calls):
        filtered = filter_of(call, policy, granted_calls)
        allowed.extend(SyscallRule(call, conditions) for conditions in (filtered.alternatives if filtered else ((),)))
    return (*allowed, *_quiet(policy, granted_calls))
