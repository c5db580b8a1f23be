//! Mounts by descriptor: what rustix lacks of the new mount API, and short names for the rest.

use crate::fd::check;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};
use std::ffi::CStr;
use std::io;

pub use rustix::mount::MountAttrFlags as Attr;

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// What [`set_attr`] changes.
#[derive(Debug, Default)]
pub struct Change<'fd> {
    /// `MOUNT_ATTR_*` bits to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` bits to clear.
    pub clear: u64,
    /// Whether to make the mounts private.
    pub private: bool,
    /// User namespace whose maps shift the ids; only for a mount that nobody has seen yet.
    pub idmap: Option<BorrowedFd<'fd>>,
    /// Whether mounts below change too.
    pub recursive: bool,
}

/// `MOUNT_ATTR_*` bits.
pub mod attr {
    /// Read-only.
    pub const RDONLY: u64 = 0x1;
    /// No setuid, no file capabilities.
    pub const NOSUID: u64 = 0x2;
    /// No device nodes.
    pub const NODEV: u64 = 0x4;
    /// No execution.
    pub const NOEXEC: u64 = 0x8;
}

/// Changes the mount behind `fd` (`mount_setattr(2)`, Linux 5.12).
///
/// # Errors
/// `EINVAL` for an idmap on a file system that has none or a mount that is attached, `EPERM`
/// without CAP_SYS_ADMIN over the file system or for a locked flag.
pub fn set_attr(fd: BorrowedFd<'_>, change: &Change<'_>) -> io::Result<()> {
    const IDMAP: u64 = 0x0010_0000;
    const PRIVATE: u64 = libc::MS_PRIVATE;
    let attr = MountAttr {
        set: change.set | if change.idmap.is_some() { IDMAP } else { 0 },
        clear: change.clear,
        propagation: if change.private { PRIVATE } else { 0 },
        userns: change.idmap.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    let flags = libc::AT_EMPTY_PATH
        | if change.recursive {
            libc::AT_RECURSIVE
        } else {
            0
        };
    // SAFETY: the empty path is terminated, `attr` is alive and its size is passed.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })?;
    Ok(())
}

/// A detached copy of the mount at `fd` (an `O_PATH` descriptor or a mount), of just the part
/// below it (`open_tree(2)`, Linux 5.2).
///
/// # Errors
/// `EINVAL` when `fd` lies in another mount namespace, `EPERM` without CAP_SYS_ADMIN.
pub fn clone_tree(fd: impl AsFd, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(rustix::mount::open_tree(fd, c"", flags)?)
}

/// Puts a detached mount on the file or directory behind `target`.
///
/// # Errors
/// `EINVAL` when `target` lies in another mount namespace, `ENOTDIR` when kinds differ.
pub fn attach(mount: impl AsFd, target: impl AsFd) -> io::Result<()> {
    Ok(rustix::mount::move_mount(
        mount,
        c"",
        target,
        c"",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )?)
}

/// Puts a detached mount on a path.
///
/// # Errors
/// As [`attach`].
pub fn attach_at(mount: impl AsFd, path: &CStr) -> io::Result<()> {
    Ok(rustix::mount::move_mount(
        mount,
        c"",
        CWD,
        path,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )?)
}

/// A file system being configured (`fsopen(2)`, Linux 5.2).
#[derive(Debug)]
pub struct NewFs(OwnedFd);

impl NewFs {
    /// Starts with the name of the type.
    ///
    /// # Errors
    /// `ENODEV` when the kernel has no such type, `EPERM` without CAP_SYS_ADMIN.
    pub fn open(kind: &CStr) -> io::Result<Self> {
        let fs = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        // Tables of mounts show this where a device would stand.
        rustix::mount::fsconfig_set_string(&fs, c"source", kind)?;
        Ok(Self(fs))
    }

    /// Sets `key=value`.
    ///
    /// # Errors
    /// `EINVAL` for a key or value the type does not know.
    pub fn set(&self, key: &CStr, value: &str) -> io::Result<&Self> {
        rustix::mount::fsconfig_set_string(&self.0, key, value)?;
        Ok(self)
    }

    /// Sets a key without a value.
    ///
    /// # Errors
    /// As [`NewFs::set`].
    pub fn flag(&self, key: &CStr) -> io::Result<&Self> {
        rustix::mount::fsconfig_set_flag(&self.0, key)?;
        Ok(self)
    }

    /// Sets a key to a descriptor.
    ///
    /// # Errors
    /// `EOPNOTSUPP`, `EINVAL` or `EBADF` where the type does not take descriptors.
    pub fn set_fd(&self, key: &CStr, fd: BorrowedFd<'_>) -> io::Result<&Self> {
        rustix::mount::fsconfig_set_fd(&self.0, key, fd)?;
        Ok(self)
    }

    /// Makes the superblock and a detached mount of it.
    ///
    /// # Errors
    /// Whatever the type says: `EINVAL`, `EPERM`, `EBUSY`, `ENOMEM`.
    pub fn mount(&self, attr: Attr) -> io::Result<OwnedFd> {
        rustix::mount::fsconfig_create(&self.0)?;
        Ok(rustix::mount::fsmount(
            &self.0,
            FsMountFlags::FSMOUNT_CLOEXEC,
            attr,
        )?)
    }

    /// What the kernel has to say about the last failure, a line; empty when nothing.
    pub fn message(&self) -> String {
        let mut buffer = [0u8; 512];
        match rustix::io::read(&self.0, &mut buffer) {
            Ok(n) => String::from_utf8_lossy(buffer.get(..n).unwrap_or(&[]))
                .trim_end()
                .to_owned(),
            Err(_) => String::new(),
        }
    }
}

/// Makes the current directory (a mount point) the root and forgets the old root with
/// everything below it. Call it with the new root as working directory.
///
/// # Errors
/// `EINVAL` when the current directory is no mount point, `EPERM` without CAP_SYS_ADMIN.
pub fn pivot_to_cwd() -> io::Result<()> {
    rustix::process::pivot_root(c".", c".")?;
    // Both roots are stacked on "." now; the upper one is the old root.
    rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")?;
    Ok(())
}

/// Makes every mount of the namespace private, so that nothing travels out or in.
///
/// # Errors
/// `EINVAL` when `/` is no mount point.
pub fn make_all_private() -> io::Result<()> {
    use rustix::mount::MountPropagationFlags as P;
    Ok(rustix::mount::mount_change(c"/", P::PRIVATE | P::REC)?)
}

/// No attributes.
pub const PLAIN: Attr = MountAttrFlags::empty();
