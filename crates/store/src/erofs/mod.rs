//! EROFS indexes: written from a tree, read back for lookups. Metadata only; data stay in tars.
//!
//! Blocks are 512 bytes, so that everything in a tar is a block. An address is a block of one
//! space that holds the index first and then each device (tar) in order. Source: Linux
//! `fs/erofs/erofs_fs.h` and `Documentation/filesystems/erofs.rst`.

mod read;
mod write;

pub(crate) use read::{Index, Inode, set_root};
pub(crate) use write::{ReadDevice, write};

/// Bytes of a block.
pub(crate) const BLOCK: usize = 512;
/// log2 of [`BLOCK`].
const BLOCK_BITS: u8 = 9;
/// Where the superblock is.
const SUPER: u64 = 1024;
const MAGIC: u32 = 0xE0F5_E1E2;
/// Modification times are each inode's own.
const COMPAT_MTIME: u32 = 2;
const INCOMPAT_CHUNKS: u32 = 4;
const INCOMPAT_DEVICES: u32 = 8;
/// Bytes of one slot of the device table, and where it begins.
const SLOT: usize = 128;
const TABLE: u64 = 1152;
/// Units of inode addresses.
const UNIT: u64 = 32;
/// Bytes of an extended inode.
const INODE: usize = 64;
/// Bytes before the first attribute of an inode.
const XATTR_HEADER: usize = 12;

const FLAT_PLAIN: u16 = 0;
const FLAT_INLINE: u16 = 2;
const CHUNKS: u16 = 4;
/// Chunk entries are 8 bytes, with a device.
const CHUNK_ENTRIES: u16 = 0x20;
/// Address of nothing.
const NOWHERE: u32 = u32::MAX;

/// Index of the name prefix `user.`.
pub(crate) const XATTR_USER: u8 = 1;
/// Index of `system.posix_acl_access`; nothing follows it.
pub(crate) const XATTR_ACL_ACCESS: u8 = 2;
/// Index of `system.posix_acl_default`; nothing follows it.
pub(crate) const XATTR_ACL_DEFAULT: u8 = 3;
/// Index of the name prefix `trusted.`.
pub(crate) const XATTR_TRUSTED: u8 = 4;
/// Index of the name prefix `security.`.
pub(crate) const XATTR_SECURITY: u8 = 6;
/// Name (without `trusted.`) and value of overlayfs's mark on a directory that hides lower ones.
pub(crate) const OPAQUE: (&[u8], &[u8]) = (b"overlay.opaque", b"y");

/// File type bits of a mode.
pub(crate) mod kind {
    pub(crate) const FIFO: u16 = 0o010_000;
    pub(crate) const CHAR: u16 = 0o020_000;
    pub(crate) const DIRECTORY: u16 = 0o040_000;
    pub(crate) const BLOCK: u16 = 0o060_000;
    pub(crate) const FILE: u16 = 0o100_000;
    pub(crate) const SYMLINK: u16 = 0o120_000;
    pub(crate) const MASK: u16 = 0o170_000;
}

/// A device number as an inode has it.
pub(crate) fn rdev(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// Major and minor number of an inode's device number.
pub(crate) fn major_minor(rdev: u32) -> (u32, u32) {
    ((rdev >> 8) & 0xfff, (rdev & 0xff) | ((rdev >> 12) & !0xff))
}

/// Appends one attribute in its form on disk.
pub(crate) fn put_xattr(out: &mut Vec<u8>, prefix: u8, name: &[u8], value: &[u8]) -> Option<()> {
    out.push(u8::try_from(name.len()).ok()?);
    out.push(prefix);
    out.extend_from_slice(&u16::try_from(value.len()).ok()?.to_le_bytes());
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
    Some(())
}

/// The attributes of an area written by [`put_xattr`]: prefix, name, value.
pub(crate) fn xattrs(mut area: &[u8]) -> impl Iterator<Item = (u8, &[u8], &[u8])> {
    std::iter::from_fn(move || {
        let [name, prefix, low, high, rest @ ..] = area else {
            return None;
        };
        let (name, value) = (
            usize::from(*name),
            usize::from(u16::from_le_bytes([*low, *high])),
        );
        let found = (
            *prefix,
            rest.get(..name)?,
            rest.get(name..name.checked_add(value)?)?,
        );
        area = area
            .get((4 + name + value).next_multiple_of(4)..)
            .unwrap_or(&[]);
        Some(found)
    })
}
