//! What is known of a process, and how the kernel writes it.

use crate::idmap::Extent;
use std::collections::{BTreeMap, BTreeSet};

/// Names of the namespaces that are looked at, as /proc has them.
pub const NAMESPACES: [&str; 7] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];
/// Names of the capability sets in `status`, with the word used in findings.
pub const SETS: [(&str, &str); 5] = [
    ("CapInh", "inheritable"),
    ("CapPrm", "permitted"),
    ("CapEff", "effective"),
    ("CapBnd", "bounding"),
    ("CapAmb", "ambient"),
];

/// What each thread has for itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Task {
    /// Thread id; the pid for the first.
    pub id: i32,
    /// Capability sets in the order of [`SETS`].
    pub sets: [u64; 5],
    /// Whether execve may not raise privileges.
    pub no_new_privs: bool,
    /// 0 none, 1 strict, 2 filter.
    pub seccomp: u32,
    /// Number of filters; `None` where the kernel does not say (before 5.9).
    pub filters: Option<u32>,
    /// Real, effective, saved and file-system uid, the host's numbers.
    pub uids: Vec<u32>,
    /// The same of the group.
    pub gids: Vec<u32>,
    /// Supplementary groups, the host's numbers.
    pub groups: Vec<u32>,
}

/// One process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Host pid.
    pub pid: i32,
    /// Host pid of its parent.
    pub parent: i32,
    /// Pid in its innermost PID namespace.
    pub inner_pid: i32,
    /// Milliseconds since it was cloned.
    pub age_ms: u64,
    /// Device and inode of its program.
    pub program: (u64, u64),
    /// Path of its program, as it sees it.
    pub program_path: String,
    /// Who owns its files in /proc: not itself when it is not dumpable.
    pub proc_owner: u32,
    /// Its threads, the first one first.
    pub tasks: Vec<Task>,
    /// Lines of `uid_map`.
    pub uid_map: Vec<Extent>,
    /// Lines of `gid_map`.
    pub gid_map: Vec<Extent>,
    /// Inodes of [`NAMESPACES`].
    pub namespaces: BTreeMap<&'static str, u64>,
    /// `(controllers, path)` of each hierarchy; v2 has no controllers.
    pub cgroups: Vec<(String, String)>,
    /// Soft and hard limits by number (`RLIMIT_*`).
    pub limits: Vec<(u64, u64)>,
    /// How soon it is killed when memory is short, -1000..=1000; `None` when it cannot be read.
    pub oom_score_adj: Option<i32>,
    /// Where its `/` lies in its mount namespace.
    pub root: String,
    /// Entries of its `/`; counted to two.
    pub root_entries: usize,
    /// Its mounts.
    pub mounts: Vec<Mount>,
    /// Open files, and its root, working directory and program.
    pub descriptors: Vec<Descriptor>,
    /// More descriptors than are looked at.
    pub too_many_descriptors: bool,
    /// Those of the paths asked for that are there in its root.
    pub present: BTreeSet<String>,
    /// Ids of the mounts in which the paths asked for lie.
    pub places: BTreeMap<String, u64>,
}

/// A mount.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mount {
    /// The kernel's number of it.
    pub id: u64,
    /// Device of its file system, `major:minor`.
    pub device: String,
    /// What of the file system is mounted.
    pub root: String,
    /// Where.
    pub path: String,
    /// Options of the mount.
    pub options: Vec<String>,
    /// Whether events of other mounts reach it, or its events others.
    pub propagates: bool,
    /// Type of the file system.
    pub kind: String,
    /// Options of the file system.
    pub super_options: Vec<String>,
}

/// Something open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// A number, or `cwd`, `root`, `exe`.
    pub name: String,
    /// What it leads to, as the kernel writes it.
    pub link: String,
    /// The mount it lies in; `None` when it is no path.
    pub mount: Option<u64>,
    /// Device of its file system, `major:minor`.
    pub device: String,
    /// The network of a socket; `None` when it is none.
    pub socket: Option<Socket>,
}

/// Where a socket lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    /// Inode of its network namespace.
    pub network: u64,
    /// Its own address; `None` when it is no internet socket.
    pub address: Option<std::net::SocketAddr>,
}

impl Facts {
    /// The first thread, which has the process's own sets.
    pub fn first(&self) -> Option<&Task> {
        self.tasks.first()
    }

    /// Path of a controller's cgroup; the v2 one for the empty name.
    pub fn cgroup(&self, controller: &str) -> Option<&str> {
        let found = self
            .cgroups
            .iter()
            .find(|(names, _)| names.split(',').any(|n| n == controller));
        found.map(|(_, path)| path.as_str())
    }
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let line = |l: &'a str| l.split_once(':').filter(|(key, _)| *key == name);
    status.lines().find_map(line).map(|(_, value)| value.trim())
}

fn numbers(text: &str) -> Vec<u32> {
    text.split_whitespace()
        .filter_map(|n| n.parse().ok())
        .collect()
}

/// Reads a thread's `status`; `None` when it is not one, or of a thread that has ended.
pub fn task(status: &str) -> Option<Task> {
    if field(status, "State")?.starts_with(['Z', 'X']) {
        return None;
    }
    let mut sets = [0; 5];
    for (set, (name, _)) in sets.iter_mut().zip(SETS) {
        *set = u64::from_str_radix(field(status, name)?, 16).ok()?;
    }
    Some(Task {
        id: field(status, "Pid")?.parse().ok()?,
        sets,
        no_new_privs: field(status, "NoNewPrivs")? != "0",
        seccomp: field(status, "Seccomp")?.parse().ok()?,
        filters: field(status, "Seccomp_filters").and_then(|n| n.parse().ok()),
        uids: numbers(field(status, "Uid")?),
        gids: numbers(field(status, "Gid")?),
        groups: numbers(field(status, "Groups")?),
    })
}

/// `(parent, pid in the innermost PID namespace)` of a `status`.
pub fn pids(status: &str) -> Option<(i32, i32)> {
    let inner = field(status, "NSpid")?.split_whitespace().last()?;
    Some((field(status, "PPid")?.parse().ok()?, inner.parse().ok()?))
}

/// Who traces the thread of a `status`, as a thread id.
pub fn tracer(status: &str) -> Option<i32> {
    field(status, "TracerPid")?.parse().ok()
}

/// Reads `uid_map` or `gid_map`; a line that is none ends in a map that fits no plan.
pub fn id_map(text: &str) -> Vec<Extent> {
    let line = |line: &str| match numbers(line).as_slice() {
        [inside, outside, count] => Extent {
            inside: *inside,
            outside: *outside,
            count: *count,
        },
        _ => Extent {
            inside: u32::MAX,
            outside: 0,
            count: u32::MAX,
        },
    };
    text.lines().map(line).collect()
}

/// Reads `limits`, which has a line a limit in the order of their numbers.
pub fn limits(text: &str) -> Vec<(u64, u64)> {
    /// Width of the column of names.
    const NAMES: usize = 25;
    let value = |word: Option<&str>| match word {
        Some("unlimited") | None => u64::MAX,
        Some(n) => n.parse().unwrap_or(u64::MAX),
    };
    text.lines()
        .skip(1)
        .map(|line| {
            let mut words = line.get(NAMES..).unwrap_or("").split_whitespace();
            (value(words.next()), value(words.next()))
        })
        .collect()
}

/// Reads `cgroup`.
pub fn cgroups(text: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

/// Reads `mountinfo`.
pub fn mount_table(text: &str) -> Vec<Mount> {
    text.lines().filter_map(mount).collect()
}

fn mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ');
    let mut right = right.split(' ');
    let words = |text: &str| text.split(',').map(str::to_owned).collect();
    Some(Mount {
        id: left.next()?.parse().ok()?,
        device: left.nth(1)?.to_owned(),
        root: plain(left.next()?),
        path: plain(left.next()?),
        options: words(left.next()?),
        propagates: left.any(|w| !w.is_empty() && w != "unbindable"),
        kind: right.next()?.to_owned(),
        super_options: words(right.nth(1)?),
    })
}

/// A path of `mountinfo`, in which blanks and backslashes are three octal digits.
fn plain(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut bytes = parts.next().unwrap_or("").as_bytes().to_vec();
    for part in parts {
        let code = part.get(..3).and_then(|d| u8::from_str_radix(d, 8).ok());
        match (code, part.get(3..)) {
            (Some(code), Some(rest)) => {
                bytes.push(code);
                bytes.extend_from_slice(rest.as_bytes());
            }
            _ => {
                bytes.push(b'\\');
                bytes.extend_from_slice(part.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
