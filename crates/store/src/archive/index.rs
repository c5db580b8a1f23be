//! A tar by name: where each regular file lies, and where its links lead.
//!
//! Only headers are read. Bounded: names of 4096 bytes, 64 KiB of extended header, 200 000
//! entries. Formats: ustar, GNU long names, PAX. A strange header ends the reading with an
//! error, because after it nothing can be believed.

use crate::error::{Error, Kind, Result};
use crate::oci::Files;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

/// Most entries of an archive of images; each layer is one file there.
const MOST: usize = 200_000;
/// Longest long name or extended header.
const LONGEST: u64 = 64 << 10;
const LONGEST_NAME: usize = 4096;
/// Longest row of links from name to name.
const MOST_LINKS: usize = 10;

/// An archive with its headers read.
#[derive(Debug)]
pub(crate) struct Tar {
    file: File,
    entries: BTreeMap<String, Place>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    File {
        offset: u64,
        size: u64,
    },
    /// To a path from the top of the archive.
    Link(String),
}

/// What extended headers say about the entry that follows them.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

fn bad(why: &str) -> Error {
    Error::new(Kind::Corrupt, format!("it is no readable tar: {why}"))
}

impl Tar {
    pub(crate) fn read(file: File) -> Result<Self> {
        let end = file.metadata()?.len();
        let mut entries = BTreeMap::new();
        let mut at = 0_u64;
        let mut extended = Extended::default();
        let mut headers = 0_usize;
        while at < end {
            let mut header = [0_u8; 512];
            if end - at < 512 {
                return Err(bad("it ends inside a header"));
            }
            file.read_exact_at(&mut header, at)?;
            if header.iter().all(|b| *b == 0) {
                break;
            }
            check_sum(&header)?;
            headers += 1;
            if headers > 2 * MOST {
                return Err(bad("it has too many entries"));
            }
            let data = at + 512;
            let own_size = number(field(&header, 124, 12))?;
            let kind = header[156];
            let size = match kind {
                b'x' | b'g' | b'L' | b'K' => own_size,
                _ => merge_size(own_size, extended.size)?,
            };
            if size > end.saturating_sub(data) {
                return Err(bad("an entry is longer than the file"));
            }
            match kind {
                b'L' => extended.path = Some(text(read(&file, data, size)?)),
                b'K' => extended.link = Some(text(read(&file, data, size)?)),
                b'x' => pax(&read(&file, data, size)?, &mut extended)?,
                b'g' => {}
                _ => {
                    let taken = std::mem::take(&mut extended);
                    let name = taken.path.unwrap_or_else(|| own_name(&header));
                    let place = match kind {
                        b'0' | 0 | b'7' => Some(Place::File { offset: data, size }),
                        b'1' | b'2' => {
                            let link = taken
                                .link
                                .unwrap_or_else(|| text(field(&header, 157, 100).to_vec()));
                            link_target(&name, &link, kind).map(Place::Link)
                        }
                        _ => None,
                    };
                    if let (Some(name), Some(place)) = (clean(&name), place) {
                        entries.insert(name, place);
                    }
                    if entries.len() > MOST {
                        return Err(bad("it has too many entries"));
                    }
                }
            }
            // Links and directories have no data, whatever their size says.
            let skip = if matches!(kind, b'1'..=b'6') { 0 } else { size };
            at = data
                .checked_add(
                    skip.checked_next_multiple_of(512)
                        .ok_or_else(|| bad("a size overflows"))?,
                )
                .ok_or_else(|| bad("a size overflows"))?;
        }
        if entries.is_empty() {
            return Err(bad("it has no file"));
        }
        Ok(Self { file, entries })
    }

    /// Whether there is such a file or link.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.entries.contains_key(path)
    }

    fn place(&self, path: &str) -> Result<(u64, u64)> {
        let mut path = path.to_owned();
        for _ in 0..=MOST_LINKS {
            match self.entries.get(&path) {
                Some(Place::File { offset, size }) => return Ok((*offset, *size)),
                Some(Place::Link(to)) => path.clone_from(to),
                None => {
                    return Err(Error::new(
                        Kind::NotFound,
                        format!("the archive has no file `{}`", path.escape_debug()),
                    ));
                }
            }
        }
        Err(bad("links lead in a ring"))
    }
}

impl Files for Tar {
    fn open(&self, path: &str) -> Result<(Box<dyn Read + '_>, u64)> {
        let (offset, size) = self.place(path)?;
        Ok((
            Box::new(Part {
                file: &self.file,
                at: offset,
                left: size,
            }),
            size,
        ))
    }
}

/// One file inside the archive. Reads by offset, so that several threads may share the archive.
struct Part<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(into.len());
        let n = self
            .file
            .read_at(into.get_mut(..most).unwrap_or(&mut []), self.at)?;
        if n == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let n64 = u64::try_from(n).unwrap_or(0);
        self.at += n64;
        self.left -= n64;
        Ok(n)
    }
}

fn field(header: &[u8; 512], at: usize, length: usize) -> &[u8] {
    header.get(at..at + length).unwrap_or(&[])
}

/// Bytes up to the first NUL.
fn text(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|b| *b == 0) {
        bytes.truncate(end);
    }
    bytes
}

fn own_name(header: &[u8; 512]) -> Vec<u8> {
    let name = text(field(header, 0, 100).to_vec());
    let prefix = text(field(header, 345, 155).to_vec());
    if field(header, 257, 6) == b"ustar\0" && !prefix.is_empty() {
        [prefix, b"/".to_vec(), name].concat()
    } else {
        name
    }
}

fn check_sum(header: &[u8; 512]) -> Result<()> {
    let sum: u64 = header
        .iter()
        .enumerate()
        .map(|(i, b)| u64::from(if (148..156).contains(&i) { b' ' } else { *b }))
        .sum();
    if number(field(header, 148, 8))? == sum {
        Ok(())
    } else {
        Err(bad("the check sum of a header is wrong"))
    }
}

/// Octal, or base 256 when the first bit is set. Negative numbers are refused.
fn number(bytes: &[u8]) -> Result<u64> {
    if let Some((first, rest)) = bytes.split_first()
        && first & 0x80 != 0
    {
        if *first != 0x80 {
            return Err(bad("a number is negative or too large"));
        }
        return rest.iter().try_fold(0_u64, |n, b| {
            n.checked_mul(256)
                .and_then(|n| n.checked_add(u64::from(*b)))
                .ok_or_else(|| bad("a number is too large"))
        });
    }
    let digits: Vec<u8> = bytes
        .iter()
        .copied()
        .skip_while(|b| *b == b' ')
        .take_while(|b| !matches!(b, 0 | b' '))
        .collect();
    digits.iter().try_fold(0_u64, |n, b| match b {
        b'0'..=b'7' => n
            .checked_mul(8)
            .and_then(|n| n.checked_add(u64::from(b - b'0')))
            .ok_or_else(|| bad("a number is too large")),
        _ => Err(bad("a number is no number")),
    })
}

/// PAX wins; two sizes that differ would let readers disagree about what follows
/// (CVE-2025-62518).
fn merge_size(own: u64, pax: Option<u64>) -> Result<u64> {
    match pax {
        Some(pax) if own != 0 && pax != own => Err(bad("an entry has two sizes")),
        Some(pax) => Ok(pax),
        None => Ok(own),
    }
}

fn read(file: &File, at: u64, size: u64) -> Result<Vec<u8>> {
    if size > LONGEST {
        return Err(bad("an extended header is too long"));
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

/// Records `LENGTH KEY=VALUE\n`.
fn pax(mut bytes: &[u8], extended: &mut Extended) -> Result<()> {
    while !bytes.is_empty() {
        let space = bytes
            .iter()
            .position(|b| *b == b' ')
            .ok_or_else(|| bad("a PAX record has no length"))?;
        let length: usize = bytes
            .get(..space)
            .and_then(|d| std::str::from_utf8(d).ok())
            .and_then(|d| d.parse().ok())
            .ok_or_else(|| bad("the length of a PAX record is no number"))?;
        let record = bytes
            .get(space + 1..length)
            .and_then(|r| r.strip_suffix(b"\n"))
            .ok_or_else(|| bad("a PAX record is cut"))?;
        let equals = record
            .iter()
            .position(|b| *b == b'=')
            .ok_or_else(|| bad("a PAX record has no value"))?;
        let (key, value) = record.split_at(equals);
        let value = value.get(1..).unwrap_or(&[]);
        match key {
            b"path" => extended.path = Some(value.to_vec()),
            b"linkpath" => extended.link = Some(value.to_vec()),
            b"size" => {
                extended.size = Some(
                    std::str::from_utf8(value)
                        .ok()
                        .and_then(|v| v.parse().ok())
                        .ok_or_else(|| bad("a PAX size is no number"))?,
                );
            }
            _ => {}
        }
        bytes = bytes.get(length..).unwrap_or(&[]);
    }
    Ok(())
}

/// A name without `.`, `..` and slashes too many; `None` for names that we never ask for.
fn clean(name: &[u8]) -> Option<String> {
    if name.len() > LONGEST_NAME {
        return None;
    }
    let text = std::str::from_utf8(name).ok()?;
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => return None,
            other => parts.push(other),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// Where a link leads, from the top of the archive. Symlinks start at their own directory.
fn link_target(name: &[u8], link: &[u8], kind: u8) -> Option<String> {
    let link = std::str::from_utf8(link).ok()?;
    if kind == b'1' || link.starts_with('/') {
        return clean(link.as_bytes());
    }
    let name = clean(name)?;
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            other => parts.push(other),
        }
    }
    (!parts.is_empty() && parts.len() < 1024).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests;
