//! The door of this crate: one directory with images in it.
//!
//! ```text
//! blobs/sha256/HEX          manifests and configurations
//! layers/sha256/DIFF/       tar and index of one layer
//! chains/sha256/CHAIN/      what a layer is on top of those below
//! distribution/sha256/HEX   digest of a compressed layer -> its diff id
//! images/HEX.json           one record an image
//! refs/NAME                 one record a name
//! pins/HEX                  images that gc keeps however long nobody used them
//! forgotten/HEX.json        records of removed images, until gc sees that no pod needs them
//! partial/sha256/HEX        the first bytes of a compressed layer whose fetch broke
//! locks/, tmp/
//! ```
//!
//! There is no database: every file is complete or absent, and the lock of the store tells
//! readers and fetchers (shared) from gc (exclusive).

mod gc;
mod repair;
mod usage;
mod verify;

pub use gc::{GcReport, GcRules};
pub use usage::{Part, Usage, tree_bytes};
pub use verify::{Verdict, Verifier};

pub use crate::config::History;
use crate::disk;
use crate::error::{Doing, Error, Kind, Result};
use crate::event::Events;
use crate::image::{Image, NameRecord, Record, id_of_hex, pin_path};
use crate::layer::{self, ChainId};
use crate::mounts;
use crate::options::{FetchOptions, LayerProgram};
use crate::reference::Reference;
use crate::trust::{self, Trusted};
use rkt_spec::Digest;
use rkt_spec::digest::Algorithm;
use rkt_spec::image::Accounts;
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What the store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// To look: nothing is created or locked; needs only read access.
    Look,
    /// To use and fetch: directories are made, and gc waits until this store is closed.
    Use,
}

/// A directory of images.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    lock: Option<OwnedFd>,
}

const PLACES: [&str; 11] = [
    "blobs/sha256",
    "layers/sha256",
    "layers/sha512",
    "chains/sha256",
    "distribution/sha256",
    "images",
    "refs",
    "pins",
    "forgotten",
    "locks",
    "tmp",
];

impl Store {
    /// Opens the store in `dir`; in mode `Use` it is made when missing, for its owner only.
    ///
    /// # Errors
    /// `NotFound` when there is none to look at, `Denied` when it belongs to somebody else.
    pub fn open(dir: impl Into<PathBuf>, mode: OpenMode) -> Result<Self> {
        let dir = dir.into();
        let what = || format!("open image store `{}`", dir.display());
        match mode {
            OpenMode::Look => {
                fs::read_dir(&dir).doing(what)?;
                Ok(Self { dir, lock: None })
            }
            OpenMode::Use => {
                make_places(&dir).doing(what)?;
                let lock = open_lock(&dir).doing(what)?;
                rustix::fs::flock(&lock, FlockOperation::LockShared).doing(what)?;
                Ok(Self {
                    dir,
                    lock: Some(lock),
                })
            }
        }
    }

    /// Where the store is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Finds an image by name in the store, or fetches it as `options` say.
    ///
    /// With policy `New` and an image that is there, this reads two small files and asks nobody.
    ///
    /// # Errors
    /// Any [`Kind`]; a failed fetch leaves nothing but whole layers behind.
    pub fn resolve(
        &self,
        reference: &Reference,
        options: &FetchOptions,
        events: Events<'_>,
    ) -> Result<Trusted<Image>> {
        let mut image = crate::fetch::resolve(self, reference, options, events)?;
        if self.is_writable() {
            Record::touch(&self.dir, &image.id);
            image.last_used = disk::now();
        }
        trust::admit(self, reference, image, options, events)
    }

    /// All images, sorted by their first name, those without a name last.
    ///
    /// # Errors
    /// `Denied`, or when a record cannot be read.
    pub fn list(&self) -> Result<Vec<Image>> {
        let mut names = self.names()?;
        let mut images = Vec::new();
        for path in entries(&self.dir.join("images"))? {
            // A record that went away meanwhile was removed by somebody else.
            let record = match Record::read_at(&path) {
                Err(e) if e.kind() == Kind::NotFound => continue,
                other => other.doing(|| format!("read `{}`", path.display()))?,
            };
            let names = names.remove(&record.id).unwrap_or_default();
            let name = names.first().cloned().unwrap_or_default();
            images.push(record.into_image(name, names));
        }
        images.sort_by(|a, b| {
            (a.name.is_empty(), &a.name, &a.id).cmp(&(b.name.is_empty(), &b.name, &b.id))
        });
        Ok(images)
    }

    /// Finds the one image in the store that `text` means: a name, an id, or a prefix of one.
    ///
    /// # Errors
    /// `NotFound`, `Ambiguous` with the ids that fit, `BadReference`.
    pub fn find(&self, text: &str, default_registry: &str) -> Result<Image> {
        let reference = Reference::parse(text, default_registry)?;
        self.find_reference(&reference)?.ok_or_else(|| {
            Error::new(
                Kind::NotFound,
                format!("there is no image `{}` in the store", reference),
            )
            .hint("`rkt image list` shows what there is")
        })
    }

    /// The image that `reference` meant when it was last fetched; `None` when it is unknown.
    ///
    /// # Errors
    /// `Ambiguous` for a prefix that fits several ids.
    pub fn find_reference(&self, reference: &Reference) -> Result<Option<Image>> {
        let id = match reference {
            Reference::Id(prefix) | Reference::AciId(prefix) => match self.id_by_prefix(
                match reference {
                    Reference::AciId(_) => Algorithm::Sha512,
                    _ => Algorithm::Sha256,
                },
                prefix,
            )? {
                Some(id) => id,
                None => return Ok(None),
            },
            Reference::App(name) => match crate::aci::by_name(self, name)? {
                Some(record) => record.id,
                None => return Ok(None),
            },
            _ => {
                let reference = reference.absolute()?;
                match NameRecord::read(&self.dir, &reference.file_name())? {
                    Some(name) => name.image,
                    None => return Ok(None),
                }
            }
        };
        let record = match Record::read(&self.dir, &id) {
            Err(e) if e.kind() == Kind::NotFound => return Ok(None),
            other => other?,
        };
        let names = self.names()?.remove(&id).unwrap_or_default();
        let name = match reference {
            Reference::Id(_) | Reference::AciId(_) => {
                names.first().cloned().unwrap_or_else(|| id.to_string())
            }
            other => other.absolute()?.canonical(),
        };
        Ok(Some(record.into_image(name, names)))
    }

    /// Forgets an image and every name of it. Its layers go at the next [`Store::gc`].
    ///
    /// # Errors
    /// `NotFound` when it is not in the store.
    pub fn remove(&self, id: &Digest) -> Result<()> {
        let what = || format!("remove image `{id}`");
        for path in entries(&self.dir.join("refs")).doing(what)? {
            if NameRecord::read_at(&path).is_ok_and(|name| name.image == *id) {
                disk::remove_if_there(&path).doing(what)?;
            }
        }
        let forgotten = self
            .dir
            .join("forgotten")
            .join(format!("{}.json", id.hex()));
        fs::rename(Record::path(&self.dir, id), forgotten).doing(what)?;
        self.unpin(id)
    }

    /// Takes one name from its image; the image stays, by its id if it was the last name.
    ///
    /// # Errors
    /// `NotFound` when the name is not known.
    pub fn remove_name(&self, reference: &Reference) -> Result<()> {
        let reference = reference.absolute()?;
        fs::remove_file(self.dir.join("refs").join(reference.file_name()))
            .doing(|| format!("remove name `{reference}`"))
    }

    /// Gives an image of the store one more name; a name that meant another image moves. When
    /// the source of that name is asked again, its answer wins.
    ///
    /// # Errors
    /// `BadReference` for what is no name of a registry, or fixes a digest.
    pub fn tag(&self, id: &Digest, name: &Reference) -> Result<()> {
        let what = || format!("give image `{id}` the name `{name}`");
        match name {
            Reference::Registry(n) if n.digest.is_none() => {}
            _ => {
                let problem = "only `[host/]name[:tag]` can be given to an image";
                return Err(Error::new(Kind::BadReference, problem)).doing(what);
            }
        }
        let record = NameRecord {
            reference: name.canonical(),
            image: id.clone(),
            stamp: String::new(),
            fetched_at: disk::now(),
        };
        record.write(&self.dir, &name.file_name()).doing(what)
    }

    /// Pins an image: gc keeps it however long nobody used it. [`Store::remove`] unpins.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn pin(&self, id: &Digest) -> Result<()> {
        disk::write(&self.dir, &pin_path(&self.dir, id), b"")
            .and_then(|()| disk::sync_dirs([self.dir.join("pins")]))
            .doing(|| format!("pin image `{id}`"))
    }

    /// Takes the pin off an image; none is as good.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn unpin(&self, id: &Digest) -> Result<()> {
        disk::remove_if_there(&pin_path(&self.dir, id)).doing(|| format!("unpin image `{id}`"))
    }

    /// Gives back what no image and no pod needs, and images that nobody used for long. What
    /// goes is unmounted in `run_dir` (`/run/rkt`) first.
    ///
    /// Waits up to 10 s for fetches and starts to end. Safe at any time and after any crash.
    ///
    /// # Errors
    /// `Busy` when others hold the store longer than that; `Corrupt` when a record cannot be
    /// read, for then nobody knows what it needs.
    pub fn gc(&self, rules: &GcRules<'_>, run_dir: &Path) -> Result<GcReport> {
        gc::run(self, rules, run_dir)
            .doing(|| format!("clean image store `{}`", self.dir.display()))
    }

    /// What the image says about how it was made, oldest first; empty when it says nothing.
    ///
    /// # Errors
    /// As [`Store::config_json`].
    pub fn history(&self, image: &Image) -> Result<Vec<History>> {
        // An App Container Image does not tell how it was made; its layers are there all the same.
        let steps = match image.aci {
            Some(_) => Vec::new(),
            None => crate::config::history(&self.config_json(&image.id)?)
                .doing(|| format!("read the history of image `{}`", image.id))?,
        };
        let mut layers = image.layers.iter();
        let mut all = Vec::new();
        for step in steps {
            let layer = match step.empty {
                true => None,
                false => layers.next().cloned(),
            };
            let bytes = match &layer {
                Some(diff) => layer::has_layer(&self.dir, diff)?.map(|info| info.tar_bytes),
                None => None,
            };
            all.push(History {
                layer,
                bytes: bytes.unwrap_or(0),
                ..step
            });
        }
        // Makers that write no history for a layer say nothing about it; it is there still.
        for diff in layers {
            let info = layer::has_layer(&self.dir, diff)?;
            all.push(History {
                layer: Some(diff.clone()),
                bytes: info.map_or(0, |info| info.tar_bytes),
                ..History::default()
            });
        }
        Ok(all)
    }

    /// Writes the merged root file system of an image into an empty directory. Needs root for
    /// owners and devices.
    ///
    /// # Errors
    /// `NotFound` when a layer is gone, and whatever writing gives.
    pub fn render(&self, image: &Image, into: std::os::fd::BorrowedFd<'_>) -> Result<()> {
        let doing = || format!("write the files of image `{}`", image.name);
        match image.chains.last() {
            Some(top) => {
                let top = ChainId::from_digest(top.clone());
                crate::directory::render(&self.dir, &top, into).doing(doing)
            }
            None => Ok(()),
        }
    }

    /// Writes the files of an image without those of images that it depends on, and without
    /// leaving any out: for an App Container Image, what its archive has. Layers of other images
    /// are no dependencies, and all of them are written. Needs root for owners and devices.
    ///
    /// # Errors
    /// As [`Store::render`], and what indexing the archive alone gives.
    pub fn extract(
        &self,
        image: &Image,
        program: &LayerProgram,
        into: std::os::fd::BorrowedFd<'_>,
    ) -> Result<()> {
        if image.aci.is_none() {
            return self.render(image, into);
        }
        let doing = || format!("write the files of image `{}`", image.name);
        let own = [layer::Step::whole(image.id.clone())];
        // Its image refers to this chain only when it depends on nothing; else gc takes it.
        let limits = layer::Limits::of_what_is_kept();
        let chains = layer::commit_steps(&self.dir, program, &limits, &own).doing(doing)?;
        match chains.last() {
            Some(alone) => crate::directory::render(&self.dir, alone, into).doing(doing),
            None => Ok(()),
        }
    }

    /// The users and groups of an image, for names in `--user`.
    ///
    /// # Errors
    /// `NotFound` when its top layer is gone.
    pub fn accounts(&self, image: &Image) -> Result<Accounts> {
        match image.chains.last() {
            Some(top) => layer::accounts(&self.dir, &ChainId::from_digest(top.clone()))
                .doing(|| format!("read the users of image `{}`", image.name)),
            None => Ok(Accounts::default()),
        }
    }

    /// The image's layers as detached read-only mounts, topmost first; needs CAP_SYS_ADMIN.
    ///
    /// `run_dir` is `/run/rkt`, where the namespace of the layers is pinned. The caller should
    /// have one thread; see [`mounts::attach`].
    ///
    /// # Errors
    /// `Unsupported` when this kernel mounts neither indexes nor directories, `Denied` without
    /// the privilege.
    pub fn attach(
        &self,
        image: &Trusted<Image>,
        run_dir: &Path,
        program: &LayerProgram,
        way: mounts::Way,
    ) -> Result<Vec<OwnedFd>> {
        let chains: Vec<ChainId> = image
            .chains
            .iter()
            .rev()
            .map(|c| ChainId::from_digest(c.clone()))
            .collect();
        mounts::attach(&self.dir, run_dir, program, way, &chains)
            .doing(|| format!("mount the layers of image `{}`", image.name))
    }

    /// The manifest of an App Container Image as its source wrote it: JSON.
    ///
    /// # Errors
    /// `NotFound`, or `Corrupt` when the disk has changed it.
    pub fn manifest_json(&self, manifest: &Digest) -> Result<Vec<u8>> {
        crate::blob::get(&self.dir, manifest)
    }

    /// The image's configuration as its source wrote it: JSON.
    ///
    /// # Errors
    /// `NotFound`, or `Corrupt` when the disk has changed it.
    pub fn config_json(&self, id: &Digest) -> Result<Vec<u8>> {
        crate::blob::get(&self.dir, id)
    }

    /// Whether it was opened to be used and not only to look.
    pub(crate) fn is_writable(&self) -> bool {
        self.lock.is_some()
    }

    /// Canonical names by image id, sorted.
    fn names(&self) -> Result<BTreeMap<Digest, Vec<String>>> {
        let mut names: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
        for path in entries(&self.dir.join("refs"))? {
            if let Ok(name) = NameRecord::read_at(&path) {
                names.entry(name.image).or_default().push(name.reference);
            }
        }
        for list in names.values_mut() {
            list.sort();
        }
        Ok(names)
    }

    fn id_by_prefix(&self, algorithm: Algorithm, prefix: &str) -> Result<Option<Digest>> {
        let mut found = BTreeSet::new();
        for path in entries(&self.dir.join("images"))? {
            let hex = path.file_stem().and_then(|s| s.to_str()).unwrap_or("");
            if hex.starts_with(prefix)
                && let Some(id) = id_of_hex(hex)
                && id.algorithm() == algorithm
            {
                found.insert(id);
            }
        }
        if found.len() > 1 {
            let list: Vec<String> = found.iter().map(|d| format!("`{}`", d.short())).collect();
            return Err(Error::new(
                Kind::Ambiguous,
                format!(
                    "`{prefix}` begins the ids of {} images: {}",
                    found.len(),
                    list.join(", ")
                ),
            )
            .hint("give more digits"));
        }
        Ok(found.into_iter().next())
    }
}

/// Files of a directory of the store; none when the directory is not there yet.
pub(crate) fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let list = match fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.doing(|| format!("read directory `{}`", dir.display()))?,
    };
    list.map(|entry| Ok(entry?.path())).collect()
}

/// Makes a directory and its parents, 0700 those that are new.
pub(crate) fn make_dir(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .doing(|| format!("make directory `{}`", path.display()))
}

/// Makes what is missing of a store, for good.
fn make_places(dir: &Path) -> Result<()> {
    let mut above = Vec::new();
    for place in PLACES.map(|place| dir.join(place)) {
        if !place.is_dir() {
            make_dir(&place)?;
            above.extend(place.parent().map(Path::to_owned));
        }
    }
    if !above.is_empty() {
        above.push(dir.to_owned());
        above.extend(std::path::absolute(dir)?.parent().map(Path::to_owned));
    }
    disk::sync_dirs(above)
}

fn open_lock(dir: &Path) -> Result<OwnedFd> {
    Ok(rustix::fs::open(
        dir.join("locks/store"),
        OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::RUSR | Mode::WUSR,
    )?)
}
