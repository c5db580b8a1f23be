//! The plan: manifest plus everything resolved. What stage0 hands to stage1.
//!
//! One binary record on a sealed memfd: `RKTP`, a `u32` version, a `u32` length, the
//! fields. stage1 has no other input than this, the descriptors that it names, and the
//! pod's control socket; it never parses JSON or text of an image.

use crate::capability::CapSet;
use crate::codec::{Bytes, Reader, Record};
use crate::error::Error;
use crate::name::{AppName, PodName, VolumeName};
use crate::network::{Driver, NetworkPlan, PortPlan};
use crate::uuid::Uuid;

/// Version of the record; raised with every change of a field.
pub const VERSION: u32 = 5;
const MAGIC: &[u8; 4] = b"RKTP";

/// Ids in one slot (an app's range).
pub const SLOT_IDS: u32 = 65_536;
/// Slots in a block (a pod's range): slot 0 is init's, 1..=15 are for apps.
pub const BLOCK_SLOTS: u32 = 16;
/// init's own id inside the pod's user namespace: the last of slot 0, in no app's map.
pub const INIT_ID: u32 = SLOT_IDS - 1;

crate::record! {
    /// All that stage1 needs to make and keep a pod.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Plan {
        /// Identity of the pod.
        pub uuid: Uuid,
        /// Its name, when it has one.
        pub pod_name: Option<PodName>,
        /// Its host name.
        pub hostname: String,
        /// Its network.
        pub net: Net,
        /// Networks of [`Net::Private`], in the order of their devices.
        pub networks: Vec<NetworkPlan>,
        /// Ports of the host that lead into the pod.
        pub ports: Vec<PortPlan>,
        /// Descriptor (inherited) of rkt's own program, which runs foreign plugins; `None` when no
        /// network has any.
        pub rkt_fd: Option<i32>,
        /// Directories of the configuration to look for plugins in.
        pub plugin_directories: Vec<String>,
        /// rkt's run-time directory, normally `/run/rkt`.
        pub run_dir: String,
        /// Cgroup below which the pod's is made, relative to each hierarchy's root, normally `rkt`.
        pub cgroup_parent: String,
        /// Slots to reserve: [`BLOCK_SLOTS`], or more for a pod of more than 15 apps.
        pub slots: u32,
        /// Whether /proc hides what the app may not trace (pods of several apps).
        pub hide_siblings: bool,
        /// Content of each app's /etc/hosts; `None` leaves the image's.
        pub hosts: Option<Bytes>,
        /// Whether an image's own /etc/hosts stays, when it is not empty.
        pub keep_hosts: bool,
        /// Whether lines of other pods are added to that content, as they come and go.
        pub grow_hosts: bool,
        /// Content of each app's /etc/resolv.conf; `None` leaves the image's.
        pub resolv_conf: Option<Bytes>,
        /// What plugins' name servers are put into; `None` when that content stays what it is.
        pub resolver: Option<ResolverPlan>,
        /// Volumes, named by index in the apps' mounts.
        pub volumes: Vec<VolumePlan>,
        /// Settings of the pod's own namespaces, in order.
        pub sysctls: Vec<Setting>,
        /// The apps, in start order.
        pub apps: Vec<AppPlan>,
        /// Pod-wide limits.
        pub limits: Vec<Limit>,
        /// Descriptor (inherited) of the pod's locked directory; also the pod directory itself.
        pub lock_fd: i32,
        /// Descriptor (inherited) to which one [`Ready`] record is written when every app runs
        /// or the start has failed; `None` in the foreground.
        pub ready_fd: Option<i32>,
        /// Process with whose end the pod is stopped: it started the supervisor from the
        /// thread that stays; `None` for a pod of its own.
        pub owner: Option<u32>,
        /// Whether the apps' output is also copied to the supervisor's own stdout and stderr.
        pub foreground: bool,
        /// Whether the pod's directory goes when the pod ends.
        pub remove: bool,
        /// Whether to tell every step on stderr.
        pub debug: bool,
        /// Defences taken away, see [`weaken`]; refused unless built for tests.
        pub weaken: u64,
    }
}

crate::record! {
    /// What was said of a pod's name servers, where a network may bring some when it is joined.
    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    pub struct ResolverPlan {
        /// Name servers that were given.
        pub nameservers: Vec<std::net::IpAddr>,
        /// Domain that was given; empty when none was.
        pub domain: String,
        /// Search list that was given.
        pub search: Vec<String>,
        /// Options that were given.
        pub options: Vec<String>,
        /// The first of [`Plan::networks`] whose file names any, by place: what a later network
        /// brings does not count.
        pub named_by: Option<u32>,
    }
}

crate::record_enum! {
    /// Network of a pod.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Net {
        /// Its own namespace with loopback only.
        None = 0,
        /// The host's.
        Host = 1,
        /// Its own namespace with the devices of [`Plan::networks`].
        Private = 2,
    }
}

impl Net {
    /// Whether the pod has a network namespace of its own.
    pub const fn is_own(self) -> bool {
        !matches!(self, Self::Host)
    }
}

crate::record! {
    /// A setting below /proc/sys.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Setting {
        /// Path below /proc/sys, such as `net/core/somaxconn`.
        pub path: String,
        /// What is written.
        pub value: String,
    }
}

crate::record_enum! {
    /// Which user namespace an app lives in.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum UserSpace {
        /// One of its own.
        Own = 0,
        /// The pod's, as root of slot 0.
        Pod = 1,
    }
}

crate::record! {
    /// One app.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct AppPlan {
        /// Unique in the pod.
        pub name: AppName,
        /// Slot of the pod's block, 1..slots.
        pub slot: u32,
        /// Descriptors (inherited) of the image's layers, detached read-only mounts, topmost first.
        pub layers: Vec<i32>,
        /// Whether `/` is read-only.
        pub read_only: bool,
        /// Bytes that the app may write to `/`, kept in memory; 0 is on disk without a bound.
        pub root_bytes: u64,
        /// What to execute.
        pub process: Process,
        /// stdin, stdout and stderr.
        pub stdio: Stdio,
        /// Volumes of the app, in the order to mount them (parents before children).
        pub mounts: Vec<MountPlan>,
        /// Its walls.
        pub walls: Walls,
        /// Its limits.
        pub limits: Vec<Limit>,
        /// Signal that asks the app to end, 1..=64.
        pub stop_signal: u8,
        /// Milliseconds from that signal to SIGKILL.
        pub stop_timeout_ms: u32,
        /// A log file is rotated when it grows past this, bytes.
        pub log_max_bytes: u64,
        /// How many log files are kept, the current one counted.
        pub log_files: u32,
        /// The image's name, for messages and status.
        pub image_name: String,
        /// The image's id, for status.
        pub image_id: String,
    }
}

crate::record! {
    /// A process of an app: its main program, or one that `enter` adds.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Process {
        /// Arguments; the first is looked up in the `PATH` of `env` when it has no slash.
        pub argv: Vec<Bytes>,
        /// `NAME=value`.
        pub env: Vec<Bytes>,
        /// User id inside the app, 0..=65535.
        pub uid: u32,
        /// Group id inside the app, 0..=65535.
        pub gid: u32,
        /// Supplementary group ids inside the app.
        pub groups: Vec<u32>,
        /// Absolute path to start in.
        pub cwd: String,
        /// Whether a missing `cwd` is made (docker's images expect it).
        pub make_cwd: bool,
        /// File mode creation mask.
        pub umask: u32,
    }
}

crate::record_enum! {
    /// Where the three standard descriptors lead.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Stdio {
        /// stdin is /dev/null; output goes to the log.
        Log = 0,
        /// stdin is a pipe from the supervisor's own stdin; output goes to the log.
        Stream = 1,
        /// A pty of the app's own devpts; what it prints goes to the log too.
        Tty = 2,
    }
}

crate::record! {
    /// A volume of the pod.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct VolumePlan {
        /// Its name; also the directory name below the pod's `volumes/`.
        pub name: VolumeName,
        /// Where the bytes are.
        pub kind: VolumeKind,
        /// Descriptor (inherited, `O_PATH`) of a host source; -1 for other kinds.
        pub source: i32,
        /// Host path of the source, for messages.
        pub source_path: String,
        /// Whether the source is a directory (else a file).
        pub directory: bool,
        /// Whether mounts below the source come along.
        pub recursive: bool,
        /// Read-only for every app.
        pub read_only: bool,
        /// Whose files they are, as the app sees them.
        pub owner: Owner,
        /// Permission bits of a new volume's top directory.
        pub mode: u32,
        /// Owner of a new volume's top directory, as the apps see it.
        pub uid: u32,
        /// Group of a new volume's top directory, as the apps see it.
        pub gid: u32,
        /// Bytes that an empty volume holds, in memory; 0 is one on disk without a bound.
        pub bytes: u64,
    }
}

crate::record_enum! {
    /// Where a volume's bytes are.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum VolumeKind {
        /// A file or directory of the host.
        Host = 0,
        /// A new directory of the pod.
        Empty = 1,
        /// A new upper over the image's own directory at the mount's target.
        Image = 2,
    }
}

crate::record_enum! {
    /// Whose files a host volume's are, as the app sees them.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Owner {
        /// The source's owner appears as the app's user (idmapped).
        App = 0,
        /// Host ids shine through; unmapped ones show as 65534.
        Host = 1,
        /// Host ids 0..=65535 appear as the same numbers (idmapped; dangerous when writable).
        HostRoot = 2,
    }
}

crate::record! {
    /// A volume at a path of an app.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct MountPlan {
        /// Index into [`Plan::volumes`].
        pub volume: u32,
        /// Absolute, clean path in the app.
        pub target: String,
        /// Read-only here, whatever the volume says.
        pub read_only: bool,
    }
}

crate::record! {
    /// The compiled isolators of an app.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Walls {
        /// User namespace; in the pod's the app's slot is 0.
        pub user_space: UserSpace,
        /// Bounding set.
        pub bounding: CapSet,
        /// Permitted and effective set of the app's first process when it is uid 0.
        pub permitted: CapSet,
        /// Ambient (and so inheritable) set; only for an explicit grant to a non-root app.
        pub ambient: CapSet,
        /// Whether execve may not raise privileges; also makes `/` nosuid.
        pub no_new_privs: bool,
        /// seccomp program: `sock_filter`s of 8 bytes in host order; empty is no filter.
        pub seccomp: Bytes,
        /// The same program with a question to the supervisor in place of errors; empty unless
        /// denials are to be told.
        pub traced: Bytes,
        /// Whether the app lives in a Landlock domain.
        pub landlock: bool,
        /// User namespaces the app may nest (0 by default).
        pub max_user_namespaces: u32,
        /// Paths hidden: files show as /dev/null, directories as empty; missing ones are skipped.
        pub masked: Vec<String>,
        /// Paths made read-only (below /proc); missing ones are skipped.
        pub read_only_paths: Vec<String>,
        /// Those of `masked` and `read_only_paths` that were asked for by name: a missing one
        /// refuses the start.
        pub asked_paths: Vec<String>,
        /// Device nodes beyond the usual ones.
        pub devices: Vec<Device>,
        /// Resource limits, already clamped to what the host allows.
        pub rlimits: Vec<Rlimit>,
        /// -1000..=1000.
        pub oom_score_adj: i32,
        /// Size of /dev/shm, bytes.
        pub shm_bytes: u64,
    }
}

crate::record! {
    /// A device node of an app's /dev; it belongs to nobody in the app, who has the access of
    /// others.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Device {
        /// Clean path below /dev, such as `net/tun`.
        pub name: String,
        /// Whether it is a block device.
        pub block: bool,
        /// Major number.
        pub major: u32,
        /// Minor number.
        pub minor: u32,
        /// Permission bits for others: 4 reads, 2 writes.
        pub access: u32,
        /// Path on the host, for messages.
        pub source: String,
    }
}

crate::record! {
    /// One resource limit (`setrlimit(2)`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Rlimit {
        /// `RLIMIT_*`.
        pub resource: u32,
        /// Soft limit; `u64::MAX` is none.
        pub soft: u64,
        /// Hard limit; `u64::MAX` is none.
        pub hard: u64,
    }
}

crate::record! {
    /// One cgroup limit.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Limit {
        /// Which knob.
        pub knob: Knob,
        /// Its value, in the knob's unit.
        pub value: u64,
    }
}

crate::record_enum! {
    /// A limit that a cgroup can hold.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Knob {
        /// Bytes of memory.
        Memory = 0,
        /// Tasks.
        Pids = 1,
        /// Thousandths of a core.
        Cpu = 2,
        /// Weight, 2..=262144 (v1's shares).
        CpuShares = 3,
    }
}

crate::record! {
    /// What the supervisor says once, when a detached start is over.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Ready {
        /// 0 when every app runs, else the exit status of `rkt run`.
        pub exit: u8,
        /// The whole message, as lines; empty on success.
        pub message: String,
    }
}

/// Bits of [`Plan::weaken`]: each takes one defence away, so that a test can show that the
/// attack it stops then succeeds. stage1 refuses a plan with any bit set unless it was built
/// with the `weaken` feature.
pub mod weaken {
    /// Apps keep every capability in their own namespace.
    pub const CAPS: u64 = 1;
    /// No no_new_privs.
    pub const NO_NEW_PRIVS: u64 = 1 << 1;
    /// No seccomp filter.
    pub const SECCOMP: u64 = 1 << 2;
    /// No Landlock domain.
    pub const LANDLOCK: u64 = 1 << 3;
    /// Apps live in the supervisor's user namespace (no user namespace of their own).
    pub const USERNS: u64 = 1 << 4;
    /// Mounts belong to the app's own user namespace: the locks are gone.
    pub const LOCKS: u64 = 1 << 5;
    /// Nothing of /proc and /sys is masked or read-only.
    pub const MASKS: u64 = 1 << 6;
    /// /proc hides nothing.
    pub const HIDEPID: u64 = 1 << 7;
    /// All apps share one id range.
    pub const DISJOINT_IDS: u64 = 1 << 8;
    /// The host's cgroup trees are mounted read-write in the app.
    pub const CGROUP_VIEW: u64 = 1 << 9;
    /// Apps are only chrooted, the host's root stays reachable.
    pub const PIVOT: u64 = 1 << 10;
    /// init keeps capabilities and stays dumpable.
    pub const INIT: u64 = 1 << 11;

    /// Switch names, as `--weaken=` takes them.
    pub const NAMES: &[(&str, u64)] = &[
        ("caps", CAPS),
        ("no-new-privs", NO_NEW_PRIVS),
        ("seccomp", SECCOMP),
        ("landlock", LANDLOCK),
        ("userns", USERNS),
        ("locks", LOCKS),
        ("masks", MASKS),
        ("hidepid", HIDEPID),
        ("disjoint-ids", DISJOINT_IDS),
        ("cgroup-view", CGROUP_VIEW),
        ("pivot", PIVOT),
        ("init", INIT),
    ];
}

impl Plan {
    /// Whether ports lead into a network that rkt makes itself; else plugins or `pasta` lead them.
    pub fn leads_ports(&self) -> bool {
        let own = |n: &NetworkPlan| matches!(n.driver, Driver::Bridge | Driver::Ptp);
        self.networks.iter().any(own)
    }

    /// Whether plugins or `pasta` lead the pod's ports: from its start to its end.
    pub fn others_lead_ports(&self) -> bool {
        !self.networks.is_empty() && !self.leads_ports()
    }

    /// The record with magic, version and length.
    pub fn encode(&self) -> Vec<u8> {
        let body = self.to_bytes();
        let mut out = Vec::with_capacity(body.len() + 12);
        out.extend_from_slice(MAGIC);
        VERSION.put(&mut out);
        u32::try_from(body.len()).unwrap_or(u32::MAX).put(&mut out);
        out.extend_from_slice(&body);
        out
    }

    /// Reads what [`Plan::encode`] wrote.
    ///
    /// # Errors
    /// When magic, version or any length is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut from = Reader::new(bytes);
        if from.bytes(4, "magic")? != MAGIC {
            return Err(Error::new("plan", "magic", "is not a plan of rkt"));
        }
        let version = u32::take(&mut from)?;
        if version != VERSION {
            return Err(Error::new(
                "plan",
                format!("version {version}"),
                format!("this rkt-stage1 reads version {VERSION}"),
            ));
        }
        let length = u32::take(&mut from)? as usize;
        let body = from.bytes(length, "plan")?;
        from.finish()?;
        Self::from_bytes(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_of_another_version_is_refused() {
        let mut bytes = MAGIC.to_vec();
        (VERSION + 1).put(&mut bytes);
        0u32.put(&mut bytes);
        assert!(
            Plan::decode(&bytes)
                .unwrap_err()
                .to_string()
                .contains("version")
        );
        assert!(Plan::decode(b"nope").is_err());
    }

    #[test]
    fn weaken_switches_are_distinct_bits() {
        let mut seen = 0u64;
        for (name, bit) in weaken::NAMES {
            assert_eq!(bit.count_ones(), 1, "{name}");
            assert_eq!(seen & bit, 0, "{name}");
            seen |= bit;
        }
    }
}
