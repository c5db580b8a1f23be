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

/// D01: PID 1, whose root would be the way to everything.
pub(crate) fn init_by_proc(_: &Aim, log: &mut Log) {
    if getpid().as_raw_pid() == 1
        || namespace("self").is_some_and(|own| namespace("1") == Some(own))
    {
        return log.add(Try::moot("/proc/1", "PID 1 is of this very app"));
    }
    reach(1, log);
}

/// D02: the other apps.
pub(crate) fn sibling_by_proc(_: &Aim, log: &mut Log) {
    for pid in siblings(log) {
        reach(pid.as_raw_pid(), log);
    }
}

/// Everything that /proc offers of one process.
fn reach(pid: i32, log: &mut Log) {
    let at = |name: &str| format!("/proc/{pid}/{name}");
    for name in ["root", "cwd", "fd", "task", "map_files"] {
        // The list of tasks is no secret where the process is visible at all.
        let path = if name == "task" {
            at(&format!("task/{pid}/root"))
        } else {
            at(name)
        };
        let path = format!("{path}/");
        let end = match fs::read_dir(&path) {
            Err(e) => End::Refused(errno_of(&e)),
            Ok(list) => match list.flatten().next() {
                None => End::Held("empty".to_owned()),
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
    let planted = format!("/proc/{pid}/root/rkt-probe-planted");
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    let plant = open(&*planted, flags, Mode::from_raw_mode(0o644));
    log.add(Try::of(format!("create {planted}"), plant));
    for name in ["environ", "maps", "auxv", "stack", "syscall", "exe"] {
        let end = match fs::read(at(name)) {
            Err(e) => End::Refused(errno_of(&e)),
            // An empty answer is how /proc says no after the open.
            Ok(bytes) if bytes.is_empty() => End::Held("opened, but empty".to_owned()),
            Ok(bytes) => End::Broke(format!("{} bytes read", bytes.len())),
        };
        log.add(Try::new(format!("read {}", at(name)), end));
    }
    for (name, flags) in [
        ("mem", OFlags::RDWR),
        ("ns/mnt", OFlags::RDONLY),
        ("ns/user", OFlags::RDONLY),
    ] {
        let result = open(at(name), flags | OFlags::CLOEXEC, Mode::empty());
        log.add(Try::of(format!("open {}", at(name)), result));
    }
}

/// D03: as a debugger.
pub(crate) fn debug(_: &Aim, log: &mut Log) {
    for pid in siblings(log) {
        log.add(Try::of(
            format!("ptrace(SEIZE, {pid})"),
            raw::trace(pid, Trace::Seize),
        ));
        log.add(Try::of(
            format!("ptrace(ATTACH, {pid})"),
            raw::trace(pid, Trace::Attach),
        ));
        let mut byte = [0; 1];
        let read = match raw::read_memory(pid, 0x10_0000, &mut byte) {
            Err(Errno::FAULT) => End::Broke("it may, though nothing is mapped there".to_owned()),
            Err(errno) => End::Refused(errno),
            Ok(n) => End::Broke(format!("{n} bytes read")),
        };
        log.add(Try::new(format!("process_vm_readv({pid})"), read));
        log.add(Try::of(
            format!("kcmp({pid})"),
            raw::compare_files(getpid(), pid),
        ));
        let stolen = pidfd_open(pid, PidfdFlags::empty())
            .and_then(|fd| pidfd_getfd(fd, 1, PidfdGetfdFlags::empty()));
        log.add(Try::of(format!("pidfd_getfd({pid}, 1)"), stolen));
    }
}

/// D04: signals; SIGCONT, which does nothing when it arrives.
pub(crate) fn signal(_: &Aim, log: &mut Log) {
    for pid in foreigners().into_iter().filter_map(Pid::from_raw) {
        let raw_pid = pid.as_raw_pid();
        log.add(Try::of(
            format!("kill({pid}, SIGCONT)"),
            raw::signal_any(raw_pid, SIGCONT),
        ));
        log.add(Try::of(
            format!("tgkill({pid})"),
            raw::signal_thread(pid, SIGCONT),
        ));
        log.add(Try::of(
            format!("rt_sigqueueinfo({pid})"),
            raw::signal_queue(pid, SIGCONT),
        ));
        let sent = pidfd_open(pid, PidfdFlags::empty())
            .and_then(|fd| pidfd_send_signal(fd, rustix::process::Signal::CONT));
        log.add(Try::of(format!("pidfd_send_signal({pid})"), sent));
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
        let Some(pid) = Pid::from_raw(pid) else {
            continue;
        };
        let all = ThreadNameSpaceType::MOUNT | ThreadNameSpaceType::USER;
        let joined = pidfd_open(pid, PidfdFlags::empty()).and_then(|fd| {
            rustix::thread::move_into_thread_name_spaces(std::os::fd::AsFd::as_fd(&fd), all)
        });
        log.add(Try::of(
            format!("setns(pidfd of {pid}, NEWNS|NEWUSER)"),
            joined,
        ));
    }
}

/// D06: what it may use; each value is set to what it is.
pub(crate) fn scheduling(_: &Aim, log: &mut Log) {
    for pid in siblings(log) {
        let nice = getpriority_process(Some(pid)).and_then(|n| setpriority_process(Some(pid), n));
        log.add(Try::of(format!("setpriority({pid})"), nice));
        let cpus = rustix::thread::sched_getaffinity(None)
            .and_then(|set| rustix::thread::sched_setaffinity(Some(pid), &set));
        log.add(Try::of(format!("sched_setaffinity({pid})"), cpus));
        log.add(Try::of(
            format!("ioprio_set({pid})"),
            raw::set_io_priority(pid),
        ));
        let limit = prlimit(Some(pid), Resource::Core, getrlimit(Resource::Core));
        log.add(Try::of(format!("prlimit({pid}, CORE)"), limit));
    }
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
