//! Names of the pods on a network, for those who share it.
//!
//! ```text
//! RUN-DIR/net/NETWORK/names/UUID    a pod's addresses and names, as lines of /etc/hosts
//! ```
//!
//! A file is locked for as long as the pod's supervisor lives: one without a lock is a dead pod's
//! and counts for nothing. Supervisors watch the directory; that a file is closed by whoever had
//! it open tells them of a death too. The files are written and removed under the network's lock,
//! and appear complete, by a rename. Only rkt writes there: no byte of it is an app's.

mod text;

use crate::error::{Doing, Error};
use crate::ipam::{DIR, Ledger};
use rkt_spec::{NetworkName, Uuid};
use rkt_sys::lock;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use text::{Known, Told};
pub use text::{MAX_BYTES, can_be_told};

/// Name of the directory in that of a network.
const NAMES: &str = "names";
/// Longest file of a pod that is read, bytes.
const MAX_FILE: usize = 4096;
/// Most pods of a network that are known to one of them.
const MAX_PODS: usize = 1024;

/// A pod as others on its networks are to find it.
#[derive(Debug)]
pub struct Card<'a> {
    /// The pod.
    pub uuid: Uuid,
    /// What it is called; those that cannot be told ([`can_be_told`]) are left out.
    pub names: Vec<&'a str>,
    /// The networks on which it is told, with its addresses there.
    pub networks: Vec<(&'a NetworkName, Vec<IpAddr>)>,
}

/// A pod's place among those who share its networks. What it told is taken back when this is
/// dropped, and counts for nothing when its process is killed.
#[derive(Debug)]
pub struct Names {
    rooms: Vec<Room>,
    /// `None` when the kernel gives no more watches: then time has to tell.
    watch: Option<OwnedFd>,
    own: Uuid,
    known: Known,
}

/// One network.
#[derive(Debug)]
struct Room {
    dir: OwnedFd,
    /// Number of the watch; -1 without one.
    watch: i32,
    /// The own file, locked.
    _own: OwnedFd,
    name: String,
    /// Others and the pod itself, in the order in which they were seen.
    pods: Vec<(Uuid, Told)>,
    /// When the directory was last changed, as far as that was looked at.
    changed: Option<(i64, i64)>,
}

impl Drop for Room {
    fn drop(&mut self) {
        // What stays is not locked any more, and the next sweep has it.
        let _ = rustix::fs::unlinkat(&self.dir, self.name.as_str(), AtFlags::empty());
    }
}

impl Names {
    /// Tells of a pod, and looks who else is there. `hosts` is the content of the `/etc/hosts` that
    /// names are added to: what it has, no other pod can be called.
    ///
    /// # Errors
    /// When the directories or files cannot be made.
    pub fn join(run_dir: &Path, card: &Card<'_>, hosts: &[u8]) -> Result<Self, Error> {
        let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
        let mut names = Self {
            rooms: Vec::new(),
            watch: inotify::init(flags).ok(),
            own: card.uuid,
            known: Known::new(hosts, &card.names),
        };
        for (network, addresses) in &card.networks {
            let room = names.enter(run_dir, network, card, addresses);
            let room = room.doing(|| format!("tell the pod's name on the network `{network}`"))?;
            names.rooms.push(room);
        }
        for room in &mut names.rooms {
            room.look_at_all(card.uuid)?;
        }
        Ok(names)
    }

    fn enter(
        &self,
        run_dir: &Path,
        network: &NetworkName,
        card: &Card<'_>,
        addresses: &[IpAddr],
    ) -> Result<Room, Error> {
        let ledger = Ledger::open(run_dir, network)?;
        let (dir, path) = open(run_dir, network)?;
        // Watched before it is read: nobody is missed in between.
        let events = WatchFlags::MOVED_TO | WatchFlags::DELETE | WatchFlags::CLOSE_WRITE;
        let watch = self.watch.as_ref().and_then(|watch| {
            let only = WatchFlags::ONLYDIR | WatchFlags::DONT_FOLLOW;
            inotify::add_watch(watch, path.as_path(), events | only).ok()
        });
        let name = card.uuid.to_string();
        let hidden = format!(".{name}");
        let text = Told::of(addresses, &card.names).text();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let held = ledger.hold()?;
        let own = rustix::fs::openat(&dir, hidden.as_str(), flags, Mode::RUSR | Mode::WUSR)?;
        let told = lock::try_lock(own.as_fd(), 0, 1)
            .and_then(|()| rustix::io::pwrite(&own, text.as_bytes(), 0))
            .and_then(|_| rustix::fs::renameat(&dir, hidden.as_str(), &dir, name.as_str()));
        if let Err(error) = told {
            let _ = rustix::fs::unlinkat(&dir, hidden.as_str(), AtFlags::empty());
            return Err(error.into());
        }
        drop(held);
        Ok(Room {
            dir,
            watch: watch.unwrap_or(-1),
            _own: own,
            name,
            pods: Vec::new(),
            changed: None,
        })
    }

    /// What to wait for, when it can be read something has changed; `None` when [`Names::look`] has
    /// to be called from time to time.
    pub fn watch(&self) -> Option<BorrowedFd<'_>> {
        let all = self.rooms.iter().all(|room| room.watch >= 0);
        self.watch.as_ref().filter(|_| all).map(AsFd::as_fd)
    }

    /// Looks at what has changed.
    ///
    /// # Errors
    /// When a directory cannot be read; what was known stays.
    pub fn look(&mut self) -> Result<(), Error> {
        let (changed, lost) = self.events();
        for room in &mut self.rooms {
            if lost {
                room.look_at_all(self.own)?;
            } else if room.watch < 0 {
                room.look_when_changed(self.own)?;
            }
            for (watch, pod) in &changed {
                if *watch == room.watch {
                    room.look_at(*pod);
                }
            }
        }
        Ok(())
    }

    /// Files that something happened to, by watch; and whether some may be missing.
    fn events(&self) -> (BTreeSet<(i32, Uuid)>, bool) {
        let mut changed = BTreeSet::new();
        let Some(watch) = &self.watch else {
            return (changed, false);
        };
        let mut lost = false;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(watch, &mut buffer);
        // Ends with EAGAIN; another error would come again at once.
        while let Ok(event) = reader.next() {
            lost |= event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            if let Some(pod) = event.file_name().and_then(|n| pod_of(n.to_str().ok()?)) {
                changed.insert((event.wd(), pod));
            }
        }
        (changed, lost)
    }

    /// The lines for `/etc/hosts`, at most [`MAX_BYTES`]: what the networks' pods are called.
    pub fn lines(&self) -> Vec<u8> {
        let rooms = self.rooms.iter().map(|room| room.pods.as_slice());
        self.known.lines(self.own, rooms)
    }
}

impl Room {
    /// Reads the directory, when it is not as it was.
    fn look_when_changed(&mut self, own: Uuid) -> Result<(), Error> {
        let changed = self.when_changed()?;
        match changed.is_some() && changed == self.changed {
            true => Ok(()),
            false => self.look_at_all(own),
        }
    }

    /// Time of the last change, seconds and nanoseconds; `None` when it is so young that the next
    /// one could have the same.
    fn when_changed(&self) -> Result<Option<(i64, i64)>, Error> {
        let stat = rustix::fs::fstat(&self.dir).doing(doing_list)?;
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        let young = (0..2).contains(&(now.tv_sec - stat.st_mtime));
        let nanos = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
        Ok((!young).then_some((stat.st_mtime, nanos)))
    }

    fn look_at_all(&mut self, own: Uuid) -> Result<(), Error> {
        let changed = self.when_changed()?;
        let there: BTreeSet<Uuid> = list(&self.dir)?.iter().filter_map(|n| pod_of(n)).collect();
        self.pods.retain(|(pod, _)| there.contains(pod));
        // Its own file is the one that must be known, however many there are.
        self.look_at(own);
        for pod in there {
            self.look_at(pod);
        }
        self.changed = changed;
        Ok(())
    }

    fn look_at(&mut self, pod: Uuid) {
        let told = read(&self.dir, &pod.to_string());
        let at = self.pods.iter().position(|(known, _)| *known == pod);
        match (told, at) {
            (Some(told), Some(at)) => {
                if let Some(known) = self.pods.get_mut(at) {
                    known.1 = told;
                }
            }
            (Some(told), None) if self.pods.len() < MAX_PODS => self.pods.push((pod, told)),
            (None, Some(at)) => {
                self.pods.remove(at);
            }
            (Some(_) | None, None) => {}
        }
    }
}

/// Removes what dead pods told on a network.
///
/// # Errors
/// When the directory cannot be read or changed.
pub fn sweep(run_dir: &Path, network: &NetworkName) -> Result<(), Error> {
    let doing = || format!("remove the names of dead pods on the network `{network}`");
    let path = run_dir.join(DIR).join(network.as_str()).join(NAMES);
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let dir = match rustix::fs::open(&path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        other => other.doing(doing)?,
    };
    let ledger = Ledger::open(run_dir, network)?;
    // Nobody is between making a file and locking it.
    let _held = ledger.hold()?;
    for name in list(&dir)? {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let Ok(file) = rustix::fs::openat(&dir, name.as_str(), flags, Mode::empty()) else {
            continue;
        };
        if lock::is_locked(file.as_fd(), 0, 1) == Ok(false) {
            rustix::fs::unlinkat(&dir, name.as_str(), AtFlags::empty()).doing(doing)?;
        }
    }
    Ok(())
}

/// The directory of a network, made when it is not there, and its path.
fn open(run_dir: &Path, network: &NetworkName) -> Result<(OwnedFd, std::path::PathBuf), Error> {
    let path = run_dir.join(DIR).join(network.as_str()).join(NAMES);
    let doing = || format!("open the directory `{}`", path.display());
    let mut builder = std::fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(&path)
        .doing(doing)?;
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let dir = rustix::fs::open(&path, flags, Mode::empty()).doing(doing)?;
    Ok((dir, path))
}

fn doing_list() -> String {
    "list the names of the network's pods".to_owned()
}

fn list(dir: &OwnedFd) -> Result<Vec<String>, Error> {
    let dir = rustix::fs::Dir::read_from(dir).doing(doing_list)?;
    let names = dir.filter_map(|e| Some(e.ok()?.file_name().to_str().ok()?.to_owned()));
    Ok(names.filter(|n| n != "." && n != "..").collect())
}

/// The pod whose file has this name; files that are being made belong to none yet.
fn pod_of(name: &str) -> Option<Uuid> {
    Uuid::new(name).ok().filter(|pod| pod.to_string() == name)
}

/// What a living pod tells.
fn read(dir: &OwnedFd, name: &str) -> Option<Told> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = rustix::fs::openat(dir, name, flags, Mode::empty()).ok()?;
    // Asked by another open file than the owner's, so the own one counts as locked too.
    if lock::is_locked(file.as_fd(), 0, 1) != Ok(true) {
        return None;
    }
    let mut bytes = [0u8; MAX_FILE];
    let n = rustix::io::pread(&file, &mut bytes, 0).ok()?;
    Told::read(bytes.get(..n).unwrap_or(&[]))
}

#[cfg(test)]
mod tests;
