//! From the name of an App Container Image to an image in the store.
//!
//! The archive streams through the unprivileged reader like any layer; only then its manifest
//! tells what it is. Images that it depends on are found in the store or fetched, each checked
//! like the first, and all of them become the chain of the image. Records are written last.

use super::config::config;
use super::find;
use super::manifest::Manifest;
use super::render::{Node, steps};
use super::source::{Flow, Found, Place, Stamp};
use super::stream::{Archive, Stream};
use crate::blob;
use crate::discovery;
use crate::disk;
use crate::error::{Doing, Error, Kind, Result};
use crate::event::{Event, Events, Origin};
use crate::fetch::Interrupt;
use crate::image::{AciFacts, Image, NameRecord, Record};
use crate::layer;
use crate::manifest::check_platform;
use crate::options::{FetchOptions, PullPolicy};
use crate::reference::{AppImageName, Reference};
use crate::registry::web::Web;
use crate::store::Store;
use crate::trust::{self, Key, Reach};
use rkt_spec::Digest;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Most images on the way from an image to one that it depends on.
const DEEPEST: usize = 16;
/// Most images that make one image, counted each time they are named.
const MOST: usize = 64;

/// Finds an image in the store, or fetches it. `reference` is one of App Container Images.
pub(crate) fn resolve(
    store: &Store,
    reference: &Reference,
    options: &FetchOptions,
    events: Events<'_>,
) -> Result<Image> {
    let name = reference.canonical();
    let what = || format!("find image `{name}`");
    let known = known(store, reference, options).doing(what)?;
    let missing = || {
        Error::new(
            Kind::NotFound,
            format!("there is no image `{name}` in the store"),
        )
        .hint("`rkt image list` shows what there is")
    };
    let never = options.policy == PullPolicy::Never;
    if never && options.signature.is_some() {
        return Err(Error::new(
            Kind::BadReference,
            "a signature is looked at when an image is fetched, and it is not to be",
        )
        .hint("leave out `--signature` or `--pull-policy=never`")
        .while_doing(what()));
    }
    if never {
        let known = known.ok_or_else(missing).doing(what)?;
        return Ok(known.used(&name, Origin::Store, events));
    }
    // What was let in unchecked, or by a key that is trusted no more, is fetched and checked again.
    let known = known.filter(|k| is_trusted(&k.record, options) && options.signature.is_none());
    if let Some(known) = &known
        && known.is_good(reference, options).doing(what)?
    {
        return Ok(known.clone().used(&name, Origin::Store, events));
    }
    if !store.is_writable() {
        return Err(Error::new(
            Kind::Denied,
            "it is not in the store, and the store was opened only to look",
        )
        .while_doing(what()));
    }
    events(Event::Resolving { reference: &name });
    let fetch = || format!("fetch image `{name}`");
    let interrupt = Interrupt::block(&options.stop_signals)?;
    let web = Web::new(&options.network);
    let stopped = AtomicBool::new(false);
    let stop = || {
        stopped.store(true, Ordering::Relaxed);
        web.interrupt();
    };
    let result = interrupt.watch(&stop, || {
        let job = Fetch {
            store,
            options,
            events,
            web: &web,
            stopped: &stopped,
            images: Cell::new(0),
        };
        job.top(reference, known)
    });
    interrupt.check()?;
    result.doing(fetch)
}

/// An image of the store that a name means.
#[derive(Debug, Clone)]
struct Known {
    record: Record,
    stamp: String,
}

impl Known {
    /// Whether the place need not be asked.
    fn is_good(&self, reference: &Reference, options: &FetchOptions) -> Result<bool> {
        match reference {
            Reference::AciFile(path) => {
                let now =
                    std::fs::metadata(path).doing(|| format!("look at `{}`", path.display()))?;
                Ok(crate::local::stamp_of(&now) == self.stamp)
            }
            _ if options.policy == PullPolicy::New => Ok(true),
            _ => Ok(Stamp::parse(&self.stamp).fresh_until > disk::now()),
        }
    }

    fn used(self, name: &str, from: Origin, events: Events<'_>) -> Image {
        events(Event::Using {
            reference: name,
            image: &self.record.id,
            from,
        });
        self.record
            .into_image(name.to_owned(), vec![name.to_owned()])
    }
}

/// The image that the name meant, if it is whole and made for the wanted platform.
fn known(store: &Store, reference: &Reference, options: &FetchOptions) -> Result<Option<Known>> {
    let noted = NameRecord::read(store.dir(), &reference.file_name())?;
    let stamp = noted.as_ref().map(|n| n.stamp.clone()).unwrap_or_default();
    let image = noted.as_ref().map(|n| n.image.clone());
    let record = match reference {
        Reference::App(name) => find::by_name(store, &find::for_platform(name, &options.platform))?,
        _ => match noted.map(|n| Record::read(store.dir(), &n.image)) {
            Some(Err(e)) if e.kind() != Kind::NotFound => return Err(e),
            other => other.and_then(Result::ok),
        },
    };
    let Some(record) = record else {
        return Ok(None);
    };
    // The stamp is of the image that came by this name, which may not be the one found now.
    let stamp = match image {
        Some(image) if image != record.id => String::new(),
        _ => stamp,
    };
    if let Err(e) = check_platform(&options.platform, &record.platform()) {
        return match options.policy {
            PullPolicy::Never => Err(e),
            _ => Ok(None),
        };
    }
    let whole = match record.chains.last() {
        Some(top) => layer::has_chain(store.dir(), &layer::ChainId::from_digest(top.clone()))?,
        None => false,
    };
    Ok(whole.then_some(Known { record, stamp }))
}

/// One fetch of one image and of what it depends on.
struct Fetch<'a> {
    store: &'a Store,
    options: &'a FetchOptions,
    events: Events<'a>,
    web: &'a Web,
    stopped: &'a AtomicBool,
    /// Images named so far.
    images: Cell<usize>,
}

/// An image that came or was there, with its manifest.
struct Member {
    id: Digest,
    manifest: Manifest,
    /// What came now and has no record yet.
    fresh: Option<Archive>,
}

impl Fetch<'_> {
    fn top(&self, reference: &Reference, known: Option<Known>) -> Result<Image> {
        let name = reference.canonical();
        let stamp = known.as_ref().map(|k| Stamp::parse(&k.stamp));
        let (place, found) = self.open(reference, stamp.as_ref())?;
        let flow = match found {
            Found::Unchanged(stamp) => {
                let Some(known) = known else {
                    return Err(Error::new(
                        Kind::Refused,
                        "the server says that nothing has changed",
                    ));
                };
                self.name(reference, &known.record.id, stamp)
                    .note(self.store.dir(), &reference.file_name())?;
                return Ok(known.used(&name, Origin::Unchanged, self.events));
            }
            Found::Flow(flow) => flow,
        };
        let stamp = flow.stamp.clone();
        let expected = match reference {
            Reference::App(name) => Some(name.name()),
            _ => None,
        };
        let signature = self.options.signature.as_deref();
        let mut archive = self.stream(&place, flow, expected, signature)?;
        if let Reference::App(wanted) = reference {
            let wanted = find::for_platform(wanted, &self.options.platform);
            check_labels(&wanted, &archive.manifest)?;
            archive.latest = !wanted.labels().contains_key("version");
        }
        let (config, notes) = config(&archive.manifest).doing(|| "read its manifest".into())?;
        for note in &notes {
            (self.events)(Event::Message(note));
        }
        check_platform(&self.options.platform, &platform(&config))?;
        let id = archive.id.clone();
        let was_there = Record::path(self.store.dir(), &id).exists();
        let node = self.node(&id, &archive.manifest, &mut Vec::new())?;
        let record = self.settle(archive, &node)?;
        self.name(reference, &id, stamp)
            .write(self.store.dir(), &reference.file_name())?;
        let from = if was_there {
            Origin::Unchanged
        } else {
            Origin::Source
        };
        Ok(Known {
            record,
            stamp: String::new(),
        }
        .used(&name, from, self.events))
    }

    /// Begins to read from where the reference leads: the first place that has something.
    fn open(&self, reference: &Reference, known: Option<&Stamp>) -> Result<(Place, Found)> {
        if let Some(place) = Place::of(reference) {
            let found = place.open(self.store.dir(), self.web, known)?;
            return Ok((place, found));
        }
        let Reference::App(name) = reference else {
            return Err(Error::new(Kind::NotFound, "it is not in the store"));
        };
        let name = find::for_platform(name, &self.options.platform);
        let places = discovery::images(self.web, &self.options.network, &name)?;
        self.offered_keys(name.name())?;
        let mut first = None;
        for found in places {
            let place = Place::Found(found);
            match place.open(self.store.dir(), self.web, known) {
                Ok(found) => return Ok((place, found)),
                Err(e) if e.kind() == Kind::Interrupted => return Err(e),
                Err(e) => {
                    first.get_or_insert(e);
                }
            }
        }
        Err(first.unwrap_or_else(|| Error::new(Kind::NotFound, "its page leads nowhere")))
    }

    /// Trusts what the page offers over HTTPS, where the user wants that and trusts nobody yet.
    fn offered_keys(&self, name: &str) -> Result<()> {
        let Some(to) = &self.options.keys_from_https else {
            return Ok(());
        };
        if self.options.network.insecure.image || !self.options.keys.keys(Some(name))?.is_empty() {
            return Ok(());
        }
        // Over HTTPS means so: what else the user allows does not count here.
        let mut network = self.options.network.clone();
        network.insecure.http = false;
        for offered in discovery::offered(self.web, &network, name)? {
            let doing = || format!("trust key `{}`", offered.url);
            for key in Key::read(&offered.bytes).doing(doing)? {
                key.check(disk::now()).doing(doing)?;
                to.add(&key, &Reach::prefix(name)?).doing(doing)?;
                (self.events)(Event::Message(&format!(
                    "keys from https: trusting key {} for {name}",
                    key.fingerprint()
                )));
            }
        }
        Ok(())
    }

    fn stream(
        &self,
        place: &Place,
        flow: Flow,
        expected: Option<&str>,
        signature: Option<&Path>,
    ) -> Result<Archive> {
        let stream = Stream {
            store: self.store.dir(),
            web: self.web,
            options: self.options,
            events: self.events,
            stopped: self.stopped,
            signature,
        };
        stream
            .archive(place, flow, expected)
            .doing(|| format!("read image `{place}`"))
    }

    fn name(&self, reference: &Reference, id: &Digest, stamp: String) -> NameRecord {
        NameRecord {
            reference: reference.canonical(),
            image: id.clone(),
            stamp,
            fetched_at: disk::now(),
        }
    }

    /// An image with all below it, which is found or fetched on the way.
    fn node(&self, id: &Digest, manifest: &Manifest, above: &mut Vec<Digest>) -> Result<Rc<Node>> {
        if above.contains(id) {
            return Err(Error::new(
                Kind::Corrupt,
                format!("image `{}` depends on itself", manifest.name),
            ));
        }
        self.images.set(self.images.get() + 1);
        if above.len() >= DEEPEST || self.images.get() > MOST {
            return Err(Error::new(
                Kind::TooLarge,
                format!("it depends on more than {MOST} images, or through more than {DEEPEST}"),
            ));
        }
        above.push(id.clone());
        let mut dependencies = Vec::new();
        for wanted in &manifest.dependencies {
            let doing = || {
                format!(
                    "find image `{}`, which `{}` depends on",
                    wanted.name, manifest.name
                )
            };
            let member = self.member(wanted).doing(doing)?;
            let node = self.node(&member.id, &member.manifest, above)?;
            if let Some(archive) = member.fresh {
                self.settle(archive, &node)?;
            }
            dependencies.push(node);
        }
        above.pop();
        Ok(Rc::new(Node {
            layer: id.clone(),
            whitelist: manifest.whitelist.clone(),
            dependencies,
        }))
    }

    /// An image that another depends on: the store's, else fetched by its name.
    fn member(&self, wanted: &super::manifest::Dependency) -> Result<Member> {
        let labels = wanted
            .labels
            .iter()
            .map(|l| (l.name.clone(), l.value.clone()))
            .collect();
        let name = AppImageName::new(&wanted.name, labels);
        let record = match &wanted.id {
            Some(hex) => find::by_id(self.store, hex)?,
            None => find::by_name(self.store, &name)?,
        };
        let checked = |r: &Record| is_trusted(r, self.options);
        if let Some(record) = record.filter(checked)
            && layer::has_layer(self.store.dir(), &record.id)?.is_some()
        {
            let manifest = manifest_of(self.store, &record)?;
            check_labels(&name, &manifest)?;
            return Ok(Member {
                id: record.id,
                manifest,
                fresh: None,
            });
        }
        let full = find::for_platform(&name, &self.options.platform);
        let (place, found) = self.open(&Reference::App(full), None)?;
        let Found::Flow(flow) = found else {
            return Err(Error::new(
                Kind::Refused,
                "the server says that nothing has changed",
            ));
        };
        let archive = self.stream(&place, flow, Some(&wanted.name), None)?;
        check_labels(&name, &archive.manifest)?;
        if wanted.size.is_some_and(|size| size != archive.file_bytes) {
            return Err(Error::new(
                Kind::Corrupt,
                format!(
                    "it should have {} bytes and has {}",
                    wanted.size.unwrap_or(0),
                    archive.file_bytes
                ),
            ));
        }
        if wanted
            .id
            .as_ref()
            .is_some_and(|hex| !archive.id.hex().starts_with(hex.as_str()))
        {
            return Err(Error::new(
                Kind::Corrupt,
                format!("its id is `{}`, not the wanted one", archive.id),
            ));
        }
        Ok(Member {
            id: archive.id.clone(),
            manifest: archive.manifest.clone(),
            fresh: Some(archive),
        })
    }

    /// Makes the chain of an image and writes its record.
    fn settle(&self, archive: Archive, node: &Node) -> Result<Record> {
        let dir = self.store.dir();
        let steps = steps(node);
        let chains = layer::commit_steps(
            dir,
            &self.options.layer_program,
            &self.options.limits,
            &steps,
        )
        .doing(|| "put it on top of what it depends on".into())?;
        let layers: Vec<Digest> = steps.into_iter().map(|s| s.diff).collect();
        let mut bytes = 0;
        for layer in layers.iter().collect::<BTreeSet<_>>() {
            bytes += layer::has_layer(dir, layer)?.map_or(0, |info| info.tar_bytes);
        }
        let manifest = blob::sha256(&archive.bytes);
        blob::put(dir, &manifest, &archive.bytes)?;
        let (config, _) = config(&archive.manifest)?;
        let record = Record {
            version: 1,
            id: archive.id,
            manifest: Some(manifest),
            config,
            layers,
            chains: chains.into_iter().map(|c| c.digest().clone()).collect(),
            bytes,
            fetched_at: disk::now(),
            last_used: disk::now(),
            pinned: false,
            aci: Some(AciFacts {
                name: archive.manifest.name,
                labels: archive
                    .manifest
                    .labels
                    .into_iter()
                    .map(|l| (l.name, l.value))
                    .collect(),
                latest: archive.latest,
            }),
            proof: archive.proof,
        };
        if self.stopped.load(Ordering::Relaxed) {
            return Err(Error::new(Kind::Interrupted, "the fetch was stopped"));
        }
        record.write(dir)?;
        Ok(record)
    }
}

fn is_trusted(record: &Record, options: &FetchOptions) -> bool {
    trust::check(record.aci.as_ref(), &record.proof, options).is_ok()
}

fn platform(config: &rkt_spec::image::ImageConfig) -> crate::platform::Platform {
    crate::platform::Platform {
        os: config.os.clone(),
        architecture: config.architecture.clone(),
        variant: config.variant.clone(),
    }
}

/// The manifest of an image in the store.
fn manifest_of(store: &Store, record: &Record) -> Result<Manifest> {
    let digest = record
        .manifest
        .as_ref()
        .ok_or_else(|| Error::new(Kind::Corrupt, "its record names no manifest"))?;
    Manifest::read(&blob::get(store.dir(), digest)?)
}

/// Refuses an image that is not the one that was asked for, in the original's words.
fn check_labels(wanted: &AppImageName, manifest: &Manifest) -> Result<()> {
    if wanted.name() != manifest.name {
        return Err(Error::new(
            Kind::Corrupt,
            format!(
                "the image is called `{}`, not `{}`",
                manifest.name,
                wanted.name()
            ),
        ));
    }
    for (label, value) in wanted.labels() {
        let has = manifest.label(label);
        if has != Some(value) {
            let why = match has {
                Some(has) => format!(
                    "requested value for label {label:?}: {value:?} differs from fetched aci label value: {has:?}"
                ),
                None => format!("requested label {label:?} not provided by the image manifest"),
            };
            return Err(Error::new(Kind::Corrupt, why));
        }
    }
    Ok(())
}
