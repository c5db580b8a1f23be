//! Attacks on a process on its way into the app, which until its execve is rkt's own program with
//! rkt's own memory (CVE-2016-9962, CVE-2019-5736). Somebody must enter the app meanwhile.
//!
//! The next numbers of the PID namespace are watched, since a child that may not be traced may be
//! invisible too. What is reached counts while the process has not become a program of the app:
//! from then on it is the app's own.

use super::Aim;
use crate::trial::{End, Log, Try, errno_of};
use rkt_sys::raw::{self, Trace};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, WaitOptions, getpid, pidfd_getfd, pidfd_open, waitpid,
};
use std::fs;
use std::time::{Duration, Instant};

/// How long is hunted; less than an attack may take.
const HUNT: Duration = Duration::from_secs(7);
/// So many processes in one hunt are enough.
const ENOUGH: u32 = 3;
/// How far ahead the next number may lie: some come and go unseen.
const AHEAD: i32 = 32;
/// How far behind one may lie that is still stopped.
const BEHIND: i32 = 200;
/// After so long without anybody the next number is asked for again.
const LOST: Duration = Duration::from_millis(200);
const SIGSTOP: i32 = 19;
const SIGCONT: i32 = 18;

/// What is wanted of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    Files,
    Told,
    Memory,
    Descriptors,
    Namespaces,
    Debug,
    Overwrite,
}

/// E03, E01: while it goes its way.
pub(crate) fn running(_: &Aim, log: &mut Log, want: Want) {
    hunt(log, want, false);
}

/// L05: stopped, so that there is all the time in the world.
pub(crate) fn stopped(_: &Aim, log: &mut Log, want: Want) {
    hunt(log, want, true);
}

/// The number that the next process gets, about.
fn next_number() -> i32 {
    match raw::fork() {
        Ok(None) => raw::exit_now(0),
        Ok(Some(pid)) => {
            let _ = waitpid(Some(pid), WaitOptions::empty());
            pid.as_raw_pid() + 1
        }
        Err(_) => getpid().as_raw_pid() + 1,
    }
}

/// Stops the first that can be stopped before its execve, and leaves it so; its number.
pub(crate) fn hold_up(patience: Duration) -> Option<i32> {
    let end = Instant::now() + patience;
    let (mut next, mut last) = (next_number(), Instant::now());
    while Instant::now() < end {
        if last.elapsed() > LOST {
            (next, last) = (next_number(), Instant::now());
        }
        let from = next;
        for pid in from..from + AHEAD {
            if raw::signal_any(pid, SIGSTOP) != Ok(()) {
                continue;
            }
            last = Instant::now();
            if is_set_up(pid) && stays(pid) {
                return Some(pid);
            }
            let _ = raw::signal_any(pid, SIGCONT);
            next = pid + 1;
        }
    }
    None
}

/// Whether one that was stopped before its execve has not ended it before it stopped; else it goes
/// on.
fn stays(pid: i32) -> bool {
    std::thread::sleep(Duration::from_millis(50));
    let stays = is_set_up(pid);
    if !stays {
        let _ = raw::signal_any(pid, SIGCONT);
    }
    stays
}

/// Whether a number is in use.
pub(crate) fn exists(pid: i32) -> bool {
    raw::signal_any(pid, 0) != Err(Errno::SRCH)
}

fn hunt(log: &mut Log, want: Want, stop: bool) {
    let end = Instant::now() + HUNT;
    let (mut met, mut looks) = (0, 0u64);
    let (mut next, mut last) = (next_number(), Instant::now());
    // One that could be held is as good as many that ran, and the one before may still be held.
    let enough = if stop { 1 } else { ENOUGH };
    if let Some(pid) = stop.then(held).flatten() {
        (met, looks) = (1, 1);
        if let Some(words) = reach(pid, want).filter(|_| is_set_up(pid)) {
            return log.add(Try::new(what(want, stop), End::Broke(words)));
        }
    }
    while met < enough && Instant::now() < end {
        if last.elapsed() > LOST {
            (next, last) = (next_number(), Instant::now());
        }
        let from = next;
        for pid in from..from + AHEAD {
            if !exists(pid) {
                continue;
            }
            last = Instant::now();
            next = pid + 1;
            let Some(found) = chase(pid, want, stop, end, &mut looks) else {
                continue;
            };
            met += 1;
            if let Some(words) = found {
                return log.add(Try::new(what(want, stop), End::Broke(words)));
            }
        }
    }
    log.add(if met == 0 {
        Try::moot(what(want, stop), "nobody came whom it could meet in time")
    } else {
        let words = format!("{met} on their way, {looks} looks");
        Try::new(what(want, stop), End::Held(words))
    });
}

/// One that an attack before this one has stopped.
fn held() -> Option<i32> {
    let own = getpid().as_raw_pid();
    let stopped = |pid: &i32| raw::signal_any(*pid, SIGSTOP) == Ok(());
    ((own - BEHIND).max(2)..own)
        .find(|pid| exists(*pid) && is_set_up(*pid) && stopped(pid) && stays(*pid))
}

fn what(want: Want, stop: bool) -> String {
    let how = if stop { "stopped" } else { "running" };
    format!("{want:?} of a {how} process before its execve")
}

/// Tries until the process is the app's own or gone; one that could be stopped stays so, until rkt
/// kills it for being late. `None` when it was not met before its execve, or could not be stopped
/// there; else what was reached, if anything was.
fn chase(
    pid: i32,
    want: Want,
    stop: bool,
    end: Instant,
    looks: &mut u64,
) -> Option<Option<String>> {
    let (mut met, mut found) = (false, None);
    while found.is_none() && Instant::now() < end && is_set_up(pid) {
        if stop && raw::signal_any(pid, SIGSTOP) != Ok(()) {
            // Not of the app's ids yet.
            continue;
        }
        if !is_set_up(pid) {
            break;
        }
        met = true;
        *looks += 1;
        found = reach(pid, want).filter(|_| is_set_up(pid));
        if stop {
            break;
        }
    }
    if stop && !stays(pid) {
        // What was reached was the app's own by then.
        return None;
    }
    met.then_some(found)
}

/// Whether a process is alive and not a program of the app yet: its program is rkt's, or nobody
/// here may know it.
fn is_set_up(pid: i32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else {
        return exists(pid);
    };
    let state = status.lines().find_map(|l| l.strip_prefix("State:\t"));
    if state.is_none_or(|s| s.starts_with(['Z', 'X'])) {
        return false;
    }
    match fs::read_link(format!("/proc/{pid}/exe")) {
        Ok(program) => program.to_string_lossy().contains("rkt-stage1"),
        Err(e) => errno_of(&e) != Errno::SRCH && exists(pid),
    }
}

/// What of it is reached.
fn reach(pid: i32, want: Want) -> Option<String> {
    let at = |name: &str| format!("/proc/{pid}/{name}");
    let opened = |name: &str, flags: OFlags| {
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK;
        open(&*at(name), flags, Mode::empty()).is_ok()
    };
    let read = |name: &str| fs::read(at(name)).is_ok_and(|bytes| !bytes.is_empty());
    let links = |name: &str| {
        let list = fs::read_dir(at(name)).into_iter().flatten().flatten();
        list.into_iter().any(|e| fs::read_link(e.path()).is_ok())
    };
    let worked = match want {
        Want::Files => ["exe", "root", "cwd"]
            .into_iter()
            .find(|n| fs::read_link(at(n)).is_ok() || fs::read_dir(at(n)).is_ok()),
        Want::Told => ["environ", "auxv", "stack", "syscall", "io"]
            .into_iter()
            .find(|n| read(n)),
        Want::Memory => ["maps", "pagemap"]
            .into_iter()
            .find(|n| read(n))
            .or_else(|| opened("mem", OFlags::RDWR).then_some("mem")),
        Want::Descriptors => ["fd", "map_files"]
            .into_iter()
            .find(|n| links(n))
            .or_else(|| {
                let stolen = Pid::from_raw(pid)
                    .ok_or(Errno::SRCH)
                    .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()))
                    .and_then(|fd| pidfd_getfd(fd, 0, PidfdGetfdFlags::empty()));
                stolen.is_ok().then_some("pidfd_getfd")
            }),
        Want::Namespaces => ["ns/mnt", "ns/user", "ns/net", "ns/pid"]
            .into_iter()
            .find(|n| opened(n, OFlags::RDONLY)),
        Want::Debug => {
            let pid = Pid::from_raw(pid)?;
            if raw::trace(pid, Trace::Seize).is_ok() {
                Some("ptrace(SEIZE)")
            } else if matches!(
                raw::read_memory(pid, 0x10_0000, &mut [0; 1]),
                Ok(_) | Err(Errno::FAULT)
            ) {
                Some("process_vm_readv")
            } else {
                None
            }
        }
        Want::Overwrite => opened("exe", OFlags::WRONLY)
            .then_some("exe, to write")
            .or_else(|| opened("exe", OFlags::RDONLY).then_some("exe, to read")),
    };
    worked.map(|name| format!("{name} of {pid}"))
}
