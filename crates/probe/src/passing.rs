//! Descriptors through a unix socket: the friend outside of rkt#576, and the app inside.

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketType, accept, bind, listen, recvmsg,
    sendmsg, socket,
};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

/// A path, or `@NAME` for an abstract address.
fn address(name: &str) -> Result<SocketAddrUnix, Errno> {
    match name.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes()),
        None => SocketAddrUnix::new(name),
    }
}

/// Connects to a socket of any type.
pub(crate) fn connect(name: &str) -> Result<OwnedFd, Errno> {
    let address = address(name)?;
    let mut last = Errno::INVAL;
    for kind in [SocketType::STREAM, SocketType::SEQPACKET, SocketType::DGRAM] {
        let socket = socket(AddressFamily::UNIX, kind, None)?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => return Ok(socket),
            Err(Errno::PROTOTYPE) => last = Errno::PROTOTYPE,
            Err(errno) => return Err(errno),
        }
    }
    Err(last)
}

/// Listens on a socket.
pub(crate) fn serve(name: &str) -> Result<OwnedFd, Errno> {
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    if !name.starts_with('@') {
        let _ = rustix::fs::unlink(name);
    }
    bind(&socket, &address(name)?)?;
    if !name.starts_with('@') {
        rustix::fs::chmod(name, Mode::from_raw_mode(0o666))?;
    }
    listen(&socket, 4)?;
    Ok(socket)
}

/// Passes a descriptor of `path` to the next that connects. Blocks until one does.
pub(crate) fn pass(listener: &OwnedFd, path: &str) -> Result<(), Errno> {
    let peer = accept(listener)?;
    let passed = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let fds = [passed.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(
        peer,
        &[IoSlice::new(b"f")],
        &mut control,
        SendFlags::NOSIGNAL,
    )
    .map(drop)
}

/// Receives one descriptor from who listens there.
pub(crate) fn receive(name: &str) -> Result<OwnedFd, Errno> {
    let socket = connect(name)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(
        &socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message
            && let Some(fd) = fds.next()
        {
            return Ok(fd);
        }
    }
    Err(Errno::NOMSG)
}
