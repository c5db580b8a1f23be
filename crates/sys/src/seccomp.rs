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
