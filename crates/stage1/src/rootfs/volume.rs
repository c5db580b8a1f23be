//! Volumes: storage of the pod or the host at places of an app.

use super::overlay::{self, Upper};
use super::tree::{self, Kind, Tree};
use super::{Maker, open_dir};
use crate::error::{Doing, Failure};
use crate::sandbox;
use crate::users::Holder;
use rkt_isolate::idmap;
use rkt_spec::plan::{AppPlan, MountPlan, Owner, Plan, VolumeKind, VolumePlan};
use rkt_sys::mount::{self, Change, attr};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

/// User namespaces that map the ids of an app's host volumes, by volume; `None` where none is
/// needed.
#[derive(Debug, Default)]
pub(crate) struct IdMaps(Vec<Option<OwnedFd>>);

impl IdMaps {
    /// Makes them for one app. Must be called in the supervisor.
    pub(crate) fn make(
        host: &crate::host::Host,
        plan: &Plan,
        app: &AppPlan,
        base: u32,
        sources: &[Option<OwnedFd>],
    ) -> Result<Self, Failure> {
        let mut maps: Vec<Option<OwnedFd>> = plan.volumes.iter().map(|_| None).collect();
        for mount in &app.mounts {
            let at = mount.volume as usize;
            let (Some(volume), Some(Some(source)), Some(slot)) =
                (plan.volumes.get(at), sources.get(at), maps.get_mut(at))
            else {
                continue;
            };
            if volume.kind != VolumeKind::Host || volume.owner == Owner::Host || slot.is_some() {
                continue;
            }
            let doing = || format!("map the ids of volume `{}`", volume.name);
            let stat = rustix::fs::statat(source, "", AtFlags::EMPTY_PATH).doing(doing)?;
            let access = if volume.read_only || mount.read_only {
                idmap::Access::Read
            } else {
                idmap::Access::Write
            };
            let who = (app.process.uid, app.process.gid);
            let source = (stat.st_uid, stat.st_gid);
            let slot_base = idmap::slot_base(base, app.slot);
            let map = idmap::volume(volume.owner, slot_base, who, source, access).doing(doing)?;
            if let Some(map) = map {
                *slot = Some(
                    Holder::start(host, slot_base, None)?
                        .finish(host, &map.uids, &map.gids)
                        .doing(doing)?,
                );
            }
        }
        Ok(Self(maps))
    }

    fn get(&self, volume: usize) -> Option<&OwnedFd> {
        self.0.get(volume).and_then(Option::as_ref)
    }
}

/// A volume, opened while the host's mounts could still be seen.
#[derive(Debug)]
pub(super) enum Ready {
    /// A mount to be attached.
    Mount(OwnedFd),
    /// An upper for the image's own directory, which must be there first.
    Over(Upper),
    /// One in memory, which the template of the app's mounts has.
    Bounded,
}

fn of<'a>(plan: &'a Plan, mount: &MountPlan) -> Result<&'a VolumePlan, Failure> {
    plan.volumes.get(mount.volume as usize).ok_or_else(|| {
        Failure::new(
            format!("mount `{}`", mount.target),
            "the plan has no such volume",
        )
    })
}

/// Makes the directories of the app's empty and image volumes.
pub(super) fn make_empty(pod: BorrowedFd<'_>, plan: &Plan, app: &AppPlan) -> Result<(), Failure> {
    for mount in &app.mounts {
        let volume = of(plan, mount)?;
        let doing = || format!("make volume `{}`", volume.name);
        match volume.kind {
            VolumeKind::Host => {}
            VolumeKind::Empty if volume.bytes > 0 => {}
            VolumeKind::Empty => {
                let parent = tree::make_dirs(pod, &["volumes"], 0o700).doing(doing)?;
                match rustix::fs::mkdirat(&parent, volume.name.as_str(), Mode::RWXU) {
                    // Another app of the pod has made it.
                    Err(Errno::EXIST) => continue,
                    result => result.doing(doing)?,
                }
                let dir = open_dir(parent.as_fd(), &[volume.name.as_str()]).doing(doing)?;
                // Ids on disk are the apps' own numbers: the pod's directory is root-only, and
                // every app sees them through its own idmapped mount.
                tree::chown(dir.as_fd(), volume.uid, volume.gid).doing(doing)?;
                let mode = Mode::from_raw_mode(volume.mode & 0o7777);
                rustix::fs::chmodat(&parent, volume.name.as_str(), mode, AtFlags::empty())
                    .doing(doing)?;
            }
            VolumeKind::Image => {
                let names = ["apps", app.name.as_str(), "volumes", volume.name.as_str()];
                let dir = tree::make_dirs(pod, &names, 0o700).doing(doing)?;
                overlay::upper_dirs(dir.as_fd()).doing(doing)?;
            }
        }
    }
    Ok(())
}

/// Opens the app's volumes while the host's mounts can still be seen.
pub(super) fn open_all(maker: &Maker<'_>) -> Result<Vec<Ready>, Failure> {
    maker
        .app
        .mounts
        .iter()
        .map(|mount| open(maker, mount))
        .collect()
}

fn open(maker: &Maker<'_>, mount: &MountPlan) -> Result<Ready, Failure> {
    let volume = of(maker.plan, mount)?;
    let doing = || format!("open volume `{}`", volume.name);
    let (tree, map) = match volume.kind {
        VolumeKind::Image => {
            let names = [
                "apps",
                maker.app.name.as_str(),
                "volumes",
                volume.name.as_str(),
            ];
            return Ok(Ready::Over(Upper::open(maker.pod, &names)?));
        }
        VolumeKind::Empty if volume.bytes > 0 => return Ok(Ready::Bounded),
        VolumeKind::Empty => {
            let dir = open_dir(maker.pod, &["volumes", volume.name.as_str()]).doing(doing)?;
            (mount::clone_tree(&dir, false).doing(doing)?, maker.user)
        }
        VolumeKind::Host => {
            let at = mount.volume as usize;
            let source = maker.sources.get(at).and_then(Option::as_ref);
            let source = source.ok_or_else(|| Failure::new(doing(), "the plan names no source"))?;
            let tree = mount::clone_tree(source, volume.recursive).doing(doing)?;
            (tree, maker.volumes.get(at).map(AsFd::as_fd))
        }
    };
    let mut set = attr::NOSUID | attr::NODEV;
    if volume.read_only || mount.read_only {
        set |= attr::RDONLY;
    }
    let recursive = volume.kind == VolumeKind::Host && volume.recursive;
    let change = Change {
        set,
        private: true,
        idmap: map,
        recursive,
        ..Change::default()
    };
    mount::set_attr(tree.as_fd(), &change).map_err(|e| refused(volume, &e))?;
    Ok(Ready::Mount(tree))
}

fn refused(volume: &VolumePlan, error: &std::io::Error) -> Failure {
    let failure = Failure::new(format!("mount volume `{}`", volume.name), error.to_string());
    if volume.owner == Owner::Host || error.raw_os_error() != Some(Errno::INVAL.raw_os_error()) {
        return failure;
    }
    failure.within(format!(
        "give the files of `{}` the app's ids: its file system, or one mounted below it, cannot be idmapped",
        volume.source_path
    ))
    .hint("say `owner=host` to see the host's ids, `recursive=false` to leave inner mounts out, or copy the files to another file system")
}

/// Attaches the volumes, parents before children, each at its place inside the app's root.
pub(super) fn attach_all(
    maker: &Maker<'_>,
    tree: &Tree<'_>,
    ready: &[Ready],
) -> Result<(), Failure> {
    for (mount, ready) in maker.app.mounts.iter().zip(ready) {
        let volume = of(maker.plan, mount)?;
        let doing = || format!("mount volume `{}` at `{}`", volume.name, mount.target);
        let kind = match volume.kind {
            VolumeKind::Host if !volume.directory => Kind::File,
            _ => Kind::Directory,
        };
        let place = tree.place(&mount.target, kind).map_err(|errno| {
            let failure = Failure::new(doing(), std::io::Error::from(errno).to_string());
            match errno {
                Errno::EXIST => failure.hint("a link that leads nowhere is in the way, in a volume"),
                Errno::OVERFLOW => failure.hint(
                    "rkt makes nothing in a volume with ids of its own: make the directory there first",
                ),
                _ => failure,
            }
        })?;
        match ready {
            Ready::Mount(fd) => tree.put(fd, &place).doing(doing)?,
            Ready::Over(upper) => {
                let read_only = volume.read_only || mount.read_only;
                over_image(maker.uid0(), tree, upper, &place, read_only).doing(doing)?;
            }
            Ready::Bounded => tree
                .put(bounded(maker, mount, volume)?, &place)
                .doing(doing)?,
        }
    }
    Ok(())
}

/// The app's own mount of a volume in memory. The calling process has the template's mounts.
fn bounded(maker: &Maker<'_>, mount: &MountPlan, volume: &VolumePlan) -> Result<OwnedFd, Failure> {
    let doing = || format!("open volume `{}`", volume.name);
    let path = format!("/{}", sandbox::volume_place(mount.volume as usize));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let found = rustix::fs::openat(CWD, path, flags, Mode::empty()).doing(doing)?;
    let tree = mount::clone_tree(&found, false).doing(doing)?;
    let mut set = attr::NOSUID | attr::NODEV;
    if volume.read_only || mount.read_only {
        set |= attr::RDONLY;
    }
    let change = Change {
        set,
        private: true,
        idmap: maker.user,
        ..Change::default()
    };
    mount::set_attr(tree.as_fd(), &change)
        .doing(|| format!("give volume `{}` the app's ids", volume.name))
        .map_err(|f| {
            f.hint("a volume in memory needs Linux 6.3; without `size` it lies on disk")
        })?;
    Ok(tree)
}

/// An image's own directory with an upper of its own: the image's content, owners and modes are
/// there without copying a file, and stay writable under a read-only root.
fn over_image(
    uid0: u32,
    tree: &Tree<'_>,
    upper: &Upper,
    place: &OwnedFd,
    read_only: bool,
) -> Result<(), Failure> {
    let doing = || "stack a volume on the image's directory".to_owned();
    let lower = tree.copy(place).doing(doing)?;
    let layers = [lower.as_fd()];
    overlay::copy_top(&layers, upper, uid0)?;
    let name = format!("v{}", rkt_sys::fd::number(place));
    let made = overlay::mount(&layers, upper, tree.stage(), &name).doing(doing)?;
    let mut set = attr::NOSUID | attr::NODEV;
    if read_only {
        set |= attr::RDONLY;
    }
    let change = Change {
        set,
        private: true,
        ..Change::default()
    };
    mount::set_attr(made.as_fd(), &change).doing(doing)?;
    tree.put(made, place).doing(doing)
}
