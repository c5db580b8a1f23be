//! What is left of a pull that broke: the compressed bytes of a layer so far.
//!
//! `partial/ALGORITHM/HEX` grows beside the reading of a layer, by the same bytes, so it is there
//! after Ctrl-C, a cut connection and kill -9 alike. The next pull reads it first and asks the
//! registry only for the rest. Nothing in it is believed: all bytes go through the reader and the
//! digest again. It is a note, not a promise: nothing is synced, and gc takes it away.

use crate::disk;
use crate::error::{Doing, Result};
use rkt_spec::Digest;
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Layers smaller than this are simply fetched again.
const WORTH_IT: u64 = 1 << 20;

/// The growing file of one layer, locked by us.
#[derive(Debug)]
pub(crate) struct Partial {
    file: File,
    path: PathBuf,
    bytes: u64,
}

/// Where these files are.
pub(crate) fn dir(store: &Path) -> PathBuf {
    store.join("partial")
}

impl Partial {
    /// What is there of `blob`, or an empty one; `None` when it is not worth it, when another rkt
    /// has it, or when there is no place for it. A longer file than `size` begins anew.
    pub(crate) fn open(store: &Path, blob: &Digest, size: u64) -> Option<Self> {
        if size < WORTH_IT {
            return None;
        }
        let dir = dir(store).join(blob.algorithm().as_str());
        crate::store::make_dir(&dir).ok()?;
        let path = dir.join(blob.hex());
        // The one we open may be removed by its last user before we have its lock.
        for _ in 0..8 {
            let file = File::from(
                rustix::fs::open(
                    &path,
                    OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                    Mode::RUSR | Mode::WUSR,
                )
                .ok()?,
            );
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
            let stat = rustix::fs::fstat(&file).ok()?;
            if stat.st_nlink == 0 {
                continue;
            }
            let mut bytes = stat.st_size.cast_unsigned();
            if bytes > size {
                file.set_len(0).ok()?;
                bytes = 0;
            }
            return Some(Self { file, path, bytes });
        }
        None
    }

    /// The file once more, to be read from its beginning by others.
    pub(super) fn reader(&self) -> Option<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::open(&self.path, flags, Mode::empty())
            .map(File::from)
            .ok()
    }

    /// Bytes that are there.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads what is there, from its beginning on; `from` is how far that has come.
    pub(crate) fn read_at(&self, from: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.file, buffer, from)
    }

    /// Goes to the end, where [`Partial::append`] goes on.
    pub(crate) fn seek_end(&mut self) -> std::io::Result<()> {
        self.file.seek(SeekFrom::Start(self.bytes)).map(|_| ())
    }

    /// Hands what is there to `sink`; further bytes are appended after it.
    pub(super) fn replay(&mut self, sink: &mut dyn Write) -> Result<()> {
        let what = || format!("read `{}`", self.path.display());
        self.file.seek(SeekFrom::Start(0)).doing(what)?;
        let mut buffer = vec![0_u8; 256 << 10];
        let mut left = self.bytes;
        while left > 0 {
            let most = usize::try_from(left).map_or(buffer.len(), |l| l.min(buffer.len()));
            let n = self
                .file
                .read(buffer.get_mut(..most).unwrap_or(&mut []))
                .doing(what)?;
            if n == 0 {
                break;
            }
            sink.write_all(buffer.get(..n).unwrap_or(&[]))?;
            left -= n as u64;
        }
        self.bytes -= left;
        Ok(())
    }

    /// Begins anew; `false` when that cannot be.
    pub(crate) fn restart(&mut self) -> bool {
        self.bytes = 0;
        self.file.set_len(0).is_ok()
    }

    /// Appends; `false` when the disk does not take it, and nothing more should be tried.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> bool {
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes).is_ok()
    }

    /// Takes away what a fetch that broke has left of `blob`, if anything: its layer is whole.
    pub(crate) fn forget(store: &Path, blob: &Digest) {
        let file = dir(store).join(blob.algorithm().as_str()).join(blob.hex());
        let _ = std::fs::remove_file(file);
    }

    /// Takes the file away: the layer is whole, or these bytes lead nowhere.
    pub(crate) fn remove(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Removes all of them; gives their number and their bytes on disk. The caller holds the store's
/// exclusive lock, so no fetch is under way.
pub(crate) fn sweep(store: &Path) -> Result<(usize, u64)> {
    use std::os::unix::fs::MetadataExt;
    let (mut files, mut bytes) = (0, 0);
    let Ok(list) = std::fs::read_dir(dir(store)) else {
        return Ok((0, 0));
    };
    for algorithm in list {
        let algorithm = algorithm?.path();
        let Ok(list) = std::fs::read_dir(&algorithm) else {
            continue;
        };
        for entry in list {
            let entry = entry?;
            bytes += entry.metadata().map_or(0, |m| m.blocks() * 512);
            disk::remove_if_there(&entry.path())?;
            files += 1;
        }
    }
    Ok((files, bytes))
}
