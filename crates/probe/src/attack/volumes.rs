//! Attacks on a volume that was made read-only (rkt#576, examples 1 and 2).

use super::{Aim, everywhere, no_scratch, scratch};
use crate::trial::{End, Log, Try};
use rkt_sys::raw;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatVfsMountFlags, linkat, openat, statvfs};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_reconfigure, fspick,
    mount_bind, mount_remount, move_mount, open_tree, unmount,
};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd};

const RDONLY: u64 = 1;
const RECURSIVE: u32 = 0x8000;
const EMPTY_PATH: u32 = 0x1000;
const PROOF: &str = "rkt-probe-was-here";

/// The volume, if there is one and it is read-only.
fn target<'a>(aim: &'a Aim, log: &mut Log) -> Option<&'a str> {
    let path = &*aim.volume;
    let why = match statvfs(path) {
        Ok(v) if v.f_flag.contains(StatVfsMountFlags::RDONLY) => return Some(path),
        Ok(_) => "it is not read-only",
        Err(_) => "there is none; give one with --volume=PATH",
    };
    log.add(Try::moot(format!("volume {path}"), why));
    None
}

/// Writes a file: the proof that the volume is not read-only any more.
fn write_below(dir: impl AsFd, path: &str) -> Result<(), Errno> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    let fd = openat(dir, path, flags, Mode::from_raw_mode(0o666))?;
    rustix::io::write(fd, b"written by a pod\n").map(drop)
}

/// The call counts as an attack that worked only if a file can be written then.
fn then_write(what: String, call: Result<(), Errno>, path: &str) -> Try {
    let end = match call {
        Err(errno) => End::Refused(errno),
        Ok(()) => match write_below(CWD, &format!("{path}/{PROOF}")) {
            Ok(()) => End::Broke(format!("wrote {path}/{PROOF}")),
            Err(errno) => End::Held(format!(
                "the call worked, the write did not: {}",
                crate::trial::errno_name(errno)
            )),
        },
    };
    Try::new(what, end)
}

/// B01: `mount(2)` with these flags beside MS_REMOUNT.
pub(crate) fn remount(aim: &Aim, log: &mut Log, flags: MountFlags) {
    let Some(path) = target(aim, log) else { return };
    everywhere(log, |log, place| {
        // The second is the file system's own remount, which no app could ever do.
        for flags in [flags, flags - MountFlags::BIND] {
            let call = mount_remount(path, flags, c"");
            let what = format!("{place}mount({path}, MS_REMOUNT|{flags:?})");
            log.add(then_write(what, call, path));
        }
    });
}

/// B07: a file system of its own on the volume. Where it may mount at all that is its own affair;
/// the host sees whether it has arrived outside.
pub(crate) fn over(aim: &Aim, log: &mut Log) {
    let path = format!("{}/sub", aim.volume);
    everywhere(log, |log, place| {
        let call = rustix::mount::mount("none", &*path, "tmpfs", MountFlags::empty(), c"");
        log.add(Try::of(format!("{place}mount a tmpfs on {path}"), call));
    });
}

/// How the attributes of a mount are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Path,
    Tree,
    Descriptor,
}

/// B02: `mount_setattr(2)` and `fspick(2)`.
pub(crate) fn setattr(aim: &Aim, log: &mut Log, by: By) {
    let Some(path) = target(aim, log) else { return };
    let Ok(name) = CString::new(path) else { return };
    everywhere(log, |log, place| {
        let (what, call) = match by {
            By::Path => ("clear RDONLY", raw::mount_setattr(CWD, &name, 0, 0, RDONLY)),
            By::Tree => (
                "AT_RECURSIVE",
                raw::mount_setattr(CWD, &name, RECURSIVE, 0, RDONLY),
            ),
            By::Descriptor => (
                "by a descriptor",
                openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                    .and_then(|fd| raw::mount_setattr(fd.as_fd(), c"", EMPTY_PATH, 0, RDONLY)),
            ),
        };
        let what = format!("{place}mount_setattr({path}, {what})");
        log.add(then_write(what, call, path));
    });
    if by == By::Path {
        let call = fspick(CWD, path, rustix::mount::FsPickFlags::empty()).and_then(|fs| {
            rustix::mount::fsconfig_set_flag(fs.as_fd(), "rw")?;
            fsconfig_reconfigure(fs.as_fd())
        });
        log.add(then_write(
            format!("fspick({path}), reconfigure rw"),
            call,
            path,
        ));
    }
}

/// B03: what is below the mount.
pub(crate) fn uncover(aim: &Aim, log: &mut Log, flags: UnmountFlags) {
    let Some(path) = target(aim, log) else { return };
    everywhere(log, |log, place| {
        let mut call = unmount(path, flags);
        if flags == UnmountFlags::EXPIRE && call == Err(Errno::AGAIN) {
            // The first call marks it, the second takes it away.
            call = unmount(path, flags);
        }
        log.add(Try::of(format!("{place}umount2({path}, {flags:?})"), call));
    });
}

/// How a second mount of the same files is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Away {
    Bind,
    Clone,
    CloneTree,
    Move,
}

/// B04: a second mount of the same files, without the flag.
pub(crate) fn clone_away(aim: &Aim, log: &mut Log, how: Away) {
    let Some(path) = target(aim, log) else { return };
    let Some(dir) = scratch() else {
        return log.add(no_scratch());
    };
    let attached = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    everywhere(log, |log, place| {
        let clone = |flags: OpenTreeFlags| {
            let tree = open_tree(CWD, path, flags | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
            raw::mount_setattr(tree.as_fd(), c"", EMPTY_PATH, 0, RDONLY)?;
            write_below(&tree, PROOF).or_else(|_| {
                move_mount(&tree, "", CWD, &*dir, attached)?;
                write_below(CWD, &format!("{dir}/{PROOF}"))
            })
        };
        let what = format!("{place}{how:?} of {path}");
        log.add(match how {
            Away::Bind => {
                let bind = mount_bind(path, &*dir)
                    .and_then(|()| mount_remount(&*dir, MountFlags::BIND, c""));
                then_write(what, bind, &dir)
            }
            Away::Clone => Try::of(what, clone(OpenTreeFlags::OPEN_TREE_CLONE)),
            Away::CloneTree => {
                let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE;
                Try::of(what, clone(flags))
            }
            Away::Move => {
                let moved = move_mount(CWD, path, CWD, &*dir, MoveMountFlags::empty());
                Try::of(what, moved)
            }
        });
    });
}

/// How a file that may be read is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reopen {
    Read,
    Path,
    Link,
    Append,
}

/// B05: from a descriptor for reading to one for writing. Works on any volume.
pub(crate) fn reopen(aim: &Aim, log: &mut Log, how: Reopen) {
    let path = &*aim.volume;
    let file = std::fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .find(|e| e.file_type().is_ok_and(|t| t.is_file()));
    let Some(file) = file.map(|e| e.path()) else {
        return log.add(Try::moot(format!("a file in {path}"), "there is none"));
    };
    let shown = file.display().to_string();
    let flags = match how {
        Reopen::Append => OFlags::APPEND | OFlags::WRONLY,
        Reopen::Path => OFlags::PATH,
        Reopen::Read | Reopen::Link => OFlags::RDONLY,
    };
    let fd = match openat(CWD, &file, flags | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => fd,
        Err(errno) => return log.add(Try::of::<()>(format!("open {shown} {how:?}"), Err(errno))),
    };
    let again = format!("/proc/self/fd/{}", fd.as_raw_fd());
    match how {
        Reopen::Append => log.add(Try::of(format!("open {shown} to append"), Ok(()))),
        Reopen::Link => {
            let result = linkat(
                CWD,
                &*again,
                CWD,
                format!("{path}/{PROOF}"),
                AtFlags::SYMLINK_FOLLOW,
            );
            log.add(Try::of(format!("link of {shown} in {path}"), result));
        }
        Reopen::Read | Reopen::Path => {
            for (mode, flags) in [
                ("O_RDWR", OFlags::RDWR),
                ("O_WRONLY|O_APPEND", OFlags::WRONLY | OFlags::APPEND),
            ] {
                let result = openat(CWD, &*again, flags | OFlags::CLOEXEC, Mode::empty())
                    .and_then(|fd| rustix::io::write(fd, b""));
                log.add(Try::of(
                    format!("open {shown} {how:?}, reopen {mode}"),
                    result,
                ));
            }
        }
    }
}
