//! Starting the child, and knowing how it ended.

use super::Limits;
use super::wire::{Answer, Bounds, Job};
use crate::error::{Doing, Error, Kind, Result};
use crate::options::LayerProgram;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running child, killed when it is dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    socket: OwnedFd,
}

impl Process {
    /// Starts the program with a socket as standard input and nothing else, and gives it limits;
    /// `room` are the bytes that its files may fill on the disk.
    pub(super) fn start(program: &LayerProgram, limits: &Limits, room: u64) -> Result<Self> {
        let (socket, theirs) = rkt_sys::socket::pair()?;
        let child = Command::new(&program.path)
            .args(&program.args)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .doing(|| format!("start the reader of layers `{}`", program.path.display()))?;
        let process = Self { child, socket };
        let Limits {
            bytes,
            entries,
            metadata,
            ratio,
            depth,
        } = *limits;
        process.send(
            &Job::Start(Bounds {
                bytes,
                entries,
                metadata,
                ratio,
                depth,
                room,
            }),
            &[],
        )?;
        Ok(process)
    }

    /// Sends a job; when the child is gone, the answer says why.
    pub(super) fn send(&self, job: &Job, fds: &[BorrowedFd<'_>]) -> Result<()> {
        match job.send(self.socket.as_fd(), fds) {
            Err(error) => match Answer::receive(self.socket.as_fd()) {
                Err(reason) => Err(reason),
                Ok(_) => Err(error.while_doing("talk to the reader of layers")),
            },
            ok => ok,
        }
    }

    /// Waits for the answer.
    pub(super) fn answer(&mut self) -> Result<Answer> {
        match Answer::receive(self.socket.as_fd())? {
            Some(answer) => Ok(answer),
            None => Err(self.gone()),
        }
    }

    /// Waits so long for an answer, or for its end; whether one of them is there.
    pub(super) fn has_answered(&self, most: Duration) -> Result<bool> {
        let mut polled = [PollFd::new(&self.socket, PollFlags::IN)];
        let time = Timespec {
            tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: most.subsec_nanos().into(),
        };
        match rustix::event::poll(&mut polled, Some(&time)) {
            Err(Errno::INTR) => Ok(false),
            other => Ok(other? != 0),
        }
    }

    /// Why it ended without an answer.
    fn gone(&mut self) -> Error {
        let how = match self.child.wait() {
            Err(e) => e.to_string(),
            Ok(status) => match (status.signal(), status.code()) {
                // What a panic, a failed allocation and a forbidden call look like from outside.
                (Some(6), _) => "it gave up: the layer needs more memory than it may have".into(),
                (Some(25), _) => "the layer is larger than it may be".into(),
                (Some(31), _) => "it made a call that it may not make".into(),
                (Some(signal), _) => format!("signal {signal} killed it"),
                (None, code) => format!("it ended with status {}", code.unwrap_or(0)),
            },
        };
        Error::new(Kind::System, format!("the reader of layers is gone: {how}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
