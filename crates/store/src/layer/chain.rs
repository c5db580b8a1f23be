//! Chains: a layer's index in the light of the layers below it.

use super::disk::{self, Growing, chain_dir, chain_record, layer_dir, layer_record, open, seal};
use super::form::{Filter, Step, step_ids};
use super::info::{Chain, Layer};
use super::process::Process;
use super::wire::{Answer, Build, BuiltChain, Job};
use super::{ChainId, Limits};
use crate::disk::read;
use crate::error::{Doing, Error, Kind, Result};
use crate::options::LayerProgram;
use rkt_spec::Digest;
use rkt_spec::codec::Record;
use rkt_spec::image::Accounts;
use rustix::fd::AsFd;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Most layers of an image; overlayfs stacks 500.
const MAX_LAYERS: usize = 300;
/// Most bytes of a kept `/etc/passwd` or `/etc/group`.
const MAX_ACCOUNTS: u64 = 1 << 20;

/// Makes the missing chain entries for these layers (lowest first, all in the store), and gives
/// all chain ids, lowest first. Idempotent; two callers at once do no harm.
///
/// # Errors
/// `NotFound` when a layer is missing, `Corrupt` when an entry means nothing on the layers below.
pub fn commit_chain(
    store: &Path,
    program: &LayerProgram,
    limits: &Limits,
    diffs: &[Digest],
) -> Result<Vec<ChainId>> {
    let steps: Vec<Step> = diffs.iter().cloned().map(Step::whole).collect();
    commit_steps(store, program, limits, &steps)
}

/// As [`commit_chain`], for layers of which only some paths are shown.
///
/// # Errors
/// As [`commit_chain`].
pub fn commit_steps(
    store: &Path,
    program: &LayerProgram,
    limits: &Limits,
    steps: &[Step],
) -> Result<Vec<ChainId>> {
    let ids = step_ids(steps);
    if steps.len() > MAX_LAYERS {
        return Err(Error::new(
            Kind::TooLarge,
            format!("the image has more than {MAX_LAYERS} layers"),
        ));
    }
    // A chain entry is made only after those below it.
    let mut known = Vec::new();
    for id in &ids {
        match chain_record(store, id)? {
            Some(record) => known.push(record),
            None => break,
        }
    }
    if known.len() == ids.len() {
        return Ok(ids);
    }
    let mut process = Process::start(program, limits, u64::MAX)?;
    for (at, (step, id)) in steps.iter().zip(&ids).enumerate() {
        let diff = &step.diff;
        let doing = || format!("index layer `{diff}` on the layers below it");
        let layer = layer_record(store, diff)?.ok_or_else(|| disk::missing(diff))?;
        let tar = disk::open_tar(store, diff)?;
        process
            .send(&Job::Tar(diff.clone()), &[tar.as_fd()])
            .doing(doing)?;
        match known.get(at) {
            Some(record) => {
                let index = open(&chain_dir(store, id).join("index"))?;
                process.send(&Job::Have(record.devices.clone()), &[index.as_fd()])?;
            }
            None => {
                build(store, &mut process, &layer, &Stack::at(steps, &ids, at)).doing(doing)?;
            }
        }
    }
    Ok(ids)
}

/// A layer on its place in an image.
pub(super) struct Stack<'a> {
    below: &'a [Step],
    step: Option<&'a Step>,
    /// Chain ids up to this one.
    ids: &'a [ChainId],
}

impl<'a> Stack<'a> {
    /// The place number `at` of these.
    pub(super) fn at(steps: &'a [Step], ids: &'a [ChainId], at: usize) -> Self {
        Self {
            below: steps.get(..at).unwrap_or(&[]),
            step: steps.get(at),
            ids: ids.get(..=at).unwrap_or(&[]),
        }
    }

    /// What of the layer is shown, where that is not all.
    pub(super) fn filter(&self) -> Option<&'a Filter> {
        self.step.and_then(|s| s.filter.as_ref())
    }

    /// Whether the layers alone do not tell the chain ids.
    fn is_filtered(&self) -> bool {
        self.filter().is_some() || self.below.iter().any(|s| s.filter.is_some())
    }
}

fn build(store: &Path, process: &mut Process, layer: &Layer, stack: &Stack<'_>) -> Result<()> {
    let id = stack.ids.last().ok_or_else(lied)?;
    let dir = Growing::new(store, "chain")?;
    let made = Made {
        index: dir.create("index")?,
        passwd: dir.create("passwd")?,
        group: dir.create("group")?,
        filter: match stack.filter() {
            Some(_) => Some(dir.create(disk::FILTER)?),
            None => None,
        },
    };
    let record = build_into(store, process, layer, stack, &made)?;
    for file in [&made.index, &made.passwd, &made.group]
        .into_iter()
        .chain(&made.filter)
    {
        seal(file)?;
    }
    if stack.is_filtered() {
        let ids: Vec<Digest> = stack.ids.iter().map(|i| i.digest().clone()).collect();
        dir.write(disk::BELOW, &ids.to_bytes())?;
    }
    dir.write("info", &disk::bytes(&record))?;
    dir.publish(&chain_dir(store, id))
}

/// The files of a chain entry besides its record, empty before they are made.
pub(super) struct Made {
    pub(super) index: File,
    pub(super) passwd: File,
    pub(super) group: File,
    /// Where not all of the layer is shown.
    pub(super) filter: Option<File>,
}

/// Has the child make a chain entry, on what it was given of the layers below.
pub(super) fn build_into(
    store: &Path,
    process: &mut Process,
    layer: &Layer,
    stack: &Stack<'_>,
    made: &Made,
) -> Result<Chain> {
    let lowest = stack.below.is_empty();
    let id = stack.ids.last().ok_or_else(lied)?;
    if let (Some(filter), Some(mut file)) = (stack.filter(), made.filter.as_ref()) {
        file.write_all(&filter.to_bytes())?;
    }
    let ready = made.filter.is_none() && layer.index_bytes != 0 && (lowest || !layer.needs_lower);
    let ready_index = match ready {
        true => Some(open(&layer_dir(store, &layer.diff).join("index"))?),
        false => None,
    };
    let job = Job::Build(Build {
        diff: layer.diff.clone(),
        tar_bytes: layer.tar_bytes,
        chain: id.digest().clone(),
        ready,
        patch_root: !lowest && !layer.has_root,
        filtered: made.filter.is_some(),
    });
    let mut fds = vec![made.index.as_fd(), made.passwd.as_fd(), made.group.as_fd()];
    fds.extend(ready_index.iter().chain(&made.filter).map(AsFd::as_fd));
    process.send(&job, &fds)?;
    let Answer::Chain(built) = process.answer()? else {
        return Err(lied());
    };
    let below: Vec<Digest> = stack.below.iter().map(|s| s.diff.clone()).collect();
    let record = check(store, layer, &below, built)?;
    let long = |file: &File| Ok::<_, Error>(file.metadata()?.len() > MAX_ACCOUNTS);
    if made.index.metadata()?.len() != record.index_bytes
        || long(&made.passwd)?
        || long(&made.group)?
    {
        return Err(lied());
    }
    Ok(record)
}

pub(super) fn lied() -> Error {
    Error::new(
        Kind::System,
        "the reader of layers gave an answer that cannot be",
    )
}

/// An index may name its own tar, and tars of layers below; nothing else.
fn check(store: &Path, layer: &Layer, below: &[Digest], built: BuiltChain) -> Result<Chain> {
    let mut devices = Vec::new();
    for device in built.devices {
        let size = if device == layer.diff {
            layer.padded()
        } else if below.contains(&device) {
            layer_record(store, &device)?
                .ok_or_else(|| disk::missing(&device))?
                .padded()
        } else {
            return Err(lied());
        };
        devices.push((device, size));
    }
    let mut layers = below.to_vec();
    layers.push(layer.diff.clone());
    Ok(Chain::new(layers, built.index, built.index_bytes, devices))
}

/// The merged `/etc/passwd` and `/etc/group` of a chain.
///
/// # Errors
/// `NotFound` when the chain is not in the store.
pub fn accounts(store: &Path, chain: &ChainId) -> Result<Accounts> {
    let dir = chain_dir(store, chain);
    let file = |name| {
        read(&dir.join(name), MAX_ACCOUNTS).doing(|| format!("read `{name}` of chain `{chain}`"))
    };
    Ok(Accounts {
        passwd: file("passwd")?,
        group: file("group")?,
    })
}
