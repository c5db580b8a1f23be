//! Processes as the host sees them: nothing here believes what a pod says of itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// Bit of CAP_SYS_ADMIN.
pub const SYS_ADMIN: u64 = 1 << 21;

/// One process, read from the host's /proc.
#[derive(Debug, Clone)]
pub struct Process {
    /// Pid on the host.
    pub pid: i32,
    /// Lines of `status`.
    status: BTreeMap<String, String>,
    /// Namespaces: name to inode.
    pub namespaces: BTreeMap<String, u64>,
    /// `(first inside, first outside, count)`.
    pub uid_map: Vec<[u64; 3]>,
    /// As [`Process::uid_map`].
    pub gid_map: Vec<[u64; 3]>,
    /// Lines of `cgroup`.
    pub cgroups: Vec<String>,
}

impl Process {
    /// Reads it; `None` when it is gone.
    pub fn read(pid: i32) -> Option<Self> {
        let file = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
        let status = file("status")?
            .lines()
            .filter_map(|l| l.split_once(':'))
            .map(|(k, v)| (k.to_owned(), v.trim().to_owned()))
            .collect();
        let names = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];
        let namespaces = names
            .iter()
            .filter_map(|n| {
                let link = fs::read_link(format!("/proc/{pid}/ns/{n}")).ok()?;
                let text = link.to_string_lossy().into_owned();
                let inode = text.split_once('[')?.1.trim_end_matches(']').parse().ok()?;
                Some(((*n).to_owned(), inode))
            })
            .collect();
        Some(Self {
            pid,
            status,
            namespaces,
            uid_map: map(&file("uid_map")?),
            gid_map: map(&file("gid_map")?),
            cgroups: file("cgroup")?.lines().map(str::to_owned).collect(),
        })
    }

    /// The reader itself.
    pub fn own() -> Self {
        Self::read(i32::try_from(std::process::id()).unwrap()).unwrap()
    }

    /// One line of `status`.
    #[track_caller]
    pub fn field(&self, name: &str) -> &str {
        self.status
            .get(name)
            .unwrap_or_else(|| panic!("no `{name}` in the status of {}", self.pid))
    }

    /// A capability set: `CapInh`, `CapPrm`, `CapEff`, `CapBnd` or `CapAmb`.
    #[track_caller]
    pub fn capabilities(&self, set: &str) -> u64 {
        u64::from_str_radix(self.field(set), 16).unwrap()
    }

    /// All five sets, in the order Inh Prm Eff Bnd Amb.
    #[track_caller]
    pub fn all_capabilities(&self) -> [u64; 5] {
        ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|set| self.capabilities(set))
    }

    /// Real, effective, saved and file-system ids.
    pub fn uids(&self) -> Vec<u32> {
        numbers(self.field("Uid"))
    }

    /// As [`Process::uids`].
    pub fn gids(&self) -> Vec<u32> {
        numbers(self.field("Gid"))
    }

    /// Supplementary groups.
    pub fn groups(&self) -> Vec<u32> {
        numbers(self.field("Groups"))
    }

    /// Whether no_new_privs is on.
    pub fn no_new_privs(&self) -> bool {
        self.field("NoNewPrivs") == "1"
    }

    /// 0 none, 2 filter.
    pub fn seccomp(&self) -> u32 {
        self.field("Seccomp").parse().unwrap()
    }

    /// Parent on the host.
    pub fn parent(&self) -> i32 {
        self.field("PPid").parse().unwrap()
    }

    /// Pid in the innermost PID namespace.
    pub fn inner_pid(&self) -> i32 {
        self.field("NSpid")
            .split_whitespace()
            .last()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Whether it has ended and waits to be reaped.
    pub fn is_zombie(&self) -> bool {
        self.field("State").starts_with('Z')
    }

    /// A namespace's inode.
    #[track_caller]
    pub fn namespace(&self, name: &str) -> u64 {
        *self
            .namespaces
            .get(name)
            .unwrap_or_else(|| panic!("no namespace {name} of {}", self.pid))
    }

    /// First host id of its map, when it is one extent.
    #[track_caller]
    pub fn base(&self) -> u64 {
        assert_eq!(self.uid_map.len(), 1, "{:?}", self.uid_map);
        self.uid_map[0][1]
    }

    /// What each descriptor leads to.
    pub fn descriptors(&self) -> BTreeMap<u32, String> {
        fs::read_dir(format!("/proc/{}/fd", self.pid))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|e| {
                let fd = e.file_name().to_str()?.parse().ok()?;
                Some((
                    fd,
                    fs::read_link(e.path()).ok()?.to_string_lossy().into_owned(),
                ))
            })
            .collect()
    }

    /// Mounts of its namespace: path to (type, options, super block's options).
    pub fn mounts(&self) -> Vec<Mount> {
        fs::read_to_string(format!("/proc/{}/mountinfo", self.pid))
            .unwrap_or_default()
            .lines()
            .filter_map(Mount::parse)
            .collect()
    }

    /// A path of its root, as the host reaches it.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.pid))
    }

    /// A file of /proc about it.
    pub fn proc(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.pid)).unwrap_or_default()
    }

    /// Its soft and hard limit, such as of `Max open files`.
    pub fn limit(&self, name: &str) -> (String, String) {
        let text = self.proc("limits");
        let line = text
            .lines()
            .find(|l| l.starts_with(name))
            .unwrap_or_default();
        let mut words = line
            .get(name.len()..)
            .unwrap_or_default()
            .split_whitespace();
        let mut next = || words.next().unwrap_or_default().to_owned();
        (next(), next())
    }
}

/// A mount of a process.
#[derive(Debug, Clone)]
pub struct Mount {
    /// Where.
    pub path: String,
    /// What of the file system is mounted.
    pub root: String,
    /// Type of the file system.
    pub kind: String,
    /// Options of the mount.
    pub options: Vec<String>,
    /// Options of the file system.
    pub super_options: String,
    /// `shared:N`, `master:N` and the like.
    pub propagation: Vec<String>,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        Some(Self {
            root: (*left.get(3)?).to_owned(),
            path: (*left.get(4)?).to_owned(),
            options: left.get(5)?.split(',').map(str::to_owned).collect(),
            propagation: left.get(6..)?.iter().map(|w| (*w).to_owned()).collect(),
            kind: (*right.first()?).to_owned(),
            super_options: (*right.get(2)?).to_owned(),
        })
    }

    /// Whether an option is set.
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|o| o == option)
    }
}

fn numbers(text: &str) -> Vec<u32> {
    text.split_whitespace()
        .filter_map(|n| n.parse().ok())
        .collect()
}

fn map(text: &str) -> Vec<[u64; 3]> {
    text.lines()
        .filter_map(|l| {
            let row: Vec<u64> = l
                .split_whitespace()
                .filter_map(|n| n.parse().ok())
                .collect();
            row.try_into().ok()
        })
        .collect()
}

/// Pids of all processes of the host.
pub fn all_pids() -> Vec<i32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .collect()
}

/// Children of a process.
pub fn children(pid: i32) -> Vec<i32> {
    fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|w| w.parse().ok())
        .collect()
}
