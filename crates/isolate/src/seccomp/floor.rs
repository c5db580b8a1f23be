//! The floor: what no list opens.

use super::profile::{
    Action, CLONE, EPERM, IOCTL, Profile, Rule, SOCKET, SYS_ADMIN, allow_with, no_such, test,
};

/// What no list of the user's opens: the calls that break out of an app, drive the host, or
/// are seen by no filter. A capability that is granted, `--userns-nested` and `--socket-family`
/// open their own part of it; nothing else but no filter at all does.
pub static FLOOR: Profile = Profile {
    rules: FLOOR_RULES,
    other: Action::Allow,
};

const fn refuse(names: &'static [&'static str]) -> Rule {
    Rule {
        names,
        action: Action::Errno(EPERM),
        needs: 0,
    }
}

static FLOOR_RULES: &[Rule] = &[
    // Namespaces and mounts.
    refuse(&[
        "unshare",
        "setns",
        "mount",
        "umount2",
        "pivot_root",
        "fsopen",
        "fsconfig",
        "fsmount",
        "fspick",
        "move_mount",
        "open_tree",
        "open_tree_attr",
        "mount_setattr",
        "chroot",
    ]),
    // Keys are not namespaced; userfaultfd is how kernel races are won.
    refuse(&["add_key", "request_key", "keyctl", "userfaultfd"]),
    // The host itself.
    refuse(&[
        "acct",
        "bpf",
        "clock_settime",
        "delete_module",
        "fanotify_init",
        "finit_module",
        "init_module",
        "ioperm",
        "iopl",
        "kexec_file_load",
        "kexec_load",
        "lookup_dcookie",
        "nfsservctl",
        "open_by_handle_at",
        "perf_event_open",
        "quotactl",
        "quotactl_fd",
        "reboot",
        "setdomainname",
        "sethostname",
        "settimeofday",
        "swapoff",
        "swapon",
        "syslog",
        "vhangup",
    ]),
    test(&["socket", "socketpair"], SOCKET),
    test(&["ioctl"], IOCTL),
    test(&["clone"], CLONE),
    no_such(&[
        "clone3",
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
    ]),
    allow_with(1 << 2, &["open_by_handle_at"]),
    allow_with(
        SYS_ADMIN,
        &[
            "bpf",
            "fanotify_init",
            "lookup_dcookie",
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
    allow_with(1 << 17, &["iopl", "ioperm"]),
    allow_with(1 << 25, &["clock_settime", "settimeofday"]),
    allow_with(1 << 26, &["vhangup"]),
    allow_with(1 << 34, &["syslog"]),
    allow_with(1 << 39, &["bpf"]),
    allow_with(1 << 38, &["perf_event_open"]),
];
