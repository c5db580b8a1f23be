//! Files as a tar that goes by once: what `rkt cp` reads and writes.
//!
//! The reader is the one of layers: strict, with names that never lead out and bounded memory. The
//! writer says in pax records what an old header cannot.

use crate::error::{Error, Kind, Result};
use crate::layer::entry::{Entry, What, components};
use crate::layer::input::Input;
use crate::layer::tar::Tar;
use std::io::{Read, Write};

const BLOCK: usize = 512;
/// Longest name in an old header, bytes.
const SHORT: usize = 100;
/// Largest number in seven octal digits.
const OCTAL: u64 = 0o777_7777;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// One more name of a file that came before.
    Link,
    /// A device or a FIFO.
    Special,
}

/// One file of a tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub kind: FileKind,
    /// Its name, component by component; empty for the top itself.
    pub path: Vec<Vec<u8>>,
    /// Where a link leads, as it stands in the tar.
    pub link: Vec<u8>,
    /// Permission bits, with setuid and its like.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Bytes of a regular file, holes included.
    pub size: u64,
    /// Where its data lie: offset and length, in order. The rest is holes.
    pub parts: Vec<(u64, u64)>,
}

impl Item {
    /// Its name for messages, at most 200 bytes of it.
    pub fn shown(&self) -> String {
        crate::layer::entry::show(&self.path.join(&b'/'))
    }
}

/// A tar that is read from front to back.
pub struct Reader<R>(Tar<Plain<R>>);

impl<R: Read> Reader<R> {
    /// Begins; more than `entries` files are refused.
    pub fn new(from: R, entries: u64) -> Self {
        Self(Tar::new(Plain { from, seen: 0 }, entries))
    }

    /// The next file, when the data of the last one have been read or are of no interest.
    ///
    /// # Errors
    /// `Corrupt` for what is no tar, or has a name that leads out.
    pub fn next_item(&mut self) -> Result<Option<Item>> {
        let Some(entry) = self.0.next()? else {
            return Ok(None);
        };
        let path = components(&entry.path)?;
        Ok(Some(Item {
            path: path.into_iter().map(<[u8]>::to_vec).collect(),
            kind: match entry.what {
                What::File => FileKind::File,
                What::Directory => FileKind::Directory,
                What::Symlink => FileKind::Symlink,
                What::HardLink => FileKind::Link,
                What::Char | What::Block | What::Fifo => FileKind::Special,
            },
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            size: entry.size,
            parts: parts(&entry),
            link: entry.link,
        }))
    }

    /// Bytes of the current file's data, part after part; 0 at their end.
    ///
    /// # Errors
    /// When the tar ends before.
    pub fn data(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.0.read(buffer)
    }
}

fn parts(entry: &Entry) -> Vec<(u64, u64)> {
    match &entry.segments {
        Some(list) => list.iter().map(|s| (s.offset, s.length)).collect(),
        None if entry.size > 0 => vec![(0, entry.size)],
        None => Vec::new(),
    }
}

/// A stream without digest and copy.
struct Plain<R> {
    from: R,
    seen: u64,
}

impl<R: Read> Input for Plain<R> {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.from.read(rest) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.seen += done as u64;
        Ok(done)
    }

    fn skip(&mut self, bytes: u64) -> Result<()> {
        let mut left = bytes;
        let mut buffer = [0; 8192];
        while left > 0 {
            let n = left.min(buffer.len() as u64) as usize;
            let part = buffer.get_mut(..n).unwrap_or_default();
            if self.fill(part)? < n {
                return Err(cut_short());
            }
            left -= n as u64;
        }
        Ok(())
    }

    fn position(&self) -> u64 {
        self.seen
    }
}

fn cut_short() -> Error {
    Error::new(Kind::Corrupt, "the tar ends in the middle of a file")
}

/// A tar that is written from front to back.
pub struct Writer<W> {
    to: W,
    /// Bytes of the current file that are still to come.
    left: u64,
    pad: usize,
}

impl<W: Write> Writer<W> {
    /// Begins.
    pub fn new(to: W) -> Self {
        Self {
            to,
            left: 0,
            pad: 0,
        }
    }

    /// Writes the head of a file; its `size` bytes follow by [`Writer::data`]. Holes are written
    /// as zeros.
    ///
    /// # Errors
    /// When the other end is gone.
    pub fn head(&mut self, item: &Item) -> Result<()> {
        let mut name = item.path.join(&b'/');
        let kind = match item.kind {
            FileKind::File => b'0',
            FileKind::Link => b'1',
            FileKind::Symlink => b'2',
            FileKind::Directory => {
                name.push(b'/');
                b'5'
            }
            FileKind::Special => return Err(Error::new(Kind::Unsupported, "a device has no data")),
        };
        if name == b"/" {
            name = b"./".to_vec();
        }
        let size = match item.kind {
            FileKind::File => item.size,
            _ => 0,
        };
        let mut more = Vec::new();
        let mut say = |key: &str, value: &[u8]| more.extend(record(key, value));
        if name.len() > SHORT {
            say("path", &name);
        }
        if item.link.len() > SHORT {
            say("linkpath", &item.link);
        }
        for (key, number) in [("uid", item.uid), ("gid", item.gid)] {
            if u64::from(number) > OCTAL {
                say(key, number.to_string().as_bytes());
            }
        }
        let mtime = u64::try_from(item.mtime).ok().filter(|t| *t < 1 << 33);
        if mtime.is_none() {
            say("mtime", item.mtime.to_string().as_bytes());
        }
        let large = size >= 1 << 33;
        if large {
            say("size", size.to_string().as_bytes());
        }
        if !more.is_empty() {
            let mut head = Head::default();
            head.put(0, b"pax");
            head.octal(124, 11, more.len() as u64);
            self.to.write_all(&head.of(b'x'))?;
            self.to.write_all(&more)?;
            self.to.write_all(zeros(more.len() as u64))?;
        }
        let mut head = Head::default();
        let short = |bytes: &[u8]| bytes.get(..SHORT).unwrap_or(bytes).to_vec();
        head.put(0, &short(&name));
        head.octal(100, 7, u64::from(item.mode & 0o7777));
        head.octal(108, 7, u64::from(item.uid).min(OCTAL));
        head.octal(116, 7, u64::from(item.gid).min(OCTAL));
        head.octal(124, 11, if large { 0 } else { size });
        head.octal(136, 11, mtime.unwrap_or(0));
        head.put(157, &short(&item.link));
        self.to.write_all(&head.of(kind))?;
        self.left = size;
        self.pad = zeros(size).len();
        Ok(())
    }

    /// Writes data of the current file; what is more than its size is left out.
    ///
    /// # Errors
    /// When the other end is gone.
    pub fn data(&mut self, bytes: &[u8]) -> Result<()> {
        let n = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
        self.to.write_all(bytes.get(..n).unwrap_or(bytes))?;
        self.left -= n as u64;
        Ok(())
    }

    /// Ends the current file; zeros stand for data that did not come. Gives whether there were any.
    ///
    /// # Errors
    /// When the other end is gone.
    pub fn end_file(&mut self) -> Result<bool> {
        let short = self.left > 0;
        while self.left > 0 {
            self.data(&[0; 8192])?;
        }
        let pad = std::mem::take(&mut self.pad);
        self.to.write_all([0; BLOCK].get(..pad).unwrap_or(&[]))?;
        Ok(short)
    }

    /// Writes the end mark.
    ///
    /// # Errors
    /// When the other end is gone.
    pub fn finish(mut self) -> Result<()> {
        self.to.write_all(&[0; 2 * BLOCK])?;
        Ok(self.to.flush()?)
    }
}

/// What fills the last block after so many bytes.
fn zeros(after: u64) -> &'static [u8] {
    let pad = (BLOCK - (after % BLOCK as u64) as usize) % BLOCK;
    ZEROS.get(..pad).unwrap_or(&[])
}

static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// `LENGTH KEY=VALUE\n`, the length counting itself.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() > length {
        length += 1;
    }
    let mut out = format!("{length} {key}=").into_bytes();
    out.extend_from_slice(value);
    out.push(b'\n');
    out
}

/// A header that is being filled.
struct Head([u8; BLOCK]);

impl Default for Head {
    fn default() -> Self {
        let mut head = Self([0; BLOCK]);
        head.octal(100, 7, 0o644);
        head.octal(108, 7, 0);
        head.octal(116, 7, 0);
        head.octal(136, 11, 0);
        head.put(148, b"        ");
        head.put(257, b"ustar\x0000");
        head
    }
}

impl Head {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        for (to, from) in self.0.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    }

    fn octal(&mut self, at: usize, digits: usize, value: u64) {
        self.put(at, format!("{value:0digits$o}\0").as_bytes());
    }

    fn of(mut self, kind: u8) -> [u8; BLOCK] {
        self.put(156, &[kind]);
        let sum: u32 = self.0.iter().map(|b| u32::from(*b)).sum();
        self.put(148, format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(kind: FileKind, path: &str) -> Item {
        Item {
            kind,
            path: path
                .split('/')
                .filter(|p| !p.is_empty())
                .map(|p| p.as_bytes().to_vec())
                .collect(),
            link: Vec::new(),
            mode: 0o640,
            uid: 3_000_000,
            gid: 7,
            mtime: 1_700_000_000,
            size: 0,
            parts: Vec::new(),
        }
    }

    fn written(items: &[(Item, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        for (item, data) in items {
            writer.head(item).unwrap();
            writer.data(data).unwrap();
            writer.end_file().unwrap();
        }
        writer.finish().unwrap();
        out
    }

    #[test]
    fn what_is_written_is_read_again() {
        let long = format!("d/{}", "x".repeat(200));
        let file = Item {
            size: 5,
            parts: vec![(0, 5)],
            ..item(FileKind::File, &long)
        };
        let link = Item {
            link: vec![b'y'; 300],
            mtime: -5,
            ..item(FileKind::Symlink, "l")
        };
        let directory = item(FileKind::Directory, "d");
        let top = item(FileKind::Directory, "");
        let bytes = written(&[
            (top.clone(), b""),
            (directory.clone(), b""),
            (file.clone(), b"bytes"),
            (link.clone(), b""),
        ]);
        assert_eq!(bytes.len() % BLOCK, 0);
        let mut reader = Reader::new(bytes.as_slice(), 10);
        assert_eq!(reader.next_item().unwrap(), Some(top));
        assert_eq!(reader.next_item().unwrap(), Some(directory));
        assert_eq!(reader.next_item().unwrap(), Some(file));
        let mut data = [0; 3];
        assert_eq!(reader.data(&mut data).unwrap(), 3);
        // What nobody reads is gone over.
        assert_eq!(&data, b"byt");
        let read = reader.next_item().unwrap().unwrap();
        assert_eq!((&read.link, read.mtime), (&link.link, -5));
        assert_eq!(reader.next_item().unwrap(), None);
    }

    #[test]
    fn a_file_that_shrinks_is_filled_and_one_that_grows_is_cut() {
        let file = Item {
            size: 600,
            parts: vec![(0, 600)],
            ..item(FileKind::File, "f")
        };
        for (data, short) in [(&[1; 100][..], true), (&[1; 900][..], false)] {
            let mut out = Vec::new();
            let mut writer = Writer::new(&mut out);
            writer.head(&file).unwrap();
            writer.data(data).unwrap();
            assert_eq!(writer.end_file().unwrap(), short);
            writer.finish().unwrap();
            let mut reader = Reader::new(out.as_slice(), 10);
            assert_eq!(reader.next_item().unwrap().unwrap().size, 600);
            assert_eq!(reader.next_item().unwrap(), None);
        }
    }

    #[test]
    fn lengths_of_records_count_themselves() {
        for n in [1, 90, 91, 92, 93, 94, 95, 990, 991, 992, 993, 994, 995] {
            let record = record("k", &vec![b'v'; n]);
            let text = String::from_utf8(record.clone()).unwrap();
            let told: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(told, record.len(), "{n}");
        }
    }

    #[test]
    fn names_that_lead_out_and_tars_that_end_early_are_refused() {
        let bytes = written(&[(item(FileKind::Directory, "../x"), b"")]);
        assert!(Reader::new(bytes.as_slice(), 10).next_item().is_err());
        let file = Item {
            size: 600,
            ..item(FileKind::File, "f")
        };
        let bytes = written(&[(file, &[1; 600])]);
        let data = bytes.windows(600).position(|w| w == [1; 600]).unwrap();
        let mut reader = Reader::new(&bytes[..data + 100], 10);
        reader.next_item().unwrap();
        assert!(reader.next_item().is_err());
    }
}
