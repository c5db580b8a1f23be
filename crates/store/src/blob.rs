//! Small blobs by digest: manifests and configurations, checked on the way in and out.

use crate::disk;
use crate::error::{Doing, Error, Kind, Result};
use rkt_spec::Digest;
use rkt_spec::digest::Algorithm;
use sha2::{Digest as _, Sha256, Sha512};
use std::path::{Path, PathBuf};

/// Largest manifest or configuration, 4 MiB: what the distribution spec asks all to take.
pub(crate) const SMALL: u64 = 4 << 20;

/// A running hash of either kind.
#[derive(Debug, Clone)]
pub(crate) enum Hasher {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Hasher {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Box::default()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Digest {
        match self {
            Self::Sha256(hash) => Digest::sha256(&hash.finalize().into()),
            Self::Sha512(hash) => Digest::sha512(&hash.finalize().into()),
        }
    }
}

/// The digest of some bytes.
pub(crate) fn digest_of(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish()
}

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    digest_of(Algorithm::Sha256, bytes)
}

/// Refuses bytes that are not what `want` names.
pub(crate) fn check(want: &Digest, bytes: &[u8]) -> Result<()> {
    let have = digest_of(want.algorithm(), bytes);
    if have == *want {
        Ok(())
    } else {
        Err(Error::new(
            Kind::Corrupt,
            format!("the bytes have digest `{have}`, not `{want}`"),
        ))
    }
}

/// Where the blobs of one kind of digest are.
pub(crate) fn place(dir: &Path, algorithm: Algorithm) -> PathBuf {
    dir.join("blobs").join(algorithm.as_str())
}

fn path(dir: &Path, digest: &Digest) -> PathBuf {
    place(dir, digest.algorithm()).join(digest.hex())
}

/// Keeps bytes under their own digest; a blob that is there already is left alone. It lasts when
/// the record that names it does.
pub(crate) fn put(dir: &Path, digest: &Digest, bytes: &[u8]) -> Result<()> {
    let what = || format!("keep blob `{digest}`");
    check(digest, bytes).doing(what)?;
    let path = path(dir, digest);
    if path.exists() {
        return Ok(());
    }
    let place = place(dir, digest.algorithm());
    if !place.is_dir() {
        crate::store::make_dir(&place)?;
        disk::sync_dirs([dir.join("blobs")]).doing(what)?;
    }
    disk::write(dir, &path, bytes).doing(what)
}

/// Reads a small blob and checks it again: a disk may rot.
pub(crate) fn get(dir: &Path, digest: &Digest) -> Result<Vec<u8>> {
    let what = || format!("read blob `{digest}`");
    let bytes = disk::read(&path(dir, digest), SMALL).doing(what)?;
    check(digest, &bytes).doing(what)?;
    Ok(bytes)
}
