//! Telling those who wait that the pod runs: the service manager and a detached `rkt run`.

use rkt_spec::codec::Record;
use rkt_spec::plan::Ready;
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

/// Says `READY=1` on `$NOTIFY_SOCKET` (sd_notify(3)); silent when there is none.
pub(crate) fn service_manager(socket: Option<&std::ffi::OsStr>) {
    use std::os::unix::ffi::OsStrExt;
    let Some(name) = socket.map(OsStrExt::as_bytes).filter(|n| !n.is_empty()) else {
        return;
    };
    let address = match name.split_first() {
        Some((b'@', rest)) => SocketAddrUnix::new_abstract_name(rest),
        _ => SocketAddrUnix::new(name),
    };
    let Ok(address) = address else { return };
    let made = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    );
    if let Ok(fd) = made {
        let _ = rustix::net::sendto(&fd, b"READY=1", SendFlags::NOSIGNAL, &address);
    }
}

/// Answers a detached `rkt run` once.
pub(crate) fn starter(fd: Option<OwnedFd>, exit: u8, message: &str) {
    if let Some(fd) = fd {
        let ready = Ready {
            exit,
            message: message.to_owned(),
        };
        let _ = rustix::io::write(&fd, &ready.to_bytes());
    }
}
