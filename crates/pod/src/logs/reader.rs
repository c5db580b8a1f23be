//! Reading a log as it grows and rotates, oldest record first.

use super::{DIR, MAX_TEXT, Stream, file_name, record, tail};
use crate::error::Doing;
use crate::{Result, file};
use rkt_spec::AppName;
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How many rotated files are looked for at most.
const MAX_FILES: u32 = 1000;
/// Read at once, bytes.
const BLOCK: usize = 64 * 1024;

/// One record of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Nanoseconds since 1970.
    pub time: u64,
    /// Where the app wrote it.
    pub stream: Stream,
    /// Whether a line ends here; else the next entry of the stream goes on.
    pub full: bool,
    /// Bytes of the app, without a line end; hostile.
    pub text: Vec<u8>,
}

/// The log of one app, read from some point on.
#[derive(Debug)]
pub struct LogReader {
    dir: Option<OwnedFd>,
    pod_dir: OwnedFd,
    app: AppName,
    /// Files not yet read to their end, oldest first. The last may still grow.
    files: VecDeque<OwnedFd>,
    /// Where the next block of the first file begins.
    offset: u64,
    buffer: Vec<u8>,
    /// How much of `buffer` was handed out.
    used: usize,
    since: u64,
}

impl LogReader {
    /// Reads the log of `app` from its oldest record.
    ///
    /// An app that has not written anything yet has an empty log.
    ///
    /// # Errors
    /// When the files cannot be opened.
    pub fn open(pod_dir: BorrowedFd<'_>, app: &AppName) -> Result<Self> {
        let doing = || "keep the pod's directory".to_owned();
        let mut reader = Self {
            dir: None,
            pod_dir: rustix::io::fcntl_dupfd_cloexec(pod_dir, 3).doing(doing)?,
            app: app.clone(),
            files: VecDeque::new(),
            offset: 0,
            buffer: Vec::new(),
            used: 0,
            since: 0,
        };
        reader.files = reader.newer_than(None)?;
        Ok(reader)
    }

    /// Skips what is older than `time` (nanoseconds since 1970).
    #[must_use]
    pub fn since(mut self, time: u64) -> Self {
        self.since = time;
        self
    }

    /// Skips all but the last `lines` lines, reading backwards from the end.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn tail(mut self, lines: u64) -> Result<Self> {
        let doing = || format!("read the log of app `{}`", self.app);
        let (skip, offset) = tail::start(self.files.make_contiguous(), lines).doing(doing)?;
        self.files.drain(..skip);
        self.offset = offset;
        Ok(self)
    }

    /// The files that are newer than `last`, oldest first, opened so that a rotation in
    /// between cannot hide one: names only ever move to higher numbers.
    fn newer_than(&mut self, last: Option<(u64, u64)>) -> Result<VecDeque<OwnedFd>> {
        let doing = |app: &AppName| format!("open the log of app `{app}`");
        if self.dir.is_none() {
            match file::open_dir(self.pod_dir.as_fd(), DIR) {
                Ok(dir) => self.dir = Some(dir),
                Err(Errno::NOENT) => return Ok(VecDeque::new()),
                Err(e) => return Err(e).doing(|| doing(&self.app)),
            }
        }
        let Some(dir) = &self.dir else {
            return Ok(VecDeque::new());
        };
        let mut files = VecDeque::new();
        let mut seen = Vec::new();
        let mut missing = 0;
        for n in 0..MAX_FILES {
            let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK;
            let file = match file::open(dir.as_fd(), &file_name(&self.app, n), flags) {
                Ok(file) => file,
                // Between two renames of a rotation one name is missing.
                Err(Errno::NOENT) if missing == 0 => {
                    missing += 1;
                    continue;
                }
                Err(Errno::NOENT) => break,
                Err(e) => return Err(e).doing(|| doing(&self.app)),
            };
            missing = 0;
            let id = identity(&file)?;
            if Some(id) == last {
                break;
            }
            if !seen.contains(&id) {
                seen.push(id);
                files.push_front(file);
            }
        }
        Ok(files)
    }

    /// The next record; `None` when there is none yet (or, after the pod's end, any more).
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        loop {
            if let Some(line) = self.next_line()? {
                if let Some((time, stream, full, text)) = record::split(&line)
                    && time >= self.since
                {
                    let text = text.to_vec();
                    return Ok(Some(Entry {
                        time,
                        stream,
                        full,
                        text,
                    }));
                }
                continue;
            }
            if self.files.len() > 1 {
                // The first was rotated away before the second was begun: it is complete.
                self.leave_file();
                continue;
            }
            let last = self.files.front().map(identity).transpose()?;
            let newer = self.newer_than(last)?;
            if newer.is_empty() {
                return Ok(None);
            }
            self.files.extend(newer);
            // What was written between our last read and the rotation is read by one more
            // round over the old file, which is not the last any more.
        }
    }

    fn leave_file(&mut self) {
        self.files.pop_front();
        self.offset = 0;
        self.buffer.clear();
        self.used = 0;
    }

    /// The next complete line of the first file.
    fn next_line(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            let waiting = self.buffer.get(self.used..).unwrap_or(&[]);
            if let Some(end) = waiting.iter().position(|b| *b == b'\n') {
                let line = waiting.get(..end).unwrap_or(&[]).to_vec();
                self.used += end + 1;
                return Ok(Some(line));
            }
            // No record is that long: whatever this is, it is not ours to keep in memory.
            let keep = if waiting.len() > record::HEAD + MAX_TEXT {
                0
            } else {
                waiting.len()
            };
            self.buffer.drain(..self.buffer.len() - keep);
            self.used = 0;
            let Some(file) = self.files.front() else {
                return Ok(None);
            };
            self.buffer.resize(keep + BLOCK, 0);
            let target = self.buffer.get_mut(keep..).unwrap_or_default();
            let got =
                rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *target, self.offset));
            let n = got.doing(|| format!("read the log of app `{}`", self.app))?;
            self.buffer.truncate(keep + n);
            self.offset += n as u64;
            if n == 0 {
                // A begun record is read again next time: a writer whose disk was full cuts
                // it off and puts another one there.
                self.offset = self.offset.saturating_sub(keep as u64);
                self.buffer.clear();
                return Ok(None);
            }
        }
    }
}

fn identity(file: &OwnedFd) -> Result<(u64, u64)> {
    let stat = rustix::fs::fstat(file)?;
    Ok((stat.st_dev, stat.st_ino))
}
