//! The tree of one layer: names and inodes in memory of bounded size.
//!
//! 48 bytes an inode, 16 a name, 4..8 for its place in the hash table, and the bytes of names,
//! link targets and attributes. A layer that wants more than its limit is refused before the
//! memory is taken.

use crate::error::{Error, Kind, Result};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// Number of an inode in its tree; the root is 0.
pub(crate) type Ino = u32;
/// The root directory.
pub(crate) const ROOT: Ino = 0;
/// No inode, no attributes.
pub(crate) const NONE: u32 = u32::MAX;
/// Device of a chunk whose bytes are copied into the index.
pub(crate) const COPY: u16 = u16::MAX;

/// What an inode is. Sixteen bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    Directory {
        parent: Ino,
        /// Number of its name while the tree grows.
        name: u32,
        /// Bytes and components of its path.
        path: u16,
        depth: u16,
    },
    /// Data lie together: `size` bytes from `block` (of 512 bytes) of device `device` (1 is the
    /// layer's own tar).
    File {
        size: u64,
        block: u32,
        device: u16,
    },
    /// Data with holes: entry `map` of [`Tree::maps`].
    Holes {
        size: u64,
        map: u32,
    },
    Symlink {
        at: u32,
        len: u16,
    },
    Char {
        rdev: u32,
    },
    Block {
        rdev: u32,
    },
    Fifo,
}

/// One inode.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inode {
    pub(crate) node: Node,
    pub(crate) mtime: i64,
    pub(crate) nsec: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Number of names; set by [`Sealed::count_links`].
    pub(crate) links: u32,
    /// Where the attributes begin in the bytes, or [`NONE`].
    pub(crate) xattrs: u32,
    /// Permission bits, at most 0o7777.
    pub(crate) mode: u16,
    /// Whether the layer has an entry for it; a directory without one is only on the way.
    pub(crate) explicit: bool,
    /// Whether it hides what lower layers have below it.
    pub(crate) opaque: bool,
}

/// One name in a directory. Sixteen bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Name {
    pub(crate) dir: Ino,
    /// [`NONE`] when there is only a whiteout.
    pub(crate) ino: Ino,
    at: u32,
    len: u8,
    /// Whether the layer says that lower layers' thing of this name is gone.
    pub(crate) whiteout: bool,
}

/// A file with holes, in chunks of `512 << shift` bytes.
#[derive(Debug, Clone)]
pub(crate) struct Map {
    pub(crate) shift: u8,
    /// One a chunk: device and block there; device 0 is a hole, [`COPY`] is assembled from
    /// `segments`.
    pub(crate) chunks: Vec<(u16, u32)>,
    /// Where the bytes are: offset in the file, length, device, position there.
    pub(crate) segments: Vec<(u64, u64, u16, u64)>,
}

/// A tree that still grows.
#[derive(Debug)]
pub(crate) struct Tree {
    inodes: Vec<Inode>,
    names: Vec<Name>,
    bytes: Vec<u8>,
    maps: Vec<Map>,
    slots: Vec<u32>,
    hash: RandomState,
    used: u64,
    limit: u64,
    depth: u16,
}

fn too_large(what: &str) -> Error {
    Error::new(Kind::TooLarge, what)
}

impl Tree {
    /// An empty root: 0755, owned by root, of no time.
    pub(crate) fn new(limit: u64, depth: u16) -> Self {
        let root = Inode::directory(ROOT, 0, 0);
        Self {
            inodes: vec![root],
            names: Vec::new(),
            bytes: Vec::new(),
            maps: Vec::new(),
            slots: vec![0; 1024],
            hash: RandomState::new(),
            used: 0,
            limit,
            depth,
        }
    }

    /// Books memory before it is taken.
    pub(crate) fn charge(&mut self, bytes: usize) -> Result<()> {
        self.used = self.used.saturating_add(bytes as u64);
        if self.used > self.limit {
            return Err(too_large(
                "the names and attributes of its files need too much memory (`--layer-limits=metadata=SIZE` allows more)",
            ));
        }
        Ok(())
    }

    pub(crate) fn inode(&self, ino: Ino) -> Result<&Inode> {
        self.inodes.get(ino as usize).ok_or_else(lost)
    }

    pub(crate) fn inode_mut(&mut self, ino: Ino) -> Result<&mut Inode> {
        self.inodes.get_mut(ino as usize).ok_or_else(lost)
    }

    pub(crate) fn bytes(&self, at: u32, len: usize) -> &[u8] {
        slice(&self.bytes, at, len)
    }

    /// Keeps bytes and says where.
    pub(crate) fn keep(&mut self, bytes: &[u8]) -> Result<u32> {
        self.charge(bytes.len())?;
        let at = u32::try_from(self.bytes.len()).map_err(|_| too_large("too many names"))?;
        self.bytes.extend_from_slice(bytes);
        Ok(at)
    }

    /// Keeps attributes in their form on disk; [`NONE`] when there are none.
    pub(crate) fn keep_xattrs(&mut self, entries: &[u8]) -> Result<u32> {
        if entries.is_empty() {
            return Ok(NONE);
        }
        let len = u32::try_from(entries.len()).map_err(|_| too_large("attributes"))?;
        let at = self.keep(&len.to_le_bytes())?;
        self.keep(entries)?;
        Ok(at)
    }

    /// Keeps a map of holes.
    pub(crate) fn keep_map(&mut self, map: Map) -> Result<u32> {
        self.charge(64 + map.chunks.len() * 8 + map.segments.len() * 32)?;
        self.maps.push(map);
        u32::try_from(self.maps.len() - 1).map_err(|_| too_large("maps"))
    }

    pub(crate) fn add(&mut self, inode: Inode) -> Result<Ino> {
        self.charge(size_of::<Inode>())?;
        let ino = u32::try_from(self.inodes.len()).map_err(|_| too_large("too many files"))?;
        if ino == NONE {
            return Err(too_large("too many files"));
        }
        self.inodes.push(inode);
        Ok(ino)
    }

    /// Makes a directory of this name that has no entry of its own (yet).
    pub(crate) fn add_directory(&mut self, parent: Ino, name: &[u8]) -> Result<Ino> {
        let Node::Directory { path, depth, .. } = self.inode(parent)?.node else {
            return Err(lost());
        };
        let path = u16::try_from(usize::from(path) + name.len() + 1).unwrap_or(u16::MAX);
        let depth = depth.saturating_add(1);
        if path > 4096 {
            return Err(too_large("a path is longer than 4096 bytes"));
        }
        if depth > self.depth {
            return Err(too_large(
                "a path is too deep (`--layer-limits=depth=N` allows more)",
            ));
        }
        let ino = self.add(Inode::directory(parent, path, depth))?;
        let index = self.entry(parent, name)?;
        if let Some(name) = self.names.get_mut(index) {
            name.ino = ino;
        }
        let number = u32::try_from(index).map_err(|_| too_large("too many names"))?;
        if let Node::Directory { name, .. } = &mut self.inode_mut(ino)?.node {
            *name = number;
        }
        Ok(ino)
    }

    /// The names on the way to a directory, unless this layer hides what lower layers have there.
    pub(crate) fn path(&self, mut dir: Ino) -> Result<Option<Vec<Vec<u8>>>> {
        let mut path = Vec::new();
        loop {
            let inode = self.inode(dir)?;
            let Node::Directory { parent, name, .. } = inode.node else {
                return Err(lost());
            };
            if inode.opaque {
                return Ok(None);
            }
            if dir == ROOT {
                path.reverse();
                return Ok(Some(path));
            }
            let name = self.names.get(name as usize).ok_or_else(lost)?;
            if name.whiteout {
                return Ok(None);
            }
            path.push(slice(&self.bytes, name.at, name.len.into()).to_vec());
            dir = parent;
        }
    }

    /// What a name in a directory stands for.
    pub(crate) fn find(&self, dir: Ino, name: &[u8]) -> Option<&Name> {
        let slot = self.slot(dir, name);
        self.names
            .get((*self.slots.get(slot)? as usize).checked_sub(1)?)
    }

    /// The inode of a name, if the layer has one.
    pub(crate) fn child(&self, dir: Ino, name: &[u8]) -> Option<Ino> {
        self.find(dir, name).map(|n| n.ino).filter(|i| *i != NONE)
    }

    /// Gives a name to an inode; what had the name loses it.
    pub(crate) fn name(&mut self, dir: Ino, name: &[u8], ino: Ino) -> Result<()> {
        let index = self.entry(dir, name)?;
        self.names.get_mut(index).ok_or_else(lost)?.ino = ino;
        Ok(())
    }

    /// Notes that lower layers' thing of this name is gone.
    pub(crate) fn whiteout(&mut self, dir: Ino, name: &[u8]) -> Result<()> {
        let index = self.entry(dir, name)?;
        self.names.get_mut(index).ok_or_else(lost)?.whiteout = true;
        Ok(())
    }

    /// Number of a name, which is made when it is new.
    fn entry(&mut self, dir: Ino, name: &[u8]) -> Result<usize> {
        let slot = self.slot(dir, name);
        let known = self.slots.get(slot).map_or(0, |i| *i as usize);
        match known.checked_sub(1) {
            Some(index) => Ok(index),
            None => self.insert(dir, name),
        }
    }

    fn insert(&mut self, dir: Ino, name: &[u8]) -> Result<usize> {
        // Twice a slot: after growth the table is half full at least.
        self.charge(size_of::<Name>() + 8)?;
        let len = u8::try_from(name.len()).map_err(|_| too_large("a name is too long"))?;
        let at = self.keep(name)?;
        if (self.names.len() + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        let slot = self.slot(dir, name);
        self.names.push(Name {
            dir,
            ino: NONE,
            at,
            len,
            whiteout: false,
        });
        let count = u32::try_from(self.names.len()).map_err(|_| too_large("too many names"))?;
        if let Some(place) = self.slots.get_mut(slot) {
            *place = count;
        }
        Ok(self.names.len() - 1)
    }

    fn grow(&mut self) {
        self.slots = vec![0; self.slots.len() * 2];
        for index in 0..self.names.len() {
            let Some(name) = self.names.get(index).copied() else {
                continue;
            };
            let mut slot = self.start(name.dir, slice(&self.bytes, name.at, name.len.into()));
            while self.slots.get(slot).is_some_and(|s| *s != 0) {
                slot = (slot + 1) & (self.slots.len() - 1);
            }
            if let (Some(place), Ok(number)) = (self.slots.get_mut(slot), u32::try_from(index + 1))
            {
                *place = number;
            }
        }
    }

    fn start(&self, dir: Ino, name: &[u8]) -> usize {
        let mut hasher = self.hash.build_hasher();
        hasher.write_u32(dir);
        hasher.write(name);
        hasher.finish() as usize & (self.slots.len() - 1)
    }

    /// The slot that holds the name, or the free one where it belongs.
    fn slot(&self, dir: Ino, name: &[u8]) -> usize {
        let mut slot = self.start(dir, name);
        loop {
            match self.slots.get(slot).map(|s| *s as usize) {
                None | Some(0) => return slot,
                Some(number) => {
                    if self.names.get(number - 1).is_some_and(|n| {
                        n.dir == dir && slice(&self.bytes, n.at, n.len.into()) == name
                    }) {
                        return slot;
                    }
                }
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    /// Sorts the names; nothing is added by path from here on.
    pub(crate) fn seal(self) -> Result<Sealed> {
        let Self {
            inodes,
            mut names,
            bytes,
            maps,
            slots,
            ..
        } = self;
        drop(slots);
        names.sort_unstable_by(|a, b| {
            (a.dir, slice(&bytes, a.at, a.len.into()))
                .cmp(&(b.dir, slice(&bytes, b.at, b.len.into())))
        });
        Ok(Sealed {
            inodes,
            names,
            bytes,
            maps,
        })
    }
}

impl Inode {
    /// A directory that no entry has spoken of: 0755, owned by root, of no time.
    pub(crate) fn directory(parent: Ino, path: u16, depth: u16) -> Self {
        Self {
            node: Node::Directory {
                parent,
                name: NONE,
                path,
                depth,
            },
            mtime: 0,
            nsec: 0,
            uid: 0,
            gid: 0,
            links: 0,
            xattrs: NONE,
            mode: 0o755,
            explicit: false,
            opaque: false,
        }
    }

    /// The device 0:0 that overlayfs takes for "gone".
    pub(crate) fn gone() -> Self {
        Self {
            node: Node::Char { rdev: 0 },
            mode: 0,
            explicit: true,
            ..Self::directory(ROOT, 0, 0)
        }
    }

    pub(crate) fn is_directory(&self) -> bool {
        matches!(self.node, Node::Directory { .. })
    }
}

fn lost() -> Error {
    Error::new(Kind::System, "the tree of the layer has lost an inode")
}

fn slice(bytes: &[u8], at: u32, len: usize) -> &[u8] {
    bytes.get(at as usize..at as usize + len).unwrap_or(&[])
}

/// A tree whose names are in order.
#[derive(Debug)]
pub(crate) struct Sealed {
    inodes: Vec<Inode>,
    names: Vec<Name>,
    bytes: Vec<u8>,
    maps: Vec<Map>,
}

impl Sealed {
    pub(crate) fn inode(&self, ino: Ino) -> Result<&Inode> {
        self.inodes.get(ino as usize).ok_or_else(lost)
    }

    pub(crate) fn inode_mut(&mut self, ino: Ino) -> Result<&mut Inode> {
        self.inodes.get_mut(ino as usize).ok_or_else(lost)
    }

    pub(crate) fn inodes(&self) -> usize {
        self.inodes.len()
    }

    /// Where the names of a directory lie in [`Sealed::name_at`]'s numbers.
    pub(crate) fn range(&self, dir: Ino) -> std::ops::Range<usize> {
        let start = self.names.partition_point(|n| n.dir < dir);
        let rest = self.names.get(start..).unwrap_or(&[]);
        start..start + rest.partition_point(|n| n.dir == dir)
    }

    pub(crate) fn name_at(&self, index: usize) -> Option<&Name> {
        self.names.get(index)
    }

    pub(crate) fn set_ino(&mut self, index: usize, ino: Ino) {
        if let Some(name) = self.names.get_mut(index) {
            name.ino = ino;
        }
    }

    /// The names of a directory in order of their bytes, those that stand for something.
    pub(crate) fn children(&self, dir: Ino) -> impl Iterator<Item = (&[u8], Ino)> + Clone {
        self.names
            .get(self.range(dir))
            .unwrap_or(&[])
            .iter()
            .filter(|n| n.ino != NONE)
            .map(|n| (self.text(n), n.ino))
    }

    pub(crate) fn text(&self, name: &Name) -> &[u8] {
        slice(&self.bytes, name.at, name.len.into())
    }

    pub(crate) fn bytes(&self, at: u32, len: usize) -> &[u8] {
        slice(&self.bytes, at, len)
    }

    /// The attributes of an inode in their form on disk, without the mark of opaqueness.
    pub(crate) fn xattrs(&self, inode: &Inode) -> &[u8] {
        if inode.xattrs == NONE {
            return &[];
        }
        let mut len = [0; 4];
        len.copy_from_slice(match slice(&self.bytes, inode.xattrs, 4) {
            four if four.len() == 4 => four,
            _ => &[0; 4],
        });
        slice(
            &self.bytes,
            inode.xattrs.saturating_add(4),
            u32::from_le_bytes(len) as usize,
        )
    }

    pub(crate) fn map(&self, map: u32) -> Result<&Map> {
        self.maps.get(map as usize).ok_or_else(lost)
    }

    /// Adds an inode that has no name yet.
    pub(crate) fn add(&mut self, inode: Inode) -> Result<Ino> {
        self.inodes.push(inode);
        u32::try_from(self.inodes.len() - 1).map_err(|_| too_large("too many files"))
    }

    /// Keeps attributes of a lower layer's directory.
    pub(crate) fn keep_xattrs(&mut self, entries: &[u8]) -> Result<u32> {
        if entries.is_empty() {
            return Ok(NONE);
        }
        let at = u32::try_from(self.bytes.len()).map_err(|_| too_large("attributes"))?;
        let len = u32::try_from(entries.len()).map_err(|_| too_large("attributes"))?;
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(entries);
        Ok(at)
    }

    /// Counts the names of everything that can be reached from the root.
    pub(crate) fn count_links(&mut self) -> Result<()> {
        for inode in &mut self.inodes {
            inode.links = 0;
        }
        self.inode_mut(ROOT)?.links = 2;
        let mut todo = vec![ROOT];
        while let Some(dir) = todo.pop() {
            for index in self.range(dir) {
                let Some(ino) = self.name_at(index).map(|n| n.ino).filter(|i| *i != NONE) else {
                    continue;
                };
                let inode = self.inode_mut(ino)?;
                if inode.is_directory() {
                    inode.links = 2;
                    self.inode_mut(dir)?.links += 1;
                    todo.push(ino);
                } else {
                    inode.links += 1;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_the_sizes_that_the_limits_count_with() {
        assert_eq!(size_of::<Node>(), 16);
        assert_eq!(size_of::<Inode>(), 48);
        assert_eq!(size_of::<Name>(), 16);
    }

    #[test]
    fn names_are_found_again_and_sorted_as_bytes() {
        let mut tree = Tree::new(1 << 24, 16);
        for n in 0..5000u32 {
            let dir = tree
                .add_directory(ROOT, format!("d{n}").as_bytes())
                .unwrap();
            assert_eq!(tree.child(ROOT, format!("d{n}").as_bytes()), Some(dir));
        }
        tree.whiteout(ROOT, b"gone").unwrap();
        assert_eq!(tree.child(ROOT, b"gone"), None);
        let mut sealed = tree.seal().unwrap();
        let names: Vec<_> = sealed.children(ROOT).map(|(n, _)| n.to_vec()).collect();
        assert_eq!(names.len(), 5000);
        assert!(names.is_sorted());
        sealed.count_links().unwrap();
        assert_eq!(sealed.inode(ROOT).unwrap().links, 5002);
    }

    #[test]
    fn memory_and_depth_are_bounded() {
        let mut tree = Tree::new(4096, 3);
        let mut dir = ROOT;
        for _ in 0..3 {
            dir = tree.add_directory(dir, b"x").unwrap();
        }
        assert_eq!(
            tree.add_directory(dir, b"x").unwrap_err().kind(),
            Kind::TooLarge
        );
        let error = (0..100).find_map(|n| tree.add_directory(ROOT, &[b'a', n]).err());
        assert_eq!(error.unwrap().kind(), Kind::TooLarge);
    }
}
