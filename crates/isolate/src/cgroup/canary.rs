//! A process of the host in a cgroup of its own, for attacks that want to stop or kill one.

use super::Layout;
use super::layout::{MAGIC_V1, is};
use crate::error::{Doing, Error};
use rkt_sys::process::{self, Ended};
use rkt_sys::{cred, fd};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{Signal, pidfd_send_signal};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where v1 has its freezer; the same directory as the other hierarchies.
const FREEZER: &str = "/sys/fs/cgroup/freezer";
/// How often its directories are tried to be removed, 10 ms apart: a killed process leaves late.
const TRIES: u32 = 200;

/// The process; it ends with its maker, at the latest.
#[derive(Debug)]
pub struct Canary {
    cgroup: String,
    pidfd: OwnedFd,
    pid: u32,
    dirs: Vec<PathBuf>,
}

impl Canary {
    /// Whether this host has the freezer of cgroup version 1.
    pub fn has_v1() -> bool {
        is(Path::new(FREEZER), MAGIC_V1)
    }

    /// The hierarchies that can freeze.
    fn roots() -> impl Iterator<Item = PathBuf> {
        Self::has_v1()
            .then(|| PathBuf::from(FREEZER))
            .into_iter()
            .chain(Layout::detect().v2)
    }

    /// Removes the cgroups of one that ended with its maker. Where something lives they stay.
    pub fn sweep(cgroup: &str) {
        for root in Self::roots() {
            let _ = std::fs::remove_dir(root.join(cgroup));
        }
    }

    /// Makes it. Needs root, and must be called by a process of one thread.
    ///
    /// # Errors
    /// When the directories cannot be made.
    pub fn start(cgroup: String) -> Result<Self, Error> {
        let roots: Vec<PathBuf> = Self::roots().collect();
        let (pid, pidfd) = process::fork_with(0, || {
            let _ = cred::die_with_parent();
            let _ = fd::close_all_but(0, &mut []);
            loop {
                std::thread::sleep(Duration::from_secs(3600));
            }
        })
        .doing(|| "fork a canary".to_owned())?;
        let mut canary = Self {
            cgroup,
            pidfd,
            pid,
            dirs: Vec::new(),
        };
        for root in roots {
            let path = root.join(&canary.cgroup);
            let doing = || format!("make the cgroup `{}`", path.display());
            std::fs::create_dir(&path).doing(doing)?;
            canary.dirs.push(path.clone());
            std::fs::write(path.join("cgroup.procs"), pid.to_string()).doing(doing)?;
        }
        Ok(canary)
    }

    /// Path of its cgroup in every hierarchy that can freeze, without the leading slash.
    pub fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// What happened to it; empty when nothing did. It is set free again.
    pub fn harm(&self) -> Option<&'static str> {
        if !matches!(process::try_wait_pidfd(self.pidfd.as_fd()), Ok(None)) {
            return Some("a process of the host was killed");
        }
        let frozen = self.dirs.iter().any(|dir| {
            let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap_or_default();
            read("freezer.state").trim().starts_with("FR") || read("cgroup.freeze").trim() == "1"
        });
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let state = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.chars().next());
        if frozen || matches!(state, Some('T' | 't')) {
            self.thaw();
            return Some("a process of the host was stopped");
        }
        None
    }

    fn thaw(&self) {
        for dir in &self.dirs {
            // One of the two is there.
            let _ = std::fs::write(dir.join("freezer.state"), "THAWED");
            let _ = std::fs::write(dir.join("cgroup.freeze"), "0");
        }
        let _ = pidfd_send_signal(&self.pidfd, Signal::CONT);
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.thaw();
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _: Result<Ended, _> = process::wait_pidfd(self.pidfd.as_fd());
        for path in &self.dirs {
            for _ in 0..TRIES {
                if std::fs::remove_dir(path).is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}
