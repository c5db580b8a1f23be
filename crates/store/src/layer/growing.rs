//! Compressed bytes in a file that grows while it is read: no second copy goes through a pipe.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

/// Bytes of one number.
const TICK: usize = 8;

/// Reads what is there, and waits for more.
pub(super) struct Growing {
    /// Says how many bytes the file has by now; its end is theirs.
    ticks: File,
    file: File,
    at: u64,
    /// Bytes that are there.
    end: u64,
    /// What came of a number so far.
    part: Vec<u8>,
}

impl Growing {
    pub(super) fn new(ticks: File, file: File) -> Self {
        Self {
            ticks,
            file,
            at: 0,
            end: 0,
            part: Vec::new(),
        }
    }

    /// Waits for more; `false` at the end.
    fn wait(&mut self) -> io::Result<bool> {
        while self.at >= self.end {
            // All that wait are taken at once: the last one counts.
            let mut buffer = [0; 512];
            let n = match self.ticks.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            self.part.extend_from_slice(buffer.get(..n).unwrap_or(&[]));
            let whole = self.part.len() / TICK * TICK;
            for tick in self.part.drain(..whole).as_slice().chunks_exact(TICK) {
                let tick = tick.try_into().map_or(0, u64::from_le_bytes);
                self.end = self.end.max(tick);
            }
        }
        Ok(true)
    }
}

impl Read for Growing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || !self.wait()? {
            return Ok(0);
        }
        let there = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let most = buffer.len().min(there);
        let n = self
            .file
            .read_at(buffer.get_mut(..most).unwrap_or(&mut []), self.at)?;
        if n == 0 {
            // Shorter than we were told: somebody has cut the file.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_is_told_is_read_and_no_more() {
        let (ticks, mut tell) = io::pipe().unwrap();
        let mut file = File::from(
            rustix::fs::memfd_create("growing", rustix::fs::MemfdFlags::CLOEXEC).unwrap(),
        );
        let again = file.try_clone().unwrap();
        let ticks = File::from(std::os::fd::OwnedFd::from(ticks));
        let mut growing = Growing::new(ticks, again);
        file.write_all(b"one two three").unwrap();
        tell.write_all(&3_u64.to_le_bytes()).unwrap();
        let mut buffer = [0; 64];
        assert_eq!(growing.read(&mut buffer).unwrap(), 3);
        // Two at once, and a half one whose rest comes later.
        let mut both = [5_u64.to_le_bytes(), 7_u64.to_le_bytes()].concat();
        both.extend_from_slice(&13_u64.to_le_bytes()[..4]);
        tell.write_all(&both).unwrap();
        assert_eq!(growing.read(&mut buffer).unwrap(), 4);
        tell.write_all(&13_u64.to_le_bytes()[4..]).unwrap();
        assert_eq!(growing.read(&mut buffer).unwrap(), 6);
        assert_eq!(&buffer[..6], b" three");
        // Told of more than there is.
        tell.write_all(&20_u64.to_le_bytes()).unwrap();
        assert!(growing.read(&mut buffer).is_err());
        drop(tell);
        let (ticks, tell) = io::pipe().unwrap();
        drop(tell);
        let ticks = File::from(std::os::fd::OwnedFd::from(ticks));
        assert_eq!(Growing::new(ticks, file).read(&mut buffer).unwrap(), 0);
    }
}
