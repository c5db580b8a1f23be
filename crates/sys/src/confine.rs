//! A seccomp program of the simplest kind, for a process that computes and reads and writes
//! descriptors it already has: a few calls pass, every other one kills.

use rustix::io::Result;

const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_BITS: u16 = 0x45;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;
const THIRD_ARGUMENT: u32 = 32;

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;

/// Calls that neither open nor reach anything: memory, time, and input and output on what is open.
const PLAIN: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_ftruncate,
    libc::SYS_fcntl,
    libc::SYS_close,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];
/// Calls that pass unless they ask for executable memory (third argument).
const MEMORY: &[libc::c_long] = &[libc::SYS_mmap, libc::SYS_mprotect];

fn put(program: &mut Vec<u8>, code: u16, then: u8, otherwise: u8, value: u32) {
    program.extend_from_slice(&code.to_ne_bytes());
    program.extend_from_slice(&[then, otherwise]);
    program.extend_from_slice(&value.to_ne_bytes());
}

/// Leaves the calling process nothing but computing, and reading and writing what it has open.
///
/// Needs no_new_privs or CAP_SYS_ADMIN in the own user namespace. Any other call kills it (SIGSYS).
/// It can still signal itself.
///
/// # Errors
/// As [`crate::seccomp::load`].
pub fn compute_only() -> Result<()> {
    let mut program = Vec::new();
    put(&mut program, LOAD, 0, 0, ARCHITECTURE);
    put(&mut program, JUMP_EQUAL, 1, 0, NATIVE);
    put(&mut program, RETURN, 0, 0, KILL_PROCESS);
    put(&mut program, LOAD, 0, 0, NUMBER);
    for call in PLAIN {
        put(&mut program, JUMP_EQUAL, 0, 1, *call as u32);
        put(&mut program, RETURN, 0, 0, ALLOW);
    }
    for call in MEMORY {
        put(&mut program, JUMP_EQUAL, 0, 4, *call as u32);
        put(&mut program, LOAD, 0, 0, THIRD_ARGUMENT);
        put(&mut program, JUMP_BITS, 0, 1, libc::PROT_EXEC as u32);
        put(&mut program, RETURN, 0, 0, KILL_PROCESS);
        put(&mut program, RETURN, 0, 0, ALLOW);
    }
    // abort(3) signals its own thread; nobody else of the same uid may be signalled.
    put(&mut program, JUMP_EQUAL, 0, 4, libc::SYS_tgkill as u32);
    put(&mut program, LOAD, 0, 0, FIRST_ARGUMENT);
    put(&mut program, JUMP_EQUAL, 0, 1, std::process::id());
    put(&mut program, RETURN, 0, 0, ALLOW);
    put(&mut program, RETURN, 0, 0, KILL_PROCESS);
    put(&mut program, RETURN, 0, 0, KILL_PROCESS);
    crate::seccomp::load(&program)
}
