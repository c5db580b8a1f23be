//! The parent's side of reading a layer: compressed bytes go in, a stored layer comes out.

use super::disk::{self, Growing, seal};
use super::form::Form;
use super::process::Process;
use super::wire::{Answer, Job};
use super::{LayerInfo, Limits, child};
use crate::blob::SMALL;
use crate::error::{Doing, Error, Kind, Result};
use crate::options::LayerProgram;
use rustix::fd::{AsFd, OwnedFd};
use rustix::pipe::PipeFlags;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    /// Of an App Container Image.
    manifest: Option<File>,
}

/// How the compressed bytes reach the child.
#[derive(Clone, Copy)]
enum Input<'a> {
    /// Through the pipe.
    Pipe,
    /// In this file; through the pipe comes how many there are.
    Growing(&'a File),
    /// Through the pipe, and they are those of an App Container Image.
    Aci,
}

/// Bytes that a layer may fill of the store's file system: a part stays free for others, 5 % of
/// it, at most 256 MiB.
fn room(store: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(store).doing(|| "ask how much room the disk has".into())?;
    let of = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    let reserve = (of(stat.f_blocks) / 20).min(256 << 20);
    Ok(of(stat.f_bavail).saturating_sub(reserve))
}

impl Writer {
    /// Starts the child. `store` is the store's directory, whose `tmp` and `layers/sha256` exist.
    ///
    /// # Errors
    /// When files cannot be created or the program cannot be started.
    pub fn start(store: &Path, program: &LayerProgram, limits: &Limits) -> Result<Self> {
        Self::begin(store, program, limits, Input::Pipe)
    }

    /// As [`Writer::start`], for an App Container Image.
    pub(crate) fn start_aci(store: &Path, program: &LayerProgram, limits: &Limits) -> Result<Self> {
        Self::begin(store, program, limits, Input::Aci)
    }

    /// As [`Writer::start`], but the child reads `file`, as far as [`Writer::grown`] tells.
    pub(crate) fn start_growing(
        store: &Path,
        program: &LayerProgram,
        limits: &Limits,
        file: &File,
    ) -> Result<Self> {
        Self::begin(store, program, limits, Input::Growing(file))
    }

    fn begin(
        store: &Path,
        program: &LayerProgram,
        limits: &Limits,
        input: Input<'_>,
    ) -> Result<Self> {
        let dir = Growing::new(store, "layer")?;
        let tar = dir.create("tar")?;
        let index = dir.create("index")?;
        let (theirs, pipe) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let mut fds = vec![theirs.as_fd()];
        if let Input::Growing(file) = input {
            fds.push(file.as_fd());
        } else {
            // A user near the limit of pipe memory gets a smaller one, which is only slower.
            let _ = rustix::pipe::fcntl_setpipe_size(&pipe, PIPE);
        }
        let process = Process::start(program, limits, room(store)?)?;
        fds.extend([tar.as_fd(), index.as_fd()]);
        let manifest = match input {
            Input::Aci => Some(dir.create("manifest")?),
            _ => None,
        };
        fds.extend(manifest.iter().map(AsFd::as_fd));
        let job = match input {
            Input::Pipe => Job::Layer,
            Input::Growing(_) => Job::Growing,
            Input::Aci => Job::Aci,
        };
        process.send(&job, &fds)?;
        Ok(Self {
            store: store.to_owned(),
            process,
            pipe: Some(pipe),
            dir,
            tar,
            index,
            manifest,
        })
    }

    /// Tells the child that its file has so many bytes by now.
    ///
    /// # Errors
    /// As writing into it: when the child has given up, its reason.
    pub(crate) fn grown(&mut self, bytes: u64) -> io::Result<()> {
        io::Write::write_all(self, &bytes.to_le_bytes())
    }

    /// Ends the input and waits for the child, so long; whether it has answered.
    ///
    /// # Errors
    /// Of the system.
    pub(crate) fn wait(&mut self, most: Duration) -> Result<bool> {
        drop(self.pipe.take());
        self.process.has_answered(most)
    }

    /// Ends the input, waits for the child, and puts the layer into the store under the digest
    /// that its bytes have. A layer that is there already is left as it is.
    ///
    /// # Errors
    /// `Corrupt`, `Unsupported`, `TooLarge` for the bytes; `NoSpace` and others of the system.
    pub fn finish(self) -> Result<LayerInfo> {
        Ok(self.end()?.0)
    }

    /// As [`Writer::finish`] of [`Writer::start_aci`]; gives the bytes of the manifest too.
    ///
    /// # Errors
    /// As [`Writer::finish`].
    pub(crate) fn finish_aci(self) -> Result<(LayerInfo, Vec<u8>)> {
        self.end()
    }

    fn end(mut self) -> Result<(LayerInfo, Vec<u8>)> {
        drop(self.pipe.take());
        let Answer::Layer(layer) = self.process.answer()? else {
            return Err(Error::new(
                Kind::System,
                "the reader of layers answered another question",
            ));
        };
        let record = child::record(&layer);
        let info = record.info();
        let form = if self.manifest.is_some() {
            Form::Aci
        } else {
            Form::Oci
        };
        let manifest = self.read_manifest()?;
        if Form::of(&info.diff_id) != form {
            return Err(Error::new(
                Kind::System,
                "the reader of layers answered another question",
            ));
        }
        if disk::has_layer(&self.store, &info.diff_id)?.is_some() {
            return Ok((info, manifest));
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
        Ok((info, manifest))
    }

    /// The manifest as the child has copied it; its file does not become part of the layer.
    fn read_manifest(&mut self) -> Result<Vec<u8>> {
        let Some(file) = &self.manifest else {
            return Ok(Vec::new());
        };
        let size = file.metadata()?.len();
        if size > SMALL {
            return Err(Error::new(Kind::TooLarge, "the manifest is too large"));
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        file.read_exact_at(&mut bytes, 0)?;
        std::fs::remove_file(self.dir.path().join("manifest"))?;
        Ok(bytes)
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
