//! From a name to an image in the store.
//!
//! Asks the store first (two small files), then the source; streams the layers that are missing
//! through `layer`, several at a time; writes the records last. Whatever breaks on the way
//! leaves whole layers, the first bytes of others (`partial`) and unnamed files in `tmp`: the
//! next fetch goes on with the first two, and gc takes all three.

mod interrupt;
mod layers;
pub(crate) mod partial;

use crate::aci;
use crate::blob;
use crate::builtin::{self, BuiltinSource};
use crate::disk;
use crate::error::{Doing, Error, Kind, Result};
use crate::event::{Event, Events, Origin};
use crate::image::{Image, NameRecord, Record};
use crate::layer;
use crate::local;
use crate::manifest;
use crate::options::{Builtin, FetchOptions, PullPolicy};
use crate::reference::Reference;
use crate::registry::Registry;
use crate::source::{Candidate, Source};
use crate::store::Store;
use crate::trust::{self, Proof};
pub(crate) use interrupt::Interrupt;
use rkt_spec::Digest;
use std::path::Path;

pub(crate) fn resolve(
    store: &Store,
    reference: &Reference,
    options: &FetchOptions,
    events: Events<'_>,
) -> Result<Image> {
    let reference = reference.absolute()?;
    let name = reference.canonical();
    let what = || format!("find image `{name}`");
    if reference.assumed().registry
        && let Reference::Registry(assumed) = &reference
    {
        events(Event::Message(&format!(
            "no registry was named, so `{}` is asked: {name}",
            assumed.registry
        )));
    }
    if matches!(
        reference,
        Reference::AciFile(_) | Reference::AciUrl(_) | Reference::App(_)
    ) {
        return aci::resolve(store, &reference, options, events);
    }
    if options.signature.is_some() {
        return Err(Error::new(
            Kind::BadReference,
            "`--signature` is for App Container Images that are fetched",
        )
        .hint("for images of registries, policies say who has to sign: docs/reference/trust.md")
        .while_doing(what()));
    }
    if let Reference::Id(_) | Reference::AciId(_) = reference {
        let image = store
            .find_reference(&reference)
            .doing(what)?
            .ok_or_else(|| missing(&name));
        let image = image.doing(what)?;
        manifest::check_platform(&options.platform, &image.platform()).doing(what)?;
        if !complete(store.dir(), &image)? {
            return Err(
                Error::new(Kind::NotFound, "its layers are not in the store any more")
                    .hint("fetch it again by its name")
                    .while_doing(what()),
            );
        }
        return Ok(used(image, &name, Origin::Store, events));
    }
    let known = known(store, &reference, options).doing(what)?;
    match options.policy {
        PullPolicy::Never => {
            let image = known.ok_or_else(|| missing(&name)).doing(what)?.image;
            return Ok(used(image, &name, Origin::Store, events));
        }
        PullPolicy::New | PullPolicy::Update => {}
    }
    if let Some(known) = known
        && let Some(origin) = still_good(&known, &reference, options, events).doing(what)?
    {
        return Ok(used(known.image, &name, origin, events));
    }
    if !store.is_writable() {
        return Err(Error::new(
            Kind::Denied,
            "it is not in the store, and the store was opened only to look",
        )
        .while_doing(what()));
    }
    events(Event::Resolving { reference: &name });
    fetch(store, &reference, options, events).doing(|| format!("fetch image `{name}`"))
}

/// What an image is, without keeping anything of it: for plans that are only shown.
///
/// `scratch` is a directory with a `tmp` in it, for archives that are compressed as a whole.
///
/// # Errors
/// As [`Store::resolve`].
pub fn describe(
    reference: &Reference,
    options: &FetchOptions,
    scratch: &Path,
    events: Events<'_>,
) -> Result<Image> {
    let reference = reference.absolute()?;
    let name = reference.canonical();
    let what = || format!("look at image `{name}`");
    let candidate = source(&reference, options, scratch, events)
        .and_then(|source| source.candidate(&options.platform))
        .doing(what)?;
    let bytes = candidate.layers.iter().filter_map(|l| l.size).sum();
    let record = record(&candidate, bytes);
    Ok(record.into_image(name.clone(), vec![name]))
}

/// An image in the store and the stamp it was fetched with.
struct Known {
    image: Image,
    stamp: String,
}

/// The image that the name meant, if it is whole and made for the wanted platform.
fn known(store: &Store, reference: &Reference, options: &FetchOptions) -> Result<Option<Known>> {
    let Some(name) = NameRecord::read(store.dir(), &reference.file_name())? else {
        return Ok(None);
    };
    let record = match Record::read(store.dir(), &name.image) {
        Ok(record) => record,
        Err(e) if e.kind() == Kind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let image = record.into_image(name.reference.clone(), vec![name.reference]);
    let fits = manifest::check_platform(&options.platform, &image.platform());
    match (fits, options.policy) {
        (Err(e), PullPolicy::Never) => return Err(e),
        (Err(_), _) => return Ok(None),
        (Ok(()), _) => {}
    }
    Ok(complete(store.dir(), &image)?.then_some(Known {
        image,
        stamp: name.stamp,
    }))
}

/// Whether the top chain is there: chains are made last, from the bottom up.
fn complete(dir: &Path, image: &Image) -> Result<bool> {
    match image.chains.last() {
        Some(top) => layer::has_chain(dir, &layer::ChainId::from_digest(top.clone())),
        None => Ok(false),
    }
}

/// Whether the store's image may be used, and who said so.
fn still_good(
    known: &Known,
    reference: &Reference,
    options: &FetchOptions,
    events: Events<'_>,
) -> Result<Option<Origin>> {
    let stamp = match reference {
        Reference::Registry(name) => {
            // A digest cannot mean anything else tomorrow.
            if options.policy == PullPolicy::New || name.digest.is_some() {
                return Ok(Some(Origin::Store));
            }
            events(Event::Resolving {
                reference: &known.image.name,
            });
            let registry = Registry::new(name, &options.network, events)?;
            Some(registry.current()?.to_string())
        }
        Reference::Builtin(name) => Some(builtin::stamp(find_builtin(options, name)?)),
        _ => local::stamp(reference)?,
    };
    Ok(
        (stamp.as_deref() == Some(known.stamp.as_str())).then_some(match reference {
            Reference::Registry(_) => Origin::Unchanged,
            _ => Origin::Store,
        }),
    )
}

fn used(image: Image, reference: &str, from: Origin, events: Events<'_>) -> Image {
    events(Event::Using {
        reference,
        image: &image.id,
        from,
    });
    image
}

fn missing(name: &str) -> Error {
    Error::new(
        Kind::NotFound,
        format!("there is no image `{name}` in the store"),
    )
    .hint("`rkt image list` shows what there is")
}

fn find_builtin<'a>(options: &'a FetchOptions, name: &str) -> Result<&'a Builtin> {
    options
        .builtins
        .iter()
        .find(|b| b.name == name)
        .ok_or_else(|| {
            let there: Vec<String> = options
                .builtins
                .iter()
                .map(|b| format!("`builtin:{}`", b.name))
                .collect();
            Error::new(
                Kind::NotFound,
                match there.is_empty() {
                    true => "this rkt has no built-in images".to_owned(),
                    false => format!("there is no such image in rkt, only {}", there.join(", ")),
                },
            )
        })
}

fn source<'a>(
    reference: &'a Reference,
    options: &'a FetchOptions,
    scratch: &Path,
    events: Events<'a>,
) -> Result<Box<dyn Source + 'a>> {
    let stamp = local::stamp(reference)?.unwrap_or_default();
    match reference {
        Reference::Registry(name) => Ok(Box::new(Registry::new(name, &options.network, events)?)),
        Reference::Layout(name) => local::layout(name, stamp),
        Reference::OciArchive(name) => local::oci_archive(name, stamp, scratch, events),
        Reference::DockerArchive(name) => local::docker_archive(name, stamp, scratch, events),
        Reference::Builtin(name) => Ok(Box::new(BuiltinSource::new(find_builtin(options, name)?)?)),
        Reference::Id(_)
        | Reference::AciId(_)
        | Reference::AciFile(_)
        | Reference::AciUrl(_)
        | Reference::App(_) => Err(missing(&reference.canonical())),
    }
}

fn fetch(
    store: &Store,
    reference: &Reference,
    options: &FetchOptions,
    events: Events<'_>,
) -> Result<Image> {
    let dir = store.dir();
    let source = source(reference, options, dir, events)?;
    let candidate = source.candidate(&options.platform)?;
    // Before the first layer: what nobody accepts is not fetched.
    let proof = trust::judge(reference, &candidate.stamp, None, options, events)?;
    for note in &candidate.notes {
        events(Event::Message(note));
    }
    let mut bytes = Some(0_u64);
    for layer in &candidate.layers {
        bytes = bytes.zip(layer.size).and_then(|(a, b)| a.checked_add(b));
    }
    events(Event::Resolved {
        image: &candidate.id,
        layers: candidate.layers.len(),
        bytes,
    });
    let interrupt = Interrupt::block(&options.stop_signals)?;
    let (size, fresh) = layers::bring(
        dir,
        source.as_ref(),
        &candidate.layers,
        options,
        events,
        &interrupt,
    )?;
    let diffs: Vec<Digest> = candidate.layers.iter().map(|l| l.diff.clone()).collect();
    let chains = layer::commit_chain(dir, &options.layer_program, &options.limits, &diffs)
        .doing(|| "put its layers on top of each other".into())?;
    for (digest, bytes) in &candidate.blobs {
        blob::put(dir, digest, bytes)?;
    }
    interrupt.check()?;
    let mut record = record(&candidate, size);
    record.proof = proof;
    record.chains = chains.into_iter().map(|c| c.digest().clone()).collect();
    let known = Record::path(dir, &candidate.id).exists();
    record.write(dir)?;
    let name = reference.canonical();
    NameRecord {
        reference: name.clone(),
        image: candidate.id.clone(),
        stamp: candidate.stamp.clone(),
        fetched_at: record.fetched_at,
    }
    .write(dir, &reference.file_name())?;
    let from = match known && fresh == 0 {
        true => Origin::Unchanged,
        false => Origin::Source,
    };
    let image = record.into_image(name.clone(), vec![name.clone()]);
    Ok(used(image, &name, from, events))
}

fn record(candidate: &Candidate, bytes: u64) -> Record {
    let layers: Vec<Digest> = candidate.layers.iter().map(|l| l.diff.clone()).collect();
    Record {
        version: 1,
        id: candidate.id.clone(),
        manifest: candidate.manifest.clone(),
        config: candidate.config.clone(),
        chains: layer::chain_ids(&layers)
            .into_iter()
            .map(|c| c.digest().clone())
            .collect(),
        layers,
        bytes,
        fetched_at: disk::now(),
        last_used: disk::now(),
        pinned: false,
        aci: None,
        proof: Proof::Accepted,
    }
}
