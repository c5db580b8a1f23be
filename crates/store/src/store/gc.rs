//! Mark and sweep, under the exclusive lock of the store.

use super::{Store, entries};
use crate::disk;
use crate::error::{Doing, Error, Kind, Result};
use crate::image::{NameRecord, Record, id_of_hex};
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

/// What a gc may take.
pub struct GcRules<'a> {
    /// The chains that pods were made of, all of them. Asked when no other rkt can start one.
    pub in_use: &'a dyn Fn() -> Result<Vec<Digest>>,
    /// Images that nobody used for this long go too, with their names; `None` keeps them all.
    /// Pinned ones and those of pods stay always.
    pub unused_for: Option<Duration>,
    /// Say what would go, and leave it.
    pub dry_run: bool,
}

/// What a gc has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Bytes of disk given back.
    pub bytes: u64,
    /// Images removed because nobody used them: id and names.
    pub images: Vec<(Digest, Vec<String>)>,
    /// Layers removed.
    pub layers: usize,
    /// Chains removed.
    pub chains: usize,
    /// Left-overs of broken fetches and unused manifests removed.
    pub files: usize,
}

/// What must stay.
#[derive(Default)]
pub(super) struct Marks {
    pub(super) layers: BTreeSet<Digest>,
    pub(super) chains: BTreeSet<Digest>,
    pub(super) blobs: BTreeSet<String>,
    /// A pod uses a chain that no record explains: then no layer may go.
    pub(super) unexplained: bool,
}

pub(super) fn run(store: &Store, rules: &GcRules<'_>, run_dir: &Path) -> Result<GcReport> {
    let _alone = Alone::new(store)?;
    // Only now: a pod that was on its way when gc began has told what it uses.
    let in_use = (rules.in_use)()?;
    let dir = store.dir();
    let mut report = GcReport {
        images: expired(store, &in_use, rules.unused_for)?,
        ..GcReport::default()
    };
    let sweep = Sweep {
        dir,
        dry: rules.dry_run,
    };
    if !rules.dry_run {
        for (id, _) in &report.images {
            store.remove(id)?;
        }
    }
    if !rules.dry_run {
        // No power cut may bring back a record whose layers are gone.
        disk::sync_dirs(["images", "forgotten"].map(|place| dir.join(place)))?;
    }
    let gone: BTreeSet<Digest> = report.images.iter().map(|(id, _)| id.clone()).collect();
    let marks = mark(dir, &in_use, &gone)?;
    if !rules.dry_run {
        mounts::detach_unused(dir, run_dir, &|chain| marks.chains.contains(chain))
            .doing(|| "unmount layers that nobody uses".into())?;
    }
    for chain in layer::chains(dir)? {
        if !marks.chains.contains(chain.digest()) {
            report.bytes += sweep.chain(&chain)?;
            report.chains += 1;
        }
    }
    if !marks.unexplained {
        for diff in layer::layers(dir)? {
            if !marks.layers.contains(&diff) {
                report.bytes += sweep.layer(&diff)?;
                report.layers += 1;
            }
        }
    }
    if !rules.dry_run {
        report.files += layer::sweep(dir)?;
        let (files, bytes) = crate::fetch::partial::sweep(dir)?;
        report.files += files;
        report.bytes += bytes;
    }
    sweep.files(&marks, &mut report)?;
    if !rules.dry_run {
        forget(dir, &marks)?;
    }
    Ok(report)
}

/// Images that nobody used for long, that no pod was made of, and that are not pinned.
fn expired(
    store: &Store,
    in_use: &[Digest],
    unused_for: Option<Duration>,
) -> Result<Vec<(Digest, Vec<String>)>> {
    let Some(unused_for) = unused_for else {
        return Ok(Vec::new());
    };
    let now = disk::now();
    let images = store.list()?.into_iter();
    Ok(images
        .filter(|image| !image.pinned)
        .filter(|image| image.chains.last().is_none_or(|top| !in_use.contains(top)))
        // A clock that went back makes nothing old.
        .filter(|image| now.saturating_sub(image.last_used) >= unused_for.as_secs())
        .map(|image| (image.id, image.names))
        .collect())
}

/// Marks what images need, but for those in `gone`, and what pods need.
pub(super) fn mark(dir: &Path, in_use: &[Digest], gone: &BTreeSet<Digest>) -> Result<Marks> {
    let mut marks = Marks::default();
    let mut explained = BTreeSet::new();
    let wanted: BTreeSet<&Digest> = in_use.iter().collect();
    let mut forgotten = Vec::new();
    for path in entries(&dir.join("images"))? {
        // A record that cannot be read keeps nothing alive, but says so.
        let record = Record::read_at(&path).doing(|| format!("read `{}`", path.display()))?;
        if gone.contains(&record.id) {
            forgotten.push(record);
            continue;
        }
        explained.extend(record.chains.iter().cloned());
        marks.keep(&record, record.chains.len());
    }
    for path in entries(&dir.join("forgotten"))? {
        // One that cannot be read explains nothing.
        forgotten.extend(Record::read_at(&path).ok());
    }
    for record in &forgotten {
        if let Some(layers) = needed(record, &wanted) {
            explained.extend(record.chains.iter().take(layers).cloned());
            marks.keep(record, layers);
        }
    }
    marks.unexplained = in_use.iter().any(|c| !explained.contains(c));
    marks.chains.extend(in_use.iter().cloned());
    Ok(marks)
}

/// How many layers of a removed image pods need: those above the highest chain in use are needed
/// by nobody.
fn needed(record: &Record, wanted: &BTreeSet<&Digest>) -> Option<usize> {
    let top = record.chains.iter().rposition(|c| wanted.contains(c))?;
    Some(top + 1)
}

/// Removes the records of removed images that explain no pod's chain any more, and names and
/// pins of images that are gone.
fn forget(dir: &Path, marks: &Marks) -> Result<()> {
    for path in entries(&dir.join("forgotten"))? {
        let lives = Record::read_at(&path)
            .is_ok_and(|record| record.chains.iter().any(|c| marks.chains.contains(c)));
        if !lives {
            disk::remove_if_there(&path)?;
        }
    }
    let there = |id: &Digest| Record::path(dir, id).exists();
    for path in entries(&dir.join("refs"))? {
        if NameRecord::read_at(&path).is_ok_and(|name| !there(&name.image)) {
            disk::remove_if_there(&path)?;
        }
    }
    for path in entries(&dir.join("pins"))? {
        let hex = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        if id_of_hex(hex).is_some_and(|id| !there(&id)) {
            disk::remove_if_there(&path)?;
        }
    }
    Ok(())
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

/// Takes things away, or only says what they weigh.
struct Sweep<'a> {
    dir: &'a Path,
    dry: bool,
}

impl Sweep<'_> {
    fn chain(&self, chain: &layer::ChainId) -> Result<u64> {
        match self.dry {
            true => Ok(layer::chain_bytes(self.dir, chain)),
            false => layer::remove_chain(self.dir, chain),
        }
    }

    fn layer(&self, diff: &Digest) -> Result<u64> {
        match self.dry {
            true => Ok(layer::layer_bytes(self.dir, diff)),
            false => layer::remove_layer(self.dir, diff),
        }
    }

    /// Blobs, notes on compressed layers, locks and unfinished files.
    fn files(&self, marks: &Marks, report: &mut GcReport) -> Result<()> {
        for place in ["blobs/sha256", "blobs/sha512"] {
            for path in entries(&self.dir.join(place))? {
                let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
                if !marks.blobs.contains(name) {
                    report.bytes += self.file(&path)?;
                    report.files += 1;
                }
            }
        }
        for place in ["distribution/sha256", "distribution/sha512"] {
            for path in entries(&self.dir.join(place))? {
                let layer = disk::read(&path, 256)
                    .ok()
                    .and_then(|bytes| Digest::new(std::str::from_utf8(&bytes).ok()?).ok());
                let lives = match layer {
                    Some(diff) => marks.unexplained || marks.layers.contains(&diff),
                    None => false,
                };
                if !lives {
                    report.bytes += self.file(&path)?;
                }
            }
        }
        for path in entries(&self.dir.join("locks"))? {
            if path.file_name().is_some_and(|n| n != "store") {
                self.file(&path)?;
            }
        }
        for path in entries(&self.dir.join("tmp"))? {
            // Directories there are the layer writer's; its own sweep knows them.
            if path.is_file() {
                report.bytes += self.file(&path)?;
                report.files += 1;
            }
        }
        Ok(())
    }

    fn file(&self, path: &Path) -> Result<u64> {
        let bytes = std::fs::symlink_metadata(path).map_or(0, |m| m.blocks() * 512);
        if !self.dry {
            disk::remove_if_there(path)?;
        }
        Ok(bytes)
    }
}

/// The exclusive lock; shared again when dropped.
pub(super) struct Alone<'a>(&'a Store);

impl<'a> Alone<'a> {
    pub(super) fn new(store: &'a Store) -> Result<Self> {
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
