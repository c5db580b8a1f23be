//! Attacks on ids and capabilities of its own.

use super::{Aim, exec_scratch, new, no_scratch};
use crate::status::Status;
use crate::trial::{End, Log, Try, errno_of};
use rkt_sys::raw;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{getegid, getgroups, getuid};
use rustix::thread::{
    CapabilitySet, capabilities, configure_capability_in_ambient_set, set_capabilities,
};
use std::fs;
use std::process::Command;

/// The user that runs programs with special bits, when this process is root.
const PLAIN: u32 = 1000;
/// Bits of capabilities in the sets of the kernel.
const CHOWN: u64 = 1;
const SYS_ADMIN: u64 = 1 << 21;

/// A copy of the probe, made by this process; removed when dropped.
struct Copy(String);

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// What `program who` says when a plain user runs it: the program of `--file`, or a copy of the
/// probe that `mark` has given special bits.
fn run_copy(
    aim: &Aim,
    log: &mut Log,
    mark: impl Fn(&str) -> Result<(), Errno>,
) -> Option<(String, u32)> {
    let made;
    let (program, user) = match (&aim.file, getuid().is_root()) {
        (Some(file), _) => (file.as_str(), getuid().as_raw()),
        (None, false) => {
            let why = "this process may not make one; give one with --file=PROGRAM";
            log.add(Try::moot("make a program with special bits", why));
            return None;
        }
        (None, true) => {
            let Some(dir) = exec_scratch() else {
                log.add(no_scratch());
                return None;
            };
            made = Copy(format!("{dir}/special"));
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            let copied = fs::set_permissions(&dir, open)
                .and_then(|()| fs::copy("/proc/self/exe", &made.0))
                .map_err(|e| errno_of(&e))
                .and_then(|_| mark(&made.0));
            if let Err(errno) = copied {
                log.add(Try::of::<()>(
                    "make a program with special bits",
                    Err(errno),
                ));
                return None;
            }
            (made.0.as_str(), PLAIN)
        }
    };
    let mut command = Command::new(program);
    command.arg("who");
    if user != getuid().as_raw() {
        std::os::unix::process::CommandExt::gid(&mut command, user);
        std::os::unix::process::CommandExt::uid(&mut command, user);
    }
    match command.output() {
        Ok(out) => Some((String::from_utf8_lossy(&out.stdout).into_owned(), user)),
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

/// A03: a file with the setuid bit, or the setgid bit.
pub(crate) fn setuid_file(aim: &Aim, log: &mut Log, bit: u32) {
    let mark = |path: &str| rustix::fs::chmod(path, Mode::from_raw_mode(bit | 0o755));
    let Some((text, user)) = run_copy(aim, log, mark) else {
        return;
    };
    let group = if user == getuid().as_raw() {
        getegid().as_raw()
    } else {
        user
    };
    let (name, key, own) = if bit == 0o4000 {
        ("user", "euid=", user)
    } else {
        ("group", "egid=", group)
    };
    let end = match said(&text, key) {
        Some(id) if id == u64::from(own) => End::Held("runs as before".to_owned()),
        Some(id) => End::Broke(format!("runs as {name} {id}")),
        None => End::Moot("the program did not say who it is".to_owned()),
    };
    log.add(Try::new(format!("run a file with the bit {bit:o}"), end));
}

/// A04: a file with a capability of the bounding set, or one beyond it.
pub(crate) fn file_caps(aim: &Aim, log: &mut Log, beyond: bool) {
    let wanted = if beyond { SYS_ADMIN } else { CHOWN };
    // Version 2, effective: what the kernel keeps for `setcap NAME+ep`.
    let mut value = vec![1, 0, 0, 2];
    value.extend(u32::try_from(wanted).unwrap_or(0).to_le_bytes());
    value.extend([0; 12]);
    let mark = |path: &str| {
        rustix::fs::chmod(path, Mode::from_raw_mode(0o755))?;
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(path, "security.capability", &value, flags)
    };
    let before = if aim.file.is_some() || !getuid().is_root() {
        Status::own().capabilities("CapEff").unwrap_or(0)
    } else {
        0
    };
    let Some((text, _)) = run_copy(aim, log, mark) else {
        return;
    };
    let end = match said(&text, "capeff=") {
        Some(bits) if bits & !before == 0 => End::Held("runs without them".to_owned()),
        Some(bits) => End::Broke(format!("runs with {bits:016x}")),
        None => End::Moot("the program did not say what it has".to_owned()),
    };
    log.add(Try::new("run a file with capabilities", end));
}

/// A05: sets that would survive an execve; empty from the start.
pub(crate) fn surviving(_: &Aim, log: &mut Log) {
    let status = Status::own();
    for set in ["CapInh", "CapAmb"] {
        let end = match status.capabilities(set) {
            Some(0) => End::Held("empty".to_owned()),
            Some(bits) => End::Broke(format!("{bits:016x}")),
            None => End::Moot("no /proc".to_owned()),
        };
        log.add(Try::new(format!("look at {set}"), end));
    }
}

/// A set that SYS_ADMIN is to be raised in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Set {
    Inheritable,
    Permitted,
    Effective,
    Ambient,
}

/// A05: SYS_ADMIN in one of its sets.
pub(crate) fn raise(_: &Aim, log: &mut Log, set: Set) {
    let wanted = CapabilitySet::SYS_ADMIN;
    let Ok(mut sets) = capabilities(None) else {
        return log.add(Try::moot("capget", "the kernel does not tell"));
    };
    if set == Set::Ambient {
        // Where it may be inheritable, the kernel has one reason less to refuse.
        sets.inheritable |= wanted;
        let _ = set_capabilities(None, sets);
        let raised = configure_capability_in_ambient_set(wanted, true);
        return log.add(Try::of("prctl(PR_CAP_AMBIENT_RAISE, SYS_ADMIN)", raised));
    }
    match set {
        Set::Inheritable => sets.inheritable |= wanted,
        Set::Permitted => sets.permitted |= wanted,
        Set::Effective | Set::Ambient => {
            sets.permitted |= wanted;
            sets.effective |= wanted;
        }
    }
    log.add(Try::of(
        format!("capset({set:?} + SYS_ADMIN)"),
        set_capabilities(None, sets),
    ));
}

/// How a user namespace is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Unshare,
    Clone,
    Clone3,
}

/// A06: a namespace in which it would have every capability.
pub(crate) fn nested_userns(_: &Aim, log: &mut Log, call: Call, more: u32) {
    let flags = new::USER | more;
    let made = match call {
        Call::Unshare => raw::unshare(flags),
        Call::Clone => raw::clone_and_exit(flags).map(drop),
        Call::Clone3 => raw::clone3_and_exit(u64::from(flags), None).map(drop),
    };
    let with = match more {
        0 => "",
        new::NS => "|NEWNS",
        new::NET => "|NEWNET",
        new::PID => "|NEWPID",
        _ => "|...",
    };
    let name = format!("{call:?}").to_lowercase();
    log.add(Try::of(format!("{name}(NEWUSER{with})"), made));
}

/// A07: the kill switch for A06. A limit that is not 0 is written as it is: whose it is, is
/// then not known.
pub(crate) fn lift_limit(_: &Aim, log: &mut Log) {
    let path = "/proc/sys/user/max_user_namespaces";
    let now = fs::read_to_string(path).unwrap_or_default();
    let now = now.trim();
    let wanted = if now == "0" { "10" } else { now };
    log.add(Try::of_io(
        format!("echo {wanted} > {path}"),
        fs::write(path, wanted),
    ));
}

/// A09: other ids for itself.
pub(crate) fn remap(_: &Aim, log: &mut Log, file: &str) {
    // One id is what the kernel lets a process map by itself: its own, which it may not know.
    let texts: &[&str] = match file {
        "setgroups" => &["deny"],
        _ => &["0 0 1", "0 1000 1"],
    };
    if file == "gid_map" {
        // Where nobody has written a map, this comes before the groups'.
        let _ = fs::write("/proc/self/setgroups", "deny");
    }
    let path = format!("/proc/self/{file}");
    for text in texts {
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
