//! A chain as a plain directory tree: for `image render`, and where EROFS cannot be mounted.

use crate::error::{Error, Kind, Result};
use crate::layer::ChainId;
use std::os::fd::BorrowedFd;
use std::path::Path;

/// Writes the merged root file system of a chain, whiteouts applied, into an
/// empty directory. Needs root for owners and devices.
///
/// # Errors
/// `NotFound` for a chain that is not in the store, and whatever writing gives.
pub fn render(store: &Path, chain: &ChainId, into: BorrowedFd<'_>) -> Result<()> {
    let _ = (store, chain, into);
    Err(Error::new(Kind::Unsupported, "not written yet"))
}
