"""How many arguments a system call has.

Data only. The other registers hold whatever was in them: a caller can fill them with noise, so that one refused act
looks like many. Source: SYSCALL_DEFINE0 to 6 in the kernel; a call that is not here is taken to have six.
"""

from __future__ import annotations

_MOST = 6
_NAMES = (
    """
    sched_yield pause getpid fork vfork getuid getgid geteuid getegid getppid getpgrp setsid vhangup sync gettid
    munlockall restart_syscall inotify_init rt_sigreturn uretprobe uprobe
    """,
    """
    close brk pipe dup alarm exit uname fsync fdatasync chdir fchdir rmdir unlink umask sysinfo times setuid setgid
    getpgid getsid setfsuid setfsgid personality sched_get_priority_max sched_get_priority_min sched_getscheduler
    chroot acct swapoff exit_group time unshare mlockall io_destroy set_tid_address timer_getoverrun timer_delete
    epoll_create epoll_create1 eventfd iopl shmdt mq_unlink inotify_init1 syncfs userfaultfd adjtimex
    set_thread_area get_thread_area pkey_free memfd_secret uselib
    """,
    """
    stat fstat lstat munmap access nanosleep getitimer dup2 shutdown listen kill flock truncate ftruncate getcwd
    rename mkdir creat link symlink chmod fchmod gettimeofday getrlimit getrusage setpgid setreuid setregid
    getgroups setgroups capget capset rt_sigpending rt_sigsuspend sigaltstack utime ustat statfs fstatfs getpriority
    sched_setparam sched_getparam sched_rr_get_interval mlock munlock setrlimit settimeofday umount2 swapon
    sethostname setdomainname delete_module tkill clock_settime clock_gettime clock_getres timer_gettime utimes
    pivot_root arch_prctl io_setup removexattr lremovexattr fremovexattr mq_notify set_robust_list eventfd2 pipe2
    clock_adjtime setns io_uring_setup pidfd_open clone3 memfd_create fanotify_init pkey_alloc inotify_rm_watch
    timerfd_create timerfd_gettime msgget landlock_restrict_self process_mrelease ioprio_get fsopen
    """,
    """
    read write open poll lseek mprotect ioctl readv writev mincore madvise shmget shmat shmctl setitimer socket
    connect accept sendmsg recvmsg bind getsockname getpeername execve semget semop msgctl fcntl getdents readlink
    chown fchown lchown syslog setresuid getresuid setresgid getresgid rt_sigqueueinfo mknod ioperm
    sched_setscheduler sched_setaffinity sched_getaffinity setpriority msync io_submit io_cancel ioprio_set tgkill
    inotify_add_watch mkdirat futimesat unlinkat symlinkat fchmodat faccessat get_robust_list init_module signalfd
    readahead getcpu getrandom finit_module bpf seccomp sched_setattr open_by_handle_at mlock2 close_range
    landlock_create_ruleset listxattr llistxattr flistxattr getdents64 dup3 timer_create mq_getsetattr mseal
    map_shadow_stack lookup_dcookie sysfs fspick open_tree pidfd_getfd modify_ldt set_mempolicy fsmount membarrier
    lsm_list_modules
    """,
    """
    pread64 pwrite64 rt_sigaction rt_sigprocmask rt_sigtimedwait sendfile socketpair wait4 semctl msgsnd ptrace
    quotactl reboot openat newfstatat mknodat fallocate timerfd_settime timer_settime accept4 signalfd4 epoll_ctl
    epoll_wait getxattr lgetxattr fgetxattr semtimedop clock_nanosleep fadvise64 renameat readlinkat request_key
    kexec_load tee sync_file_range utimensat migrate_pages vmsplice mq_open prlimit64 sendmmsg sched_getattr
    rt_tgsigqueueinfo pidfd_send_signal pkey_mprotect io_uring_register landlock_add_rule openat2 faccessat2
    quotactl_fd futex_wake fchmodat2 set_mempolicy_home_node statmount listmount rseq cachestat lsm_get_self_attr
    lsm_set_self_attr futex_requeue removexattrat listns
    """,
    """
    mremap select setsockopt getsockopt clone msgrcv prctl mount linkat fchownat renameat2 ppoll setxattr lsetxattr
    fsetxattr get_mempolicy mq_timedsend mq_timedreceive add_key keyctl waitid preadv pwritev recvmmsg
    perf_event_open fanotify_mark name_to_handle_at kcmp kexec_file_load execveat statx move_mount fsconfig
    process_madvise mount_setattr futex_waitv io_getevents remap_file_pages file_getattr file_setattr listxattrat
    open_tree_attr
    """,
)
_COUNTS = {name: count for count, names in enumerate(_NAMES) for name in names.split()}


def argument_count(name: str) -> int:
    """``unshare`` -> 1."""
    return _COUNTS.get(name, _MOST)
