//! Attacks on ids and capabilities of its own.

use super::{Aim, new};
use crate::status::Status;
use crate::trial::{End, Log, Try, errno_of};
use rkt_sys::raw;
use rustix::io::Errno;
use rustix::process::{Pid, getegid, geteuid, getgroups, getuid};
use rustix::thread::{
    CapabilitySet, capabilities, configure_capability_in_ambient_set, set_capabilities,
};
use std::fs;
use std::process::Command;

/// Runs `program who`, which must be a copy of the probe, and returns what it printed.
fn run_copy(aim: &Aim, log: &mut Log) -> Option<String> {
    let Some(program) = &aim.file else {
        log.add(Try::moot(
            "run the program",
            "needs --file=PROGRAM, a copy of the probe",
        ));
        return None;
    };
    match Command::new(program).arg("who").output() {
        Ok(out) => Some(String::from_utf8_lossy(&out.stdout).into_owned()),
        Err(e) => {
            log.add(Try::new(
                format!("run {program}"),
                End::Refused(errno_of(&e)),
            ));
            None
        }
    }
}

/// The number after `key=` in what `who` prints.
fn said(text: &str, key: &str) -> Option<u64> {
    let word = text.split_whitespace().find_map(|w| w.strip_prefix(key))?;
    u64::from_str_radix(word, 16).ok()
}

/// A03: a file with the setuid bit.
pub(crate) fn setuid_file(aim: &Aim, log: &mut Log) {
    if geteuid().is_root() {
        return log.add(Try::moot(
            "run a setuid file",
            "this process is root already",
        ));
    }
    let Some(text) = run_copy(aim, log) else {
        return;
    };
    let end = match said(&text, "euid=") {
        Some(id) if id == u64::from(getuid().as_raw()) => End::Held("runs as before".to_owned()),
        Some(id) => End::Broke(format!("runs as user {id}")),
        None => End::Moot("the program did not say who it is".to_owned()),
    };
    log.add(Try::new("run a setuid file", end));
}

/// A04: a file with capabilities.
pub(crate) fn file_caps(aim: &Aim, log: &mut Log) {
    let before = Status::own().capabilities("CapEff").unwrap_or(0);
    let Some(text) = run_copy(aim, log) else {
        return;
    };
    let end = match said(&text, "capeff=") {
        Some(bits) if bits & !before == 0 => End::Held("runs without them".to_owned()),
        Some(bits) => End::Broke(format!("runs with {bits:016x}")),
        None => End::Moot("the program did not say what it has".to_owned()),
    };
    log.add(Try::new("run a file with capabilities", end));
}

/// A05: what survives an execve.
pub(crate) fn ambient(_: &Aim, log: &mut Log) {
    let status = Status::own();
    for (set, grant) in [("CapInh", 0), ("CapAmb", 0)] {
        let end = match status.capabilities(set) {
            Some(bits) if bits == grant => End::Held("empty".to_owned()),
            Some(bits) => End::Broke(format!("{bits:016x}")),
            None => End::Moot("no /proc".to_owned()),
        };
        log.add(Try::new(format!("look at {set}"), end));
    }
    let Ok(now) = capabilities(None) else { return };
    let wanted = CapabilitySet::SYS_ADMIN;
    if now.permitted.contains(wanted) {
        return log.add(Try::moot("raise SYS_ADMIN", "it was granted"));
    }
    let raised = configure_capability_in_ambient_set(wanted, true);
    log.add(Try::of("prctl(PR_CAP_AMBIENT_RAISE, SYS_ADMIN)", raised));
    for (name, change) in [("inheritable", 0), ("permitted", 1), ("effective", 2)] {
        let mut sets = now;
        match change {
            0 => sets.inheritable |= wanted,
            1 => sets.permitted |= wanted,
            _ => {
                sets.permitted |= wanted;
                sets.effective |= wanted;
            }
        }
        log.add(Try::of(
            format!("capset({name} + SYS_ADMIN)"),
            set_capabilities(None, sets),
        ));
    }
}

/// A06: a namespace in which it would have every capability.
pub(crate) fn nested_userns(_: &Aim, log: &mut Log) {
    for (name, flags) in [
        ("NEWUSER", new::USER),
        ("NEWUSER|NEWNS", new::USER | new::NS),
        ("NEWUSER|NEWNET", new::USER | new::NET),
        ("NEWUSER|NEWPID", new::USER | new::PID),
    ] {
        let child = |made: Result<Pid, Errno>| made.map(|_| ());
        log.add(Try::of(
            format!("clone({name})"),
            child(raw::clone_and_exit(flags)),
        ));
        log.add(Try::of(
            format!("clone3({name})"),
            child(raw::clone3_and_exit(u64::from(flags), None)),
        ));
    }
    log.add(Try::of("unshare(NEWUSER)", raw::unshare(new::USER)));
}

/// A07: the kill switch for A06.
pub(crate) fn lift_limit(_: &Aim, log: &mut Log) {
    let path = "/proc/sys/user/max_user_namespaces";
    log.add(Try::of_io(
        format!("echo 10 > {path}"),
        fs::write(path, "10"),
    ));
}

/// A09: other ids for itself.
pub(crate) fn remap(_: &Aim, log: &mut Log) {
    for (file, text) in [
        ("uid_map", "0 0 1"),
        ("gid_map", "0 0 1"),
        ("setgroups", "deny"),
    ] {
        let path = format!("/proc/self/{file}");
        log.add(Try::of_io(
            format!("echo {text} > {path}"),
            fs::write(&path, text),
        ));
    }
}

/// A10: groups that nobody gave it; with `--file`, a file that only such a group may read.
pub(crate) fn stale_groups(aim: &Aim, log: &mut Log) {
    match getgroups() {
        Err(errno) => log.add(Try::of::<()>("getgroups", Err(errno))),
        Ok(groups) => {
            let own = getegid();
            let other: Vec<String> = groups
                .iter()
                .filter(|g| **g != own)
                .map(|g| g.as_raw().to_string())
                .collect();
            let end = if other.is_empty() {
                End::Held("none but its own".to_owned())
            } else {
                End::Broke(format!("groups {}", other.join(" ")))
            };
            log.add(Try::new("getgroups", end));
        }
    }
    if let Some(path) = &aim.file {
        log.add(Try::of_io(format!("read {path}"), fs::read(path)));
    }
}
