//! Attacks on a volume that was made read-only (rkt#576, examples 1 and 2).

use super::{Aim, everywhere, no_scratch, scratch};
use crate::trial::{End, Log, Try, errno_of};
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

/// B01: `mount(2)`.
pub(crate) fn remount(aim: &Aim, log: &mut Log) {
    let Some(path) = target(aim, log) else { return };
    everywhere(log, |log, place| {
        for (name, flags) in [
            ("MS_REMOUNT|MS_BIND", MountFlags::BIND),
            ("MS_REMOUNT", MountFlags::empty()),
            (
                "MS_REMOUNT|MS_BIND|MS_NOSUID|MS_NODEV",
                MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV,
            ),
        ] {
            let call = mount_remount(path, flags, c"");
            log.add(then_write(
                format!("{place}mount({path}, {name})"),
                call,
                path,
            ));
        }
    });
    log.add(Try::of(
        format!("open {path}/{PROOF} to write"),
        write_below(CWD, &format!("{path}/{PROOF}")),
    ));
}

/// B02: `mount_setattr(2)` and `fspick(2)`.
pub(crate) fn setattr(aim: &Aim, log: &mut Log) {
    let Some(path) = target(aim, log) else { return };
    let Ok(name) = CString::new(path) else { return };
    everywhere(log, |log, place| {
        let call = raw::mount_setattr(CWD, &name, 0, 0, RDONLY);
        log.add(then_write(
            format!("{place}mount_setattr({path}, clear RDONLY)"),
            call,
            path,
        ));
        let call = raw::mount_setattr(CWD, &name, RECURSIVE, 0, RDONLY);
        log.add(then_write(
            format!("{place}mount_setattr({path}, AT_RECURSIVE)"),
            call,
            path,
        ));
        let call = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .and_then(|fd| raw::mount_setattr(fd.as_fd(), c"", EMPTY_PATH, 0, RDONLY));
        log.add(then_write(
            format!("{place}mount_setattr(fd of {path})"),
            call,
            path,
        ));
        let call = fspick(CWD, path, rustix::mount::FsPickFlags::empty()).and_then(|fs| {
            rustix::mount::fsconfig_set_flag(fs.as_fd(), "rw")?;
            fsconfig_reconfigure(fs.as_fd())
        });
        log.add(then_write(
            format!("{place}fspick({path}), reconfigure rw"),
            call,
            path,
        ));
    });
}

/// B03: what is below the mount.
pub(crate) fn uncover(aim: &Aim, log: &mut Log) {
    let Some(path) = target(aim, log) else { return };
    everywhere(log, |log, place| {
        for (name, flags) in [
            ("0", UnmountFlags::empty()),
            ("MNT_DETACH", UnmountFlags::DETACH),
            ("UMOUNT_NOFOLLOW", UnmountFlags::NOFOLLOW),
            ("MNT_EXPIRE", UnmountFlags::EXPIRE),
        ] {
            log.add(Try::of(
                format!("{place}umount2({path}, {name})"),
                unmount(path, flags),
            ));
        }
    });
}

/// B04: a second mount of the same files, without the flag.
pub(crate) fn clone_away(aim: &Aim, log: &mut Log) {
    let Some(path) = target(aim, log) else { return };
    let Some(dir) = scratch() else {
        return log.add(no_scratch());
    };
    everywhere(log, |log, place| {
        let bind =
            mount_bind(path, &*dir).and_then(|()| mount_remount(&*dir, MountFlags::BIND, c""));
        log.add(then_write(
            format!("{place}bind {path} elsewhere, remount"),
            bind,
            &dir,
        ));
        for (name, flags) in [
            ("open_tree(CLONE)", OpenTreeFlags::OPEN_TREE_CLONE),
            (
                "open_tree(CLONE|RECURSIVE)",
                OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE,
            ),
        ] {
            let what = format!("{place}{name} of {path}, clear RDONLY");
            let result =
                open_tree(CWD, path, flags | OpenTreeFlags::OPEN_TREE_CLOEXEC).and_then(|tree| {
                    raw::mount_setattr(tree.as_fd(), c"", EMPTY_PATH, 0, RDONLY)?;
                    let inside = write_below(&tree, PROOF);
                    let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
                    inside.or_else(|_| {
                        move_mount(&tree, "", CWD, &*dir, empty)?;
                        write_below(CWD, &format!("{dir}/{PROOF}"))
                    })
                });
            log.add(Try::of(what, result));
        }
    });
}

/// B05: from a descriptor for reading to one for writing.
pub(crate) fn reopen(aim: &Aim, log: &mut Log) {
    let Some(path) = target(aim, log) else { return };
    let file = std::fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .find(|e| e.file_type().is_ok_and(|t| t.is_file()));
    let Some(file) = file.map(|e| e.path()) else {
        return log.add(Try::moot(format!("a file in {path}"), "it is empty"));
    };
    let shown = file.display().to_string();
    for (name, flags) in [("O_RDONLY", OFlags::RDONLY), ("O_PATH", OFlags::PATH)] {
        let fd = match openat(CWD, &file, flags | OFlags::CLOEXEC, Mode::empty()) {
            Ok(fd) => fd,
            Err(errno) => {
                log.add(Try::of::<()>(format!("open {shown} {name}"), Err(errno)));
                continue;
            }
        };
        let again = format!("/proc/self/fd/{}", fd.as_raw_fd());
        for (mode, flags) in [
            ("O_RDWR", OFlags::RDWR),
            ("O_WRONLY|O_TRUNC", OFlags::WRONLY | OFlags::TRUNC),
        ] {
            let result = openat(CWD, &*again, flags | OFlags::CLOEXEC, Mode::empty());
            log.add(Try::of(
                format!("open {shown} {name}, reopen {mode}"),
                result,
            ));
        }
        let result = linkat(&fd, "", CWD, format!("{path}/{PROOF}"), AtFlags::EMPTY_PATH);
        log.add(Try::of(
            format!("linkat of {shown} {name} in {path}"),
            result,
        ));
    }
    let result = std::fs::OpenOptions::new().append(true).open(&file);
    log.add(Try::of(
        format!("open {shown} to append"),
        result.map_err(|e| errno_of(&e)),
    ));
}
