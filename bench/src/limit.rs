//! The least that a pull can cost: every layer inflated and hashed, and nothing else.
//!
//! The same libraries as rkt has, on the layers of a layout that lie in memory: compressed bytes
//! and inflated ones are hashed, for a pull has to prove both.

use std::{
    fs::{self, File},
    io::{BufReader, Read},
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use crate::fault::{Doing, Fault, Result};

/// Inflates and hashes the layers of a layout, as many at a time as there are processors.
pub(crate) fn inflate(layout: &Path) -> Result<()> {
    let blobs = layout.join("blobs/sha256");
    let mut layers: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(&blobs).doing(|| format!("list `{}`", blobs.display()))? {
        let path = entry.doing(|| "list the layers".to_owned())?.path();
        let mut magic = [0; 2];
        let gzip = File::open(&path)
            .and_then(|mut file| file.read_exact(&mut magic))
            .is_ok();
        if gzip && magic == [0x1f, 0x8b] {
            layers.push(path);
        }
    }
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        while let Some(path) = layers.get(next.fetch_add(1, Ordering::Relaxed)) {
            one(path).doing(|| format!("inflate `{}`", path.display()))?;
        }
        Ok(())
    };
    let hands = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..hands).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread
                .join()
                .map_err(|_| Fault::new("a thread has panicked"))?
        })
    })
}

/// Hashes what it hands on.
struct Hashed<R> {
    from: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.hash.update(&buffer[..n]);
        Ok(n)
    }
}

fn one(path: &Path) -> std::io::Result<()> {
    let compressed = Hashed {
        from: File::open(path)?,
        hash: Sha256::new(),
    };
    let mut inflated = Hashed {
        from: MultiGzDecoder::new(BufReader::with_capacity(64 << 10, compressed)),
        hash: Sha256::new(),
    };
    let mut buffer = vec![0; 256 << 10];
    while inflated.read(&mut buffer)? != 0 {}
    let (inner, outer) = (inflated.hash, inflated.from.into_inner().into_inner().hash);
    // Used, so that nobody optimises them away.
    std::hint::black_box((inner.finalize(), outer.finalize()));
    Ok(())
}
