//! Mounts: what a root file system can be made of, on the data directory's own file system.

use super::Finding;
use crate::attempt::{attempt, user_namespace};
use crate::error::{Doing, Error, Kind};
use rkt_sys::mount::{self, Change, NewFs, PLAIN};
use rkt_sys::ns;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, fstat};
use std::ffi::CStr;
use std::path::{Path, PathBuf};

/// Disk id 0 shows as this one.
const SHOWN: u32 = 1 << 20;
const MAP: &str = "0 1048576 65536";

/// A directory of our own below the data directory, removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn make(data_dir: &Path) -> Result<Self, Error> {
        let path = data_dir.join(format!(".doctor-{}", std::process::id()));
        let doing = || format!("make `{}`", path.display());
        std::fs::create_dir(&path).doing(doing)?;
        let scratch = Self(path.clone());
        for name in ["lower", "upper", "work", "at"] {
            std::fs::create_dir(path.join(name)).doing(doing)?;
        }
        std::fs::write(path.join("lower/file"), "lower").doing(doing)?;
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Overlay makes directories of its own below `work`; all of it is ours.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) fn examine(data_dir: &Path) -> Vec<Finding> {
    let mut findings = vec![proc_of_a_namespace(), tmpfs_idmap()];
    match Scratch::make(data_dir) {
        Ok(scratch) => {
            findings.push(idmap(&scratch));
            findings.push(overlay(&scratch));
        }
        Err(e) => findings.push(
            Finding::degraded("idmapped mounts", format!("not tried: {e}"))
                .remedy("run as root, with a data directory that exists"),
        ),
    }
    findings
}

fn open_path(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).doing(|| format!("open `{}`", path.display()))
}

/// A detached clone of a directory, ids shifted.
fn shifted(path: &Path) -> Result<OwnedFd, Error> {
    let users = user_namespace(MAP, MAP)?;
    let tree = mount::clone_tree(open_path(path)?, false).doing(|| "clone a mount".into())?;
    let change = Change {
        idmap: Some(users.as_fd()),
        ..Change::default()
    };
    mount::set_attr(tree.as_fd(), &change).doing(|| "map the ids of a mount".into())?;
    Ok(tree)
}

fn shows_shifted(root: BorrowedFd<'_>) -> Result<String, Error> {
    let owner = fstat(root).doing(|| "look at the mount".into())?.st_uid;
    if owner == SHOWN {
        Ok(String::new())
    } else {
        Err(Error::new(
            Kind::Host,
            format!("id 0 shows as {owner} instead of {SHOWN}"),
        ))
    }
}

fn idmap(scratch: &Scratch) -> Finding {
    const NAME: &str = "idmapped mounts";
    let tried = attempt(|| shows_shifted(shifted(&scratch.0.join("lower"))?.as_fd()));
    match tried {
        Ok(_) => Finding::ok(NAME, "on the data directory's file system"),
        Err(e) => Finding::degraded(NAME, format!("{e}: host volumes show foreign ids"))
            .remedy("put the data directory on ext4, xfs or btrfs with a kernel 5.12 or later"),
    }
}

/// Ways to name a layer to overlay.
#[derive(Clone, Copy)]
enum Layer {
    /// By the descriptor of a detached mount.
    Detached,
    /// By a path where it is attached.
    Attached,
}

fn overlay(scratch: &Scratch) -> Finding {
    const NAME: &str = "overlay on idmapped layers";
    if attempt(|| stack(scratch, Layer::Detached)).is_ok() {
        return Finding::ok(NAME, "by descriptor, detached");
    }
    match attempt(|| stack(scratch, Layer::Attached)) {
        Ok(_) => Finding::ok(NAME, "by path, attached in a child (detached needs 6.15)"),
        Err(e) => Finding::degraded(
            NAME,
            format!("{e}: every start copies its image's files with shifted ids"),
        )
        .remedy("a kernel 5.19 or later has it"),
    }
}

fn stack(scratch: &Scratch, layer: Layer) -> Result<String, Error> {
    ns::unshare(ns::kind::MOUNT).doing(|| "make a mount namespace".into())?;
    mount::make_all_private().doing(|| "make mounts private".into())?;
    let lower = shifted(&scratch.0.join("lower"))?;
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let overlay = NewFs::open(c"overlay").doing(|| "open overlay".into())?;
    let at = scratch.0.join("at");
    match layer {
        Layer::Detached => overlay.set_fd(c"lowerdir+", lower.as_fd()).map(drop),
        Layer::Attached => mount::attach(&lower, open_path(&at)?)
            .and_then(|()| overlay.set(c"lowerdir", &text(at.clone())).map(drop)),
    }
    .doing(|| "give overlay a layer".into())?;
    let set = |key: &CStr, name: &str| overlay.set(key, &text(scratch.0.join(name))).map(drop);
    set(c"upperdir", "upper")
        .and_then(|()| set(c"workdir", "work"))
        .doing(|| "give overlay an upper".into())?;
    let root = overlay.mount(PLAIN).map_err(|e| {
        let told = overlay.message();
        Error::from(e).while_doing(format!("mount overlay ({told})"))
    })?;
    let file = rustix::fs::openat(
        &root,
        "file",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .doing(|| "open a file of the layer".into())?;
    shows_shifted(file.as_fd())
}

fn tmpfs_idmap() -> Finding {
    const NAME: &str = "idmapped tmpfs";
    let tried = attempt(|| {
        let tmpfs = NewFs::open(c"tmpfs").and_then(|fs| fs.mount(PLAIN));
        let tmpfs = tmpfs.doing(|| "mount a tmpfs".into())?;
        let users = user_namespace(MAP, MAP)?;
        let change = Change {
            idmap: Some(users.as_fd()),
            ..Change::default()
        };
        mount::set_attr(tmpfs.as_fd(), &change).doing(|| "map its ids".into())?;
        shows_shifted(tmpfs.as_fd())
    });
    match tried {
        Ok(_) => Finding::ok(NAME, "there"),
        Err(e) => Finding::degraded(NAME, e.to_string()).remedy("a kernel 6.3 or later has it"),
    }
}

fn proc_of_a_namespace() -> Finding {
    const NAME: &str = "proc of another pid namespace";
    let tried = attempt(|| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let pidns = rustix::fs::open("/proc/self/ns/pid", flags, Mode::empty())
            .doing(|| "open `ns/pid`".into())?;
        let proc = NewFs::open(c"proc").doing(|| "open proc".into())?;
        proc.set_fd(c"pidns", pidns.as_fd())
            .doing(|| "set pidns=".into())?;
        proc.mount(PLAIN).doing(|| "mount proc".into())?;
        Ok(String::new())
    });
    match tried {
        Ok(_) => Finding::ok(NAME, "made from outside (pidns=)"),
        Err(_) => Finding::ok(NAME, "made by a child inside (pidns= needs 6.17)"),
    }
}
