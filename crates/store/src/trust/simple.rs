//! Simple signing: OpenPGP messages that say which digest an image's name has, kept at a
//! *lookaside*, a directory or a server of files beside the registry.
//!
//! Source: containers/image, "Atomic signature format" and `registries.d`: the files are
//! `LOOKASIDE/REPOSITORY@sha256=HEX/signature-N`, N from 1 until one is not there.

use super::Proof;
use super::openpgp::{Key, MAX_SIGNATURE, Message};
use crate::disk;
use crate::error::{Doing, Error, Kind, Result};
use crate::options::Network;
use crate::reference::RegistryName;
use crate::registry::web::{From, Web};
use rkt_spec::Digest;
use serde::Deserialize;
use std::fs::File;
use std::path::PathBuf;

/// Most signatures of one image that are looked at.
const MOST: usize = 16;

/// Where the signatures of images are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lookaside {
    Dir(PathBuf),
    Url(String),
}

/// What the signatures of an image came to.
pub(super) enum Found {
    None,
    /// There are some, and none counts: why the first does not.
    Others(Error),
    Proof(Proof),
}

// A signer who put more into the critical part meant something by it: unknown words are refused.
#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    #[serde(rename = "type")]
    kind: String,
    image: Image,
    identity: Identity,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

impl Lookaside {
    /// Reads `file:///DIR` or `https://HOST/PATH`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("file://").filter(|p| p.starts_with('/')) {
            return Ok(Self::Dir(PathBuf::from(path)));
        }
        let rest = text.strip_prefix("https://").unwrap_or("");
        if rest.is_empty() || rest.contains(['?', '#', '@']) {
            return Err(Error::new(
                Kind::Corrupt,
                format!(
                    "`{}` is no lookaside: needs `file:///DIR` or `https://HOST/PATH`",
                    text.escape_debug()
                ),
            ));
        }
        Ok(Self::Url(text.trim_end_matches('/').to_owned()))
    }

    /// The signature of this number; `None` when there is none.
    fn signature(&self, web: &Web, place: &str) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Dir(dir) => {
                let path = dir.join(place);
                let doing = || format!("read signature `{}`", path.display());
                let file = match File::open(&path) {
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                    other => other.doing(doing)?,
                };
                disk::read_limited(file, MAX_SIGNATURE)
                    .doing(doing)
                    .map(Some)
            }
            Self::Url(url) => {
                let url = format!("{url}/{place}");
                let doing = || format!("fetch signature `{url}`");
                let answer = web.get(&url, &From::default()).doing(doing)?;
                match answer.status {
                    200 => disk::read_limited(answer.body, MAX_SIGNATURE)
                        .doing(doing)
                        .map(Some),
                    404 => Ok(None),
                    status => Err(Error::new(
                        Kind::Refused,
                        format!("the server answers with status {status}"),
                    ))
                    .doing(doing),
                }
            }
        }
    }
}

/// Looks for a signature by one of the keys that says that `name` is `digest`.
///
/// # Errors
/// When the lookaside cannot be read or reached.
pub(super) fn find(
    name: &RegistryName,
    digest: &Digest,
    lookaside: &Lookaside,
    keys: &[Key],
    network: &Network,
) -> Result<Found> {
    let web = Web::new(network);
    let mut first = None;
    for number in 1..=MOST {
        let place = format!(
            "{}@{}={}/signature-{number}",
            name.repository,
            digest.algorithm().as_str(),
            digest.hex()
        );
        let Some(bytes) = lookaside.signature(&web, &place)? else {
            break;
        };
        match check(&bytes, name, digest, keys) {
            Ok(proof) => return Ok(Found::Proof(proof)),
            Err(e) => {
                first.get_or_insert(e);
            }
        }
    }
    Ok(first.map_or(Found::None, Found::Others))
}

fn check(bytes: &[u8], name: &RegistryName, digest: &Digest, keys: &[Key]) -> Result<Proof> {
    let message = Message::read(bytes)?;
    // First the signature, then what it is over: strangers' JSON is not looked at.
    let by = message
        .signature
        .signer(keys, disk::now())?
        .prove(message.data.as_slice())?;
    let untrusted = |why: String| Error::new(Kind::Untrusted, why);
    let Payload { critical } = serde_json::from_slice(&message.data)
        .map_err(|e| untrusted(format!("what `{by}` has signed is not about an image: {e}")))?;
    if critical.kind != "atomic container signature" {
        return Err(untrusted(format!(
            "what `{by}` has signed is a `{}`",
            critical.kind.escape_debug()
        )));
    }
    if critical.image.digest != digest.to_string() {
        return Err(untrusted(format!(
            "`{by}` has signed another image: `{}`",
            critical.image.digest.escape_debug()
        )));
    }
    let reference = critical.identity.reference;
    if !is_name(&reference, name) {
        return Err(untrusted(format!(
            "`{by}` has signed it as `{}`",
            reference.escape_debug()
        )));
    }
    Ok(Proof::SimpleSigned {
        by,
        reference,
        digest: digest.to_string(),
    })
}

/// Whether a signed name is the one that was asked for: its tag too, but where a digest was
/// asked for, which no tag can change.
pub(super) fn is_name(signed: &str, asked: &RegistryName) -> bool {
    let Some(rest) = signed.strip_prefix(asked.place().as_str()) else {
        return false;
    };
    match &asked.digest {
        Some(_) => rest.is_empty() || rest.starts_with([':', '@']),
        None => rest.strip_prefix(':') == asked.tag.as_deref(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::Reference;

    #[test]
    fn a_signed_name_is_the_whole_name() {
        let hex = "0a".repeat(32);
        let pinned = format!("quay.io/a/b@sha256:{hex}");
        for (signed, asked, want) in [
            ("quay.io/a/b:1", "quay.io/a/b:1", true),
            ("quay.io/a/b:1", "quay.io/a/b:2", false),
            ("quay.io/a/b", "quay.io/a/b:1", false),
            ("quay.io/a/b:latest", "quay.io/a/b", true),
            ("quay.io/a/bc:1", "quay.io/a/b:1", false),
            ("evil.io/a/b:1", "quay.io/a/b:1", false),
            ("docker.io/library/redis:7", "redis:7", true),
            ("quay.io/a/b:1", pinned.as_str(), true),
            ("quay.io/a/b", pinned.as_str(), true),
            ("quay.io/a/bc", pinned.as_str(), false),
        ] {
            let Ok(Reference::Registry(asked)) = Reference::parse(asked, "docker.io") else {
                panic!("{asked}")
            };
            assert_eq!(is_name(signed, &asked), want, "{signed} {asked}");
        }
    }

    #[test]
    fn a_lookaside_is_a_directory_or_a_server_over_tls() {
        for good in ["file:///var/lib/signatures", "https://sigs.example/x/"] {
            assert!(Lookaside::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "file://x",
            "http://x/",
            "https://",
            "https://u:p@x/",
            "https://x/?y",
            "/x",
        ] {
            assert!(Lookaside::parse(bad).is_err(), "{bad}");
        }
    }
}
