//! seccomp: loading a program that was compiled before. No compiler and no policy here.

use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::{Errno, Result};

/// Bytes of one instruction (`struct sock_filter`).
pub const INSTRUCTION: usize = 8;
/// Most instructions that the kernel takes in one program (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

const SET_MODE_FILTER: libc::c_uint = 1;
const NEW_LISTENER: libc::c_uint = 1 << 3;
const GET_ACTION_AVAIL: libc::c_uint = 2;
const RET_ERRNO: u32 = 0x0005_0000;

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    length: libc::c_ushort,
    filter: *const u8,
}

fn result(value: libc::c_long) -> Result<()> {
    if value < 0 {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
    } else {
        Ok(())
    }
}

/// Whether this kernel can refuse a system call by a filter.
pub fn available() -> bool {
    let action = RET_ERRNO;
    // SAFETY: the kernel reads four bytes of `action`, which lives across the call.
    let value =
        unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0u32, &raw const action) };
    result(value).is_ok()
}

/// Loads a program (`sock_filter`s of 8 bytes in host order) for the calling thread and all it
/// forks or executes from now on; it can never be taken off.
///
/// Needs `CAP_SYS_ADMIN` in the caller's user namespace or no_new_privs. Does not allocate, so
/// it may be called after a fork.
///
/// # Errors
/// `EINVAL` when the length is no multiple of 8, is 0 or above 4096 instructions, or the kernel
/// refuses the program; `EACCES` without the privilege.
pub fn load(program: &[u8]) -> Result<()> {
    install(program, 0).map(drop)
}

/// As [`load`], and gives a descriptor (close-on-exec) on which the calls arrive that the program
/// asks about (`SECCOMP_RET_USER_NOTIF`, Linux 5.0).
///
/// # Errors
/// As [`load`]; `EBUSY` when a filter of the caller has a listener already.
pub fn load_listening(program: &[u8]) -> Result<OwnedFd> {
    let number = install(program, NEW_LISTENER)?;
    let number = std::os::fd::RawFd::try_from(number).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel has just made this descriptor for us and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn install(program: &[u8], flags: libc::c_uint) -> Result<libc::c_long> {
    let count = program.len() / INSTRUCTION;
    if !program.len().is_multiple_of(INSTRUCTION) || count == 0 || count > MAX_INSTRUCTIONS {
        return Err(Errno::INVAL);
    }
    let Ok(length) = libc::c_ushort::try_from(count) else {
        return Err(Errno::INVAL);
    };
    let program = Program {
        length,
        filter: program.as_ptr(),
    };
    // SAFETY: `filter` points to `length` instructions of 8 bytes (checked above) that outlive
    // the call; the kernel copies them byte by byte, so their alignment does not matter.
    let value = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    result(value).map(|()| value)
}

/// A refused call that waits for its answer (`struct seccomp_notif`).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Notification {
    /// Names it for the answer.
    pub id: u64,
    /// Who asks, in the reader's PID namespace.
    pub pid: u32,
    flags: u32,
    /// Number of the call.
    pub number: u32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    instruction: u64,
    /// Its arguments.
    pub args: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
struct Answer {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// `SECCOMP_IOCTL_NOTIF_RECV`.
const RECEIVE: libc::Ioctl = 0xc050_2100_u32 as libc::Ioctl;
/// `SECCOMP_IOCTL_NOTIF_SEND`.
const SEND: libc::Ioctl = 0xc018_2101_u32 as libc::Ioctl;

/// Takes the next call that waits at a listener; blocks until there is one.
///
/// # Errors
/// `ENOENT` when the caller was killed meanwhile, `EINTR`.
pub fn receive(listener: BorrowedFd<'_>) -> Result<Notification> {
    let mut one = Notification::default();
    // SAFETY: the kernel wants a zeroed record and fills its 80 bytes; it lives across the call.
    let value = unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE, &raw mut one) };
    result(value.into()).map(|()| one)
}

/// Lets a waiting call fail with an errno, 1..=4095.
///
/// # Errors
/// `ENOENT` when its caller is gone.
pub fn refuse(listener: BorrowedFd<'_>, id: u64, errno: u16) -> Result<()> {
    let answer = Answer {
        id,
        value: 0,
        error: -i32::from(errno),
        flags: 0,
    };
    // SAFETY: the kernel reads the 24 bytes of `answer`, which lives across the call.
    let value = unsafe { libc::ioctl(listener.as_raw_fd(), SEND, &raw const answer) };
    result(value.into())
}

/// `PTRACE_EVENT_STOP`, in the third byte of a wait status.
const EVENT_STOP: i32 = 128;
/// `PTRACE_SECCOMP_GET_FILTER`.
const GET_FILTER: libc::c_uint = 0x420c;
/// Most filters that are read of one thread.
const MOST_FILTERS: usize = 64;

/// What was seen of the filters of a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The programs, each `sock_filter`s of 8 bytes in host order.
    Programs(Vec<Vec<u8>>),
    /// It ended meanwhile, or the number is another thread's.
    Gone,
    /// It did not stop in time: it waits for something that no signal interrupts.
    Busy,
}

/// Reads the filters of a thread as they were loaded. The thread is seized, and stopped while they
/// are copied; a call that it waits in is interrupted as by SIGSTOP and SIGCONT. Its parent
/// sees nothing of it.
///
/// `is_it` is asked when the number can be given to nobody else any more, and before anything is stopped.
/// The caller must be a thread that ends soon after: the kernel then lets go of one that did not stop.
///
/// # Errors
/// `EPERM` when something else traces it, or this process may not; `EACCES` without `CAP_SYS_ADMIN`,
/// or when this process has a filter of its own; `EIO` or `EINVAL` from a kernel that does not tell
/// (before 4.4, or without `CONFIG_CHECKPOINT_RESTORE`).
pub fn programs_of(
    thread: rustix::process::Pid,
    patience: std::time::Duration,
    is_it: impl FnOnce() -> bool,
) -> Result<Seen> {
    let id = thread.as_raw_nonzero().get();
    match ask(libc::PTRACE_SEIZE, id, 0, 0) {
        Err(Errno::SRCH) => return Ok(Seen::Gone),
        other => other?,
    };
    if !is_it() {
        // Only a stopped one can be let go by name. The end of this thread does it for this one.
        return Ok(Seen::Gone);
    }
    ask(libc::PTRACE_INTERRUPT, id, 0, 0)?;
    let end = std::time::Instant::now() + patience;
    let status = loop {
        let mut status = 0;
        // SAFETY: `status` is a valid place for an int across the call.
        let found = unsafe { libc::waitpid(id, &raw mut status, libc::__WALL | libc::WNOHANG) };
        if found == id {
            break status;
        }
        if found < 0 {
            return Ok(Seen::Gone);
        }
        if std::time::Instant::now() >= end {
            return Ok(Seen::Busy);
        }
        std::thread::sleep(std::time::Duration::from_micros(50));
    };
    if !libc::WIFSTOPPED(status) {
        return Ok(Seen::Gone);
    }
    let programs = (0..MOST_FILTERS).map(|n| program(id, n));
    let programs: Result<Vec<_>> = programs.take_while(|p| *p != Err(Errno::NOENT)).collect();
    // A signal that it was about to get is given to it.
    let signal = match status >> 16 {
        EVENT_STOP => 0,
        _ => libc::WSTOPSIG(status),
    };
    match ask(
        libc::PTRACE_DETACH,
        id,
        0,
        usize::try_from(signal).unwrap_or(0),
    ) {
        Err(Errno::SRCH) => Ok(Seen::Gone),
        Err(e) => Err(e),
        Ok(_) => programs.map(Seen::Programs),
    }
}

/// One program of a stopped thread.
fn program(id: i32, number: usize) -> Result<Vec<u8>> {
    let length = ask(GET_FILTER, id, number, 0)?;
    // The length cannot change: the thread is stopped.
    let mut bytes = vec![0; length.saturating_mul(INSTRUCTION)];
    let place = bytes.as_mut_ptr() as usize;
    let length = ask(GET_FILTER, id, number, place)?;
    bytes.truncate(length.saturating_mul(INSTRUCTION));
    Ok(bytes)
}

fn ask(request: libc::c_uint, id: i32, address: usize, data: usize) -> Result<usize> {
    // SAFETY: seize, interrupt and detach take no memory of ours; for GET_FILTER `data` is null or
    // a place as long as the kernel said a moment ago that the program of this stopped thread is.
    let value = unsafe { libc::ptrace(request, id, address, data) };
    result(value)?;
    Ok(usize::try_from(value).unwrap_or(0))
}
