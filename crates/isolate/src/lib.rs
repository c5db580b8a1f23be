//! The walls: what an app may do, decided from its isolators, the defaults and this kernel.
//!
//! Three kinds of thing live here: tables ([`defaults`], [`defences`], [`seccomp`]'s profile, the
//! cgroup knobs), decisions ([`plan`]) with what checks them ([`audit`]), and the few effects that hold
//! them ([`cgroup`], [`blocks`], [`landlock`]). It refuses to be the place that makes namespaces or mounts: that is stage1.
#![forbid(unsafe_code)]

mod attempt;
pub mod audit;
pub mod blocks;
pub mod cgroup;
pub mod defaults;
pub mod defences;
pub mod doctor;
pub mod error;
pub mod host;
pub mod idmap;
pub mod landlock;
pub mod plan;
pub mod seccomp;

pub use error::{Error, Kind};
