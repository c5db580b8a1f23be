//! What keeps mounted layers from being changed, found out by freezing a file.

use rkt_isolate::doctor::{Finding, State};
use rkt_sys::{fd, verity};
use rustix::fs::{CWD, IFlags, Mode, OFlags, ioctl_getflags, ioctl_setflags};
use rustix::io::Errno;
use std::fs::File;
use std::path::Path;

/// A file without a name, whole, that nobody can write to any more.
fn file(dir: &Path) -> Result<File, Errno> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let writer = rustix::fs::openat(CWD, dir, flags, Mode::RUSR | Mode::WUSR)?;
    rustix::io::write(&writer, &[1; 4096])?;
    let again = format!("/proc/self/fd/{}", fd::number(&writer));
    let reader = rustix::fs::open(again, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(File::from(reader))
}

/// Sets the flag and takes it off again.
fn immutable(file: &File) -> Result<(), Errno> {
    let flags = ioctl_getflags(file)?;
    ioctl_setflags(file, flags | IFlags::IMMUTABLE)?;
    ioctl_setflags(file, flags)
}

/// What `rkt doctor` says of it.
pub(super) fn finding(dir: &Path) -> Finding {
    let tried = file(dir).map(|file| (immutable(&file).is_ok(), verity::enable(&file).is_ok()));
    let (state, detail) = match tried {
        Ok((true, true)) => (
            State::Ok,
            "immutable while mounted, and fs-verity checks what is read",
        ),
        Ok((true, false)) => (
            State::Ok,
            "immutable while mounted; no fs-verity here, so a disk that lies is found by `rkt image verify` only",
        ),
        Ok((false, true)) => (
            State::Ok,
            "fs-verity checks what is read; no immutable flag here",
        ),
        Ok((false, false)) => (
            State::Degraded,
            "neither the immutable flag nor fs-verity: only their mode (0400) keeps root from writing to mounted layers",
        ),
        Err(_) => (
            State::Degraded,
            "no file could be made in the data directory to try it",
        ),
    };
    let remedy = (state == State::Degraded).then(|| {
        "a data directory on ext4, xfs, btrfs or f2fs, and CAP_LINUX_IMMUTABLE".to_owned()
    });
    Finding {
        name: "frozen layers",
        state,
        detail: detail.to_owned(),
        remedy,
    }
}
