//! What an image of a registry or a file has to show, by its name: `policy.d/*.toml`.
//!
//! ```toml
//! [[policy]]
//! prefix = "quay.io/team"        # whole parts of a name; "" is for all
//! verdict = "signed-by"          # or accept, digest-pinned, refuse
//! keys = ["team.pub"]            # of cosign, or of OpenPGP; relative to the file's directory
//! lookaside = "file:///srv/sigs" # where signatures by the OpenPGP keys are
//! ```
//!
//! The longest prefix that fits decides; without one, images are accepted. A later configuration
//! directory overrides an earlier one prefix by prefix. Images that are part of rkt are exempt.

use super::simple::{self, Found, Lookaside};
use super::{Proof, cosign, openpgp};
use crate::disk;
use crate::error::{Doing, Error, Kind, Result};
use crate::event::{Event, Events};
use crate::options::FetchOptions;
use crate::reference::{Reference, RegistryName};
use crate::registry::Registry;
use rkt_spec::Digest;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Largest file of policies, bytes.
const MAX_FILE: u64 = 1 << 20;

/// All rules, by prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policies(BTreeMap<String, Rule>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Accept,
    DigestPinned,
    SignedBy {
        keys: Vec<PathBuf>,
        lookaside: Option<Lookaside>,
    },
    Refuse,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    policy: Vec<RawPolicy>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    prefix: String,
    verdict: RawVerdict,
    #[serde(default)]
    keys: Vec<PathBuf>,
    #[serde(default)]
    lookaside: Option<String>,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum RawVerdict {
    Accept,
    DigestPinned,
    SignedBy,
    Refuse,
}

impl Policies {
    /// Reads `policy.d/*.toml` of configuration directories, the system's first.
    ///
    /// # Errors
    /// `Corrupt` for a file that is none, or two rules for one prefix in one directory: nobody
    /// may guess what was meant.
    pub fn read(dirs: &[PathBuf]) -> Result<Self> {
        let mut all = BTreeMap::new();
        for dir in dirs {
            let dir = dir.join("policy.d");
            let mut here = BTreeMap::new();
            for path in files(&dir)? {
                let doing = || format!("read policy `{}`", path.display());
                let bytes =
                    disk::read_limited(File::open(&path).doing(doing)?, MAX_FILE).doing(doing)?;
                for (prefix, rule) in parse(&bytes, &dir).doing(doing)? {
                    if here.insert(prefix.clone(), rule).is_some() {
                        let why = format!("there are two policies for `{}`", prefix.escape_debug());
                        return Err(Error::new(Kind::Corrupt, why)).doing(doing);
                    }
                }
            }
            all.extend(here);
        }
        Ok(Self(all))
    }

    /// Whether there is no rule: every image is accepted.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rule with the longest prefix that fits.
    fn rule(&self, place: &str) -> &Rule {
        let fits = |prefix: &str| {
            prefix.is_empty()
                || place.strip_prefix(prefix).is_some_and(|rest| {
                    rest.is_empty() || rest.starts_with(['/', ':']) || prefix.ends_with([':', '/'])
                })
        };
        self.0
            .iter()
            .filter(|(prefix, _)| fits(prefix))
            .max_by_key(|(prefix, _)| prefix.len())
            .map_or(&Rule::Accept, |(_, rule)| rule)
    }
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let doing = || format!("read directory `{}`", dir.display());
    let list = match fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.doing(doing)?,
    };
    let mut found = Vec::new();
    for entry in list {
        let path = entry.doing(doing)?.path();
        if path.extension().is_some_and(|e| e == "toml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn parse(bytes: &[u8], dir: &Path) -> Result<Vec<(String, Rule)>> {
    let bad = |why: String| Error::new(Kind::Corrupt, why);
    let text = std::str::from_utf8(bytes).map_err(|e| bad(e.to_string()))?;
    let file: RawFile = toml::from_str(text).map_err(|e| bad(e.message().to_owned()))?;
    let rules = file.policy.into_iter().map(|raw| {
        let signed = raw.verdict == RawVerdict::SignedBy;
        if signed == raw.keys.is_empty() || (raw.lookaside.is_some() && !signed) {
            let prefix = raw.prefix.escape_debug();
            return Err(bad(format!(
                "`keys` and the verdict `signed-by` of `{prefix}` need each other; `lookaside` needs both"
            )));
        }
        let rule = match raw.verdict {
            RawVerdict::Accept => Rule::Accept,
            RawVerdict::DigestPinned => Rule::DigestPinned,
            RawVerdict::SignedBy => Rule::SignedBy {
                keys: raw.keys.iter().map(|k| dir.join(k)).collect(),
                lookaside: raw.lookaside.as_deref().map(Lookaside::parse).transpose()?,
            },
            RawVerdict::Refuse => Rule::Refuse,
        };
        Ok((raw.prefix, rule))
    });
    rules.collect()
}

/// What the policy says about an image under this name. `stamp` is the digest that the name has
/// now; `known` what was proved before. Asks the registry for signatures when that is not enough.
///
/// # Errors
/// `Untrusted`, with the rule that is broken.
pub(crate) fn judge(
    reference: &Reference,
    stamp: &str,
    known: Option<&Proof>,
    options: &FetchOptions,
    events: Events<'_>,
) -> Result<Proof> {
    let place = match reference {
        Reference::Builtin(_) => return Ok(Proof::Accepted),
        Reference::Registry(name) => name.place(),
        other => other.canonical(),
    };
    let untrusted =
        |why: &str| Error::new(Kind::Untrusted, format!("the policy for `{place}` {why}"));
    match options.policies.rule(&place) {
        Rule::Accept => Ok(Proof::Accepted),
        Rule::Refuse => Err(untrusted("refuses its images")),
        Rule::DigestPinned => {
            match reference {
                Reference::Registry(name) if name.digest.is_some() => Ok(Proof::Pinned),
                _ => Err(untrusted("wants images named by their digest")
                    .hint("name it as NAME@sha256:...")),
            }
        }
        Rule::SignedBy { .. } if options.network.insecure.image => Ok(Proof::Unchecked),
        Rule::SignedBy { keys, lookaside } => {
            let keys = Keys::read(keys, lookaside.is_some())?;
            if let Some(known) = known
                && keys.still_hold(known, reference, &place, stamp)
            {
                return Ok(known.clone());
            }
            let Reference::Registry(name) = reference else {
                return Err(untrusted(
                    "wants a signature, and only images of registries have one",
                ));
            };
            let digest = match &name.digest {
                Some(digest) => digest.clone(),
                None => Digest::new(stamp).map_err(|_| {
                    untrusted("wants a signature, and this name was given on this host")
                })?,
            };
            match keys.find(name, &digest, lookaside.as_ref(), options, events)? {
                Found::Proof(proof) => {
                    events(Event::Message(&format!("{place} {proof}")));
                    Ok(proof)
                }
                Found::None => Err(untrusted("wants a signature, and there is none")),
                Found::Others(why) => Err(untrusted(&format!(
                    "wants a signature by one of its keys, and there are only others ({})",
                    why.because()
                ))),
            }
            .map_err(|e| e.hint("`--insecure-options=image` takes it without"))
        }
    }
}

/// The keys of a rule, by their kind.
struct Keys {
    cosign: Vec<cosign::Key>,
    openpgp: Vec<openpgp::Key>,
}

impl Keys {
    /// Reads all files. Without a lookaside, nobody could find what an OpenPGP key has signed.
    fn read(paths: &[PathBuf], lookaside: bool) -> Result<Self> {
        let mut keys = Self {
            cosign: Vec::new(),
            openpgp: Vec::new(),
        };
        for path in paths {
            let doing = || format!("read key `{}`", path.display());
            let file = File::open(path).doing(doing)?;
            let bytes = disk::read_limited(file, openpgp::MAX_KEY).doing(doing)?;
            if !lookaside || cosign::Key::is_pem(&bytes) {
                keys.cosign.push(cosign::Key::parse(&bytes).doing(doing)?);
            } else {
                keys.openpgp
                    .extend(openpgp::Key::read(&bytes).doing(doing)?);
            }
        }
        match lookaside && keys.openpgp.is_empty() {
            true => Err(Error::new(
                Kind::Corrupt,
                "the policy has a lookaside and no OpenPGP key",
            )),
            false => Ok(keys),
        }
    }

    /// Whether what was proved before is enough today. A key that has expired meanwhile may have
    /// signed before; one that was revoked counts for nothing.
    fn still_hold(&self, known: &Proof, reference: &Reference, place: &str, stamp: &str) -> bool {
        match known {
            Proof::Cosigned {
                by,
                place: at,
                digest,
            } => self.cosign.iter().any(|k| k.name == *by) && at == place && digest == stamp,
            Proof::SimpleSigned {
                by,
                reference: signed,
                digest,
            } => {
                let key = self.openpgp.iter().find(|k| k.fingerprint() == by);
                let same = match reference {
                    Reference::Registry(name) => simple::is_name(signed, name),
                    _ => false,
                };
                key.is_some_and(|k| !k.is_revoked()) && same && digest == stamp
            }
            _ => false,
        }
    }

    fn find(
        &self,
        name: &RegistryName,
        digest: &Digest,
        lookaside: Option<&Lookaside>,
        options: &FetchOptions,
        events: Events<'_>,
    ) -> Result<Found> {
        let mut found = Found::None;
        if let Some(lookaside) = lookaside {
            found = simple::find(name, digest, lookaside, &self.openpgp, &options.network)?;
        }
        if self.cosign.is_empty() || matches!(found, Found::Proof(_)) {
            return Ok(found);
        }
        let place = name.place();
        for claim in Registry::new(name, &options.network, events)?.signatures(digest)? {
            let vouches =
                |k: &&cosign::Key| k.vouches(&claim.payload, &claim.signature, &place, digest);
            if let Some(key) = self.cosign.iter().find(vouches) {
                return Ok(Found::Proof(Proof::Cosigned {
                    by: key.name.clone(),
                    place,
                    digest: digest.to_string(),
                }));
            }
            if matches!(found, Found::None) {
                let why = "no key of the policy has made the one of cosign";
                found = Found::Others(Error::new(Kind::Untrusted, why));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Policies> {
        Ok(Policies(
            parse(text.as_bytes(), Path::new("/p"))?
                .into_iter()
                .collect(),
        ))
    }

    #[test]
    fn the_longest_prefix_of_whole_parts_decides() {
        let policies = read(
            r#"
            [[policy]]
            prefix = ""
            verdict = "refuse"
            [[policy]]
            prefix = "quay.io"
            verdict = "digest-pinned"
            [[policy]]
            prefix = "quay.io/team"
            verdict = "signed-by"
            keys = ["a.pub", "/b.pub"]
            lookaside = "file:///srv/sigs"
            [[policy]]
            prefix = "oci:"
            verdict = "accept"
            "#,
        )
        .unwrap();
        for (place, want) in [
            ("docker.io/library/redis", Rule::Refuse),
            ("quay.io/other", Rule::DigestPinned),
            ("quay.io/teams", Rule::DigestPinned),
            (
                "quay.io/team/app",
                Rule::SignedBy {
                    keys: vec!["/p/a.pub".into(), "/b.pub".into()],
                    lookaside: Some(Lookaside::Dir("/srv/sigs".into())),
                },
            ),
            ("quay.io.evil/team", Rule::Refuse),
            ("oci:/srv/x", Rule::Accept),
        ] {
            assert_eq!(*policies.rule(place), want, "{place}");
        }
        assert_eq!(*Policies::default().rule("x"), Rule::Accept);
    }

    #[test]
    fn nobody_guesses_what_a_wrong_file_means() {
        for bad in [
            "policy = 1",
            "[[policy]]\nprefix = \"a\"",
            "[[policy]]\nprefix = \"a\"\nverdict = \"trust-me\"",
            "[[policy]]\nprefix = \"a\"\nverdict = \"signed-by\"",
            "[[policy]]\nprefix = \"a\"\nverdict = \"accept\"\nkeys = [\"k\"]",
            "[[policy]]\nprefix = \"a\"\nverdict = \"accept\"\nkey = \"k\"",
            "[[policy]]\nprefix = \"a\"\nverdict = \"accept\"\nlookaside = \"file:///x\"",
            "[[policy]]\nprefix = \"a\"\nverdict = \"signed-by\"\nkeys = [\"k\"]\nlookaside = \"http://x\"",
            "[[polices]]\nprefix = \"a\"\nverdict = \"accept\"",
        ] {
            assert_eq!(read(bad).unwrap_err().kind(), Kind::Corrupt, "{bad}");
        }
    }
}
