//! What every source of images has in common: documents by digest, then layers as streams.

use crate::blob;
use crate::config;
use crate::error::{Doing, Error, Kind, Result};
use crate::manifest::{self, Blob, Document, Manifest};
use crate::platform::Platform;
use rkt_spec::Digest;
use rkt_spec::digest::Algorithm;
use rkt_spec::image::ImageConfig;
use std::collections::BTreeSet;
use std::io::Write;

/// A registry, a layout, an archive, or the program itself.
pub(crate) trait Source: Sync {
    /// Finds the image for a platform: everything but its layers.
    fn candidate(&self, platform: &Platform) -> Result<Candidate>;

    /// Makes streams that wait for others end soon, with any error. From another thread.
    fn interrupt(&self) {}

    /// Streams one layer as it is, compressed or not. The caller checks size and digest.
    fn stream(&self, layer: &Layer, sink: &mut dyn Write) -> Result<()>;

    /// The place that answers gives wrong bytes; whether there is another one to ask.
    fn distrust(&self) -> bool {
        false
    }

    /// Whether a layer takes time, and [`Source::stream_from`] can begin in its middle.
    fn resumes(&self) -> bool {
        false
    }

    /// As [`Source::stream`], without the first `from` bytes.
    fn stream_from(&self, layer: &Layer, from: u64, sink: &mut dyn Write) -> Result<()> {
        match from {
            0 => self.stream(layer, sink),
            _ => Err(Error::new(
                Kind::System,
                "this source gives its layers only as a whole",
            )),
        }
    }
}

/// An image that a source has, checked but for its layers.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// SHA-256 of the configuration.
    pub(crate) id: Digest,
    /// Small blobs to keep: configuration, and the manifest when there is one.
    pub(crate) blobs: Vec<(Digest, Vec<u8>)>,
    pub(crate) manifest: Option<Digest>,
    /// What the source calls this state of the name; the same stamp means the same image.
    pub(crate) stamp: String,
    pub(crate) config: ImageConfig,
    /// Base first.
    pub(crate) layers: Vec<Layer>,
    /// What was passed over in the configuration.
    pub(crate) notes: Vec<String>,
}

/// One layer at its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layer {
    /// SHA-256 of the uncompressed tar, as the configuration says.
    pub(crate) diff: Digest,
    /// Digest of the bytes as they come; `None` in docker archives.
    pub(crate) blob: Option<Digest>,
    /// Bytes as they come.
    pub(crate) size: Option<u64>,
    /// Path in an archive; empty elsewhere.
    pub(crate) path: String,
    /// Addresses outside the registry, for layers that must not be in one.
    pub(crate) urls: Vec<String>,
}

/// Small documents of a source, each checked against its digest and size.
pub(crate) trait Documents {
    /// A manifest or an index.
    fn manifest(&self, blob: &Blob) -> Result<Vec<u8>>;
    /// A configuration.
    fn config(&self, blob: &Blob) -> Result<Vec<u8>>;
}

/// Refuses what is too large to be a document before it is read.
pub(crate) fn check_small(blob: &Blob) -> Result<()> {
    if blob.size <= blob::SMALL {
        return Ok(());
    }
    Err(Error::new(
        Kind::TooLarge,
        format!(
            "`{}` has {} bytes; manifests and configurations end at {}",
            blob.digest.short(),
            blob.size,
            blob::SMALL
        ),
    ))
}

/// Refuses bytes that are not what a descriptor says.
pub(crate) fn check_document(blob: &Blob, bytes: &[u8]) -> Result<()> {
    if u64::try_from(bytes.len()).is_ok_and(|n| n == blob.size) {
        return blob::check(&blob.digest, bytes);
    }
    Err(Error::new(
        Kind::Corrupt,
        format!(
            "`{}` should have {} bytes and has {}",
            blob.digest.short(),
            blob.size,
            bytes.len()
        ),
    ))
}

/// Deepest index in an index.
const DEEPEST: usize = 3;

/// A chosen manifest with its own bytes.
pub(crate) struct Chosen {
    pub(crate) manifest: Manifest,
    pub(crate) digest: Digest,
    pub(crate) bytes: Vec<u8>,
}

/// Walks from the first document to the image for `platform`.
pub(crate) fn choose(
    documents: &dyn Documents,
    bytes: Vec<u8>,
    content_type: Option<&str>,
    digest: Digest,
    platform: &Platform,
) -> Result<Chosen> {
    match manifest::read(&bytes, content_type)
        .doing(|| format!("read manifest `{}`", digest.short()))?
    {
        Document::Image(manifest) => Ok(Chosen {
            manifest,
            digest,
            bytes,
        }),
        Document::Index(entries) => choose_entry(documents, &entries, platform),
    }
}

/// Chooses among the lines of an index, and looks into the indexes inside it.
pub(crate) fn choose_entry(
    documents: &dyn Documents,
    entries: &[manifest::Entry],
    platform: &Platform,
) -> Result<Chosen> {
    let mut there = BTreeSet::new();
    let mut level = vec![entries.to_vec()];
    // Each index is asked once, so a ring of them ends; the depth bounds the requests.
    let mut asked = BTreeSet::new();
    for _ in 0..=DEEPEST {
        let mut next = Vec::new();
        for entries in &level {
            let choice = manifest::choose(entries, platform);
            there.extend(choice.there);
            if let Some(entry) = choice.image {
                return load(documents, &entry.blob, platform);
            }
            for index in choice.indexes {
                if asked.len() < 32 && asked.insert(index.blob.digest.clone()) {
                    let what = || format!("read index `{}`", index.blob.digest.short());
                    let bytes = documents.manifest(&index.blob).doing(what)?;
                    match manifest::read(&bytes, Some(&index.blob.media_type)).doing(what)? {
                        Document::Index(entries) => next.push(entries),
                        Document::Image(_) => {}
                    }
                }
            }
        }
        level = next;
    }
    Err(manifest::wrong_platform(
        platform,
        there.iter().map(String::as_str),
    ))
}

fn load(documents: &dyn Documents, blob: &Blob, platform: &Platform) -> Result<Chosen> {
    let bytes = documents
        .manifest(blob)
        .doing(|| format!("read manifest `{}`", blob.digest.short()))?;
    let content_type = (!blob.media_type.is_empty()).then_some(blob.media_type.as_str());
    match manifest::read(&bytes, content_type)
        .doing(|| format!("read manifest `{}`", blob.digest.short()))?
    {
        Document::Image(manifest) => Ok(Chosen {
            manifest,
            digest: blob.digest.clone(),
            bytes,
        }),
        Document::Index(_) => Err(manifest::wrong_platform(platform, [])),
    }
}

/// Reads the configuration of a chosen manifest and fits the layers to it.
pub(crate) fn assemble(
    documents: &dyn Documents,
    chosen: Chosen,
    stamp: String,
    platform: &Platform,
) -> Result<Candidate> {
    let what = || {
        format!(
            "read configuration `{}`",
            chosen.manifest.config.digest.short()
        )
    };
    let bytes = documents.config(&chosen.manifest.config).doing(what)?;
    let layers = chosen
        .manifest
        .layers
        .iter()
        .map(|layer| (Some(layer.digest.clone()), Some(layer.size), String::new()))
        .collect();
    let mut candidate = candidate_of(bytes, layers, stamp, platform).doing(what)?;
    for (layer, blob) in candidate.layers.iter_mut().zip(chosen.manifest.layers) {
        layer.urls = blob.urls;
    }
    candidate.manifest = Some(chosen.digest.clone());
    candidate.blobs.push((chosen.digest, chosen.bytes));
    Ok(candidate)
}

/// Makes a candidate from the bytes of a configuration and its layers, base first.
pub(crate) fn candidate_of(
    bytes: Vec<u8>,
    layers: Vec<(Option<Digest>, Option<u64>, String)>,
    stamp: String,
    platform: &Platform,
) -> Result<Candidate> {
    let read = config::read(&bytes)?;
    manifest::check_platform(
        platform,
        &Platform {
            os: read.config.os.clone(),
            architecture: read.config.architecture.clone(),
            variant: read.config.variant.clone(),
        },
    )?;
    if read.diff_ids.len() != layers.len() {
        return Err(Error::new(
            Kind::Corrupt,
            format!(
                "it speaks of {} layers, the manifest of {}",
                read.diff_ids.len(),
                layers.len()
            ),
        ));
    }
    if layers.is_empty() {
        return Err(Error::new(Kind::Unsupported, "the image has no layers"));
    }
    if read
        .diff_ids
        .iter()
        .any(|d| d.algorithm() != Algorithm::Sha256)
    {
        return Err(Error::new(
            Kind::Unsupported,
            "its layers are not named by SHA-256",
        ));
    }
    let id = blob::sha256(&bytes);
    Ok(Candidate {
        blobs: vec![(id.clone(), bytes)],
        id,
        manifest: None,
        stamp,
        config: read.config,
        layers: read
            .diff_ids
            .into_iter()
            .zip(layers)
            .map(|(diff, (blob, size, path))| Layer {
                diff,
                blob,
                size,
                path,
                urls: Vec::new(),
            })
            .collect(),
        notes: read.notes,
    })
}
