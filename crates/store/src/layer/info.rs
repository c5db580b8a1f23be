//! The small records beside a tar and beside an index.

use super::LayerInfo;
use crate::error::{Error, Kind, Result};
use rkt_spec::Digest;
use rkt_spec::codec::Record;
use rkt_spec::record;

/// First bytes of the records; the last digit is the version.
const LAYER: u64 = u64::from_le_bytes(*b"rktlayr1");
const CHAIN: u64 = u64::from_le_bytes(*b"rktchan1");

record! {
    /// `layers/sha256/DIFF/info`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Layer {
        /// `rktlayr1`.
        pub magic: u64,
        /// Digest of the tar.
        pub diff: Digest,
        /// Bytes of the tar as hashed; zeros to a multiple of 512 follow.
        pub tar_bytes: u64,
        /// Entries that made something.
        pub entries: u64,
        /// Bytes of the index beside; 0 when there is none.
        pub index_bytes: u64,
        /// Whether the index beside does for no place in a chain but the lowest.
        pub needs_lower: bool,
        /// Whether the layer speaks of its root directory.
        pub has_root: bool,
    }
}

record! {
    /// `chains/sha256/CHAIN/info`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Chain {
        /// `rktchan1`.
        pub magic: u64,
        /// Diff ids from the lowest layer to this one.
        pub layers: Vec<Digest>,
        /// Bytes of the index.
        pub index_bytes: u64,
        /// SHA-256 of the index.
        pub index: Digest,
        /// The tars that are devices of the index, in order, and their sizes on disk.
        pub devices: Vec<Digest>,
        /// Bytes on disk of each of them, multiples of 512.
        pub sizes: Vec<u64>,
    }
}

fn foreign() -> Error {
    Error::new(Kind::Corrupt, "the record beside it is not one of this rkt")
}

impl Layer {
    pub(crate) fn new(info: &LayerInfo, index_bytes: u64, has_root: bool) -> Self {
        Self {
            magic: LAYER,
            diff: info.diff_id.clone(),
            tar_bytes: info.tar_bytes,
            entries: info.entries,
            index_bytes,
            needs_lower: info.needs_lower,
            has_root,
        }
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        let record = Self::from_bytes(bytes)?;
        if record.magic == LAYER {
            Ok(record)
        } else {
            Err(foreign())
        }
    }

    pub(crate) fn info(&self) -> LayerInfo {
        LayerInfo {
            diff_id: self.diff.clone(),
            tar_bytes: self.tar_bytes,
            entries: self.entries,
            needs_lower: self.needs_lower,
        }
    }

    /// Bytes of the tar on disk.
    pub(crate) fn padded(&self) -> u64 {
        self.tar_bytes.next_multiple_of(512)
    }
}

impl Chain {
    pub(crate) fn new(
        layers: Vec<Digest>,
        index: Digest,
        index_bytes: u64,
        devices: Vec<(Digest, u64)>,
    ) -> Self {
        let (devices, sizes) = devices.into_iter().unzip();
        Self {
            magic: CHAIN,
            layers,
            index_bytes,
            index,
            devices,
            sizes,
        }
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        let record = Self::from_bytes(bytes)?;
        let good = record.magic == CHAIN && record.devices.len() == record.sizes.len();
        if good { Ok(record) } else { Err(foreign()) }
    }
}
