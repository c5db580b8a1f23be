//! A chain as a plain directory tree: for `image render`, and where EROFS cannot be mounted.
//!
//! Everything goes by descriptors of directories that this code has just made: a parent is
//! opened below the root without following any link, names are created exclusively, and
//! attributes are set on what was created and never on what a link points to.

mod compare;
mod file;

pub(crate) use compare::differences;

use crate::erofs::{self, Index, Inode, kind, major_minor};
use crate::error::{Doing, Error, Kind, Result};
use crate::layer::below::{Below, Dirs, Found};
use crate::layer::{ChainId, disk};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Writes the merged root file system of a chain, whiteouts applied, into an
/// empty directory. Needs root for owners and devices.
///
/// # Errors
/// `NotFound` for a chain that is not in the store, and whatever writing gives.
pub fn render(store: &Path, chain: &ChainId, into: BorrowedFd<'_>) -> Result<()> {
    let mut view = View::default();
    for id in disk::stack(store, chain)? {
        view.push(store, &id)?;
    }
    let root = view.below.root()?;
    Render::new(&view, into, false).run(root)
}

/// Writes one layer of a chain alone, with overlayfs's marks for what it takes away.
pub(crate) fn render_layer(store: &Path, chain: &ChainId, into: BorrowedFd<'_>) -> Result<()> {
    let mut view = View::default();
    view.push(store, chain)?;
    let root = view.below.root()?;
    Render::new(&view, into, true).run(root)
}

/// Layers with their tars.
#[derive(Default)]
struct View {
    below: Below,
    /// For each layer, topmost first.
    tars: Vec<Vec<File>>,
}

impl View {
    fn push(&mut self, store: &Path, chain: &ChainId) -> Result<()> {
        let record = disk::chain_record(store, chain)?.ok_or_else(|| disk::no_chain(chain))?;
        let index = disk::open(&disk::chain_dir(store, chain).join("index"))?;
        let tars = record.devices.iter().map(|d| disk::open_tar(store, d));
        self.tars.insert(0, tars.collect::<Result<_>>()?);
        self.below.push(Index::open(index)?);
        Ok(())
    }
}

/// A directory that is being filled.
struct Frame {
    /// Bytes of the path up to here.
    path: usize,
    found: Found,
    /// Directories in it that are still to be filled, last one first.
    left: Vec<(Vec<u8>, Found)>,
}

struct Render<'a> {
    view: &'a View,
    into: BorrowedFd<'a>,
    /// Whether overlayfs's marks are written instead of obeyed.
    marks: bool,
    /// Path of the directory that is being filled.
    path: Vec<u8>,
    /// Where files with several names were made first: directory and name.
    first: HashMap<(u16, u64), (Vec<u8>, Vec<u8>)>,
}

fn name(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

impl<'a> Render<'a> {
    fn new(view: &'a View, into: BorrowedFd<'a>, marks: bool) -> Self {
        Self {
            view,
            into,
            marks,
            path: Vec::new(),
            first: HashMap::new(),
        }
    }

    fn run(mut self, root: Dirs) -> Result<()> {
        let Some((layer, inode)) = root.first().copied() else {
            return Ok(());
        };
        let found = Found {
            layer,
            inode,
            dirs: root,
        };
        disown(self.into)?;
        let mut stack = vec![self.fill(found)?];
        while let Some(frame) = stack.last_mut() {
            self.path.truncate(frame.path);
            match frame.left.pop() {
                Some((name, found)) => {
                    if !self.path.is_empty() {
                        self.path.push(b'/');
                    }
                    self.path.extend_from_slice(&name);
                    let frame = self.fill(found)?;
                    stack.push(frame);
                }
                None => {
                    // Its children are there: now it may become read-only, and get its time.
                    let dir = self.open(&self.path)?;
                    let found = frame.found.clone();
                    self.describe(&found, &dir).doing(|| self.doing(b""))?;
                    stack.pop();
                }
            }
        }
        Ok(())
    }

    fn doing(&self, last: &[u8]) -> String {
        let path = String::from_utf8_lossy(&self.path);
        let last = String::from_utf8_lossy(last);
        format!("write `/{path}/{last}`").escape_debug().to_string()
    }

    /// A directory below the root, through no link.
    fn open(&self, path: &[u8]) -> Result<OwnedFd> {
        let path = if path.is_empty() { &b"."[..] } else { path };
        Ok(rkt_sys::fd::open(
            self.into,
            name(path),
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
        )?)
    }

    /// Makes everything in a directory but what is in its directories.
    fn fill(&mut self, found: Found) -> Result<Frame> {
        let dir = self.open(&self.path).doing(|| self.doing(b""))?;
        let mut left = Vec::new();
        for (child, inside) in self.list(&found)? {
            if inside.inode.is_directory() {
                rustix::fs::mkdirat(&dir, name(&child), Mode::RWXU).doing(|| self.doing(&child))?;
                left.push((child, inside));
            } else {
                self.make(dir.as_fd(), &child, &inside)
                    .doing(|| self.doing(&child))?;
            }
        }
        left.reverse();
        Ok(Frame {
            path: self.path.len(),
            found,
            left,
        })
    }

    fn list(&self, dir: &Found) -> Result<Vec<(Vec<u8>, Found)>> {
        if !self.marks {
            return self.view.below.list(&dir.dirs);
        }
        let index = self.view.below.index(dir.layer)?;
        let mut list = Vec::new();
        for (name, nid) in index.names(&dir.inode)? {
            let inode = index.inode(nid)?;
            let found = Found {
                layer: dir.layer,
                inode,
                dirs: vec![(dir.layer, inode)],
            };
            list.push((name, found));
        }
        Ok(list)
    }

    /// Makes anything that is no directory.
    fn make(&mut self, dir: BorrowedFd<'_>, child: &[u8], found: &Found) -> Result<()> {
        let inode = &found.inode;
        let several = inode.links > 1 && !inode.is_whiteout();
        let key = (found.layer, inode.nid);
        if several && let Some((parent, first)) = self.first.get(&key) {
            let parent = self.open(parent)?;
            match rustix::fs::linkat(&parent, name(first), dir, name(child), AtFlags::empty()) {
                // More names than this file system allows a file: the next ones get a copy.
                Err(Errno::MLINK) => {}
                other => return Ok(other?),
            }
        }
        let (major, minor) = major_minor(inode.u);
        let node = |kind, device| rustix::fs::mknodat(dir, name(child), kind, Mode::RUSR, device);
        let device = rustix::fs::makedev(major, minor);
        match inode.kind() {
            kind::FILE => {
                let file = self.file(dir, child, found)?;
                self.describe(found, &file)?;
            }
            kind::SYMLINK => {
                let target = self.view.below.index(found.layer)?.target(inode)?;
                rustix::fs::symlinkat(name(&target), dir, name(child))?;
            }
            kind::CHAR => node(FileType::CharacterDevice, device)?,
            kind::BLOCK => node(FileType::BlockDevice, device)?,
            kind::FIFO => node(FileType::Fifo, 0)?,
            _ => {
                return Err(Error::new(Kind::Unsupported, "a file of an unknown kind"));
            }
        }
        if inode.kind() != kind::FILE && !inode.is_whiteout() {
            let area = self.view.below.index(found.layer)?.xattrs(inode)?;
            describe_node(dir, child, inode, &area)?;
        }
        if several {
            let place = (self.path.clone(), child.to_vec());
            self.first.insert(key, place);
        }
        Ok(())
    }

    /// Owner, mode, attributes and time of a file or directory, in the order in which one does
    /// not undo another.
    fn describe(&self, found: &Found, fd: &OwnedFd) -> Result<()> {
        let inode = &found.inode;
        let index = self.view.below.index(found.layer)?;
        rustix::fs::fchown(
            fd,
            Some(Uid::from_raw(inode.uid)),
            Some(Gid::from_raw(inode.gid)),
        )?;
        rustix::fs::fchmod(fd, Mode::from_raw_mode(u32::from(inode.mode & 0o7777)))?;
        for (prefix, short, value) in erofs::xattrs(&index.xattrs(inode)?) {
            if let Some(full) = full_name(prefix, short) {
                rustix::fs::fsetxattr(fd, name(&full), value, XattrFlags::empty())?;
            }
        }
        if self.marks && inode.is_directory() && index.is_opaque(inode)? {
            let full = [b"trusted.", erofs::OPAQUE.0].concat();
            rustix::fs::fsetxattr(fd, name(&full), erofs::OPAQUE.1, XattrFlags::empty())?;
        }
        Ok(rustix::fs::futimens(fd, &times(inode))?)
    }
}

/// The whole name of an attribute of an index; `None` for overlayfs's own.
fn full_name(prefix: u8, short: &[u8]) -> Option<Vec<u8>> {
    let prefix: &[u8] = match prefix {
        erofs::XATTR_USER => b"user.",
        erofs::XATTR_SECURITY => b"security.",
        erofs::XATTR_ACL_ACCESS => b"system.posix_acl_access",
        erofs::XATTR_ACL_DEFAULT => b"system.posix_acl_default",
        _ => return None,
    };
    Some([prefix, short].concat())
}

/// Takes away the ACLs that a new directory has from the one it is in: everything below would
/// have them too.
fn disown(dir: BorrowedFd<'_>) -> Result<()> {
    for name in [c"system.posix_acl_default", c"system.posix_acl_access"] {
        match rustix::fs::fremovexattr(dir, name) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

fn times(inode: &Inode) -> Timestamps {
    let time = rustix::fs::Timespec {
        tv_sec: inode.mtime,
        tv_nsec: inode.nsec.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// Owner, mode and time of a symlink, device or fifo.
fn describe_node(dir: BorrowedFd<'_>, child: &[u8], inode: &Inode, area: &[u8]) -> Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let node = rustix::fs::openat(dir, name(child), flags, Mode::empty())?;
    let (uid, gid) = (Uid::from_raw(inode.uid), Gid::from_raw(inode.gid));
    rustix::fs::chownat(&node, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    if inode.kind() != kind::SYMLINK {
        // An O_PATH descriptor takes no fchmod; its own /proc entry leads to the very inode.
        let path = format!("/proc/self/fd/{}", node.as_raw_fd());
        let mode = Mode::from_raw_mode(u32::from(inode.mode & 0o7777));
        rustix::fs::chmod(&path, mode)?;
        for (prefix, short, value) in erofs::xattrs(area) {
            if let Some(full) = full_name(prefix, short) {
                rustix::fs::setxattr(&path, name(&full), value, XattrFlags::empty())?;
            }
        }
    }
    Ok(rustix::fs::utimensat(
        dir,
        name(child),
        &times(inode),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}
