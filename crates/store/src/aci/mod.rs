//! App Container Images: read, checked, found by name, stacked on the images they depend on.
//!
//! The second reader beside OCI's. Nothing is converted: the archive is kept as its own layer
//! under its SHA-512, and its manifest becomes the one model of images. Source: appc 0.8.11.

pub(crate) mod config;
mod fetch;
mod find;
mod isolators;
pub(crate) mod manifest;
mod render;
mod resume;
mod source;
mod stream;
pub(crate) mod words;

/// The run-time defaults that the bytes of a manifest say.
pub(crate) fn config_of(bytes: &[u8]) -> crate::error::Result<rkt_spec::image::ImageConfig> {
    Ok(config::config(&manifest::Manifest::read(bytes)?)?.0)
}

pub(crate) use fetch::resolve;
pub(crate) use find::by_name;
