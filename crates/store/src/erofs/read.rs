//! Reading an index that [`super::write()`] made: lookups, attributes, where data lie.
//!
//! Nothing is trusted: every address is checked against the length of the file, and what one
//! call may allocate is bounded.

use super::{
    BLOCK, CHUNKS, FLAT_INLINE, FLAT_PLAIN, INODE, MAGIC, NOWHERE, OPAQUE, SLOT, SUPER, TABLE,
    UNIT, XATTR_HEADER, XATTR_TRUSTED, kind,
};
use crate::error::{Error, Kind, Result};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Most bytes of a directory that are read at once; 5 million short names.
const MAX_DIRECTORY: u64 = 128 << 20;

/// An open index.
#[derive(Debug)]
pub(crate) struct Index {
    file: File,
    size: u64,
    root: u64,
    /// First block and number of blocks of each device.
    devices: Vec<(u32, u32)>,
}

/// An inode of an index.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inode {
    pub(crate) nid: u64,
    layout: u16,
    xattrs: u16,
    /// Type and permissions.
    pub(crate) mode: u16,
    pub(crate) size: u64,
    /// Device number of a device.
    pub(crate) u: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: i64,
    pub(crate) nsec: u32,
    pub(crate) links: u32,
}

/// Where a part of a file lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Offset in the file.
    pub(crate) offset: u64,
    /// Bytes.
    pub(crate) length: u64,
    /// Device, from 1; 0 is the index itself.
    pub(crate) device: u16,
    /// Position there.
    pub(crate) at: u64,
}

impl Inode {
    pub(crate) fn kind(&self) -> u16 {
        self.mode & kind::MASK
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.kind() == kind::DIRECTORY
    }

    /// Whether overlayfs takes it for "gone".
    pub(crate) fn is_whiteout(&self) -> bool {
        self.kind() == kind::CHAR && self.u == 0
    }

    fn after(&self) -> u64 {
        let xattrs = match self.xattrs {
            0 => 0,
            n => XATTR_HEADER as u64 + 4 * u64::from(n - 1),
        };
        self.nid * UNIT + INODE as u64 + xattrs
    }
}

fn bad(what: &str) -> Error {
    Error::new(
        Kind::Corrupt,
        format!("the index of a layer is damaged: {what}"),
    )
}

fn le16(bytes: &[u8], at: usize) -> u16 {
    match bytes.get(at..at + 2) {
        Some([a, b]) => u16::from_le_bytes([*a, *b]),
        _ => 0,
    }
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from(le16(bytes, at)) | u32::from(le16(bytes, at + 2)) << 16
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from(le32(bytes, at)) | u64::from(le32(bytes, at + 4)) << 32
}

impl Index {
    /// Reads the superblock and the device table.
    pub(crate) fn open(file: File) -> Result<Self> {
        let size = rustix::fs::fstat(&file)?.st_size.cast_unsigned();
        let mut index = Self {
            file,
            size,
            root: 0,
            devices: Vec::new(),
        };
        let mut block = [0; 128];
        index.read(SUPER, &mut block)?;
        if le32(&block, 0) != MAGIC {
            return Err(bad("no superblock"));
        }
        index.root = le16(&block, 14).into();
        for slot in 0..u64::from(le16(&block, 86)) {
            let mut entry = [0; SLOT];
            index.read(TABLE + slot * SLOT as u64, &mut entry)?;
            index.devices.push((le32(&entry, 68), le32(&entry, 64)));
        }
        Ok(index)
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<()> {
        if at
            .checked_add(into.len() as u64)
            .is_none_or(|end| end > self.size)
        {
            return Err(bad("an address past its end"));
        }
        Ok(self.file.read_exact_at(into, at)?)
    }

    /// Reads bytes of the index itself, for a [`Piece`] of device 0.
    pub(crate) fn read_own(&self, at: u64, into: &mut [u8]) -> Result<()> {
        self.read(at, into)
    }

    pub(crate) fn root(&self) -> Result<Inode> {
        let root = self.inode(self.root)?;
        if root.is_directory() {
            Ok(root)
        } else {
            Err(bad("its root is no directory"))
        }
    }

    /// The number of the device whose blocks these are, and the first of them there.
    fn device_of(&self, block: u32) -> Result<(u16, u32)> {
        for (number, (first, blocks)) in (1u16..).zip(&self.devices) {
            if block >= *first && block - first < *blocks {
                return Ok((number, block - first));
            }
        }
        Ok((0, block))
    }

    pub(crate) fn inode(&self, nid: u64) -> Result<Inode> {
        let at = nid.checked_mul(UNIT).ok_or_else(|| bad("an inode"))?;
        let mut raw = [0; INODE];
        self.read(at, &mut raw)?;
        let format = le16(&raw, 0);
        if format & 1 != 1 || format >> 4 != 0 {
            return Err(bad("an inode of an unknown form"));
        }
        Ok(Inode {
            nid,
            layout: format >> 1,
            xattrs: le16(&raw, 2),
            mode: le16(&raw, 4),
            size: le64(&raw, 8),
            u: le32(&raw, 16),
            uid: le32(&raw, 24),
            gid: le32(&raw, 28),
            mtime: le64(&raw, 32).cast_signed(),
            nsec: le32(&raw, 40),
            links: le32(&raw, 44),
        })
    }

    /// The attributes in their form on disk, overlayfs's own mark left out.
    pub(crate) fn xattrs(&self, inode: &Inode) -> Result<Vec<u8>> {
        let area = self.xattr_area(inode)?;
        let mut out = Vec::with_capacity(area.len());
        for (prefix, name, value) in super::xattrs(&area) {
            if (prefix, name) != (XATTR_TRUSTED, OPAQUE.0) {
                super::put_xattr(&mut out, prefix, name, value).ok_or_else(|| bad("attributes"))?;
            }
        }
        Ok(out)
    }

    /// Whether a directory hides what lower layers have below it.
    pub(crate) fn is_opaque(&self, inode: &Inode) -> Result<bool> {
        let area = self.xattr_area(inode)?;
        let found =
            super::xattrs(&area).any(|(p, n, v)| (p, n, v) == (XATTR_TRUSTED, OPAQUE.0, OPAQUE.1));
        Ok(found)
    }

    fn xattr_area(&self, inode: &Inode) -> Result<Vec<u8>> {
        if inode.xattrs <= 1 {
            return Ok(Vec::new());
        }
        let mut area = vec![0; 4 * usize::from(inode.xattrs - 1)];
        self.read(inode.nid * UNIT + (INODE + XATTR_HEADER) as u64, &mut area)?;
        Ok(area)
    }

    /// Content that is kept in the index: of directories and symlinks.
    fn content(&self, inode: &Inode, from: u64, into: &mut [u8]) -> Result<()> {
        let inline = match inode.layout {
            FLAT_PLAIN => 0,
            FLAT_INLINE => inode.size % BLOCK as u64,
            _ => return Err(bad("content of an unknown form")),
        };
        let full = inode.size - inline;
        let split = full.saturating_sub(from).min(into.len() as u64) as usize;
        let (head, tail) = into.split_at_mut(split);
        if !head.is_empty() {
            let at = u64::from(inode.u) * BLOCK as u64 + from;
            self.read(at, head)?;
        }
        if !tail.is_empty() {
            let skipped = (from + split as u64).saturating_sub(full);
            if skipped + tail.len() as u64 > inline {
                return Err(bad("content past its end"));
            }
            self.read(inode.after() + skipped, tail)?;
        }
        Ok(())
    }

    /// The target of a symlink.
    pub(crate) fn target(&self, inode: &Inode) -> Result<Vec<u8>> {
        if inode.kind() != kind::SYMLINK || inode.size == 0 || inode.size > 4095 {
            return Err(bad("a symlink"));
        }
        let mut target = vec![0; inode.size as usize];
        self.content(inode, 0, &mut target)?;
        Ok(target)
    }

    /// The inode of a name in a directory.
    pub(crate) fn lookup(&self, dir: &Inode, name: &[u8]) -> Result<Option<Inode>> {
        let blocks = dir.size.div_ceil(BLOCK as u64);
        let (mut low, mut high) = (0, blocks);
        let mut block = Vec::new();
        // The last block whose first name is not above the one that is looked for.
        while low < high {
            let middle = low + (high - low) / 2;
            self.block(dir, middle, &mut block)?;
            let first = names(&block)?.next();
            match first {
                Some((first, _)) if first <= name => low = middle + 1,
                _ => high = middle,
            }
        }
        if low == 0 {
            return Ok(None);
        }
        self.block(dir, low - 1, &mut block)?;
        let nid = names(&block)?.find(|(n, _)| *n == name).map(|(_, nid)| nid);
        nid.map(|nid| self.inode(nid)).transpose()
    }

    fn block(&self, dir: &Inode, index: u64, into: &mut Vec<u8>) -> Result<()> {
        let from = index * BLOCK as u64;
        let len = dir.size.saturating_sub(from).min(BLOCK as u64) as usize;
        into.clear();
        into.resize(len, 0);
        self.content(dir, from, into)
    }

    /// All names of a directory but `.` and `..`, in order; names that no file can have are an error.
    pub(crate) fn names(&self, dir: &Inode) -> Result<Vec<(Vec<u8>, u64)>> {
        if !dir.is_directory() || dir.size > MAX_DIRECTORY.min(self.size) {
            return Err(bad("a directory"));
        }
        let mut all = Vec::new();
        let mut block = Vec::new();
        for index in 0..dir.size.div_ceil(BLOCK as u64) {
            self.block(dir, index, &mut block)?;
            for (name, nid) in names(&block)? {
                if name == b"." || name == b".." {
                    continue;
                }
                if name.is_empty() || name.len() > 255 || name.contains(&b'/') {
                    return Err(bad("a name"));
                }
                all.push((name.to_vec(), nid));
            }
        }
        Ok(all)
    }

    /// Where the data of a regular file lie; holes are left out.
    pub(crate) fn pieces(&self, inode: &Inode) -> Result<Vec<Piece>> {
        match (inode.kind(), inode.layout) {
            (kind::FILE, _) if inode.size == 0 => Ok(Vec::new()),
            (kind::FILE, FLAT_PLAIN) => {
                let (device, block) = self.device_of(inode.u)?;
                Ok(vec![Piece {
                    offset: 0,
                    length: inode.size,
                    device,
                    at: u64::from(block) * BLOCK as u64,
                }])
            }
            (kind::FILE, CHUNKS) => self.chunks(inode),
            _ => Err(bad("a file of an unknown form")),
        }
    }

    fn chunks(&self, inode: &Inode) -> Result<Vec<Piece>> {
        let bytes = (BLOCK as u64) << (inode.u & 0x1f);
        let count = inode.size.div_ceil(bytes);
        if count * 8 > self.size {
            return Err(bad("a map of holes"));
        }
        let mut raw = vec![0; count as usize * 8];
        self.read(inode.after().next_multiple_of(8), &mut raw)?;
        let mut pieces: Vec<Piece> = Vec::new();
        for (index, entry) in (0u64..).zip(raw.chunks_exact(8)) {
            let (device, block) = (le16(entry, 2), le32(entry, 4));
            if block == NOWHERE {
                continue;
            }
            let offset = index * bytes;
            let piece = Piece {
                offset,
                length: bytes.min(inode.size - offset),
                device,
                at: u64::from(block) * BLOCK as u64,
            };
            match pieces.last_mut() {
                Some(last)
                    if last.device == device
                        && last.offset + last.length == offset
                        && last.at + last.length == piece.at =>
                {
                    last.length += piece.length;
                }
                _ => pieces.push(piece),
            }
        }
        Ok(pieces)
    }
}

/// Gives the root of an index that starts with `head` the attributes of another root.
pub(crate) fn set_root(head: &mut [u8], like: &Inode) -> Result<()> {
    let at = usize::from(le16(head, SUPER as usize + 14)) * UNIT as usize;
    let root = head.get_mut(at..at + INODE).ok_or_else(|| bad("no root"))?;
    let mode = le16(root, 4) & kind::MASK | like.mode & 0o7777;
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = root.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    put(4, &mode.to_le_bytes());
    put(24, &like.uid.to_le_bytes());
    put(28, &like.gid.to_le_bytes());
    put(32, &like.mtime.to_le_bytes());
    put(40, &like.nsec.to_le_bytes());
    Ok(())
}

/// The names in one block of a directory.
fn names(block: &[u8]) -> Result<impl Iterator<Item = (&[u8], u64)>> {
    let count = usize::from(le16(block, 8)) / 12;
    if block.len() < 12 || count == 0 || count * 12 > block.len() {
        return Err(bad("a block of a directory"));
    }
    Ok((0..count).filter_map(move |index| {
        let at = index * 12;
        let start = usize::from(le16(block, at + 8));
        let name = if index + 1 < count {
            block.get(start..usize::from(le16(block, at + 20)))?
        } else {
            let rest = block.get(start..)?;
            rest.get(..rest.iter().position(|b| *b == 0).unwrap_or(rest.len()))?
        };
        Some((name, le64(block, at)))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::erofs::{rdev, write};
    use crate::layer::tree::{self, Node, ROOT, Tree};
    use std::io::Write as _;

    fn index(tree: Tree, devices: &[u64]) -> Index {
        let mut sealed = tree.seal().unwrap();
        sealed.count_links().unwrap();
        let mut bytes = Vec::new();
        let written = write(&sealed, devices, [7; 16], &mut bytes, &mut |_, at, into| {
            for (n, byte) in into.iter_mut().enumerate() {
                *byte = (at as usize + n) as u8;
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(written, bytes.len() as u64);
        assert_eq!(bytes.len() % BLOCK, 0);
        let mut file =
            File::from(rustix::fs::memfd_create("index", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
        file.write_all(&bytes).unwrap();
        Index::open(file).unwrap()
    }

    fn plain(node: Node) -> tree::Inode {
        tree::Inode {
            node,
            explicit: true,
            ..tree::Inode::directory(ROOT, 0, 0)
        }
    }

    #[test]
    fn what_was_written_is_found_again() {
        let mut tree = Tree::new(1 << 26, 64);
        for n in 0..3000u32 {
            let file = Node::File {
                size: u64::from(n) + 1,
                block: n * 2,
                device: 1 + (n % 2) as u16,
            };
            let ino = tree.add(plain(file)).unwrap();
            tree.name(ROOT, format!("file-{n}").as_bytes(), ino)
                .unwrap();
        }
        let long = vec![b'x'; 4095];
        for (name, len) in [
            (&b"!before"[..], 1usize),
            (b".-between", 511),
            (b"~after", 4095),
        ] {
            let at = tree.keep(&long[..len]).unwrap();
            let node = Node::Symlink {
                at,
                len: len as u16,
            };
            let ino = tree.add(plain(node)).unwrap();
            tree.name(ROOT, name, ino).unwrap();
        }
        let dir = tree.add_directory(ROOT, b"dir").unwrap();
        let mut area = Vec::new();
        crate::erofs::put_xattr(&mut area, crate::erofs::XATTR_USER, b"k", &[5; 300]).unwrap();
        let xattrs = tree.keep_xattrs(&area).unwrap();
        let inode = tree.inode_mut(dir).unwrap();
        (inode.opaque, inode.xattrs, inode.mtime) = (true, xattrs, -7);
        let ino = tree
            .add(plain(Node::Char {
                rdev: rdev(259, 1_000_000),
            }))
            .unwrap();
        tree.name(dir, b"dev", ino).unwrap();

        let index = index(tree, &[8192 * 512, 8192 * 512]);
        let root = index.root().unwrap();
        assert_eq!(root.links, 3);
        assert_eq!(index.names(&root).unwrap().len(), 3004);
        for n in [0u32, 1, 2, 999, 2999] {
            let name = format!("file-{n}");
            let file = index.lookup(&root, name.as_bytes()).unwrap().unwrap();
            let piece = Piece {
                offset: 0,
                length: u64::from(n) + 1,
                device: 1 + (n % 2) as u16,
                at: u64::from(n) * 2 * 512,
            };
            assert_eq!(index.pieces(&file).unwrap(), [piece]);
        }
        for (name, len) in [
            (&b"!before"[..], 1usize),
            (b".-between", 511),
            (b"~after", 4095),
        ] {
            let link = index.lookup(&root, name).unwrap().unwrap();
            assert_eq!(index.target(&link).unwrap(), long[..len]);
        }
        assert!(index.lookup(&root, b"nothing").unwrap().is_none());
        assert!(index.lookup(&root, b"\x01").unwrap().is_none());
        let dir = index.lookup(&root, b"dir").unwrap().unwrap();
        assert!(index.is_opaque(&dir).unwrap());
        assert_eq!((index.xattrs(&dir).unwrap(), dir.mtime), (area, -7));
        let dev = index.lookup(&dir, b"dev").unwrap().unwrap();
        assert_eq!(crate::erofs::major_minor(dev.u), (259, 1_000_000));
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let mut tree = Tree::new(1 << 26, 64);
        for n in 0..200u32 {
            let dir = tree
                .add_directory(ROOT, format!("d{n}").as_bytes())
                .unwrap();
            tree.add_directory(dir, b"x").unwrap();
        }
        let mut sealed = tree.seal().unwrap();
        sealed.count_links().unwrap();
        let mut good = Vec::new();
        write(&sealed, &[], [0; 16], &mut good, &mut |_, _, _| Ok(())).unwrap();
        let mut seed = 1u32;
        for _ in 0..2000 {
            let mut bytes = good.clone();
            for _ in 0..8 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = 1024 + seed as usize % (bytes.len() - 1024);
                bytes[at] = (seed >> 24) as u8;
            }
            let mut file = File::from(
                rustix::fs::memfd_create("index", rustix::fs::MemfdFlags::CLOEXEC).unwrap(),
            );
            file.write_all(&bytes).unwrap();
            let Ok(index) = Index::open(file) else {
                continue;
            };
            let Ok(root) = index.root() else { continue };
            let _ = index.lookup(&root, b"d7");
            for (_, nid) in index.names(&root).unwrap_or_default() {
                if let Ok(inode) = index.inode(nid) {
                    let _ = index.names(&inode);
                    let _ = index.target(&inode);
                    let _ = index.pieces(&inode);
                    let _ = index.xattrs(&inode);
                }
            }
        }
    }
}
