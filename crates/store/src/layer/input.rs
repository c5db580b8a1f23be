//! Where tar bytes come from: a stream that is hashed and kept on its way, or a kept tar.

use crate::blob::Hasher;
use crate::error::{Error, Kind, Result};
use rkt_spec::Digest;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;

/// Bytes in order, with a position.
pub(crate) trait Input {
    /// Fills the buffer as far as there are bytes; fewer only at the end.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize>;
    /// Goes over bytes that are of no interest.
    fn skip(&mut self, bytes: u64) -> Result<()>;
    /// Bytes behind us.
    fn position(&self) -> u64;
}

fn cut_short() -> Error {
    Error::new(Kind::Corrupt, "the tar ends in the middle of an entry")
}

/// What a stream may bring.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    /// Bytes.
    pub(crate) bytes: u64,
    /// Bytes out per byte in, after [`FREE`].
    pub(crate) ratio: u64,
    /// Bytes that the disk has room for.
    pub(crate) room: u64,
}

/// Bytes for which nobody asks what they were compressed from.
const FREE: u64 = 256 << 20;
const BUFFER: usize = 256 << 10;

/// An inflated stream: every byte that goes by is hashed and written to the tar.
pub(crate) struct Stream<'a> {
    from: Box<dyn Read + 'a>,
    /// Compressed bytes taken so far.
    taken: &'a std::cell::Cell<u64>,
    to: &'a mut File,
    hash: Hasher,
    buffer: Vec<u8>,
    /// What of the buffer is still to be looked at.
    ready: std::ops::Range<usize>,
    /// Bytes hashed and written.
    seen: u64,
    budget: Budget,
}

impl<'a> Stream<'a> {
    pub(crate) fn new(
        from: Box<dyn Read + 'a>,
        taken: &'a std::cell::Cell<u64>,
        to: &'a mut File,
        hash: Hasher,
        budget: Budget,
    ) -> Self {
        Self {
            from,
            taken,
            to,
            hash,
            buffer: vec![0; BUFFER],
            ready: 0..0,
            seen: 0,
            budget,
        }
    }

    /// Takes more from the source; `false` at its end.
    fn more(&mut self) -> Result<bool> {
        // Whole buffers, so that the pages of the tar are written once each.
        let mut n = 0;
        while let Some(rest) = self.buffer.get_mut(n..).filter(|rest| !rest.is_empty()) {
            match self.from.read(rest) {
                Ok(0) => break,
                Ok(more) => n += more,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(super::inflate::failure(&e)),
            }
        }
        let bytes = self.buffer.get(..n).unwrap_or(&[]);
        self.seen += n as u64;
        if self.seen > self.budget.bytes {
            let limit = self.budget.bytes;
            let text = format!(
                "the layer is larger than {limit} bytes uncompressed (`--layer-limits=bytes=SIZE` allows more)"
            );
            return Err(Error::new(Kind::TooLarge, text));
        }
        if self.seen > self.budget.room {
            let room = self.budget.room;
            let text = format!(
                "no space left: the disk has room for {room} bytes, and the layer has more"
            );
            return Err(Error::new(Kind::NoSpace, text));
        }
        if self.seen > FREE && self.seen / self.budget.ratio.max(1) > self.taken.get() {
            let text = format!(
                "the layer inflates more than {}-fold, as bombs do (`--layer-limits=ratio=N` allows more)",
                self.budget.ratio
            );
            return Err(Error::new(Kind::TooLarge, text));
        }
        self.hash.update(bytes);
        self.to.write_all(bytes)?;
        self.ready = 0..n;
        Ok(n != 0)
    }

    /// Digest and number of all bytes; the caller has read to the end.
    pub(crate) fn finish(self) -> (Digest, u64) {
        (self.hash.finish(), self.seen)
    }
}

impl Input for Stream<'_> {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            if self.ready.is_empty() && !self.more()? {
                break;
            }
            let n = self.ready.len().min(buffer.len() - done);
            let from = self.buffer.get(self.ready.start..self.ready.start + n);
            if let (Some(from), Some(to)) = (from, buffer.get_mut(done..done + n)) {
                to.copy_from_slice(from);
            }
            self.ready.start += n;
            done += n;
        }
        Ok(done)
    }

    fn skip(&mut self, bytes: u64) -> Result<()> {
        let mut left = bytes;
        while left > 0 {
            if self.ready.is_empty() && !self.more()? {
                return Err(cut_short());
            }
            let n = left.min(self.ready.len() as u64);
            self.ready.start += n as usize;
            left -= n;
        }
        Ok(())
    }

    fn position(&self) -> u64 {
        self.seen - self.ready.len() as u64
    }
}

/// A tar that was kept, read again for its headers only.
pub(crate) struct Kept<'a> {
    file: &'a File,
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    /// Where the buffer lies in the file.
    start: u64,
}

impl<'a> Kept<'a> {
    /// `bytes` is the length of the tar without the padding that we added.
    pub(crate) fn new(file: &'a File, bytes: u64) -> Self {
        Self {
            file,
            at: 0,
            end: bytes,
            buffer: Vec::new(),
            start: 0,
        }
    }
}

impl Input for Kept<'_> {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        while done < buffer.len() && self.at < self.end {
            let skip = self.at.checked_sub(self.start).map(|n| n as usize);
            let ready = skip.and_then(|n| self.buffer.get(n..)).unwrap_or(&[]);
            if ready.is_empty() {
                // Small files lie close together: a few headers come with one read.
                let want = (self.end - self.at).min(8192) as usize;
                self.buffer.resize(want, 0);
                self.file.read_exact_at(&mut self.buffer, self.at)?;
                self.start = self.at;
                continue;
            }
            let n = ready.len().min(buffer.len() - done);
            if let (Some(from), Some(to)) = (ready.get(..n), buffer.get_mut(done..done + n)) {
                to.copy_from_slice(from);
            }
            done += n;
            self.at += n as u64;
        }
        Ok(done)
    }

    fn skip(&mut self, bytes: u64) -> Result<()> {
        let at = self.at.saturating_add(bytes);
        if at > self.end {
            return Err(cut_short());
        }
        self.at = at;
        Ok(())
    }

    fn position(&self) -> u64 {
        self.at
    }
}
