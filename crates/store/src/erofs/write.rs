//! Writing an index: places first, then the inodes in one sweep, then the blocks in another.

use super::{
    BLOCK, BLOCK_BITS, CHUNK_ENTRIES, CHUNKS, COMPAT_MTIME, FLAT_INLINE, FLAT_PLAIN,
    INCOMPAT_CHUNKS, INCOMPAT_DEVICES, INODE, MAGIC, NOWHERE, OPAQUE, SLOT, SUPER, TABLE, UNIT,
    XATTR_HEADER, XATTR_TRUSTED, kind, put_xattr,
};
use crate::error::{Error, Kind, Result};
use crate::layer::tree::{COPY, Ino, Inode, Map, Node, ROOT, Sealed};
use std::io::Write;

/// Gives `buffer.len()` bytes of a device from a position on.
pub(crate) type ReadDevice<'a> = dyn FnMut(u16, u64, &mut [u8]) -> Result<()> + 'a;

/// How one inode lies in the file.
struct Shape {
    layout: u16,
    /// Bytes of attributes, header included.
    xattrs: usize,
    /// Bytes right after the attributes: the tail of the content, or entries of chunks.
    inline: usize,
    /// Whole blocks among the blocks of the index.
    blocks: u32,
    /// Bytes of content.
    size: u64,
}

struct Writer<'a> {
    tree: &'a Sealed,
    /// Address of each inode in units of 32 bytes; 0 for those without a name.
    nids: Vec<u32>,
    order: Vec<Ino>,
    /// First block of each device.
    mapped: Vec<u32>,
    opaque: Vec<u8>,
}

/// Writes the index of a tree whose links are counted. `devices` are the sizes of the tars in
/// bytes, each a multiple of 512. Returns the bytes written, a multiple of 512.
///
/// # Errors
/// `TooLarge` when index and tars do not fit into 2 TiB together.
pub(crate) fn write(
    tree: &Sealed,
    devices: &[u64],
    uuid: [u8; 16],
    out: &mut dyn Write,
    read: &mut ReadDevice<'_>,
) -> Result<u64> {
    let mut writer = Writer {
        tree,
        nids: vec![0; tree.inodes()],
        order: Vec::new(),
        mapped: Vec::new(),
        opaque: Vec::new(),
    };
    put_xattr(&mut writer.opaque, XATTR_TRUSTED, OPAQUE.0, OPAQUE.1).ok_or_else(too_large)?;
    let first = (TABLE + (SLOT * devices.len()) as u64).next_multiple_of(UNIT);
    let (end, blocks, chunks) = writer.place(first)?;
    let data = u32::try_from(end.div_ceil(BLOCK as u64)).map_err(|_| too_large())?;
    let total = data.checked_add(blocks).ok_or_else(too_large)?;
    let mut next = total;
    for size in devices {
        writer.mapped.push(next);
        let blocks = u32::try_from(size / BLOCK as u64).map_err(|_| too_large())?;
        next = next.checked_add(blocks).ok_or_else(too_large)?;
    }
    let mut out = Out { out, at: 0 };
    writer.superblock(&mut out, devices, uuid, total, chunks)?;
    out.pad_to(first)?;
    writer.inodes(&mut out, data)?;
    out.pad_to(u64::from(data) * BLOCK as u64)?;
    writer.blocks(&mut out, read)?;
    out.pad_to(u64::from(total) * BLOCK as u64)?;
    Ok(out.at)
}

fn too_large() -> Error {
    Error::new(
        Kind::TooLarge,
        "its index and tars do not fit into an EROFS image",
    )
}

impl Writer<'_> {
    /// Finds the place of every inode, root first, siblings together. Returns the end of the
    /// inodes, the number of blocks after them, and whether there are chunks.
    fn place(&mut self, first: u64) -> Result<(u64, u32, bool)> {
        let (mut at, mut blocks, mut chunks) = (first, 0u32, false);
        let mut todo = vec![ROOT];
        self.put(ROOT, &mut at, &mut blocks, &mut chunks)?;
        let mut below = Vec::new();
        while let Some(dir) = todo.pop() {
            let tree = self.tree;
            for (_, ino) in tree.children(dir) {
                if self.nid(ino) == 0 {
                    self.put(ino, &mut at, &mut blocks, &mut chunks)?;
                    if tree.inode(ino)?.is_directory() {
                        below.push(ino);
                    }
                }
            }
            todo.extend(below.drain(..).rev());
        }
        Ok((at, blocks, chunks))
    }

    fn put(&mut self, ino: Ino, at: &mut u64, blocks: &mut u32, chunks: &mut bool) -> Result<()> {
        let shape = self.shape(ino)?;
        let mut start = at.next_multiple_of(UNIT);
        let body = |start: u64| start + (INODE + shape.xattrs) as u64;
        let mut end = body(start);
        match shape.layout {
            CHUNKS => {
                end = end.next_multiple_of(8) + shape.inline as u64;
                *chunks = true;
            }
            FLAT_INLINE => {
                // The tail must not cross a block.
                while body(start) % BLOCK as u64 + shape.inline as u64 > BLOCK as u64 {
                    start += UNIT;
                }
                end = body(start) + shape.inline as u64;
            }
            _ => {}
        }
        let nid = u32::try_from(start / UNIT).map_err(|_| too_large())?;
        if let Some(place) = self.nids.get_mut(ino as usize) {
            *place = nid;
        }
        self.order.push(ino);
        *blocks = blocks.checked_add(shape.blocks).ok_or_else(too_large)?;
        *at = end.next_multiple_of(UNIT);
        Ok(())
    }

    fn nid(&self, ino: Ino) -> u32 {
        self.nids.get(ino as usize).copied().unwrap_or(0)
    }

    fn shape(&self, ino: Ino) -> Result<Shape> {
        let inode = self.tree.inode(ino)?;
        let entries =
            self.tree.xattrs(inode).len() + if inode.opaque { self.opaque.len() } else { 0 };
        let xattrs = if entries == 0 {
            0
        } else {
            XATTR_HEADER + entries
        };
        let plain = |size, blocks| Shape {
            layout: FLAT_PLAIN,
            xattrs,
            inline: 0,
            blocks,
            size,
        };
        Ok(match inode.node {
            Node::Directory { .. } => self.content(xattrs, self.directory_size(ino))?,
            Node::Symlink { len, .. } => self.content(xattrs, len.into())?,
            Node::File { size, .. } => plain(size, 0),
            Node::Holes { size, map } => {
                let map = self.tree.map(map)?;
                Shape {
                    layout: CHUNKS,
                    inline: map.chunks.len() * 8,
                    blocks: copied_blocks(map, size)?,
                    ..plain(size, 0)
                }
            }
            Node::Char { .. } | Node::Block { .. } | Node::Fifo => plain(0, 0),
        })
    }

    /// The shape of content that is kept in the index: as much inline as fits.
    fn content(&self, xattrs: usize, size: u64) -> Result<Shape> {
        let tail = (size % BLOCK as u64) as usize;
        let inline = tail != 0 && (INODE + xattrs) % UNIT as usize + tail <= BLOCK;
        let blocks = if inline {
            size / BLOCK as u64
        } else {
            size.div_ceil(BLOCK as u64)
        };
        Ok(Shape {
            layout: if inline { FLAT_INLINE } else { FLAT_PLAIN },
            xattrs,
            inline: if inline { tail } else { 0 },
            blocks: u32::try_from(blocks).map_err(|_| too_large())?,
            size,
        })
    }

    /// The names of a directory with `.` and `..` in their sorted place.
    fn entries(&self, dir: Ino) -> impl Iterator<Item = (&[u8], Ino)> {
        let parent = match self.tree.inode(dir).map(|i| i.node) {
            Ok(Node::Directory { parent, .. }) => parent,
            _ => ROOT,
        };
        let children = self.tree.children(dir);
        let before = |limit: &'static [u8]| move |(name, _): &(&[u8], Ino)| *name < limit;
        children
            .clone()
            .take_while(before(b"."))
            .chain([(&b"."[..], dir)])
            .chain(
                children
                    .clone()
                    .skip_while(before(b"."))
                    .take_while(before(b"..")),
            )
            .chain([(&b".."[..], parent)])
            .chain(children.skip_while(before(b"..")))
    }

    fn directory_size(&self, dir: Ino) -> u64 {
        let (mut full, mut used) = (0u64, 0usize);
        for (name, _) in self.entries(dir) {
            if used + 12 + name.len() > BLOCK {
                full += BLOCK as u64;
                used = 0;
            }
            used += 12 + name.len();
        }
        full + used as u64
    }

    /// Hands on each block of a directory; the last one as long as it is used.
    fn directory(&self, dir: Ino, emit: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut batch: Vec<(&[u8], Ino)> = Vec::new();
        let mut used = 0;
        for (name, ino) in self.entries(dir) {
            if used + 12 + name.len() > BLOCK {
                let mut block = self.directory_block(&batch)?;
                block.resize(BLOCK, 0);
                emit(&block)?;
                batch.clear();
                used = 0;
            }
            used += 12 + name.len();
            batch.push((name, ino));
        }
        emit(&self.directory_block(&batch)?)
    }

    fn directory_block(&self, batch: &[(&[u8], Ino)]) -> Result<Vec<u8>> {
        let mut block = Vec::with_capacity(BLOCK);
        let mut at = batch.len() * 12;
        for (name, ino) in batch {
            block.extend_from_slice(&u64::from(self.nid(*ino)).to_le_bytes());
            block.extend_from_slice(&(at as u16).to_le_bytes());
            block.push(match self.tree.inode(*ino)?.node {
                Node::File { .. } | Node::Holes { .. } => 1,
                Node::Directory { .. } => 2,
                Node::Char { .. } => 3,
                Node::Block { .. } => 4,
                Node::Fifo => 5,
                Node::Symlink { .. } => 7,
            });
            block.push(0);
            at += name.len();
        }
        for (name, _) in batch {
            block.extend_from_slice(name);
        }
        Ok(block)
    }

    fn superblock(
        &self,
        out: &mut Out<'_>,
        devices: &[u64],
        uuid: [u8; 16],
        total: u32,
        chunks: bool,
    ) -> Result<()> {
        let mut block = [0u8; 128];
        let mut put = |at: usize, bytes: &[u8]| {
            if let Some(place) = block.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        };
        let incompat = if devices.is_empty() {
            0
        } else {
            INCOMPAT_DEVICES
        } | if chunks { INCOMPAT_CHUNKS } else { 0 };
        let root = u16::try_from(self.nid(ROOT)).map_err(|_| too_large())?;
        put(0, &MAGIC.to_le_bytes());
        put(8, &COMPAT_MTIME.to_le_bytes());
        put(12, &[BLOCK_BITS]);
        put(14, &root.to_le_bytes());
        put(16, &(self.order.len() as u64).to_le_bytes());
        put(36, &total.to_le_bytes());
        put(48, &uuid);
        put(80, &incompat.to_le_bytes());
        let count = u16::try_from(devices.len()).map_err(|_| too_large())?;
        put(86, &count.to_le_bytes());
        put(88, &((TABLE / SLOT as u64) as u16).to_le_bytes());
        out.pad_to(SUPER)?;
        out.write(&block)?;
        for (size, mapped) in devices.iter().zip(&self.mapped) {
            let mut slot = [0u8; SLOT];
            let blocks = u32::try_from(size / BLOCK as u64).map_err(|_| too_large())?;
            for (at, value) in [(64, blocks), (68, *mapped)] {
                if let Some(place) = slot.get_mut(at..at + 4) {
                    place.copy_from_slice(&value.to_le_bytes());
                }
            }
            out.write(&slot)?;
        }
        Ok(())
    }

    /// Writes every inode with its attributes, tail and chunks. `data` is the first block after.
    fn inodes(&self, out: &mut Out<'_>, data: u32) -> Result<()> {
        let mut next = data;
        for (number, ino) in (1u32..).zip(&self.order) {
            let inode = self.tree.inode(*ino)?;
            let shape = self.shape(*ino)?;
            out.pad_to(u64::from(self.nid(*ino)) * UNIT)?;
            let head = self.head(inode, &shape, number, next)?;
            out.write(&head)?;
            if shape.xattrs != 0 {
                out.write(&[0; XATTR_HEADER])?;
                out.write(self.tree.xattrs(inode))?;
                if inode.opaque {
                    out.write(&self.opaque)?;
                }
            }
            match inode.node {
                Node::Holes { size, map } => {
                    out.pad_to(out.at.next_multiple_of(8))?;
                    self.chunks(out, self.tree.map(map)?, size, next)?;
                }
                _ if shape.inline == 0 => {}
                Node::Directory { .. } => {
                    let mut skip = shape.blocks;
                    self.directory(*ino, &mut |block| {
                        if skip == 0 {
                            return out.write(block);
                        }
                        skip -= 1;
                        Ok(())
                    })?;
                }
                Node::Symlink { at, len } => {
                    let target = self.tree.bytes(at, len.into());
                    out.write(target.get(target.len() - shape.inline..).unwrap_or(&[]))?;
                }
                _ => {}
            }
            next += shape.blocks;
        }
        Ok(())
    }

    fn head(&self, inode: &Inode, shape: &Shape, number: u32, next: u32) -> Result<[u8; INODE]> {
        let (kind, u) = match inode.node {
            Node::Directory { .. } => (kind::DIRECTORY, None),
            Node::Symlink { .. } => (kind::SYMLINK, None),
            Node::File { size: 0, .. } => (kind::FILE, Some(0)),
            Node::File { block, device, .. } => {
                let first = usize::from(device)
                    .checked_sub(1)
                    .and_then(|i| self.mapped.get(i))
                    .ok_or_else(too_large)?;
                (
                    kind::FILE,
                    Some(first.checked_add(block).ok_or_else(too_large)?),
                )
            }
            Node::Holes { map, .. } => {
                let shift = u16::from(self.tree.map(map)?.shift);
                (kind::FILE, Some(u32::from(shift | CHUNK_ENTRIES)))
            }
            Node::Char { rdev } => (kind::CHAR, Some(rdev)),
            Node::Block { rdev } => (kind::BLOCK, Some(rdev)),
            Node::Fifo => (kind::FIFO, Some(0)),
        };
        let u = u.unwrap_or(if shape.blocks == 0 { NOWHERE } else { next });
        let count = match shape.xattrs {
            0 => 0,
            bytes => 1 + (bytes - XATTR_HEADER) / 4,
        };
        let mut head = [0u8; INODE];
        let mut put = |at: usize, bytes: &[u8]| {
            if let Some(place) = head.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        };
        put(0, &(1 | shape.layout << 1).to_le_bytes());
        let count = u16::try_from(count).map_err(|_| too_large())?;
        put(2, &count.to_le_bytes());
        put(4, &(kind | inode.mode & 0o7777).to_le_bytes());
        put(8, &shape.size.to_le_bytes());
        put(16, &u.to_le_bytes());
        put(20, &number.to_le_bytes());
        put(24, &inode.uid.to_le_bytes());
        put(28, &inode.gid.to_le_bytes());
        put(32, &inode.mtime.to_le_bytes());
        put(40, &inode.nsec.to_le_bytes());
        put(44, &inode.links.to_le_bytes());
        Ok(head)
    }

    fn chunks(&self, out: &mut Out<'_>, map: &Map, size: u64, next: u32) -> Result<()> {
        let mut copied = next;
        for (index, (device, block)) in map.chunks.iter().enumerate() {
            let (device, block) = match *device {
                0 => (0, NOWHERE),
                COPY => {
                    let here = copied;
                    copied += chunk_blocks(map, size, index);
                    (0, here)
                }
                device => (device, *block),
            };
            let mut entry = [0u8; 8];
            for (place, byte) in entry
                .iter_mut()
                .skip(2)
                .zip(device.to_le_bytes().into_iter().chain(block.to_le_bytes()))
            {
                *place = byte;
            }
            out.write(&entry)?;
        }
        Ok(())
    }

    /// Writes the blocks in the order in which [`Writer::inodes`] counted them.
    fn blocks(&self, out: &mut Out<'_>, read: &mut ReadDevice<'_>) -> Result<()> {
        for ino in &self.order {
            let inode = self.tree.inode(*ino)?;
            let shape = self.shape(*ino)?;
            if shape.blocks == 0 {
                continue;
            }
            let whole = (shape.blocks as usize).saturating_mul(BLOCK);
            match inode.node {
                Node::Directory { .. } => {
                    let mut left = shape.blocks;
                    self.directory(*ino, &mut |block| {
                        if left > 0 {
                            left -= 1;
                            out.write(block)?;
                        }
                        Ok(())
                    })?;
                }
                Node::Symlink { at, len } => {
                    let target = self.tree.bytes(at, len.into());
                    out.write(target.get(..whole.min(target.len())).unwrap_or(&[]))?;
                }
                Node::Holes { size, map } => copy_chunks(out, self.tree.map(map)?, size, read)?,
                _ => {}
            }
            out.pad_to(out.at.next_multiple_of(BLOCK as u64))?;
        }
        Ok(())
    }
}

/// Blocks of one chunk; the last of a file may be short.
fn chunk_blocks(map: &Map, size: u64, index: usize) -> u32 {
    let bytes = (BLOCK as u64) << map.shift;
    let start = bytes.saturating_mul(index as u64);
    (size.saturating_sub(start).min(bytes)).div_ceil(BLOCK as u64) as u32
}

fn copied_blocks(map: &Map, size: u64) -> Result<u32> {
    let mut sum = 0u32;
    for (index, (device, _)) in map.chunks.iter().enumerate() {
        if *device == COPY {
            sum = sum
                .checked_add(chunk_blocks(map, size, index))
                .ok_or_else(too_large)?;
        }
    }
    Ok(sum)
}

/// Assembles the chunks whose data do not lie on blocks of a tar.
fn copy_chunks(out: &mut Out<'_>, map: &Map, size: u64, read: &mut ReadDevice<'_>) -> Result<()> {
    let bytes = (BLOCK as u64) << map.shift;
    for (index, (device, _)) in map.chunks.iter().enumerate() {
        if *device != COPY {
            continue;
        }
        let start = bytes.saturating_mul(index as u64);
        let length = chunk_blocks(map, size, index) as usize * BLOCK;
        let mut chunk = vec![0u8; length];
        let end = start + length as u64;
        let first = map.segments.partition_point(|s| s.0 + s.1 <= start);
        for (offset, length, device, at) in map.segments.get(first..).unwrap_or(&[]) {
            if *offset >= end {
                break;
            }
            let from = start.max(*offset);
            let to = end.min(offset + length);
            let place = (from - start) as usize..(to - start) as usize;
            if let Some(place) = chunk.get_mut(place) {
                read(*device, at + (from - offset), place)?;
            }
        }
        out.write(&chunk)?;
    }
    Ok(())
}

struct Out<'a> {
    out: &'a mut dyn Write,
    at: u64,
}

impl Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn pad_to(&mut self, at: u64) -> Result<()> {
        const ZEROS: [u8; BLOCK] = [0; BLOCK];
        while self.at < at {
            let n = (at - self.at).min(BLOCK as u64) as usize;
            self.write(ZEROS.get(..n).unwrap_or(&ZEROS))?;
        }
        Ok(())
    }
}
