//! Mark and sweep, under the exclusive lock of the store.

use super::{GcReport, Store, entries};
use crate::disk;
use crate::error::{Doing, Error, Kind, Result};
use crate::image::Record;
use crate::layer;
use crate::mounts;
use rkt_spec::Digest;
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long gc waits for fetches to end.
const WAIT: Duration = Duration::from_secs(10);

/// What must stay.
#[derive(Default)]
struct Marks {
    layers: BTreeSet<Digest>,
    chains: BTreeSet<Digest>,
    blobs: BTreeSet<String>,
    /// A pod uses a chain that no record explains: then no layer may go.
    unexplained: bool,
}

pub(super) fn run(store: &Store, in_use: &[Digest], run_dir: &Path) -> Result<GcReport> {
    let _alone = Alone::new(store)?;
    let dir = store.dir();
    let marks = mark(dir, in_use)?;
    mounts::detach_unused(dir, run_dir, &|chain| marks.chains.contains(chain))
        .doing(|| "unmount layers that nobody uses".into())?;
    let mut report = GcReport::default();
    for chain in layer::chains(dir)? {
        if !marks.chains.contains(chain.digest()) {
            report.bytes += layer::remove_chain(dir, &chain)?;
            report.chains += 1;
        }
    }
    if !marks.unexplained {
        for diff in layer::layers(dir)? {
            if !marks.layers.contains(&diff) {
                report.bytes += layer::remove_layer(dir, &diff)?;
                report.layers += 1;
            }
        }
    }
    report.files += layer::sweep(dir)?;
    sweep_files(dir, &marks, &mut report)?;
    Ok(report)
}

fn mark(dir: &Path, in_use: &[Digest]) -> Result<Marks> {
    let mut marks = Marks::default();
    let mut explained = BTreeSet::new();
    for path in entries(&dir.join("images"))? {
        // A record that cannot be read keeps nothing alive, but says so.
        let record = Record::read_at(&path).doing(|| format!("read `{}`", path.display()))?;
        explained.extend(record.chains.iter().cloned());
        marks.keep(&record, record.chains.len());
    }
    let wanted: BTreeSet<&Digest> = in_use.iter().collect();
    for path in entries(&dir.join("forgotten"))? {
        let record = match Record::read_at(&path) {
            Ok(record) => record,
            Err(_) => {
                disk::remove_if_there(&path)?;
                continue;
            }
        };
        // Layers above the highest chain in use are needed by nobody.
        match record.chains.iter().rposition(|c| wanted.contains(c)) {
            Some(top) => {
                explained.extend(record.chains.iter().take(top + 1).cloned());
                marks.keep(&record, top + 1);
            }
            None => disk::remove_if_there(&path)?,
        }
    }
    marks.unexplained = in_use.iter().any(|c| !explained.contains(c));
    marks.chains.extend(in_use.iter().cloned());
    Ok(marks)
}

impl Marks {
    fn keep(&mut self, record: &Record, layers: usize) {
        self.layers
            .extend(record.layers.iter().take(layers).cloned());
        self.chains
            .extend(record.chains.iter().take(layers).cloned());
        self.blobs.insert(record.id.hex().to_owned());
        self.blobs
            .extend(record.manifest.iter().map(|d| d.hex().to_owned()));
    }
}

/// Blobs, notes on compressed layers, locks and unfinished files.
fn sweep_files(dir: &Path, marks: &Marks, report: &mut GcReport) -> Result<()> {
    for place in ["blobs/sha256", "blobs/sha512"] {
        for path in entries(&dir.join(place))? {
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
            if !marks.blobs.contains(name) {
                report.bytes += remove(&path)?;
                report.files += 1;
            }
        }
    }
    for place in ["distribution/sha256", "distribution/sha512"] {
        for path in entries(&dir.join(place))? {
            let layer = disk::read(&path, 256)
                .ok()
                .and_then(|bytes| Digest::new(std::str::from_utf8(&bytes).ok()?).ok());
            let lives = match layer {
                Some(diff) => marks.unexplained || marks.layers.contains(&diff),
                None => false,
            };
            if !lives {
                report.bytes += remove(&path)?;
            }
        }
    }
    for path in entries(&dir.join("locks"))? {
        if path.file_name().is_some_and(|n| n != "store") {
            remove(&path)?;
        }
    }
    for path in entries(&dir.join("tmp"))? {
        // Directories there are the layer writer's; its own sweep knows them.
        if path.is_file() {
            report.bytes += remove(&path)?;
            report.files += 1;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<u64> {
    let bytes = std::fs::symlink_metadata(path).map_or(0, |m| m.blocks() * 512);
    disk::remove_if_there(path)?;
    Ok(bytes)
}

/// The exclusive lock; shared again when dropped.
struct Alone<'a>(&'a Store);

impl<'a> Alone<'a> {
    fn new(store: &'a Store) -> Result<Self> {
        let lock = store
            .lock
            .as_ref()
            .ok_or_else(|| Error::new(Kind::Denied, "the store was opened only to look"))?;
        let alone = Self(store);
        let deadline = Instant::now() + WAIT;
        loop {
            match rustix::fs::flock(lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(alone),
                Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => {
                    return Err(Error::new(
                        Kind::Busy,
                        format!(
                            "another rkt is using the image store for more than {} s",
                            WAIT.as_secs()
                        ),
                    )
                    .hint("try again when its fetch is done"));
                }
                Err(e) => return Err(e.into()),
            }
        }
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        // A failed try has cost the shared lock too: take it back either way.
        if let Some(lock) = &self.0.lock {
            let _ = rustix::fs::flock(lock, FlockOperation::LockShared);
        }
    }
}
