//! Attempts to leave the root directory (rkt#576, example 3, "break-chroot").

use super::{Aim, no_scratch, scratch};
use crate::trial::{End, Log, Try};
use rustix::fs::{Mode, OFlags, Stat, fstat, open, openat, stat};
use rustix::io::Errno;
use rustix::process::{chdir, chroot, fchdir, pivot_root};

/// Identity of a directory: its device and inode.
fn id(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// Climbs as far as `..` leads from the current directory.
fn climb() -> Result<(), Errno> {
    for _ in 0..1000 {
        chdir("..")?;
    }
    Ok(())
}

/// Held when the directory reached is the one that was `/` in the beginning.
fn arrived(what: &str, home: (u64, u64), reached: Result<Stat, Errno>) -> Try {
    let end = match reached {
        Err(errno) => End::Refused(errno),
        Ok(stat) if id(&stat) == home => End::Held("still below the app's own /".to_owned()),
        Ok(stat) => End::Broke(format!(
            "outside: device {} inode {}",
            stat.st_dev, stat.st_ino
        )),
    };
    Try::new(what, end)
}

/// B09: the ways that need no privilege, and the classic: a second chroot below the first.
pub(crate) fn chroot_break(_: &Aim, log: &mut Log) {
    let Ok(home) = stat("/").map(|s| id(&s)) else {
        return log.add(Try::moot("stat /", "no root directory"));
    };
    log.add(arrived(
        "chdir(\"..\") 1000 times",
        home,
        chdir("/").and_then(|()| climb()).and_then(|()| stat(".")),
    ));
    for path in ["/..", "/proc/self/root/..", "/proc/self/cwd/../.."] {
        log.add(arrived(path, home, stat(path)));
    }
    log.add(arrived(
        "pivot_root(\".\", \".\")",
        home,
        pivot_root(".", ".").and_then(|()| stat(".")),
    ));
    let Some(dir) = scratch() else {
        return log.add(no_scratch());
    };
    // The current directory stays above the second root, so nothing stops `..` on the way to
    // the real one.
    let classic = chroot(&*dir)
        .and_then(|()| climb())
        .and_then(|()| stat("."));
    log.add(arrived("mkdir, chroot, chdir(\"..\")", home, classic));
}

/// B09: the same with a descriptor of the first root.
pub(crate) fn chroot_break_by_descriptor(_: &Aim, log: &mut Log) {
    let Ok(home) = stat("/").map(|s| id(&s)) else {
        return log.add(Try::moot("stat /", "no root directory"));
    };
    let Some(dir) = scratch() else {
        return log.add(no_scratch());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = match open("/", flags, Mode::empty()) {
        Ok(top) => top,
        Err(errno) => return log.add(Try::of::<()>("open /", Err(errno))),
    };
    let up = openat(
        &top,
        "../../..",
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    );
    log.add(arrived(
        "openat(fd of /, \"../../..\")",
        home,
        up.and_then(fstat),
    ));
    let saved = chroot(&*dir)
        .and_then(|()| fchdir(&top))
        .and_then(|()| climb())
        .and_then(|()| chroot("."))
        .and_then(|()| stat("/"));
    log.add(arrived(
        "chroot, fchdir(fd of /), chdir(\"..\"), chroot(\".\")",
        home,
        saved,
    ));
}
