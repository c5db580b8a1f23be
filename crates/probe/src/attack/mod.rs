//! The attacks, by the ids of rkt's acceptance suite. Each runs in a child of its own.

mod cgroups;
mod identity;
pub(crate) mod joiner;
mod kernel;
mod leave;
mod masks;
mod peers;
mod siblings;
mod table;
mod volumes;

pub(crate) use table::ATTACKS;

use crate::trial::{Log, Try, errno_name, in_child, verdict};
use crate::value::Value;
use rkt_sys::raw;
use rustix::fs::{Mode, mkdir};
use rustix::io::Errno;

/// What to attack.
#[derive(Debug, Clone)]
pub(crate) struct Aim {
    /// Path of the volume that is mounted read-only here.
    pub volume: String,
    /// Cgroup of the host, relative to a hierarchy's root, whose process may be frozen; without
    /// one nothing is written, and to open a freezer for writing is success enough.
    pub canary: Option<String>,
    /// Unix socket of a peer: a path, or `@NAME` for an abstract one.
    pub socket: Option<String>,
    /// A file that an attack is about: a setuid program, a device node, a host's file.
    pub file: Option<String>,
    /// Descriptors that were open when the probe began.
    pub fds: Vec<i32>,
}

/// One attack.
pub(crate) struct Attack {
    /// Name in the suite: a row of it, a point, and a number.
    pub id: &'static str,
    /// What it is about.
    pub name: &'static str,
    /// Defences each of which refuses it alone, by the names of the tests' switches.
    pub held: &'static [&'static str],
    /// Switches that its control does not use: without them it would have no object.
    pub keep: &'static [&'static str],
    /// What an attack asks for that a plain pod does not give.
    pub needs: Needs,
    /// Whether, with every capability granted, it reaches what is the app's own.
    pub own: bool,
    run: fn(&Aim, &mut Log),
}

/// What an attack asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// A pod of two apps, the other one a `victim`, with a read-only volume.
    Pod,
    /// The same, on a host with cgroup version 1.
    V1,
    /// A stage of its own: a terminal, a friend outside, a caller that leaks.
    Stage,
}

impl Needs {
    /// As `attack list` tells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::V1 => "v1",
            Self::Stage => "stage",
        }
    }
}

/// The attacks that a word means: one, all of a row, or `all` that need no stage.
pub(crate) fn chosen(word: &str) -> Vec<&'static Attack> {
    let row = format!("{}.", word.to_ascii_uppercase());
    ATTACKS
        .iter()
        .filter(|a| match word {
            "all" => a.needs != Needs::Stage,
            "every" => true,
            word => a.id.eq_ignore_ascii_case(word) || a.id.starts_with(&row),
        })
        .collect()
}

impl Attack {
    /// The row of the suite that it belongs to.
    pub(crate) fn row(&self) -> &'static str {
        self.id.split('.').next().unwrap_or(self.id)
    }

    /// Runs it in a child.
    pub(crate) fn run(&self, aim: &Aim) -> Vec<Try> {
        in_child(|log| (self.run)(aim, log))
    }
}

/// The outcome of one attack, or of the attacks of one row, as data.
pub(crate) fn outcome(id: &str, name: &str, tries: &[Try]) -> (Value, &'static str) {
    let result = verdict(tries);
    let decisive = tries.iter().find(|t| t.verdict() == result);
    let value = Value::map([
        ("id", Value::text(id)),
        ("name", Value::text(name)),
        ("tried", Value::Number(tries.len() as u64)),
        ("result", Value::text(result)),
        (
            "errno",
            Value::text(decisive.map(Try::note).unwrap_or_default()),
        ),
        ("tries", Value::List(tries.iter().map(Try::value).collect())),
    ]);
    (value, result)
}

/// `CLONE_NEW*` flags of the kernel.
mod new {
    pub(super) const NS: u32 = 0x2_0000;
    pub(super) const CGROUP: u32 = 0x200_0000;
    pub(super) const UTS: u32 = 0x400_0000;
    pub(super) const IPC: u32 = 0x800_0000;
    pub(super) const USER: u32 = 0x1000_0000;
    pub(super) const PID: u32 = 0x2000_0000;
    pub(super) const NET: u32 = 0x4000_0000;
}

/// Makes a directory of the probe's own where this process may, for mounts and roots.
fn scratch() -> Option<String> {
    let pid = rustix::process::getpid();
    ["/tmp", "/dev/shm", "/run", "/var/tmp", ""]
        .iter()
        .map(|dir| format!("{dir}/.rkt-probe-{pid}"))
        .find(|path| matches!(mkdir(&**path, Mode::RWXU), Ok(()) | Err(Errno::EXIST)))
}

/// Says that there is no directory to work in.
fn no_scratch() -> Try {
    Try::moot("make a directory to work in", "nothing here is writable")
}

/// Runs the attempts in this mount namespace and then in each kind of new one that can be
/// had: with CAP_SYS_ADMIN, or by way of a nested user namespace.
fn everywhere(log: &mut Log, attempts: impl Fn(&mut Log, &str)) {
    attempts(log, "");
    for (flags, name) in [
        (new::NS, "unshare(NEWNS)"),
        (new::USER | new::NS, "unshare(NEWUSER|NEWNS)"),
    ] {
        let told = in_child(|log| match raw::unshare(flags) {
            Ok(()) => attempts(log, &format!("{name}, ")),
            Err(errno) => {
                let words = format!("not to be had: {}", errno_name(errno));
                log.add(Try::moot(name, words));
            }
        });
        for attempt in told {
            log.add(attempt);
        }
    }
}

/// As [`scratch`], where programs may be executed.
fn exec_scratch() -> Option<String> {
    let pid = rustix::process::getpid();
    ["", "/tmp", "/var/tmp"]
        .iter()
        .map(|dir| format!("{dir}/.rkt-probe-exec-{pid}"))
        .find(|path| matches!(mkdir(&**path, Mode::RWXU), Ok(()) | Err(Errno::EXIST)))
}
