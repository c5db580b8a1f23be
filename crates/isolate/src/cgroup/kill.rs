//! Killing everything in a cgroup, forks in progress included.

use super::dir;
use crate::error::{Error, Kind};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::time::{Duration, Instant};

/// How deep a delegated sub-tree is followed.
pub(super) const DEPTH: u32 = 32;

/// Kills all processes in a v2 directory and below: one write, which also catches forks
/// (`cgroup.kill`, Linux 5.14). `ENOENT` where the kernel has no such file.
///
/// Only for a directory that goes after it: on 6.18 whatever is born into a directory by
/// `CLONE_INTO_CGROUP` after this write is killed at birth, for ever (the kernel compares the
/// directory's count of kills with that of the forking process's own).
pub(super) fn for_good(dir: BorrowedFd<'_>) -> Result<(), Errno> {
    dir::write(dir, "cgroup.kill", "1")
}

/// Kills all processes in a directory and below one by one, until none is left or `deadline`.
/// The directory can be used again.
///
/// A pid may be given to another process between the listing and the signal; therefore each is
/// held by a pidfd first and only signalled when it is listed again after that.
pub(super) fn one_by_one(dir: BorrowedFd<'_>, deadline: Instant) -> Result<(), Error> {
    if members(dir, DEPTH)?.is_empty() {
        return Ok(());
    }
    // Nobody forks while being counted: v2 freezes (a frozen process can be killed), v1 takes
    // no new tasks. Neither is there on a v1 tree without pids; then it is a race to be won.
    let frozen = dir::write(dir, "cgroup.freeze", "1").is_ok();
    let limit = dir::read(dir, "pids.max").ok();
    if limit.is_some() && !frozen {
        let _ = dir::write(dir, "pids.max", "0");
    }
    let killed = rounds(dir, deadline);
    if frozen {
        let _ = dir::write(dir, "cgroup.freeze", "0");
    } else if let Some(limit) = limit {
        let _ = dir::write(dir, "pids.max", limit.trim());
    }
    killed
}

fn rounds(dir: BorrowedFd<'_>, deadline: Instant) -> Result<(), Error> {
    let mut pause = Duration::from_micros(50);
    loop {
        let listed = members(dir, DEPTH)?;
        if listed.is_empty() {
            return Ok(());
        }
        let held: Vec<_> = listed
            .iter()
            .filter_map(|pid| Some((*pid, pidfd_open(*pid, PidfdFlags::empty()).ok()?)))
            .collect();
        let still = members(dir, DEPTH)?;
        for (pid, pidfd) in &held {
            if still.contains(pid) {
                // It may have ended on its own since.
                let _ = pidfd_send_signal(pidfd, Signal::KILL);
            }
        }
        if Instant::now() >= deadline {
            return Err(Error::new(
                Kind::System,
                format!("{} processes are still alive", still.len()),
            ));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
}

/// Processes of a directory and all below it, as seen from our PID namespace.
pub(super) fn members(dir: BorrowedFd<'_>, depth: u32) -> Result<Vec<Pid>, Errno> {
    let text = match dir::read(dir, "cgroup.procs") {
        // The directory went while we looked, or is a threaded one, whose root lists them.
        Err(Errno::NODEV | Errno::OPNOTSUPP) => String::new(),
        other => other?,
    };
    let mut pids: Vec<Pid> = text
        .lines()
        // A process of a foreign PID namespace is listed as 0.
        .filter_map(|line| Pid::from_raw(line.trim().parse().ok()?))
        .collect();
    if depth > 0 {
        for name in dir::children(dir)? {
            if let Ok(child) = dir::open(dir, &name) {
                pids.extend(members(child.as_fd(), depth - 1)?);
            }
        }
    }
    Ok(pids)
}
