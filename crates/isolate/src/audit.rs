//! Running processes beside the plan they were started by: `rkt audit`.
//!
//! [`facts`] says what is known of a process and reads texts of the kernel, [`read`] fetches them
//! from the host's /proc, [`compare`] and [`mounts`] are pure: facts and plan in, findings out;
//! [`locks`] tries in a copy what /proc does not tell, [`insides`] reads what is told inside only,
//! [`filters`] what is told of a stopped thread. Nothing here believes what a pod says of
//! itself, and nothing here changes anything of it.

pub mod compare;
pub mod facts;
mod filters;
mod insides;
mod locks;
pub mod mounts;
mod pod;
mod read;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use tests::plan as sample;

pub use compare::{Finding, Group};
pub use pod::{Audit, Pod, Process, audit};
