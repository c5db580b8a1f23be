//! Wires: the network of a pod.
//!
//! Two halves. The pure one reads words and texts and decides: [`request`] (`--net`), [`ports`]
//! (`--port`), [`choice`] (which networks with which addresses), [`builtin`], `config` (files of
//! `net.d`), [`files`] and [`resolv`] (what a pod's `/etc/hosts` and `/etc/resolv.conf` say); stage0
//! uses it, and [`listen`] and [`hold`], which open sockets on the host. The rest acts: [`wire`]
//! makes a pod's networks and ends them, by messages ([`netlink`]), behind the host's firewall
//! ([`nft`], [`gate`]); [`names`] tells pods of each other; [`pasta`] has the words of that program; only stage1 and `rkt gc` use it.
//! [`cni`] runs foreign plugins, in a child that is not the supervisor.
#![forbid(unsafe_code)]

pub mod address;
pub mod builtin;
pub mod choice;
pub mod cni;
#[cfg(feature = "config")]
pub mod config;
pub mod error;
pub mod files;
pub mod gate;
pub mod hold;
pub mod holder;
pub mod ipam;
pub mod link;
pub mod listen;
pub mod localnet;
pub mod loopback;
pub mod names;
pub mod netlink;
pub mod nft;
pub mod pasta;
pub mod ports;
mod refusal;
pub mod request;
pub mod resolv;
pub mod route;
pub mod sysctl;
pub mod wire;

pub use error::{Error, Kind};
pub use refusal::Refusal;
