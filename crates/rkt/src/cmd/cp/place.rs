//! Where paths begin: the host's own tree, or an app's root by descriptor.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstatfs, openat};
use rustix::io::Errno;
use std::path::Path;

/// File systems that show the kernel: nothing is copied from or to them.
const KERNEL: [u64; 5] = [0x9fa0, 0x6265_6572, 0x6367_7270, 0x27_e0eb, 0x6465_6462];

/// A tree.
#[derive(Debug)]
pub(super) struct Place(Option<OwnedFd>);

impl Place {
    /// The caller's own.
    pub(super) fn host() -> Self {
        Self(None)
    }

    /// That below a directory: no path and no link leads out of it.
    pub(super) fn below(root: OwnedFd) -> Self {
        Self(Some(root))
    }

    /// Opens a path. In an app every link is the app's own, and none is magic.
    pub(super) fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        // openat2 takes no flag that means nothing.
        let more = match flags.contains(OFlags::PATH) {
            true => OFlags::CLOEXEC,
            false => OFlags::CLOEXEC | OFlags::NOCTTY,
        };
        let flags = flags | more;
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let Some(root) = &self.0 else {
            return openat(CWD, path, flags, Mode::empty());
        };
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rkt_sys::fd::open(root, path, flags, Mode::empty(), inside)
    }
}

/// Whether a directory shows the kernel and no files.
pub(super) fn is_kernels(fd: impl AsFd) -> bool {
    fstatfs(fd).is_ok_and(|fs| u64::try_from(fs.f_type).is_ok_and(|t| KERNEL.contains(&t)))
}

/// Opens a directory in a directory, if it is one and no link.
pub(super) fn step(dir: impl AsFd, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}
