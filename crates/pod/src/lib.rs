//! A pod on disk: directory, lock, state, names, status, logs, control socket.
//!
//! There is no database and no daemon. A pod's state is two facts that the kernel
//! keeps: which directory its own stands in, and whether somebody holds its lock.
//! Used by stage0 (makes it), stage1 (keeps it) and the command (looks at it), so
//! nothing here parses foreign text, starts a thread or waits behind one's back.
//! Nothing is ever synced to the disk: a pod does not survive a reboot anyway.
//!
//! ```text
//! DATA/pods/{embryo,prepare,prepared,run,exited-garbage,garbage}/UUID/
//!     pod         the manifest, JSON, for people; removed last
//!     name        link: the pod's name, when it has one
//!     status      what the supervisor knows (module `status`)
//!     logs/APP.log[.N]
//!     denials     refused system calls of traced apps
//!     control     the supervisor's socket
//! DATA/pods/names/NAME -> UUID
//! ```
#![forbid(unsafe_code)]

pub mod attachment;
pub mod control;
pub mod denials;
pub mod dir;
pub mod error;
mod file;
pub mod logs;
pub mod name;
pub mod pods;
mod remove;
pub mod shelf;
pub mod status;
pub mod time;

pub use dir::{Locked, PodDir};
pub use error::{Doing, Error, Kind};
pub use pods::{Pod, Pods};
pub use shelf::{Lock, Shelf, State};
pub use status::{AppState, AppStatus, PodStatus, StatusWriter};

/// What every call of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests;
