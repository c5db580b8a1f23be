//! The default walls of an app: one table, nothing computed.
//!
//! Source of every line: `docs/design/defaults.md` (the policy) and the man page named
//! beside it. Whoever wants to know what an app gets without asking reads this file.

use rkt_spec::capability::CapSet;

/// Capabilities of an app that runs as uid 0, inside its own user namespace. Apps of another
/// uid get none. init never has any.
///
/// Left out of docker's fourteen: SYS_CHROOT (old break-out tool), NET_BIND_SERVICE and NET_RAW
/// (they cannot act over the pod's network; sysctls of the pod do their work), MKNOD (refused in
/// a user namespace anyway), AUDIT_WRITE (audit is the host's).
pub const CAPABILITIES: CapSet = CapSet(
    1 // CHOWN
    | 1 << 1 // DAC_OVERRIDE
    | 1 << 3 // FOWNER
    | 1 << 4 // FSETID
    | 1 << 5 // KILL
    | 1 << 6 // SETGID
    | 1 << 7 // SETUID
    | 1 << 8 // SETPCAP
    | 1 << 31, // SETFCAP
);

/// What to do instead of granting a capability that cannot act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instead {
    /// `--userns=pod` makes it act, where the pod has a network of its own.
    Pod,
    /// This flag does its work.
    Flag(&'static str),
    /// Nothing: what it is for works without it, so that asking for it does no harm.
    Needless,
    /// Nothing can: it governs the host.
    Nothing,
}

/// Capabilities that cannot act in an app's own user namespace, why, and what to do instead.
/// Source: the `capable()` and `ns_capable()` of `capabilities(7)`'s operations.
pub const INERT: &[(u8, &str, Instead)] = &[
    (
        9,
        "inode flags belong to the file system's owner, the host",
        Instead::Nothing,
    ),
    (
        10,
        "the pod's network belongs to another user namespace; ports below 1024 are open without it",
        Instead::Needless,
    ),
    (
        11,
        "the pod's network belongs to another user namespace",
        Instead::Pod,
    ),
    (
        12,
        "the pod's network belongs to another user namespace",
        Instead::Pod,
    ),
    (
        13,
        "the pod's network belongs to another user namespace; ping works without it",
        Instead::Pod,
    ),
    (
        14,
        "memory locks are bounded by a limit of the process",
        Instead::Flag("--rlimit=memlock=SIZE"),
    ),
    (
        15,
        "the pod's IPC objects belong to another user namespace",
        Instead::Pod,
    ),
    (16, "kernel modules are the host's", Instead::Nothing),
    (17, "I/O ports are the host's", Instead::Nothing),
    (20, "process accounting is the host's", Instead::Nothing),
    (22, "the machine is the host's", Instead::Nothing),
    (
        24,
        "resource limits are the host's to raise",
        Instead::Flag("--rlimit=NAME=SOFT:HARD"),
    ),
    (25, "the clock is the host's", Instead::Nothing),
    (26, "virtual terminals are the host's", Instead::Nothing),
    (
        27,
        "device nodes cannot be made in a user namespace",
        Instead::Flag("--device=/dev/NAME"),
    ),
    (29, "the audit log is the host's", Instead::Nothing),
    (30, "the audit rules are the host's", Instead::Nothing),
    (
        32,
        "mandatory access control is the host's",
        Instead::Nothing,
    ),
    (
        33,
        "mandatory access control is the host's",
        Instead::Nothing,
    ),
    (34, "the kernel's log is the host's", Instead::Nothing),
    (35, "wake-up timers are the host's", Instead::Nothing),
    (36, "suspending is the host's", Instead::Nothing),
    (37, "the audit log is the host's", Instead::Nothing),
    (38, "performance counters are the host's", Instead::Nothing),
    (39, "BPF is the host's", Instead::Nothing),
];

/// Files and directories below /proc and /sys that an app does not see. Missing ones are
/// skipped; a superset of what OCI runtimes hide.
///
/// `thermal_throttle` below each CPU is added by [`crate::plan`], which knows how many there are.
pub const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/key-users",
    "/proc/kmsg",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/kpagecgroup",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/slabinfo",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmallocinfo",
    "/proc/pagetypeinfo",
    "/proc/config.gz",
    "/proc/sysrq-trigger",
    "/sys/firmware",
    "/sys/kernel/debug",
    "/sys/kernel/tracing",
    "/sys/kernel/security",
    "/sys/kernel/notes",
    "/sys/kernel/vmcoreinfo",
    "/sys/module",
    "/sys/hypervisor",
    "/sys/power",
    "/sys/fs/fuse",
    "/sys/fs/bpf",
    "/sys/fs/pstore",
    "/sys/fs/selinux",
    "/sys/class/block",
    "/sys/block",
    "/sys/devices/virtual/powercap",
];

/// Paths below /proc that are read-only. (`asound` and `sysrq-trigger`, which the policy names
/// here too, are masked: a mask is stronger. /sys is read-only as a whole.)
pub const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"];

/// A limit of `setrlimit(2)` that every app gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultRlimit {
    /// Name as in `ulimit`-like reports.
    pub name: &'static str,
    /// `RLIMIT_*` of Linux on this architecture.
    pub resource: u32,
    /// Soft limit wanted.
    pub soft: u64,
    /// Hard limit wanted.
    pub hard: u64,
}

/// Names of the limits of `setrlimit(2)` by their number, as `ulimit` and docker write them.
pub const RLIMIT_NAMES: [&str; 16] = [
    "cpu",
    "fsize",
    "data",
    "stack",
    "core",
    "rss",
    "nproc",
    "nofile",
    "memlock",
    "as",
    "locks",
    "sigpending",
    "msgqueue",
    "nice",
    "rtprio",
    "rttime",
];

/// Number of `RLIMIT_CORE` (`asm-generic/resource.h`).
pub const RLIMIT_CORE: u32 = 4;
/// Number of `RLIMIT_NOFILE`.
pub const RLIMIT_NOFILE: u32 = 7;

/// Limits of every process of an app, before clamping to what the host allows. Tasks are
/// bounded by the cgroup, not by nproc, which counts per uid of the whole host.
pub const RLIMITS: &[DefaultRlimit] = &[
    DefaultRlimit {
        name: "nofile",
        resource: RLIMIT_NOFILE,
        soft: 1024,
        hard: 524_288,
    },
    // A core of a masked program would be the host's to keep; see `core_pattern` in the doctor.
    DefaultRlimit {
        name: "core",
        resource: RLIMIT_CORE,
        soft: 0,
        hard: 0,
    },
];

/// Tasks of one app.
pub const APP_PIDS: u64 = 1024;
/// Tasks of a whole pod.
pub const POD_PIDS: u64 = 4096;
/// Size of /dev/shm, bytes.
pub const SHM_BYTES: u64 = 64 << 20;
/// File mode creation mask.
pub const UMASK: u32 = 0o022;
/// `oom_score_adj` of an app where init's can be lowered below it.
pub const OOM_SCORE_ADJ: i32 = 0;
/// `oom_score_adj` of an app where it cannot: the app is to die before its init.
pub const OOM_SCORE_ADJ_RAISED: i32 = 100;
/// `oom_score_adj` of init where the host allows it to be lowered.
pub const OOM_SCORE_ADJ_INIT: i32 = -100;
/// User namespaces that an app may nest.
pub const MAX_USER_NAMESPACES: u32 = 0;

/// A device node of an app's /dev, bound from the supervisor's own nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Name below /dev.
    pub name: &'static str,
    /// Major number (character device).
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// Device nodes of every app, mode 0666 (`Documentation/admin-guide/devices.txt`).
pub const DEVICES: &[Device] = &[
    Device {
        name: "null",
        major: 1,
        minor: 3,
    },
    Device {
        name: "zero",
        major: 1,
        minor: 5,
    },
    Device {
        name: "full",
        major: 1,
        minor: 7,
    },
    Device {
        name: "random",
        major: 1,
        minor: 8,
    },
    Device {
        name: "urandom",
        major: 1,
        minor: 9,
    },
    Device {
        name: "tty",
        major: 5,
        minor: 0,
    },
];

/// Symbolic links of every app's /dev: name and target.
pub const DEVICE_LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Most ptys of an app's devpts.
pub const DEVPTS_MAX: u32 = 128;
/// Size of the tmpfs on /dev, bytes.
pub const DEV_BYTES: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_set_is_nine_names() {
        assert_eq!(
            CAPABILITIES.to_string(),
            "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP SETFCAP"
        );
    }

    #[test]
    fn no_default_capability_is_inert_and_numbers_exist() {
        for (number, why, _) in INERT {
            assert!(usize::from(*number) < rkt_spec::capability::NAMES.len());
            assert_eq!(CAPABILITIES.0 >> number & 1, 0, "{why}");
        }
    }

    #[test]
    fn a_path_is_masked_or_read_only_not_both() {
        for path in MASKED.iter().chain(READ_ONLY) {
            let times = MASKED.iter().chain(READ_ONLY).filter(|p| *p == path);
            assert_eq!(times.count(), 1, "{path}");
            assert!(path.starts_with("/proc/") || path.starts_with("/sys/"));
        }
    }
}
