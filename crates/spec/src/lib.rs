//! The words of rkt: names, digests, manifests, the plan.
//!
//! Pure data. Nothing here opens a file, asks the kernel or reads a clock, so a
//! manifest can be checked in a fuzzer, a test or an editor.
#![forbid(unsafe_code)]

pub mod capability;
pub mod codec;
pub mod digest;
pub mod errno;
pub mod error;
pub mod image;
pub mod manifest;
pub mod name;
pub mod network;
pub mod plan;
pub mod quantity;
pub mod signal;
pub mod uuid;

pub use digest::Digest;
pub use error::Error;
pub use name::{AppName, NetworkName, PodName, VolumeName};
pub use uuid::Uuid;
