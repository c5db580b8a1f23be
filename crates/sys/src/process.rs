//! Processes: clone3, execve, pidfd waits.
//!
//! Every caller is single-threaded; a child made here shares nothing with its parent but
//! copies of memory, so allocation in it is possible, though stage2 forbids itself that.

use crate::fd::check;
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::io;

/// What [`clone3`] gives: one call, two returns.
#[derive(Debug)]
pub enum Cloned {
    /// In the parent.
    Parent {
        /// Pid of the child in the caller's PID namespace.
        pid: u32,
        /// A stable handle on the child.
        pidfd: OwnedFd,
    },
    /// In the child.
    Child,
}

/// `CLONE_NEW*` and friends, as `clone3(2)` takes them.
pub mod flags {
    /// The child becomes the caller's sibling; its exit signal is the caller's own.
    pub const PARENT: u64 = libc::CLONE_PARENT as u64;
    /// New PID namespace.
    pub const NEWPID: u64 = libc::CLONE_NEWPID as u64;
    /// New mount namespace.
    pub const NEWNS: u64 = libc::CLONE_NEWNS as u64;
    /// New user namespace.
    pub const NEWUSER: u64 = libc::CLONE_NEWUSER as u64;
    /// New network namespace.
    pub const NEWNET: u64 = libc::CLONE_NEWNET as u64;
    /// New IPC namespace.
    pub const NEWIPC: u64 = libc::CLONE_NEWIPC as u64;
    /// New UTS namespace.
    pub const NEWUTS: u64 = libc::CLONE_NEWUTS as u64;
    /// New cgroup namespace.
    pub const NEWCGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
}

#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Forks, with namespaces, a pidfd and a v2 cgroup to be born in (`clone3(2)`, Linux 5.3;
/// `CLONE_INTO_CGROUP` 5.7). The child continues with a copy of the caller's memory.
///
/// The caller must be single-threaded: a copy of another thread's held lock would never open.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN for namespaces, `EAGAIN` at a process limit, `EBUSY` or
/// `EOPNOTSUPP` for a cgroup that takes no processes.
pub fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    const PIDFD: u64 = libc::CLONE_PIDFD as u64;
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut pidfd: i32 = -1;
    let mut args = CloneArgs {
        flags: flags | PIDFD,
        pidfd: (&raw mut pidfd) as u64,
        // CLONE_PARENT takes the caller's own exit signal and refuses another.
        exit_signal: if flags & flags::PARENT == 0 {
            libc::SIGCHLD as u64
        } else {
            0
        },
        ..CloneArgs::default()
    };
    if let Some(fd) = cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = fd.as_raw_fd() as u64;
    }
    // SAFETY: no stack and no CLONE_VM, so the child runs on a copy of this very frame, as after
    // fork(2); the kernel writes only `pidfd`, which outlives the call. The caller keeps the
    // promise to be single-threaded.
    let pid =
        check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) })?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    // SAFETY: the kernel made this descriptor for us in the call above and nothing else owns it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Cloned::Parent {
        pid: pid as u32,
        pidfd,
    })
}

/// Ends the process at once, running no destructor and no exit handler (`_exit(2)`).
pub fn exit(status: i32) -> ! {
    // SAFETY: takes an integer and does not return.
    unsafe { libc::_exit(status) }
}

/// Digits of the largest number of [`CStrings::set_number`].
const DIGITS: usize = 10;

/// Strings and the NULL-ended array of pointers to them, as execve wants them; made before a
/// fork so that the child need not allocate.
#[derive(Debug)]
pub struct CStrings {
    pointers: Vec<*const libc::c_char>,
    strings: Vec<CString>,
    /// A string whose end is written after the fork, and where that end begins.
    late: Option<(Box<[Cell<u8>]>, usize)>,
}

impl CStrings {
    /// Copies the strings.
    ///
    /// # Errors
    /// `EINVAL` when one holds a NUL byte.
    pub fn new<I>(strings: I) -> io::Result<Self>
    where
        I: IntoIterator,
        I::Item: Into<Vec<u8>>,
    {
        let strings = strings
            .into_iter()
            .map(|s| CString::new(s).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL)))
            .collect::<io::Result<Vec<_>>>()?;
        let mut pointers: Vec<_> = strings.iter().map(|s| s.as_ptr()).collect();
        pointers.push(std::ptr::null());
        Ok(Self {
            pointers,
            strings,
            late: None,
        })
    }

    /// Adds a string that ends in a number which is known only after the fork: see
    /// [`CStrings::set_number`]. There can be one; a second takes the place of the first.
    #[must_use]
    pub fn with_number(mut self, before: &str) -> Self {
        let digits = [b'0'; DIGITS];
        let text = before.bytes().chain(digits).chain([0]).map(Cell::new);
        let text: Box<[Cell<u8>]> = text.collect();
        // A `Cell<u8>` has the layout of its byte.
        let pointer = text.as_ptr().cast::<libc::c_char>();
        let end = self.pointers.len().saturating_sub(1);
        if self.late.is_some() {
            self.pointers.remove(end.saturating_sub(1));
        }
        let end = self.pointers.len().saturating_sub(1);
        self.pointers.insert(end, pointer);
        self.late = Some((text, before.len()));
        self
    }

    /// Writes the number, without allocation.
    pub fn set_number(&self, number: u32) {
        let Some((text, from)) = &self.late else {
            return;
        };
        let room = text.get(*from..).unwrap_or(&[]);
        let mut digits = 1;
        let mut rest = number / 10;
        while rest > 0 {
            digits += 1;
            rest /= 10;
        }
        let mut rest = number;
        for cell in room.iter().take(digits).rev() {
            cell.set(b'0' + (rest % 10) as u8);
            rest /= 10;
        }
        if let Some(end) = room.get(digits) {
            end.set(0);
        }
    }

    /// The strings themselves.
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }
}

/// Replaces the program (`execve(2)`). Returns only with an error.
pub fn execve(path: &CStr, argv: &CStrings, envp: &CStrings) -> io::Error {
    // SAFETY: `path` and both arrays are NUL- and NULL-terminated and live across the call.
    unsafe {
        libc::execve(
            path.as_ptr(),
            argv.pointers.as_ptr(),
            envp.pointers.as_ptr(),
        )
    };
    io::Error::last_os_error()
}

/// Replaces the program by the file behind a descriptor (`execveat(2)`, `AT_EMPTY_PATH`).
/// Returns only with an error; scripts give `ENOENT` when `fd` is close-on-exec.
pub fn execve_fd(fd: BorrowedFd<'_>, argv: &CStrings, envp: &CStrings) -> io::Error {
    // SAFETY: the empty path and both arrays are terminated and live across the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            argv.pointers.as_ptr(),
            envp.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It called exit with this status.
    Exited(u8),
    /// This signal killed it.
    Killed(u8),
}

impl Ended {
    /// The status a shell would show: the exit status, or 128 + signal.
    pub fn status(self) -> u8 {
        match self {
            Self::Exited(status) => status,
            Self::Killed(signal) => 128u8.saturating_add(signal),
        }
    }
}

fn wait(kind: libc::idtype_t, id: libc::id_t, options: i32) -> io::Result<Option<(u32, Ended)>> {
    loop {
        // SAFETY: an all-zero siginfo_t is a valid value of that plain C struct.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: `info` outlives the call; the kernel writes nothing else.
        let done = unsafe { libc::waitid(kind, id, &raw mut info, options | libc::WEXITED) };
        if done != 0 {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        }
        // SAFETY: after a successful waitid the SIGCHLD members of the union are the valid ones,
        // and si_pid is zero when nothing was reported.
        let pid = unsafe { info.si_pid() };
        if pid == 0 {
            return Ok(None);
        }
        // SAFETY: as above.
        let status = unsafe { info.si_status() };
        let ended = if info.si_code == libc::CLD_EXITED {
            Ended::Exited(status as u8)
        } else {
            Ended::Killed((status & 0x7f) as u8)
        };
        return Ok(Some((pid as u32, ended)));
    }
}

/// Waits for one child to end and reaps it (`waitid(2)`, `P_PIDFD`, Linux 5.4).
///
/// # Errors
/// `ECHILD` when it is no child of ours or was reaped already.
pub fn wait_pidfd(pidfd: BorrowedFd<'_>) -> io::Result<Ended> {
    loop {
        if let Some((_, ended)) =
            wait(libc::P_PIDFD, pidfd.as_raw_fd() as libc::id_t, libc::__WALL)?
        {
            return Ok(ended);
        }
    }
}

/// Reaps one child if it has ended; `None` while it lives.
///
/// # Errors
/// As [`wait_pidfd`].
pub fn try_wait_pidfd(pidfd: BorrowedFd<'_>) -> io::Result<Option<Ended>> {
    let found = wait(
        libc::P_PIDFD,
        pidfd.as_raw_fd() as libc::id_t,
        libc::__WALL | libc::WNOHANG,
    )?;
    Ok(found.map(|(_, ended)| ended))
}

/// Reaps any one ended child; `None` when there is none (any more).
pub fn try_wait_any() -> Option<(u32, Ended)> {
    wait(libc::P_ALL, 0, libc::__WALL | libc::WNOHANG)
        .ok()
        .flatten()
}

/// Waits for any one child to end and reaps it; `None` when there is no child left.
pub fn wait_any() -> Option<(u32, Ended)> {
    loop {
        match wait(libc::P_ALL, 0, libc::__WALL) {
            Ok(Some(found)) => return Some(found),
            Ok(None) => {}
            Err(_) => return None,
        }
    }
}

/// Runs `body` in a forked child and returns its pidfd; the child exits with what `body` returns.
///
/// # Errors
/// As [`clone3`].
pub fn fork_with(flags: u64, body: impl FnOnce() -> i32) -> io::Result<(u32, OwnedFd)> {
    match clone3(flags, None)? {
        Cloned::Parent { pid, pidfd } => Ok((pid, pidfd)),
        Cloned::Child => exit(body()),
    }
}

/// Gives the process a session keyring of its own, so that it shares none with its parent
/// (`keyctl(KEYCTL_JOIN_SESSION_KEYRING)`).
///
/// # Errors
/// `ENOSYS` when the kernel has no keys, `EDQUOT` at a quota.
pub fn join_session_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: i32 = 1;
    // SAFETY: an operation and a null name; the kernel reads no memory of ours.
    check(unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            JOIN_SESSION_KEYRING,
            std::ptr::null::<u8>(),
        )
    })?;
    Ok(())
}

/// Reaps one ended child of any kind by `wait4(2)`; whether there was one. For init, whose
/// filter knows `wait4` only.
pub fn reap_one() -> bool {
    let mut status = 0i32;
    let none: *mut libc::rusage = std::ptr::null_mut();
    let options = libc::WNOHANG | libc::__WALL;
    // SAFETY: `status` outlives the call and no resource usage is written.
    unsafe { libc::syscall(libc::SYS_wait4, -1, &raw mut status, options, none) > 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_where_room_was_kept() {
        let strings = CStrings::new(["A=b"]).unwrap().with_number("PID=");
        assert_eq!(strings.pointers.len(), 3);
        assert!(strings.pointers[2].is_null());
        let (text, _) = strings.late.as_ref().unwrap();
        assert_eq!(strings.pointers[1], text.as_ptr().cast());
        let read = || {
            let all = text.iter().map(Cell::get);
            String::from_utf8(all.take_while(|b| *b != 0).collect()).unwrap()
        };
        for number in [0, 7, 10, 4_194_304, u32::MAX, 3] {
            strings.set_number(number);
            assert_eq!(read(), format!("PID={number}"));
        }
    }
}
