//! Byte-range locks that belong to an open file, not to a process (`F_OFD_SETLK`).
//!
//! The kernel drops one when the last descriptor of its open file is closed: kill -9 of
//! the holder frees it, and a fork that keeps the descriptor keeps the lock.

use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::{Errno, Result};

fn set(file: BorrowedFd<'_>, kind: libc::c_int, start: u32, length: u32) -> Result<()> {
    let kind = libc::c_short::try_from(kind).map_err(|_| Errno::INVAL)?;
    let whence = libc::c_short::try_from(libc::SEEK_SET).map_err(|_| Errno::INVAL)?;
    let range = libc::flock {
        l_type: kind,
        l_whence: whence,
        l_start: libc::off_t::from(start),
        l_len: libc::off_t::from(length),
        l_pid: 0,
    };
    // SAFETY: `range` lives across the call and is what F_OFD_SETLK reads; `l_pid` is 0 as it
    // demands.
    let value = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const range) };
    if value < 0 {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
    } else {
        Ok(())
    }
}

/// Locks `length` bytes from `start` exclusively, all or none, without waiting.
///
/// The file must be open for writing; the bytes need not exist. `length` 0 means to the end of
/// all files, which is refused.
///
/// # Errors
/// `EAGAIN` (or `EACCES`) when another open file holds one of them.
pub fn try_lock(file: BorrowedFd<'_>, start: u32, length: u32) -> Result<()> {
    if length == 0 {
        return Err(Errno::INVAL);
    }
    match set(file, libc::F_WRLCK, start, length) {
        Err(Errno::ACCESS) => Err(Errno::AGAIN),
        other => other,
    }
}

/// Whether another open file holds one of `length` bytes from `start` exclusively
/// (`F_OFD_GETLK`). Any open file will do, one for reading too.
///
/// # Errors
/// `EINVAL` for `length` 0; `EBADF` when the descriptor is no file.
pub fn is_locked(file: BorrowedFd<'_>, start: u32, length: u32) -> Result<bool> {
    if length == 0 {
        return Err(Errno::INVAL);
    }
    let wanted = libc::c_short::try_from(libc::F_RDLCK).map_err(|_| Errno::INVAL)?;
    let whence = libc::c_short::try_from(libc::SEEK_SET).map_err(|_| Errno::INVAL)?;
    let mut range = libc::flock {
        l_type: wanted,
        l_whence: whence,
        l_start: libc::off_t::from(start),
        l_len: libc::off_t::from(length),
        l_pid: 0,
    };
    // SAFETY: `range` lives across the call and is what F_OFD_GETLK reads and writes.
    let value = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut range) };
    if value < 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    Ok(libc::c_int::from(range.l_type) != libc::F_UNLCK)
}

/// Frees `length` bytes from `start`.
///
/// # Errors
/// `EBADF` when the descriptor is no file.
pub fn unlock(file: BorrowedFd<'_>, start: u32, length: u32) -> Result<()> {
    if length == 0 {
        return Err(Errno::INVAL);
    }
    set(file, libc::F_UNLCK, start, length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::AsFd;
    use rustix::fs::{Mode, OFlags};

    #[test]
    fn two_open_files_conflict_and_closing_frees() {
        let path = std::env::temp_dir().join(format!("rkt-lock-{}", std::process::id()));
        let open = || {
            rustix::fs::open(
                &path,
                OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC,
                Mode::RUSR | Mode::WUSR,
            )
            .unwrap()
        };
        let first = open();
        let second = open();
        try_lock(first.as_fd(), 4, 2).unwrap();
        assert_eq!(try_lock(second.as_fd(), 5, 1), Err(Errno::AGAIN));
        assert_eq!(try_lock(second.as_fd(), 0, 5), Err(Errno::AGAIN));
        try_lock(second.as_fd(), 6, 1).unwrap();
        assert_eq!(try_lock(first.as_fd(), 0, 0), Err(Errno::INVAL));
        let reader =
            rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        assert_eq!(is_locked(reader.as_fd(), 4, 2), Ok(true));
        assert_eq!(is_locked(reader.as_fd(), 0, 4), Ok(false));
        assert_eq!(is_locked(reader.as_fd(), 0, 0), Err(Errno::INVAL));
        drop(first);
        assert_eq!(is_locked(reader.as_fd(), 4, 2), Ok(false));
        try_lock(second.as_fd(), 5, 1).unwrap();
        unlock(second.as_fd(), 5, 1).unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}
