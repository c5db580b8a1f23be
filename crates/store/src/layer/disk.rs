//! Where layers and chains lie in the store, and how they get there whole.

use super::{ChainId, LayerInfo};
use crate::error::{Error, Kind, Result};
use rkt_spec::Digest;
use std::fs::File;
use std::path::Path;

fn later<T>() -> Result<T> {
    Err(Error::new(Kind::Unsupported, "not written yet"))
}

/// What is known of a stored layer; `None` when it is not there.
///
/// # Errors
/// `Corrupt` for a record that is not ours.
pub fn has_layer(store: &Path, diff: &Digest) -> Result<Option<LayerInfo>> {
    let _ = (store, diff);
    later()
}

/// Whether a chain entry is there.
///
/// # Errors
/// When the store cannot be read.
pub fn has_chain(store: &Path, chain: &ChainId) -> Result<bool> {
    let _ = (store, chain);
    later()
}

/// Opens a layer's tar for reading; its length is [`LayerInfo::tar_bytes`], padding follows.
///
/// # Errors
/// `NotFound`.
pub fn open_tar(store: &Path, diff: &Digest) -> Result<File> {
    let _ = (store, diff);
    later()
}

/// The diff ids of all stored layers.
///
/// # Errors
/// When the store cannot be read.
pub fn layers(store: &Path) -> Result<Vec<Digest>> {
    let _ = store;
    later()
}

/// All stored chains.
///
/// # Errors
/// When the store cannot be read.
pub fn chains(store: &Path) -> Result<Vec<ChainId>> {
    let _ = store;
    later()
}

/// Removes a layer and gives the bytes of disk it had; 0 when it was not there.
///
/// # Errors
/// When it cannot be removed.
pub fn remove_layer(store: &Path, diff: &Digest) -> Result<u64> {
    let _ = (store, diff);
    later()
}

/// Removes a chain entry and gives the bytes of disk it had; 0 when it was not there.
///
/// # Errors
/// When it cannot be removed.
pub fn remove_chain(store: &Path, chain: &ChainId) -> Result<u64> {
    let _ = (store, chain);
    later()
}

/// Removes what broken writers left in `tmp`. The caller holds the store's exclusive lock.
///
/// # Errors
/// When something cannot be removed.
pub fn sweep(store: &Path) -> Result<usize> {
    let _ = store;
    later()
}

pub(super) fn verify(store: &Path, diff: &Digest) -> Result<()> {
    let _ = (store, diff);
    later()
}
