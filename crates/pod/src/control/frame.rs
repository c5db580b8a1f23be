//! One frame: magic, version, length, body; and the descriptors beside it.

use super::MAX_FDS;
use crate::error::{Doing, Error, Kind};
use rkt_spec::codec::{Reader, Record};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Version of the frames; raised with every change of a request or reply.
pub const VERSION: u16 = 2;
/// Longest frame, bytes: command and environment of an `enter` must fit.
pub const MAX_FRAME: usize = 128 * 1024;
const MAGIC: &[u8; 4] = b"RKTC";
const HEAD: usize = 10;

/// A frame and the descriptors that came with it.
pub(super) type Received = (Vec<u8>, Vec<OwnedFd>);

fn corrupt(because: impl Into<String>) -> Error {
    Error::new(Kind::Corrupt, because)
}

/// Makes the frame of a message.
pub(super) fn encode(message: &impl Record) -> Result<Vec<u8>, Error> {
    let body = message.to_bytes();
    if body.len() > MAX_FRAME - HEAD {
        return Err(Error::new(
            Kind::Refused,
            format!(
                "the message has {} bytes, at most {} fit",
                body.len(),
                MAX_FRAME - HEAD
            ),
        )
        .with_hint("shorten the command or its environment"));
    }
    let mut out = Vec::with_capacity(HEAD + body.len());
    out.extend_from_slice(MAGIC);
    VERSION.put(&mut out);
    u32::try_from(body.len()).unwrap_or(u32::MAX).put(&mut out);
    out.extend_from_slice(&body);
    Ok(out)
}

/// Reads the message of a frame.
pub(super) fn decode<T: Record>(frame: &[u8]) -> Result<T, Error> {
    let mut from = Reader::new(frame);
    if from.bytes(4, "magic")? != MAGIC {
        return Err(corrupt("this is not rkt's control protocol"));
    }
    let version = u16::take(&mut from)?;
    if version != VERSION {
        return Err(corrupt(format!(
            "the other end speaks version {version} of the control protocol, this one {VERSION}"
        ))
        .with_hint("use the rkt that started the pod, or restart the pod with this one"));
    }
    let length = u32::take(&mut from)? as usize;
    if length != from.left() {
        return Err(corrupt(format!(
            "the frame says {length} bytes and has {}",
            from.left()
        )));
    }
    let value = T::take(&mut from)?;
    from.finish()?;
    Ok(value)
}

/// Sends one frame, whole or not at all.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    frame: &[u8],
    fds: &[BorrowedFd<'_>],
) -> Result<(), Error> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    // The space is rounded up: one more might fit than is allowed.
    let fits = fds.len() <= MAX_FDS;
    if !fits || !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(corrupt(format!(
            "{} descriptors, at most {MAX_FDS} fit",
            fds.len()
        )));
    }
    rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(
            socket,
            &[IoSlice::new(frame)],
            &mut control,
            SendFlags::NOSIGNAL,
        )
    })
    .doing(|| "send on the control socket".into())?;
    Ok(())
}

/// Receives one frame; `None` when the other end has closed.
///
/// Takes at most [`MAX_FRAME`] bytes and [`MAX_FDS`] descriptors; more is an error, and
/// what had come is closed.
pub(super) fn receive(socket: BorrowedFd<'_>) -> Result<Option<Received>, Error> {
    // A zeroed allocation of this size comes straight from the kernel: only pages that a
    // frame fills are ever touched.
    let mut buffer = vec![0u8; MAX_FRAME];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut buffer)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
    });
    let got = match got {
        Err(rustix::io::Errno::CONNRESET) => return Ok(None),
        got => got.doing(|| "receive on the control socket".into())?,
    };
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = message {
            fds.extend(some);
        }
    }
    if got.bytes == 0 && fds.is_empty() {
        return Ok(None);
    }
    if got.flags.contains(ReturnFlags::TRUNC) {
        return Err(corrupt(format!(
            "the frame is longer than {MAX_FRAME} bytes"
        )));
    }
    if got.flags.contains(ReturnFlags::CTRUNC) || fds.len() > MAX_FDS {
        return Err(corrupt(format!(
            "the frame brings more than {MAX_FDS} descriptors"
        )));
    }
    buffer.truncate(got.bytes);
    Ok(Some((buffer, fds)))
}
