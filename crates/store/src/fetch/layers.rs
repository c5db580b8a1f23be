//! The layers of one image, several at a time, each once.

use super::interrupt::Interrupt;
use super::partial::Partial;
use crate::blob::Hasher;
use crate::disk;
use crate::error::{Doing, Error, Kind, Result};
use crate::event::{Event, Events};
use crate::layer::{self, Writer};
use crate::options::FetchOptions;
use crate::source::{Layer, Source};
use rkt_spec::Digest;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Brings all layers into the store; gives their bytes on disk and how many came now.
pub(super) fn bring(
    dir: &Path,
    source: &dyn Source,
    layers: &[Layer],
    options: &FetchOptions,
    events: Events<'_>,
    interrupt: &Interrupt,
) -> Result<(u64, usize)> {
    let mut seen = BTreeSet::new();
    let jobs: Vec<&Layer> = layers.iter().filter(|l| seen.insert(&l.diff)).collect();
    let work = Work {
        dir,
        source,
        options,
        events,
        jobs: &jobs,
        next: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        bytes: Mutex::new((0, 0)),
        failure: Mutex::new(None),
    };
    let hands = options.parallel.clamp(1, 16).min(jobs.len());
    let stop = || {
        work.stop.store(true, Ordering::Relaxed);
        source.interrupt();
    };
    interrupt.watch(&stop, || {
        if hands <= 1 {
            work.run();
            return;
        }
        std::thread::scope(|scope| {
            for _ in 0..hands {
                scope.spawn(|| work.run());
            }
        });
    });
    interrupt.check()?;
    match work
        .failure
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
    {
        Some(error) => Err(error),
        None => Ok(work
            .bytes
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)),
    }
}

struct Work<'a> {
    dir: &'a Path,
    source: &'a dyn Source,
    options: &'a FetchOptions,
    events: Events<'a>,
    jobs: &'a [&'a Layer],
    next: AtomicUsize,
    /// One layer has failed: the others need not go on.
    stop: AtomicBool,
    bytes: Mutex<(u64, usize)>,
    failure: Mutex<Option<Error>>,
}

impl Work<'_> {
    fn run(&self) {
        loop {
            let Some(layer) = self.jobs.get(self.next.fetch_add(1, Ordering::Relaxed)) else {
                return;
            };
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let result = self
                .one(layer)
                .doing(|| format!("fetch layer `{}`", layer.diff.short()));
            match result {
                Ok((size, fresh)) => {
                    let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
                    bytes.0 += size;
                    bytes.1 += usize::from(fresh);
                }
                Err(error) => {
                    // The first failure is the cause; what it stops fails only because of it.
                    if !self.stop.swap(true, Ordering::Relaxed) {
                        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    }
                    return;
                }
            }
        }
    }

    /// Gives the layer's bytes on disk, and whether it came now.
    fn one(&self, layer: &Layer) -> Result<(u64, bool)> {
        if let Some(info) = layer::has_layer(self.dir, &layer.diff)? {
            return Ok(self.exists(layer, &info));
        }
        // Known bytes of another layer under this name: no need to fetch them to say so.
        if let Some(diff) = layer.blob.as_ref().and_then(|b| remembered(self.dir, b))
            && diff != layer.diff
        {
            return Err(wrong_diff(&diff, &layer.diff));
        }
        let _turn = self.turn(&layer.diff)?;
        if let Some(info) = layer::has_layer(self.dir, &layer.diff)? {
            return Ok(self.exists(layer, &info));
        }
        if layer
            .size
            .is_some_and(|size| size > self.options.limits.bytes)
        {
            return Err(Error::new(
                Kind::TooLarge,
                format!(
                    "it has {} bytes even compressed; the limit is {}",
                    layer.size.unwrap_or(0),
                    self.options.limits.bytes
                ),
            ));
        }
        (self.events)(Event::LayerStart {
            layer: &layer.diff,
            bytes: layer.size,
        });
        let mut keep = Keep::WhatCame;
        let info = loop {
            let Broken { error, old } = match self.read(layer, &mut keep) {
                Ok(info) => break info,
                // A full disk may still have room for the layer itself.
                Err(_) if keep == Keep::NoRoom => {
                    keep = Keep::Nothing;
                    continue;
                }
                Err(broken) => broken,
            };
            let what = match is_about_bytes(&error) {
                // A power cut may have spoilt it; its file is gone now.
                true if old => "what an earlier fetch left of it is of no use",
                true if self.source.distrust() => "a mirror gives something else",
                _ => return Err(error),
            };
            (self.events)(Event::Message(&format!(
                "layer `{}`: {what}: {}; beginning anew",
                layer.diff.short(),
                error.because()
            )));
        };
        if let Some(blob) = &layer.blob {
            remember(self.dir, blob, &layer.diff)?;
            // Also where it was not ours to grow: a dying process had it locked.
            Partial::forget(self.dir, blob);
        }
        (self.events)(Event::LayerDone { layer: &layer.diff });
        Ok((info.tar_bytes, true))
    }

    /// A whole layer needs nothing of a broken fetch: one that was killed between the layer's
    /// last step and this one's has left it.
    fn exists(&self, layer: &Layer, info: &layer::LayerInfo) -> (u64, bool) {
        if let Some(blob) = &layer.blob {
            Partial::forget(self.dir, blob);
        }
        (self.events)(Event::LayerExists { layer: &layer.diff });
        (info.tar_bytes, false)
    }

    /// Reads a layer from what is left of it, if anything is, and from its source.
    fn read(&self, layer: &Layer, keep: &mut Keep) -> Result<layer::LayerInfo, Broken> {
        let partial = match (&layer.blob, layer.size, *keep) {
            (Some(blob), Some(size), Keep::WhatCame) if self.source.resumes() => {
                Partial::open(self.dir, blob, size)
            }
            _ => None,
        };
        let grows = partial.as_ref().and_then(Partial::reader);
        let partial = partial.filter(|_| grows.is_some());
        let from = partial.as_ref().map_or(0, Partial::bytes);
        let whole = |error| Broken {
            error,
            old: from > 0,
        };
        let mut gauge = Gauge {
            layer,
            writer: self.writer(grows.as_ref()).map_err(whole)?,
            grows: grows.is_some(),
            crowded: false,
            hasher: layer.blob.as_ref().map(|b| Hasher::new(b.algorithm())),
            bytes: 0,
            told: Instant::now(),
            events: self.events,
            stop: &self.stop,
            partial: None,
        };
        let result = self.fill(&mut gauge, partial);
        let (partial, crowded) = (gauge.partial.take(), gauge.crowded);
        let result = result.and_then(|()| gauge.finish()).and_then(|info| {
            if info.diff_id == layer.diff {
                Ok(info)
            } else {
                Err(wrong_diff(&info.diff_id, &layer.diff))
            }
        });
        // Kept only for what a later try may bring to its end; that of a whole layer goes with
        // [`Partial::forget`].
        if crowded {
            *keep = Keep::NoRoom;
        }
        if let Some(partial) = partial
            && (crowded || result.as_ref().is_err_and(is_about_bytes))
        {
            partial.remove();
        }
        result.map_err(whole)
    }

    fn writer(&self, grows: Option<&File>) -> Result<Writer> {
        let (program, limits) = (&self.options.layer_program, &self.options.limits);
        match grows {
            Some(file) => Writer::start_growing(self.dir, program, limits, file),
            None => Writer::start(self.dir, program, limits),
        }
    }

    fn fill(&self, gauge: &mut Gauge<'_>, partial: Option<Partial>) -> Result<()> {
        let layer = gauge.layer;
        let Some(mut partial) = partial else {
            return self.source.stream(layer, gauge);
        };
        if partial.bytes() > 0 {
            (self.events)(Event::LayerResumed {
                layer: &layer.diff,
                from: partial.bytes(),
            });
            // Old bytes come so fast that they would be no picture of the way.
            let events = std::mem::replace(&mut gauge.events, &|_| {});
            let replayed = partial.replay(gauge);
            gauge.events = events;
            gauge.partial = Some(partial);
            replayed?;
        } else {
            gauge.partial = Some(partial);
        }
        let from = gauge.bytes;
        self.source.stream_from(layer, from, gauge)
    }

    /// Waits until nobody else fetches this layer. The lock ends with the process.
    fn turn(&self, diff: &Digest) -> Result<OwnedFd> {
        let path = self.dir.join("locks").join(diff.hex());
        let lock = rustix::fs::open(
            &path,
            OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::RUSR | Mode::WUSR,
        )
        .doing(|| format!("open `{}`", path.display()))?;
        let mut told = false;
        loop {
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(lock),
                Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Err(e) => return Err(Error::from(e).while_doing("wait for its turn")),
            }
            if self.stop.load(Ordering::Relaxed) {
                return Err(stopped());
            }
            if !told {
                told = true;
                (self.events)(Event::Message(&format!(
                    "layer `{}` is being fetched by another rkt; waiting for it",
                    diff.short()
                )));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// What a broken fetch leaves for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    WhatCame,
    /// As before, but the disk has not taken it.
    NoRoom,
    Nothing,
}

/// Why a layer did not come, and whether bytes of an earlier fetch had a part in it.
struct Broken {
    error: Error,
    old: bool,
}

/// Whether the bytes themselves are to blame, so that the same bytes lead nowhere.
fn is_about_bytes(error: &Error) -> bool {
    matches!(
        error.kind(),
        Kind::Corrupt | Kind::Unsupported | Kind::TooLarge
    )
}

/// Never shown: the first failure, or the signal, is.
fn stopped() -> Error {
    Error::new(Kind::Interrupted, "another layer failed")
}

fn wrong_diff(have: &Digest, want: &Digest) -> Error {
    Error::new(
        Kind::Corrupt,
        format!("its tar has digest `{have}`; the image's configuration says `{want}`"),
    )
}

/// Counts, hashes and tells what flows into a writer.
struct Gauge<'a> {
    layer: &'a Layer,
    writer: Writer,
    hasher: Option<Hasher>,
    bytes: u64,
    told: Instant,
    events: Events<'a>,
    stop: &'a AtomicBool,
    /// Takes the bytes that a later fetch need not ask for again; the reader reads them there.
    partial: Option<Partial>,
    /// Whether the reader reads a file, and only hears how much is in it.
    grows: bool,
    /// Whether the disk had no room for that file.
    crowded: bool,
}

/// Time between looks whether to stop while a reader comes to its end.
const LOOK: Duration = Duration::from_millis(100);

/// Time between two events of one layer.
const PACE: Duration = Duration::from_millis(100);

impl Gauge<'_> {
    /// Checks all of the compressed bytes before the layer gets its name.
    fn finish(mut self) -> Result<layer::LayerInfo> {
        if let Some(size) = self.layer.size
            && size != self.bytes
        {
            return Err(Error::new(
                Kind::Corrupt,
                format!("it should have {size} bytes and has {}", self.bytes),
            ));
        }
        if let (Some(hasher), Some(want)) = (self.hasher, &self.layer.blob) {
            let have = hasher.finish();
            if have != *want {
                return Err(Error::new(
                    Kind::Corrupt,
                    format!("its bytes have digest `{have}`, not `{want}`"),
                ));
            }
        }
        // It may be far behind what has come.
        while !self.writer.wait(LOOK)? {
            if self.stop.load(Ordering::Relaxed) {
                return Err(stopped());
            }
        }
        self.writer.finish()
    }
}

impl Write for Gauge<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(stopped().into());
        }
        self.bytes += u64::try_from(bytes.len()).unwrap_or(0);
        if let Some(partial) = &mut self.partial
            && !partial.append(bytes)
        {
            self.crowded = true;
            let because = "no space left to keep what has come";
            return Err(Error::new(Kind::NoSpace, because).into());
        }
        match self.grows {
            true => self.writer.grown(self.bytes)?,
            false => self.writer.write_all(bytes)?,
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        if self.told.elapsed() >= PACE {
            self.told = Instant::now();
            (self.events)(Event::LayerProgress {
                layer: &self.layer.diff,
                bytes: self.bytes,
            });
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

fn note(dir: &Path, blob: &Digest) -> PathBuf {
    dir.join("distribution")
        .join(blob.algorithm().as_str())
        .join(blob.hex())
}

/// The diff id that a compressed layer had when it was read.
fn remembered(dir: &Path, blob: &Digest) -> Option<Digest> {
    let bytes = disk::read(&note(dir, blob), 256).ok()?;
    Digest::new(std::str::from_utf8(&bytes).ok()?.trim()).ok()
}

fn remember(dir: &Path, blob: &Digest, diff: &Digest) -> Result<()> {
    let path = note(dir, blob);
    if let Some(parent) = path.parent() {
        crate::store::make_dir(parent)?;
    }
    disk::write_note(dir, &path, diff.to_string().as_bytes())
}
