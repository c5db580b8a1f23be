//! A pod's directory while somebody owns it: made, moved from shelf to shelf, removed.
//!
//! The lock is an flock on the directory itself. It belongs to the open descriptor, so
//! it lives on across exec (stage0 becomes stage1) and dies with the last process that
//! has it. Every move is a rename under that lock.

use crate::error::{Doing, Error, Kind};
use crate::name;
use crate::remove;
use crate::shelf::Shelf;
use crate::{Result, file};
use rkt_spec::{PodName, Uuid};
use rustix::fs::{AtFlags, FlockOperation};
use rustix::io::Errno;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// The pod manifest, kept until everything else is gone.
pub const MANIFEST: &str = "pod";
/// File of a pod's directory with the plan that it was started by, for people and audits.
pub const PLAN: &str = "plan";
/// File of a pod's directory that tells what was wanted and what is held, as JSON.
pub const EXPLANATION: &str = "explanation";
/// Longest manifest that is read, bytes.
const MANIFEST_LIMIT: usize = 16 << 20;

/// A pod whose lock this process holds.
#[derive(Debug)]
pub struct Locked {
    pub(crate) root: Arc<OwnedFd>,
    pub(crate) uuid: Uuid,
    pub(crate) shelf: Shelf,
    fd: Option<OwnedFd>,
    /// Whether an unfinished pod goes when this value is dropped.
    tidy: bool,
}

/// Takes the lock; waits for those who only look (they hold it shared for microseconds).
pub(crate) fn lock(fd: BorrowedFd<'_>) -> Result<()> {
    for _ in 0..1000 {
        match rustix::fs::flock(fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_micros(100)),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e).doing(|| "lock the pod".into()),
        }
    }
    Err(Error::new(Kind::Taken, "another process holds its lock").while_doing("lock the pod"))
}

/// Whether `path` below `root` still is the directory that `fd` has open.
pub(crate) fn still_at(root: BorrowedFd<'_>, path: &str, fd: BorrowedFd<'_>) -> Result<bool> {
    let here = rustix::fs::fstat(fd)?;
    match rustix::fs::statat(root, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(there) => Ok((here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Path of a pod below the `pods` directory.
pub(crate) fn path(shelf: Shelf, uuid: Uuid) -> String {
    format!("{}/{uuid}", shelf.dir())
}

impl Locked {
    pub(crate) fn of(root: Arc<OwnedFd>, uuid: Uuid, shelf: Shelf, fd: OwnedFd) -> Self {
        Self {
            root,
            uuid,
            shelf,
            fd: Some(fd),
            tidy: false,
        }
    }

    /// Lets an unfinished pod go with this value.
    pub(crate) fn tidied(mut self) -> Self {
        self.tidy = true;
        self
    }

    /// The pod of a running supervisor, from the locked directory it has inherited.
    ///
    /// # Errors
    /// When the directory does not stand in `run/` under its UUID.
    pub fn adopt(fd: OwnedFd, uuid: Uuid) -> Result<Self> {
        let doing = || format!("find the place of pod `{uuid}`");
        let flags =
            rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        let root =
            rustix::fs::openat(&fd, "../..", flags, rustix::fs::Mode::empty()).doing(doing)?;
        if !still_at(root.as_fd(), &path(Shelf::Run, uuid), fd.as_fd()).doing(doing)? {
            return Err(
                Error::new(Kind::State, "its directory does not stand in `run`")
                    .while_doing(doing()),
            );
        }
        Ok(Self::of(Arc::new(root), uuid, Shelf::Run, fd))
    }

    /// Identity of the pod.
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// Where it stands.
    pub fn shelf(&self) -> Shelf {
        self.shelf
    }

    /// Moves it to a later shelf.
    pub(crate) fn go(&mut self, to: Shelf) -> Result<()> {
        let (from, there) = (path(self.shelf, self.uuid), path(to, self.uuid));
        rustix::fs::renameat(&*self.root, &from, &*self.root, &there)
            .doing(|| format!("move pod `{}` to `{}`", self.uuid, to.dir()))?;
        self.shelf = to;
        Ok(())
    }

    /// Marks a pod that never ran, or is not wanted any more, for removal.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub fn to_garbage(mut self) -> Result<Self> {
        self.go(Shelf::Garbage)?;
        self.tidy = false;
        Ok(self)
    }

    /// Removes the pod and its name, never following a link nor crossing a mount.
    ///
    /// The manifest goes last: what is left after a failure is still known, and gc tries
    /// again. Takes time in proportion to the files the apps have written.
    ///
    /// # Errors
    /// When something below is still mounted (`EXDEV`, `EBUSY`) or cannot be removed.
    pub fn remove(mut self) -> Result<()> {
        self.tidy = false;
        self.remove_now()
    }

    fn remove_now(&mut self) -> Result<()> {
        let doing = |uuid: Uuid| format!("remove pod `{uuid}`");
        let uuid = self.uuid;
        if !matches!(self.shelf, Shelf::Garbage | Shelf::ExitedGarbage) {
            self.go(Shelf::Garbage).doing(|| doing(uuid))?;
        }
        name::release(&self.root, self.dir()?, uuid).doing(|| doing(uuid))?;
        remove::contents(self.dir()?, Some(MANIFEST)).doing(|| doing(uuid))?;
        match rustix::fs::unlinkat(self.dir()?, MANIFEST, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e).doing(|| doing(uuid)),
        }
        rustix::fs::unlinkat(&*self.root, path(self.shelf, uuid), AtFlags::REMOVEDIR)
            .doing(|| doing(uuid))
    }

    fn dir(&self) -> Result<BorrowedFd<'_>> {
        self.fd
            .as_ref()
            .map(AsFd::as_fd)
            .ok_or_else(|| Error::new(Kind::State, "the pod's directory was given away"))
    }

    /// The locked directory, to be passed on; nothing is tidied up here any more.
    ///
    /// # Errors
    /// Never in practice: the descriptor leaves only here.
    pub fn into_fd(mut self) -> Result<OwnedFd> {
        self.tidy = false;
        self.fd
            .take()
            .ok_or_else(|| Error::new(Kind::State, "the pod's directory was given away"))
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // For accidents only, and silent: gc removes what this leaves.
        if self.tidy && self.fd.is_some() {
            let _ = self.remove_now();
        }
    }
}

/// Not locked for anybody yet; see [`PodDir`].
#[derive(Debug)]
pub enum Embryo {}
/// Being written.
#[derive(Debug)]
pub enum Prepare {}
/// Complete.
#[derive(Debug)]
pub enum Prepared {}
/// Running.
#[derive(Debug)]
pub enum Run {}

/// The road of a new pod: `Embryo -> Prepare [-> Prepared] -> Run`, locked all the way.
///
/// One that is dropped before it is prepared is removed.
#[derive(Debug)]
pub struct PodDir<S> {
    locked: Locked,
    at: PhantomData<S>,
}

impl<S> PodDir<S> {
    pub(crate) fn of(locked: Locked) -> Self {
        Self {
            locked,
            at: PhantomData,
        }
    }

    fn step<T>(mut self, to: Shelf) -> Result<PodDir<T>> {
        self.locked.go(to)?;
        self.locked.tidy = to == Shelf::Prepare;
        Ok(PodDir::of(self.locked))
    }

    /// Identity of the pod.
    pub fn uuid(&self) -> Uuid {
        self.locked.uuid
    }

    /// Its directory.
    ///
    /// # Errors
    /// Never in practice: the descriptor leaves only by [`PodDir::into_fd`].
    pub fn fd(&self) -> Result<BorrowedFd<'_>> {
        self.locked.dir()
    }

    /// Removes the pod, whatever was done: the planned way back of a failed start.
    ///
    /// # Errors
    /// As [`Locked::remove`].
    pub fn discard(self) -> Result<()> {
        self.locked.remove()
    }
}

impl PodDir<Embryo> {
    /// To be written now.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub fn to_prepare(self) -> Result<PodDir<Prepare>> {
        self.step(Shelf::Prepare)
    }
}

impl PodDir<Prepare> {
    /// Writes the manifest.
    ///
    /// # Errors
    /// When the disk is full, for example.
    pub fn write_manifest(&self, json: &[u8]) -> Result<()> {
        file::replace(self.fd()?, MANIFEST, json)
    }

    /// Takes the pod's name; one that an ended pod has is taken over.
    ///
    /// # Errors
    /// [`Kind::Taken`] when a pod that is being made, is prepared or runs has it.
    pub fn claim_name(&self, name: &PodName) -> Result<()> {
        name::claim(&self.locked.root, self.fd()?, name, self.locked.uuid)
    }

    /// Complete, to be run later.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub fn to_prepared(self) -> Result<PodDir<Prepared>> {
        self.step(Shelf::Prepared)
    }

    /// Complete, and run at once by this same process.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub fn to_run(self) -> Result<PodDir<Run>> {
        self.step(Shelf::Run)
    }
}

impl PodDir<Prepared> {
    /// To be run now.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub fn to_run(self) -> Result<PodDir<Run>> {
        self.step(Shelf::Run)
    }
}

impl PodDir<Run> {
    /// The locked directory, for stage1 (`Plan::lock_fd`). It is close-on-exec.
    ///
    /// # Errors
    /// Never in practice.
    pub fn into_fd(self) -> Result<OwnedFd> {
        self.locked.into_fd()
    }
}

/// Reads the manifest of a pod; `None` when it has not been written.
///
/// # Errors
/// When it cannot be read or has more than 16 MiB.
pub fn manifest(pod_dir: BorrowedFd<'_>) -> Result<Option<Vec<u8>>> {
    file::read(pod_dir, MANIFEST, MANIFEST_LIMIT)
}

/// Reads the plan that a pod was started by, encoded; `None` when it has not been written.
///
/// # Errors
/// When it cannot be read or has more than 16 MiB.
pub fn plan(pod_dir: BorrowedFd<'_>) -> Result<Option<Vec<u8>>> {
    file::read(pod_dir, PLAN, MANIFEST_LIMIT)
}

/// The explanation of a pod; `None` when it is not there.
///
/// # Errors
/// When it cannot be read or has more than 16 MiB.
pub fn explanation(pod_dir: BorrowedFd<'_>) -> Result<Option<Vec<u8>>> {
    file::read(pod_dir, EXPLANATION, MANIFEST_LIMIT)
}
