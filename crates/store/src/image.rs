//! An image as the store knows it: one small record per id.

use crate::disk;
use crate::error::{Doing, Error, Kind, Result};
use crate::platform::Platform;
use rkt_spec::Digest;
use rkt_spec::image::ImageConfig;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// An image that is in the store with all its layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// SHA-256 of its configuration, as docker and OCI count it.
    pub id: Digest,
    /// The name it was asked for; of several in a list, the first.
    pub name: String,
    /// All canonical names that point to it; empty when only its id is left.
    pub names: Vec<String>,
    /// Run-time defaults.
    pub config: ImageConfig,
    /// Diff ids of its layers, bottom first: SHA-256 of each uncompressed tar.
    pub layers: Vec<Digest>,
    /// Chain ids, bottom first: the key of each layer on top of those below.
    pub chains: Vec<Digest>,
    /// Bytes of the layers on disk, shared ones included.
    pub bytes: u64,
    /// Digest of the manifest; `None` when its source has none.
    pub manifest: Option<Digest>,
    /// When it came, in seconds since 1970.
    pub fetched_at: u64,
    /// When it was last asked for by `run` or `fetch`, in seconds since 1970.
    pub last_used: u64,
    /// Whether gc keeps it however long nobody used it.
    pub pinned: bool,
}

impl Image {
    /// What it was made for, by its own words.
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.config.os.clone(),
            architecture: self.config.architecture.clone(),
            variant: self.config.variant.clone(),
        }
    }
}

/// The file `images/<hex>.json`. It does not hold names: those are the files in `refs/`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// Version of this format; only 1 exists.
    pub(crate) version: u32,
    pub(crate) id: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) manifest: Option<Digest>,
    pub(crate) config: ImageConfig,
    pub(crate) layers: Vec<Digest>,
    pub(crate) chains: Vec<Digest>,
    pub(crate) bytes: u64,
    pub(crate) fetched_at: u64,
    /// Time of the record's file; see [`Record::touch`].
    #[serde(skip)]
    pub(crate) last_used: u64,
    /// Whether there is a file of its name in `pins`.
    #[serde(skip)]
    pub(crate) pinned: bool,
}

impl Record {
    /// Largest record that is read; a config of 4 MiB cannot make a larger one.
    const LIMIT: u64 = 16 << 20;

    pub(crate) fn path(dir: &Path, id: &Digest) -> PathBuf {
        dir.join("images").join(format!("{}.json", id.hex()))
    }

    pub(crate) fn read(dir: &Path, id: &Digest) -> Result<Self> {
        Self::read_at(&Self::path(dir, id)).doing(|| format!("read record of image `{id}`"))
    }

    pub(crate) fn read_at(path: &Path) -> Result<Self> {
        let mut record: Self = disk::read_json(path, Self::LIMIT)?;
        let modified = std::fs::symlink_metadata(path)?.modified()?;
        record.last_used = modified
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        record.pinned = pin(path, &record.id).is_some_and(|pin| pin.exists());
        if record.version == 1 && record.layers.len() == record.chains.len() {
            Ok(record)
        } else {
            Err(Error::new(
                Kind::Corrupt,
                "the record is of a version that this rkt does not know",
            ))
        }
    }

    /// Notes that the image is used now. A store that cannot be written to stays as it is.
    pub(crate) fn touch(dir: &Path, id: &Digest) {
        use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW};
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        };
        let times = Timestamps {
            last_access: now,
            last_modification: now,
        };
        let path = Self::path(dir, id);
        let _ = rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW);
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        disk::write_json(dir, &Self::path(dir, &self.id), self)
            .doing(|| format!("write record of image `{}`", self.id))
    }

    pub(crate) fn into_image(self, name: String, names: Vec<String>) -> Image {
        Image {
            id: self.id,
            name,
            names,
            config: self.config,
            layers: self.layers,
            chains: self.chains,
            bytes: self.bytes,
            manifest: self.manifest,
            fetched_at: self.fetched_at,
            last_used: self.last_used,
            pinned: self.pinned,
        }
    }
}

/// The file that pins an image, from the path of its record or of its forgotten one.
fn pin(record: &Path, id: &Digest) -> Option<PathBuf> {
    Some(pin_path(record.parent()?.parent()?, id))
}

/// The file `pins/<hex>`: gc keeps the image.
pub(crate) fn pin_path(dir: &Path, id: &Digest) -> PathBuf {
    dir.join("pins").join(id.hex())
}

/// The file `refs/<escaped name>`: what a name meant when it was last asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NameRecord {
    /// The canonical reference, unescaped.
    pub(crate) reference: String,
    pub(crate) image: Digest,
    /// What the source called it: the digest a registry gives for the tag (of an index, if it
    /// is one), or the stamp of a local file.
    pub(crate) stamp: String,
    pub(crate) fetched_at: u64,
}

impl NameRecord {
    const LIMIT: u64 = 64 << 10;

    pub(crate) fn read_at(path: &Path) -> Result<Self> {
        disk::read_json(path, Self::LIMIT)
    }

    /// `None` when the name is not known.
    pub(crate) fn read(dir: &Path, file_name: &str) -> Result<Option<Self>> {
        match Self::read_at(&dir.join("refs").join(file_name)) {
            Ok(record) => Ok(Some(record)),
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(error.while_doing("read record of the name")),
        }
    }

    pub(crate) fn write(&self, dir: &Path, file_name: &str) -> Result<()> {
        disk::write_json(dir, &dir.join("refs").join(file_name), self)
            .doing(|| format!("write record of name `{}`", self.reference))
    }
}
