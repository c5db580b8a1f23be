//! What was found damaged, made again: an index from its tar, anything else from where the image
//! came from.
//!
//! What is damaged is put aside first and comes back when its repair fails: half an image may be
//! all that somebody has. A running pod keeps the files that it has; the next start sees the new.

use super::gc::Alone;
use super::{Store, Verdict, entries};
use crate::disk;
use crate::error::{Doing, Error, Kind, Result};
use crate::event::Events;
use crate::image::{NameRecord, Record};
use crate::layer::{self, ChainId, Damage, Form, LayerInfo, Limits, Writer, disk as place};
use crate::mounts;
use crate::options::{FetchOptions, PullPolicy};
use crate::reference::{HUB, Reference};
use rkt_spec::Digest;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Which files of a store are damaged, by what can be made again.
#[derive(Debug, Default)]
struct Broken {
    /// Layers whose tar is not what it should be.
    tars: BTreeSet<Digest>,
    /// Layers of which only what is made from the tar is wrong.
    indexes: BTreeSet<Digest>,
    chains: BTreeSet<Digest>,
    /// Documents, records and names.
    files: BTreeSet<PathBuf>,
}

impl Broken {
    fn of(damage: &[Damage]) -> Self {
        let mut broken = Self::default();
        for damage in damage {
            let parts: Vec<&str> = damage.file.iter().filter_map(OsStr::to_str).collect();
            let digest = |kind: &str, hex: &str| Digest::new(&format!("{kind}:{hex}")).ok();
            match parts.as_slice() {
                ["layers", kind, hex, rest @ ..] => {
                    if let Some(diff) = digest(kind, hex) {
                        match rest.first() {
                            Some(&"index" | &"info") => broken.indexes.insert(diff),
                            _ => broken.tars.insert(diff),
                        };
                    }
                }
                ["chains", kind, hex, ..] => broken.chains.extend(digest(kind, hex)),
                _ => {
                    broken.files.insert(damage.file.clone());
                }
            }
        }
        broken.indexes.retain(|diff| !broken.tars.contains(diff));
        broken
    }
}

/// Things put aside, until it is known whether they are needed.
struct Aside {
    /// Where each was, and where it is.
    moved: Vec<(PathBuf, PathBuf)>,
    /// Of all of them.
    grave: place::Growing,
}

impl Aside {
    fn new(store: &Path) -> Result<Self> {
        Ok(Self {
            moved: Vec::new(),
            grave: place::Growing::new(store, "gone")?,
        })
    }

    /// Takes a file or a directory out of its place, if it is there; gives where it is now.
    fn take(&mut self, from: &Path) -> Result<Option<PathBuf>> {
        let to = self.grave.path().join(self.moved.len().to_string());
        match fs::rename(from, &to) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            other => {
                other.doing(|| format!("put `{}` aside", from.display()))?;
                self.moved.push((from.to_owned(), to.clone()));
                Ok(Some(to))
            }
        }
    }

    /// Puts back what has no successor.
    fn restore(self) {
        for (from, to) in self.moved.iter().rev() {
            if fs::symlink_metadata(from).is_err() {
                let _ = fs::rename(to, from);
            }
        }
        self.end();
    }

    /// Removes what is left of it, with its grave.
    fn end(self) {
        for (_, to) in &self.moved {
            place::thaw(to);
        }
    }
}

impl Store {
    /// Makes again what is damaged of an image, or removes what is damaged and of no image.
    ///
    /// What a tar in the store can give is made from that; all else is fetched from where the
    /// image came from, by the digest of its manifest where that is known.
    ///
    /// # Errors
    /// `NotFound` when nobody knows where it came from, or its name means another image by now;
    /// any error of a fetch. Then all is as it was.
    pub fn repair(
        &self,
        verdict: &Verdict,
        options: &FetchOptions,
        run_dir: &Path,
        events: Events<'_>,
    ) -> Result<()> {
        let broken = Broken::of(&verdict.damage);
        let mut aside = Aside::new(&self.dir)?;
        let repair = Repair {
            store: self,
            options,
            run_dir,
            events,
        };
        let result = repair.mend(verdict.id.as_ref(), &broken, &mut aside);
        match &result {
            Ok(()) => aside.end(),
            Err(_) => aside.restore(),
        }
        result.doing(|| match &verdict.id {
            Some(id) => format!("repair image `{id}`"),
            None => "remove what is damaged and of no image".into(),
        })
    }
}

/// One repair under way.
struct Repair<'a> {
    store: &'a Store,
    options: &'a FetchOptions,
    run_dir: &'a Path,
    events: Events<'a>,
}

impl Repair<'_> {
    fn dir(&self) -> &Path {
        &self.store.dir
    }

    /// The record of an image, where it was not found wrong.
    fn record(&self, id: &Digest, broken: &Broken) -> Option<Record> {
        let path = Record::path(self.dir(), id);
        let inside = path.strip_prefix(self.dir()).ok()?;
        match broken.files.contains(inside) {
            true => None,
            false => Record::read(self.dir(), id).ok(),
        }
    }

    fn mend(&self, id: Option<&Digest>, broken: &Broken, aside: &mut Aside) -> Result<()> {
        let record = id.and_then(|id| self.record(id, broken));
        // Before its chains are put aside: they know what is shown of their layers.
        let mut steps = record
            .as_ref()
            .filter(|_| broken.tars.is_empty() && broken.files.is_empty())
            .and_then(|r| layer::steps(self.dir(), &r.layers, &r.chains).ok());
        let mut chains = broken.chains.clone();
        if steps.is_none() {
            // Without its top, an image is not whole, and a fetch does not take the store's word.
            chains.extend(record.iter().filter_map(|r| r.chains.last().cloned()));
        }
        for (diff, old) in self.put_aside(broken, chains, aside)? {
            if !self.rebuild(&diff, &old)? {
                steps = None;
            }
        }
        match (steps, id) {
            (Some(steps), _) => {
                let (program, limits) = (&self.options.layer_program, &self.options.limits);
                layer::commit_steps(self.dir(), program, limits, &steps)?;
                // Before what was damaged goes.
                layer::settle(self.dir(), steps.iter().map(|step| &step.diff))
            }
            (None, Some(id)) => self.fetch_again(id, record.as_ref()),
            (None, None) => Ok(()),
        }
    }

    /// Puts all aside that is damaged or made of it, when nobody else uses the store. Gives the
    /// layers that can be made again from their tars, and where these are.
    fn put_aside(
        &self,
        broken: &Broken,
        mut chains: BTreeSet<Digest>,
        aside: &mut Aside,
    ) -> Result<Vec<(Digest, PathBuf)>> {
        let _alone = Alone::new(self.store)?;
        for chain in layer::chains(self.dir())? {
            let stands_on = match place::chain_record(self.dir(), &chain) {
                Ok(Some(record)) => record.layers,
                _ => Vec::new(),
            };
            if stands_on
                .iter()
                .any(|l| broken.tars.contains(l) || broken.indexes.contains(l))
            {
                chains.insert(chain.digest().clone());
            }
        }
        mounts::detach_unused(self.dir(), self.run_dir, &|chain| !chains.contains(chain))
            .doing(|| "unmount what is damaged".into())?;
        for chain in chains {
            aside.take(&place::chain_dir(self.dir(), &ChainId::from_digest(chain)))?;
        }
        for diff in &broken.tars {
            aside.take(&place::layer_dir(self.dir(), diff))?;
        }
        for file in &broken.files {
            aside.take(&self.dir().join(file))?;
        }
        let mut old = Vec::new();
        for diff in &broken.indexes {
            if let Some(at) = aside.take(&place::layer_dir(self.dir(), diff))? {
                old.push((diff.clone(), at));
            }
        }
        Ok(old)
    }

    /// Reads a layer's own tar as if it came from a registry; `false` when it is another layer.
    fn rebuild(&self, diff: &Digest, old: &Path) -> Result<bool> {
        let doing = || format!("make the index of layer `{}` again", diff.short());
        let tar = old.join("tar");
        let padded = fs::metadata(&tar).doing(doing)?.len();
        // What was padded to whole blocks of 512 bytes had fewer, and its record may be lost.
        let recorded = place::record_of(old).map(|r| r.tar_bytes);
        let lengths: BTreeSet<u64> = recorded.into_iter().chain([padded]).collect();
        for length in lengths.into_iter().filter(|l| *l <= padded) {
            let info = match self.read(diff, &tar, length) {
                Ok(info) => info,
                Err(e)
                    if matches!(e.kind(), Kind::Corrupt | Kind::Unsupported | Kind::TooLarge) =>
                {
                    continue;
                }
                Err(e) => return Err(e).doing(doing),
            };
            if info.diff_id == *diff {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn read(&self, diff: &Digest, tar: &Path, length: u64) -> Result<LayerInfo> {
        let (program, limits) = (&self.options.layer_program, &Limits::of_what_is_kept());
        let mut from = place::open(tar)?.take(length);
        match Form::of(diff) {
            Form::Oci => {
                let mut writer = Writer::start(self.dir(), program, limits)?;
                io::copy(&mut from, &mut writer)?;
                writer.finish()
            }
            Form::Aci => {
                let mut writer = Writer::start_aci(self.dir(), program, limits)?;
                io::copy(&mut from, &mut writer)?;
                writer.finish_aci().map(|(info, _)| info)
            }
        }
    }

    /// Fetches an image by one of its names; it has to be the same.
    fn fetch_again(&self, id: &Digest, record: Option<&Record>) -> Result<()> {
        let mut failure = None;
        for path in entries(&self.dir().join("refs"))? {
            let Ok(name) = NameRecord::read_at(&path) else {
                continue;
            };
            if name.image != *id {
                continue;
            }
            match self.fetch_as(&name, record) {
                Ok(()) => return Ok(()),
                Err(e) if e.kind() == Kind::Interrupted => return Err(e),
                Err(e) => {
                    failure.get_or_insert(e);
                }
            }
        }
        Err(failure.unwrap_or_else(|| {
            Error::new(Kind::NotFound, "nobody knows where the image came from")
                .hint("fetch it by its name, or remove it with `rkt image rm`")
        }))
    }

    fn fetch_as(&self, name: &NameRecord, record: Option<&Record>) -> Result<()> {
        let mut reference = Reference::parse(&name.reference, HUB)?;
        // The tag may mean another image by now; the digest cannot.
        if let (Reference::Registry(registry), Some(manifest)) =
            (&mut reference, record.and_then(|r| r.manifest.as_ref()))
        {
            registry.digest = Some(manifest.clone());
        }
        let mut options = FetchOptions {
            policy: PullPolicy::Update,
            ..self.options.clone()
        };
        if let Some(record) = record {
            options.platform = record.platform();
        }
        let own = reference.canonical() != name.reference
            && NameRecord::read(self.dir(), &reference.file_name())?.is_none();
        let image = self.store.resolve(&reference, &options, self.events);
        if own {
            let file = self.dir().join("refs").join(reference.file_name());
            disk::remove_if_there(&file)?;
        }
        let image = image?;
        match image.id == name.image {
            true => Ok(()),
            false => Err(Error::new(
                Kind::NotFound,
                format!("`{}` means another image by now", name.reference),
            )),
        }
    }
}
