//! Where layers and chains lie in the store, and how they get there whole.

use super::form::{Filter, Form, Step};
use super::info;
use super::{ChainId, LayerInfo};
use crate::blob::Hasher;
use crate::disk::{read, sync_dir, sync_dirs};
use crate::error::{Doing, Error, Kind, Result};
use rkt_spec::Digest;
use rkt_spec::codec::Record;
use rkt_spec::digest::Algorithm;
use rustix::fs::{Mode, OFlags};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// Largest record beside an index: 500 layers, named twice.
const MAX_RECORD: u64 = 256 << 10;

/// The directory of a layer.
pub(crate) fn layer_dir(store: &Path, diff: &Digest) -> PathBuf {
    store
        .join("layers")
        .join(diff.algorithm().as_str())
        .join(diff.hex())
}

/// The directory of a chain entry.
pub(crate) fn chain_dir(store: &Path, chain: &ChainId) -> PathBuf {
    let digest = chain.digest();
    store
        .join("chains")
        .join(digest.algorithm().as_str())
        .join(digest.hex())
}

/// Nothing there is no error.
fn optional<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

pub(super) fn layer_record(store: &Path, diff: &Digest) -> Result<Option<info::Layer>> {
    optional(read(&layer_dir(store, diff).join("info"), MAX_RECORD))?
        .map(|bytes| info::Layer::read(&bytes))
        .transpose()
        .doing(|| format!("read the record of layer `{diff}`"))
}

/// The record in a layer's directory, wherever that is; `None` when it cannot be read.
pub(crate) fn record_of(dir: &Path) -> Option<LayerInfo> {
    let bytes = read(&dir.join("info"), MAX_RECORD).ok()?;
    info::Layer::read(&bytes).ok().map(|record| record.info())
}

pub(crate) fn chain_record(store: &Path, chain: &ChainId) -> Result<Option<info::Chain>> {
    optional(read(&chain_dir(store, chain).join("info"), MAX_RECORD))?
        .map(|bytes| info::Chain::read(&bytes))
        .transpose()
        .doing(|| format!("read the record of chain `{chain}`"))
}

/// What is known of a stored layer; `None` when it is not there.
///
/// # Errors
/// `Corrupt` for a record that is not ours.
pub fn has_layer(store: &Path, diff: &Digest) -> Result<Option<LayerInfo>> {
    Ok(layer_record(store, diff)?.map(|record| record.info()))
}

/// Whether a chain entry is there.
///
/// # Errors
/// When the store cannot be read.
pub fn has_chain(store: &Path, chain: &ChainId) -> Result<bool> {
    match fs::symlink_metadata(chain_dir(store, chain).join("info")) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::from(e).while_doing(format!("look for chain `{chain}`"))),
    }
}

/// Opens a file of the store for reading, following nothing.
pub(crate) fn open(path: &Path) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map(File::from)
        .doing(|| format!("open `{}`", path.display()))
}

/// Opens a layer's tar for reading; its length is [`LayerInfo::tar_bytes`], padding follows.
///
/// # Errors
/// `NotFound`.
pub fn open_tar(store: &Path, diff: &Digest) -> Result<File> {
    open(&layer_dir(store, diff).join("tar"))
}

/// The file of a chain that tells its chain ids where the layers alone do not.
pub(super) const BELOW: &str = "below";
/// The file of a chain that tells what of its topmost layer is shown, where that is not all.
pub(super) const FILTER: &str = "filter";
/// Largest of these: a manifest of 4 MiB names no more.
const MAX_FILTER: u64 = 16 << 20;

/// The chain ids of a chain, lowest first, its own last.
///
/// # Errors
/// `NotFound` when the chain is not in the store.
pub(crate) fn stack(store: &Path, chain: &ChainId) -> Result<Vec<ChainId>> {
    let record = chain_record(store, chain)?.ok_or_else(|| no_chain(chain))?;
    match optional(read(&chain_dir(store, chain).join(BELOW), MAX_RECORD))? {
        None => Ok(super::chain_ids(&record.layers)),
        Some(bytes) => {
            let ids = Vec::<Digest>::from_bytes(&bytes)?;
            Ok(ids.into_iter().map(ChainId::from_digest).collect())
        }
    }
}

/// The steps that made these chains of these layers, both lowest first. A filter that is not
/// what it was makes another chain id, so whoever computes those again is not deceived.
///
/// # Errors
/// `Corrupt` for a filter that is none.
pub(crate) fn steps(store: &Path, layers: &[Digest], chains: &[Digest]) -> Result<Vec<Step>> {
    let mut steps = Vec::with_capacity(layers.len());
    for (diff, chain) in layers.iter().zip(chains) {
        let filter = match Form::of(diff) {
            Form::Oci => None,
            Form::Aci => {
                let dir = chain_dir(store, &ChainId::from_digest(chain.clone()));
                optional(read(&dir.join(FILTER), MAX_FILTER))?
                    .map(|bytes| Filter::from_bytes(&bytes))
                    .transpose()
                    .doing(|| format!("read what chain `{chain}` shows"))?
            }
        };
        steps.push(Step {
            diff: diff.clone(),
            filter,
        });
    }
    Ok(steps)
}

fn list(dir: &Path, algorithm: Algorithm) -> Result<Vec<Digest>> {
    let name = algorithm.as_str();
    let entries = match fs::read_dir(dir.join(name)) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.doing(|| format!("list `{}`", dir.display()))?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let file = entry?.file_name();
        if let Some(Ok(digest)) = file
            .to_str()
            .map(|hex| Digest::new(&format!("{name}:{hex}")))
        {
            all.push(digest);
        }
    }
    all.sort();
    Ok(all)
}

/// The diff ids of all stored layers.
///
/// # Errors
/// When the store cannot be read.
pub fn layers(store: &Path) -> Result<Vec<Digest>> {
    let dir = store.join("layers");
    let mut all = list(&dir, Algorithm::Sha256)?;
    all.extend(list(&dir, Algorithm::Sha512)?);
    Ok(all)
}

/// All stored chains.
///
/// # Errors
/// When the store cannot be read.
pub fn chains(store: &Path) -> Result<Vec<ChainId>> {
    Ok(list(&store.join("chains"), Algorithm::Sha256)?
        .into_iter()
        .map(ChainId)
        .collect())
}

/// Takes a directory out of its place in one step, then removes it. Gives the bytes it had.
fn remove(store: &Path, dir: &Path) -> Result<u64> {
    let grave = fresh(store, "gone");
    match fs::rename(dir, &grave) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(0),
        other => other.doing(|| format!("remove `{}`", dir.display()))?,
    }
    let bytes = bytes_in(&grave);
    thaw(&grave);
    fs::remove_dir_all(&grave).doing(|| format!("remove `{}`", grave.display()))?;
    Ok(bytes)
}

/// Makes the files that a mount of this chain stands on immutable, where the file system has the
/// flag and the caller the privilege: not even root writes into them or unlinks them by mistake
/// then, and a pod can rely on what it has mapped. Where kernel and file system have fs-verity, it
/// is put on first, and for ever: what the disk changes later is an error at the read.
///
/// # Errors
/// When a file is not there; a flag that cannot be set is none.
pub(crate) fn freeze(store: &Path, chain: &ChainId) -> Result<()> {
    let record = chain_record(store, chain)?.ok_or_else(|| no_chain(chain))?;
    let mut files = vec![open(&chain_dir(store, chain).join("index"))?];
    for diff in &record.devices {
        files.push(open_tar(store, diff)?);
    }
    for file in &files {
        let _ = rkt_sys::verity::enable(file);
        set_immutable(file, Immutable::Yes);
    }
    Ok(())
}

/// Takes the flag of [`freeze`] off every layer and chain that these mounted chains do not stand
/// on.
pub(crate) fn thaw_all_but(store: &Path, mounted: &[ChainId]) -> Result<()> {
    let mut needed = Vec::new();
    for chain in mounted {
        needed.extend(chain_record(store, chain)?.map(|record| record.devices));
    }
    for chain in chains(store)?.iter().filter(|c| !mounted.contains(c)) {
        thaw(&chain_dir(store, chain));
    }
    for diff in layers(store)? {
        if !needed.iter().flatten().any(|d| *d == diff) {
            thaw(&layer_dir(store, &diff));
        }
    }
    Ok(())
}

/// Takes the flag off the files of a directory of ours.
pub(crate) fn thaw(dir: &Path) {
    for name in ["index", "tar"] {
        if let Ok(file) = open(&dir.join(name)) {
            set_immutable(&file, Immutable::No);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Immutable {
    Yes,
    No,
}

fn set_immutable(file: &File, wanted: Immutable) {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    // File systems without flags, and callers without CAP_LINUX_IMMUTABLE, go without.
    let Ok(flags) = ioctl_getflags(file) else {
        return;
    };
    let mut new = flags;
    new.set(IFlags::IMMUTABLE, wanted == Immutable::Yes);
    if new != flags {
        let _ = ioctl_setflags(file, new);
    }
}

/// Bytes on disk of the files of a directory that have no other name.
fn bytes_in(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files
        .filter_map(|f| f.metadata().ok())
        .filter(|m| m.is_file() && m.nlink() == 1)
        .map(|m| m.blocks() * 512)
        .sum()
}

/// Removes a layer and gives the bytes of disk it had; 0 when it was not there.
///
/// # Errors
/// When it cannot be removed.
pub fn remove_layer(store: &Path, diff: &Digest) -> Result<u64> {
    remove(store, &layer_dir(store, diff))
}

/// Removes a chain entry and gives the bytes of disk it had; 0 when it was not there.
///
/// # Errors
/// When it cannot be removed.
pub fn remove_chain(store: &Path, chain: &ChainId) -> Result<u64> {
    remove(store, &chain_dir(store, chain))
}

/// Bytes of disk that [`remove_layer`] would give back.
pub fn layer_bytes(store: &Path, diff: &Digest) -> u64 {
    bytes_in(&layer_dir(store, diff))
}

/// Bytes of disk that [`remove_chain`] would give back.
pub fn chain_bytes(store: &Path, chain: &ChainId) -> u64 {
    bytes_in(&chain_dir(store, chain))
}

/// Prefixes of our names in `tmp`.
const PREFIXES: [&str; 4] = ["layer-", "chain-", "tree-", "gone-"];

/// Removes what broken writers left in `tmp`, and gives the number of left-overs. The caller
/// holds the store's exclusive lock.
///
/// # Errors
/// When something cannot be removed.
pub fn sweep(store: &Path) -> Result<usize> {
    let tmp = store.join("tmp");
    let mut swept = 0;
    for entry in fs::read_dir(&tmp).doing(|| format!("list `{}`", tmp.display()))? {
        let entry = entry?;
        let ours = entry
            .file_name()
            .to_str()
            .is_some_and(|name| PREFIXES.iter().any(|p| name.starts_with(p)));
        if ours {
            let path = entry.path();
            thaw(&path);
            fs::remove_dir_all(&path).doing(|| format!("remove `{}`", path.display()))?;
            swept += 1;
        }
    }
    Ok(swept)
}

pub(super) fn verify(store: &Path, diff: &Digest) -> Result<()> {
    let record = layer_record(store, diff)?.ok_or_else(|| missing(diff))?;
    let mut tar = open_tar(store, diff)?;
    from_disk(&tar);
    let mut left = record.tar_bytes;
    let mut hash = Hasher::new(diff.algorithm());
    let mut buffer = vec![0; 256 << 10];
    loop {
        let n = tar
            .read(&mut buffer)
            .doing(|| format!("read layer `{diff}`"))?;
        if n == 0 {
            break;
        }
        // Beyond the hashed bytes there is only our padding.
        let hashed = left.min(n as u64) as usize;
        let (bytes, padding) = buffer.get(..n).unwrap_or(&[]).split_at(hashed);
        hash.update(bytes);
        left -= hashed as u64;
        if padding.iter().any(|b| *b != 0) {
            left = u64::MAX;
            break;
        }
    }
    let have = hash.finish();
    let problem = match left {
        0 if have == *diff => return Ok(()),
        0 => format!("its bytes have digest `{have}`, not `{diff}`"),
        u64::MAX => "its padding holds bytes that are not zero".to_owned(),
        left => format!("its last {left} bytes are missing"),
    };
    Err(Error::new(Kind::Corrupt, problem)
        .while_doing(format!("look at the stored bytes of layer `{diff}`")))
}

/// Has the kernel forget what it has in memory of a file, so that the disk itself is read. What
/// is mapped or mounted it keeps.
pub(super) fn from_disk(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
}

pub(super) fn missing(diff: &Digest) -> Error {
    Error::new(
        Kind::NotFound,
        format!("layer `{diff}` is not in the store"),
    )
}

/// A path in `tmp` that nobody else has.
fn fresh(store: &Path, prefix: &str) -> PathBuf {
    let mut random = [0; 8];
    // Only uniqueness is needed, and mkdir or rename tells when there is none.
    let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    let name = format!("{prefix}-{}", rkt_spec::digest::hex(&random));
    store.join("tmp").join(name)
}

/// A directory that grows in `tmp` and is removed again unless it is put in place.
#[derive(Debug)]
pub(crate) struct Growing(PathBuf);

impl Growing {
    /// `prefix` is one that [`sweep`] knows.
    pub(crate) fn new(store: &Path, prefix: &str) -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let path = fresh(store, prefix);
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .doing(|| format!("create `{}`", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A new file in it, for writing and reading.
    pub(crate) fn create(&self, name: &str) -> Result<File> {
        let path = self.0.join(name);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .doing(|| format!("create `{}`", path.display()))
    }

    /// Writes a small file.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut file = self.create(name)?;
        file.write_all(bytes)?;
        seal(&file)
    }

    /// Puts the directory in place with all that is in it. One that is there already stays.
    ///
    /// It is there whole or not at all, and for good only when [`settle`] has been called: once
    /// for all the layers of an image.
    pub(crate) fn publish(self, target: &Path) -> Result<()> {
        sync_dir(&self.0)?;
        match fs::rename(&self.0, target) {
            // Somebody else was faster, with the same bytes. (Drop removes ours.)
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists
                ) =>
            {
                Ok(())
            }
            Err(e) => Err(Error::from(e).while_doing(format!("rename to `{}`", target.display()))),
            Ok(()) => Ok(()),
        }
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes a finished file durable and read-only.
pub(crate) fn seal(file: &File) -> Result<()> {
    rustix::fs::fchmod(file, Mode::RUSR)?;
    file.sync_data()?;
    Ok(())
}

/// Makes it last that layers of these kinds, and chains, are in their places.
pub(crate) fn settle<'a>(store: &Path, layers: impl Iterator<Item = &'a Digest>) -> Result<()> {
    let places = layers.map(|diff| store.join("layers").join(diff.algorithm().as_str()));
    sync_dirs(places.chain([store.join("chains").join(Algorithm::Sha256.as_str())]))
}

/// Bytes of a record.
pub(super) fn bytes(record: &impl Record) -> Vec<u8> {
    record.to_bytes()
}

/// The error for a chain that is not there.
pub(crate) fn no_chain(chain: &ChainId) -> Error {
    Error::new(
        Kind::NotFound,
        format!("chain `{chain}` is not in the store"),
    )
}
