//! The parent's side of reading a layer: compressed bytes go in, a stored layer comes out.

use super::disk::{self, Growing, seal};
use super::process::Process;
use super::wire::{Answer, Job};
use super::{LayerInfo, Limits, child};
use crate::error::{Doing, Error, Kind, Result};
use crate::options::LayerProgram;
use rustix::fd::{AsFd, OwnedFd};
use rustix::pipe::PipeFlags;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Bytes that may wait in the pipe to the child.
const PIPE: usize = 1 << 20;

/// A layer being read by a child without privileges. Write the compressed bytes into it.
///
/// Dropped before [`Writer::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct Writer {
    store: PathBuf,
    process: Process,
    /// `None` once the input has ended.
    pipe: Option<OwnedFd>,
    dir: Growing,
    tar: File,
    index: File,
}

impl Writer {
    /// Starts the child. `store` is the store's directory, whose `tmp` and `layers/sha256` exist.
    ///
    /// # Errors
    /// When files cannot be created or the program cannot be started.
    pub fn start(store: &Path, program: &LayerProgram, limits: &Limits) -> Result<Self> {
        let dir = Growing::new(store, "layer")?;
        let tar = dir.create("tar")?;
        let index = dir.create("index")?;
        let (theirs, pipe) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        // A user near the limit of pipe memory gets a smaller one, which is only slower.
        let _ = rustix::pipe::fcntl_setpipe_size(&pipe, PIPE);
        let process = Process::start(program, limits)?;
        process.send(&Job::Layer, &[theirs.as_fd(), tar.as_fd(), index.as_fd()])?;
        Ok(Self {
            store: store.to_owned(),
            process,
            pipe: Some(pipe),
            dir,
            tar,
            index,
        })
    }

    /// Ends the input, waits for the child, and puts the layer into the store under the digest
    /// that its bytes have. A layer that is there already is left as it is.
    ///
    /// # Errors
    /// `Corrupt`, `Unsupported`, `TooLarge` for the bytes; `NoSpace` and others of the system.
    pub fn finish(mut self) -> Result<LayerInfo> {
        drop(self.pipe.take());
        let Answer::Layer(layer) = self.process.answer()? else {
            return Err(Error::new(
                Kind::System,
                "the reader of layers answered another question",
            ));
        };
        let record = child::record(&layer);
        let info = record.info();
        if disk::has_layer(&self.store, &info.diff_id)?.is_some() {
            return Ok(info);
        }
        let size = self.tar.metadata()?.len();
        if size != record.padded() || self.index.metadata()?.len() != record.index_bytes {
            return Err(Error::new(
                Kind::System,
                "the reader of layers wrote another number of bytes than it says",
            ));
        }
        seal(&self.tar).doing(|| "write the tar of the layer".into())?;
        if record.index_bytes == 0 {
            std::fs::remove_file(self.dir.path().join("index"))?;
        } else {
            seal(&self.index).doing(|| "write the index of the layer".into())?;
        }
        self.dir.write("info", &disk::bytes(&record))?;
        self.dir
            .publish(&disk::layer_dir(&self.store, &info.diff_id))?;
        Ok(info)
    }
}

impl io::Write for Writer {
    /// Hands bytes on. When the child has given up, the error is its reason: converted back, it
    /// is the [`Error`] that [`Writer::finish`] would have returned.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(pipe) = &self.pipe else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        match rustix::io::write(pipe, bytes) {
            Err(rustix::io::Errno::PIPE) => {
                self.pipe = None;
                Err(match self.process.answer() {
                    Err(error) => error.into(),
                    Ok(_) => io::ErrorKind::BrokenPipe.into(),
                })
            }
            other => Ok(other?),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
