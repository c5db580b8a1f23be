//! What lies in a store, what it weighs, and what of it gc would take.

use super::{Store, entries, gc};
use crate::error::{Doing, Result};
use crate::layer::{self, ChainId, disk::chain_dir, disk::layer_dir};
use rkt_spec::Digest;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use std::collections::BTreeSet;
use std::path::Path;

/// Deepest directory that is looked into; what lies deeper is not counted.
const DEEPEST: usize = 512;

/// Things of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Part {
    /// How many.
    pub count: u64,
    /// Bytes of disk.
    pub bytes: u64,
    /// Bytes that the next gc gives back.
    pub unused: u64,
}

/// Everything in a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Images.
    pub images: Part,
    /// Manifests and configurations.
    pub blobs: Part,
    /// Layers as their uncompressed tars.
    pub tars: Part,
    /// Indexes of layers alone and in chains, with what lies beside them.
    pub indexes: Part,
    /// Layers as directories, where EROFS cannot be mounted.
    pub trees: Part,
    /// What broken or running fetches have in `tmp`.
    pub unfinished: Part,
}

impl Part {
    fn add(&mut self, bytes: u64, used: bool) {
        self.count += 1;
        self.bytes += bytes;
        self.unused += if used { 0 } else { bytes };
    }
}

impl Store {
    /// Weighs the store. `in_use` are the chains that pods were made of.
    ///
    /// # Errors
    /// When the store cannot be read; what goes away meanwhile is not counted.
    pub fn usage(&self, in_use: &[Digest]) -> Result<Usage> {
        self.weigh(in_use)
            .doing(|| format!("weigh image store `{}`", self.dir.display()))
    }

    fn weigh(&self, in_use: &[Digest]) -> Result<Usage> {
        let dir = &self.dir;
        let marks = gc::mark(dir, in_use, &BTreeSet::new())?;
        let mut usage = Usage::default();
        for path in entries(&dir.join("images"))? {
            usage.images.add(tree_bytes(&path), true);
        }
        for place in ["blobs/sha256", "blobs/sha512"] {
            for path in entries(&dir.join(place))? {
                let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
                usage
                    .blobs
                    .add(tree_bytes(&path), marks.blobs.contains(name));
            }
        }
        for diff in layer::layers(dir)? {
            let used = marks.unexplained || marks.layers.contains(&diff);
            let at = layer_dir(dir, &diff);
            usage.tars.add(tree_bytes(&at.join("tar")), used);
            let index = tree_bytes(&at.join("index")) + tree_bytes(&at.join("info"));
            usage.indexes.add(index, used);
        }
        for chain in layer::chains(dir)? {
            let used = marks.chains.contains(chain.digest());
            weigh_chain(dir, &chain, used, &mut usage);
        }
        for path in entries(&dir.join("tmp"))? {
            usage.unfinished.add(tree_bytes(&path), false);
        }
        Ok(usage)
    }
}

fn weigh_chain(dir: &Path, chain: &ChainId, used: bool, usage: &mut Usage) {
    let at = chain_dir(dir, chain);
    let tree = at.join("tree");
    let tree_weighs = match tree.exists() {
        true => tree_bytes(&tree),
        false => 0,
    };
    if tree_weighs != 0 {
        usage.trees.add(tree_weighs, used);
    }
    usage.indexes.add(tree_bytes(&at) - tree_weighs, used);
}

/// Bytes of disk of a file or of everything in a directory, files with several names once. Goes
/// by descriptors and follows no link, so it may look at what an app is changing; 0 for what is
/// not there or goes away.
pub fn tree_bytes(path: &Path) -> u64 {
    let Ok(stat) = rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) else {
        return 0;
    };
    let own = blocks(&stat);
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return own;
    }
    let Ok(dir) = open(CWD, path) else {
        return own;
    };
    let mut walk = Walk {
        linked: BTreeSet::new(),
        device: stat.st_dev,
    };
    own + walk.directory(dir, 0)
}

struct Walk {
    linked: BTreeSet<u64>,
    /// What is mounted below belongs to somebody else.
    device: u64,
}

impl Walk {
    fn directory(&mut self, dir: OwnedFd, depth: usize) -> u64 {
        let Ok(list) = Dir::read_from(&dir) else {
            return 0;
        };
        let mut bytes = 0;
        for entry in list.flatten() {
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let Ok(stat) = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if stat.st_dev != self.device
                || !is_directory && stat.st_nlink > 1 && !self.linked.insert(stat.st_ino)
            {
                continue;
            }
            bytes += blocks(&stat);
            if is_directory
                && depth < DEEPEST
                && let Ok(inside) = open(dir.as_fd(), name)
            {
                bytes += self.directory(inside, depth + 1);
            }
        }
        bytes
    }
}

fn open(dir: BorrowedFd<'_>, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

fn blocks(stat: &rustix::fs::Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0) * 512
}
