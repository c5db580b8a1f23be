//! seccomp: loading a program that was compiled before. No compiler and no policy here.

use rustix::io::{Errno, Result};

/// Bytes of one instruction (`struct sock_filter`).
pub const INSTRUCTION: usize = 8;
/// Most instructions that the kernel takes in one program (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

const SET_MODE_FILTER: libc::c_uint = 1;
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
    let value =
        unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, 0u32, &raw const program) };
    result(value)
}
