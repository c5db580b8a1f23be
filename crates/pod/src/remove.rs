//! Removing what apps have written: by descriptors, bounded in depth and memory.
//!
//! The tree is hostile: it may be deeper than any path or stack, and it is full of links.
//! Nothing is ever named by more than one component, links are unlinked and never
//! followed, and a directory below which something is mounted is an error, not a road.

use crate::Result;
use crate::error::Doing;
use crate::file::INSIDE;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How deep the walk goes with a descriptor a level; what lies deeper is moved up first.
const DEPTH: usize = 24;

/// Empties `top` but for the entry `keep`.
pub(crate) fn contents(top: BorrowedFd<'_>, keep: Option<&str>) -> Result<()> {
    // What is moved up appears in `top`, which is listed until nothing is left.
    empty(&mut Lift { top, count: 0 }, top, keep, 0)
}

/// Moves deep directories to the top, under names of their own.
struct Lift<'a> {
    top: BorrowedFd<'a>,
    count: u64,
}

impl Lift<'_> {
    fn up(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        loop {
            self.count += 1;
            let there = format!(".deep-{}", self.count);
            let flags = rustix::fs::RenameFlags::NOREPLACE;
            match rustix::fs::renameat_with(dir, name, self.top, there, flags) {
                Err(Errno::EXIST) => {}
                done => return done,
            }
        }
    }
}

/// The names in a directory with what they are, at most about 1000 at a time.
///
/// Also whether these are all.
fn some(
    dir: BorrowedFd<'_>,
    keep: Option<&str>,
) -> Result<(Vec<(CString, FileType)>, bool), Errno> {
    let mut buffer = [MaybeUninit::<u8>::uninit(); 8192];
    let mut list = Vec::new();
    rustix::fs::seek(dir, rustix::fs::SeekFrom::Start(0))?;
    let mut reader = RawDir::new(dir, &mut buffer);
    while let Some(entry) = reader.next() {
        let entry = entry?;
        let name = entry.file_name();
        let kept = keep.is_some_and(|k| k.as_bytes() == name.to_bytes());
        if !kept && name != c"." && name != c".." {
            list.push((name.to_owned(), entry.file_type()));
            if list.len() >= 1000 {
                return Ok((list, false));
            }
        }
    }
    Ok((list, true))
}

fn empty(lift: &mut Lift<'_>, dir: BorrowedFd<'_>, keep: Option<&str>, depth: usize) -> Result<()> {
    loop {
        let (list, all) = some(dir, keep).doing(|| "list a directory".into())?;
        let lifted = lift.count;
        for (name, kind) in list {
            take(lift, dir, &name, kind, depth)
                .doing(|| format!("remove `{}`", name.to_string_lossy().escape_debug()))?;
        }
        // A directory that grows meanwhile shows when it is removed itself.
        if all && (depth > 0 || lift.count == lifted) {
            return Ok(());
        }
    }
}

fn take(
    lift: &mut Lift<'_>,
    dir: BorrowedFd<'_>,
    name: &CStr,
    kind: FileType,
    depth: usize,
) -> Result<()> {
    if kind != FileType::Directory {
        match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // A file system that does not tell kinds.
            Err(Errno::ISDIR | Errno::PERM) if kind == FileType::Unknown => {}
            Err(e) => return Err(e.into()),
        }
    }
    match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        Err(e) => return Err(e.into()),
    }
    if depth >= DEPTH {
        return Ok(lift.up(dir, name)?);
    }
    let inner = open(dir, name)?;
    empty(lift, inner.as_fd(), None, depth + 1)?;
    drop(inner);
    match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn open(dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rkt_sys::fd::open(dir, name, flags, Mode::empty(), INSIDE)
}
