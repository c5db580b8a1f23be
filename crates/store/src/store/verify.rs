//! Everything of an image against its id: configuration, record, tars, indexes.
//!
//! The id is the digest of the configuration, the configuration names the digest of each tar,
//! and all else is made from those once more. So one id vouches for every byte.

use super::{Store, entries};
use crate::blob;
use crate::config;
use crate::error::{Doing, Result};
use crate::image::{NameRecord, Record, id_of_hex};
use crate::layer::{self, Checker, Damage, Step, chain_ids, told};
use crate::options::LayerProgram;
use crate::reference::Reference;
use rkt_spec::Digest;
use rkt_spec::digest::Algorithm;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What was found out about one image, or about all that belongs to none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The image; `None` for what belongs to none.
    pub id: Option<Digest>,
    /// Its names.
    pub names: Vec<String>,
    /// Files that are not what they should be; empty when all is well.
    pub damage: Vec<Damage>,
    /// Bytes that were read and compared for this verdict; what an earlier image shares with
    /// this one is not read again.
    pub bytes: u64,
}

/// Checks images of one store, each layer once.
#[derive(Debug)]
pub struct Verifier<'a> {
    store: &'a Store,
    checker: Checker<'a>,
    blobs: BTreeSet<Digest>,
}

impl Store {
    /// Starts checking images; `program` reads layers. The store should be open for use, so that
    /// gc waits.
    pub fn verifier<'a>(&'a self, program: &'a LayerProgram) -> Verifier<'a> {
        Verifier {
            store: self,
            checker: Checker::new(&self.dir, program),
            blobs: BTreeSet::new(),
        }
    }

    /// The id of an image by a name, an id or the beginning of one, though its record be damaged or
    /// gone.
    ///
    /// # Errors
    /// As [`Store::find`].
    pub fn find_id(&self, text: &str, default_registry: &str) -> Result<Digest> {
        let error = match self.find(text, default_registry) {
            Ok(image) => return Ok(image.id),
            Err(error) => error,
        };
        let reference = Reference::parse(text, default_registry)?.absolute()?;
        let known = match &reference {
            Reference::Id(prefix) | Reference::AciId(prefix) => {
                let mut fit = self.ids()?;
                fit.retain(|id| id.hex().starts_with(prefix.as_str()));
                match fit.as_slice() {
                    [one] => Some(one.clone()),
                    _ => None,
                }
            }
            other => NameRecord::read(&self.dir, &other.file_name())?.map(|name| name.image),
        };
        known.ok_or(error)
    }

    /// The ids of all images, by the names of their records alone: damaged ones too.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn ids(&self) -> Result<Vec<Digest>> {
        let mut ids = Vec::new();
        for path in entries(&self.dir.join("images"))? {
            let hex = path.file_stem().and_then(|s| s.to_str()).unwrap_or("");
            ids.extend(id_of_hex(hex));
        }
        ids.sort();
        Ok(ids)
    }
}

fn damage(file: PathBuf, problem: impl Into<String>) -> Damage {
    Damage {
        layer: None,
        file,
        problem: problem.into(),
    }
}

impl Verifier<'_> {
    /// Checks one image. Reads all of its layers, which takes about a second a GiB.
    ///
    /// # Errors
    /// Only what keeps it from looking; damage is an answer.
    pub fn image(&mut self, id: &Digest) -> Result<Verdict> {
        let start = self.checker.bytes;
        let names = self.store.names().unwrap_or_default();
        let damage = self.look_at(id).doing(|| format!("verify image `{id}`"))?;
        Ok(Verdict {
            id: Some(id.clone()),
            names: names.get(id).cloned().unwrap_or_default(),
            damage,
            bytes: self.checker.bytes - start,
        })
    }

    /// An App Container Image: its id is the digest of its archive, and the manifest is in that.
    fn look_at_aci(&mut self, id: &Digest) -> Result<Vec<Damage>> {
        let dir = self.store.dir.clone();
        let record_file = PathBuf::from("images").join(format!("{}.json", id.hex()));
        let record = match told(Record::read(&dir, id))? {
            Ok(record) => record,
            Err(problem) => {
                let mut all = vec![damage(record_file, problem)];
                all.extend(self.checker.stack(&[Step::whole(id.clone())])?);
                return Ok(all);
            }
        };
        let steps = match told(layer::steps(&dir, &record.layers, &record.chains))? {
            Ok(steps) => steps,
            Err(problem) => return Ok(vec![damage(record_file, problem)]),
        };
        let mut all = self.checker.stack(&steps)?;
        let chains: Vec<Digest> = layer::step_ids(&steps)
            .into_iter()
            .map(|c| c.digest().clone())
            .collect();
        let right = self.checker.manifest(id).map(<[u8]>::to_vec);
        let config_fits = right.as_deref().is_none_or(|bytes| {
            crate::aci::config_of(bytes).is_ok_and(|config| config == record.config)
                && record.manifest == Some(blob::sha256(bytes))
        });
        if record.id != *id
            || record.layers.last() != Some(id)
            || record.chains != chains
            || !config_fits
        {
            let problem = "it does not say what the archive of the image says";
            all.push(damage(record_file, problem));
        }
        if let Some(manifest) = &record.manifest
            && let Err(problem) = self.blob(manifest)?
        {
            all.push(damage(blob_file(manifest), problem));
        }
        Ok(all)
    }

    fn look_at(&mut self, id: &Digest) -> Result<Vec<Damage>> {
        if id.algorithm() == Algorithm::Sha512 {
            return self.look_at_aci(id);
        }
        let dir = &self.store.dir;
        let mut all = Vec::new();
        let record_file = PathBuf::from("images").join(format!("{}.json", id.hex()));
        let record = match told(Record::read(dir, id))? {
            Ok(record) => Some(record),
            Err(problem) => {
                all.push(damage(record_file.clone(), problem));
                None
            }
        };
        let config = match self.blob(id)? {
            Ok(bytes) => match told(config::read(&bytes))? {
                Ok(read) => Some(read),
                Err(problem) => {
                    all.push(damage(blob_file(id), problem));
                    None
                }
            },
            Err(problem) => {
                all.push(damage(blob_file(id), problem));
                None
            }
        };
        if let Some(manifest) = record.as_ref().and_then(|r| r.manifest.as_ref())
            && let Err(problem) = self.blob(manifest)?
        {
            all.push(damage(blob_file(manifest), problem));
        }
        let layers = match (&config, &record) {
            (Some(config), _) => config.diff_ids.clone(),
            (None, Some(record)) => record.layers.clone(),
            (None, None) => return Ok(all),
        };
        let chains: Vec<Digest> = chain_ids(&layers)
            .into_iter()
            .map(|c| c.digest().clone())
            .collect();
        if let Some(record) = record {
            let config_fits = config.as_ref().is_none_or(|c| c.config == record.config);
            if record.id != *id
                || record.layers != layers
                || record.chains != chains
                || !config_fits
            {
                let problem = "it does not say what the configuration of the image says";
                all.push(damage(record_file, problem));
            }
        }
        let steps: Vec<Step> = layers.into_iter().map(Step::whole).collect();
        all.extend(self.checker.stack(&steps)?);
        Ok(all)
    }

    /// Checks what belongs to no image: layers and documents until gc takes them, and names.
    ///
    /// # Errors
    /// As [`Verifier::image`].
    pub fn rest(&mut self) -> Result<Verdict> {
        let start = self.checker.bytes;
        let dir = self.store.dir.clone();
        let mut all = Vec::new();
        for diff in layer::layers(&dir)? {
            if !self.checker.has_seen(&diff) {
                all.extend(self.checker.layer(&diff)?);
            }
        }
        for place in ["sha256", "sha512"] {
            for path in entries(&dir.join("blobs").join(place))? {
                let hex = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
                let Ok(digest) = Digest::new(&format!("{place}:{hex}")) else {
                    all.push(damage(inside(&dir, &path), "its name is no digest"));
                    continue;
                };
                if self.blobs.contains(&digest) {
                    continue;
                }
                if let Err(problem) = self.blob(&digest)? {
                    all.push(damage(blob_file(&digest), problem));
                }
            }
        }
        for path in entries(&dir.join("refs"))? {
            if let Err(problem) = told(NameRecord::read_at(&path))? {
                all.push(damage(inside(&dir, &path), problem));
            }
        }
        Ok(Verdict {
            id: None,
            names: Vec::new(),
            damage: all,
            bytes: self.checker.bytes - start,
        })
    }

    fn blob(&mut self, digest: &Digest) -> Result<std::result::Result<Vec<u8>, String>> {
        self.blobs.insert(digest.clone());
        let read = told(blob::get(&self.store.dir, digest))?;
        if let Ok(bytes) = &read {
            self.checker.bytes += bytes.len() as u64;
        }
        Ok(read)
    }
}

fn blob_file(digest: &Digest) -> PathBuf {
    Path::new("blobs")
        .join(digest.algorithm().as_str())
        .join(digest.hex())
}

fn inside(dir: &Path, path: &Path) -> PathBuf {
    path.strip_prefix(dir).unwrap_or(path).to_owned()
}
