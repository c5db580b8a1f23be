//! What a number was measured on: without it a number says nothing.

use std::{collections::BTreeMap, fs, process::Command};

use serde::Serialize;

/// The machine, its tools and how busy it was.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// UTC, to the second.
    pub(crate) date: String,
    /// Kernel release.
    pub(crate) kernel: String,
    /// Processor.
    pub(crate) processor: String,
    /// Number of processors.
    pub(crate) cores: usize,
    /// KiB of memory.
    pub(crate) memory_kib: u64,
    /// File system of `/`, and whether its small writes are journalled: ext4 without a journal pays
    /// for every new inode by those deleted in the last minutes.
    pub(crate) disk: String,
    /// `v2`, or `hybrid` with v1 controllers.
    pub(crate) cgroups: &'static str,
    /// The commit of rkt, `+` when the tree differs from it.
    pub(crate) commit: String,
    /// First line of each tool's own version.
    pub(crate) tools: BTreeMap<&'static str, String>,
    /// Load averages when the run began, and when it ended.
    pub(crate) load: [String; 2],
}

impl Machine {
    /// Looks around.
    pub(crate) fn look() -> Self {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let model = cpu.lines().find(|line| line.starts_with("model name"));
        let mut tools = BTreeMap::new();
        for tool in [
            "crun",
            "runc",
            "podman",
            "skopeo",
            "umoci",
            "docker-registry",
            "conmon",
            "cc",
        ] {
            tools.insert(tool, first_line(tool, &["--version"]));
        }
        let dirty = if first_line("git", &["status", "--porcelain", "-uno"]).is_empty() {
            ""
        } else {
            "+"
        };
        let v2 = fs::metadata("/sys/fs/cgroup/cgroup.controllers").is_ok();
        Self {
            date: first_line("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]),
            kernel: first_line("uname", &["-r"]),
            processor: model
                .and_then(|line| line.split(": ").nth(1))
                .unwrap_or("?")
                .to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_kib: memory
                .split_whitespace()
                .nth(1)
                .and_then(|kib| kib.parse().ok())
                .unwrap_or(0),
            disk: disk(),
            cgroups: if v2 { "v2" } else { "hybrid" },
            commit: format!(
                "{}{dirty}",
                first_line("git", &["rev-parse", "--short=12", "HEAD"])
            ),
            tools,
            load: [load(), String::new()],
        }
    }

    /// Notes how busy the machine is now that the run ends.
    pub(crate) fn leave(&mut self) {
        self.load[1] = load();
    }
}

fn disk() -> String {
    let table = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let row = table
        .lines()
        .rev()
        .find(|line| line.split(' ').nth(1) == Some("/"));
    let row: Vec<&str> = row.unwrap_or_default().split(' ').collect();
    let (Some(device), Some(kind)) = (row.first(), row.get(2)) else {
        return String::new();
    };
    let name = device.rsplit('/').next().unwrap_or_default();
    let options = fs::read_to_string(format!("/proc/fs/ext4/{name}/options")).unwrap_or_default();
    let bare = *kind == "ext4" && !options.is_empty() && !options.contains("data=");
    format!("{kind}{}", if bare { " without a journal" } else { "" })
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// What a program says first; empty when it is not there.
fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}
