//! Attacks on cgroups, the host's first of all (rkt#576, example 3).

use super::siblings::foreigners;
use super::{Aim, everywhere, new, no_scratch, scratch};
use crate::trial::{End, Log, Try, errno_name, errno_of, in_child};
use rkt_sys::raw;
use rustix::fs::{CWD, Mode, OFlags, open, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, fsconfig_create, fsconfig_set_flag,
    fsmount, fsopen, mount, mount_remount,
};
use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// More files than a leaf has; a host's tree is cut here.
const MOST_FILES: usize = 3000;

/// Every place where a hierarchy may be seen: mounts, usual paths, other processes' roots.
fn roots() -> Vec<String> {
    let mut roots = BTreeSet::new();
    for line in fs::read_to_string("/proc/self/mountinfo")
        .unwrap_or_default()
        .lines()
    {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        if right.starts_with("cgroup")
            && let Some(path) = left.split(' ').nth(4)
        {
            roots.insert(path.to_owned());
        }
    }
    let mut tops = vec![String::new()];
    tops.extend(
        foreigners()
            .into_iter()
            .map(|pid| format!("/proc/{pid}/root")),
    );
    for top in tops {
        for below in ["", "/freezer", "/unified", "/systemd", "/memory"] {
            roots.insert(format!("{top}/sys/fs/cgroup{below}"));
        }
    }
    roots.into_iter().collect()
}

/// Files of these names below `root`, or all if there are no names; nearest first.
fn files(root: &str, names: &[&str]) -> Result<Vec<PathBuf>, Errno> {
    let mut found = Vec::new();
    let mut todo = vec![PathBuf::from(root)];
    let mut first = Some(());
    while let Some(dir) = todo.pop() {
        let entries = match fs::read_dir(&dir) {
            Err(e) if first.is_some() => return Err(errno_of(&e)),
            Err(_) => continue,
            Ok(entries) => entries,
        };
        first = None;
        for entry in entries.flatten() {
            let name = entry.file_name();
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                todo.push(entry.path());
            } else if names.is_empty() || names.iter().any(|n| *n == name) {
                found.push(entry.path());
            }
        }
        if found.len() + todo.len() > MOST_FILES {
            break;
        }
    }
    Ok(found)
}

/// Opens for writing; nothing is written.
fn writable(path: &Path) -> Result<(), Errno> {
    open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).map(drop)
}

/// Writes, as `echo` does.
fn put(path: &Path, text: &str) -> Result<(), Errno> {
    let fd = open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(fd, text.as_bytes()).map(drop)
}

/// Tries every file: one line for each root, with the first that opens or the last errno.
fn open_below(root: &str, names: &[&str], log: &mut Log) {
    let what = if names.is_empty() {
        "any file"
    } else {
        names[0]
    };
    let what = format!("open {what} below {root} to write");
    let found = match files(root, names) {
        Err(errno) => return log.add(Try::of::<()>(what, Err(errno))),
        Ok(found) if found.is_empty() => {
            return log.add(Try::new(what, End::Refused(Errno::NOENT)));
        }
        Ok(found) => found,
    };
    let mut last = Errno::NOENT;
    for path in &found {
        match writable(path) {
            Ok(()) => {
                return log.add(Try::new(
                    what,
                    End::Broke(format!("{} opened", path.display())),
                ));
            }
            Err(errno) => last = errno,
        }
    }
    log.add(Try::new(what, End::Refused(last)));
}

/// Freezes the canary below `root`; without a canary only asks whether one could.
fn freeze_below(root: &str, aim: &Aim, log: &mut Log) {
    let Some(canary) = &aim.canary else {
        return open_below(
            root,
            &["freezer.state", "cgroup.freeze", "cgroup.kill"],
            log,
        );
    };
    for (file, text) in [("freezer.state", "FROZEN"), ("cgroup.freeze", "1")] {
        let path = format!("{root}/{canary}/{file}");
        log.add(Try::of(
            format!("echo {text} > {path}"),
            put(Path::new(&path), text),
        ));
    }
}

/// C01: every file under `/sys/fs/cgroup`.
pub(crate) fn write_all(_: &Aim, log: &mut Log) {
    open_below("/sys/fs/cgroup", &[], log);
}

/// C02: the host's freezer by every path and by remounts.
pub(crate) fn freeze(aim: &Aim, log: &mut Log) {
    for root in roots() {
        if Path::new(&root).symlink_metadata().is_ok() {
            let call = mount_remount(&*root, MountFlags::BIND, c"");
            log.add(match call {
                Ok(()) => Try::new(
                    format!("remount {root} read-write"),
                    End::Held("the call worked".to_owned()),
                ),
                Err(errno) => Try::new(format!("remount {root} read-write"), End::Refused(errno)),
            });
        }
        freeze_below(&root, aim, log);
    }
}

/// C02: the host's freezer by mounts of its own.
pub(crate) fn freeze_anew(aim: &Aim, log: &mut Log) {
    mount_then(aim, log, HIERARCHIES, |root, log| {
        freeze_below(root, aim, log)
    });
}

/// C14: all processes of the canary's group killed at once.
pub(crate) fn kill(aim: &Aim, log: &mut Log) {
    let below = |root: &str, log: &mut Log| match &aim.canary {
        None => open_below(root, &["cgroup.kill"], log),
        Some(canary) => {
            let path = format!("{root}/{canary}/cgroup.kill");
            log.add(Try::of(
                format!("echo 1 > {path}"),
                put(Path::new(&path), "1"),
            ));
        }
    };
    roots().iter().for_each(|root| below(root, log));
    mount_then(aim, log, V2, below);
}

/// A kind of hierarchy, and its options.
type Hierarchy = (&'static str, &'static std::ffi::CStr);
/// Version 1.
pub(crate) const V1: &[Hierarchy] = &[("cgroup", c"freezer"), ("cgroup", c"none,name=systemd")];
/// Version 2.
pub(crate) const V2: &[Hierarchy] = &[("cgroup2", c"")];
const HIERARCHIES: &[Hierarchy] = &[
    ("cgroup", c"freezer"),
    ("cgroup2", c""),
    ("cgroup", c"none,name=systemd"),
];

/// C03: a hierarchy of its own.
pub(crate) fn mount_anew(aim: &Aim, log: &mut Log, kinds: &[Hierarchy]) {
    mount_then(aim, log, kinds, |_, _| ());
}

/// Freezes the canary below a detached mount; without a canary opens any file of it.
fn reach_below(top: &OwnedFd, aim: &Aim) -> Result<(), Errno> {
    let Some(canary) = &aim.canary else {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        return openat(top, "cgroup.procs", flags, Mode::empty()).map(drop);
    };
    let mut last = Errno::NOENT;
    for (file, text) in [("freezer.state", "FROZEN"), ("cgroup.freeze", "1")] {
        let path = format!("{canary}/{file}");
        let opened = openat(top, &*path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
        match opened.and_then(|fd| rustix::io::write(fd, text.as_bytes())) {
            Ok(_) => return Ok(()),
            Err(Errno::NOENT) => {}
            Err(errno) => last = errno,
        }
    }
    Err(last)
}

/// Mounts each hierarchy by both interfaces, here and in new namespaces.
fn mount_then(aim: &Aim, log: &mut Log, kinds: &[Hierarchy], then: impl Fn(&str, &mut Log)) {
    let Some(dir) = scratch() else {
        return log.add(no_scratch());
    };
    let attempts = |log: &mut Log, place: &str| {
        for (kind, data) in kinds {
            let what = format!("{place}mount -t {kind} {}", data.to_string_lossy());
            let call = mount(*kind, &*dir, *kind, MountFlags::empty(), *data);
            let worked = call.is_ok();
            log.add(Try::of(what, call));
            if worked {
                then(&dir, log);
            }
        }
        for (kind, key) in [("cgroup", "freezer"), ("cgroup2", "")] {
            if kinds.iter().all(|(k, _)| *k != kind) {
                continue;
            }
            let call = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).and_then(|fs| {
                if !key.is_empty() {
                    fsconfig_set_flag(fs.as_fd(), key)?;
                }
                fsconfig_create(fs.as_fd())?;
                fsmount(
                    fs.as_fd(),
                    FsMountFlags::FSMOUNT_CLOEXEC,
                    MountAttrFlags::empty(),
                )
            });
            // A mount that nobody attached is a way only if a file can be opened below it.
            let opened = call.and_then(|top| reach_below(&top, aim));
            log.add(Try::of(
                format!("{place}fsopen({kind}), fsmount, open"),
                opened,
            ));
        }
    };
    everywhere(log, attempts);
    for told in in_child(|log| {
        let flags = new::USER | new::NS | new::CGROUP;
        match raw::unshare(flags) {
            Ok(()) => attempts(log, "unshare(NEWUSER|NEWNS|NEWCGROUP), "),
            Err(errno) => log.add(Try::moot(
                "unshare(NEWUSER|NEWNS|NEWCGROUP)",
                errno_name(errno),
            )),
        }
    }) {
        log.add(told);
    }
}

/// C04: the program that a v1 hierarchy runs on the host.
pub(crate) fn release_agent(_: &Aim, log: &mut Log) {
    for root in roots() {
        open_below(&root, &["release_agent", "notify_on_release"], log);
    }
}

/// C05: out of its own leaf.
pub(crate) fn migrate(_: &Aim, log: &mut Log) {
    let pid = rustix::process::getpid().to_string();
    for root in roots() {
        for path in [
            format!("{root}/cgroup.procs"),
            format!("{root}/../cgroup.procs"),
        ] {
            log.add(Try::of(
                format!("echo {pid} > {path}"),
                put(Path::new(&path), &pid),
            ));
        }
    }
}

/// C05: a child born in another group.
pub(crate) fn born_elsewhere(aim: &Aim, log: &mut Log) {
    let below = |root: &str, log: &mut Log| {
        let made = openat(CWD, root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .and_then(|fd| raw::clone3_and_exit(0, Some(fd.as_fd())));
        log.add(Try::of(
            format!("clone3(CLONE_INTO_CGROUP) into {root}"),
            made,
        ));
    };
    roots().iter().for_each(|root| below(root, log));
    mount_then(aim, log, V2, below);
}

/// C07: a limit of its own, or of who is above.
pub(crate) fn raise_limits(aim: &Aim, log: &mut Log) {
    const LIMITS: &[&str] = &[
        "pids.max",
        "memory.max",
        "memory.limit_in_bytes",
        "cpu.max",
        "cgroup.max.descendants",
    ];
    let below = |root: &str, log: &mut Log| open_below(root, LIMITS, log);
    roots().iter().for_each(|root| below(root, log));
    mount_then(aim, log, V2, below);
}

/// C06: paths that tell of the host.
pub(crate) fn view(_: &Aim, log: &mut Log) {
    for file in ["/proc/self/cgroup", "/proc/1/cgroup"] {
        match fs::read_to_string(file) {
            Err(e) => log.add(Try::of_io::<()>(format!("read {file}"), Err(e))),
            Ok(text) => {
                // PID 1 is in a group beside the app's: a way up, but no name of the host.
                let own =
                    |part: &str| ["", "..", "init"].contains(&part) && file != "/proc/self/cgroup";
                let foreign = |line: &&str| {
                    let path = line.splitn(3, ':').nth(2).unwrap_or_default();
                    path != "/" && !path.split('/').all(own)
                };
                let end = match text.lines().find(foreign) {
                    Some(line) => End::Broke(line.to_owned()),
                    None => End::Held("no path of the host".to_owned()),
                };
                log.add(Try::new(format!("read {file}"), end));
            }
        }
    }
    for line in fs::read_to_string("/proc/self/mountinfo")
        .unwrap_or_default()
        .lines()
    {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let root = left.split(' ').nth(3).unwrap_or("/");
        if right.starts_with("cgroup") && root != "/" {
            log.add(Try::new(
                "mountinfo of a cgroup mount",
                End::Broke(root.to_owned()),
            ));
        }
    }
}
