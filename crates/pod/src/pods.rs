//! All pods of a data directory: making one, looking one up, listing.

use crate::dir::{Embryo, Locked, PodDir, lock, path, still_at};
use crate::error::{Doing, Error, Kind};
use crate::shelf::{Lock, Shelf, State};
use crate::{Result, file, name};
use rkt_spec::{PodName, Uuid};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RawDir};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// How often an operation that lost a race against a move is tried again.
const TRIES: usize = 16;

/// The `pods` directory.
#[derive(Debug)]
pub struct Pods {
    /// `None` when nothing was ever run.
    root: Option<Arc<OwnedFd>>,
}

/// A pod that was looked up. Its facts are those of that moment.
#[derive(Debug)]
pub struct Pod {
    root: Arc<OwnedFd>,
    uuid: Uuid,
    shelf: Shelf,
    lock: Lock,
    fd: OwnedFd,
}

impl Pods {
    /// Opens the pods of a data directory to look at them; there may be none yet.
    ///
    /// # Errors
    /// [`Kind::Refused`] when the caller may not: everything is the owner's only.
    pub fn open(data_dir: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(data_dir.join("pods"), flags, Mode::empty()) {
            Ok(fd) => Ok(Self {
                root: Some(Arc::new(fd)),
            }),
            Err(Errno::NOENT) => Ok(Self { root: None }),
            Err(e) => Err(e).doing(|| format!("open the pods of `{}`", data_dir.display())),
        }
    }

    /// Opens the pods of a data directory to make one; makes the directory when needed.
    ///
    /// # Errors
    /// When it belongs to somebody else or others may write to it.
    pub fn make(data_dir: &Path) -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let pods = Self::open(data_dir)?;
        let pods = if pods.root.is_some() {
            pods
        } else {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(data_dir.join("pods"))
                .doing(|| format!("make `{}`", data_dir.display()))?;
            Self::open(data_dir)?
        };
        let stat = rustix::fs::fstat(pods.root()?)?;
        if stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_mode & 0o022 != 0 {
            return Err(Error::new(
                Kind::Refused,
                "it belongs to another user, or others may write to it",
            )
            .while_doing(format!("use `{}`", data_dir.join("pods").display())));
        }
        Ok(pods)
    }

    fn root(&self) -> Result<&Arc<OwnedFd>> {
        self.root
            .as_ref()
            .ok_or_else(|| Error::new(Kind::NotFound, "there are no pods yet"))
    }

    /// Makes the directory of a new pod and locks it.
    ///
    /// # Errors
    /// [`Kind::Taken`] when the UUID is in use.
    pub fn create(&self, uuid: Uuid) -> Result<PodDir<Embryo>> {
        let doing = || format!("make the directory of pod `{uuid}`");
        let root = self.root().doing(doing)?;
        let place = path(Shelf::Embryo, uuid);
        for _ in 0..TRIES {
            match rustix::fs::mkdirat(root, &place, Mode::RWXU) {
                Ok(()) => {}
                Err(Errno::NOENT) => {
                    make_shelves(root.as_fd()).doing(doing)?;
                    continue;
                }
                Err(Errno::EXIST) => {
                    return Err(Error::new(Kind::Taken, "a pod has this UUID").while_doing(doing()));
                }
                Err(e) => return Err(e).doing(doing),
            }
            let fd = match file::open_dir(root.as_fd(), &place) {
                Err(Errno::NOENT) => continue,
                fd => fd.doing(doing)?,
            };
            lock(fd.as_fd()).doing(doing)?;
            // gc takes unlocked embryos away: between mkdir and flock it may have had ours.
            if still_at(root.as_fd(), &place, fd.as_fd()).doing(doing)? {
                let locked = Locked::of(Arc::clone(root), uuid, Shelf::Embryo, fd);
                return Ok(PodDir::of(locked.tidied()));
            }
        }
        Err(Error::new(Kind::Taken, "it is taken away again and again").while_doing(doing()))
    }

    /// Every pod's UUID with the shelf it stood on, in no order.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn uuids(&self) -> Result<Vec<(Uuid, Shelf)>> {
        let Some(root) = &self.root else {
            return Ok(Vec::new());
        };
        let mut found = BTreeMap::new();
        for shelf in Shelf::ALL {
            let dir = match file::open_dir(root.as_fd(), shelf.dir()) {
                Ok(dir) => dir,
                Err(Errno::NOENT) => continue,
                Err(e) => return Err(e).doing(|| format!("list `{}`", shelf.dir())),
            };
            for name in entries(dir.as_fd()).doing(|| format!("list `{}`", shelf.dir()))? {
                // A pod that moves while we read is seen twice: the later shelf is right.
                if let Ok(uuid) = Uuid::new(&name)
                    && uuid.to_string() == name
                {
                    found.insert(uuid, shelf);
                }
            }
        }
        Ok(found.into_iter().collect())
    }

    /// Looks a pod up; `None` when there is no such pod (any more).
    ///
    /// # Errors
    /// When a directory cannot be opened.
    pub fn get(&self, uuid: Uuid) -> Result<Option<Pod>> {
        self.get_from(uuid, Shelf::Embryo)
    }

    /// As [`Pods::get`], for a pod that has come at least as far as `shelf`.
    ///
    /// # Errors
    /// When a directory cannot be opened.
    pub fn get_from(&self, uuid: Uuid, shelf: Shelf) -> Result<Option<Pod>> {
        match &self.root {
            Some(root) => look_up(root, uuid, shelf),
            None => Ok(None),
        }
    }

    /// The pod that `text` means: a UUID, a pod's name, or a prefix that only one UUID has.
    ///
    /// Only a prefix costs a look at all pods.
    ///
    /// # Errors
    /// [`Kind::NotFound`] or [`Kind::Ambiguous`], in the original's words.
    pub fn find(&self, text: &str) -> Result<Pod> {
        if text.is_empty() {
            return Err(Error::new(Kind::NotFound, "UUID cannot be empty"));
        }
        let none = || {
            Error::new(
                Kind::NotFound,
                format!("no matches found for \"{}\"", text.escape_debug()),
            )
        };
        if let Ok(uuid) = Uuid::new(text) {
            return self.get(uuid)?.ok_or_else(none);
        }
        if let (Some(root), Ok(name)) = (&self.root, PodName::new(text))
            && let Some(uuid) = name::holder(root.as_fd(), &name)?
            && let Some(pod) = self.get(uuid)?
        {
            return Ok(pod);
        }
        let prefix = text.to_ascii_lowercase();
        let uuids = self.uuids()?;
        let mut matching = uuids
            .iter()
            .filter(|(u, _)| u.to_string().starts_with(&prefix));
        match (matching.next(), matching.count()) {
            (None, _) => Err(none()),
            (Some((uuid, _)), 0) => self.get(*uuid)?.ok_or_else(none),
            (Some(_), more) => Err(Error::new(
                Kind::Ambiguous,
                format!("ambiguous uuid, {} matches", more + 1),
            )),
        }
    }

    /// All names and whose they are.
    ///
    /// # Errors
    /// When the directory of names cannot be read.
    pub fn names(&self) -> Result<BTreeMap<PodName, Uuid>> {
        match &self.root {
            Some(root) => name::all(root.as_fd()),
            None => Ok(BTreeMap::new()),
        }
    }
}

impl Pod {
    /// Identity of the pod.
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// Where it stood.
    pub fn shelf(&self) -> Shelf {
        self.shelf
    }

    /// Its state when it was looked up.
    pub fn state(&self) -> State {
        State::of(self.shelf, self.lock)
    }

    /// Whether somebody holds the lock now.
    ///
    /// # Errors
    /// When the kernel has no room for a lock.
    pub fn is_locked(&self) -> Result<bool> {
        Ok(probe(self.fd.as_fd())? == Lock::Held)
    }

    /// The manifest, JSON; `None` when it has not been written.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn manifest(&self) -> Result<Option<Vec<u8>>> {
        crate::dir::manifest(self.fd.as_fd())
    }

    /// The plan that it was started by, encoded; `None` when it has not been written.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn plan(&self) -> Result<Option<Vec<u8>>> {
        crate::dir::plan(self.fd.as_fd())
    }

    /// What was decided of it, as JSON; `None` when it has not been written.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn explanation(&self) -> Result<Option<Vec<u8>>> {
        crate::dir::explanation(self.fd.as_fd())
    }

    /// Refused system calls of its traced apps, and how many more there were; `None` when nothing
    /// was noted.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn denials(&self) -> Result<Option<(Vec<crate::denials::Denial>, u64)>> {
        crate::denials::read(self.fd.as_fd())
    }

    /// When the pod was made: nanoseconds since 1970; `None` before there is a manifest.
    pub fn created(&self) -> Option<u64> {
        let stat = rustix::fs::statat(&self.fd, crate::dir::MANIFEST, AtFlags::SYMLINK_NOFOLLOW);
        stat.ok()
            .and_then(|s| crate::time::of(s.st_mtime, s.st_mtime_nsec))
    }

    /// When the pod was moved to its shelf or last changed there: nanoseconds since 1970.
    ///
    /// # Errors
    /// When the directory cannot be asked.
    pub fn changed(&self) -> Result<u64> {
        let stat = rustix::fs::fstat(&self.fd)?;
        Ok(crate::time::of(stat.st_ctime, stat.st_ctime_nsec).unwrap_or(0))
    }

    /// Sets aside a pod that has ended, or whose preparation was aborted; others stay.
    /// Whether it was set aside, by this call.
    ///
    /// Done without the lock, so that nobody ever takes a dead pod for one that runs or is being
    /// prepared: on those two shelves only its owner holds it, and never again once it has let go.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub fn set_aside(&mut self) -> Result<bool> {
        let to = match self.shelf {
            Shelf::Run => Shelf::ExitedGarbage,
            Shelf::Prepare => Shelf::Garbage,
            _ => return Ok(false),
        };
        let doing = |uuid: Uuid| format!("set aside pod `{uuid}`");
        if probe(self.fd.as_fd()).doing(|| doing(self.uuid))? == Lock::Held {
            return Ok(false);
        }
        let (from, there) = (path(self.shelf, self.uuid), path(to, self.uuid));
        match rustix::fs::renameat(&*self.root, from, &*self.root, there) {
            Ok(()) => {
                self.shelf = to;
                Ok(true)
            }
            // Somebody else did, or its owner moved it on between the look and now.
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(e).doing(|| doing(self.uuid)),
        }
    }

    /// Takes the pod over to remove it, wherever it stands by now; one that has ended is set
    /// aside first.
    ///
    /// # Errors
    /// [`Kind::Taken`] when somebody holds it, [`Kind::NotFound`] when it is gone.
    pub fn lock(self) -> Result<Locked> {
        let doing = |uuid: Uuid| format!("take over pod `{uuid}`");
        let uuid = self.uuid;
        let mut pod = self;
        for _ in 0..TRIES {
            pod.set_aside().doing(|| doing(uuid))?;
            if matches!(pod.shelf, Shelf::Run | Shelf::Prepare) {
                if probe(pod.fd.as_fd()).doing(|| doing(uuid))? == Lock::Held {
                    return Err(Error::new(Kind::Taken, "its owner lives").while_doing(doing(uuid)));
                }
            } else {
                lock(pod.fd.as_fd()).doing(|| doing(uuid))?;
                let place = path(pod.shelf, uuid);
                if still_at(pod.root.as_fd(), &place, pod.fd.as_fd()).doing(|| doing(uuid))? {
                    return Ok(Locked::of(pod.root, uuid, pod.shelf, pod.fd));
                }
            }
            let root = Arc::clone(&pod.root);
            // Ours would count as a holder when the pod is looked up again.
            drop(pod);
            pod = look_up(&root, uuid, Shelf::Embryo)?.ok_or_else(|| {
                Error::new(Kind::NotFound, "the pod is gone").while_doing(doing(uuid))
            })?;
        }
        Err(Error::new(Kind::Taken, "it moves again and again").while_doing(doing(uuid)))
    }
}

impl AsFd for Pod {
    /// The pod's directory.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

pub(crate) fn look_up(root: &Arc<OwnedFd>, uuid: Uuid, from: Shelf) -> Result<Option<Pod>> {
    let doing = || format!("look up pod `{uuid}`");
    'again: for _ in 0..TRIES {
        for shelf in Shelf::ALL.into_iter().filter(|s| *s >= from) {
            let place = path(shelf, uuid);
            let fd = match file::open_dir(root.as_fd(), &place) {
                Ok(fd) => fd,
                Err(Errno::NOENT) => continue,
                Err(e) => return Err(e).doing(doing),
            };
            let lock = probe(fd.as_fd()).doing(doing)?;
            // Moved in between: the two facts would not belong together. A dead pod is set aside
            // and then locked by its remover, and must not look as if it ran.
            if !still_at(root.as_fd(), &place, fd.as_fd()).doing(doing)? {
                continue 'again;
            }
            return Ok(Some(Pod {
                root: Arc::clone(root),
                uuid,
                shelf,
                lock,
                fd,
            }));
        }
        return Ok(None);
    }
    Err(Error::new(Kind::Taken, "it moves again and again").while_doing(doing()))
}

/// Asks for the lock shared, and lets it go at once.
fn probe(fd: BorrowedFd<'_>) -> Result<Lock> {
    match rustix::fs::flock(fd, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            rustix::fs::flock(fd, FlockOperation::NonBlockingUnlock)?;
            Ok(Lock::Free)
        }
        Err(Errno::WOULDBLOCK) => Ok(Lock::Held),
        Err(e) => Err(e).doing(|| "ask for the pod's lock".into()),
    }
}

fn make_shelves(root: BorrowedFd<'_>) -> Result<()> {
    let names = Shelf::ALL.iter().map(|s| s.dir()).chain([name::NAMES]);
    for dir in names {
        match rustix::fs::mkdirat(root, dir, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e).doing(|| format!("make `{dir}`")),
        }
    }
    Ok(())
}

/// The names in a directory that are UTF-8; nothing else is ours.
pub(crate) fn entries(dir: BorrowedFd<'_>) -> Result<Vec<String>> {
    let mut buffer = [MaybeUninit::<u8>::uninit(); 8192];
    let mut names = Vec::new();
    let mut reader = RawDir::new(dir, &mut buffer);
    while let Some(entry) = reader.next() {
        let entry = entry?;
        if let Ok(name) = entry.file_name().to_str()
            && name != "."
            && name != ".."
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
