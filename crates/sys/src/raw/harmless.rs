//! A table of calls that no app needs, to see which of them reach the kernel.

use super::check;
use libc::c_long;
use rustix::io::Result;

/// A call with arguments that do nothing even where it is allowed.
#[derive(Debug, Clone, Copy)]
pub struct Harmless {
    /// Name of the call.
    pub name: &'static str,
    number: c_long,
    arguments: [usize; 5],
}

/// An address at which nothing is ever mapped (below `vm.mmap_min_addr`).
const NOWHERE: usize = 1;
/// A descriptor that is none.
const NO_FD: usize = usize::MAX;

const fn call(name: &'static str, number: c_long, arguments: [usize; 5]) -> Harmless {
    Harmless {
        name,
        number,
        arguments,
    }
}

/// Calls that no app needs. Arguments are wrong on purpose: a call that answers `EFAULT`,
/// `EINVAL` or `EBADF` has reached the kernel's own code.
pub const HARMLESS: &[Harmless] = &[
    call(
        "io_uring_setup",
        libc::SYS_io_uring_setup,
        [0, NOWHERE, 0, 0, 0],
    ),
    call(
        "io_uring_enter",
        libc::SYS_io_uring_enter,
        [NO_FD, 0, 0, 0, 0],
    ),
    call(
        "io_uring_register",
        libc::SYS_io_uring_register,
        [NO_FD, 0, 0, 0, 0],
    ),
    call("bpf", libc::SYS_bpf, [0, NOWHERE, 64, 0, 0]),
    call(
        "perf_event_open",
        libc::SYS_perf_event_open,
        [NOWHERE, 0, 0, NO_FD, 0],
    ),
    call(
        "userfaultfd",
        libc::SYS_userfaultfd,
        [0xff_ffff, 0, 0, 0, 0],
    ),
    call("kexec_load", libc::SYS_kexec_load, [0, 0, 0, 0xffff, 0]),
    call(
        "kexec_file_load",
        libc::SYS_kexec_file_load,
        [NO_FD, NO_FD, 0, 0, 0xffff],
    ),
    call(
        "init_module",
        libc::SYS_init_module,
        [NOWHERE, 0, NOWHERE, 0, 0],
    ),
    call(
        "finit_module",
        libc::SYS_finit_module,
        [NO_FD, NOWHERE, 0xffff, 0, 0],
    ),
    call(
        "delete_module",
        libc::SYS_delete_module,
        [NOWHERE, 0, 0, 0, 0],
    ),
    call("swapon", libc::SYS_swapon, [NOWHERE, 0, 0, 0, 0]),
    call("swapoff", libc::SYS_swapoff, [NOWHERE, 0, 0, 0, 0]),
    call("reboot", libc::SYS_reboot, [0, 0, 0, 0, 0]),
    call(
        "quotactl",
        libc::SYS_quotactl,
        [0xffff_ffff, NOWHERE, 0, 0, 0],
    ),
    call("acct", libc::SYS_acct, [NOWHERE, 0, 0, 0, 0]),
    call("iopl", libc::SYS_iopl, [4, 0, 0, 0, 0]),
    call("ioperm", libc::SYS_ioperm, [usize::MAX, 0, 1, 0, 0]),
    call(
        "settimeofday",
        libc::SYS_settimeofday,
        [NOWHERE, 0, 0, 0, 0],
    ),
    call(
        "clock_settime",
        libc::SYS_clock_settime,
        [0, NOWHERE, 0, 0, 0],
    ),
    call("lookup_dcookie", 212, [0, NOWHERE, 0, 0, 0]),
    call(
        "fanotify_init",
        libc::SYS_fanotify_init,
        [0xffff_ffff, 0, 0, 0, 0],
    ),
    call("uselib", 134, [NOWHERE, 0, 0, 0, 0]),
    call("nfsservctl", 180, [0, 0, 0, 0, 0]),
    call("vmsplice", libc::SYS_vmsplice, [NO_FD, 0, 0, 0, 0]),
    call(
        "process_madvise",
        libc::SYS_process_madvise,
        [NO_FD, 0, 0, 0, 0],
    ),
    call("modify_ldt", libc::SYS_modify_ldt, [99, 0, 0, 0, 0]),
    call(
        "personality",
        libc::SYS_personality,
        [0x0080_0000, 0, 0, 0, 0],
    ),
    call("sethostname", libc::SYS_sethostname, [NOWHERE, 4, 0, 0, 0]),
    call("syslog", libc::SYS_syslog, [10, 0, 0, 0, 0]),
];

impl Harmless {
    /// Makes the call.
    ///
    /// # Errors
    /// Always, on a host that refuses or checks its arguments; a success is an attack's.
    pub fn attempt(self) -> Result<usize> {
        let [a, b, c, d, e] = self.arguments;
        // SAFETY: no argument points at memory of ours: each is an integer, null, or the
        // address NOWHERE, which the kernel refuses to read or write. No row makes a
        // descriptor, and none changes this process but `personality`, which its next exec forgets.
        check(unsafe { libc::syscall(self.number, a, b, c, d, e) })
    }
}
