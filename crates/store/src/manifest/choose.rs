//! Which image of an index is the one for a platform.

use super::{DOCKER_LIST, DOCKER_MANIFEST, Entry, OCI_INDEX, OCI_MANIFEST};
use crate::error::{Error, Kind, Result};
use crate::platform::Platform;
use std::collections::BTreeSet;

/// What to fetch next, best first. An index without a platform may hold the one we want.
#[derive(Debug)]
pub(crate) struct Choice {
    /// The image that fits best, if one says that it fits.
    pub(crate) image: Option<Entry>,
    /// Indexes inside, to look into when no image fits.
    pub(crate) indexes: Vec<Entry>,
    /// All platforms that the index names, for the error.
    pub(crate) there: BTreeSet<String>,
}

/// Chooses; entries of unknown types and attestations are passed over, as the spec asks.
pub(crate) fn choose(entries: &[Entry], wanted: &Platform) -> Choice {
    let mut choice = Choice {
        image: None,
        indexes: Vec::new(),
        there: BTreeSet::new(),
    };
    let mut nameless = Vec::new();
    let mut best: Option<(u32, &Entry)> = None;
    for entry in entries {
        let is_index = matches!(entry.blob.media_type.as_str(), OCI_INDEX | DOCKER_LIST);
        let is_image = matches!(
            entry.blob.media_type.as_str(),
            OCI_MANIFEST | DOCKER_MANIFEST
        );
        if !(is_index || is_image) || is_attestation(entry) {
            continue;
        }
        match &entry.platform {
            None if is_index => choice.indexes.push(entry.clone()),
            None => nameless.push(entry),
            Some(platform) => {
                choice.there.insert(platform.to_string());
                if entry.special {
                    continue;
                }
                let Some(distance) = wanted.distance(platform) else {
                    continue;
                };
                if is_index {
                    choice.indexes.push(entry.clone());
                } else if best.is_none_or(|(old, _)| distance < old) {
                    best = Some((distance, entry));
                }
            }
        }
    }
    choice.image = best.map(|(_, entry)| entry.clone());
    // A lone image without a platform: its configuration will say what it is for.
    if let ([lone], None, true) = (nameless.as_slice(), &choice.image, choice.there.is_empty())
        && choice.indexes.is_empty()
    {
        choice.image = Some((*lone).clone());
    }
    choice
}

/// Buildkit keeps its attestations among the images, for the platform `unknown/unknown`.
fn is_attestation(entry: &Entry) -> bool {
    entry.annotations.contains_key("vnd.docker.reference.type")
        || entry
            .platform
            .as_ref()
            .is_some_and(|p| p.os == "unknown" && p.architecture == "unknown")
}

/// The error for an index, or an image, that has nothing for us.
pub(crate) fn wrong_platform<'a>(
    wanted: &Platform,
    there: impl IntoIterator<Item = &'a str>,
) -> Error {
    let list: Vec<String> = there
        .into_iter()
        .take(32)
        .map(|p| format!("`{}`", p.escape_debug()))
        .collect();
    if list.is_empty() {
        return Error::new(
            Kind::WrongPlatform,
            format!("the image is not made for `{wanted}`; it has no image at all"),
        );
    }
    Error::new(
        Kind::WrongPlatform,
        format!(
            "the image is not made for `{wanted}`; it has {}",
            list.join(", ")
        ),
    )
    .hint("`--arch` asks for another one, which runs here only if the host has an emulator for it")
}

/// Refuses an image whose own configuration says another platform. Empty words are not held
/// against it: old images lack them.
pub(crate) fn check(wanted: &Platform, own: &Platform) -> Result<()> {
    let filled = Platform {
        os: fill(&own.os, &wanted.os),
        architecture: fill(&own.architecture, &wanted.architecture),
        variant: own.variant.clone(),
    };
    match wanted.distance(&filled) {
        Some(_) => Ok(()),
        None => Err(wrong_platform(wanted, [filled.to_string().as_str()])),
    }
}

fn fill(own: &str, wanted: &str) -> String {
    if own.is_empty() { wanted } else { own }.to_owned()
}
