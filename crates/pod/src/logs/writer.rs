//! The supervisor's end: bytes of an app in, records out, rotation by rename.
//!
//! Nothing here costs in proportion to what was logged before, and nothing an app does
//! makes it hold more than [`MAX_TEXT`] bytes a stream or write more than its share of the
//! disk. A disk that is full loses lines, never the pod; how many is logged later.

use super::record::{self, Stream};
use super::{DIR, MAX_TEXT, file_name};
use crate::error::Doing;
use crate::{Result, file};
use rkt_spec::AppName;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Records are collected up to this many bytes before they are written.
const BATCH: usize = 64 * 1024;

/// The log of one app.
#[derive(Debug)]
pub struct LogWriter {
    pod_dir: OwnedFd,
    /// Made for the first record: many pods end without a word.
    dir: Option<OwnedFd>,
    app: AppName,
    file: Option<OwnedFd>,
    size: u64,
    max_bytes: u64,
    files: u32,
    /// How many rotated files there are.
    older: u32,
    /// What came of stdout and stderr without a line end yet.
    partial: [Vec<u8>; 2],
    batch: Vec<u8>,
    /// Records in `batch`, and records that could not be written.
    pending: u64,
    lost: u64,
}

impl LogWriter {
    /// Opens the log of `app`, goes on where an earlier run stopped. A file is made for the first
    /// record.
    ///
    /// A file is rotated before it grows past `max_bytes` (one record may); `files` are kept, the
    /// current one counted; 0 means 1.
    ///
    /// # Errors
    /// When a log is there and cannot be opened.
    pub fn open(
        pod_dir: BorrowedFd<'_>,
        app: &AppName,
        max_bytes: u64,
        files: u32,
    ) -> Result<Self> {
        let doing = || format!("open the log of app `{app}`");
        let dir = match file::open_dir(pod_dir, DIR) {
            Ok(dir) => Some(dir),
            Err(Errno::NOENT) => None,
            Err(e) => return Err(e).doing(doing),
        };
        let mut log = Self {
            pod_dir: rustix::io::fcntl_dupfd_cloexec(pod_dir, 3).doing(doing)?,
            dir,
            app: app.clone(),
            file: None,
            size: 0,
            max_bytes: max_bytes.max(1),
            files: files.max(1),
            older: 0,
            partial: [Vec::new(), Vec::new()],
            batch: Vec::new(),
            pending: 0,
            lost: 0,
        };
        if let Some(dir) = &log.dir {
            let exists = |n: u32| {
                let name = file_name(app, n);
                rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
            };
            let current = exists(0);
            while log.older + 1 < log.files && exists(log.older + 1) {
                log.older += 1;
            }
            if current {
                log.open_current().doing(doing)?;
            }
        }
        Ok(log)
    }

    fn dir(&mut self) -> Result<BorrowedFd<'_>, Errno> {
        if self.dir.is_none() {
            match rustix::fs::mkdirat(&self.pod_dir, DIR, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e),
            }
            self.dir = Some(file::open_dir(self.pod_dir.as_fd(), DIR)?);
        }
        self.dir.as_ref().map(AsFd::as_fd).ok_or(Errno::BADF)
    }

    fn open_current(&mut self) -> Result<(), Errno> {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOCTTY;
        let name = file_name(&self.app, 0);
        let file = file::open(self.dir()?, &name, flags)?;
        self.size = u64::try_from(rustix::fs::fstat(&file)?.st_size).unwrap_or(0);
        self.file = Some(file);
        Ok(())
    }

    /// Takes what the app wrote to one of its descriptors; `now` is nanoseconds since 1970.
    ///
    /// Complete lines are in the file afterwards, by one write for each 64 KiB; the rest waits for
    /// its line end, [`LogWriter::flush`], or [`MAX_TEXT`] bytes.
    ///
    /// # Errors
    /// When lines could not be written; they are counted, and nothing is to be done about it.
    pub fn write(&mut self, stream: Stream, bytes: &[u8], now: u64) -> Result<()> {
        let mut result = Ok(());
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            let (line, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or(&[]);
            result = result.and(self.text(stream, line, true, now));
        }
        if !rest.is_empty() {
            result = result.and(self.text(stream, rest, false, now));
        }
        result.and(self.commit(now))
    }

    /// Writes what has no line end yet, as parts of lines: at the end of a stream, and when an
    /// app has printed a prompt and waits.
    ///
    /// # Errors
    /// As [`LogWriter::write`].
    pub fn flush(&mut self, now: u64) -> Result<()> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let text = std::mem::take(self.partial_of(stream));
            if !text.is_empty() {
                self.record(stream, false, &text, now)?;
            }
        }
        self.commit(now)
    }

    /// Whether anything waits for its line end.
    pub fn has_partial(&self) -> bool {
        self.partial.iter().any(|p| !p.is_empty())
    }

    /// Records that were lost since the last one that could be written.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn partial_of(&mut self, stream: Stream) -> &mut Vec<u8> {
        let [out, err] = &mut self.partial;
        match stream {
            Stream::Stdout => out,
            Stream::Stderr => err,
        }
    }

    /// Adds text to the line of a stream, and ends the line or not.
    fn text(&mut self, stream: Stream, mut text: &[u8], full: bool, now: u64) -> Result<()> {
        let mut result = Ok(());
        // What waits already comes first, and is never longer than MAX_TEXT.
        let mut line = std::mem::take(self.partial_of(stream));
        while line.len() + text.len() > MAX_TEXT {
            let (head, tail) = text.split_at(MAX_TEXT.saturating_sub(line.len()));
            text = tail;
            let done = if line.is_empty() {
                self.record(stream, false, head, now)
            } else {
                line.extend_from_slice(head);
                let done = self.record(stream, false, &line, now);
                line.clear();
                done
            };
            result = result.and(done);
        }
        if full && line.is_empty() {
            return result.and(self.record(stream, true, text, now));
        }
        line.extend_from_slice(text);
        if full {
            result = result.and(self.record(stream, true, &line, now));
            line.clear();
        }
        // The buffer is kept for the next part, but not a big one for an app that went quiet.
        if !line.is_empty() || line.capacity() <= 1024 {
            *self.partial_of(stream) = line;
        }
        result
    }

    fn record(&mut self, stream: Stream, full: bool, text: &[u8], now: u64) -> Result<()> {
        let length = record::HEAD + text.len() + 1;
        let room = self.max_bytes.saturating_sub(self.size);
        let after = (self.batch.len() + length) as u64;
        let mut result = Ok(());
        if after > room || self.batch.len() + length > BATCH {
            result = self.commit(now);
            if self.size > 0 && self.size.saturating_add(length as u64) > self.max_bytes {
                result = result.and(self.rotate());
            }
        }
        record::put(&mut self.batch, now, stream, full, text);
        self.pending += 1;
        result
    }

    /// Writes the batch.
    fn commit(&mut self, now: u64) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let mut batch = std::mem::take(&mut self.batch);
        let pending = std::mem::take(&mut self.pending);
        let told = self.lost > 0;
        if told {
            let note = format!("rkt: {} records were lost, the disk was full", self.lost);
            record::put(&mut batch, now, Stream::Stderr, true, note.as_bytes());
        }
        let done = self.append(&batch);
        batch.clear();
        if batch.capacity() <= 8 * 1024 {
            self.batch = batch;
        }
        match done {
            Ok(()) => {
                self.lost = 0;
                Ok(())
            }
            Err(e) => {
                self.lost += pending;
                Err(e).doing(|| format!("write the log of app `{}`", self.app))
            }
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        if self.file.is_none() {
            self.open_current()?;
        }
        let Some(file) = &self.file else {
            return Err(Errno::BADF);
        };
        if let Err(e) = file::write_all(file.as_fd(), bytes) {
            // A part may have been written: no reader shall see half a record.
            let _ = rustix::fs::ftruncate(file, self.size);
            return Err(e);
        }
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Renames each file to the next older name and begins a new one: as many renames as
    /// there are files, whatever their size.
    fn rotate(&mut self) -> Result<()> {
        let app = self.app.clone();
        let doing = || format!("rotate the log of app `{app}`");
        // The oldest file of a full set is replaced by the one that takes its name.
        self.older = (self.older + 1).min(self.files - 1);
        let older = self.older;
        let names: Vec<_> = (0..=older).map(|n| file_name(&self.app, n)).collect();
        let files = self.files;
        let dir = self.dir().doing(|| "open the logs of the pod".into())?;
        for pair in names.windows(2).rev() {
            let [from, to] = pair else { continue };
            match rustix::fs::renameat(dir, from, dir, to) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => return Err(e).doing(doing),
            }
        }
        if let ([only], 1) = (names.as_slice(), files) {
            match rustix::fs::unlinkat(dir, only, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => return Err(e).doing(doing),
            }
        }
        self.file = None;
        self.size = 0;
        self.open_current().doing(doing)
    }
}
