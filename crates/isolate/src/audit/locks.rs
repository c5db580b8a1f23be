//! Whether an app's mounts are locked: tried in a copy of its mount namespace that nobody else
//! sees and that ends with the child that made it.
//!
//! The child has every capability of the app's user namespace and none over the host, no Landlock
//! domain and no filter: what it is refused, the locks alone refuse.

use super::compare::{Finding, Group};
use super::facts::{Facts, Mount};
use crate::attempt::attempt;
use crate::error::{Doing, Error};
use rkt_sys::mount::{Change, attr, set_attr};
use rkt_sys::ns;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags as Propagation, UnmountFlags};
use std::collections::{BTreeMap, BTreeSet};

/// Findings that are told of one app; one is too many.
const MOST: usize = 60;
/// Flags that a mount may have, and that must not go.
const FLAGS: [(&str, u64, MountFlags); 4] = [
    ("ro", attr::RDONLY, MountFlags::RDONLY),
    ("nosuid", attr::NOSUID, MountFlags::NOSUID),
    ("nodev", attr::NODEV, MountFlags::NODEV),
    ("noexec", attr::NOEXEC, MountFlags::NOEXEC),
];
/// Where a directory would be moved to: every app has it.
const AWAY: &str = "/dev/shm";

/// Tries to change, move and take away each mount of the app of this process. Empty when the
/// process has ended meanwhile.
///
/// # Errors
/// When the copy cannot be made; then nothing was tried.
pub(super) fn tried(first: &Facts) -> Result<Vec<Finding>, Error> {
    let (Some(mounts), Some(users)) = (namespace(first, "mnt")?, namespace(first, "user")?) else {
        return Ok(Vec::new());
    };
    // What lies below another mount of the same place cannot be reached.
    let places: BTreeSet<&str> = first.mounts.iter().map(|m| m.path.as_str()).collect();
    let top = |path: &&str| first.mounts.iter().rfind(|m| m.path == **path);
    let top: Vec<&Mount> = places.iter().filter_map(top).collect();
    let text = attempt(|| {
        copy(&mounts, &users)?;
        let mut told: BTreeMap<&str, String> = top
            .iter()
            .filter_map(|m| loosened(m).map(|what| (m.path.as_str(), what)))
            .collect();
        // Children first, so that a parent is not kept by them.
        for mount in top.iter().rev() {
            if let Some(what) = moved(mount) {
                told.entry(&mount.path).or_insert(what);
            }
        }
        let lines = told.iter().take(MOST).map(|(p, w)| format!("{p}\t{w}\n"));
        Ok(lines.collect())
    });
    let text = text.doing(|| format!("copy the mounts of process {}", first.pid))?;
    let finding = |line: &str| {
        let (path, what) = line.split_once('\t')?;
        Some(Finding {
            group: Group::Mounts,
            field: format!("lock {path}"),
            wanted: "refused".into(),
            found: what.into(),
        })
    };
    Ok(text.lines().filter_map(finding).collect())
}

/// A namespace of the process, if it is still that process.
pub(super) fn namespace(facts: &Facts, name: &str) -> Result<Option<OwnedFd>, Error> {
    let path = format!("/proc/{}/ns/{name}", facts.pid);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    match rustix::fs::openat(CWD, &path, flags, Mode::empty()) {
        Ok(fd) => {
            let now = rustix::fs::fstat(&fd).doing(|| format!("look at `{path}`"))?;
            Ok(facts
                .namespaces
                .get(name)
                .is_some_and(|inode| *inode == now.st_ino)
                .then_some(fd))
        }
        Err(Errno::NOENT | Errno::SRCH | Errno::ACCESS) => Ok(None),
        Err(errno) => Err(errno).doing(|| format!("open `{path}`")),
    }
}

/// Goes into a copy of the app's mounts, with the app's user namespace and all its capabilities.
/// Nothing that happens there reaches the app: that is made sure of first.
fn copy(mounts: &OwnedFd, users: &OwnedFd) -> Result<(), Error> {
    let doing = || "enter a copy of the app's mounts".to_owned();
    ns::enter(mounts.as_fd(), ns::kind::MOUNT).doing(doing)?;
    match ns::enter(users.as_fd(), ns::kind::USER) {
        // The app is in the host's own: whoever is there may do what we may.
        Err(e) if e.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {}
        other => other.doing(doing)?,
    }
    ns::unshare(ns::kind::MOUNT).doing(doing)?;
    let private = Propagation::PRIVATE | Propagation::REC;
    rustix::mount::mount_change("/", private).doing(doing)
}

/// Tries to take each flag from a mount, the old way and the new; tells of the first that goes.
fn loosened(mount: &Mount) -> Option<String> {
    let path = mount.path.as_str();
    let has = |name: &str| mount.options.iter().any(|o| o == name);
    let held: Vec<_> = FLAGS.into_iter().filter(|(name, ..)| has(name)).collect();
    let old = held
        .iter()
        .fold(MountFlags::BIND, |all, (.., bit)| all | *bit);
    let open = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, path, open, Mode::empty()).ok();
    held.iter().find_map(|(name, new, bit)| {
        if rustix::mount::mount_remount(path, old - *bit, c"").is_ok() {
            return Some(format!("remounted without {name}"));
        }
        let change = Change {
            clear: *new,
            ..Change::default()
        };
        let changed = set_attr(fd.as_ref()?.as_fd(), &change).is_ok();
        changed.then(|| format!("mount_setattr took {name} away"))
    })
}

/// Tries to move a mount elsewhere and to take it away. Not the root: who takes that away has
/// nothing.
fn moved(mount: &Mount) -> Option<String> {
    let path = mount.path.as_str();
    if path == "/" {
        return None;
    }
    if path != AWAY && rustix::mount::mount_move(path, AWAY).is_ok() {
        return Some("moved away".to_owned());
    }
    let detach = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
    let gone = rustix::mount::unmount(path, detach);
    gone.is_ok().then(|| "unmounted".to_owned())
}
