//! Reading a tar: ustar, pax, GNU and old headers, to one [`Entry`] after the other.
//!
//! Strict where readers differ: two readers that see different files in one tar are how things
//! are smuggled past checks (CVE-2025-62518). Sizes that contradict each other, data where a
//! kind has none, broken sums and bytes after the end are refused.

use super::entry::{Entry, Segment, What, show};
use super::input::Input;
use super::number::{decimal, number, string, time};
use super::pax::{MAX_SEGMENTS, Pax, too_many};
use super::xattr;
use crate::error::{Error, Kind, Result};

const BLOCK: usize = 512;
/// Most bytes of one extended header.
const MAX_EXTENDED: u64 = 1 << 20;
/// Most bytes of all extended headers of a layer: no real layer comes near.
const MAX_EXTENDED_SUM: u64 = 256 << 20;
/// Most zeros after the end mark; GNU tar pads to its blocking factor.
const MAX_PADDING: u64 = 16 << 20;
/// Most bytes of a sparse map before the data (pax 1.0).
const MAX_MAP: u64 = 4 << 20;

/// A reader that stands between two entries.
pub(crate) struct Tar<I> {
    input: I,
    /// Bytes of the last entry's data that nobody has gone over yet.
    ahead: u64,
    /// Bytes that fill the last block of that entry.
    pad: u64,
    extended: u64,
    headers: u64,
    max_headers: u64,
}

fn corrupt(why: impl Into<String>) -> Error {
    Error::new(Kind::Corrupt, why)
}

/// What precedes an entry.
#[derive(Default)]
struct Before {
    pax: Option<Pax>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl<I: Input> Tar<I> {
    /// Starts at the first header; more than `max_headers` headers are refused.
    pub(crate) fn new(input: I, max_headers: u64) -> Self {
        Self {
            input,
            ahead: 0,
            pad: 0,
            extended: 0,
            headers: 0,
            max_headers,
        }
    }

    /// Gives the input back, at its very end when [`Tar::next`] has given `None`.
    pub(crate) fn into_input(self) -> I {
        self.input
    }

    /// Bytes of the last entry's data, where they lie in the tar; 0 at their end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let most = usize::try_from(self.ahead).map_or(buffer.len(), |n| n.min(buffer.len()));
        let part = buffer.get_mut(..most).unwrap_or_default();
        self.exactly(part)?;
        self.ahead -= most as u64;
        Ok(most)
    }

    /// The next entry; `None` after the end mark, or at the end of the input.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        let mut before = Before::default();
        loop {
            let ahead = std::mem::take(&mut self.ahead);
            self.input.skip(ahead)?;
            let mut header = [0; BLOCK];
            // Some writers (umoci insert) end after the last byte of data; Go, and so docker, take
            // that for the end.
            if self.padding_ends()? {
                match self.input.fill(&mut header)? {
                    0 => {}
                    BLOCK => {}
                    _ => return Err(corrupt("the tar ends in the middle of a header")),
                }
            }
            if header == [0; BLOCK] {
                if before.pax.is_some() || before.name.is_some() || before.link.is_some() {
                    return Err(corrupt("an extended header has no entry after it"));
                }
                self.rest_is_empty()?;
                return Ok(None);
            }
            self.headers += 1;
            if self.headers > self.max_headers {
                let text = format!(
                    "the layer has more than {} entries (`--layer-limits=entries=N` allows more)",
                    self.max_headers
                );
                return Err(Error::new(Kind::TooLarge, text));
            }
            check_sum(&header)?;
            let size = field(&header, 124, 12, "size")?;
            match header[156] {
                b'x' => {
                    let bytes = self.extended(size)?;
                    let mut pax = Pax::default();
                    pax.read(&bytes)?;
                    before.pax = Some(pax);
                }
                // Defaults for all that follows. Go, and so docker, ignores them.
                b'g' => drop(self.extended(size)?),
                b'L' => before.name = Some(string(&self.extended(size)?).to_vec()),
                b'K' => before.link = Some(string(&self.extended(size)?).to_vec()),
                kind => return self.entry(&header, kind, size, before).map(Some),
            }
        }
    }

    /// Goes over what fills the last block of an entry; whether all of it was there.
    fn padding_ends(&mut self) -> Result<bool> {
        let pad = std::mem::take(&mut self.pad) as usize;
        let mut block = [0; BLOCK];
        let block = block.get_mut(..pad).unwrap_or_default();
        Ok(self.input.fill(block)? == pad)
    }

    /// Only zeros may follow: what one reader takes for the end, another must not read on from.
    fn rest_is_empty(&mut self) -> Result<()> {
        let mut buffer = [0; 8192];
        let mut seen = 0;
        loop {
            let n = self.input.fill(&mut buffer)?;
            if n == 0 {
                return Ok(());
            }
            if buffer.iter().take(n).any(|b| *b != 0) {
                return Err(corrupt("there are bytes after the end of the tar"));
            }
            seen += n as u64;
            if seen > MAX_PADDING {
                return Err(corrupt("there is too much after the end of the tar"));
            }
        }
    }

    fn extended(&mut self, size: u64) -> Result<Vec<u8>> {
        self.extended = self.extended.saturating_add(size);
        if size > MAX_EXTENDED || self.extended > MAX_EXTENDED_SUM {
            return Err(Error::new(
                Kind::TooLarge,
                "the extended headers of the layer are too large",
            ));
        }
        let mut bytes = vec![0; size as usize];
        self.exactly(&mut bytes)?;
        self.pad = padding(size);
        Ok(bytes)
    }

    fn exactly(&mut self, buffer: &mut [u8]) -> Result<()> {
        if self.input.fill(buffer)? == buffer.len() {
            Ok(())
        } else {
            Err(corrupt("the tar ends in the middle of an entry"))
        }
    }

    fn entry(
        &mut self,
        header: &[u8; BLOCK],
        kind: u8,
        size: u64,
        before: Before,
    ) -> Result<Entry> {
        let mut pax = before.pax.unwrap_or_default();
        let path = one_of(
            pax.sparse.name.take().or(pax.path.take()),
            before.name,
            "names",
        )?
        .unwrap_or_else(|| header_name(header));
        let link = one_of(pax.link.take(), before.link, "link targets")?
            .unwrap_or_else(|| string(part(header, 157, 100)).to_vec());
        let in_entry = |e: Error| e.while_doing(format!("read entry `{}`", show(&path)));
        let stored = match pax.size {
            Some(told) if size != 0 && size != told => {
                return Err(in_entry(corrupt("its two sizes contradict each other")));
            }
            Some(told) => told,
            None => size,
        };
        let what = match kind {
            b'0' | 0 | b'7' if path.ends_with(b"/") => What::Directory,
            b'0' | 0 | b'7' | b'S' => What::File,
            b'1' => What::HardLink,
            b'2' => What::Symlink,
            b'3' => What::Char,
            b'4' => What::Block,
            b'5' => What::Directory,
            b'6' => What::Fifo,
            other => {
                let text = format!("its kind `{}` is none of a layer", other.escape_ascii());
                return Err(in_entry(Error::new(Kind::Unsupported, text)));
            }
        };
        if what != What::File && stored != 0 {
            return Err(in_entry(corrupt("it has data, which its kind cannot have")));
        }
        let mut entry = self.meta(header, what, &pax).map_err(in_entry)?;
        entry.link = link;
        if what == What::File {
            self.data(header, kind, stored, &pax, &mut entry)
                .map_err(in_entry)?;
        }
        entry.path = path;
        (entry.xattrs, entry.mode) = xattr::settle(what, &pax.xattrs, entry.mode)?;
        Ok(entry)
    }

    fn meta(&self, header: &[u8; BLOCK], what: What, pax: &Pax) -> Result<Entry> {
        let id = |told: Option<u64>, at, name| -> Result<u32> {
            let id = match told {
                Some(id) => id,
                None => field(header, at, 8, name)?,
            };
            // 2^32-1 is "no id" to the kernel.
            match u32::try_from(id) {
                Ok(id) if id != u32::MAX => Ok(id),
                _ => Err(corrupt(format!("its {name} {id} is out of range"))),
            }
        };
        let (mtime, nsec) = match pax.mtime {
            Some(time) => time,
            None => (
                time(part(header, 136, 12)).ok_or_else(|| corrupt("its time is no number"))?,
                0,
            ),
        };
        let device = matches!(what, What::Char | What::Block);
        let number = |at, name, limit: u32| match device {
            true => match u32::try_from(field(header, at, 8, name)?) {
                Ok(n) if n < limit => Ok(n),
                _ => Err(corrupt("its device number is out of range")),
            },
            false => Ok(0),
        };
        Ok(Entry {
            what,
            path: Vec::new(),
            link: Vec::new(),
            // Old writers leave file type bits in.
            mode: (field(header, 100, 8, "mode")? & 0o7777) as u16,
            uid: id(pax.uid, 108, "uid")?,
            gid: id(pax.gid, 116, "gid")?,
            mtime,
            nsec,
            size: 0,
            data: 0,
            major: number(329, "device number", 1 << 12)?,
            minor: number(337, "device number", 1 << 20)?,
            xattrs: Vec::new(),
            segments: None,
        })
    }

    /// Notes where the data lie and lets the next call go over them.
    fn data(
        &mut self,
        header: &[u8; BLOCK],
        kind: u8,
        stored: u64,
        pax: &Pax,
        entry: &mut Entry,
    ) -> Result<()> {
        if stored > 1 << 60 {
            return Err(corrupt("it is larger than any file"));
        }
        let sparse = &pax.sparse;
        let (mut map, size, stored_map) = if kind == b'S' {
            let (map, size) = self.old_gnu_map(header)?;
            (map, size, 0)
        } else if sparse.in_data() {
            let (map, bytes) = self.map_in_data(stored)?;
            (map, told_size(pax)?, bytes)
        } else if let Some(map) = &sparse.map {
            (map.clone(), told_size(pax)?, 0)
        } else {
            entry.size = stored;
            entry.data = self.input.position();
            (self.ahead, self.pad) = (stored, padding(stored));
            return Ok(());
        };
        let data = self.input.position();
        let left = stored - stored_map;
        let (mut at, mut end) = (data, 0);
        for segment in &mut map {
            let after = segment.offset.checked_add(segment.length);
            if segment.offset < end || after.is_none_or(|a| a > size) {
                return Err(corrupt("its map of holes is out of order"));
            }
            end = segment.offset + segment.length;
            segment.at = at;
            at += segment.length;
        }
        if at - data != left || size > 1 << 60 {
            return Err(corrupt("its map of holes does not fit its size"));
        }
        map.retain(|s| s.length != 0);
        entry.size = size;
        entry.data = data;
        entry.segments = Some(map);
        (self.ahead, self.pad) = (left, padding(left));
        Ok(())
    }

    /// The map of an old GNU `S` entry: four in the header, 21 in each block after it.
    fn old_gnu_map(&mut self, header: &[u8; BLOCK]) -> Result<(Vec<Segment>, u64)> {
        let size = field(header, 483, 12, "real size")?;
        let mut map = Vec::new();
        let mut take = |block: &[u8], count: usize| -> Result<()> {
            for index in 0..count {
                let raw = part(block, index * 24, 24);
                if raw.first().is_none_or(|b| *b == 0) {
                    break;
                }
                map.push(Segment {
                    offset: field(raw, 0, 12, "offset")?,
                    length: field(raw, 12, 12, "length")?,
                    at: 0,
                });
            }
            if map.len() > MAX_SEGMENTS {
                Err(too_many())
            } else {
                Ok(())
            }
        };
        take(part(header, 386, 96), 4)?;
        let mut more = header[482] != 0;
        while more {
            let mut block = [0; BLOCK];
            self.exactly(&mut block)?;
            take(part(&block, 0, 504), 21)?;
            more = block[504] != 0;
        }
        Ok((map, size))
    }

    /// The map of a pax 1.0 entry: decimal lines before the data, padded to a block.
    fn map_in_data(&mut self, stored: u64) -> Result<(Vec<Segment>, u64)> {
        let mut numbers: Vec<u64> = Vec::new();
        let mut line = Vec::new();
        let mut read = 0;
        loop {
            let wanted = numbers.first().map_or(1, |n| n.saturating_mul(2) + 1);
            if numbers.len() as u64 == wanted {
                break;
            }
            if wanted > 2 * MAX_SEGMENTS as u64 + 1 || read >= MAX_MAP {
                return Err(too_many());
            }
            if read >= stored {
                return Err(corrupt("its map of holes is cut short"));
            }
            let mut block = [0; BLOCK];
            self.exactly(&mut block)?;
            read += BLOCK as u64;
            for byte in block {
                let wanted = numbers.first().map_or(1, |n| n.saturating_mul(2) + 1);
                if numbers.len() as u64 == wanted {
                    break;
                }
                if byte != b'\n' {
                    line.push(byte);
                    continue;
                }
                let number = decimal(&line).filter(|_| line.len() < 20);
                numbers.push(number.ok_or_else(|| corrupt("its map of holes is broken"))?);
                line.clear();
            }
        }
        if read > stored {
            return Err(corrupt("its map of holes is cut short"));
        }
        let pairs = numbers.get(1..).unwrap_or(&[]).chunks_exact(2);
        let map = pairs
            .map(|pair| Segment {
                offset: pair.first().copied().unwrap_or(0),
                length: pair.last().copied().unwrap_or(0),
                at: 0,
            })
            .collect();
        Ok((map, read))
    }
}

fn told_size(pax: &Pax) -> Result<u64> {
    pax.sparse
        .size
        .ok_or_else(|| corrupt("it has holes but no size"))
}

fn one_of(pax: Option<Vec<u8>>, gnu: Option<Vec<u8>>, what: &str) -> Result<Option<Vec<u8>>> {
    match (pax, gnu) {
        (Some(pax), Some(gnu)) if pax != gnu => {
            Err(corrupt(format!("an entry has two long {what}")))
        }
        (pax, gnu) => Ok(pax.or(gnu)),
    }
}

fn part(bytes: &[u8], at: usize, len: usize) -> &[u8] {
    bytes.get(at..at + len).unwrap_or(&[])
}

fn field(header: &[u8], at: usize, len: usize, name: &str) -> Result<u64> {
    number(part(header, at, len))
        .ok_or_else(|| corrupt(format!("a {name} in a header is no number")))
}

fn header_name(header: &[u8; BLOCK]) -> Vec<u8> {
    let name = string(part(header, 0, 100));
    // Only POSIX's magic has a prefix; GNU keeps times there. "tar" at the end marks star.
    let prefix = match part(header, 257, 8) {
        b"ustar\x0000" if part(header, 508, 4) == b"tar\0" => string(part(header, 345, 131)),
        b"ustar\x0000" => string(part(header, 345, 155)),
        _ => &[],
    };
    if prefix.is_empty() {
        return name.to_vec();
    }
    [prefix, b"/", name].concat()
}

fn check_sum(header: &[u8; BLOCK]) -> Result<()> {
    let told = number(part(header, 148, 8));
    let (mut unsigned, mut signed) = (0u64, 0i64);
    for (at, byte) in header.iter().enumerate() {
        let byte = if (148..156).contains(&at) {
            b' '
        } else {
            *byte
        };
        unsigned += u64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    // Some old writers summed signed bytes.
    let good = told.is_some_and(|t| t == unsigned || i64::try_from(t) == Ok(signed));
    if good {
        Ok(())
    } else {
        Err(corrupt("it is no tar, or a header of it is damaged"))
    }
}

fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

#[cfg(test)]
mod properties;
