//! What the tests stand on: a private rkt for each test, images made from Debian's packages,
//! and eyes that look at pods from the host's side.
//!
//! A test's rkt has a data directory, a run directory, a cgroup parent and a mount namespace of
//! its own, so tests run side by side; what a test leaves behind is stopped, removed and told.
#![forbid(unsafe_code)]
// A panic is how a test speaks, and the harness speaks for the tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod aci;
pub mod attack;
pub mod command;
pub mod cosign;
pub mod eyes;
pub mod gpg;
pub mod host;
pub mod images;
pub mod layout;
pub mod need;
pub mod netns;
pub mod pod;
pub mod proxy;
pub mod registry;
pub mod rkt;
pub mod sampler;
pub mod slow;
pub mod talk;
pub mod tar;
pub mod tls;
pub mod web;

pub use command::Done;
pub use need::Need;
pub use netns::Netns;
pub use pod::Pod;
pub use rkt::Rkt;

use std::time::{Duration, Instant};

/// Waits until `ready` says so; panics with `what` after `seconds`.
pub fn wait_for(what: &str, seconds: u64, mut ready: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !ready() {
        assert!(Instant::now() < end, "{what}: not within {seconds} s");
        std::thread::sleep(Duration::from_millis(10));
    }
}
