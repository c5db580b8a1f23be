//! Layers: kept as their uncompressed tar, with an EROFS index beside it; never unpacked.
//!
//! A layer is read once, in a child without privileges that may open nothing: it inflates,
//! hashes, writes the tar and collects the headers into a tree of bounded size. What an
//! entry means may depend on the layers below (a parent directory that only they have, a
//! symlink of theirs on the way, a hard link to one of their files), so an index belongs to
//! a *chain*: a layer on top of exactly these others.
//!
//! On disk, below the store's directory:
//!
//! ```text
//! layers/sha256/DIFF/{tar,info,index?}      the layer alone; its index when that needs no lower layer
//! layers/sha512/DIFF/...                    the same of an App Container Image, manifest included
//! chains/sha256/CHAIN/{index,info,passwd,group}
//! chains/sha256/CHAIN/{filter?,below?}      what of an App Container Image is shown, and on which chains
//! tmp/layer-*, tmp/chain-*                  being written; swept under the store's exclusive lock
//! ```

mod apply;
pub(crate) mod below;
mod chain;
mod check;
mod child;
mod confine;
pub(crate) mod disk;
pub(crate) mod entry;
mod filter;
mod form;
mod growing;
mod inflate;
pub(crate) mod info;
pub(crate) mod input;
mod number;
mod pax;
mod process;
mod settle;
pub(crate) mod tar;
pub(crate) mod tree;
mod wire;
mod writer;
mod xattr;

pub use chain::{accounts, commit_chain, commit_steps};
pub(crate) use check::told;
pub use check::{Checker, Damage};
pub use disk::{
    chain_bytes, chains, has_chain, has_layer, layer_bytes, layers, open_tar, remove_chain,
    remove_layer, sweep,
};
pub(crate) use disk::{settle, steps};
pub use form::{Filter, Step};
pub(crate) use form::{Form, step_ids};
pub use writer::Writer;

use crate::error::Result;
use rkt_spec::Digest;
use sha2::{Digest as _, Sha256};
use std::ffi::OsString;
use std::fmt;
use std::path::Path;

/// The hidden verb under which `rkt` executes itself to read a layer.
pub const CHILD_VERB: &str = "__layer";

/// A layer on top of exactly the layers below it (OCI image-spec, config.md, "Layer ChainID").
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId(Digest);

impl ChainId {
    /// The digest that names it on disk.
    pub fn digest(&self) -> &Digest {
        &self.0
    }

    /// Takes a digest that is known to be a chain id, such as one from an image record.
    pub fn from_digest(digest: Digest) -> Self {
        Self(digest)
    }

    /// The lowest layer. An App Container Image has a chain id that is no digest of an OCI layer.
    pub fn base(diff: &Digest) -> Self {
        match form::Form::of(diff) {
            form::Form::Oci => Self(diff.clone()),
            form::Form::Aci => {
                let hash = Sha256::digest(format!("rootfs {diff}"));
                Self(Digest::sha256(&hash.into()))
            }
        }
    }

    /// This chain with one more layer on top.
    #[must_use]
    pub fn on_top(&self, diff: &Digest) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.0.to_string());
        hash.update(b" ");
        hash.update(diff.to_string());
        Self(Digest::sha256(&hash.finalize().into()))
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The chain ids of an image's layers, both lowest first.
pub fn chain_ids(diffs: &[Digest]) -> Vec<ChainId> {
    let mut ids: Vec<ChainId> = Vec::with_capacity(diffs.len());
    for diff in diffs {
        let id = match ids.last() {
            Some(below) => below.on_top(diff),
            None => ChainId::base(diff),
        };
        ids.push(id);
    }
    ids
}

/// What is known of a layer that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerInfo {
    /// SHA-256 of the uncompressed tar; SHA-512 for an App Container Image.
    pub diff_id: Digest,
    /// Bytes of the uncompressed tar, as hashed.
    pub tar_bytes: u64,
    /// Headers that made a file, directory, link or whiteout.
    pub entries: u64,
    /// Whether its index can only be made with the layers below at hand.
    pub needs_lower: bool,
}

/// How much a layer may ask for; more is refused with [`crate::error::Kind::TooLarge`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the uncompressed tar.
    pub bytes: u64,
    /// Headers in the tar.
    pub entries: u64,
    /// Bytes of memory for names, inodes, attributes and maps of holes.
    pub metadata: u64,
    /// Uncompressed bytes per compressed byte, looked at after the first 256 MiB.
    pub ratio: u64,
    /// Directories on the way to a file.
    pub depth: u16,
}

impl Limits {
    /// For tars that were taken once, whatever the limits were then.
    pub(crate) fn of_what_is_kept() -> Self {
        Self {
            // Below what the kernel takes for a size of a file.
            bytes: 1 << 60,
            entries: u64::MAX,
            metadata: 1 << 30,
            ratio: u64::MAX,
            depth: u16::MAX,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 64 << 30,
            entries: 5_000_000,
            metadata: 40 << 20,
            ratio: 200,
            depth: 1024,
        }
    }
}

/// The whole life of the child without privileges, for the hidden verb [`CHILD_VERB`]; `args`
/// are the words after it. Returns its exit status.
///
/// Standard input must be the socket made by [`Writer::start`] or [`commit_chain`].
pub fn child_main(args: &[OsString]) -> i32 {
    match args {
        [] => child::serve(),
        [word] if word == "mounts" => crate::mounts::serve(),
        // A reader that does not know its words must not guess.
        _ => 2,
    }
}

/// Checks that a stored layer still has the bytes that its digest names. Reads all of it.
///
/// # Errors
/// [`crate::error::Kind::Corrupt`] when it has not, `NotFound` when there is none.
pub fn verify(store: &Path, diff: &Digest) -> Result<()> {
    disk::verify(store, diff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_ids_follow_the_specification() {
        let a = Digest::sha256(&[1; 32]);
        let b = Digest::sha256(&[2; 32]);
        let ids = chain_ids(&[a.clone(), b.clone()]);
        assert_eq!(ids[0].digest(), &a);
        let expected: [u8; 32] = Sha256::digest(format!("{a} {b}")).into();
        assert_eq!(ids[1].digest(), &Digest::sha256(&expected));
        assert!(chain_ids(&[]).is_empty());
    }
}
