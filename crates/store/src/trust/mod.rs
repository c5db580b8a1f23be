//! Whether an image may be used: what was proved about it, and what the user asks for.
//!
//! A [`Trusted`] can be made here only, so that forgetting the question is a type error.

use crate::error::{Error, Kind, Result};
use crate::image::Image;
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
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted by its digest"),
            Self::Unchecked => f.write_str("not checked (--insecure-options=image)"),
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
    check(&image, options).map_err(|e| e.while_doing(format!("trust image `{}`", image.name)))?;
    Ok(Trusted(image))
}

fn check(image: &Image, options: &FetchOptions) -> Result<()> {
    match image.proof {
        Proof::Unchecked if !options.network.insecure.image => Err(Error::new(
            Kind::Untrusted,
            "its signature was not checked when it was fetched",
        )
        .hint("`--insecure-options=image` runs it all the same; fetched again, it is checked")),
        _ => Ok(()),
    }
}
