//! Tars made by hand, a store in a temporary directory, and trees compared entry by entry.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

pub mod kernel;
pub mod model;
pub mod stack;
pub mod tarball;
pub mod tree;

use rkt_spec::Digest;
use rkt_store::layer::{self, ChainId, LayerInfo, Limits, Writer};
use rkt_store::options::LayerProgram;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The program that reads layers in these tests.
pub fn reader() -> LayerProgram {
    LayerProgram {
        path: env!("CARGO_BIN_EXE_rkt-layer-reader").into(),
        args: Vec::new(),
    }
}

/// A store that is removed again.
pub struct TestStore(pub PathBuf);

impl TestStore {
    pub fn new(name: &str) -> Self {
        // Not on tmpfs: EROFS wants a file system with a page cache of its own below it.
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        for place in ["layers/sha256", "chains/sha256", "tmp"] {
            std::fs::create_dir_all(dir.join(place)).unwrap();
        }
        Self(dir)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Reads a layer, in small pieces.
    pub fn add(&self, bytes: &[u8]) -> rkt_store::Result<LayerInfo> {
        self.add_within(bytes, &Limits::default())
    }

    pub fn add_within(&self, bytes: &[u8], limits: &Limits) -> rkt_store::Result<LayerInfo> {
        let mut writer = Writer::start(&self.0, &reader(), limits)?;
        for part in bytes.chunks(100_000) {
            writer.write_all(part)?;
        }
        writer.finish()
    }

    /// Reads layers (lowest first) and indexes them as a chain.
    pub fn chain(&self, layers: &[Vec<u8>]) -> rkt_store::Result<Vec<ChainId>> {
        let mut diffs: Vec<Digest> = Vec::new();
        for bytes in layers {
            diffs.push(self.add(bytes)?.diff_id);
        }
        layer::commit_chain(&self.0, &reader(), &Limits::default(), &diffs)
    }

    pub fn chain_dir(&self, chain: &ChainId) -> PathBuf {
        self.0.join("chains/sha256").join(chain.digest().hex())
    }

    pub fn layer_dir(&self, diff: &Digest) -> PathBuf {
        self.0.join("layers/sha256").join(diff.hex())
    }

    /// What is left in `tmp`.
    pub fn left_over(&self) -> usize {
        std::fs::read_dir(self.0.join("tmp")).unwrap().count()
    }
}

impl Drop for TestStore {
    fn drop(&mut self) {
        // Takes the flags off what was mounted.
        let _ =
            rkt_store::mounts::detach_unused_by(&self.0, &self.0.join("run"), &reader(), &|_| {
                false
            });
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
