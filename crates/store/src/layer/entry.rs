//! What a tar says about one file.

use crate::error::{Error, Kind, Result};

/// Kinds of entries that a layer may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    File,
    HardLink,
    Symlink,
    Char,
    Block,
    Directory,
    Fifo,
}

/// A part of a file that is not a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Offset in the file.
    pub(crate) offset: u64,
    /// Bytes; 0 only marks the end.
    pub(crate) length: u64,
    /// Position in the tar.
    pub(crate) at: u64,
}

/// One entry, all of its headers taken together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) what: What,
    /// As it stands in the tar.
    pub(crate) path: Vec<u8>,
    /// Target of a link, as it stands in the tar.
    pub(crate) link: Vec<u8>,
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: i64,
    pub(crate) nsec: u32,
    /// Bytes of the file, holes included.
    pub(crate) size: u64,
    /// Position of its data in the tar.
    pub(crate) data: u64,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    /// Attributes that may stay, in the form of [`crate::erofs::put_xattr`].
    pub(crate) xattrs: Vec<u8>,
    /// Where the data of a file with holes are.
    pub(crate) segments: Option<Vec<Segment>>,
}

/// Bytes of a path as people can read them, at most 200.
pub(crate) fn show(path: &[u8]) -> String {
    String::from_utf8_lossy(path.get(..200).unwrap_or(path))
        .escape_debug()
        .to_string()
}

/// The components of a name in a tar, cleaned as text: no empty ones, no `.`, `..` taken back.
///
/// # Errors
/// `Corrupt` when it leads above the root, holds a NUL or a component of more than 255 bytes.
pub(crate) fn components(path: &[u8]) -> Result<Vec<&[u8]>> {
    let bad = |why: &str| {
        Err(Error::new(
            Kind::Corrupt,
            format!("entry `{}` {why}", show(path)),
        ))
    };
    if path.len() > 4096 || path.contains(&0) {
        return bad("has a name that no file can have");
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                if parts.pop().is_none() {
                    return bad("leads out of the layer");
                }
            }
            _ if part.len() > 255 => return bad("has a name that no file can have"),
            _ => parts.push(part),
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_and_never_lead_out() {
        let good: [(&[u8], &[&[u8]]); 5] = [
            (b"./a/b", &[b"a", b"b"]),
            (b"/a//b/.", &[b"a", b"b"]),
            (b"a/../b", &[b"b"]),
            (b".", &[]),
            (b"\xff/x", &[b"\xff", b"x"]),
        ];
        for (path, parts) in good {
            assert_eq!(components(path).unwrap(), parts);
        }
        let long = [b'x'; 256];
        for bad in [&b".."[..], b"a/../../etc", b"a\0b", &long, &[b'/'; 5000]] {
            assert_eq!(components(bad).unwrap_err().kind(), Kind::Corrupt);
        }
    }
}
