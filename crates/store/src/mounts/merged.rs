//! Layers, and what an app wrote over them, as one tree to read: for what is written to archives.

use super::pinned;
use crate::error::{Doing, Error, Kind, Result};
use rkt_sys::mount::{self, NewFs};
use rkt_sys::ns;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::mount::MountFlags;
use std::ffi::CString;
use std::path::Path;

/// Mounts an overlay of `upper` (a directory that nothing writes to any more) and of `layers`,
/// topmost first, and gives its root; read-only.
///
/// The calling process leaves the mount namespace of its host for one of its own, in which the
/// store's `tmp` is hidden: it should have nothing left to do but to read this and to end.
///
/// # Errors
/// `Denied` without CAP_SYS_ADMIN, `System` in a process with several threads.
pub fn merged(store: &Path, layers: &[OwnedFd], upper: Option<&Path>) -> Result<OwnedFd> {
    if !pinned::single_threaded()? {
        let because = "a process with several threads cannot change its mounts";
        return Err(Error::new(Kind::System, because));
    }
    let upper = upper.map(clone).transpose()?;
    ns::unshare(ns::kind::MOUNT).doing(|| "leave the host's mounts".into())?;
    mount::make_all_private()?;
    let place = dir(&store.join("tmp"))?;
    let stage = NewFs::open(c"tmpfs")?.mount(mount::PLAIN)?;
    mount::attach(&stage, &place)?;
    let home = dir(Path::new("."))?;
    rustix::process::fchdir(&stage)?;
    let root =
        stack(upper.iter().chain(layers)).doing(|| "lay the layers on top of each other".into());
    rustix::process::fchdir(&home)?;
    root
}

fn dir(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).doing(|| format!("open `{}`", path.display()))
}

fn clone(path: &Path) -> Result<OwnedFd> {
    let doing = || format!("open `{}`", path.display());
    mount::clone_tree(dir(path)?, false).doing(doing)
}

/// Stacks mounts in the working directory. An overlay without an upper wants two lower ones at
/// least, so an empty one comes last.
fn stack<'a>(layers: impl Iterator<Item = &'a OwnedFd>) -> Result<OwnedFd> {
    let make = |name: &str| rustix::fs::mkdir(name, Mode::RWXU);
    let mut words = String::from("lowerdir=");
    for (n, layer) in layers.enumerate() {
        let name = n.to_string();
        make(&name)?;
        mount::attach(layer, dir(Path::new(&name))?)?;
        words.push_str(&name);
        words.push(':');
    }
    make("none")?;
    make("all")?;
    words.push_str("none");
    let words = CString::new(words).map_err(std::io::Error::other)?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("overlay", "all", "overlay", flags, Some(words.as_c_str()))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open("all", flags, Mode::empty())?)
}
