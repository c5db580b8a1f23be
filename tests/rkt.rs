//! The pods: every promise of rkt that a pod can show, driven through the real command line.
//!
//! Needs root and what `make test` builds; what a host lacks is a visible skip.
#![forbid(unsafe_code)]
// A panic is how a test speaks.
#![allow(missing_docs, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cve;
mod images;
mod isolation;
mod life;
mod net;
mod pods;
mod promises;
