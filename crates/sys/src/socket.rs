//! Local sockets that carry descriptors (`unix(7)`, `SCM_RIGHTS`), and what sockets have that
//! rustix lacks: packet filters and their network namespace.

use crate::fd::check;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;

/// The most descriptors one message may carry here.
pub const MAX_FDS: usize = 16;

/// A connected pair that keeps message boundaries (`SOCK_SEQPACKET`).
///
/// # Errors
/// `EMFILE`.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Sends one message with descriptors; never raises SIGPIPE.
///
/// # Errors
/// `EPIPE` when the peer is gone, `EMSGSIZE` when it is too long, `EAGAIN` when non-blocking.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    loop {
        match rustix::net::sendmsg(
            &socket,
            &[IoSlice::new(bytes)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        ) {
            Ok(n) if n == bytes.len() => return Ok(()),
            Ok(_) => return Err(io::Error::from_raw_os_error(libc::EMSGSIZE)),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Receives one message and its descriptors (close-on-exec). Length 0 means the peer is gone.
///
/// # Errors
/// `EMSGSIZE` when the message or its descriptors were cut short, `EAGAIN` when non-blocking.
pub fn recv(socket: impl AsFd, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        match rustix::net::recvmsg(
            &socket,
            &mut [IoSliceMut::new(bytes)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Ok(got) => break got,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    };
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(list) = message {
            fds.extend(list);
        }
    }
    if got
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
    }
    Ok((got.bytes, fds))
}

/// Puts a packet filter on a socket and locks it there: nobody who holds the socket, nor one that
/// is accepted from it, can take it off (`SO_ATTACH_FILTER`, `SO_LOCK_FILTER`, `socket(7)`).
/// `program` is `sock_filter`s of 8 bytes in host order.
///
/// # Errors
/// `EINVAL` for a program the kernel refuses, `EPERM` when a filter is locked there already.
pub fn lock_filter(socket: impl AsFd, program: &[u8]) -> io::Result<()> {
    let count =
        u16::try_from(program.len() / 8).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // The kernel copies the records; a copy of ours is aligned as it wants them.
    let records: Vec<u64> = program
        .chunks_exact(8)
        .map(|c| u64::from_ne_bytes(c.try_into().unwrap_or_default()))
        .collect();
    let list = libc::sock_fprog {
        len: count,
        filter: records.as_ptr().cast_mut().cast(),
    };
    let on: libc::c_int = 1;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel reads one sock_fprog and the records it points to, which live across the
    // call and which it does not change.
    unsafe { set_option(fd, libc::SO_ATTACH_FILTER, &list) }?;
    // SAFETY: the kernel reads one integer.
    unsafe { set_option(fd, libc::SO_LOCK_FILTER, &on) }?;
    Ok(())
}

/// # Safety
/// What `value` points to must be what the kernel expects of this option.
unsafe fn set_option<T>(fd: i32, name: libc::c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    let value: *const T = value;
    // SAFETY: pointer and length describe `value`, alive across the call; what it points to is the
    // caller's promise.
    let done = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, name, value.cast(), length) };
    check(done.into())?;
    Ok(())
}

/// The network namespace a socket lives in (`SIOCGSKNS`, Linux 4.9).
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN over that namespace.
pub fn namespace(socket: impl AsFd) -> io::Result<OwnedFd> {
    const SIOCGSKNS: libc::Ioctl = 0x894c;
    // SAFETY: the request takes no argument and gives a new descriptor.
    let number = check(unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), SIOCGSKNS) }.into())?;
    // SAFETY: the kernel has made this descriptor (close-on-exec) and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number as i32) })
}
