//! Which attributes of files stay, and in what form: an allowlist.
//!
//! | attribute | what happens |
//! | --- | --- |
//! | `user.*` | kept, but `user.overlay.*`, which overlayfs would obey |
//! | `security.capability` | kept when well-formed; version 3 becomes version 2, for its root id is one of the maker's host |
//! | `system.posix_acl_access`, `system.posix_acl_default` | kept when well-formed: without them the group would get what the mask is |
//! | all else: `trusted.*`, `security.selinux`, `.ima`, `.evm`, `system.nfs4_acl` | dropped: they speak to the host's kernel, not to the app |
//!
//! What is kept and broken is refused.

use super::entry::{What, show};
use crate::erofs::{
    XATTR_ACL_ACCESS, XATTR_ACL_DEFAULT, XATTR_SECURITY, XATTR_USER, put_xattr, xattrs,
};
use crate::error::{Error, Kind, Result};
use std::borrow::Cow;

/// Most entries of an ACL; ext4 has room for about 500.
const MAX_ACL: usize = 500;

/// An attribute that stays.
pub(super) struct Kept<'a> {
    pub(super) prefix: u8,
    /// Its name without the prefix.
    pub(super) short: &'a [u8],
    pub(super) value: Cow<'a, [u8]>,
}

fn broken(name: &[u8], what: &str) -> Error {
    Error::new(Kind::Corrupt, format!("attribute `{}` {what}", show(name)))
}

/// What becomes of an attribute; `None` drops it.
pub(super) fn allowed<'a>(name: &'a [u8], value: &'a [u8]) -> Result<Option<Kept<'a>>> {
    let kept = |prefix, short, value| {
        Ok(Some(Kept {
            prefix,
            short,
            value,
        }))
    };
    match name {
        b"security.capability" => kept(XATTR_SECURITY, b"capability", capability(name, value)?),
        b"system.posix_acl_access" => kept(XATTR_ACL_ACCESS, b"", acl(name, value)?),
        b"system.posix_acl_default" => kept(XATTR_ACL_DEFAULT, b"", acl(name, value)?),
        _ => match name.strip_prefix(b"user.") {
            None => Ok(None),
            Some(short) if short.is_empty() || short.starts_with(b"overlay.") => Ok(None),
            Some(short) if short.contains(&0) => Err(broken(name, "has a NUL in its name")),
            Some(short) => kept(XATTR_USER, short, Cow::Borrowed(value)),
        },
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    match bytes.get(at..at + 4) {
        Some([a, b, c, d]) => u32::from_le_bytes([*a, *b, *c, *d]),
        _ => 0,
    }
}

/// `struct vfs_cap_data` of `linux/capability.h`: version and sets.
fn capability<'a>(name: &[u8], value: &'a [u8]) -> Result<Cow<'a, [u8]>> {
    const EFFECTIVE: u32 = 1;
    let magic = word(value, 0);
    let good = match (magic & 0xff00_0000, value.len()) {
        (0x0100_0000, 12) | (0x0200_0000, 20) | (0x0300_0000, 24) => {
            magic & 0x00ff_ffff & !EFFECTIVE == 0
        }
        _ => false,
    };
    match (good, value.len()) {
        (false, _) => Err(broken(name, "is no set of capabilities")),
        (true, 24) => {
            let magic = 0x0200_0000 | magic & EFFECTIVE;
            let sets = value.get(4..20).unwrap_or(&[]);
            Ok([&magic.to_le_bytes(), sets].concat().into())
        }
        (true, _) => Ok(value.into()),
    }
}

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// The entries of an ACL: tag, permissions, id.
fn entries(value: &[u8]) -> impl Iterator<Item = (u16, u16, u32)> + '_ {
    let rest = value.get(4..).unwrap_or(&[]);
    rest.chunks_exact(8).map(|raw| {
        let first = word(raw, 0);
        ((first & 0xffff) as u16, (first >> 16) as u16, word(raw, 4))
    })
}

/// `struct posix_acl_xattr_header` and its entries, in the order and number that the kernel's
/// `posix_acl_valid` asks for. Ids of entries that have none are all ones.
fn acl<'a>(name: &[u8], value: &'a [u8]) -> Result<Cow<'a, [u8]>> {
    let bad = || broken(name, "is no POSIX ACL");
    let count = value.len().saturating_sub(4) / 8;
    if value.len() != 4 + 8 * count || word(value, 0) != 2 || !(3..=MAX_ACL).contains(&count) {
        return Err(bad());
    }
    let mut clean = 2u32.to_le_bytes().to_vec();
    let (mut last, mut named, mut mask) = (0, false, false);
    for (tag, permissions, id) in entries(value) {
        let has_id = matches!(tag, USER | GROUP);
        let in_order = match tag {
            USER_OBJ => last == 0,
            USER => last == USER_OBJ || last == USER,
            GROUP_OBJ => last == USER_OBJ || last == USER,
            GROUP => last == GROUP_OBJ || last == GROUP,
            MASK => last == GROUP_OBJ || last == GROUP,
            OTHER => matches!(last, GROUP_OBJ | GROUP | MASK),
            _ => false,
        };
        if !in_order || permissions > 7 || has_id && id == u32::MAX {
            return Err(bad());
        }
        named |= has_id;
        mask |= tag == MASK;
        last = tag;
        clean.extend_from_slice(&tag.to_le_bytes());
        clean.extend_from_slice(&permissions.to_le_bytes());
        clean.extend_from_slice(&if has_id { id } else { u32::MAX }.to_le_bytes());
    }
    if last != OTHER || named && !mask {
        return Err(bad());
    }
    Ok(clean.into())
}

/// Leaves of the attributes in `area` what this kind of file can have, and gives the permission
/// bits that go with its ACL: where the two differ, the ACL says more.
pub(super) fn settle(what: What, area: &[u8], mode: u16) -> Result<(Vec<u8>, u16)> {
    let (mut left, mut mode) = (Vec::with_capacity(area.len()), mode);
    for (prefix, short, value) in xattrs(area) {
        let stays = match prefix {
            XATTR_ACL_ACCESS if what == What::Symlink || what == What::HardLink => false,
            XATTR_ACL_ACCESS => {
                let mut bits = 0;
                for (tag, permissions, _) in entries(value) {
                    match tag {
                        USER_OBJ => bits |= permissions << 6,
                        // Where there is a mask, it is what the mode shows of the group.
                        GROUP_OBJ => bits |= permissions << 3,
                        MASK => bits = bits & !0o070 | permissions << 3,
                        OTHER => bits |= permissions,
                        _ => {}
                    }
                }
                mode = mode & !0o777 | bits;
                // Three entries say what the mode says; file systems do not keep them.
                entries(value).count() > 3
            }
            XATTR_ACL_DEFAULT => what == What::Directory,
            _ => matches!(what, What::File | What::Directory),
        };
        if stays {
            put_xattr(&mut left, prefix, short, value)
                .ok_or_else(|| broken(short, "is too large"))?;
        }
    }
    Ok((left, mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(all: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut out = 2u32.to_le_bytes().to_vec();
        for (tag, permissions, id) in all {
            out.extend(tag.to_le_bytes());
            out.extend(permissions.to_le_bytes());
            out.extend(id.to_le_bytes());
        }
        out
    }

    const NONE: u32 = u32::MAX;

    #[test]
    fn acls_are_whole_and_in_order_or_refused() {
        let name = b"system.posix_acl_access";
        let (owner, group, other) = ((1, 6, NONE), (4, 4, NONE), (0x20, 0, NONE));
        let good = [
            vec![owner, group, other],
            vec![
                owner,
                (2, 4, 7),
                (2, 4, 8),
                group,
                (8, 7, 9),
                (0x10, 4, NONE),
                other,
            ],
        ];
        for good in good {
            let value = list(&good);
            let kept = allowed(name, &value).unwrap().unwrap();
            assert_eq!((kept.prefix, kept.short), (XATTR_ACL_ACCESS, &b""[..]));
            assert_eq!(*kept.value, value);
        }
        // An id where none belongs means nothing, and does not stay.
        let odd = list(&[(1, 6, 7), group, other]);
        assert_eq!(
            *allowed(name, &odd).unwrap().unwrap().value,
            list(&[owner, group, other])
        );
        for bad in [
            vec![],
            vec![owner, group],
            vec![group, owner, other],
            vec![owner, group, group, other],
            vec![owner, (2, 4, 7), group, other],
            vec![owner, (2, 4, NONE), group, (0x10, 4, NONE), other],
            vec![owner, (4, 8, NONE), other],
            vec![owner, group, other, (0x40, 1, NONE)],
        ] {
            assert!(allowed(name, &list(&bad)).is_err(), "{bad:?}");
        }
        let mut cut = list(&[owner, group, other]);
        cut.pop();
        assert!(allowed(name, &cut).is_err());
        cut[0] = 1;
        assert!(allowed(name, &cut).is_err());
    }

    #[test]
    fn the_mode_follows_the_acl_and_kinds_have_what_they_can() {
        let wide = list(&[
            (1, 7, NONE),
            (2, 5, 9),
            (4, 0, NONE),
            (0x10, 5, NONE),
            (0x20, 1, NONE),
        ]);
        let minimal = list(&[(1, 6, NONE), (4, 4, NONE), (0x20, 0, NONE)]);
        let area = |value: &[u8]| {
            let mut area = Vec::new();
            put_xattr(&mut area, XATTR_ACL_ACCESS, b"", value).unwrap();
            put_xattr(&mut area, XATTR_ACL_DEFAULT, b"", &minimal).unwrap();
            put_xattr(&mut area, XATTR_USER, b"k", b"v").unwrap();
            area
        };
        let prefixes = |area: &[u8]| xattrs(area).map(|(p, _, _)| p).collect::<Vec<_>>();
        for (what, value, want, mode) in [
            (
                What::File,
                &wide,
                vec![XATTR_ACL_ACCESS, XATTR_USER],
                0o4751,
            ),
            (
                What::Directory,
                &wide,
                vec![XATTR_ACL_ACCESS, XATTR_ACL_DEFAULT, XATTR_USER],
                0o4751,
            ),
            (What::File, &minimal, vec![XATTR_USER], 0o4640),
            (What::Fifo, &wide, vec![XATTR_ACL_ACCESS], 0o4751),
            (What::Symlink, &wide, vec![], 0o4777),
        ] {
            let (left, bits) = settle(what, &area(value), 0o4777).unwrap();
            assert_eq!((prefixes(&left), bits), (want, mode), "{what:?}");
        }
    }

    #[test]
    fn capabilities_are_of_a_known_form() {
        let name = b"security.capability";
        let two = |magic: u32, len: usize| {
            let mut value = magic.to_le_bytes().to_vec();
            value.resize(len, 5);
            value
        };
        for (magic, len) in [(0x0100_0001, 12), (0x0200_0000, 20), (0x0200_0001, 20)] {
            let value = two(magic, len);
            assert_eq!(*allowed(name, &value).unwrap().unwrap().value, value);
        }
        let three = two(0x0300_0001, 24);
        let kept = allowed(name, &three).unwrap().unwrap();
        assert_eq!(*kept.value, two(0x0200_0001, 20));
        for (magic, len) in [
            (0x0200_0000, 19),
            (0x0200_0002, 20),
            (0x0400_0000, 24),
            (0, 0),
        ] {
            assert!(allowed(name, &two(magic, len.max(4))[..len]).is_err());
        }
    }
}
