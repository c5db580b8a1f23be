//! Calls that only an attacker makes.
//!
//! The probe makes them to show that they are refused; nothing else of rkt needs them.
//! They are here because every raw call is here. No argument can harm the caller's own
//! memory; what they do to the rest of the system is the point.

use libc::{c_int, c_long, c_ulong, c_void};
use rustix::io::{Errno, Result};
use rustix::process::Pid;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

mod harmless;
pub use harmless::{HARMLESS, Harmless};

/// The outcome of a raw call.
fn check(value: c_long) -> Result<usize> {
    usize::try_from(value).map_err(|_| {
        let code = std::io::Error::last_os_error().raw_os_error();
        Errno::from_raw_os_error(code.unwrap_or(libc::EIO))
    })
}

/// The pid that a successful clone returned.
fn pid_of(value: usize) -> Result<Pid> {
    i32::try_from(value)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(Errno::INVAL)
}

/// Forks: `Some(pid)` in the parent, `None` in the child.
///
/// For programs of one thread, as the probe is: in others the child may do nothing but
/// what is safe in a signal handler.
///
/// # Errors
/// `EAGAIN` at a limit on tasks, `ENOMEM`.
pub fn fork() -> Result<Option<Pid>> {
    // SAFETY: no arguments; glibc's fork leaves its own locks usable in the child, and the
    // caller has one thread, so no lock of ours is held by a thread that is gone.
    match check(c_long::from(unsafe { libc::fork() }))? {
        0 => Ok(None),
        pid => pid_of(pid).map(Some),
    }
}

/// Ends the process without running anything else.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: never returns; no handler and no destructor runs, which is what is asked for.
    unsafe { libc::_exit(status) }
}

/// Makes a child by `clone(2)` with these `CLONE_NEW*` flags; it exits at once with 0.
///
/// # Errors
/// `EPERM` where the flags need a privilege, `ENOSPC` at a limit on namespaces.
pub fn clone_and_exit(flags: u32) -> Result<Pid> {
    let flags = c_ulong::from(flags) | c_ulong::from(libc::SIGCHLD.unsigned_abs());
    // SAFETY: without CLONE_VM and with no new stack this is a fork; the child below
    // makes one call and never returns.
    let value = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    if value == 0 {
        exit_now(0);
    }
    pid_of(check(value)?)
}

/// As [`clone_and_exit`] by `clone3(2)`, into a cgroup if one is given.
///
/// # Errors
/// As [`clone_and_exit`]; `ENOSYS` where a filter hides the call.
pub fn clone3_and_exit(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Pid> {
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut args = [0u64; 11];
    args[0] = flags | if cgroup.is_some() { INTO_CGROUP } else { 0 };
    args[4] = u64::from(libc::SIGCHLD.unsigned_abs());
    args[10] = cgroup.map_or(0, |fd| u64::from(fd.as_raw_fd().unsigned_abs()));
    // SAFETY: `args` is a `struct clone_args` of 88 bytes that outlives the call; without
    // CLONE_VM this is a fork, and the child never returns.
    let value = unsafe { libc::syscall(libc::SYS_clone3, args.as_ptr(), size_of_val(&args)) };
    if value == 0 {
        exit_now(0);
    }
    pid_of(check(value)?)
}

/// Leaves namespaces for new ones, by `CLONE_NEW*` flags (`unshare(2)`).
///
/// # Errors
/// As [`clone_and_exit`].
pub fn unshare(flags: u32) -> Result<()> {
    let flags = i32::try_from(flags).map_err(|_| Errno::INVAL)?;
    // SAFETY: an integer in, an integer out; CLONE_FILES and CLONE_VM are no danger to a
    // process of one thread.
    check(c_long::from(unsafe { libc::unshare(flags) })).map(drop)
}

/// Changes attributes of the mount at `path` below `dir` (`mount_setattr(2)`, Linux 5.12).
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN over the mount namespace, or for a locked flag.
pub fn mount_setattr(
    dir: BorrowedFd<'_>,
    path: &CStr,
    flags: u32,
    set: u64,
    clear: u64,
) -> Result<()> {
    let attr = [set, clear, 0, 0];
    // SAFETY: `path` ends in NUL, `attr` is a `struct mount_attr` of 32 bytes; both outlive
    // the call, which only reads them.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir.as_raw_fd(),
            path.as_ptr(),
            flags,
            attr.as_ptr(),
            size_of_val(&attr),
        )
    })
    .map(drop)
}

/// How to take hold of a process with `ptrace(2)`.
#[derive(Debug, Clone, Copy)]
pub enum Trace {
    /// `PTRACE_ATTACH`: stops it.
    Attach,
    /// `PTRACE_SEIZE`: leaves it running.
    Seize,
}

/// Takes hold of a process and lets go.
///
/// # Errors
/// `EPERM` when this process may not trace it, `ESRCH`.
pub fn trace(pid: Pid, how: Trace) -> Result<()> {
    let request = match how {
        Trace::Attach => libc::PTRACE_ATTACH,
        Trace::Seize => libc::PTRACE_SEIZE,
    };
    let pid = pid.as_raw_pid();
    let none = std::ptr::null_mut::<c_void>();
    // SAFETY: attach and seize take no memory of ours (address and data are null).
    check(unsafe { libc::ptrace(request, pid, none, none) })?;
    let mut status = 0;
    // SAFETY: `status` is a valid place for an int; detach takes no memory of ours.
    unsafe {
        if matches!(how, Trace::Attach) {
            libc::waitpid(pid, &raw mut status, libc::__WALL);
        }
        libc::ptrace(libc::PTRACE_DETACH, pid, none, none);
    }
    Ok(())
}

/// Reads memory of another process at `address` (`process_vm_readv(2)`); how many bytes.
///
/// # Errors
/// `EPERM` when this process may not trace it; `EFAULT` when nothing is mapped there,
/// which is said only to those who may.
pub fn read_memory(pid: Pid, address: usize, into: &mut [u8]) -> Result<usize> {
    let here = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    let there = libc::iovec {
        iov_base: address as *mut c_void,
        iov_len: into.len(),
    };
    // SAFETY: `here` describes `into`, which is ours to write; `there` is an address of the
    // other process, which the kernel checks.
    let n = unsafe {
        libc::process_vm_readv(pid.as_raw_pid(), &raw const here, 1, &raw const there, 1, 0)
    };
    check(n as c_long)
}

/// Compares a descriptor of two processes (`kcmp(2)`).
///
/// # Errors
/// `EPERM` unless both may be traced.
pub fn compare_files(one: Pid, other: Pid) -> Result<usize> {
    const KCMP_FILE: c_int = 0;
    // SAFETY: five integers in, an integer out.
    check(unsafe {
        libc::syscall(
            libc::SYS_kcmp,
            one.as_raw_pid(),
            other.as_raw_pid(),
            KCMP_FILE,
            0,
            0,
        )
    })
}

/// Sends a signal by `tgkill(2)` to a process's first thread.
///
/// # Errors
/// `EPERM`, `ESRCH`.
pub fn signal_thread(pid: Pid, signal: i32) -> Result<()> {
    let pid = pid.as_raw_pid();
    // SAFETY: three integers in, an integer out.
    check(unsafe { libc::syscall(libc::SYS_tgkill, pid, pid, signal) }).map(drop)
}

/// Sends a signal with a value by `rt_sigqueueinfo(2)`.
///
/// # Errors
/// `EPERM`, `ESRCH`.
pub fn signal_queue(pid: Pid, signal: i32) -> Result<()> {
    let value = libc::sigval {
        sival_ptr: std::ptr::null_mut(),
    };
    // SAFETY: two integers and a value that the kernel does not follow.
    check(c_long::from(unsafe {
        libc::sigqueue(pid.as_raw_pid(), signal, value)
    }))
    .map(drop)
}

/// Sends any signal 0..=64 to a process; negative pids are groups, as in `kill(2)`.
///
/// # Errors
/// `EPERM`, `ESRCH`, `EINVAL`.
pub fn signal_any(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: two integers in, an integer out.
    check(c_long::from(unsafe { libc::kill(pid, signal) })).map(drop)
}

/// Sets a process's I/O priority to the middle of best effort.
///
/// # Errors
/// `EPERM`, `ESRCH`.
pub fn set_io_priority(pid: Pid) -> Result<()> {
    const WHO_PROCESS: c_int = 1;
    const BEST_EFFORT_4: c_int = 2 << 13 | 4;
    // SAFETY: three integers in, an integer out.
    check(unsafe {
        libc::syscall(
            libc::SYS_ioprio_set,
            WHO_PROCESS,
            pid.as_raw_pid(),
            BEST_EFFORT_4,
        )
    })
    .map(drop)
}

/// Pushes one byte into a terminal's input (`TIOCSTI`).
///
/// # Errors
/// `EPERM`, `EIO` or `ENOTTY`; `EPERM` from a filter.
pub fn push_input(tty: BorrowedFd<'_>, byte: u8) -> Result<()> {
    // SAFETY: the call reads one byte, and `byte` is one.
    let r = unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCSTI, &raw const byte) };
    check(c_long::from(r)).map(drop)
}

/// Asks a virtual console for its paste (`TIOCLINUX` 3).
///
/// # Errors
/// `ENOTTY` where it is no console; `EPERM` from a filter.
pub fn paste_input(tty: BorrowedFd<'_>) -> Result<()> {
    let mut code = [3u8; 8];
    // SAFETY: sub-code 3 reads and writes no more than the first byte of `code`.
    let r = unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCLINUX, code.as_mut_ptr()) };
    check(c_long::from(r)).map(drop)
}

/// Opens a file by a handle (`open_by_handle_at(2)`): `kind` is the file system's, `bytes`
/// the handle's body, at most 128 bytes.
///
/// # Errors
/// `EPERM` without CAP_DAC_READ_SEARCH over the host, `ESTALE` for a wrong handle.
pub fn open_by_handle(mount: BorrowedFd<'_>, kind: i32, bytes: &[u8]) -> Result<OwnedFd> {
    #[repr(C)]
    struct Handle {
        length: u32,
        kind: i32,
        body: [u8; 128],
    }
    let mut handle = Handle {
        length: 0,
        kind,
        body: [0; 128],
    };
    let body = handle.body.get_mut(..bytes.len()).ok_or(Errno::INVAL)?;
    body.copy_from_slice(bytes);
    handle.length = u32::try_from(bytes.len()).map_err(|_| Errno::INVAL)?;
    // SAFETY: `handle` has `length` bytes of body and outlives the call, which reads it.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            mount.as_raw_fd(),
            &raw const handle,
            libc::O_RDONLY | libc::O_CLOEXEC,
        )
    })?;
    owned(fd)
}

/// Takes a descriptor that a call has just made.
fn owned(fd: usize) -> Result<OwnedFd> {
    let fd = c_int::try_from(fd).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel made `fd` for us in the call before, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Operations on the kernel's keyrings (`keyctl(2)`, `add_key(2)`).
#[derive(Debug, Clone, Copy)]
pub enum Keys {
    /// The serial number of the session keyring.
    Session,
    /// Joins a new session keyring.
    Join,
    /// Adds a key `rkt-probe` to the session keyring.
    Add,
    /// Searches the session keyring for `rkt-probe-secret`.
    Request,
}

/// Does one operation; the result is a serial number.
///
/// # Errors
/// `EPERM` from a filter, `ENOKEY`, `EACCES`.
pub fn keys(operation: Keys) -> Result<usize> {
    const SESSION: c_int = -3;
    let (kind, name, none) = (c"user", c"rkt-probe", std::ptr::null::<u8>());
    // SAFETY: strings end in NUL, the payload is nine bytes of `name`; all are only read.
    check(unsafe {
        match operation {
            Keys::Session => libc::syscall(libc::SYS_keyctl, 0, SESSION, 0),
            Keys::Join => libc::syscall(libc::SYS_keyctl, 1, none),
            Keys::Add => libc::syscall(
                libc::SYS_add_key,
                kind.as_ptr(),
                name.as_ptr(),
                name.as_ptr(),
                9,
                SESSION,
            ),
            Keys::Request => libc::syscall(
                libc::SYS_request_key,
                kind.as_ptr(),
                c"rkt-probe-secret".as_ptr(),
                none,
                SESSION,
            ),
        }
    })
}

/// The version of Landlock that this kernel has.
///
/// # Errors
/// `ENOSYS` or `EOPNOTSUPP` where there is none.
pub fn landlock_version() -> Result<usize> {
    // SAFETY: with the flag VERSION (1) the pointer must be null and the size 0.
    check(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0, 0, 1) })
}

/// Puts the calling thread under one more Landlock layer, which only forbids to make
/// character devices. `E2BIG` after the sixteenth: so layers can be counted.
///
/// # Errors
/// `E2BIG`; `EPERM` without no_new_privs; `ENOSYS`.
pub fn landlock_nest() -> Result<()> {
    const MAKE_CHAR: u64 = 1 << 6;
    let attr = MAKE_CHAR;
    // SAFETY: `attr` is the first field of `struct landlock_ruleset_attr`, 8 bytes, read only.
    let ruleset = owned(check(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const attr,
            size_of_val(&attr),
            0,
        )
    })?)?;
    // SAFETY: two integers in, an integer out.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) })
        .map(drop)
}

/// A kind of System V object.
#[derive(Debug, Clone, Copy)]
pub enum Ipc {
    /// Shared memory.
    Memory,
    /// A message queue.
    Messages,
    /// A set of semaphores.
    Semaphores,
}

/// Makes an object with mode 0600; its id.
///
/// # Errors
/// `ENOSPC` at a limit.
pub fn ipc_make(kind: Ipc) -> Result<i32> {
    let flags = libc::IPC_CREAT | 0o600;
    // SAFETY: integers in, an integer out.
    let id = unsafe {
        match kind {
            Ipc::Memory => libc::shmget(libc::IPC_PRIVATE, 4096, flags),
            Ipc::Messages => libc::msgget(libc::IPC_PRIVATE, flags),
            Ipc::Semaphores => libc::semget(libc::IPC_PRIVATE, 1, flags),
        }
    };
    check(c_long::from(id)).map(|_| id)
}

/// Uses an object as one who may read it: attaches, receives without waiting, reads a value.
///
/// # Errors
/// `EACCES` when this process may not, `EINVAL` when there is none of this id; `ENOMSG`
/// (messages) says that it may.
pub fn ipc_use(kind: Ipc, id: i32) -> Result<()> {
    match kind {
        Ipc::Memory => {
            // SAFETY: the kernel picks a free address; the mapping is given back unread.
            let at = unsafe { libc::shmat(id, std::ptr::null(), libc::SHM_RDONLY) };
            if at as isize == -1 {
                return check(-1).map(drop);
            }
            // SAFETY: `at` was attached the line before and nothing points into it.
            unsafe { libc::shmdt(at) };
            Ok(())
        }
        Ipc::Messages => {
            let mut place = [0u64; 16];
            // SAFETY: `place` holds the type and 120 bytes of text.
            check(
                unsafe { libc::msgrcv(id, place.as_mut_ptr().cast(), 120, 0, libc::IPC_NOWAIT) }
                    as c_long,
            )
            .map(drop)
        }
        Ipc::Semaphores => {
            // SAFETY: integers in, an integer out.
            let value = unsafe { libc::semctl(id, 0, libc::GETVAL) };
            check(c_long::from(value)).map(drop)
        }
    }
}

/// Opens the POSIX message queue `name`, making it with mode 0600 if asked.
///
/// # Errors
/// `EACCES`, `ENOENT`.
pub fn mq_open(name: &CStr, make: bool) -> Result<OwnedFd> {
    let name = name.to_bytes_with_nul();
    let name = name.strip_prefix(b"/").unwrap_or(name);
    let flags =
        libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | if make { libc::O_CREAT } else { 0 };
    // SAFETY: `name` ends in NUL (it came from a CStr), attributes may be null.
    owned(check(unsafe {
        libc::syscall(
            libc::SYS_mq_open,
            name.as_ptr(),
            flags,
            0o600,
            std::ptr::null::<c_void>(),
        )
    })?)
}

/// A signal set of one.
fn only(signal: i32) -> libc::sigset_t {
    // SAFETY: sigset_t is plain bytes, made empty and then given one member.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        set
    }
}

/// Blocks a signal, so that [`wait_signal`] can take it.
pub fn block_signal(signal: i32) {
    let set = only(signal);
    // SAFETY: `set` is initialised and only read; the old mask is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
}

/// Waits until a blocked signal comes.
///
/// # Errors
/// `EINTR` when another signal came first.
pub fn wait_signal(signal: i32) -> Result<()> {
    let set = only(signal);
    // SAFETY: `set` is initialised and only read; details are not asked for.
    check(c_long::from(unsafe {
        libc::sigwaitinfo(&raw const set, std::ptr::null_mut())
    }))
    .map(drop)
}

/// Gives a signal its default action; Rust's own handler for some would catch it.
pub fn default_signal(signal: i32) {
    // SAFETY: SIG_DFL is not a function of ours, so nothing runs in a handler.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Ignores a signal.
pub fn ignore_signal(signal: i32) {
    // SAFETY: SIG_IGN is not a function of ours, so nothing runs in a handler.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}
