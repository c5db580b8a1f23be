//! The bytes of regular files: out of a tar, holes kept.

use super::{Render, name};
use crate::error::{Error, Kind, Result};
use crate::layer::below::Found;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;

impl Render<'_> {
    /// Makes a regular file with its bytes; its attributes come later.
    pub(super) fn file(&self, dir: BorrowedFd<'_>, child: &[u8], found: &Found) -> Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        let to = rustix::fs::openat(dir, name(child), flags | OFlags::CLOEXEC, mode)?;
        let index = self.view.below.index(found.layer)?;
        let tars = self.view.tars.get(usize::from(found.layer));
        for piece in index.pieces(&found.inode)? {
            match usize::from(piece.device).checked_sub(1) {
                None => {
                    let (mut at, end) = (0, piece.length);
                    let mut buffer = vec![0; 64 << 10];
                    while at < end {
                        let n = (end - at).min(buffer.len() as u64) as usize;
                        let part = buffer.get_mut(..n).unwrap_or(&mut []);
                        index.read_own(piece.at + at, part)?;
                        write(&to, part, piece.offset + at)?;
                        at += n as u64;
                    }
                }
                Some(number) => {
                    let tar = tars.and_then(|t| t.get(number)).ok_or_else(|| {
                        Error::new(Kind::Corrupt, "an index names a tar that it has not")
                    })?;
                    copy(tar, piece.at, &to, piece.offset, piece.length)?;
                }
            }
        }
        rustix::fs::ftruncate(&to, found.inode.size)?;
        Ok(to)
    }
}

fn write(to: &OwnedFd, mut bytes: &[u8], mut at: u64) -> Result<()> {
    while !bytes.is_empty() {
        let n = rustix::io::pwrite(to, bytes, at)?;
        bytes = bytes.get(n..).unwrap_or(&[]);
        at += n as u64;
    }
    Ok(())
}

/// Copies bytes from one file to another; in the kernel where it can.
fn copy(from: &File, mut at: u64, to: &OwnedFd, mut offset: u64, length: u64) -> Result<()> {
    let mut left = length;
    let mut buffer = Vec::new();
    while left > 0 {
        let want = usize::try_from(left.min(1 << 30)).unwrap_or(1 << 30);
        let done = if buffer.is_empty() {
            let (mut source, mut target) = (at, offset);
            let copied =
                rustix::fs::copy_file_range(from, Some(&mut source), to, Some(&mut target), want);
            match copied {
                // Other file systems, or kernels that cannot between these two.
                Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                    buffer.resize(256 << 10, 0);
                    continue;
                }
                other => other?,
            }
        } else {
            let size = want.min(buffer.len());
            let part = buffer.get_mut(..size).unwrap_or(&mut []);
            let n = rustix::io::pread(from, &mut *part, at)?;
            write(to, part.get(..n).unwrap_or(&[]), offset)?;
            n
        };
        if done == 0 {
            return Err(Error::new(Kind::Corrupt, "a tar of the store is cut short"));
        }
        at += done as u64;
        offset += done as u64;
        left -= done as u64;
    }
    Ok(())
}
