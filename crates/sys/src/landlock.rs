//! Landlock: rulesets of file rights and scopes, entered by the calling thread.
//!
//! Nothing here decides what is in a ruleset. Source: `landlock(7)`,
//! `Documentation/userspace-api/landlock.rst` (ABI 1 = Linux 5.13 ... ABI 7 = 6.15).

use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::{Errno, Result};

const CREATE_RULESET_VERSION: u32 = 1;
const RULE_PATH_BENEATH: u32 = 1;

/// Scope: no connection or message to an abstract unix socket made outside the domain (ABI 6).
pub const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1;
/// Scope: no signal to a process outside the domain (ABI 6).
pub const SCOPE_SIGNAL: u64 = 1 << 1;

/// `struct landlock_ruleset_attr` as of ABI 6; older kernels take a prefix of it.
#[repr(C)]
struct RulesetAttr {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`, packed in the kernel's header too.
#[repr(C, packed)]
struct PathBeneathAttr {
    allowed_access: u64,
    parent_fd: i32,
}

fn result(value: libc::c_long) -> Result<libc::c_long> {
    if value < 0 {
        // The C library keeps the code of the failed call; it is 1..=4095.
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
    } else {
        Ok(value)
    }
}

/// The kernel's Landlock ABI, 1 or more.
///
/// # Errors
/// `ENOSYS` when it was not built, `EOPNOTSUPP` when it was switched off at boot.
pub fn abi() -> Result<u32> {
    // SAFETY: a null attribute of size 0 with the version flag is the documented query; the
    // kernel reads no memory.
    let value = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<RulesetAttr>(),
            0usize,
            CREATE_RULESET_VERSION,
        )
    };
    result(value).map(|v| u32::try_from(v).unwrap_or(0))
}

/// Every file right that an ABI knows (`LANDLOCK_ACCESS_FS_*`).
pub const fn fs_rights(abi: u32) -> u64 {
    let bits = match abi {
        0 => 0,
        1 => 13,
        2 => 14,
        3 | 4 => 15,
        _ => 16,
    };
    (1 << bits) - 1
}

/// Every scope that an ABI knows (`LANDLOCK_SCOPE_*`).
pub const fn scopes(abi: u32) -> u64 {
    if abi >= 6 {
        SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL
    } else {
        0
    }
}

/// Makes a ruleset that handles the given file rights and scopes; what is handled is denied
/// until a rule allows it. The descriptor is close-on-exec.
///
/// # Errors
/// `EINVAL` when the kernel's ABI knows less than what is asked, else as [`abi`].
pub fn create_ruleset(handled_fs: u64, scoped: u64) -> Result<OwnedFd> {
    let attr = RulesetAttr {
        handled_access_fs: handled_fs,
        handled_access_net: 0,
        scoped,
    };
    // An older kernel refuses a longer attribute only when its tail is not zero (E2BIG).
    // SAFETY: `attr` lives across the call and `size` is its size; the kernel only reads it.
    let value = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const attr,
            size_of::<RulesetAttr>(),
            0u32,
        )
    };
    let fd = i32::try_from(result(value)?).map_err(|_| Errno::BADF)?;
    // SAFETY: the call has just made this descriptor (close-on-exec); nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Allows `rights` beneath the directory (or on the file) that `parent` is open on.
///
/// The rule is about the inode: an `O_PATH` descriptor of a detached mount's root does.
///
/// # Errors
/// `EINVAL` when a right is not handled by the ruleset, `ENOMSG` when `rights` is 0.
pub fn add_path_beneath(
    ruleset: BorrowedFd<'_>,
    parent: BorrowedFd<'_>,
    rights: u64,
) -> Result<()> {
    let attr = PathBeneathAttr {
        allowed_access: rights,
        parent_fd: parent.as_raw_fd(),
    };
    // SAFETY: `attr` lives across the call, is laid out as the kernel's packed struct, and both
    // descriptors are borrowed for its length.
    let value = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            RULE_PATH_BENEATH,
            &raw const attr,
            0u32,
        )
    };
    result(value).map(drop)
}

/// Puts the calling thread, and all it forks from now on, into a new domain of this ruleset.
///
/// Needs `CAP_SYS_ADMIN` in the caller's user namespace or no_new_privs; does not allocate, so
/// it may be called after a fork.
///
/// # Errors
/// `EPERM` with neither, `E2BIG` in the 17th nested domain.
pub fn restrict_self(ruleset: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: takes a descriptor and no memory.
    let value =
        unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0u32) };
    result(value).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_grow_with_the_abi() {
        assert_eq!(fs_rights(0), 0);
        assert_eq!(fs_rights(1), 0x1fff);
        assert_eq!(fs_rights(2), 0x3fff);
        assert_eq!(fs_rights(7), 0xffff);
        assert_eq!(scopes(5), 0);
        assert_eq!(scopes(6), 3);
    }
}
