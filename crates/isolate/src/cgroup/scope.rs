//! The systemd scope of a pod: names only. Who asks for it is stage0.

use super::layout::{Layout, Shape};
use rkt_spec::uuid::Uuid;
use std::path::Path;

/// The slice of systemd that containers and machines are in (`systemd.special(7)`).
pub const SLICE: &str = "machine.slice";
/// Present where systemd is PID 1 (`sd_booted(3)`).
const BOOTED: &str = "/run/systemd/system";

/// Name of the pod's scope unit.
pub fn unit(uuid: &Uuid) -> String {
    format!("rkt-{uuid}.scope")
}

/// The cgroup of the pod's scope, relative to the root of the tree: parent of the pod's own.
pub fn parent(uuid: &Uuid) -> String {
    format!("{SLICE}/{}", unit(uuid))
}

/// Whether pods of this host go into scopes: systemd runs, and all controllers are in the one
/// tree that it delegates. On hybrid hosts it delegates no controller of v1.
pub fn wanted(layout: &Layout) -> bool {
    layout.shape() == Shape::Unified && Path::new(BOOTED).is_dir()
}
