//! `docker save`: `manifest.json`, a configuration, and layers by path.
//!
//! Docker 25 and later write an OCI layout into the same file; `manifest.json` is what all of
//! them have, so it is what is read. Layers have no digest of their own there: they are
//! checked by their diff ids, which the configuration names and whose hash is the image's id.

use super::Tar;
use crate::blob::SMALL;
use crate::disk;
use crate::error::{Doing, Error, Kind, Result};
use crate::oci::{self, Files, check_named, quoted};
use crate::platform::Platform;
use crate::reference::{HUB, Reference};
use crate::source::{self, Candidate, Layer, Source};
use serde::Deserialize;
use std::io::Write;

/// A docker archive and which of its images.
pub(crate) struct DockerArchive {
    pub(crate) tar: Tar,
    pub(crate) tag: Option<String>,
    pub(crate) stamp: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

impl DockerArchive {
    fn small(&self, path: &str) -> Result<Vec<u8>> {
        let (file, size) = self.tar.open(path)?;
        if size > SMALL {
            return Err(Error::new(
                Kind::TooLarge,
                format!("`{}` is larger than {SMALL} bytes", path.escape_debug()),
            ));
        }
        disk::read_limited(file, SMALL)
    }

    fn entry(&self) -> Result<Entry> {
        let bytes = self.small("manifest.json").map_err(|e| {
            if e.kind() != Kind::NotFound {
                return e;
            }
            let error = Error::new(
                Kind::Corrupt,
                "it has no `manifest.json`, so no docker wrote it",
            );
            if self.tar.has("oci-layout") {
                error.hint("it is an OCI layout: write `oci-archive:` instead of `docker-archive:`")
            } else {
                error
            }
        })?;
        let entries: Vec<Entry> = serde_json::from_slice(&bytes).map_err(|e| {
            Error::new(
                Kind::Corrupt,
                format!("`manifest.json` is not readable: {e}"),
            )
        })?;
        let names: Vec<String> = entries
            .iter()
            .flat_map(|e| e.repo_tags.clone().unwrap_or_default())
            .collect();
        let several = entries.len() > 1;
        let list = quoted(names.iter().map(String::as_str));
        match &self.tag {
            Some(tag) => entries
                .into_iter()
                .find(|e| {
                    e.repo_tags
                        .iter()
                        .flatten()
                        .any(|name| same_name(name, tag))
                })
                .ok_or_else(|| {
                    Error::new(
                        Kind::NotFound,
                        if list.is_empty() {
                            format!("there is no image `{tag}`; the one that is there has no name")
                        } else {
                            format!("there is no image `{tag}`, but {list}")
                        },
                    )
                }),
            None if several => Err(Error::new(
                Kind::Ambiguous,
                format!("there are several images: {list}"),
            )
            .hint("add `:` and one of these names")),
            None => entries
                .into_iter()
                .next()
                .ok_or_else(|| Error::new(Kind::NotFound, "there is no image in it")),
        }
    }
}

/// Whether two names are one when both are written out; a lone tag is enough.
fn same_name(name: &str, wanted: &str) -> bool {
    let whole = |text: &str| Reference::parse(text, HUB).ok().map(|r| r.canonical());
    name == wanted
        || name.rsplit_once(':').is_some_and(|(_, tag)| tag == wanted)
        || (whole(name).is_some() && whole(name) == whole(wanted))
}

impl Source for DockerArchive {
    fn candidate(&self, platform: &Platform) -> Result<Candidate> {
        let entry = self.entry().doing(|| "read `manifest.json`".into())?;
        let what = || format!("read configuration `{}`", entry.config.escape_debug());
        let bytes = self.small(&entry.config).doing(what)?;
        check_named(&entry.config, &bytes).doing(what)?;
        let layers = entry
            .layers
            .unwrap_or_default()
            .into_iter()
            .map(|path| {
                let (_, size) = self.tar.open(&path)?;
                Ok((None, Some(size), path))
            })
            .collect::<Result<Vec<_>>>()?;
        source::candidate_of(bytes, layers, self.stamp.clone(), platform)
            .doing(|| "read its configuration".into())
    }

    fn stream(&self, layer: &Layer, sink: &mut dyn Write) -> Result<()> {
        let (file, _) = self.tar.open(&layer.path)?;
        oci::copy(file, sink)
    }
}
