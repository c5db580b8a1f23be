//! Whether an image may be used: what was proved about it, and what the user asks for.
//!
//! A [`Trusted`] can be made here only, so that forgetting the question is a type error.

mod keys;
pub(crate) mod openpgp;

pub use keys::{KeyDirs, KeyFile, Reach, is_fingerprint};
pub use openpgp::Key;

use crate::error::{Error, Kind, Result};
use crate::image::{AciFacts, Image};
use crate::options::FetchOptions;
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

/// Asks the policy for an image of the store.
///
/// # Errors
/// `Untrusted` when it asks for more than is known of the image.
pub(crate) fn admit(image: Image, options: &FetchOptions) -> Result<Trusted<Image>> {
    check(image.aci.as_ref(), &image.proof, options)
        .map_err(|e| e.while_doing(format!("trust image `{}`", image.name)))?;
    Ok(Trusted(image))
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
        Proof::Unchecked | Proof::Accepted => {
            "its signature was not checked when it was fetched".to_owned()
        }
    };
    Err(Error::new(Kind::Untrusted, why)
        .hint("`--insecure-options=image` runs it all the same; fetched again, it is checked"))
}
