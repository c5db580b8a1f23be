//! The host's side of cgroups and mounts: where they are, and a canary to keep alive.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Mount point and options of every cgroup hierarchy.
pub fn cgroup_roots() -> Vec<(PathBuf, String)> {
    fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let kind = right.split(' ').next()?;
            let path = PathBuf::from(left.split(' ').nth(4)?);
            kind.starts_with("cgroup").then(|| (path, right.to_owned()))
        })
        .collect()
}

/// Mount point of cgroup version 2: `/sys/fs/cgroup`, or below it on a hybrid host.
pub fn v2_root() -> PathBuf {
    cgroup_roots()
        .into_iter()
        .find(|(_, kind)| kind.starts_with("cgroup2 "))
        .map_or_else(|| PathBuf::from("/sys/fs/cgroup"), |(path, _)| path)
}

/// Mount point of the hierarchy that has a controller, version 1 first.
pub fn controller_root(name: &str) -> Option<PathBuf> {
    let v1 = cgroup_roots().into_iter().find(|(_, kind)| {
        kind.starts_with("cgroup ") && kind.split([' ', ',']).any(|word| word == name)
    });
    v1.map(|(path, _)| path).or_else(|| {
        let root = v2_root();
        let list = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        list.split_whitespace().any(|c| c == name).then_some(root)
    })
}

/// Processes in a cgroup and everything below it.
pub fn cgroup_processes(dir: &Path) -> Vec<i32> {
    let mut pids: Vec<i32> = fs::read_to_string(dir.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|l| l.parse().ok())
        .collect();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            pids.extend(cgroup_processes(&entry.path()));
        }
    }
    pids
}

/// Removes a cgroup and everything below it; its processes must be gone.
pub fn remove_cgroup(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(dir);
}

/// Kills a process that a test has made.
pub fn kill(pid: i32) {
    signal(pid, rustix::process::Signal::KILL);
}

/// Sends a signal to a process that a test has made.
pub fn signal(pid: i32, signal: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// A process of the host in a cgroup of its own, which counts; a pod must not be able to stop it.
pub struct Canary {
    child: Child,
    counter: PathBuf,
    dirs: Vec<PathBuf>,
    /// Path of its cgroup in every hierarchy, without the leading slash.
    pub cgroup: String,
}

impl Canary {
    /// Starts one; `dir` is for its counter.
    pub fn start(dir: &Path) -> Self {
        let cgroup = format!("rkt-canary-{}-{}", std::process::id(), crate::rkt::unique());
        let counter = dir.join("canary");
        fs::write(&counter, "0\n").unwrap();
        let script = "n=0; while :; do n=$((n+1)); echo $n > \"$0\"; sleep 0.02; done";
        let child = Command::new("sh")
            .args(["-c", script])
            .arg(&counter)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut dirs = Vec::new();
        for (root, kind) in cgroup_roots() {
            if kind.contains("freezer") || kind.starts_with("cgroup2 ") {
                let dir = root.join(&cgroup);
                fs::create_dir(&dir).unwrap();
                fs::write(dir.join("cgroup.procs"), child.id().to_string()).unwrap();
                dirs.push(dir);
            }
        }
        Self {
            child,
            counter,
            dirs,
            cgroup,
        }
    }

    fn count(&self) -> u64 {
        fs::read_to_string(&self.counter)
            .unwrap_or_default()
            .trim()
            .parse()
            .unwrap_or(0)
    }

    /// Whether it counts on; it has a second and a half to show it.
    pub fn is_alive(&self) -> bool {
        let before = self.count();
        (0..150).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            self.count() > before
        })
    }

    /// Whether its group is frozen, as the kernel says.
    pub fn is_frozen(&self) -> bool {
        self.dirs.iter().any(|dir| {
            let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_default();
            read("freezer.state").trim().starts_with("FR") || read("cgroup.freeze").trim() == "1"
        })
    }

    /// Whether it has been killed.
    pub fn is_dead(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Lets it go on after an attack that was meant to work.
    pub fn thaw(&self) {
        for dir in &self.dirs {
            let _ = fs::write(dir.join("freezer.state"), "THAWED");
            let _ = fs::write(dir.join("cgroup.freeze"), "0");
        }
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.thaw();
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its `sleep` is an orphan for a moment.
        for dir in &self.dirs {
            for pid in cgroup_processes(dir) {
                kill(pid);
            }
            for _ in 0..100 {
                if fs::remove_dir(dir).is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// Takes the immutable flag off every file of a data directory, so that it can be removed.
pub fn thaw(data: &Path) {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    let mut todo = vec![data.join("layers"), data.join("chains")];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let kind = entry.file_type();
            if kind.as_ref().is_ok_and(std::fs::FileType::is_dir) {
                todo.push(entry.path());
            } else if kind.is_ok_and(|k| k.is_file())
                && let Ok(file) = fs::File::open(entry.path())
                && let Ok(flags) = ioctl_getflags(&file)
                && flags.contains(IFlags::IMMUTABLE)
            {
                let _ = ioctl_setflags(&file, flags - IFlags::IMMUTABLE);
            }
        }
    }
}
