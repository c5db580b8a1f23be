//! Namespaces: setns, unshare.

use crate::fd::check;
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::io;

/// Namespace kinds as `setns(2)` and `unshare(2)` take them; may be or-ed for `unshare`.
pub mod kind {
    /// Mount.
    pub const MOUNT: i32 = libc::CLONE_NEWNS;
    /// User.
    pub const USER: i32 = libc::CLONE_NEWUSER;
    /// PID (of children).
    pub const PID: i32 = libc::CLONE_NEWPID;
    /// Network.
    pub const NET: i32 = libc::CLONE_NEWNET;
    /// IPC.
    pub const IPC: i32 = libc::CLONE_NEWIPC;
    /// Host name.
    pub const UTS: i32 = libc::CLONE_NEWUTS;
    /// Cgroup root.
    pub const CGROUP: i32 = libc::CLONE_NEWCGROUP;
}

/// Enters the namespace behind `fd`, which must be of `kind` (one constant of [`kind`]).
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN in it (and, for mount, in the own user namespace and with a
/// shared root directory), `EINVAL` for another kind or a threaded caller.
pub fn enter(fd: BorrowedFd<'_>, kind: i32) -> io::Result<()> {
    // SAFETY: integers only. A caller with other threads is refused by the kernel where it matters.
    check(unsafe { libc::setns(fd.as_raw_fd(), kind) }.into())?;
    Ok(())
}

/// Makes new namespaces for the calling process.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN, `ENOSPC` at a limit of `/proc/sys/user`.
pub fn unshare(kinds: i32) -> io::Result<()> {
    // SAFETY: integers only; no CLONE_FILES or CLONE_FS tricks are passed by our callers.
    check(unsafe { libc::unshare(kinds) }.into())?;
    Ok(())
}

/// The user namespace that owns a namespace (`NS_GET_USERNS`, `ioctl_ns(2)`).
///
/// # Errors
/// `EPERM` when it lies outside the caller's own user namespace, `ENOTTY` for what is no namespace.
pub fn owner(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const NS_GET_USERNS: libc::c_ulong = 0xb701;
    // SAFETY: a request without argument; `fd` is borrowed across the call.
    let owner = check(unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_USERNS as _) }.into())?;
    // SAFETY: made for us by the call above, close-on-exec; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(owner as i32) })
}
