//! Netlink sockets (`netlink(7)`): open, send, receive; what is said is the caller's.

use crate::fd::check;
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io;

/// Room for the longest batch that is sent: the default (212992) is too little for hundreds of
/// rules. Needs CAP_NET_ADMIN; without it the default stays.
const SEND_ROOM: i32 = 4 << 20;
/// Room for answers: an acknowledgement a message.
const RECEIVE_ROOM: i32 = 4 << 20;

/// Whom to talk to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Links, addresses, routes (`rtnetlink(7)`).
    Route,
    /// Packet filter (`nf_tables`).
    Netfilter,
}

/// Opens a socket to the kernel, of the calling process's network namespace for ever.
///
/// Answers are short (`NETLINK_CAP_ACK`) and say in words what was wrong (`NETLINK_EXT_ACK`).
/// A receive that waits longer than 30 seconds ends with `EAGAIN`.
///
/// # Errors
/// `EPROTONOSUPPORT` when the kernel has no such family.
pub fn open(family: Family) -> io::Result<OwnedFd> {
    let protocol = match family {
        Family::Route => None,
        Family::Netfilter => Some(netlink::NETFILTER),
    };
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        protocol,
    )?;
    set(&socket, libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, 1)?;
    set(&socket, libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1)?;
    let _ = set(&socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, SEND_ROOM);
    let _ = set(
        &socket,
        libc::SOL_SOCKET,
        libc::SO_RCVBUFFORCE,
        RECEIVE_ROOM,
    );
    let patience = std::time::Duration::from_secs(30);
    rustix::net::sockopt::set_socket_timeout(
        &socket,
        rustix::net::sockopt::Timeout::Recv,
        Some(patience),
    )?;
    Ok(socket)
}

fn set(socket: &OwnedFd, level: i32, option: i32, value: i32) -> io::Result<()> {
    let length = size_of::<i32>() as libc::socklen_t;
    let place = (&raw const value).cast();
    // SAFETY: `place` is `value`, the int that these options take, which outlives the call.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, place, length) };
    check(done.into())?;
    Ok(())
}

/// Sends a buffer of messages to the kernel.
///
/// # Errors
/// `EMSGSIZE` when it is longer than the socket's send buffer, `ENOBUFS`.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    loop {
        match rustix::net::send(socket, bytes, SendFlags::empty()) {
            Ok(n) if n == bytes.len() => return Ok(()),
            Ok(_) => return Err(io::Error::from_raw_os_error(libc::EMSGSIZE)),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Receives one buffer of messages from the kernel; what anybody else sent is dropped.
///
/// # Errors
/// `EMSGSIZE` when `buffer` is too short, `ENOBUFS` when answers were lost, `EAGAIN` after the
/// socket's patience.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match rustix::net::recvfrom(socket, &mut *buffer, RecvFlags::TRUNC) {
            Ok((_, n, from)) => {
                let kernel = from
                    .and_then(|a| SocketAddrNetlink::try_from(a).ok())
                    .is_some_and(|a| a.pid() == 0);
                if !kernel {
                    continue;
                }
                if n > buffer.len() {
                    return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
                }
                return Ok(n);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}
