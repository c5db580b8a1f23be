//! Overlay mounts: an image's layers below, a private upper above.

use super::tree::{chown, make_dirs, stage_dir};
use crate::error::{Doing, Failure};
use crate::sandbox;
use rkt_sys::mount::{self, NewFs};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::io;

/// Where an overlay keeps what is written: `upper` and `work`, on one mount of its own.
#[derive(Debug)]
pub(super) struct Upper {
    tree: OwnedFd,
    upper: OwnedFd,
    work: OwnedFd,
}

/// Makes `upper` and `work` in a directory of the pod.
pub(super) fn upper_dirs(dir: BorrowedFd<'_>) -> rustix::io::Result<()> {
    make_dirs(dir, &["upper"], 0o755)?;
    make_dirs(dir, &["work"], 0o700)?;
    Ok(())
}

impl Upper {
    /// Opens both through a detached copy of their mount, so that the overlay keeps no mount of
    /// the host busy. Must be called in the host's mount namespace.
    pub(super) fn open(pod: BorrowedFd<'_>, names: &[&str]) -> Result<Self, Failure> {
        let doing = || format!("open the upper directory `{}`", names.join("/"));
        let dir = super::open_dir(pod, names).doing(doing)?;
        let tree = mount::clone_tree(&dir, false).doing(doing)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |name| rustix::fs::openat(&tree, name, flags, Mode::empty()).doing(doing);
        let (upper, work) = (open("upper")?, open("work")?);
        Ok(Self { tree, upper, work })
    }
}

impl Upper {
    /// Makes both in memory, with room for so many bytes.
    pub(super) fn in_memory(bytes: u64) -> Result<Self, Failure> {
        let doing = || format!("make an upper directory of {bytes} bytes");
        let fs = sandbox::tmpfs(bytes).doing(doing)?;
        let tree = fs
            .set(c"mode", "0700")
            .and_then(|fs| fs.mount(mount::PLAIN))
            .doing(doing)?;
        upper_dirs(tree.as_fd()).doing(doing)?;
        let open = |name| super::open_dir(tree.as_fd(), &[name]).doing(doing);
        let (upper, work) = (open("upper")?, open("work")?);
        Ok(Self { tree, upper, work })
    }
}

/// Gives the upper's top directory what the topmost layer's has: an overlay shows the upper's.
pub(super) fn copy_top(layers: &[BorrowedFd<'_>], upper: &Upper, uid0: u32) -> Result<(), Failure> {
    let doing = || "prepare the top directory of the app's root".to_owned();
    let (mode, uid, gid) = match layers.first() {
        Some(top) => {
            let stat = rustix::fs::statat(top, "", AtFlags::EMPTY_PATH).doing(doing)?;
            (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid)
        }
        None => (0o755, uid0, uid0),
    };
    chown(upper.upper.as_fd(), uid, gid).doing(doing)?;
    rustix::fs::chmodat(
        &upper.tree,
        "upper",
        Mode::from_raw_mode(mode),
        AtFlags::empty(),
    )
    .doing(doing)
}

/// A directory of the stage that lies below all layers: its name there, and itself.
pub(super) type Below<'a> = Option<(&'a str, BorrowedFd<'a>)>;

/// Mounts an overlay, detached. `layers` are mounts, topmost first. The stage must be attached.
///
/// Since 6.13 layers are named by descriptor, since 6.15 they may be detached; on older kernels
/// they are attached below `stage` first and named by path. Either way the host's paths show
/// nowhere.
pub(super) fn mount(
    layers: &[BorrowedFd<'_>],
    upper: &Upper,
    stage: BorrowedFd<'_>,
    name: &str,
) -> io::Result<OwnedFd> {
    match detached(layers, None, upper)? {
        Some(made) => Ok(made),
        None => staged(layers, None, upper, stage, name),
    }
}

/// The newer half of [`mount`], which needs no stage; `None` where the kernel refuses it.
pub(super) fn detached(
    layers: &[BorrowedFd<'_>],
    below: Below<'_>,
    upper: &Upper,
) -> io::Result<Option<OwnedFd>> {
    match by_descriptor(layers, below, upper) {
        Err(e) if refused_descriptors(&e) => Ok(None),
        result => result.map(Some),
    }
}

fn refused_descriptors(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    [Errno::INVAL, Errno::BADF, Errno::OPNOTSUPP]
        .iter()
        .any(|e| errno == Some(e.raw_os_error()))
}

fn begin() -> io::Result<NewFs> {
    NewFs::open(c"overlay")
}

fn finish(fs: &NewFs) -> io::Result<OwnedFd> {
    // An upper lives no longer than its pod, so nothing is gained by syncing it at the end:
    // without this, unmounting waits for the whole disk (Linux 5.10).
    fs.flag(c"volatile")?;
    fs.mount(mount::PLAIN)
}

fn by_descriptor(
    layers: &[BorrowedFd<'_>],
    below: Below<'_>,
    upper: &Upper,
) -> io::Result<OwnedFd> {
    let fs = begin()?;
    for layer in layers.iter().copied().chain(below.map(|(_, fd)| fd)) {
        fs.set_fd(c"lowerdir+", layer)?;
    }
    fs.set_fd(c"upperdir", upper.upper.as_fd())?;
    fs.set_fd(c"workdir", upper.work.as_fd())?;
    finish(&fs)
}

/// The older half of [`mount`].
pub(super) fn staged(
    layers: &[BorrowedFd<'_>],
    below: Below<'_>,
    upper: &Upper,
    stage: BorrowedFd<'_>,
    name: &str,
) -> io::Result<OwnedFd> {
    let place = stage_dir(stage, name)?;
    rustix::process::fchdir(&place)?;
    let mut lower = String::new();
    for (n, layer) in layers.iter().enumerate() {
        mount::attach(layer, stage_dir(place.as_fd(), &n.to_string())?)?;
        if n > 0 {
            lower.push(':');
        }
        lower.push_str(&n.to_string());
    }
    if let Some((name, _)) = below {
        if !lower.is_empty() {
            lower.push(':');
        }
        lower.push_str("../");
        lower.push_str(name);
    }
    mount::attach(&upper.tree, stage_dir(place.as_fd(), "u")?)?;
    let fs = begin()?;
    fs.set(c"lowerdir", &lower)?
        .set(c"upperdir", "u/upper")?
        .set(c"workdir", "u/work")?;
    let made = finish(&fs)?;
    rustix::process::chdir(c"/")?;
    Ok(made)
}
