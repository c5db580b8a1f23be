//! Network devices: the little that needs no netlink.

use crate::fd::check;
use rustix::fd::AsRawFd;
use std::ffi::CStr;
use std::io;

/// Brings a device up (`SIOCSIFFLAGS`, `netdevice(7)`).
///
/// # Errors
/// `ENODEV` when there is no such device, `EPERM` without CAP_NET_ADMIN over its namespace,
/// `EINVAL` for a name longer than 15 bytes.
pub fn bring_up(name: &CStr) -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: an all-zero ifreq is a valid value of that plain C struct.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let bytes = name.to_bytes_with_nul();
    if bytes.len() > request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    // SAFETY: the ioctl reads the name and writes the flags member of `request`, alive across it.
    let got = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) };
    check(got.into())?;
    // SAFETY: SIOCGIFFLAGS has just made the flags member of the union the valid one.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
    // SAFETY: the ioctl reads name and flags of `request`, alive across it.
    let set = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    check(set.into())?;
    Ok(())
}
