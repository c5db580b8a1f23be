//! What a test needs, and what is said when it is not there.
//!
//! A skip is a line on stderr, whatever the test runner hides, and a line in the file that
//! `RKT_TEST_SKIPS` names; `make test` compares that with `tests/skips.txt`.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A thing that a host may lack.
#[derive(Debug, Clone, Copy)]
pub enum Need {
    /// User 0 with all capabilities.
    Root,
    /// The binary that `make test` builds.
    Binary,
    /// A program of the host, by name; `make test` installs those of [`crate::images`].
    Tool(&'static str),
    /// A network plugin of Debian's `containernetworking-plugins`.
    Plugin(&'static str),
    /// A kernel that holds packets back (`tbf`, `ifb`), as the plugin `bandwidth` needs.
    Shaping,
    /// A controller of cgroups, in any version.
    Controller(&'static str),
    /// A controller of cgroup version 1.
    V1(&'static str),
    /// All controllers in cgroup version 2, as systemd has it.
    V2,
    /// Landlock with scopes (version 6).
    Landlock,
    /// The binary without what tests alone have, in `RKT_PLAIN_BIN`.
    Plain,
}

impl Need {
    /// `None` when it is there, else what is missing.
    pub fn missing(self) -> Option<String> {
        let (there, words) = match self {
            Self::Root => (rustix::process::geteuid().is_root(), "root".to_owned()),
            Self::Binary => (
                binary().is_some(),
                "the binary `rkt` (run `make test`)".to_owned(),
            ),
            Self::Tool(name) => (find(name).is_some(), format!("the program `{name}`")),
            Self::Plugin(name) => (
                Path::new("/usr/lib/cni").join(name).exists(),
                format!("the network plugin `{name}`"),
            ),
            Self::Shaping => (
                shaping(),
                "a kernel with devices `ifb` and the scheduler `tbf`".to_owned(),
            ),
            Self::Controller(name) => (
                v1_controller(name) || v2_controllers().iter().any(|c| c == name),
                format!("cgroup controller `{name}`"),
            ),
            Self::V1(name) => (
                v1_controller(name),
                format!("cgroup controller `{name}` in version 1"),
            ),
            Self::V2 => (
                v2_controllers().iter().any(|c| c == "pids"),
                "controllers in cgroup version 2".to_owned(),
            ),
            Self::Landlock => (landlock() >= 6, "Landlock version 6".to_owned()),
            Self::Plain => (
                plain().is_some(),
                "the binary without the means of tests in RKT_PLAIN_BIN".to_owned(),
            ),
        };
        (!there).then_some(words)
    }
}

/// Whether everything is there; says `skipped NAME needs ...` when not.
pub fn all(needs: &[Need]) -> bool {
    let missing: Vec<String> = needs.iter().filter_map(|n| n.missing()).collect();
    if missing.is_empty() {
        return true;
    }
    let line = format!("{}  needs {}\n", test_name(), missing.join(", "));
    // Past the runner's capture, which would hide the skip of a test that "passes".
    let _ = std::io::stderr().write_all(format!("skipped  {line}").as_bytes());
    if let Some(path) = std::env::var_os("RKT_TEST_SKIPS") {
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut f| f.write_all(line.as_bytes())).unwrap();
    }
    false
}

/// Tried in a network that is thrown away.
fn shaping() -> bool {
    let words = "ip link add i0 type ifb && ip link set i0 up && \
                 tc qdisc add dev i0 root tbf rate 1mbit burst 10kb latency 10ms";
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", words]);
    command.output().is_ok_and(|out| out.status.success())
}

/// Name of the running test, such as `pods::start::a_pod_starts`.
pub fn test_name() -> String {
    std::thread::current().name().unwrap_or("test").to_owned()
}

/// The binary under test: `RKT_BIN`, or one beside the test's own.
pub fn binary() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("RKT_BIN") {
        return Some(PathBuf::from(path)).filter(|p| p.exists());
    }
    let own = std::env::current_exe().ok()?;
    let target = own.ancestors().nth(4)?;
    Some(target.join("rkt-tests/bin/rkt")).filter(|p| p.exists())
}

/// The binary as it is released, but for the compiler's effort.
pub fn plain() -> Option<PathBuf> {
    std::env::var_os("RKT_PLAIN_BIN")
        .map(PathBuf::from)
        .filter(|p| p.exists())
}

/// A program in `PATH`, or where only root looks.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin"])
        .map(|dir| Path::new(dir).join(name))
        .find(|p| p.is_file())
}

fn v1_controller(name: &str) -> bool {
    fs::read_to_string("/proc/self/mountinfo")
        .unwrap_or_default()
        .lines()
        .filter_map(|l| l.split_once(" - cgroup "))
        .any(|(_, right)| right.split([' ', ',']).any(|w| w == name))
}

fn v2_controllers() -> Vec<String> {
    let root = crate::host::v2_root();
    fs::read_to_string(root.join("cgroup.controllers"))
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

fn landlock() -> usize {
    // The probe knows how to ask; without it the test does not run anyway.
    let probe = binary().map(|b| b.with_file_name("rkt-probe"));
    let out = probe.and_then(|p| {
        Command::new(p)
            .args(["report", "--json", "--no-attacks"])
            .output()
            .ok()
    });
    let facts: Option<serde_json::Value> = out.and_then(|o| serde_json::from_slice(&o.stdout).ok());
    facts
        .and_then(|f| f.get("landlock_version")?.as_u64())
        .map_or(0, |v| usize::try_from(v).unwrap_or(0))
}
