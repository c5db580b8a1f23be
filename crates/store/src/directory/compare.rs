//! Whether a layer's directory tree is still what its index and tars say.

use super::{View, full_name, name};
use crate::erofs::{self, Index, Inode, kind, major_minor};
use crate::error::{Error, Kind, Result};
use crate::layer::ChainId;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, ResolveFlags};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Most differences that are told of one tree.
const MOST: usize = 20;
/// Times that ext4 can keep, in seconds since 1970; others it bends.
const TIMES: std::ops::Range<i64> = -(1 << 31)..(3 << 32);

/// Compares a tree that [`super::render_layer`] wrote, and gives paths in it with what is wrong.
/// The index and the tars must be known to be whole.
///
/// # Errors
/// Only what keeps it from looking.
pub(crate) fn differences(
    store: &Path,
    chain: &ChainId,
    tree: BorrowedFd<'_>,
) -> Result<Vec<(PathBuf, String)>> {
    let mut view = View::default();
    view.push(store, chain)?;
    let root = view.below.index(0)?.root()?;
    let mut compare = Compare {
        index: view.below.index(0)?,
        tars: view.tars.first().map_or(&[], Vec::as_slice),
        tree,
        found: Vec::new(),
    };
    let mut todo: Vec<(Vec<u8>, Inode)> = vec![(Vec::new(), root)];
    while let Some((path, inode)) = todo.pop() {
        compare.directory(&path, &inode, &mut todo)?;
        if compare.found.len() >= MOST {
            break;
        }
    }
    Ok(compare.found)
}

struct Compare<'a> {
    index: &'a Index,
    tars: &'a [File],
    tree: BorrowedFd<'a>,
    found: Vec<(PathBuf, String)>,
}

impl Compare<'_> {
    fn tell(&mut self, path: &[u8], problem: impl Into<String>) {
        let path = PathBuf::from(OsString::from_vec(path.to_vec()));
        self.found.push((path, problem.into()));
    }

    fn directory(
        &mut self,
        path: &[u8],
        inode: &Inode,
        todo: &mut Vec<(Vec<u8>, Inode)>,
    ) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = if path.is_empty() { b"." } else { path };
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let dir = match rkt_sys::fd::open(self.tree, name(place), flags, Mode::empty(), beneath) {
            Ok(dir) => dir,
            Err(e) => {
                self.tell(path, format!("it cannot be opened: {e}"));
                return Ok(());
            }
        };
        self.attributes(path, inode, &dir)?;
        let mut there = BTreeSet::new();
        for entry in Dir::read_from(&dir)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                there.insert(name);
            }
        }
        for (child, nid) in self.index.names(inode)? {
            let mut full = path.to_vec();
            if !full.is_empty() {
                full.push(b'/');
            }
            full.extend_from_slice(&child);
            let inode = self.index.inode(nid)?;
            if !there.remove(&child) {
                self.tell(&full, "it is not there");
                continue;
            }
            let same = self.looks_like(&child, &inode, dir.as_fd())?;
            if !same {
                self.tell(&full, "its kind, mode, owner, size or time is another");
            }
            if inode.is_directory() {
                todo.push((full, inode));
            } else if same && inode.kind() == kind::FILE {
                self.file(&full, &child, &inode, dir.as_fd())?;
            }
        }
        for name in there {
            let full = [path, &b"/"[..path.len().min(1)], &name].concat();
            self.tell(&full, "the layer has no such thing");
        }
        Ok(())
    }

    fn looks_like(&self, child: &[u8], inode: &Inode, dir: BorrowedFd<'_>) -> Result<bool> {
        let stat = rustix::fs::statat(dir, name(child), AtFlags::SYMLINK_NOFOLLOW)?;
        let (major, minor) = major_minor(inode.u);
        let device = matches!(inode.kind(), kind::CHAR | kind::BLOCK);
        if device && stat.st_rdev != rustix::fs::makedev(major, minor) {
            return Ok(false);
        }
        if inode.is_whiteout() {
            return Ok(stat.st_mode & u32::from(kind::MASK) == u32::from(kind::CHAR));
        }
        let sized = matches!(inode.kind(), kind::FILE | kind::SYMLINK);
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        // A directory's time is its own; one that is being looked at has it still.
        let timed = TIMES.contains(&inode.mtime);
        let same = stat.st_mode == u32::from(inode.mode)
            && (stat.st_uid, stat.st_gid) == (inode.uid, inode.gid)
            && (!sized || size == inode.size)
            && (!timed || stat.st_mtime == inode.mtime);
        if !same || inode.kind() != kind::SYMLINK {
            return Ok(same);
        }
        let target = rustix::fs::readlinkat(dir, name(child), Vec::new())?;
        Ok(target.as_bytes() == self.index.target(inode)?)
    }

    fn file(
        &mut self,
        path: &[u8],
        child: &[u8],
        inode: &Inode,
        dir: BorrowedFd<'_>,
    ) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(dir, name(child), flags, Mode::empty())?;
        self.attributes(path, inode, &fd)?;
        let file = File::from(fd);
        let pieces = self.index.pieces(inode)?;
        let (mut have, mut want) = (vec![0; 128 << 10], vec![0; 128 << 10]);
        let mut at = 0;
        while at < inode.size {
            let n = (inode.size - at).min(have.len() as u64) as usize;
            let (have, want) = (have.get_mut(..n), want.get_mut(..n));
            let (Some(have), Some(want)) = (have, want) else {
                break;
            };
            want.fill(0);
            for piece in &pieces {
                let (from, to) = (
                    piece.offset.max(at),
                    (piece.offset + piece.length).min(at + n as u64),
                );
                if from >= to {
                    continue;
                }
                let into = want.get_mut((from - at) as usize..(to - at) as usize);
                let place = piece.at + (from - piece.offset);
                match (usize::from(piece.device).checked_sub(1), into) {
                    (None, Some(into)) => self.index.read_own(place, into)?,
                    (Some(number), Some(into)) => self
                        .tars
                        .get(number)
                        .ok_or_else(|| Error::new(Kind::Corrupt, "an index names no tar"))?
                        .read_exact_at(into, place)?,
                    _ => {}
                }
            }
            if let Err(e) = file.read_exact_at(have, at) {
                self.tell(path, format!("it cannot be read at byte {at}: {e}"));
                return Ok(());
            }
            if let Some(n) = have.iter().zip(&*want).position(|(a, b)| a != b) {
                let byte = at + n as u64;
                self.tell(path, format!("byte {byte} is not what the layer has"));
                return Ok(());
            }
            at += n as u64;
        }
        Ok(())
    }

    /// The attributes that were written are there with their values.
    fn attributes(&mut self, path: &[u8], inode: &Inode, fd: &OwnedFd) -> Result<()> {
        let mut value = vec![0; 64 << 10];
        for (prefix, short, want) in erofs::xattrs(&self.index.xattrs(inode)?) {
            let Some(full) = full_name(prefix, short) else {
                continue;
            };
            let n = rustix::fs::fgetxattr(fd, name(&full), &mut value[..]).unwrap_or(usize::MAX);
            if value.get(..n) != Some(want) {
                let full = String::from_utf8_lossy(&full).into_owned();
                self.tell(path, format!("its attribute `{full}` is another"));
            }
        }
        Ok(())
    }
}
