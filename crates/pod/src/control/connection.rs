//! One conversation between the command and a supervisor.

use super::listener::address;
use super::{Reply, Request, frame};
use crate::error::{Doing, Error, Kind};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// How long the command waits for a supervisor to take a connection or a request.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connected end.
#[derive(Debug)]
pub struct Connection(OwnedFd);

impl Connection {
    pub(super) fn of(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Connects to the supervisor of the pod whose directory this is.
    ///
    /// Blocks for at most 10 s when the supervisor is stopped or busy.
    ///
    /// # Errors
    /// [`Kind::Gone`] when no supervisor listens (ended, or not there yet).
    pub fn connect(pod_dir: BorrowedFd<'_>) -> Result<Self, Error> {
        let doing = || "connect to the pod's supervisor".to_owned();
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .doing(doing)?;
        set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE)).doing(doing)?;
        let address = address(pod_dir).doing(doing)?;
        match rustix::io::retry_on_intr(|| rustix::net::connect(&socket, &address)) {
            Ok(()) => Ok(Self(socket)),
            Err(Errno::NOENT | Errno::CONNREFUSED) => {
                Err(Error::new(Kind::Gone, "no supervisor is listening").while_doing(doing()))
            }
            Err(Errno::AGAIN) => Err(Error::new(
                Kind::WouldBlock,
                "the supervisor does not take connections (stopped, or very busy)",
            )
            .while_doing(doing())),
            Err(e) => Err(e).doing(doing),
        }
    }

    /// Asks, with the descriptors that [`Request::fds`] counts.
    ///
    /// # Errors
    /// When the request is too long, or the supervisor is gone.
    pub fn send_request(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<(), Error> {
        request.check()?;
        frame::send(self.as_fd(), &frame::encode(request)?, fds)
    }

    /// Takes the next request with exactly the descriptors it needs; `None` when the
    /// other end has closed.
    ///
    /// # Errors
    /// [`Kind::WouldBlock`] when nothing is there; anything else means that the
    /// connection is of no use and should be dropped.
    pub fn recv_request(&self) -> Result<Option<(Request, Vec<OwnedFd>)>, Error> {
        let Some((bytes, fds)) = frame::receive(self.as_fd())? else {
            return Ok(None);
        };
        let request: Request = frame::decode(&bytes)?;
        request.check()?;
        if fds.len() != request.fds() {
            return Err(Error::new(
                Kind::Corrupt,
                format!(
                    "the request came with {} descriptors and needs {}",
                    fds.len(),
                    request.fds()
                ),
            ));
        }
        Ok(Some((request, fds)))
    }

    /// Answers; never blocks on an accepted connection.
    ///
    /// # Errors
    /// [`Kind::WouldBlock`] when the other end does not read, [`Kind::Gone`] when it has
    /// closed.
    pub fn send_reply(&self, reply: &Reply, fds: &[BorrowedFd<'_>]) -> Result<(), Error> {
        frame::send(self.as_fd(), &frame::encode(reply)?, fds)
    }

    /// Waits for the next answer; `None` when the supervisor has closed, that is ended.
    ///
    /// # Errors
    /// When the frame is not one of ours.
    pub fn recv_reply(&self) -> Result<Option<(Reply, Vec<OwnedFd>)>, Error> {
        let Some((bytes, fds)) = frame::receive(self.as_fd())? else {
            return Ok(None);
        };
        let reply: Reply = frame::decode(&bytes)?;
        let allowed = usize::from(matches!(reply, Reply::Entered { .. }));
        if fds.len() > allowed {
            return Err(Error::new(
                Kind::Corrupt,
                "the reply came with descriptors it has no use for",
            ));
        }
        Ok(Some((reply, fds)))
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
