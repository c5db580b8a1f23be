//! Layers mounted once per host, in a mount namespace of rkt's own.

use crate::error::{Error, Kind, Result};
use crate::layer::ChainId;
use crate::options::LayerProgram;
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
/// layer's mount, mounting first what is not mounted yet.
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
    let _ = (store, run_dir, program, way, chains);
    Err(Error::new(Kind::Unsupported, "not written yet"))
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
    let _ = (store, run_dir, keep);
    Err(Error::new(Kind::Unsupported, "not written yet"))
}
