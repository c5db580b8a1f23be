//! From entries to a tree: whiteouts, links, missing parents, and symlinks on the way.
//!
//! Done twice with the same code: while a layer streams by, with nothing known of the layers
//! below, and once more with them at hand when the first time showed that they matter.

mod aci;

use super::below::{Below, Found, Way};
use super::entry::{Entry, Segment, What, components, show};
use super::form::Form;
use super::tree::{COPY, Ino, Inode, Map, Node, ROOT, Tree};
use crate::erofs::{self, kind};
use crate::error::{Error, Kind, Result};
use rkt_spec::Digest;

/// Most symlinks on the way of one path.
const MAX_LINKS: usize = 40;
/// Most steps of all paths together.
const MAX_STEPS: u64 = 40_000_000;
/// Most of them along the targets of symlinks, which make many of a few bytes.
const MAX_TURNS: u64 = 10_000_000;
/// Most chunks of one file with holes.
const MAX_CHUNKS: u64 = 64 << 10;
/// Most bytes of one file that are copied because its parts lie on no block.
const MAX_COPY: u64 = 64 << 20;

/// From here on a device number is that of a lower layer's own index, topmost first: some data
/// of files with holes lie there and not in a tar. Such data are copied, never mapped.
pub(crate) const LOWER_INDEX: u16 = 0x8000;

/// A part of a file that is no hole, and where its bytes are.
struct Part {
    offset: u64,
    length: u64,
    device: u16,
    at: u64,
}

/// The layers below, and what of them became part of this layer's index.
pub(crate) struct Lower<'a> {
    pub(crate) below: &'a Below,
    /// For each layer (topmost first) the tars that its index names.
    pub(crate) devices: Vec<Vec<Digest>>,
}

/// Collects the entries of one layer.
pub(crate) struct Apply<'a> {
    pub(crate) tree: Tree,
    lower: Option<Lower<'a>>,
    /// Tars of lower layers that hard links point into; device 2 and on.
    pub(crate) borrowed: Vec<Digest>,
    /// Entries that made something.
    pub(crate) entries: u64,
    /// Whether a hard link points at something that this layer does not have.
    pub(crate) unresolved: bool,
    /// Whether lower layers' things are taken away.
    pub(crate) whiteouts: bool,
    form: Form,
    /// Where the manifest of an App Container Image lies in the tar: position and bytes.
    manifest: Option<(u64, u64)>,
    steps: u64,
    /// Those of them along the targets of symlinks.
    turns: u64,
}

fn corrupt(why: impl Into<String>) -> Error {
    Error::new(Kind::Corrupt, why)
}

impl<'a> Apply<'a> {
    pub(crate) fn new(tree: Tree, form: Form, lower: Option<Lower<'a>>) -> Self {
        Self {
            tree,
            lower,
            borrowed: Vec::new(),
            entries: 0,
            unresolved: false,
            whiteouts: false,
            form,
            manifest: None,
            steps: 0,
            turns: 0,
        }
    }

    /// Takes one more entry.
    pub(crate) fn entry(&mut self, entry: &Entry) -> Result<()> {
        let taken = match self.form {
            Form::Oci => self.take(entry),
            Form::Aci => self.take_aci(entry),
        };
        taken.map_err(|e| e.while_doing(format!("read entry `{}`", show(&entry.path))))
    }

    fn take(&mut self, entry: &Entry) -> Result<()> {
        let parts = components(&entry.path)?;
        let Some((last, parents)) = parts.split_last() else {
            return self.root(entry);
        };
        if parents.iter().any(|p| p.starts_with(b".wh.")) || is_aufs(last) {
            // Aufs's own books: .wh..wh.plnk, .wh..wh.orph, .wh..wh.aufs.
            if is_aufs(last) || parents.iter().any(|p| is_aufs(p)) {
                return Ok(());
            }
            return Err(corrupt("a whiteout has no children"));
        }
        let Some(dir) = self.walk(parents)? else {
            return Err(corrupt("its parent cannot be made"));
        };
        self.entries += 1;
        if *last == b".wh..wh..opq" {
            self.whiteouts = true;
            self.tree.inode_mut(dir)?.opaque = true;
            return Ok(());
        }
        if let Some(name) = last.strip_prefix(b".wh.") {
            if matches!(name, b"" | b"." | b"..") {
                return Err(corrupt("it takes away nothing that has a name"));
            }
            self.whiteouts = true;
            return self.tree.whiteout(dir, name);
        }
        self.put(dir, last, entry)
    }

    fn root(&mut self, entry: &Entry) -> Result<()> {
        if entry.what != What::Directory {
            return Err(corrupt("the root is no directory"));
        }
        self.entries += 1;
        self.describe(ROOT, entry)
    }

    /// Gives a directory the attributes of its entry.
    fn describe(&mut self, ino: Ino, entry: &Entry) -> Result<()> {
        let xattrs = self.tree.keep_xattrs(&entry.xattrs)?;
        let old = *self.tree.inode(ino)?;
        *self.tree.inode_mut(ino)? = Inode {
            node: old.node,
            opaque: old.opaque,
            ..inode(entry, old.node, xattrs)
        };
        Ok(())
    }

    fn put(&mut self, dir: Ino, name: &[u8], entry: &Entry) -> Result<()> {
        if entry.what == What::Directory {
            let known = self.tree.child(dir, name);
            let ino = match known {
                Some(ino) if self.tree.inode(ino)?.is_directory() => ino,
                _ => self.tree.add_directory(dir, name)?,
            };
            return self.describe(ino, entry);
        }
        let ino = match entry.what {
            What::HardLink => match self.target(&entry.link)? {
                Some(ino) => ino,
                None if self.lower.is_some() || self.form == Form::Aci => {
                    let text = format!("its target `{}` does not exist", show(&entry.link));
                    return Err(corrupt(text));
                }
                None => {
                    self.unresolved = true;
                    return Ok(());
                }
            },
            _ => {
                let node = self.node(entry)?;
                let xattrs = self.tree.keep_xattrs(&entry.xattrs)?;
                self.tree.add(inode(entry, node, xattrs))?
            }
        };
        self.tree.name(dir, name, ino)
    }

    fn node(&mut self, entry: &Entry) -> Result<Node> {
        let rdev = erofs::rdev(entry.major, entry.minor);
        Ok(match entry.what {
            What::Symlink => {
                let len = u16::try_from(entry.link.len()).unwrap_or(u16::MAX);
                if entry.link.is_empty() || len > 4095 || entry.link.contains(&0) {
                    return Err(corrupt("its target is no path"));
                }
                Node::Symlink {
                    at: self.tree.keep(&entry.link)?,
                    len,
                }
            }
            What::Char if rdev == 0 => {
                return Err(corrupt("the device 0:0 is how overlayfs hides files"));
            }
            What::Char => Node::Char { rdev },
            What::Block => Node::Block { rdev },
            What::Fifo => Node::Fifo,
            _ => match &entry.segments {
                Some(segments) => self.holes(entry.size, segments)?,
                None => Node::File {
                    size: entry.size,
                    block: block(entry.data)?,
                    device: 1,
                },
            },
        })
    }

    /// Chunks for a file with holes: on the blocks of the tar where its parts allow it.
    fn holes(&mut self, size: u64, segments: &[Segment]) -> Result<Node> {
        let part = |s: &Segment| Part {
            offset: s.offset,
            length: s.length,
            device: 1,
            at: s.at,
        };
        self.parts(size, segments.iter().map(part).collect())
    }

    fn parts(&mut self, size: u64, parts: Vec<Part>) -> Result<Node> {
        if size == 0 {
            return Ok(Node::File {
                size,
                block: 0,
                device: 1,
            });
        }
        let edges = parts.iter().fold(0u64, |bits, s| {
            let end = s.offset + s.length;
            bits | s.offset | if end == size { 0 } else { end }
        });
        let on_blocks = edges % 512 == 0
            && parts
                .iter()
                .all(|s| s.at % 512 == 0 && s.device < LOWER_INDEX);
        let largest = 63 - size.next_power_of_two().leading_zeros();
        let aligned = edges.trailing_zeros().min(largest.max(9)).min(40);
        let fits = |shift: u32| size.div_ceil(1 << shift) <= MAX_CHUNKS;
        if on_blocks && fits(aligned) {
            return self.map(size, &parts, aligned, false);
        }
        let shift = (12..30).find(|s| fits(*s)).unwrap_or(30);
        let data: u64 = parts.iter().map(|s| s.length).sum();
        // Each part may share its first and last chunk with holes.
        let copied = data.saturating_add((parts.len() as u64) << (shift + 1));
        if !fits(shift) || copied > MAX_COPY {
            return Err(Error::new(
                Kind::TooLarge,
                "its holes lie such that it cannot be mapped",
            ));
        }
        self.map(size, &parts, shift, true)
    }

    fn map(&mut self, size: u64, parts: &[Part], shift: u32, copy: bool) -> Result<Node> {
        let chunk = 1u64 << shift;
        let count = size.div_ceil(chunk);
        self.tree.charge(count as usize * 8)?;
        let mut chunks = vec![(0u16, u32::MAX); count as usize];
        for part in parts {
            let first = part.offset / chunk;
            let last = (part.offset + part.length).div_ceil(chunk);
            for index in first..last {
                if let Some(place) = chunks.get_mut(index as usize) {
                    *place = if copy {
                        (COPY, 0)
                    } else {
                        let at = part.at + (index * chunk - part.offset);
                        (part.device, block(at)?)
                    };
                }
            }
        }
        let segments = parts
            .iter()
            .filter(|_| copy)
            .map(|s| (s.offset, s.length, s.device, s.at))
            .collect();
        let map = self.tree.keep_map(Map {
            shift: (shift - 9) as u8,
            chunks,
            segments,
        })?;
        Ok(Node::Holes { size, map })
    }

    /// The directory behind these names, made where it is missing, through symlinks of this and
    /// of lower layers, never above the root.
    fn walk(&mut self, parts: &[&[u8]]) -> Result<Option<Ino>> {
        let mut todo = Way::default();
        let mut parts = parts.iter();
        let (mut dir, mut links) = (ROOT, 0);
        loop {
            let name = match todo.next_part() {
                Some(name) => {
                    // Those that lead nowhere count: a target may be four thousand slashes.
                    self.turns += 1;
                    name
                }
                None => match parts.next() {
                    Some(name) => name,
                    None => return Ok(Some(dir)),
                },
            };
            self.steps += 1;
            if self.steps > MAX_STEPS || self.turns > MAX_TURNS {
                return Err(Error::new(
                    Kind::TooLarge,
                    "the paths of the layer take too many steps",
                ));
            }
            if name.is_empty() || name == b"." {
                continue;
            }
            if name == b".." {
                if let Node::Directory { parent, .. } = self.tree.inode(dir)?.node {
                    dir = parent;
                }
                continue;
            }
            let target = match self.tree.child(dir, name) {
                Some(ino) => match self.tree.inode(ino)?.node {
                    Node::Directory { .. } => {
                        dir = ino;
                        continue;
                    }
                    Node::Symlink { at, len } => self.tree.bytes(at, len.into()).to_vec(),
                    _ => {
                        let text = format!("`{}` on its way is no directory", show(name));
                        return Err(corrupt(text));
                    }
                },
                None => match self.lower_link(dir, name)? {
                    Some(target) => target,
                    None => {
                        dir = self.tree.add_directory(dir, name)?;
                        continue;
                    }
                },
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(corrupt("its path goes through too many symlinks"));
            }
            if target.starts_with(b"/") {
                dir = ROOT;
            }
            todo.push(target);
        }
    }

    /// What lower layers show of a name, unless this layer hides it.
    fn lower(&self, dir: Ino, name: &[u8]) -> Result<Option<Found>> {
        let Some(lower) = self.lower.as_ref().filter(|_| self.form == Form::Oci) else {
            return Ok(None);
        };
        if lower.below.is_empty() || self.tree.find(dir, name).is_some_and(|n| n.whiteout) {
            return Ok(None);
        }
        let Some(mut path) = self.tree.path(dir)? else {
            return Ok(None);
        };
        path.push(name.to_vec());
        lower.below.walk(&path)
    }

    fn lower_link(&self, dir: Ino, name: &[u8]) -> Result<Option<Vec<u8>>> {
        match (self.lower(dir, name)?, &self.lower) {
            (Some(found), Some(lower)) if found.inode.kind() == kind::SYMLINK => {
                let index = lower.below.index(found.layer)?;
                Ok(Some(index.target(&found.inode)?))
            }
            _ => Ok(None),
        }
    }

    /// The inode that a hard link means; symlinks are followed on the way, not at the end.
    fn target(&mut self, link: &[u8]) -> Result<Option<Ino>> {
        let parts = components(link)?;
        let Some((last, parents)) = parts.split_last() else {
            return Err(corrupt("its target is the root"));
        };
        let Some(dir) = self.walk(parents)? else {
            return Ok(None);
        };
        if let Some(ino) = self.tree.child(dir, last) {
            let inode = self.tree.inode(ino)?;
            if !inode.is_directory() {
                return Ok(Some(ino));
            }
            if inode.explicit || self.lower.is_some() {
                return Err(corrupt("its target is a directory"));
            }
            // Only on the way so far; a lower layer may have a symlink there.
            return Ok(None);
        }
        match self.lower(dir, last)? {
            Some(found) if found.inode.is_directory() => Err(corrupt("its target is a directory")),
            Some(found) => self.borrow(&found).map(Some),
            None => Ok(None),
        }
    }

    /// Copies up a file of a lower layer; its data stay where they are.
    fn borrow(&mut self, found: &Found) -> Result<Ino> {
        let Some(lower) = &self.lower else {
            return Err(corrupt("its target is in no layer"));
        };
        let index = lower.below.index(found.layer)?;
        let from = found.inode;
        let area = index.xattrs(&from)?;
        let mut pieces = Vec::new();
        let mut target = Vec::new();
        match from.kind() {
            kind::FILE => pieces = index.pieces(&from)?,
            kind::SYMLINK => target = index.target(&from)?,
            _ => {}
        }
        let devices = lower.devices.get(usize::from(found.layer));
        let devices = devices.map_or(&[][..], Vec::as_slice).to_vec();
        let node = match from.kind() {
            kind::SYMLINK => Node::Symlink {
                at: self.tree.keep(&target)?,
                len: u16::try_from(target.len()).unwrap_or(4095),
            },
            kind::CHAR => Node::Char { rdev: from.u },
            kind::BLOCK => Node::Block { rdev: from.u },
            kind::FIFO => Node::Fifo,
            kind::FILE => match pieces.as_slice() {
                [] if from.size == 0 => Node::File {
                    size: 0,
                    block: 0,
                    device: 1,
                },
                [one] if one.length == from.size && one.device != 0 => Node::File {
                    size: from.size,
                    block: block(one.at)?,
                    device: self.device(&devices, one.device)?,
                },
                _ => {
                    let mut parts = Vec::with_capacity(pieces.len());
                    for piece in &pieces {
                        parts.push(Part {
                            offset: piece.offset,
                            length: piece.length,
                            device: match piece.device {
                                0 => LOWER_INDEX + found.layer,
                                number => self.device(&devices, number)?,
                            },
                            at: piece.at,
                        });
                    }
                    self.parts(from.size, parts)?
                }
            },
            _ => return Err(corrupt("its target is of an unknown kind")),
        };
        let xattrs = self.tree.keep_xattrs(&area)?;
        self.tree.add(Inode {
            node,
            mtime: from.mtime,
            nsec: from.nsec,
            uid: from.uid,
            gid: from.gid,
            links: 0,
            xattrs,
            mode: from.mode & 0o7777,
            explicit: true,
            opaque: false,
        })
    }

    fn device(&mut self, devices: &[Digest], number: u16) -> Result<u16> {
        let tar = usize::from(number)
            .checked_sub(1)
            .and_then(|n| devices.get(n))
            .ok_or_else(|| corrupt("a lower index names a tar that it has not"))?;
        let known = self.borrowed.iter().position(|d| d == tar);
        let at = known.unwrap_or_else(|| {
            self.borrowed.push(tar.clone());
            self.borrowed.len() - 1
        });
        u16::try_from(at + 2).map_err(|_| corrupt("too many lower layers"))
    }
}

fn is_aufs(name: &[u8]) -> bool {
    name.starts_with(b".wh..wh.") && name != b".wh..wh..opq"
}

fn block(at: u64) -> Result<u32> {
    u32::try_from(at / 512).map_err(|_| Error::new(Kind::TooLarge, "it lies past 2 TiB"))
}

fn inode(entry: &Entry, node: Node, xattrs: u32) -> Inode {
    Inode {
        node,
        mtime: entry.mtime,
        nsec: entry.nsec,
        uid: entry.uid,
        gid: entry.gid,
        links: 0,
        xattrs,
        // Of a symlink nobody asks, and other file systems say 0777 always.
        mode: if entry.what == What::Symlink {
            0o777
        } else {
            entry.mode
        },
        explicit: true,
        opaque: false,
    }
}
