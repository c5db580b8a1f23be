//! Chains: a layer's index in the light of the layers below it.

use super::{ChainId, Limits};
use crate::error::{Error, Kind, Result};
use crate::options::LayerProgram;
use rkt_spec::Digest;
use rkt_spec::image::Accounts;
use std::path::Path;

/// Makes the missing chain entries for these layers (lowest first, all in the store), and gives
/// all chain ids, lowest first. Idempotent; two callers at once do no harm.
///
/// # Errors
/// `NotFound` when a layer is missing, `Corrupt` when an entry means nothing on the layers below.
pub fn commit_chain(
    store: &Path,
    program: &LayerProgram,
    limits: &Limits,
    diffs: &[Digest],
) -> Result<Vec<ChainId>> {
    let _ = (store, program, limits, diffs);
    Err(Error::new(Kind::Unsupported, "not written yet"))
}

/// The merged `/etc/passwd` and `/etc/group` of a chain.
///
/// # Errors
/// `NotFound` when the chain is not in the store.
pub fn accounts(store: &Path, chain: &ChainId) -> Result<Accounts> {
    let _ = (store, chain);
    Err(Error::new(Kind::Unsupported, "not written yet"))
}
