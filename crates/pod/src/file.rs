//! Small files of a pod: read whole with a limit, replaced by rename.

use crate::error::{Doing, Error};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Never leave the directory, never follow a link, never cross a mount.
pub(crate) const INSIDE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// Opens a directory below `dir`.
pub(crate) fn open_dir(dir: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(dir, path, flags)
}

/// Opens a file below `dir`.
pub(crate) fn open(dir: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mode = if flags.contains(OFlags::CREATE) {
        Mode::from_raw_mode(0o600)
    } else {
        Mode::empty()
    };
    rkt_sys::fd::open(dir, path, flags, mode, INSIDE)
}

/// Reads a file of at most `limit` bytes; `None` when it does not exist.
pub(crate) fn read(
    dir: BorrowedFd<'_>,
    path: &str,
    limit: usize,
) -> Result<Option<Vec<u8>>, Error> {
    let doing = || format!("read `{path}` of the pod");
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match open(dir, path, flags) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(e).doing(doing),
    };
    use std::os::fd::AsFd as _;
    rkt_sys::fd::read_all(file.as_fd(), limit)
        .map(Some)
        .doing(doing)
}

/// Writes all bytes.
pub(crate) fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(n) => bytes = bytes.get(n..).unwrap_or(&[]),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Replaces the content of `name` in one step: readers see the old or the new, never a part.
pub(crate) fn replace(dir: BorrowedFd<'_>, name: &str, bytes: &[u8]) -> Result<(), Error> {
    use std::os::fd::AsFd as _;
    let fresh = format!("{name}.new");
    let write = || {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        let file = open(dir, &fresh, flags)?;
        write_all(file.as_fd(), bytes)?;
        rustix::fs::renameat(dir, &fresh, dir, name)
    };
    write()
        .inspect_err(|_| {
            let _ = rustix::fs::unlinkat(dir, &fresh, AtFlags::empty());
        })
        .doing(|| format!("write `{name}` of the pod"))
}
