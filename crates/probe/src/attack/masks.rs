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

/// B06: away with the masks, or a /proc without them.
pub(crate) fn unmask(_: &Aim, log: &mut Log) {
    let Some(dir) = scratch() else {
        return log.add(no_scratch());
    };
    everywhere(log, |log, place| {
        for path in [
            "/proc/keys",
            "/proc/kcore",
            "/proc/timer_list",
            "/proc/sys",
            "/sys/firmware",
            "/proc",
        ] {
            if fs::symlink_metadata(path).is_ok() {
                log.add(Try::of(
                    format!("{place}umount2({path})"),
                    unmount(path, UnmountFlags::DETACH),
                ));
            }
        }
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
        log.add(Try::of(
            format!("{place}bind /proc elsewhere"),
            mount_bind("/proc", &*dir),
        ));
        let call = mount("proc", &*dir, "proc", MountFlags::empty(), c"");
        log.add(Try::of(format!("{place}mount -t proc"), call));
        let call =
            fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC).and_then(|fs| fsconfig_create(fs.as_fd()));
        log.add(Try::of(format!("{place}fsopen(proc), create"), call));
        let call = mount("sysfs", &*dir, "sysfs", MountFlags::empty(), c"");
        log.add(Try::of(format!("{place}mount -t sysfs"), call));
    });
    // A procfs of a PID namespace of its own would have no masks.
    let flags = new::USER | new::NS | new::PID;
    for told in in_child(|log| match raw::unshare(flags) {
        Err(errno) => log.add(Try::of::<()>("unshare(NEWUSER|NEWNS|NEWPID)", Err(errno))),
        Ok(()) => {
            for told in in_child(|log| {
                let call = mount("proc", &*dir, "proc", MountFlags::empty(), c"");
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
}

/// B12: a file system that has had holes before.
pub(crate) fn overlay(_: &Aim, log: &mut Log) {
    let Some(dir) = scratch() else {
        return log.add(no_scratch());
    };
    for (name, flags) in [("", 0), ("unshare(NEWUSER|NEWNS), ", new::USER | new::NS)] {
        for told in in_child(|log| {
            if flags != 0
                && let Err(errno) = raw::unshare(flags)
            {
                return log.add(Try::of::<()>("unshare(NEWUSER|NEWNS)", Err(errno)));
            }
            let call = mount(
                "overlay",
                &*dir,
                "overlay",
                MountFlags::RDONLY,
                c"lowerdir=/proc:/dev",
            );
            log.add(Try::of(format!("{name}mount -t overlay"), call));
            let call = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC);
            log.add(Try::of(format!("{name}fsopen(overlay)"), call));
            let call = mount("tmpfs", &*dir, "tmpfs", MountFlags::empty(), c"");
            log.add(Try::of(format!("{name}mount -t tmpfs"), call));
        }) {
            log.add(told);
        }
    }
}

/// B17: a node of the host's disk, or of its memory. `--file` is a node that lies there.
pub(crate) fn devices(aim: &Aim, log: &mut Log) {
    for dir in ["", "/tmp", "/dev", "/dev/shm", &*aim.volume] {
        for (name, kind, number) in [
            ("b 254 0", FileType::BlockDevice, (254, 0)),
            ("c 1 1", FileType::CharacterDevice, (1, 1)),
        ] {
            let path = format!("{dir}/rkt-probe-node");
            let made = mknodat(
                CWD,
                &*path,
                kind,
                Mode::RUSR | Mode::WUSR,
                makedev(number.0, number.1),
            );
            let made =
                made.and_then(|()| open(&*path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()));
            log.add(Try::of(format!("mknod {path} {name}"), made));
        }
    }
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
pub(crate) fn settings(_: &Aim, log: &mut Log) {
    for top in ["/proc/sys", "/sys"] {
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
    for path in [
        "/proc/sysrq-trigger",
        "/proc/sys/fs/binfmt_misc/register",
        "/proc/irq/default_smp_affinity",
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

/// K11.
pub(crate) fn read_proc(_: &Aim, log: &mut Log) {
    for name in [
        "acpi",
        "asound",
        "config.gz",
        "interrupts",
        "kallsyms",
        "kcore",
        "keys",
        "key-users",
        "kmsg",
        "kpagecgroup",
        "kpagecount",
        "kpageflags",
        "latency_stats",
        "pagetypeinfo",
        "sched_debug",
        "scsi",
        "slabinfo",
        "timer_list",
        "timer_stats",
        "vmallocinfo",
    ] {
        log.add(look(&format!("/proc/{name}")));
    }
}

/// K12.
pub(crate) fn read_sys(_: &Aim, log: &mut Log) {
    for name in [
        "block",
        "class/block",
        "devices/virtual/powercap",
        "firmware",
        "fs/bpf",
        "fs/fuse",
        "fs/pstore",
        "fs/selinux",
        "hypervisor",
        "kernel/debug",
        "kernel/notes",
        "kernel/security",
        "kernel/tracing",
        "kernel/vmcoreinfo",
        "module",
        "power",
    ] {
        log.add(look(&format!("/sys/{name}")));
    }
}
