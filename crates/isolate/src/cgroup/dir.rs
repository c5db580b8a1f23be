//! Directories of a cgroup tree, by descriptor: open, make, read, write, remove.

use super::layout::{MAGIC_V1, MAGIC_V2};
use crate::error::{Doing, Error, Kind};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::CStr;
use std::path::Path;
use std::time::{Duration, Instant};

/// A cgroup file is a page at most, but `cgroup.procs` has a line a process.
const READ_LIMIT: usize = 4 << 20;
/// How deep a delegated sub-tree is followed on removal.
const DEPTH: u32 = 32;

const OPEN_DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Opens the root of a tree, and makes sure that it is one.
pub(super) fn open_root(path: &Path) -> Result<OwnedFd, Error> {
    // No NOFOLLOW: `cpu` is a link to `cpu,cpuacct` on many hosts.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty())
        .doing(|| format!("open the cgroup tree `{}`", path.display()))?;
    let magic = rustix::fs::fstatfs(&fd)
        .doing(|| format!("look at `{}`", path.display()))?
        .f_type;
    if magic == MAGIC_V1 || magic == MAGIC_V2 {
        Ok(fd)
    } else {
        Err(Error::new(
            Kind::Host,
            format!("`{}` is not a cgroup file system", path.display()),
        ))
    }
}

/// The parts of a parent path such as `machine.slice/rkt.scope`; empty for the root itself.
pub(super) fn parts(parent: &str) -> Result<Vec<&str>, Error> {
    let parts: Vec<&str> = parent.split('/').filter(|p| !p.is_empty()).collect();
    match parts
        .iter()
        .find(|p| **p == "." || **p == ".." || p.contains('\0'))
    {
        Some(bad) => Err(Error::new(
            Kind::Request,
            format!("cgroup parent `{parent}`: `{bad}` is no name of a cgroup"),
        )),
        None => Ok(parts),
    }
}

/// Opens a child directory.
pub(super) fn open(parent: impl AsFd, name: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(parent, name, OPEN_DIR, Mode::empty())
}

/// Opens a child directory, making it when it is missing.
pub(super) fn make(parent: impl AsFd, name: &str) -> Result<OwnedFd, Error> {
    let parent = parent.as_fd();
    let mode = Mode::from_raw_mode(0o755);
    let made = match rustix::fs::mkdirat(parent, name, mode) {
        Ok(()) | Err(Errno::EXIST) => open(parent, name),
        Err(e) => Err(e),
    };
    made.doing(|| format!("make the cgroup `{name}`"))
}

/// Opens a file of a cgroup for writing.
pub(super) fn open_write(dir: impl AsFd, file: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, file, flags, Mode::empty())
}

/// Writes one value; the kernel takes it whole or not at all.
pub(super) fn write(dir: impl AsFd, file: &str, value: &str) -> Result<(), Errno> {
    let fd = open_write(dir, file)?;
    rustix::io::retry_on_intr(|| rustix::io::write(&fd, value.as_bytes())).map(drop)
}

/// Reads a file as text.
pub(super) fn read(dir: impl AsFd, file: &str) -> Result<String, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, file, flags, Mode::empty())?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let n = rustix::io::retry_on_intr(|| rustix::io::read(&fd, &mut chunk))?;
        match chunk.get(..n) {
            Some(part) if n > 0 && bytes.len() < READ_LIMIT => bytes.extend_from_slice(part),
            _ => break,
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Names of the child cgroups.
pub(super) fn children(dir: impl AsFd) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let dot = |n: &CStr| n == c"." || n == c"..";
        if entry.file_type() == FileType::Directory && !dot(entry.file_name()) {
            names.extend(entry.file_name().to_str().map(str::to_owned));
        }
    }
    Ok(names)
}

/// Removes a child and all below it, waiting until `deadline` for processes that are just dying.
/// A missing one is removed already.
pub(super) fn remove(parent: BorrowedFd<'_>, name: &str, deadline: Instant) -> Result<(), Errno> {
    remove_below(parent, name, deadline, DEPTH)
}

fn remove_below(
    parent: BorrowedFd<'_>,
    name: &str,
    deadline: Instant,
    depth: u32,
) -> Result<(), Errno> {
    let mut pause = Duration::from_micros(100);
    loop {
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY | Errno::NOTEMPTY) => {}
            Err(e) => return Err(e),
        }
        if depth > 0
            && let Ok(dir) = open(parent, name)
        {
            for child in children(&dir)? {
                remove_below(dir.as_fd(), &child, deadline, depth - 1)?;
            }
        }
        if Instant::now() >= deadline {
            return match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
                Err(Errno::NOENT) => Ok(()),
                other => other,
            };
        }
        // The kernel has no event for "the last task is gone from the directory's count".
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
}
