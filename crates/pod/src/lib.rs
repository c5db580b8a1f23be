//! A pod on disk: directory, lock, state, names, status, logs, control socket.
//!
//! There is no database and no daemon. A pod's state is two facts that the kernel
//! keeps: which directory its own stands in, and whether somebody holds its lock.
//! Used by stage0 (makes it), stage1 (keeps it) and the command (looks at it), so
//! nothing here parses foreign text, starts a thread or waits behind one's back.
//! Nothing is ever synced to the disk: a pod does not survive a reboot anyway.
#![forbid(unsafe_code)]

pub mod control;
pub mod error;

pub use error::{Doing, Error, Kind};

/// What every call of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;
