//! Manifests and indexes of OCI and docker: read with doubt, chosen by platform.
//!
//! A document is what both its Content-Type and its own `mediaType` say, and it must not look
//! like the other kind as well (CVE-2021-41190). Sources: OCI image-spec 1.1, docker's image
//! manifest v2 schema 2.

mod choose;

pub(crate) use choose::{check as check_platform, choose, wrong_platform};

use crate::error::{Error, Kind, Result};
use crate::platform::Platform;
use rkt_spec::Digest;
use serde::Deserialize;
use std::collections::BTreeMap;

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// Most layers of one image: overlayfs ends at 500.
const MOST_LAYERS: usize = 500;

const LAYER_TYPES: [&str; 10] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
];

/// One JSON document of a registry or layout.
#[derive(Debug)]
pub(crate) enum Document {
    /// Several images to choose from.
    Index(Vec<Entry>),
    /// One image.
    Image(Manifest),
}

/// One image: its configuration and its layers, base first.
#[derive(Debug)]
pub(crate) struct Manifest {
    pub(crate) config: Blob,
    pub(crate) layers: Vec<Blob>,
}

/// Something to fetch: its size and digest are checked while it flows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// Where else it is said to be; empty nearly always.
    pub(crate) urls: Vec<String>,
}

/// One line of an index.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) blob: Blob,
    pub(crate) platform: Option<Platform>,
    /// It asks for features of the system, by names that we do not know.
    pub(crate) special: bool,
    pub(crate) annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    #[serde(default)]
    schema_version: Option<u64>,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<Vec<RawDescriptor>>,
    #[serde(default)]
    config: Option<RawDescriptor>,
    #[serde(default)]
    layers: Option<Vec<RawDescriptor>>,
    /// Only schema 1 has it.
    #[serde(default)]
    fs_layers: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    artifact_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default)]
    media_type: Option<String>,
    digest: String,
    size: i64,
    #[serde(default)]
    urls: Option<Vec<String>>,
    #[serde(default)]
    platform: Option<RawPlatform>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct RawPlatform {
    #[serde(default)]
    os: Option<String>,
    #[serde(default)]
    architecture: Option<String>,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default, rename = "os.features")]
    features: Option<Vec<String>>,
}

fn corrupt(because: impl Into<String>) -> Error {
    Error::new(Kind::Corrupt, because)
}

impl Blob {
    fn read(raw: &RawDescriptor) -> Result<Self> {
        Ok(Self {
            media_type: raw.media_type.clone().unwrap_or_default(),
            digest: Digest::new(&raw.digest)?,
            size: u64::try_from(raw.size)
                .map_err(|_| corrupt(format!("blob `{}` has a negative size", raw.digest)))?,
            urls: raw.urls.clone().unwrap_or_default(),
        })
    }
}

/// Reads a document. `content_type` is what the server called it, without parameters; `None`
/// for files.
pub(crate) fn read(bytes: &[u8], content_type: Option<&str>) -> Result<Document> {
    let raw: RawDocument = serde_json::from_slice(bytes)
        .map_err(|e| corrupt(format!("the manifest is not readable: {e}")))?;
    let claims = [content_type, raw.media_type.as_deref()];
    if raw.schema_version == Some(1)
        || raw.fs_layers.is_some()
        || claims
            .iter()
            .flatten()
            .any(|t| t.starts_with("application/vnd.docker.distribution.manifest.v1+"))
    {
        return Err(Error::new(
            Kind::Unsupported,
            "the image is of docker's schema 1, which ended in 2017",
        )
        .hint("push it again with a newer docker, or convert it with `skopeo copy --format=oci`"));
    }
    if raw.schema_version.is_some_and(|v| v != 2) {
        return Err(Error::new(
            Kind::Unsupported,
            "the manifest is of a schema that is not known",
        ));
    }
    let claims: Vec<Claim> = claims.iter().flatten().filter_map(|t| claim(t)).collect();
    let is_index = raw.manifests.is_some();
    let is_image = raw.config.is_some() || raw.layers.is_some();
    if is_index && is_image {
        return Err(corrupt(
            "the document is an index and an image at once (CVE-2021-41190)",
        ));
    }
    let shape = if is_index { Claim::Index } else { Claim::Image };
    if claims.iter().any(|c| *c != shape) || !(is_index || is_image) {
        return Err(corrupt(format!(
            "the document is not what it is called: `{}`",
            content_type
                .or(raw.media_type.as_deref())
                .unwrap_or("application/json")
                .escape_debug()
        )));
    }
    if let (Some(content), Some(own)) = (content_type, raw.media_type.as_deref())
        && claim(content).is_some()
        && content != own
    {
        return Err(corrupt(format!(
            "the server calls the manifest `{}`, it calls itself `{}`",
            content.escape_debug(),
            own.escape_debug()
        )));
    }
    if is_index {
        let entries = raw.manifests.unwrap_or_default();
        return Ok(Document::Index(
            entries
                .into_iter()
                .map(entry)
                .collect::<Result<Vec<Entry>>>()?,
        ));
    }
    image(raw).map(Document::Image)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    Index,
    Image,
}

fn claim(media_type: &str) -> Option<Claim> {
    match media_type {
        OCI_INDEX | DOCKER_LIST => Some(Claim::Index),
        OCI_MANIFEST | DOCKER_MANIFEST => Some(Claim::Image),
        _ => None,
    }
}

fn entry(raw: RawDescriptor) -> Result<Entry> {
    let blob = Blob::read(&raw)?;
    let special = raw
        .platform
        .as_ref()
        .and_then(|p| p.features.as_ref())
        .is_some_and(|f| !f.is_empty());
    Ok(Entry {
        blob,
        platform: raw.platform.and_then(|p| {
            Some(Platform {
                os: p.os?,
                architecture: p.architecture?,
                variant: p.variant.unwrap_or_default(),
            })
        }),
        special,
        annotations: raw.annotations.unwrap_or_default(),
    })
}

fn image(raw: RawDocument) -> Result<Manifest> {
    let config = Blob::read(
        raw.config
            .as_ref()
            .ok_or_else(|| corrupt("the manifest has no configuration"))?,
    )?;
    let known = match config.media_type.as_str() {
        OCI_CONFIG | DOCKER_CONFIG => true,
        // The Hub once wrote these for good images.
        "application/octet-stream" | "" => raw.media_type.as_deref() == Some(DOCKER_MANIFEST),
        _ => false,
    };
    if !known {
        let what = raw.artifact_type.as_deref().unwrap_or(&config.media_type);
        return Err(Error::new(
            Kind::Unsupported,
            format!("it is not an image, but `{}`", what.escape_debug()),
        ));
    }
    let layers = raw
        .layers
        .unwrap_or_default()
        .iter()
        .map(Blob::read)
        .collect::<Result<Vec<_>>>()?;
    if layers.len() > MOST_LAYERS {
        return Err(Error::new(
            Kind::TooLarge,
            format!("the image has more than {MOST_LAYERS} layers"),
        ));
    }
    for layer in &layers {
        if !LAYER_TYPES.contains(&layer.media_type.as_str()) {
            return Err(Error::new(
                Kind::Unsupported,
                format!(
                    "layer `{}` is of type `{}`",
                    layer.digest.short(),
                    layer.media_type.escape_debug()
                ),
            ));
        }
    }
    Ok(Manifest { config, layers })
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
