//! An image as the store knows it: one small record per id.

use crate::blob;
use crate::disk;
use crate::error::{Doing, Error, Kind, Result};
use crate::layer;
use crate::platform::Platform;
use crate::reference::{HUB, Reference};
use crate::trust::Proof;
use rkt_spec::Digest;
use rkt_spec::digest::Algorithm;
use rkt_spec::image::ImageConfig;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// An image that is in the store with all its layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// SHA-256 of its configuration, as docker and OCI count it; SHA-512 of the whole archive for
    /// an App Container Image.
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
    /// What only an App Container Image has.
    pub aci: Option<AciFacts>,
    /// What was proved about it when it came.
    pub proof: Proof,
}

/// By what an App Container Image is found among others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AciFacts {
    /// AC Identifier, such as `example.com/app`.
    pub name: String,
    /// `version`, `os`, `arch` and others.
    pub labels: BTreeMap<String, String>,
    /// Whether it was found without asking for a version.
    #[serde(default)]
    pub latest: bool,
}

impl Image {
    /// The id as people and other programs have it: `sha256:...`, or `sha512-` and 64 digits for
    /// an App Container Image, which is how the original shortens it everywhere.
    pub fn public_id(&self) -> String {
        match self.id.algorithm() {
            Algorithm::Sha256 => self.id.to_string(),
            Algorithm::Sha512 => format!("sha512-{}", self.id.hex().get(..64).unwrap_or("")),
        }
    }

    /// What it calls itself: `example.com/app:1.0` for an App Container Image, else the name it
    /// was asked for.
    pub fn title(&self) -> String {
        match &self.aci {
            None => self.name.clone(),
            Some(aci) => match aci.labels.get("version") {
                Some(version) => format!("{}:{version}", aci.name),
                None => aci.name.clone(),
            },
        }
    }

    /// Those of its names that are names of a registry; of an App Container Image, the ones that
    /// were given to it.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.names
            .iter()
            .map(String::as_str)
            .filter(|name| matches!(Reference::parse(name, HUB), Ok(Reference::Registry(_))))
    }

    /// The word that names it to a person, when the image itself has one.
    pub fn short_name(&self) -> Option<&str> {
        self.aci.as_ref()?.name.rsplit('/').next()
    }

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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) aci: Option<AciFacts>,
    #[serde(default)]
    pub(crate) proof: Proof,
}

impl Record {
    /// What it was made for, by its own words.
    pub(crate) fn platform(&self) -> Platform {
        Platform {
            os: self.config.os.clone(),
            architecture: self.config.architecture.clone(),
            variant: self.config.variant.clone(),
        }
    }

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

    /// Writes it for good. What it names has to be there, and lasts before the record does: one
    /// that has come through a power cut promises that all of its image has.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        let what = || format!("write record of image `{}`", self.id);
        layer::settle(dir, self.layers.iter()).doing(what)?;
        let documents = self.manifest.iter().chain(match self.aci {
            Some(_) => None,
            None => Some(&self.id),
        });
        disk::sync_dirs(documents.map(|digest| blob::place(dir, digest.algorithm())))
            .doing(what)?;
        disk::write_json(dir, &Self::path(dir, &self.id), self).doing(what)?;
        disk::sync_dirs([dir.join("images")]).doing(what)
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
            aci: self.aci,
            proof: self.proof,
        }
    }
}

/// The file that pins an image, from the path of its record or of its forgotten one.
fn pin(record: &Path, id: &Digest) -> Option<PathBuf> {
    Some(pin_path(record.parent()?.parent()?, id))
}

/// The id that a record or a pin with this file name is for.
pub(crate) fn id_of_hex(hex: &str) -> Option<Digest> {
    let algorithm = match hex.len() {
        128 => Algorithm::Sha512,
        _ => Algorithm::Sha256,
    };
    Digest::new(&format!("{}:{hex}", algorithm.as_str())).ok()
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

    /// Writes it for good.
    pub(crate) fn write(&self, dir: &Path, file_name: &str) -> Result<()> {
        self.note(dir, file_name)?;
        disk::sync_dirs([dir.join("refs")])
            .doing(|| format!("write record of name `{}`", self.reference))
    }

    /// Writes it over one that means the same image: a power cut may bring that back.
    pub(crate) fn note(&self, dir: &Path, file_name: &str) -> Result<()> {
        disk::write_json(dir, &dir.join("refs").join(file_name), self)
            .doing(|| format!("write record of name `{}`", self.reference))
    }
}
