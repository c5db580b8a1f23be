//! The only door to the kernel: one small typed wrapper a call, no opinions.
//!
//! All `unsafe` of rkt is here. Wrappers take and return `OwnedFd`/`BorrowedFd`, set
//! `CLOEXEC`, and give the errno back; what a failure means is the caller's business.
//! What rustix has, callers use from rustix; here is what it lacks.

pub mod confine;
pub mod cred;
pub mod fd;
pub mod landlock;
pub mod lock;
pub mod loopdev;
pub mod mount;
pub mod netdev;
pub mod netlink;
pub mod ns;
pub mod process;
pub mod raw;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod tty;
pub mod usage;
pub mod verity;
pub mod xtables;
