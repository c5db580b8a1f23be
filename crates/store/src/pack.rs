//! A root file system as an App Container Image: `rkt export`, `rkt image export --format=aci`.
//!
//! What is there is written, and nothing is interpreted: the tree is walked by descriptors of its
//! directories, no link is followed, sockets are left out (an archive cannot hold them). The same
//! tree gives the same bytes.

mod about;
mod entry;

pub use about::{About, manifest};

use crate::error::{Doing, Error, Kind, Result};
use crate::ustar;
use entry::{Entry, Owners};
use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Bytes of the archive, uncompressed.
    pub bytes: u64,
    /// Files, directories and links of the root file system.
    pub entries: u64,
    /// Sockets that were left out.
    pub sockets: u64,
}

/// How an archive goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// As it is.
    Plain,
    /// By gzip.
    Gzip,
}

/// Writes an archive of `manifest` and of the tree at `root`, which nobody changes meanwhile.
///
/// Owners from `base` on, 65 536 of them, are those of an app in its pod and become the app's own;
/// `None` leaves all as they are.
///
/// # Errors
/// Whatever reading and writing give; `Busy` when a file was changed meanwhile.
pub fn write(
    manifest: &[u8],
    root: BorrowedFd<'_>,
    base: Option<u32>,
    packing: Packing,
    to: &mut dyn Write,
) -> Result<Written> {
    match packing {
        Packing::Plain => plain(manifest, root, base, to),
        Packing::Gzip => {
            let mut gzip = GzEncoder::new(to, Compression::default());
            let written = plain(manifest, root, base, &mut gzip)?;
            gzip.finish()?;
            Ok(written)
        }
    }
}

fn plain(
    manifest: &[u8],
    root: BorrowedFd<'_>,
    base: Option<u32>,
    to: &mut dyn Write,
) -> Result<Written> {
    let mut walk = Walk {
        to,
        owners: Owners::new(base),
        written: Written::default(),
        first: HashMap::new(),
        path: b"rootfs".to_vec(),
    };
    walk.document("manifest", manifest)?;
    walk.tree(root)?;
    walk.put(&[0; 1024])?;
    Ok(walk.written)
}

struct Walk<'a> {
    to: &'a mut dyn Write,
    owners: Owners,
    written: Written,
    /// Where files with several names were written first.
    first: HashMap<(u64, u64), Vec<u8>>,
    /// Path in the archive of what is being written.
    path: Vec<u8>,
}

/// A directory whose entries are being written.
struct Frame {
    dir: OwnedFd,
    /// Bytes of its path.
    path: usize,
    /// Names that are left, the next one last.
    names: Vec<Vec<u8>>,
}

fn name(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

impl Walk<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.to.write_all(bytes)?;
        self.written.bytes += bytes.len() as u64;
        Ok(())
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        let pad = (512 - size % 512) % 512;
        self.put([0; 512].get(..pad as usize).unwrap_or(&[]))
    }

    fn document(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let size = bytes.len() as u64;
        self.put(&ustar::header(name, 0o644, b'0', size))?;
        self.put(bytes)?;
        self.pad(size)
    }

    fn tree(&mut self, root: BorrowedFd<'_>) -> Result<()> {
        let top = open_dir(root, b".")?;
        let mut stack = vec![self.enter(top)?];
        while let Some(frame) = stack.last_mut() {
            self.path.truncate(frame.path);
            let Some(next) = frame.names.pop() else {
                stack.pop();
                continue;
            };
            self.path.push(b'/');
            self.path.extend_from_slice(&next);
            let dir = frame.dir.as_fd();
            let inner = self.one(dir, &next).doing(|| self.doing())?;
            stack.extend(inner);
        }
        Ok(())
    }

    fn doing(&self) -> String {
        let shown = self.path.strip_prefix(b"rootfs").unwrap_or(&self.path);
        format!("write `{}`", shown.escape_ascii())
    }

    /// Writes a directory's own entry and looks what is in it.
    fn enter(&mut self, dir: OwnedFd) -> Result<Frame> {
        let stat = rustix::fs::fstat(&dir)?;
        self.entry(&stat, b'5', Some(dir.as_fd()), &[])?;
        let mut names: Vec<Vec<u8>> = Vec::new();
        for entry in Dir::read_from(&dir)? {
            let entry = entry?;
            let bytes = entry.file_name().to_bytes();
            if bytes != b"." && bytes != b".." {
                names.push(bytes.to_vec());
            }
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(Frame {
            dir,
            path: self.path.len(),
            names,
        })
    }

    /// Writes one entry; a directory is given back to be gone through.
    fn one(&mut self, dir: BorrowedFd<'_>, last: &[u8]) -> Result<Option<Frame>> {
        let stat = rustix::fs::statat(dir, name(last), AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            return self.enter(open_dir(dir, last)?).map(Some);
        }
        if kind == FileType::Socket {
            self.written.sockets += 1;
            return Ok(None);
        }
        let file = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1
            && let Some(first) = self.first.get(&file)
        {
            let first = first.clone();
            self.entry(&stat, b'1', None, &first)?;
            return Ok(None);
        }
        match kind {
            FileType::RegularFile => self.file(dir, last)?,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(dir, name(last), Vec::new())?;
                self.entry(&stat, b'2', None, target.as_bytes())?;
            }
            FileType::CharacterDevice => self.entry(&stat, b'3', None, &[])?,
            FileType::BlockDevice => self.entry(&stat, b'4', None, &[])?,
            FileType::Fifo => self.entry(&stat, b'6', None, &[])?,
            _ => {
                let because = "it is of a kind that archives do not have";
                return Err(Error::new(Kind::Unsupported, because));
            }
        }
        if stat.st_nlink > 1 {
            self.first.insert(file, self.path.clone());
        }
        Ok(None)
    }

    fn file(&mut self, dir: BorrowedFd<'_>, last: &[u8]) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(dir, name(last), flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(changed());
        }
        let size = stat.st_size.cast_unsigned();
        self.entry(&stat, b'0', Some(file.as_fd()), &[])?;
        let (mut from, mut left) = (File::from(file), size);
        let mut buffer = vec![0; 256 << 10];
        while left > 0 {
            let most = usize::try_from(left).map_or(buffer.len(), |l| l.min(buffer.len()));
            let n = from.read(buffer.get_mut(..most).unwrap_or(&mut []))?;
            if n == 0 {
                return Err(changed());
            }
            self.put(buffer.get(..n).unwrap_or(&[]))?;
            left -= n as u64;
        }
        self.pad(size)
    }

    /// Writes the head of an entry; `open` is what has attributes, `link` a target.
    fn entry(
        &mut self,
        stat: &Stat,
        kind: u8,
        open: Option<BorrowedFd<'_>>,
        link: &[u8],
    ) -> Result<()> {
        let xattrs = match open {
            Some(fd) => entry::xattrs(fd, &self.owners)?,
            None => Vec::new(),
        };
        let mut path = self.path.clone();
        if kind == b'5' {
            path.push(b'/');
        }
        let entry = Entry {
            path,
            kind,
            link,
            stat,
            uid: self.owners.own(stat.st_uid),
            gid: self.owners.own(stat.st_gid),
            xattrs,
        };
        let head = entry.bytes();
        self.written.entries += 1;
        self.put(&head)
    }
}

fn open_dir(dir: BorrowedFd<'_>, last: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, name(last), flags, Mode::empty())?)
}

fn changed() -> Error {
    Error::new(Kind::Busy, "it was changed meanwhile")
}
