//! Names of pods: `pods/names/NAME`, a link that holds a UUID and leads nowhere.
//!
//! Claims and releases happen under a lock on the directory, held for microseconds and
//! only by pods that have a name. A name belongs to whom the link says; the `name` link in a
//! pod's own directory only remembers which one to give back.

use crate::error::{Doing, Error, Kind};
use crate::pods::{entries, look_up};
use crate::shelf::{Shelf, State};
use crate::{Result, file};
use rkt_spec::{PodName, Uuid};
use rustix::fs::{AtFlags, FlockOperation, Mode};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// The directory of names.
pub(crate) const NAMES: &str = "names";
/// A pod's own note of its name.
const NOTE: &str = "name";

/// Opens the directory of names and locks it until the descriptor is dropped.
fn locked(root: BorrowedFd<'_>) -> Result<OwnedFd> {
    let doing = || "lock the names of pods".to_owned();
    let dir = match file::open_dir(root, NAMES) {
        Err(Errno::NOENT) => {
            match rustix::fs::mkdirat(root, NAMES, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e).doing(doing),
            }
            file::open_dir(root, NAMES).doing(doing)?
        }
        dir => dir.doing(doing)?,
    };
    // Bounded: a process that was stopped with the lock in hand must not stop all others.
    for _ in 0..5000 {
        match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(dir),
            Err(Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(1)),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e).doing(doing),
        }
    }
    Err(Error::new(Kind::Taken, "another process has held it for 5 s").while_doing(doing()))
}

fn link(dir: BorrowedFd<'_>, name: &str) -> Result<Option<String>> {
    match rustix::fs::readlinkat(dir, name, Vec::new()) {
        Ok(text) => Ok(text.into_string().ok()),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e).doing(|| format!("read the name `{name}`")),
    }
}

/// Whose a name is.
pub(crate) fn holder(root: BorrowedFd<'_>, name: &PodName) -> Result<Option<Uuid>> {
    let text = link(root, &format!("{NAMES}/{name}"))?;
    Ok(text.and_then(|text| Uuid::new(&text).ok()))
}

/// All names.
pub(crate) fn all(root: BorrowedFd<'_>) -> Result<BTreeMap<PodName, Uuid>> {
    let doing = || "list the names of pods".to_owned();
    let dir = match file::open_dir(root, NAMES) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(BTreeMap::new()),
        Err(e) => return Err(e).doing(doing),
    };
    let mut names = BTreeMap::new();
    for text in entries(dir.as_fd()).doing(doing)? {
        if let Ok(name) = PodName::new(text)
            && let Some(target) = link(dir.as_fd(), name.as_str())?
            && let Ok(uuid) = Uuid::new(&target)
        {
            names.insert(name, uuid);
        }
    }
    Ok(names)
}

/// Gives `name` to the pod `uuid`, whose lock the caller holds.
pub(crate) fn claim(
    root: &Arc<OwnedFd>,
    pod_dir: BorrowedFd<'_>,
    name: &PodName,
    uuid: Uuid,
) -> Result<()> {
    let doing = || format!("take the pod name `{name}`");
    let names = locked(root.as_fd()).doing(doing)?;
    let held = link(names.as_fd(), name.as_str()).doing(doing)?;
    if let Some(other) = held.as_deref().and_then(|text| Uuid::new(text).ok())
        && other != uuid
        && let Some(pod) = look_up(root, other, Shelf::Embryo).doing(doing)?
        && matters(pod.state())
    {
        return Err(Error::new(
            Kind::Taken,
            format!("pod `{other}` has it and is {}", pod.state().as_str()),
        )
        .while_doing(doing())
        .with_hint(format!(
            "stop it with `rkt stop {name}`, or choose another name"
        )));
    }
    // The note first: a pod that dies between the two gives back nothing it never had.
    match rustix::fs::symlinkat(name.as_str(), pod_dir, NOTE) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e).doing(doing),
    }
    let fresh = format!(".{uuid}");
    match rustix::fs::unlinkat(&names, &fresh, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(e).doing(doing),
    }
    rustix::fs::symlinkat(uuid.to_string(), &names, &fresh).doing(doing)?;
    rustix::fs::renameat(&names, &fresh, &names, name.as_str()).doing(doing)
}

/// Whether a pod in this state keeps its name from others.
fn matters(state: State) -> bool {
    matches!(
        state,
        State::Embryo | State::Preparing | State::Prepared | State::Running
    )
}

/// Gives back the name of a pod that is being removed, if it still has it.
pub(crate) fn release(root: &Arc<OwnedFd>, pod_dir: BorrowedFd<'_>, uuid: Uuid) -> Result<()> {
    let Some(name) = link(pod_dir, NOTE)?.and_then(|text| PodName::new(text).ok()) else {
        return Ok(());
    };
    let doing = || format!("give back the pod name `{name}`");
    let names = locked(root.as_fd()).doing(doing)?;
    let mine = link(names.as_fd(), name.as_str()).doing(doing)?;
    if mine.is_some_and(|text| Uuid::new(&text) == Ok(uuid)) {
        rustix::fs::unlinkat(&names, name.as_str(), AtFlags::empty()).doing(doing)?;
    }
    Ok(())
}
