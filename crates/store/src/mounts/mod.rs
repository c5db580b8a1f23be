//! Layers mounted once per host, in a mount namespace of rkt's own.
//!
//! The namespace has no process; it is pinned by a file in the run directory whose name holds
//! a hash of the store's place. In it there is a small tmpfs with a clone of the store's mount
//! and one mount a layer, and nothing else of the host, so it keeps no host mount busy. No pod
//! and no mount table of the host ever shows it. A starting pod gets detached clones, so that
//! all pods share one page cache a layer.

mod inside;
mod make;
mod merged;
mod pinned;
mod remote;

pub use merged::merged;
pub(crate) use remote::serve;

use crate::error::{Doing, Result};
use crate::layer::{CHILD_VERB, ChainId, disk};
use crate::options::LayerProgram;
use inside::Host;
use rkt_spec::Digest;
use std::os::fd::OwnedFd;
use std::path::Path;

/// How a layer becomes a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Way {
    /// The best that this host can: the ways below, in their order.
    #[default]
    Best,
    /// EROFS on the files themselves (Linux 6.12).
    File,
    /// EROFS on loop devices.
    Loop,
    /// A directory tree per layer.
    Directory,
}

/// Gives, for each chain (topmost first), a detached, read-only, un-idmapped clone of its
/// layer's mount, mounting first what is not mounted yet. What is mounted already stays as it
/// is, whatever `way` says.
///
/// Needs CAP_SYS_ADMIN in the initial user namespace. A caller with one thread is moved to the
/// pinned namespace and back; with more threads, `program` does it in a child.
///
/// # Errors
/// `NotFound` for a chain that is not in the store, `Corrupt` for files of a wrong size or
/// owner, `Denied` without the privilege, `Unsupported` when `way` cannot be had here.
pub fn attach(
    store: &Path,
    run_dir: &Path,
    program: &LayerProgram,
    way: Way,
    chains: &[ChainId],
) -> Result<Vec<OwnedFd>> {
    if chains.is_empty() {
        return Ok(Vec::new());
    }
    if pinned::single_threaded()? {
        attach_here(store, run_dir, way, chains)
    } else {
        remote::attach(store, run_dir, program, way, chains)
    }
}

fn attach_here(store: &Path, run_dir: &Path, way: Way, chains: &[ChainId]) -> Result<Vec<OwnedFd>> {
    let name = pinned::name(store)?;
    let mut mounts: Vec<Option<OwnedFd>> = Vec::new();
    // The usual case: all is mounted; no lock, no file of the store is looked at.
    if let Some(pin) = pinned::find(run_dir, &name)? {
        mounts = pinned::inside(&pin, || inside::clones(chains))?;
        if mounts.iter().all(Option::is_some) {
            return Ok(mounts.into_iter().flatten().collect());
        }
    }
    mounts.resize_with(chains.len(), || None);
    let missing = || {
        chains
            .iter()
            .zip(&mounts)
            .filter(|(_, m)| m.is_none())
            .map(|(c, _)| c)
    };
    for chain in missing() {
        if !disk::has_chain(store, chain)? {
            return Err(disk::no_chain(chain));
        }
    }
    let _lock = pinned::lock(run_dir, &name)?;
    let pin = match pinned::find(run_dir, &name)? {
        Some(pin) => pin,
        None => pinned::make(store, run_dir, &name)
            .doing(|| format!("make the namespace of layers in `{}`", run_dir.display()))?,
    };
    let host = Host::open()?;
    // Here, because the namespace has the store read-only.
    for (chain, _) in chains.iter().zip(&mounts).filter(|(_, m)| m.is_none()) {
        disk::freeze(store, chain)?;
    }
    let failed = pinned::inside(&pin, || inside::mount(&host, way, chains))?;
    if !failed.is_empty() {
        for (chain, _) in &failed {
            make::tree(store, chain)?;
        }
        pinned::inside(&pin, || {
            failed
                .iter()
                .try_for_each(|(chain, _)| inside::bind_tree(chain))
        })?;
    }
    let mounts = pinned::inside(&pin, || inside::clones(chains))?;
    let found: Vec<OwnedFd> = mounts.into_iter().flatten().collect();
    if found.len() == chains.len() {
        Ok(found)
    } else {
        Err(inside::vanished())
    }
}

/// Unmounts every layer whose chain id `keep` does not want, and gives their number. Running
/// pods keep their clones.
///
/// # Errors
/// As [`attach`]. No pinned namespace is no error: 0.
pub fn detach_unused(
    store: &Path,
    run_dir: &Path,
    keep: &dyn Fn(&Digest) -> bool,
) -> Result<usize> {
    let program = LayerProgram {
        path: "/proc/self/exe".into(),
        args: vec![CHILD_VERB.into()],
    };
    detach_unused_by(store, run_dir, &program, keep)
}

/// As [`detach_unused`], with the program that does it for a caller with several threads.
///
/// # Errors
/// As [`detach_unused`].
pub fn detach_unused_by(
    store: &Path,
    run_dir: &Path,
    program: &LayerProgram,
    keep: &dyn Fn(&Digest) -> bool,
) -> Result<usize> {
    let name = pinned::name(store)?;
    let Some(pin) = pinned::find(run_dir, &name)? else {
        // After a reboot nothing is mounted, and the flags are still there.
        disk::thaw_all_but(store, &[])?;
        return Ok(0);
    };
    let _lock = pinned::lock(run_dir, &name)?;
    let all = list(store, run_dir, program, &pin)?;
    let (wanted, unwanted): (Vec<_>, Vec<_>) = all.into_iter().partition(|c| keep(c.digest()));
    let count = if pinned::single_threaded()? {
        pinned::inside(&pin, || inside::unmount(&unwanted, &|_| false))?
    } else {
        remote::unmount(store, run_dir, program, unwanted)?
    };
    disk::thaw_all_but(store, &wanted)?;
    Ok(count)
}

fn list(
    store: &Path,
    run_dir: &Path,
    program: &LayerProgram,
    pin: &OwnedFd,
) -> Result<Vec<ChainId>> {
    match pinned::single_threaded()? {
        true => pinned::inside(pin, inside::list),
        false => remote::list(store, run_dir, program),
    }
}

/// The chains whose layers are mounted on this host.
///
/// # Errors
/// As [`attach`]. No pinned namespace is no error: none.
pub fn mounted(store: &Path, run_dir: &Path, program: &LayerProgram) -> Result<Vec<ChainId>> {
    let name = pinned::name(store)?;
    match pinned::find(run_dir, &name)? {
        None => Ok(Vec::new()),
        Some(pin) => list(store, run_dir, program, &pin),
    }
}

/// Lets go of the namespace with all mounts in it. Running pods keep their clones; the next
/// [`attach`] makes a new one.
///
/// # Errors
/// When the pin cannot be unmounted.
pub fn unpin(store: &Path, run_dir: &Path) -> Result<()> {
    let name = pinned::name(store)?;
    let _lock = pinned::lock(run_dir, &name)?;
    pinned::drop_pin(run_dir, &name)
}
