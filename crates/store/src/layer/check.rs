//! Whether what is stored of layers is still what their digests say.
//!
//! A tar is hashed. An index has no digest that anybody else knows: it is made once more from
//! its tar, by the same child without privileges, and compared byte for byte. So damage that
//! changed an index and its record alike is found too.

use super::chain::{self, Made, Stack};
use super::disk::{self, chain_dir, chain_record, layer_dir, layer_record, open};
use super::form::{Form, Step, step_ids};
use super::process::Process;
use super::wire::{Answer, Job, Reindex};
use super::{ChainId, Limits, child};
use crate::disk::Growing;
use crate::error::{Doing, Kind, Result};
use crate::options::LayerProgram;
use rkt_spec::Digest;
use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// One file of the store that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The layer that it belongs to; `None` for files of the image itself.
    pub layer: Option<Digest>,
    /// The file, relative to the store's directory.
    pub file: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

/// Compares layers and chains with their digests, each once however often it is asked for.
#[derive(Debug)]
pub struct Checker<'a> {
    store: &'a Path,
    program: &'a LayerProgram,
    layers: BTreeMap<Digest, Vec<Damage>>,
    chains: BTreeMap<Digest, Vec<Damage>>,
    /// The manifests of App Container Images, as they stand in the archives.
    manifests: BTreeMap<Digest, Vec<u8>>,
    /// Bytes that were read and compared.
    pub bytes: u64,
}

impl<'a> Checker<'a> {
    /// One that has seen nothing yet; `program` reads layers.
    pub fn new(store: &'a Path, program: &'a LayerProgram) -> Self {
        Self {
            store,
            program,
            layers: BTreeMap::new(),
            chains: BTreeMap::new(),
            manifests: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// Whether this layer was looked at.
    pub fn has_seen(&self, diff: &Digest) -> bool {
        self.layers.contains_key(diff)
    }

    /// The manifest in the archive of an App Container Image that was looked at and is whole.
    pub(crate) fn manifest(&self, diff: &Digest) -> Option<&[u8]> {
        self.manifests.get(diff).map(Vec::as_slice)
    }

    /// Checks layers (lowest first) and their chains. Reads all of their bytes from the disk,
    /// as far as the kernel lets go of what it has in memory.
    ///
    /// # Errors
    /// Only what keeps it from looking; damage is an answer.
    pub fn stack(&mut self, steps: &[Step]) -> Result<Vec<Damage>> {
        let mut damage = Vec::new();
        let mut whole = true;
        for step in steps {
            let found = self.layer(&step.diff)?;
            whole &= found.is_empty();
            damage.extend(found);
        }
        damage.extend(self.chains(steps, whole)?);
        damage.dedup();
        Ok(damage)
    }

    /// Checks one layer: its tar, its own index, its record.
    ///
    /// # Errors
    /// As [`Checker::stack`].
    pub fn layer(&mut self, diff: &Digest) -> Result<Vec<Damage>> {
        if let Some(known) = self.layers.get(diff) {
            return Ok(known.clone());
        }
        let found = self
            .look_at_layer(diff)
            .doing(|| format!("look at layer `{diff}`"))?;
        self.layers.insert(diff.clone(), found.clone());
        Ok(found)
    }

    fn look_at_layer(&mut self, diff: &Digest) -> Result<Vec<Damage>> {
        let at = layer_dir(self.store, diff);
        let damage = |name: &str, problem: String| Damage {
            layer: Some(diff.clone()),
            file: inside(self.store, &at.join(name)),
            problem,
        };
        let record = match told(layer_record(self.store, diff))? {
            Ok(Some(record)) if record.diff == *diff => record,
            Ok(Some(_)) => return Ok(vec![damage("info", "it is of another layer".into())]),
            Ok(None) => return Ok(vec![damage("info", "it is not there".into())]),
            Err(problem) => return Ok(vec![damage("info", problem)]),
        };
        if let Err(problem) = told(disk::verify(self.store, diff))? {
            return Ok(vec![damage("tar", problem)]);
        }
        self.bytes += record.padded();
        let tar = disk::open_tar(self.store, diff)?;
        let index = Growing::new(self.store)?.into_nameless()?;
        let mut process = Process::start(self.program, &Limits::of_what_is_kept(), u64::MAX)?;
        let job = Job::Reindex(Reindex {
            diff: diff.clone(),
            tar_bytes: record.tar_bytes,
        });
        let manifest = match Form::of(diff) {
            Form::Oci => None,
            Form::Aci => Some(Growing::new(self.store)?.into_nameless()?),
        };
        let mut fds = vec![tar.as_fd(), index.as_fd()];
        fds.extend(manifest.iter().map(AsFd::as_fd));
        process.send(&job, &fds)?;
        let Answer::Layer(made) = process.answer()? else {
            return Err(chain::lied());
        };
        if let Some(manifest) = manifest {
            let size = manifest.metadata()?.len().min(crate::blob::SMALL);
            let mut bytes = vec![0; size as usize];
            manifest.read_exact_at(&mut bytes, 0)?;
            self.manifests.insert(diff.clone(), bytes);
        }
        let mut all = Vec::new();
        if child::record(&made) != record {
            let problem = "it does not say what the tar says".to_owned();
            all.push(damage("info", problem));
        }
        if made.index_bytes != 0
            && let Some(problem) = self.differs(&at.join("index"), &index)?
        {
            all.push(damage("index", problem));
        }
        Ok(all)
    }

    /// Checks what the layers are on top of each other. Where a tar is damaged nothing can be
    /// made from it, and indexes are compared with the digest in their record.
    fn chains(&mut self, steps: &[Step], whole: bool) -> Result<Vec<Damage>> {
        let ids = step_ids(steps);
        let mut all = Vec::new();
        if ids.iter().all(|id| self.chains.contains_key(id.digest())) {
            let known = |id: &ChainId| self.chains.get(id.digest()).cloned();
            return Ok(ids.iter().filter_map(known).flatten().collect());
        }
        let mut process = match whole {
            true => Some(Process::start(
                self.program,
                &Limits::of_what_is_kept(),
                u64::MAX,
            )?),
            false => None,
        };
        for (at, (step, id)) in steps.iter().zip(&ids).enumerate() {
            let stack = Stack::at(steps, &ids, at);
            let found = self
                .chain(&step.diff, id, &stack, process.as_mut())
                .doing(|| format!("look at chain `{id}`"))?;
            self.chains.insert(id.digest().clone(), found.clone());
            all.extend(found);
        }
        Ok(all)
    }

    fn chain(
        &mut self,
        diff: &Digest,
        id: &ChainId,
        stack: &Stack<'_>,
        process: Option<&mut Process>,
    ) -> Result<Vec<Damage>> {
        let at = chain_dir(self.store, id);
        let damage = |name: &str, problem: String| Damage {
            layer: Some(diff.clone()),
            file: inside(self.store, &at.join(name)),
            problem,
        };
        let mut all = Vec::new();
        let record = match told(chain_record(self.store, id))? {
            Ok(Some(record)) => Some(record),
            Ok(None) => {
                all.push(damage("info", "it is not there".into()));
                None
            }
            Err(problem) => {
                all.push(damage("info", problem));
                None
            }
        };
        let Some(process) = process else {
            if let Some(record) = record
                && let Some(problem) = self.digest_differs(&at.join("index"), &record.index)?
            {
                all.push(damage("index", problem));
            }
            return Ok(all);
        };
        let layer = layer_record(self.store, diff)?.ok_or_else(|| disk::missing(diff))?;
        let tar = disk::open_tar(self.store, diff)?;
        process.send(&Job::Tar(diff.clone()), &[tar.as_fd()])?;
        let fresh = || Growing::new(self.store)?.into_nameless();
        let made = Made {
            index: fresh()?,
            passwd: fresh()?,
            group: fresh()?,
            filter: match stack.filter() {
                Some(_) => Some(fresh()?),
                None => None,
            },
        };
        let right = chain::build_into(self.store, process, &layer, stack, &made)?;
        if record.is_some_and(|record| record != right) {
            let problem = "it does not say what the layers say".to_owned();
            all.push(damage("info", problem));
        }
        for (name, file) in [
            ("index", &made.index),
            ("passwd", &made.passwd),
            ("group", &made.group),
        ] {
            if let Some(problem) = self.differs(&at.join(name), file)? {
                all.push(damage(name, problem));
            }
        }
        // A tree is compared with an index that is right, or not at all.
        if all.is_empty() && std::fs::symlink_metadata(at.join("tree")).is_ok() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let tree = rustix::fs::open(at.join("tree"), flags, Mode::empty())?;
            for (path, problem) in crate::directory::differences(self.store, id, tree.as_fd())? {
                let name = Path::new("tree").join(path);
                all.push(damage(&name.to_string_lossy(), problem));
            }
        }
        Ok(all)
    }

    /// What is wrong with a stored file that should have the bytes of another.
    fn differs(&mut self, stored: &Path, right: &File) -> Result<Option<String>> {
        let stored = match told(open(stored))? {
            Ok(file) => file,
            Err(problem) => return Ok(Some(problem)),
        };
        disk::from_disk(&stored);
        let (have, want) = (stored.metadata()?.len(), right.metadata()?.len());
        if have != want {
            return Ok(Some(format!("it has {have} bytes, not {want}")));
        }
        self.bytes += have;
        let (mut one, mut two) = (vec![0; 128 << 10], vec![0; 128 << 10]);
        let mut at = 0;
        while at < have {
            let n = (have - at).min(one.len() as u64) as usize;
            let (one, two) = (
                one.get_mut(..n).unwrap_or(&mut []),
                two.get_mut(..n).unwrap_or(&mut []),
            );
            if let Err(e) = stored.read_exact_at(one, at) {
                return Ok(Some(format!("it cannot be read at byte {at}: {e}")));
            }
            right.read_exact_at(two, at)?;
            if let Some(n) = one.iter().zip(two).position(|(a, b)| a != b) {
                let byte = at + n as u64;
                return Ok(Some(format!(
                    "byte {byte} is not what its layer's tar makes it"
                )));
            }
            at += n as u64;
        }
        Ok(None)
    }

    /// What is wrong with a file that should have this digest.
    fn digest_differs(&mut self, path: &Path, want: &Digest) -> Result<Option<String>> {
        let mut file = match told(open(path))? {
            Ok(file) => file,
            Err(problem) => return Ok(Some(problem)),
        };
        disk::from_disk(&file);
        let mut hasher = crate::blob::Hasher::new(want.algorithm());
        let mut buffer = vec![0; 128 << 10];
        loop {
            let n = match std::io::Read::read(&mut file, &mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) => return Ok(Some(format!("it cannot be read: {e}"))),
            };
            self.bytes += n as u64;
            hasher.update(buffer.get(..n).unwrap_or(&[]));
        }
        let have = hasher.finish();
        Ok((have != *want).then(|| format!("its bytes have digest `{have}`, not `{want}`")))
    }
}

/// A path without the store's directory in front.
fn inside(store: &Path, path: &Path) -> PathBuf {
    path.strip_prefix(store).unwrap_or(path).to_owned()
}

/// Errors that tell of damage become words; those that keep from looking stay errors.
pub(crate) fn told<T>(result: Result<T>) -> Result<std::result::Result<T, String>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(e) if e.kind() == Kind::NotFound => Ok(Err("it is not there".into())),
        Err(e) if matches!(e.kind(), Kind::Denied | Kind::Interrupted) => Err(e),
        Err(e) => Ok(Err(e.because().to_owned())),
    }
}
