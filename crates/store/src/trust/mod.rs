//! Whether an image may be used: what was proved about it, and what the user asks for.
//!
//! A [`Trusted`] can be made here only, so that forgetting the question is a type error.

mod cosign;
mod keys;
pub(crate) mod openpgp;
mod policy;
mod simple;

pub use keys::{KeyDirs, KeyFile, Reach, is_fingerprint};
pub use openpgp::Key;
pub use policy::Policies;
pub(crate) use policy::judge;

use crate::error::{Doing, Error, Kind, Result};
use crate::event::Events;
use crate::image::{AciFacts, Image, NameRecord, Record};
use crate::options::FetchOptions;
use crate::reference::{HUB, Reference};
use crate::store::Store;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Deref;

/// What was proved about an image when it came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Proof {
    /// No policy asks for more than digests.
    #[default]
    Accepted,
    /// No signature was looked at, because the user said so.
    Unchecked,
    /// It was named by the digest of its manifest.
    Pinned,
    /// A key of the policy has signed it with cosign.
    Cosigned {
        /// `sha256:...` of the key.
        by: String,
        /// Registry and repository that the signature is for.
        place: String,
        /// Digest of the manifest or index that is signed.
        digest: String,
    },
    /// An OpenPGP key of the policy has signed it at the policy's lookaside.
    SimpleSigned {
        /// Fingerprint of the key.
        by: String,
        /// The name that is signed, with its tag.
        reference: String,
        /// Digest of the manifest or index that is signed.
        digest: String,
    },
    /// A trusted key has signed it.
    Signed {
        /// Fingerprint of the key.
        by: String,
    },
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted by its digest"),
            Self::Unchecked => f.write_str("not checked (--insecure-options=image)"),
            Self::Pinned => f.write_str("pinned by its digest"),
            Self::SimpleSigned { by, .. } => write!(f, "signed by the policy's OpenPGP key {by}"),
            Self::Cosigned { by, .. } => write!(f, "signed by the policy's key {by}"),
            Self::Signed { by } => write!(f, "signed by the trusted key {by}"),
        }
    }
}

/// Something that the user's policy has accepted. Only this crate can make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trusted<T>(T);

impl<T> Trusted<T> {
    /// What was accepted.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Trusted<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// Asks the policy for an image of the store, under the name it was asked for.
///
/// # Errors
/// `Untrusted` when it asks for more than is known of the image.
pub(crate) fn admit(
    store: &Store,
    reference: &Reference,
    mut image: Image,
    options: &FetchOptions,
    events: Events<'_>,
) -> Result<Trusted<Image>> {
    let doing = || format!("trust image `{}`", image.name);
    if image.aci.is_some() {
        check(image.aci.as_ref(), &image.proof, options).doing(doing)?;
        return Ok(Trusted(image));
    }
    if options.policies.is_empty() {
        return Ok(Trusted(image));
    }
    // By its id, an image is one of its names; one that fits is enough.
    let references = match reference {
        Reference::Id(_) if !image.names.is_empty() => image
            .names
            .iter()
            .map(|name| Reference::parse(name, HUB))
            .collect::<Result<Vec<_>>>()?,
        other => vec![other.absolute()?],
    };
    let mut refused = None;
    for reference in &references {
        let stamp = NameRecord::read(store.dir(), &reference.file_name())?.map(|n| n.stamp);
        let judged = judge(
            reference,
            &stamp.unwrap_or_default(),
            Some(&image.proof),
            options,
            events,
        );
        match judged {
            Ok(proof) => {
                if proof != image.proof && store.is_writable() {
                    let mut record = Record::read(store.dir(), &image.id)?;
                    record.proof = proof.clone();
                    record.write(store.dir())?;
                }
                image.proof = proof;
                return Ok(Trusted(image));
            }
            Err(e) => {
                refused.get_or_insert(e);
            }
        }
    }
    let error = refused.unwrap_or_else(|| Error::new(Kind::Untrusted, "it has no name"));
    Err(error).doing(doing)
}

/// Whether what was proved of an App Container Image is enough today: a key that is trusted no
/// more proves nothing.
///
/// # Errors
/// `Untrusted`, with the reason.
pub(crate) fn check(aci: Option<&AciFacts>, proof: &Proof, options: &FetchOptions) -> Result<()> {
    let Some(aci) = aci.filter(|_| !options.network.insecure.image) else {
        return Ok(());
    };
    let why = match proof {
        Proof::Signed { by } if options.keys.trusts(by, &aci.name)? => return Ok(()),
        Proof::Signed { by } => {
            format!(
                "the key `{by}` that signed it is not trusted for `{}` any more",
                aci.name
            )
        }
        _ => "its signature was not checked when it was fetched".to_owned(),
    };
    Err(Error::new(Kind::Untrusted, why)
        .hint("`--insecure-options=image` runs it all the same; fetched again, it is checked"))
}
