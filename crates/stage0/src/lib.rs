//! Prepare a pod: a request in, a plan out, and the exec into stage1.
//!
//! Everything that needs the store, text of an image or a name is decided here. Refuses
//! to do anything to the network or to a running pod.

#![forbid(unsafe_code)]

mod devices;
pub mod environment;
pub mod error;
pub mod explain;
mod filter_cache;
mod filters;
mod hand_over;
pub mod isolators;
pub mod launch;
pub mod likeness;
pub mod merge;
mod names;
pub mod networks;
pub mod plan;
mod plugins;
pub mod ports;
pub mod prepare;
pub mod request;
pub mod resolve;
mod scope;
pub mod sockets;
pub mod sources;
pub mod stage1;
mod sysctls;
pub mod users;
pub mod volumes;

pub use error::Error;
