//! Wires: the network of a pod.
//!
//! Two halves. [`files`] is pure: what a pod's `/etc/hosts` and `/etc/resolv.conf` say; stage0
//! uses it. [`loopback`] and [`sysctl`] act, inside the pod's own network namespace, and only
//! stage1 uses them.
#![forbid(unsafe_code)]

pub mod files;
pub mod loopback;
pub mod sysctl;
