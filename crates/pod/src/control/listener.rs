//! The supervisor's end: a socket in the pod's directory that accepts the host's root.

use super::{Connection, SOCKET};
use crate::error::{Doing, Error};
use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 64;

/// The listening socket of a pod; never blocks.
#[derive(Debug)]
pub struct Listener(OwnedFd);

/// The socket's address by way of a descriptor, because `sun_path` has room for 108
/// bytes and the data directory may stand deeper than that.
pub(super) fn address(pod_dir: BorrowedFd<'_>) -> Result<SocketAddrUnix, Error> {
    let path = format!("/proc/self/fd/{}/{SOCKET}", pod_dir.as_raw_fd());
    Ok(SocketAddrUnix::new(path)?)
}

impl Listener {
    /// Makes the socket in `pod_dir`, which must be the caller's own locked pod.
    ///
    /// A socket that a dead supervisor has left behind is replaced.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn bind(pod_dir: BorrowedFd<'_>) -> Result<Self, Error> {
        let doing = || "open the pod's control socket".to_owned();
        match rustix::fs::unlinkat(pod_dir, SOCKET, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e).doing(doing),
        }
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )
        .doing(doing)?;
        let address = address(pod_dir).doing(doing)?;
        rustix::net::bind(&socket, &address).doing(doing)?;
        rustix::fs::chmodat(
            pod_dir,
            SOCKET,
            Mode::from_raw_mode(0o600),
            AtFlags::empty(),
        )
        .doing(doing)?;
        rustix::net::listen(&socket, BACKLOG).doing(doing)?;
        Ok(Self(socket))
    }

    /// Takes the next connection; `None` when nobody waits.
    ///
    /// The peer must be uid 0 or this process's own uid, as this process's user namespace
    /// sees it: the root of a pod is neither. A stranger is dropped without a word. The
    /// connection never blocks.
    ///
    /// # Errors
    /// When this process has no descriptor left.
    pub fn accept(&self) -> Result<Option<Connection>, Error> {
        loop {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let peer = match rustix::net::accept_with(&self.0, flags) {
                Ok(peer) => peer,
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(e) => return Err(e).doing(|| "accept on the control socket".into()),
            };
            let uid = rustix::net::sockopt::socket_peercred(&peer)
                .doing(|| "ask who speaks on the control socket".into())?
                .uid;
            if uid.is_root() || uid == rustix::process::getuid() {
                return Ok(Some(Connection::of(peer)));
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
