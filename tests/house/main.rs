//! The rules of the house that a machine can keep: who may know whom, sizes, words.
#![forbid(unsafe_code)]
// A panic is how a test speaks.
#![allow(missing_docs, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod defences;
mod direction;
mod files;
mod names;

use std::path::{Path, PathBuf};

/// Top of the repository.
fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}
