//! Credentials: ids, capability sets, prctl. All per thread, so callers are single-threaded.

use crate::fd::check;
use std::io;

fn prctl(option: i32, a: libc::c_ulong, b: libc::c_ulong) -> io::Result<libc::c_long> {
    // SAFETY: the options used here take integers only.
    check(unsafe { libc::prctl(option, a, b, 0, 0) }.into())
}

/// The highest capability number that sets are trimmed to (`CAP_CHECKPOINT_RESTORE`, Linux 5.9).
pub const LAST_CAP: u32 = 40;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Sets the three sets of the calling thread (`capset(2)`, version 3).
///
/// # Errors
/// `EPERM` when `permitted` is not a subset of what it has.
pub fn capset(effective: u64, permitted: u64, inheritable: u64) -> io::Result<()> {
    let header = Header {
        version: 0x2008_0522,
        pid: 0,
    };
    let half = |shift: u32| Data {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: version 3 reads one header and two data records, both alive across the call.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })?;
    Ok(())
}

/// The permitted set of the calling thread (`capget(2)`); empty when it cannot be read.
pub fn permitted() -> u64 {
    let mut header = Header {
        version: 0x2008_0522,
        pid: 0,
    };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 reads and may write one header and writes two data records, all alive.
    let got = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    let [low, high] = data;
    if got == 0 {
        u64::from(low.permitted) | u64::from(high.permitted) << 32
    } else {
        0
    }
}

/// Drops every capability that is not in `keep` from the bounding set.
///
/// # Errors
/// `EPERM` without CAP_SETPCAP in the own user namespace.
pub fn limit_bounding(keep: u64) -> io::Result<()> {
    for cap in 0..64u32 {
        if keep >> cap & 1 == 0
            && let Err(error) = prctl(libc::PR_CAPBSET_DROP, cap.into(), 0)
        {
            // Past the kernel's last capability there is nothing to drop.
            if error.raw_os_error() == Some(libc::EINVAL) && cap > 31 {
                return Ok(());
            }
            return Err(error);
        }
    }
    Ok(())
}

/// Raises each capability of `set` in the ambient set; they must be permitted and inheritable.
///
/// # Errors
/// `EPERM` when one is not.
pub fn raise_ambient(set: u64) -> io::Result<()> {
    for cap in 0..=LAST_CAP {
        if set >> cap & 1 == 1 {
            prctl(
                libc::PR_CAP_AMBIENT,
                libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong,
                cap.into(),
            )?;
        }
    }
    Ok(())
}

/// Empties the ambient set.
///
/// # Errors
/// `EINVAL` before Linux 4.3.
pub fn clear_ambient() -> io::Result<()> {
    prctl(
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong,
        0,
    )?;
    Ok(())
}

/// Keeps the permitted set across the next change of uid away from 0 (`PR_SET_KEEPCAPS`); the
/// flag clears itself at execve.
///
/// # Errors
/// `EPERM` when securebits lock it.
pub fn keep_caps(on: bool) -> io::Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, on.into(), 0)?;
    Ok(())
}

/// Sets groups, then gid, then uid: real, effective and saved (`setgroups(2)`, `setresuid(2)`),
/// for this thread only. No allocation.
///
/// # Errors
/// `EINVAL` for an id outside the user namespace's map, `EPERM` without CAP_SETUID/SETGID there.
pub fn become_ids(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: the pointer and length describe `groups`, alive across the call; gid_t is u32.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })?;
    Ok(())
}

/// Takes another effective uid and keeps every capability that is permitted; real and saved uid
/// stay, so that [`effective_uid`] can take the old one back. For this thread only. The process is
/// not dumpable afterwards and forgets [`die_with_parent`] (`prctl(2)`).
///
/// # Errors
/// `EPERM` without CAP_SETUID, for a uid that is none of the three.
pub fn effective_uid(uid: u32) -> io::Result<()> {
    let same = u32::MAX;
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_setresuid, same, uid, same) })?;
    // A change from 0 to another clears the effective set (capabilities(7)).
    let all = permitted();
    capset(all, all, 0)
}

/// Asks for SIGKILL when the parent thread ends; cleared by every change of credentials.
///
/// # Errors
/// None in practice.
pub fn die_with_parent() -> io::Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong, 0)?;
    Ok(())
}

/// Whether others of the same uid may ptrace this process and read its /proc files.
///
/// # Errors
/// None in practice.
pub fn set_dumpable(on: bool) -> io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, on.into(), 0)?;
    Ok(())
}

/// From here on execve can never raise privileges; inherited and irrevocable.
///
/// # Errors
/// None in practice.
pub fn no_new_privs() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0)?;
    Ok(())
}

/// Orphans below this process become its children (`PR_SET_CHILD_SUBREAPER`).
///
/// # Errors
/// None in practice.
pub fn become_subreaper() -> io::Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0)?;
    Ok(())
}

/// The name shown by ps, at most 15 bytes (`PR_SET_NAME`).
pub fn set_name(name: &std::ffi::CStr) {
    // SAFETY: a NUL-terminated string that lives across the call; the kernel reads at most 16 bytes.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
}

/// Sets one resource limit; `u64::MAX` is none. No allocation.
///
/// # Errors
/// `EPERM` when raising a hard limit without CAP_SYS_RESOURCE in the initial user namespace.
pub fn set_rlimit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    let old: *mut libc::rlimit64 = std::ptr::null_mut();
    // SAFETY: one limit is read, alive across the call; no old value is written.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const limit, old) })?;
    Ok(())
}
