//! Become an app: from a freshly cloned child to `execve`.
//!
//! [`become_app`] is the only way into an app: its start, its restart and every `rkt enter` go
//! through it with the same [`Start`], so an entered process is confined byte for byte like the
//! app (the original's CVE-2019-10144, -10145 and -10147 were an `enter` that was not).
//!
//! Everything is prepared before the fork; nothing here allocates, logs or reads a file of the
//! host. The order of the steps is the design (`docs/design/start.md`): what needs the
//! supervisor's privileges comes first, the app's user namespace is entered late, and what
//! cannot be undone comes last.
#![forbid(unsafe_code)]

pub mod autopsy;
pub mod report;
mod start;
mod steps;

pub use report::{Failed, Step};
pub use start::{Mode, Namespaces, Program, Start};
pub use steps::{LISTENER, ROOT_WITHOUT_PIVOT, become_app};
