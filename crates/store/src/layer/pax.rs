//! Extended headers: POSIX `x` records, with GNU's sparse and the xattr vocabularies.

use super::entry::{Segment, show};
use super::number::{base64, decimal, seconds};
use super::xattr;
use crate::erofs::put_xattr;
use crate::error::{Error, Kind, Result};
use std::collections::BTreeSet;

/// Most segments of a file with holes.
pub(crate) const MAX_SEGMENTS: usize = 64 << 10;
/// Most bytes of one attribute's value, and of all of a file.
const MAX_VALUE: usize = 65_535;
const MAX_XATTRS: usize = 128 << 10;
/// Most attributes of a file.
const MAX_XATTR_COUNT: usize = 256;

/// What `x` headers say about the next entry; `None` where they are silent.
#[derive(Debug, Default)]
pub(crate) struct Pax {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u64>,
    pub(crate) gid: Option<u64>,
    pub(crate) mtime: Option<(i64, u32)>,
    pub(crate) xattrs: Vec<u8>,
    /// Prefix and name of each of these.
    names: BTreeSet<Vec<u8>>,
    pub(crate) sparse: Sparse,
}

/// GNU's words for files with holes, versions 0.0, 0.1 and 1.0.
#[derive(Debug, Default)]
pub(crate) struct Sparse {
    pub(crate) major: u64,
    pub(crate) minor: u64,
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    /// Offsets and lengths in turn; positions are filled in later.
    pub(crate) map: Option<Vec<Segment>>,
    /// The offset that waits for its length (0.0).
    waiting: Option<u64>,
}

impl Sparse {
    /// Whether the map stands before the data (1.0).
    pub(crate) fn in_data(&self) -> bool {
        self.major == 1 && self.minor == 0
    }
}

fn bad(what: &str, text: &[u8]) -> Error {
    Error::new(
        Kind::Corrupt,
        format!("an extended header has {what} `{}`", show(text)),
    )
}

impl Pax {
    /// Reads the records of one header: `LENGTH KEY=VALUE\n`, one after the other.
    pub(crate) fn read(&mut self, mut records: &[u8]) -> Result<()> {
        while !records.is_empty() {
            let space = records.iter().take(10).position(|b| *b == b' ');
            let length = space
                .and_then(|at| decimal(records.get(..at)?))
                .and_then(|n| usize::try_from(n).ok());
            let (Some(space), Some(length)) = (space, length) else {
                return Err(bad("no length at", records));
            };
            let record = records
                .get(space + 1..length)
                .and_then(|r| r.strip_suffix(b"\n"))
                .ok_or_else(|| bad("a wrong length at", records))?;
            let equals = record.iter().position(|b| *b == b'=');
            let (key, value) = match equals {
                Some(at) if at > 0 => record.split_at(at),
                _ => return Err(bad("no key at", record)),
            };
            self.record(key, value.get(1..).unwrap_or(&[]))?;
            records = records.get(length..).unwrap_or(&[]);
        }
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        // An empty value takes back what a global header said; those we do not read.
        let text = || (!value.is_empty()).then(|| value.to_vec());
        let number = || -> Result<Option<u64>> {
            if value.is_empty() {
                return Ok(None);
            }
            decimal(value)
                .map(Some)
                .ok_or_else(|| bad("a number that is none:", value))
        };
        match key {
            b"path" => self.path = text(),
            b"linkpath" => self.link = text(),
            b"size" => self.size = number()?,
            b"uid" => self.uid = number()?,
            b"gid" => self.gid = number()?,
            b"mtime" if value.is_empty() => self.mtime = None,
            b"mtime" => {
                self.mtime = Some(seconds(value).ok_or_else(|| bad("a time that is none:", value))?)
            }
            b"GNU.sparse.major" => self.sparse.major = number()?.unwrap_or(0),
            b"GNU.sparse.minor" => self.sparse.minor = number()?.unwrap_or(0),
            b"GNU.sparse.name" => self.sparse.name = text(),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.size = number()?,
            b"GNU.sparse.offset" => self.sparse.waiting = number()?,
            b"GNU.sparse.numbytes" => {
                let offset = self.sparse.waiting.take();
                let (Some(offset), Some(length)) = (offset, number()?) else {
                    return Err(bad("a broken map of holes at", value));
                };
                self.segment(offset, length)?;
            }
            b"GNU.sparse.map" => self.map(value)?,
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattr(name, value)?;
                } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                    let value = base64(value).ok_or_else(|| bad("bad base64 in", key))?;
                    // Names are percent-encoded there; those of the allowlist rarely need it.
                    self.xattr(name, &value)?;
                }
            }
        }
        Ok(())
    }

    fn map(&mut self, value: &[u8]) -> Result<()> {
        let mut numbers = value.split(|b| *b == b',');
        while let Some(offset) = numbers.next() {
            let pair = decimal(offset).zip(numbers.next().and_then(decimal));
            let (offset, length) = pair.ok_or_else(|| bad("a broken map of holes at", offset))?;
            self.segment(offset, length)?;
        }
        Ok(())
    }

    fn segment(&mut self, offset: u64, length: u64) -> Result<()> {
        let map = self.sparse.map.get_or_insert_default();
        if map.len() >= MAX_SEGMENTS {
            return Err(too_many());
        }
        map.push(Segment {
            offset,
            length,
            at: 0,
        });
        Ok(())
    }

    /// Keeps what `layer/xattr.rs` lets through, in the form it gives it.
    fn xattr(&mut self, name: &[u8], value: &[u8]) -> Result<()> {
        let Some(kept) = xattr::allowed(name, value)? else {
            return Ok(());
        };
        let (prefix, short, value) = (kept.prefix, kept.short, kept.value.as_ref());
        let known = [&[prefix], short].concat();
        if self.names.contains(&known) {
            // Both vocabularies may speak of one attribute; the first is taken.
            return Ok(());
        }
        if value.len() > MAX_VALUE
            || self.names.len() >= MAX_XATTR_COUNT
            || self.xattrs.len() + value.len() + short.len() > MAX_XATTRS
            || put_xattr(&mut self.xattrs, prefix, short, value).is_none()
        {
            return Err(Error::new(
                Kind::TooLarge,
                format!(
                    "attribute `{}` is too large, or one of too many",
                    show(name)
                ),
            ));
        }
        self.names.insert(known);
        Ok(())
    }
}

pub(crate) fn too_many() -> Error {
    Error::new(
        Kind::TooLarge,
        format!("a file has more than {MAX_SEGMENTS} parts between holes"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_exact_or_refused() {
        let mut pax = Pax::default();
        pax.read(b"12 path=a=b\n20 mtime=-1.5000000\n11 uid=100\n")
            .unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"a=b"[..]));
        assert_eq!(pax.mtime, Some((-2, 500_000_000)));
        assert_eq!(pax.uid, Some(100));
        for broken in [
            &b"12 path=a=b"[..],
            b"13 path=a=b\n",
            b"9999999 path=a\n",
            b"5 =a\n",
            b"x path=a\n",
            b"0 path=a\n",
            b"10 uid=-1\n",
            b"3 \n",
        ] {
            assert!(Pax::default().read(broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn only_harmless_attributes_stay() {
        let mut pax = Pax::default();
        for name in [
            "user.a",
            "user.overlay.opaque",
            "trusted.overlay.opaque",
            "security.selinux",
            "system.nfs4_acl",
        ] {
            let body = format!(" SCHILY.xattr.{name}=v\0\n");
            let record = format!("{}{body}", body.len() + 2);
            pax.read(record.as_bytes()).unwrap();
        }
        let kept: Vec<_> = crate::erofs::xattrs(&pax.xattrs).collect();
        assert_eq!(kept, [(crate::erofs::XATTR_USER, &b"a"[..], &b"v\0"[..])]);
    }
}
