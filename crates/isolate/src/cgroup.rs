//! Cgroups: what bounds an app, and what it is killed by. All from outside the pod.
//!
//! Every app has a leaf of the v2 tree (also on hybrid hosts, where it holds no limits: it is
//! what the app is born in, seen by, and killed by), and a directory in a v1 hierarchy only
//! when a limit needs that controller. Nothing here is ever writable from inside a pod.

mod canary;
mod counters;
mod dir;
mod held;
mod kill;
mod knobs;
mod layout;
mod pod;
pub mod scope;

pub use canary::Canary;
pub use counters::Counters;
pub use held::{Looser, looser};
pub use knobs::{KNOBS, Knob, Must, Write, knob};
pub use layout::{Controller, Layout, Shape, Version};
pub use pod::{App, Pod, app_dir_name, processes, sweep};
