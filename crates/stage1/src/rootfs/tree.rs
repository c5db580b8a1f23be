//! A root under construction: places in it are found by descriptor, never by path strings.

use crate::error::{Doing, Failure};
use crate::host::open_in;
use rkt_sys::mount::{self, NewFs};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;
use std::cell::Cell;
use std::io;

/// What a place must be for a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
}

/// The app's root, detached as long as the kernel can attach to a detached mount (6.15), then
/// below the stage.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    root: OwnedFd,
    stage: BorrowedFd<'a>,
    staged: Cell<bool>,
    owner: u32,
}

/// What the generated files of an app may hold together: [`rkt_net::names::MAX_BYTES`] of other
/// pods among them. Memory is taken by what is written alone.
const STAGE_BYTES: &str = "1m";

/// A writable tmpfs of the set-up child's own, not attached anywhere yet.
pub(super) fn stage() -> Result<OwnedFd, Failure> {
    NewFs::open(c"tmpfs")
        .and_then(|fs| {
            fs.set(c"size", STAGE_BYTES)?
                .set(c"mode", "0700")?
                .mount(mount::PLAIN)
        })
        .doing(|| "make a stage for the app's root".into())
}

/// Attaches the stage: on the empty root's place for it.
pub(super) fn put_stage(stage: &OwnedFd, place: &str) -> Result<(), Failure> {
    let doing = || "make a stage for the app's root".to_owned();
    let place = rustix::fs::openat(CWD, place, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    mount::attach(stage, place.doing(doing)?).doing(doing)
}

/// Makes a directory on the stage and opens it.
pub(super) fn stage_dir(stage: BorrowedFd<'_>, name: &str) -> rustix::io::Result<OwnedFd> {
    rustix::fs::mkdirat(stage, name, Mode::RWXU)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(stage, name, flags, Mode::empty())
}

/// Makes directories below each other where they are missing, never following a link.
pub(super) fn make_dirs(
    dir: BorrowedFd<'_>,
    names: &[&str],
    mode: u32,
) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = rustix::fs::openat(dir, ".", flags, Mode::empty())?;
    for name in names {
        match rustix::fs::mkdirat(&at, *name, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        at = rustix::fs::openat(&at, *name, flags | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok(at)
}

pub(super) fn chown(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> rustix::io::Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    rustix::fs::chownat(fd, "", uid, gid, AtFlags::EMPTY_PATH)
}

impl<'a> Tree<'a> {
    pub(super) fn new(root: OwnedFd, stage: BorrowedFd<'a>, owner: u32) -> Self {
        Self {
            root,
            stage,
            staged: Cell::new(false),
            owner,
        }
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    pub(super) fn stage(&self) -> BorrowedFd<'a> {
        self.stage
    }

    /// Mounts on a place of the tree. Where the kernel cannot mount on a detached tree, the tree
    /// is put on the stage first.
    pub(super) fn put(&self, mount: impl AsFd, place: impl AsFd) -> io::Result<()> {
        match mount::attach(mount.as_fd(), place.as_fd()) {
            Err(e)
                if e.raw_os_error() == Some(Errno::INVAL.raw_os_error()) && !self.staged.get() =>
            {
                self.put_on_stage()?;
                mount::attach(mount, place)
            }
            result => result,
        }
    }

    /// A copy of the mount at a place (not of what is mounted below it).
    pub(super) fn copy(&self, place: impl AsFd) -> io::Result<OwnedFd> {
        self.clone_at(place, false)
    }

    /// A copy of the mount at a place and of all that is mounted below it.
    pub(super) fn copy_all(&self, place: impl AsFd) -> io::Result<OwnedFd> {
        self.clone_at(place, true)
    }

    fn clone_at(&self, place: impl AsFd, recursive: bool) -> io::Result<OwnedFd> {
        match mount::clone_tree(place.as_fd(), recursive) {
            Err(e)
                if e.raw_os_error() == Some(Errno::INVAL.raw_os_error()) && !self.staged.get() =>
            {
                self.put_on_stage()?;
                mount::clone_tree(place, recursive)
            }
            result => result,
        }
    }

    /// A place that must be a real directory of the tree: what else the image has there (a link,
    /// a file) is replaced, in the app's private upper only.
    pub(super) fn own_dir(&self, name: &str) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let open = || open_in(self.root(), name, flags, ResolveFlags::NO_SYMLINKS);
        match open() {
            Ok(found) => {
                let stat = rustix::fs::fstat(&found)?;
                if FileType::from_raw_mode(stat.st_mode).is_dir() {
                    return Ok(found);
                }
                rustix::fs::unlinkat(&self.root, name, AtFlags::empty())?;
            }
            Err(Errno::NOENT) => {}
            Err(Errno::LOOP) => rustix::fs::unlinkat(&self.root, name, AtFlags::empty())?,
            Err(error) => return Err(error),
        }
        rustix::fs::mkdirat(&self.root, name, Mode::from_raw_mode(0o755))?;
        let made = open()?;
        chown(made.as_fd(), self.owner, self.owner)?;
        Ok(made)
    }

    /// Makes a directory and its parents, as the app's root would; links are followed inside
    /// the tree, as they are for the app.
    pub(super) fn make_dir(&self, path: &str) -> rustix::io::Result<OwnedFd> {
        self.place(path, Kind::Directory)
    }

    /// Finds the place of a mount, making what is missing (0755, the app's root).
    pub(super) fn place(&self, path: &str, kind: Kind) -> rustix::io::Result<OwnedFd> {
        let mut at = open_in(self.root(), "/", OFlags::PATH, ResolveFlags::empty())?;
        let mut done = String::new();
        let names: Vec<&str> = path
            .split('/')
            .filter(|n| !n.is_empty() && *n != ".")
            .collect();
        for (n, name) in names.iter().enumerate() {
            if *name == ".." {
                return Err(Errno::INVAL);
            }
            let last = n + 1 == names.len();
            done.push('/');
            done.push_str(name);
            let open = || open_in(self.root(), &done, OFlags::PATH, ResolveFlags::empty());
            at = match open() {
                Ok(found) => found,
                Err(Errno::NOENT) => {
                    self.make_name(&at, name, last && kind == Kind::File)?;
                    open()?
                }
                Err(error) => return Err(error),
            };
        }
        let is_dir = FileType::from_raw_mode(rustix::fs::fstat(&at)?.st_mode).is_dir();
        match (kind, is_dir) {
            (Kind::Directory, true) | (Kind::File, false) => Ok(at),
            (Kind::Directory, false) => Err(Errno::NOTDIR),
            (Kind::File, true) => Err(Errno::ISDIR),
        }
    }

    fn make_name(&self, at: &OwnedFd, name: &str, file: bool) -> rustix::io::Result<()> {
        let made = if file {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            match rustix::fs::openat(
                at,
                name,
                flags | OFlags::NOFOLLOW,
                Mode::from_raw_mode(0o644),
            ) {
                // A link that leads nowhere: the app's private upper gets an empty file instead.
                Err(Errno::EXIST) if self.is_own(at)? => {
                    rustix::fs::unlinkat(at, name, AtFlags::empty())?;
                    rustix::fs::openat(at, name, flags, Mode::from_raw_mode(0o644))?
                }
                other => other?,
            }
        } else {
            match rustix::fs::mkdirat(at, name, Mode::from_raw_mode(0o755)) {
                Err(Errno::EXIST) if self.is_own(at)? => {
                    rustix::fs::unlinkat(at, name, AtFlags::empty())?;
                    rustix::fs::mkdirat(at, name, Mode::from_raw_mode(0o755))?;
                }
                other => other?,
            }
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(at, name, flags, Mode::empty())?
        };
        chown(made.as_fd(), self.owner, self.owner)
    }

    /// Whether a directory is of the app's own root, and not of a volume: somebody else's files
    /// are never replaced.
    fn is_own(&self, at: &OwnedFd) -> rustix::io::Result<bool> {
        Ok(rustix::fs::fstat(at)?.st_dev == rustix::fs::fstat(&self.root)?.st_dev)
    }

    /// Leaves the tree on the stage, for a root without pivot (test builds only).
    pub(super) fn put_on_stage(&self) -> io::Result<()> {
        if !self.staged.get() {
            mount::attach(&self.root, stage_dir(self.stage, "r")?)?;
            self.staged.set(true);
        }
        Ok(())
    }

    /// Makes the tree the root of the calling process's mount namespace and forgets all else.
    pub(super) fn become_root(&self) -> io::Result<()> {
        if !self.staged.get() {
            mount::attach_at(&self.root, c"/")?;
        }
        rustix::process::fchdir(&self.root)?;
        mount::pivot_to_cwd()
    }
}
