//! Whether layers can be mounted as EROFS from plain files, found out by mounting one.

use rkt_isolate::doctor::{Finding, State};
use rkt_sys::fd;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use std::path::Path;

/// An EROFS image of 2 KiB with an empty root directory (format: docs/design/layers.md).
fn image() -> Vec<u8> {
    let mut bytes = vec![0u8; 2048];
    let mut put = |at: usize, value: &[u8]| {
        if let Some(place) = bytes.get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        }
    };
    // Superblock: magic, block size 2^9, root nid 40, one inode, four blocks.
    put(1024, &0xE0F5_E1E2u32.to_le_bytes());
    put(1024 + 12, &[9]);
    put(1024 + 14, &40u16.to_le_bytes());
    put(1024 + 16, &1u64.to_le_bytes());
    put(1024 + 36, &4u32.to_le_bytes());
    // Root: extended inode, data inline behind it: `.` and `..`.
    let root = 40 * 32;
    put(root, &5u16.to_le_bytes());
    put(root + 4, &0o040_755u16.to_le_bytes());
    put(root + 8, &27u64.to_le_bytes());
    put(root + 16, &u32::MAX.to_le_bytes());
    put(root + 20, &1u32.to_le_bytes());
    put(root + 44, &2u32.to_le_bytes());
    for (n, name_at) in [(0, 24u16), (1, 25)] {
        let entry = root + 64 + 12 * n;
        put(entry, &40u64.to_le_bytes());
        put(entry + 8, &name_at.to_le_bytes());
        put(entry + 10, &[2]);
    }
    put(root + 64 + 24, b"...");
    bytes
}

/// Mounts it, detached, from an unnamed file of the data directory's file system.
fn mounts(dir: &Path) -> Result<(), Errno> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, dir, flags, Mode::RUSR | Mode::WUSR)?;
    rustix::io::write(&file, &image())?;
    let fs = rustix::mount::fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let source = format!("/proc/self/fd/{}", fd::number(&file));
    rustix::mount::fsconfig_set_string(&fs, "source", source)?;
    rustix::mount::fsconfig_create(&fs)?;
    rustix::mount::fsmount(
        &fs,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_RDONLY,
    )?;
    Ok(())
}

/// What `rkt doctor` says of it.
pub(super) fn finding(dir: &Path) -> Finding {
    let (state, detail, remedy) = match mounts(dir) {
        Ok(()) => (State::Ok, "mounted from a file of the data directory".to_owned(), None),
        Err(error) => (
            State::Degraded,
            format!("{error}: layers are mounted by loop devices, or unpacked"),
            Some("a kernel 6.12 or later with CONFIG_EROFS_FS_BACKED_BY_FILE, and a data directory on a file system such as ext4 or xfs".to_owned()),
        ),
    };
    Finding {
        name: "EROFS from files",
        state,
        detail,
        remedy,
    }
}
