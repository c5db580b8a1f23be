//! Networks of foreign plugins: the Container Network Interface, versions 0.1 to 1.1.
//!
//! A plugin is a program; what it is told and what it answers is JSON. No JSON is read in the
//! supervisor: it hands a [`Request`] to a child that executes rkt's hidden verb [`CHILD_VERB`] by a
//! descriptor that stage0 opened, and gets an [`Answer`]. Both are records, the configuration
//! and the results in them are bytes that the supervisor keeps and never looks at.
//!
//! The child runs on the host, in the host's namespaces, with a clean environment. A plugin of it
//! has three descriptors (its input, its output, its complaints), none of them the pod's, a time
//! to end in, and a limit to what it says.

mod record;

#[cfg(feature = "config")]
mod capability;
#[cfg(feature = "config")]
mod child;
#[cfg(feature = "config")]
mod exec;
#[cfg(feature = "config")]
mod list;
#[cfg(feature = "config")]
mod outcome;
#[cfg(feature = "config")]
mod phantom;
#[cfg(feature = "config")]
mod run;

pub use record::{Answer, Attachment, Command, Refusal, Request};

#[cfg(feature = "config")]
pub use child::main as child_main;
#[cfg(feature = "config")]
pub use list::{List, programs};
#[cfg(feature = "config")]
pub use run::run;

/// Where plugins are looked for after the directories of the configuration: the original's place,
/// the one of the CNI project, Debian's.
pub const DIRECTORIES: [&str; 3] = ["/usr/lib/rkt/plugins/net", "/opt/cni/bin", "/usr/lib/cni"];

/// The verb of rkt that reads a [`Request`] on its standard input and writes an [`Answer`].
pub const CHILD_VERB: &str = "cni-child";

/// Longest request and answer, bytes.
pub const MAX_RECORD: usize = 4 << 20;
