//! Wires: the network of a pod.
//!
//! Two halves. The pure one reads words and texts and decides: [`request`] (`--net`), [`ports`]
//! (`--port`), [`choice`] (which networks with which addresses), [`builtin`], [`files`] (what a
//! pod's `/etc/hosts` and `/etc/resolv.conf` say); stage0 uses it. [`loopback`] and [`sysctl`] act,
//! inside the pod's own network namespace, and only stage1 uses them.
#![forbid(unsafe_code)]

pub mod builtin;
pub mod choice;
pub mod files;
pub mod loopback;
pub mod ports;
mod refusal;
pub mod request;
pub mod sysctl;

pub use refusal::Refusal;
