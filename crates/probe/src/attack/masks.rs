//! Attacks on what is hidden or read-only in /proc, /sys and /dev.

use super::{Aim, everywhere, new, no_scratch, scratch};
use crate::trial::{End, Log, Try, errno_of, in_child};
use rkt_sys::raw;
use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mknodat, open};
use rustix::io::Errno;
use rustix::mount::{
    FsOpenFlags, MountFlags, UnmountFlags, fsconfig_create, fsopen, mount, mount_bind,
    mount_remount, unmount,
};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

/// B06: away with the masks.
pub(crate) fn uncover(_: &Aim, log: &mut Log) {
    everywhere(log, |log, place| {
        for path in [
            "/proc/keys",
            "/proc/kcore",
            "/proc/timer_list",
            "/proc/sys",
            "/sys/firmware",
        ] {
            if fs::symlink_metadata(path).is_ok() {
                log.add(Try::of(
                    format!("{place}umount2({path})"),
                    unmount(path, UnmountFlags::DETACH),
                ));
            }
        }
    });
}

/// B06: what is read-only made writable. A file of the host's settings is opened, no more.
pub(crate) fn remount(_: &Aim, log: &mut Log) {
    everywhere(log, |log, place| {
        for path in ["/proc/sys", "/proc", "/sys"] {
            let call = mount_remount(path, MountFlags::BIND, c"");
            let writable = call.and_then(|()| {
                open(
                    "/proc/sys/kernel/core_pattern",
                    OFlags::WRONLY,
                    Mode::empty(),
                )
            });
            log.add(Try::of(
                format!("{place}remount {path} read-write"),
                writable,
            ));
        }
    });
}

/// A /proc or /sys without masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Second {
    Bind,
    Proc,
    FsOpen,
    SysFs,
    Nested,
}

/// B06: a second view, which nobody has masked.
pub(crate) fn second_view(_: &Aim, log: &mut Log, how: Second) {
    let Some(dir) = scratch() else {
        return log.add(no_scratch());
    };
    let none = MountFlags::empty();
    if how == Second::Nested {
        // A procfs of a PID namespace of its own would have no masks.
        for told in in_child(|log| match raw::unshare(new::USER | new::NS | new::PID) {
            Err(errno) => log.add(Try::of::<()>("unshare(NEWUSER|NEWNS|NEWPID)", Err(errno))),
            Ok(()) => {
                for told in in_child(|log| {
                    let call = mount("proc", &*dir, "proc", none, c"");
                    log.add(Try::of(
                        "unshare(NEWUSER|NEWNS|NEWPID), mount -t proc",
                        call,
                    ));
                }) {
                    log.add(told);
                }
            }
        }) {
            log.add(told);
        }
        return;
    }
    everywhere(log, |log, place| {
        let (what, call) = match how {
            Second::Bind => ("bind /proc elsewhere", mount_bind("/proc", &*dir)),
            Second::Proc => ("mount -t proc", mount("proc", &*dir, "proc", none, c"")),
            Second::SysFs => ("mount -t sysfs", mount("sysfs", &*dir, "sysfs", none, c"")),
            Second::FsOpen | Second::Nested => (
                "fsopen(proc), create",
                fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)
                    .and_then(|fs| fsconfig_create(fs.as_fd())),
            ),
        };
        log.add(Try::of(format!("{place}{what}"), call));
    });
}

/// B10: the files that rkt itself has put into the app.
pub(crate) fn injected(_: &Aim, log: &mut Log, how: Second) {
    let path = "/etc/hosts";
    if fs::symlink_metadata(path).is_err() {
        return log.add(Try::moot(path, "there is none"));
    }
    everywhere(log, |log, place| {
        let (what, call) = match how {
            Second::Bind => ("remount", mount_remount(path, MountFlags::BIND, c"")),
            _ => ("umount", unmount(path, UnmountFlags::DETACH)),
        };
        log.add(Try::of(format!("{place}{what} {path}"), call));
    });
}

/// B12: a file system that has had holes before, and one to build a root on.
pub(crate) fn overlay(_: &Aim, log: &mut Log, kind: &'static std::ffi::CStr) {
    let Some(dir) = scratch() else {
        return log.add(no_scratch());
    };
    let name = kind.to_string_lossy();
    let data = if kind == c"overlay" {
        c"lowerdir=/proc:/dev"
    } else {
        c""
    };
    for (place, flags) in [
        ("", 0),
        ("unshare(NEWNS), ", new::NS),
        ("unshare(NEWUSER|NEWNS), ", new::USER | new::NS),
    ] {
        for told in in_child(|log| {
            if flags != 0
                && let Err(errno) = raw::unshare(flags)
            {
                return log.add(Try::of::<()>(place, Err(errno)));
            }
            let call = mount(kind, &*dir, kind, MountFlags::RDONLY, data);
            log.add(Try::of(format!("{place}mount -t {name}"), call));
            let call = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC);
            log.add(Try::of(format!("{place}fsopen({name})"), call));
        }) {
            log.add(told);
        }
    }
}

/// B17: a node of the host's disk, or of its memory.
pub(crate) fn devices(aim: &Aim, log: &mut Log, kind: FileType) {
    let (name, number) = match kind {
        FileType::BlockDevice => ("b 254 0", (254, 0)),
        _ => ("c 1 1", (1, 1)),
    };
    for dir in ["", "/tmp", "/dev", "/dev/shm", &*aim.volume] {
        let path = format!("{dir}/rkt-probe-node");
        let mode = Mode::RUSR | Mode::WUSR;
        let made = mknodat(CWD, &*path, kind, mode, makedev(number.0, number.1));
        if made.is_ok() {
            let _ = fs::remove_file(&path);
        }
        log.add(Try::of(format!("mknod {path} {name}"), made));
    }
}

/// B17: a node that lies there (`--file`), or any of a disk in /dev.
pub(crate) fn open_device(aim: &Aim, log: &mut Log) {
    if let Some(path) = &aim.file {
        let opened = open(
            &**path,
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
            Mode::empty(),
        );
        log.add(Try::of(format!("open the node {path}"), opened));
    }
    let found: Vec<String> = fs::read_dir("/dev")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|e| e.file_type().is_ok_and(|t| t.is_block_device()))
        .map(|e| e.path().display().to_string())
        .collect();
    let end = if found.is_empty() {
        End::Held("none".to_owned())
    } else {
        End::Broke(found.join(" "))
    };
    log.add(Try::new("look for block devices in /dev", end));
}

/// Every file below a directory, cut at a number that no app's view reaches.
fn walk(top: &str) -> Vec<PathBuf> {
    let (mut found, mut todo) = (Vec::new(), vec![PathBuf::from(top)]);
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(t) if t.is_dir() => todo.push(entry.path()),
                Ok(t) if t.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
        if found.len() > 60_000 {
            break;
        }
    }
    found
}

/// K09: each file is opened, and nothing is written.
pub(crate) fn settings(_: &Aim, log: &mut Log, top: &str) {
    let mut files = walk(top);
    // Its mode lets anybody open it; only the write asks for a capability.
    files.retain(|path| !path.ends_with("ns_last_pid"));
    let mut last = Errno::NOENT;
    let mut opened = Vec::new();
    for path in &files {
        match open(
            path,
            OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            Ok(fd) if not_null(fd.as_fd()).is_err() => {}
            Ok(_) => opened.push(path.display().to_string()),
            Err(errno) => last = errno,
        }
    }
    let what = format!("open {} files below {top} to write", files.len());
    let end = match opened.first() {
        None => End::Refused(last),
        Some(first) => End::Broke(format!("{} opened, such as {first}", opened.len())),
    };
    log.add(Try::new(what, end));
}

/// K09: files by which the host's kernel is told what to do, or to run.
pub(crate) fn levers(_: &Aim, log: &mut Log) {
    for path in [
        "/proc/sysrq-trigger",
        "/proc/sys/fs/binfmt_misc/register",
        "/proc/irq/default_smp_affinity",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/sys/kernel/uevent_helper",
    ] {
        let opened = open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
        let opened = opened.and_then(|fd| not_null(fd.as_fd()));
        log.add(Try::of(format!("open {path} to write"), opened));
    }
}

/// A mask of a file is /dev/null, which everybody may open; it is no find.
fn not_null(fd: std::os::fd::BorrowedFd<'_>) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(fd)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == makedev(1, 3)
    {
        Err(Errno::ACCESS)
    } else {
        Ok(())
    }
}

/// Reads a file or lists a directory; empty means masked.
fn look(path: &str) -> Try {
    let what = format!("read {path}");
    let meta = match fs::symlink_metadata(path) {
        Err(e) => return Try::new(what, End::Refused(errno_of(&e))),
        Ok(meta) => meta,
    };
    if meta.is_dir() {
        let end = match fs::read_dir(path).map(Iterator::count) {
            Err(e) => End::Refused(errno_of(&e)),
            Ok(0) => End::Held("empty".to_owned()),
            Ok(n) => End::Broke(format!("{n} entries")),
        };
        return Try::new(what, end);
    }
    if meta.file_type().is_char_device() && meta.rdev() == makedev(1, 3) {
        return Try::new(what, End::Held("masked".to_owned()));
    }
    let mut buffer = [0; 64];
    let read = open(
        path,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .and_then(|fd| rustix::io::read(fd, &mut buffer));
    let end = match read {
        Err(errno) => End::Refused(errno),
        Ok(0) => End::Held("empty".to_owned()),
        Ok(n) => End::Broke(format!("{n} bytes or more")),
    };
    Try::new(what, end)
}

/// K11 and K12: files that tell of the kernel or of the host.
pub(crate) fn read(_: &Aim, log: &mut Log, names: &[&str]) {
    for name in names {
        log.add(look(name));
    }
}

/// K11: addresses of the kernel.
pub(crate) const ADDRESSES: &[&str] = &["/proc/kallsyms", "/proc/kcore", "/proc/vmallocinfo"];
/// K11: keys and what the kernel says.
pub(crate) const KEYS: &[&str] = &["/proc/keys", "/proc/key-users", "/proc/kmsg"];
/// K11: when other processes do something.
pub(crate) const TIMES: &[&str] = &[
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/interrupts",
    "/proc/latency_stats",
    "/proc/sched_debug",
];
/// K11: how the host's memory is used.
pub(crate) const MEMORY: &[&str] = &[
    "/proc/slabinfo",
    "/proc/pagetypeinfo",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
];
/// K11: what the host is made of.
pub(crate) const BUILD: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/config.gz",
    "/proc/scsi",
];
/// K12: disks.
pub(crate) const DISKS: &[&str] = &["/sys/block", "/sys/class/block"];
/// K12: the kernel's modules and notes.
pub(crate) const MODULES: &[&str] = &["/sys/module", "/sys/kernel/notes", "/sys/kernel/vmcoreinfo"];
/// K12: file systems of the kernel, and firmware.
pub(crate) const REST: &[&str] = &[
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/bpf",
    "/sys/fs/fuse",
    "/sys/fs/pstore",
    "/sys/fs/selinux",
    "/sys/hypervisor",
    "/sys/kernel/debug",
    "/sys/kernel/security",
    "/sys/kernel/tracing",
    "/sys/power",
];
