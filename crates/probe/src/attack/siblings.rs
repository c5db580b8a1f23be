//! Attacks on processes that are not of this app: PID 1 and the pod's other apps.

use super::Aim;
use crate::trial::{End, Log, Try, errno_of};
use rkt_sys::raw::{self, Trace};
use rustix::fs::{CWD, Mode, OFlags, open, openat, readlink};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, Resource, getpid, getpriority_process, getrlimit,
    pidfd_getfd, pidfd_open, pidfd_send_signal, prlimit, setpriority_process,
};
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType};
use std::ffi::CString;
use std::fs;

/// Pids are tried up to here, even where /proc shows none of them.
const LAST_PID: i32 = 32_768;
/// The default action of SIGCONT is nothing, for a process that runs.
const SIGCONT: i32 = 18;
const SIGSTOP: i32 = 19;

/// The mount namespace of a process: each app has its own.
fn namespace(pid: &str) -> Option<CString> {
    readlink(format!("/proc/{pid}/ns/mnt"), Vec::new()).ok()
}

/// Pids that exist here and are not of this app, whether /proc shows them or not.
pub(crate) fn foreigners() -> Vec<i32> {
    let own = namespace("self");
    (1..=LAST_PID)
        .filter(|pid| raw::signal_any(*pid, 0) != Err(Errno::SRCH))
        .filter(|pid| *pid != getpid().as_raw_pid())
        .filter(|pid| own.is_none() || namespace(&pid.to_string()) != own)
        .collect()
}

/// Foreigners but PID 1, or a word that there are none.
fn siblings(log: &mut Log) -> Vec<Pid> {
    let found: Vec<Pid> = foreigners()
        .into_iter()
        .filter(|pid| *pid != 1)
        .filter_map(Pid::from_raw)
        .collect();
    if found.is_empty() {
        log.add(Try::moot(
            "find a sibling",
            "no process of another app exists here",
        ));
    }
    found
}

/// What /proc offers of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Files,
    Plant,
    Descriptors,
    Told,
    Memory,
    Namespaces,
}

/// D01: PID 1, whose root would be the way to everything.
pub(crate) fn init_by_proc(_: &Aim, log: &mut Log, what: Of) {
    if getpid().as_raw_pid() == 1
        || namespace("self").is_some_and(|own| namespace("1") == Some(own))
    {
        return log.add(Try::moot("/proc/1", "PID 1 is of this very app"));
    }
    reach(1, log, what);
}

/// D02: the other apps.
pub(crate) fn sibling_by_proc(_: &Aim, log: &mut Log, what: Of) {
    for pid in siblings(log) {
        reach(pid.as_raw_pid(), log, what);
    }
}

/// One kind of what /proc offers of one process.
fn reach(pid: i32, log: &mut Log, what: Of) {
    let at = |name: &str| format!("/proc/{pid}/{name}");
    match what {
        Of::Files => ["root", "cwd", "task"]
            .iter()
            .for_each(|n| list(pid, n, log)),
        Of::Descriptors => ["fd", "map_files"].iter().for_each(|n| list(pid, n, log)),
        Of::Plant => {
            let planted = format!("/proc/{pid}/root/rkt-probe-planted");
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            let plant = open(&*planted, flags, Mode::from_raw_mode(0o644));
            let what = format!("create {planted}");
            log.add(match plant {
                // Whoever is told this has arrived there.
                Err(Errno::ROFS) => Try::new(what, End::Broke("reached; read-only".to_owned())),
                plant => Try::of(what, plant),
            });
        }
        Of::Told => {
            for name in ["environ", "auxv", "stack", "syscall", "exe"] {
                read(&at(name), log);
            }
        }
        Of::Memory => {
            read(&at("maps"), log);
            open_it(&at("mem"), OFlags::RDWR, log);
        }
        Of::Namespaces => {
            for name in ["ns/mnt", "ns/user"] {
                open_it(&at(name), OFlags::RDONLY, log);
            }
        }
    }
}

fn open_it(path: &str, flags: OFlags, log: &mut Log) {
    let result = open(path, flags | OFlags::CLOEXEC, Mode::empty());
    log.add(Try::of(format!("open {path}"), result));
}

fn read(path: &str, log: &mut Log) {
    let end = match fs::read(path) {
        Err(e) => End::Refused(errno_of(&e)),
        // An empty answer is how /proc says no after the open.
        Ok(bytes) if bytes.is_empty() => End::Held("opened, but empty".to_owned()),
        Ok(bytes) => End::Broke(format!("{} bytes read", bytes.len())),
    };
    log.add(Try::new(format!("read {path}"), end));
}

fn list(pid: i32, name: &str, log: &mut Log) {
    // The list of tasks is no secret where the process is visible at all.
    let path = match name {
        "task" => format!("/proc/{pid}/task/{pid}/root/"),
        name => format!("/proc/{pid}/{name}/"),
    };
    let end = match fs::read_dir(&path) {
        Err(e) => End::Refused(errno_of(&e)),
        Ok(list) => match list.flatten().next() {
            None if name == "fd" || name == "map_files" => End::Held("empty".to_owned()),
            None => End::Broke("reached, and empty".to_owned()),
            // Numbers of descriptors are shown by user; where they lead is what counts.
            Some(entry) if name == "fd" || name == "map_files" => {
                match fs::read_link(entry.path()) {
                    Err(e) => End::Refused(errno_of(&e)),
                    Ok(link) => End::Broke(format!("leads to {}", link.display())),
                }
            }
            Some(entry) => End::Broke(format!("has {}", entry.path().display())),
        },
    };
    log.add(Try::new(format!("list {path}"), end));
}

/// How a debugger takes hold of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    Seize,
    Attach,
    Memory,
    Compare,
    Descriptor,
}

fn hold(pid: Pid, log: &mut Log, how: Hold) {
    log.add(match how {
        Hold::Seize => Try::of(
            format!("ptrace(SEIZE, {pid})"),
            raw::trace(pid, Trace::Seize),
        ),
        Hold::Attach => Try::of(
            format!("ptrace(ATTACH, {pid})"),
            raw::trace(pid, Trace::Attach),
        ),
        Hold::Memory => {
            let read = match raw::read_memory(pid, 0x10_0000, &mut [0; 1]) {
                Err(Errno::FAULT) => {
                    End::Broke("it may, though nothing is mapped there".to_owned())
                }
                Err(errno) => End::Refused(errno),
                Ok(n) => End::Broke(format!("{n} bytes read")),
            };
            Try::new(format!("process_vm_readv({pid})"), read)
        }
        Hold::Compare => Try::of(format!("kcmp({pid})"), raw::compare_files(getpid(), pid)),
        Hold::Descriptor => {
            let stolen = pidfd_open(pid, PidfdFlags::empty())
                .and_then(|fd| pidfd_getfd(fd, 1, PidfdGetfdFlags::empty()));
            Try::of(format!("pidfd_getfd({pid}, 1)"), stolen)
        }
    });
}

/// D03: a sibling, as a debugger.
pub(crate) fn debug(_: &Aim, log: &mut Log, how: Hold) {
    for pid in siblings(log) {
        hold(pid, log, how);
    }
}

/// L02: PID 1, as a debugger.
pub(crate) fn debug_init(_: &Aim, log: &mut Log, how: Hold) {
    hold(Pid::INIT, log, how);
}

/// How a signal is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Send {
    Kill,
    Thread,
    Queue,
    Pidfd,
}

fn send(pid: Pid, log: &mut Log, how: Send, signal: i32) {
    let sent = match how {
        Send::Kill => raw::signal_any(pid.as_raw_pid(), signal),
        Send::Thread => raw::signal_thread(pid, signal),
        Send::Queue => raw::signal_queue(pid, signal),
        Send::Pidfd => {
            let signal = rustix::process::Signal::from_named_raw(signal);
            pidfd_open(pid, PidfdFlags::empty()).and_then(|fd| {
                pidfd_send_signal(fd, signal.unwrap_or(rustix::process::Signal::CONT))
            })
        }
    };
    log.add(Try::of(
        format!("{how:?} of signal {signal} to {pid}"),
        sent,
    ));
}

/// D04: signals; SIGCONT, which does nothing when it arrives.
pub(crate) fn signal(_: &Aim, log: &mut Log, how: Send) {
    for pid in foreigners().into_iter().filter_map(Pid::from_raw) {
        send(pid, log, how, SIGCONT);
    }
}

/// D04: a sibling stopped; the host sees that it counts no more.
pub(crate) fn stop(_: &Aim, log: &mut Log) {
    for pid in siblings(log) {
        send(pid, log, Send::Kill, SIGSTOP);
    }
}

/// L01: PID 1 of the pod; the kernel keeps it from dying of it, so that the call is what counts.
pub(crate) fn signal_init(_: &Aim, log: &mut Log, signal: i32) {
    for how in [Send::Kill, Send::Thread, Send::Queue, Send::Pidfd] {
        send(Pid::INIT, log, how, signal);
    }
}

/// L03: the process that made this one: the launcher's or the supervisor's.
pub(crate) fn parent(_: &Aim, log: &mut Log) {
    // The probe's own fork stands between; its parent is the program as it was started.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let own = status
        .lines()
        .find_map(|l| l.strip_prefix("PPid:")?.trim().parse::<i32>().ok());
    let above = own.and_then(|pid| {
        fs::read_to_string(format!("/proc/{pid}/status"))
            .ok()?
            .lines()
            .find_map(|l| l.strip_prefix("PPid:")?.trim().parse::<i32>().ok())
    });
    match above {
        None => log.add(Try::moot("look for the parent", "no /proc")),
        Some(0) => log.add(Try::new(
            "look for the parent",
            End::Held("it has no number here".to_owned()),
        )),
        Some(pid) => log.add(Try::of(
            format!("signal 0 to the parent {pid}"),
            raw::signal_any(pid, 0),
        )),
    }
}

/// D05: into their namespaces.
pub(crate) fn join(_: &Aim, log: &mut Log) {
    for pid in foreigners() {
        for (name, kind) in [
            ("mnt", LinkNameSpaceType::Mount),
            ("user", LinkNameSpaceType::User),
            ("pid", LinkNameSpaceType::ProcessID),
            ("cgroup", LinkNameSpaceType::ControlGroup),
        ] {
            let path = format!("/proc/{pid}/ns/{name}");
            let joined =
                open(&*path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).and_then(|fd| {
                    rustix::thread::move_into_link_name_space(
                        std::os::fd::AsFd::as_fd(&fd),
                        Some(kind),
                    )
                });
            log.add(Try::of(format!("setns({path})"), joined));
        }
    }
}

/// D05: the same by a pidfd, all at once.
pub(crate) fn join_by_pidfd(_: &Aim, log: &mut Log) {
    let all = ThreadNameSpaceType::MOUNT | ThreadNameSpaceType::CONTROL_GROUP;
    for pid in foreigners().into_iter().filter_map(Pid::from_raw) {
        let joined = pidfd_open(pid, PidfdFlags::empty()).and_then(|fd| {
            rustix::thread::move_into_thread_name_spaces(std::os::fd::AsFd::as_fd(&fd), all)
        });
        log.add(Try::of(
            format!("setns(pidfd of {pid}, NEWNS|NEWCGROUP)"),
            joined,
        ));
    }
}

/// What a process is given of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    Nice,
    Processors,
    Disk,
    Limit,
}

fn reschedule(pid: Pid, log: &mut Log, what: Share) {
    let result = match what {
        Share::Nice => {
            getpriority_process(Some(pid)).and_then(|n| setpriority_process(Some(pid), n))
        }
        Share::Processors => rustix::thread::sched_getaffinity(None)
            .and_then(|set| rustix::thread::sched_setaffinity(Some(pid), &set)),
        Share::Disk => raw::set_io_priority(pid),
        Share::Limit => prlimit(Some(pid), Resource::Core, getrlimit(Resource::Core)).map(drop),
    };
    log.add(Try::of(format!("set {what:?} of {pid}"), result));
}

/// D06: what a sibling may use; each value is set to what it is.
pub(crate) fn scheduling(_: &Aim, log: &mut Log, what: Share) {
    for pid in siblings(log) {
        reschedule(pid, log, what);
    }
}

/// L04: the same of PID 1.
pub(crate) fn starve_init(_: &Aim, log: &mut Log, what: Share) {
    reschedule(Pid::INIT, log, what);
}

/// D08: whom /proc shows.
pub(crate) fn enumerate(_: &Aim, log: &mut Log) {
    let own = namespace("self");
    let dir = openat(
        CWD,
        "/proc",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    if let Err(errno) = dir {
        return log.add(Try::of::<()>("list /proc", Err(errno)));
    }
    let seen: Vec<String> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|n| n.bytes().all(|b| b.is_ascii_digit()))
        .filter(|n| namespace(n) != own)
        .collect();
    let end = if seen.is_empty() {
        End::Held("only processes of this app".to_owned())
    } else {
        End::Broke(format!("sees {}", seen.join(" ")))
    };
    log.add(Try::new("list /proc", end));
}
