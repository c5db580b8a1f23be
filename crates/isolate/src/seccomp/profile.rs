//! Profiles: which system call an app may make. Tables of names, no numbers.
//!
//! The default is docker's (module `github.com/moby/profiles/seccomp`, v0.2.3, read as facts)
//! with the changes of `docs/design/defaults.md`: socket families by allowlist, no vmsplice, no
//! modify_ldt, kcmp and process_madvise only with SYS_PTRACE, clock reads through adjtimex only
//! with SYS_TIME; unshare, setns and the mount calls never, whatever is granted.
//!
//! This file is compiled into the build script too: it names nothing of the crate.

/// What a system call gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// It is made.
    Allow,
    /// It fails with this errno, 1..=4095.
    Errno(u16),
    /// Its arguments decide.
    Args(&'a [Test<'a>]),
}

/// One look at an argument. A list of tests is walked in order; the first that answers wins, and
/// who reaches the end is allowed.
///
/// Only the low 32 bits of an argument are compared: every argument tested here is an `int` or
/// `unsigned` for the kernel, which drops the high half itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test<'a> {
    /// When argument `arg` is none of `values`, fail with `errno`.
    Among {
        /// Argument, 0..=5.
        arg: u8,
        /// Values that pass.
        values: &'a [u32],
        /// Error of all others.
        errno: u16,
    },
    /// When argument `arg` is one of `values`, fail with `errno`.
    NotAmong {
        /// Argument, 0..=5.
        arg: u8,
        /// Values that fail.
        values: &'a [u32],
        /// Their error.
        errno: u16,
    },
    /// When argument `arg` has any bit of `bits`, fail with `errno`.
    NoBits {
        /// Argument, 0..=5.
        arg: u8,
        /// Bits that must be clear.
        bits: u32,
        /// Error when one is set.
        errno: u16,
    },
    /// When argument `arg` is not `value`, skip the rest and allow.
    Only {
        /// Argument, 0..=5.
        arg: u8,
        /// The value that the rest is about.
        value: u32,
    },
}

/// Names that share an action and a condition.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// System calls; one that an architecture lacks is left out there.
    pub names: &'static [&'static str],
    /// What they get.
    pub action: Action<'static>,
    /// Capabilities (bits) of which one must be granted; 0 is no condition.
    pub needs: u64,
}

/// A whole profile. Of two rules for one name the later one wins, when its condition holds.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// The rules.
    pub rules: &'static [Rule],
    /// What a system call gets that no rule names.
    pub other: Action<'static>,
}

/// `EPERM`.
pub const EPERM: u16 = 1;
/// `ENOSYS`: the C library falls back to an older call.
pub const ENOSYS: u16 = 38;
/// `EAFNOSUPPORT`: what a kernel without that socket family says.
pub const EAFNOSUPPORT: u16 = 97;
/// `EPROTONOSUPPORT`: what a kernel without that netlink protocol says.
pub const EPROTONOSUPPORT: u16 = 93;

pub(super) const SYS_ADMIN: u64 = 1 << 21;

/// `CLONE_NEW*` of `clone(2)`: time is missing there, its bit is part of the exit signal.
const CLONE_NEW: u32 = 0x7e02_0000;

/// AF_UNIX, AF_INET, AF_INET6, AF_NETLINK. Everything else is attack surface of the host
/// (AF_ALG: CVE-2026-31431; AF_VSOCK reaches the hypervisor).
pub const FAMILIES: &[u32] = &[AF_UNIX, AF_INET, AF_INET6, AF_NETLINK];
/// Sockets of the host itself.
pub const AF_UNIX: u32 = 1;
/// IPv4.
pub const AF_INET: u32 = 2;
/// IPv6.
pub const AF_INET6: u32 = 10;
/// Talks with the kernel; held to four protocols.
pub const AF_NETLINK: u32 = 16;
/// NETLINK_ROUTE, NETLINK_SOCK_DIAG, NETLINK_KOBJECT_UEVENT, NETLINK_GENERIC.
pub const NETLINK_PROTOCOLS: &[u32] = &[0, 4, 15, 16];

pub(super) const SOCKET: &[Test<'static>] = &[
    Test::Among {
        arg: 0,
        values: FAMILIES,
        errno: EAFNOSUPPORT,
    },
    Test::Only {
        arg: 0,
        value: AF_NETLINK,
    },
    Test::Among {
        arg: 2,
        values: NETLINK_PROTOCOLS,
        errno: EPROTONOSUPPORT,
    },
];

/// TIOCSTI types into a terminal, TIOCLINUX pastes there (CVE-2017-5226, CVE-2023-28339).
pub(super) const IOCTL: &[Test<'static>] = &[Test::NotAmong {
    arg: 1,
    values: &[0x5412, 0x541c],
    errno: EPERM,
}];

pub(super) const CLONE: &[Test<'static>] = &[Test::NoBits {
    arg: 0,
    bits: CLONE_NEW,
    errno: EPERM,
}];

/// PER_LINUX, UNAME26, and the query.
const PERSONALITY: &[Test<'static>] = &[Test::Among {
    arg: 0,
    values: &[0, 0x2_0000, 0xffff_ffff],
    errno: EPERM,
}];

/// PR_SET_MM moves what /proc shows of the program.
const PRCTL: &[Test<'static>] = &[Test::NotAmong {
    arg: 0,
    values: &[35],
    errno: EPERM,
}];

const fn allow(names: &'static [&'static str]) -> Rule {
    Rule {
        names,
        action: Action::Allow,
        needs: 0,
    }
}

pub(super) const fn allow_with(needs: u64, names: &'static [&'static str]) -> Rule {
    Rule {
        names,
        action: Action::Allow,
        needs,
    }
}

pub(super) const fn test(names: &'static [&'static str], tests: &'static [Test<'static>]) -> Rule {
    Rule {
        names,
        action: Action::Args(tests),
        needs: 0,
    }
}

pub(super) const fn no_such(names: &'static [&'static str]) -> Rule {
    Rule {
        names,
        action: Action::Errno(ENOSYS),
        needs: 0,
    }
}

/// The default of every app.
pub static DEFAULT: Profile = Profile {
    rules: RULES,
    other: Action::Errno(EPERM),
};

static RULES: &[Rule] = &[
    // Files and directories.
    allow(&[
        "access",
        "chdir",
        "chmod",
        "chown",
        "close",
        "close_range",
        "copy_file_range",
        "creat",
        "dup",
        "dup2",
        "dup3",
        "faccessat",
        "faccessat2",
        "fadvise64",
        "fallocate",
        "fchdir",
        "fchmod",
        "fchmodat",
        "fchmodat2",
        "fchown",
        "fchownat",
        "fcntl",
        "fdatasync",
        "flock",
        "fstat",
        "fstatfs",
        "fsync",
        "ftruncate",
        "futimesat",
        "getcwd",
        "getdents",
        "getdents64",
        "lchown",
        "link",
        "linkat",
        "lseek",
        "lstat",
        "mkdir",
        "mkdirat",
        "mknod",
        "mknodat",
        "name_to_handle_at",
        "newfstatat",
        "open",
        "openat",
        "openat2",
        "pread64",
        "preadv",
        "preadv2",
        "pwrite64",
        "pwritev",
        "pwritev2",
        "read",
        "readahead",
        "readlink",
        "readlinkat",
        "readv",
        "rename",
        "renameat",
        "renameat2",
        "rmdir",
        "sendfile",
        "splice",
        "stat",
        "statfs",
        "statx",
        "symlink",
        "symlinkat",
        "sync",
        "sync_file_range",
        "syncfs",
        "tee",
        "truncate",
        "umask",
        "unlink",
        "unlinkat",
        "utime",
        "utimensat",
        "utimes",
        "write",
        "writev",
        "cachestat",
        "listmount",
        "statmount",
    ]),
    // Extended attributes.
    allow(&[
        "fgetxattr",
        "flistxattr",
        "fremovexattr",
        "fsetxattr",
        "getxattr",
        "getxattrat",
        "lgetxattr",
        "listxattr",
        "listxattrat",
        "llistxattr",
        "lremovexattr",
        "lsetxattr",
        "removexattr",
        "removexattrat",
        "setxattr",
        "setxattrat",
    ]),
    // Memory.
    allow(&[
        "brk",
        "madvise",
        "map_shadow_stack",
        "membarrier",
        "memfd_create",
        "memfd_secret",
        "mincore",
        "mlock",
        "mlock2",
        "mlockall",
        "mmap",
        "mprotect",
        "mremap",
        "mseal",
        "msync",
        "munlock",
        "munlockall",
        "munmap",
        "pkey_alloc",
        "pkey_free",
        "pkey_mprotect",
        "remap_file_pages",
    ]),
    // Processes, threads and credentials.
    allow(&[
        "arch_prctl",
        "capget",
        "capset",
        "execve",
        "execveat",
        "exit",
        "exit_group",
        "fork",
        "get_robust_list",
        "getcpu",
        "getegid",
        "geteuid",
        "getgid",
        "getgroups",
        "getpgid",
        "getpgrp",
        "getpid",
        "getppid",
        "getpriority",
        "getresgid",
        "getresuid",
        "getrlimit",
        "getrusage",
        "getsid",
        "get_thread_area",
        "gettid",
        "getuid",
        "ioprio_get",
        "ioprio_set",
        "kill",
        "landlock_add_rule",
        "landlock_create_ruleset",
        "landlock_restrict_self",
        "pidfd_open",
        "pidfd_send_signal",
        "prlimit64",
        "process_mrelease",
        "process_vm_readv",
        "process_vm_writev",
        "ptrace",
        "restart_syscall",
        "rseq",
        "sched_get_priority_max",
        "sched_get_priority_min",
        "sched_getaffinity",
        "sched_getattr",
        "sched_getparam",
        "sched_getscheduler",
        "sched_rr_get_interval",
        "sched_setaffinity",
        "sched_setattr",
        "sched_setparam",
        "sched_setscheduler",
        "sched_yield",
        "seccomp",
        "set_robust_list",
        "set_thread_area",
        "set_tid_address",
        "setfsgid",
        "setfsuid",
        "setgid",
        "setgroups",
        "setpgid",
        "setpriority",
        "setregid",
        "setresgid",
        "setresuid",
        "setreuid",
        "setrlimit",
        "setsid",
        "setuid",
        "sysinfo",
        "tgkill",
        "times",
        "tkill",
        "uname",
        "uprobe",
        "uretprobe",
        "vfork",
        "wait4",
        "waitid",
    ]),
    // Signals.
    allow(&[
        "pause",
        "rt_sigaction",
        "rt_sigpending",
        "rt_sigprocmask",
        "rt_sigqueueinfo",
        "rt_sigreturn",
        "rt_sigsuspend",
        "rt_sigtimedwait",
        "rt_tgsigqueueinfo",
        "sigaltstack",
        "signalfd",
        "signalfd4",
    ]),
    // Time.
    allow(&[
        "alarm",
        "clock_getres",
        "clock_gettime",
        "clock_nanosleep",
        "getitimer",
        "gettimeofday",
        "nanosleep",
        "setitimer",
        "time",
        "timer_create",
        "timer_delete",
        "timer_getoverrun",
        "timer_gettime",
        "timer_settime",
        "timerfd_create",
        "timerfd_gettime",
        "timerfd_settime",
    ]),
    // Waiting, events, asynchronous I/O.
    allow(&[
        "epoll_create",
        "epoll_create1",
        "epoll_ctl",
        "epoll_ctl_old",
        "epoll_pwait",
        "epoll_pwait2",
        "epoll_wait",
        "epoll_wait_old",
        "eventfd",
        "eventfd2",
        "futex",
        "futex_requeue",
        "futex_wait",
        "futex_waitv",
        "futex_wake",
        "getrandom",
        "inotify_add_watch",
        "inotify_init",
        "inotify_init1",
        "inotify_rm_watch",
        "io_cancel",
        "io_destroy",
        "io_getevents",
        "io_pgetevents",
        "io_setup",
        "io_submit",
        "pipe",
        "pipe2",
        "poll",
        "ppoll",
        "pselect6",
        "select",
    ]),
    // Sockets that exist already.
    allow(&[
        "accept",
        "accept4",
        "bind",
        "connect",
        "getpeername",
        "getsockname",
        "getsockopt",
        "listen",
        "recvfrom",
        "recvmmsg",
        "recvmsg",
        "sendmmsg",
        "sendmsg",
        "sendto",
        "setsockopt",
        "shutdown",
    ]),
    // System V and POSIX IPC.
    allow(&[
        "mq_getsetattr",
        "mq_notify",
        "mq_open",
        "mq_timedreceive",
        "mq_timedsend",
        "mq_unlink",
        "msgctl",
        "msgget",
        "msgrcv",
        "msgsnd",
        "semctl",
        "semget",
        "semop",
        "semtimedop",
        "shmat",
        "shmctl",
        "shmdt",
        "shmget",
    ]),
    // Calls whose arguments decide.
    test(&["socket", "socketpair"], SOCKET),
    test(&["ioctl"], IOCTL),
    test(&["clone"], CLONE),
    test(&["personality"], PERSONALITY),
    test(&["prctl"], PRCTL),
    // Flags of clone3 lie in memory that a filter cannot read, and io_uring makes calls that no
    // filter sees: both do not exist, so that programs fall back.
    no_such(&[
        "clone3",
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
        // Newer than the profile that this one follows.
        "file_getattr",
        "file_setattr",
    ]),
    // What a granted capability adds.
    allow_with(1 << 2, &["open_by_handle_at"]),
    allow_with(
        SYS_ADMIN,
        &[
            "bpf",
            "fanotify_init",
            "fanotify_mark",
            "lookup_dcookie",
            "lsm_get_self_attr",
            "lsm_list_modules",
            "lsm_set_self_attr",
            "perf_event_open",
            "quotactl",
            "quotactl_fd",
            "setdomainname",
            "sethostname",
            "syslog",
        ],
    ),
    allow_with(1 << 22, &["reboot"]),
    allow_with(1 << 18, &["chroot"]),
    allow_with(1 << 16, &["delete_module", "init_module", "finit_module"]),
    allow_with(1 << 20, &["acct"]),
    allow_with(1 << 19, &["kcmp", "pidfd_getfd", "process_madvise"]),
    allow_with(1 << 17, &["iopl", "ioperm"]),
    allow_with(
        1 << 25,
        &["adjtimex", "clock_adjtime", "clock_settime", "settimeofday"],
    ),
    allow_with(1 << 26, &["vhangup"]),
    allow_with(
        1 << 23,
        &[
            "get_mempolicy",
            "mbind",
            "set_mempolicy",
            "set_mempolicy_home_node",
        ],
    ),
    allow_with(1 << 34, &["syslog"]),
    allow_with(1 << 39, &["bpf"]),
    allow_with(1 << 38, &["perf_event_open"]),
];
