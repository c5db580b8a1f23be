//! Files of the store: written beside, synced, renamed; read with a limit.
//!
//! Bytes are synced before their name; the name lasts from [`sync_dirs`] on. What names others (a
//! record its layers, a name its record) is written only when they last.

use crate::error::{Doing, Error, Kind, Result};
use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where files grow before they have their name; what is left here belongs to nobody.
pub(crate) fn tmp(dir: &Path) -> PathBuf {
    dir.join("tmp")
}

/// Seconds since 1970; 0 for clocks before.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// A new file in `tmp`, unlinked again unless it is kept by [`Growing::keep`].
#[derive(Debug)]
pub(crate) struct Growing {
    file: File,
    path: PathBuf,
}

impl Growing {
    /// Opens a new file for writing and reading, mode 0600, with a name nobody else has.
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        let mut random = [0_u8; 16];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let path = tmp(dir).join(rkt_spec::digest::hex(&random));
        let file = rustix::fs::open(
            &path,
            OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::RUSR | Mode::WUSR,
        )
        .doing(|| format!("create `{}`", path.display()))?;
        Ok(Self {
            file: file.into(),
            path,
        })
    }

    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives up the name, so that only the descriptor is left: a file that cannot be forgotten.
    pub(crate) fn into_nameless(self) -> Result<File> {
        Ok(self.file.try_clone()?)
    }

    /// Syncs the bytes and gives the file its name. Until the directory is synced, a power cut
    /// may bring back what was there before.
    pub(crate) fn keep(self, target: &Path) -> Result<()> {
        self.file.sync_data()?;
        fs::rename(&self.path, target)?;
        Ok(())
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        // After `keep` the name is gone and this is a silent ENOENT.
        let _ = fs::remove_file(&self.path);
    }
}

/// As [`write`], but a power cut may lose the bytes: for notes that only save work.
pub(crate) fn write_note(dir: &Path, target: &Path, bytes: &[u8]) -> Result<()> {
    let mut growing = Growing::new(dir)?;
    growing.file().write_all(bytes)?;
    fs::rename(&growing.path, target)?;
    Ok(())
}

/// Puts `bytes` at `target` in one step: the old file or the new one, never a half.
pub(crate) fn write(dir: &Path, target: &Path, bytes: &[u8]) -> Result<()> {
    let mut growing = Growing::new(dir)?;
    growing.file().write_all(bytes)?;
    growing.keep(target)
}

pub(crate) fn write_json(dir: &Path, target: &Path, value: &impl Serialize) -> Result<()> {
    let bytes = serde_json::to_vec(value)
        .map_err(|e| Error::new(Kind::System, format!("make JSON: {e}")))?;
    write(dir, target, &bytes)
}

/// Makes last what was renamed into these directories, and out of them. Each costs a sync once.
pub(crate) fn sync_dirs(dirs: impl IntoIterator<Item = PathBuf>) -> Result<()> {
    for dir in dirs.into_iter().collect::<BTreeSet<_>>() {
        sync_dir(&dir).doing(|| format!("sync directory `{}`", dir.display()))?;
    }
    Ok(())
}

pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(dir, flags, Mode::empty())?;
    Ok(rustix::fs::fsync(&dir)?)
}

/// Reads a regular file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = File::from(rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )?);
    if !file.metadata()?.is_file() {
        return Err(Error::new(Kind::Corrupt, "it is not a regular file"));
    }
    read_limited(file, limit)
}

/// Reads to the end, or refuses after `limit` bytes.
pub(crate) fn read_limited(from: impl Read, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|n| n <= limit) {
        Ok(bytes)
    } else {
        Err(Error::new(
            Kind::TooLarge,
            format!("it is larger than {limit} bytes"),
        ))
    }
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path, limit: u64) -> Result<T> {
    let bytes = read(path, limit)?;
    serde_json::from_slice(&bytes)
        .map_err(|e| Error::new(Kind::Corrupt, format!("`{}`: {e}", path.display())))
}

/// Removes a file; a missing one is as good.
pub(crate) fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::from(e).while_doing(format!("remove `{}`", path.display())))
        }
        _ => Ok(()),
    }
}
