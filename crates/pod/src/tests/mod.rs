//! What the tests of several modules share.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of one test's own, removed at the end.
pub(crate) struct Scratch {
    pub(crate) path: PathBuf,
    fd: OwnedFd,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("rkt-pod-{}-{n}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        let fd = std::fs::File::open(&path).unwrap().into();
        Self { path, fd }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn inode(&self, name: &str) -> Option<u64> {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::symlink_metadata(self.path.join(name))
            .ok()
            .map(|m| m.ino())
    }

    pub(crate) fn mkdir(&self, name: &str) {
        std::fs::create_dir_all(self.path.join(name)).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        std::fs::remove_dir(self.path.join(name)).unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = crate::remove::contents(self.fd.as_fd(), None);
        let _ = std::fs::remove_dir(&self.path);
    }
}

mod life;
mod names;
mod removal;
