//! The parent's side of reading a layer: compressed bytes go in, a stored layer comes out.

use super::{LayerInfo, Limits};
use crate::error::{Error, Kind, Result};
use crate::options::LayerProgram;
use std::io;
use std::path::Path;

/// A layer being read by a child without privileges. Write the compressed bytes into it.
///
/// Dropped before [`Writer::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct Writer {}

impl Writer {
    /// Starts the child. `store` is the store's directory, whose `tmp` and `layers/sha256` exist.
    ///
    /// # Errors
    /// When files cannot be created or the program cannot be started.
    pub fn start(store: &Path, program: &LayerProgram, limits: &Limits) -> Result<Self> {
        let _ = (store, program, limits);
        Err(Error::new(Kind::Unsupported, "not written yet"))
    }

    /// Ends the input, waits for the child, and puts the layer into the store under the digest
    /// that its bytes have. A layer that is there already is left as it is.
    ///
    /// # Errors
    /// `Corrupt`, `Unsupported`, `TooLarge` for the bytes; `NoSpace` and others of the system.
    pub fn finish(self) -> Result<LayerInfo> {
        Err(Error::new(Kind::Unsupported, "not written yet"))
    }
}

impl io::Write for Writer {
    /// Hands bytes on. When the child has given up, the error is its reason: its source is an
    /// [`Error`] that [`Writer::finish`] would have returned.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
