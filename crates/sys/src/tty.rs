//! Terminals: a pty of an app's own devpts, never the operator's.

use crate::fd::check;
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::io;

/// Opens the other end of a pty from its master, whatever is mounted where
/// (`TIOCGPTPEER`, Linux 4.13).
///
/// # Errors
/// `EIO` when the master is locked or gone.
pub fn peer(master: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: this ioctl takes flags by value and returns a new descriptor.
    let fd = check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) }.into())?;
    // SAFETY: made for us by the call above; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Lets the peer of a new master be opened (`TIOCSPTLCK`).
///
/// # Errors
/// `ENOTTY` when `master` is no pty master.
pub fn unlock(master: BorrowedFd<'_>) -> io::Result<()> {
    let off: libc::c_int = 0;
    // SAFETY: the ioctl reads one int, alive across the call.
    check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const off) }.into())?;
    Ok(())
}

/// Makes `tty` the controlling terminal of the calling session leader.
///
/// # Errors
/// `EPERM` when the caller leads no session or the terminal belongs to another.
pub fn make_controlling(tty: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the argument is a plain 0: do not steal.
    check(unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCSCTTY, 0) }.into())?;
    Ok(())
}

/// Sets the size of a terminal in characters.
///
/// # Errors
/// `ENOTTY`.
pub fn set_size(tty: BorrowedFd<'_>, rows: u16, cols: u16) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: cols,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the ioctl reads one winsize, alive across the call.
    check(unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }.into())?;
    Ok(())
}
