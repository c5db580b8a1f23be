//! Images: fetch, keep, index, mount, forget.
//!
//! [`Store`] is the door. A [`Reference`] says which image; [`Store::resolve`] finds it in the
//! store or fetches it from its source (`registry`, `oci`, `archive`, `builtin`, `aci`), layer by layer
//! through an unprivileged child (`layer`), and gives an [`Image`] whose layers can be mounted.
//!
//! Nothing here prints or reads the environment. Every byte from outside is checked against its
//! digest and its limit before anything is made of it.

#![forbid(unsafe_code)]

mod aci;
mod archive;
mod blob;
mod builtin;
mod config;
mod credentials;
pub mod directory;
pub mod discovery;
mod disk;
mod erofs;
pub mod error;
pub mod event;
pub mod export;
mod fetch;
pub mod image;
pub mod layer;
mod local;
pub mod login;
mod manifest;
pub mod mounts;
mod oci;
pub mod options;
pub mod pack;
pub mod platform;
pub mod reference;
pub mod registries;
mod registry;
mod source;
pub mod store;
pub mod stream;
pub mod trust;
mod ustar;

pub use credentials::read_auth;
pub use error::{Error, Kind, Result};
pub use event::{Event, Events, Origin};
pub use fetch::describe;
pub use image::{AciFacts, Image};
pub use layer::Damage;
pub use options::{
    Builtin, Credentials, FetchOptions, Insecure, LayerProgram, Network, Patience, Proxies,
    PullPolicy, Secret,
};
pub use platform::Platform;
pub use reference::{Assumed, HUB, Reference};
pub use registries::Registries;
pub use store::{
    GcReport, GcRules, History, OpenMode, Part, Store, Usage, Verdict, Verifier, tree_bytes,
};
pub use trust::{Key, KeyDirs, KeyFile, Policies, Proof, Reach, Trusted};
