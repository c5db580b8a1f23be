//! Signals as something to poll for.

use crate::fd::check;
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::io;

fn set_of(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: an all-zero sigset_t is a valid (empty) set on Linux.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    for signal in signals {
        // SAFETY: `set` is ours; an invalid number changes nothing.
        unsafe { libc::sigaddset(&raw mut set, *signal) };
    }
    set
}

/// Blocks these signals and gives a descriptor that becomes readable when one is pending
/// (`signalfd(2)`).
///
/// # Errors
/// `EMFILE`.
pub fn open(signals: &[i32]) -> io::Result<OwnedFd> {
    let set = set_of(signals);
    // SAFETY: `set` is alive; no old mask is written.
    let done = unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    check(done.into())?;
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: `set` is alive across the call.
    let fd = unsafe { libc::signalfd(-1, &raw const set, flags) };
    let fd = check(fd.into())?;
    // SAFETY: made for us by the call above; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The next pending signal, or `None`.
///
/// # Errors
/// `EINVAL` when `fd` is no signalfd.
pub fn next(fd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    let mut buffer = [0u8; 128];
    match rustix::io::read(fd, &mut buffer) {
        Ok(n) if n >= 4 => {
            let number: [u8; 4] = buffer.first_chunk().copied().unwrap_or_default();
            Ok(Some(i32::from_ne_bytes(number)))
        }
        Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Whether a signal is ignored, as `nohup` leaves SIGHUP.
pub fn is_ignored(signal: i32) -> bool {
    // SAFETY: an all-zero sigaction is a valid value; the call below fills it.
    let mut old: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: no new action is read; `old` is alive and ours.
    let done = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut old) };
    done == 0 && old.sa_sigaction == libc::SIG_IGN
}

/// Gives every signal its default action: execve keeps what is ignored. No allocation.
pub fn default_all() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL installs no code; numbers that cannot be changed give an error only.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Unblocks every signal, as a new program expects. No allocation.
pub fn unblock_all() {
    // SAFETY: an all-zero sigset_t is the empty set.
    let empty: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `empty` is alive; no old mask is written.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const empty, std::ptr::null_mut()) };
}

/// Blocks every signal that can be blocked.
pub fn block_all() {
    // SAFETY: an all-zero sigset_t is a valid value; sigfillset writes to it.
    let mut full: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `full` is ours.
    unsafe { libc::sigfillset(&raw mut full) };
    // SAFETY: `full` is alive; no old mask is written.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const full, std::ptr::null_mut()) };
}

/// Waits for one of `signals` (blocked by the caller) for ever; gives its number.
///
/// # Errors
/// `EINTR` when another signal was handled.
pub fn wait_for(signals: &[i32]) -> io::Result<i32> {
    let set = set_of(signals);
    // SAFETY: `set` is alive; no siginfo and no time-out are passed. The kernel's own set is
    // 8 bytes long on every architecture we build for.
    let got = check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigtimedwait,
            &raw const set,
            std::ptr::null::<libc::siginfo_t>(),
            std::ptr::null::<libc::timespec>(),
            8usize,
        )
    })?;
    Ok(got as i32)
}

/// Signals a process by pidfd (`pidfd_send_signal(2)`, Linux 5.1).
///
/// # Errors
/// `ESRCH` when it is gone.
pub fn send(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: integers and a null siginfo.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            info,
            0,
        )
    })?;
    Ok(())
}

/// The calling thread's blocked signals at some time; put back when it is dropped.
pub struct Mask(libc::sigset_t);

impl Mask {
    /// Remembers what is blocked now.
    ///
    /// # Errors
    /// None on Linux; the call has no other way to fail than a bad address.
    pub fn save() -> io::Result<Self> {
        // SAFETY: an all-zero sigset_t is a valid value; the call below fills it.
        let mut old: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: no new mask is read; `old` is alive and ours.
        let done =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut old) };
        match done {
            0 => Ok(Self(old)),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

impl Drop for Mask {
    fn drop(&mut self) {
        // SAFETY: the mask is alive; no old one is written.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut())
        };
    }
}
