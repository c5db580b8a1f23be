//! The Landlock domain of an app: everything below its own `/`, and the pod's message queues.
//!
//! What it adds to the namespaces: opens below a directory that somebody passed in are
//! refused, the mount tree is frozen, and (ABI 6) no signal or abstract socket leaves the app.

use crate::error::{Doing, Error, Kind};
use rkt_sys::landlock as sys;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags};

/// The lowest ABI that is used: ABI 1 forbids every rename between directories.
pub const MIN_ABI: u32 = 2;
/// The ABI from which signals and abstract sockets are scoped too.
pub const SCOPES_ABI: u32 = 6;

/// Makes the ruleset of an app: all rights that `abi` knows, allowed beneath `app_root` only,
/// and every scope that it knows.
///
/// `app_root` is an `O_PATH` descriptor of the app's `/` or of its detached mount. The caller keeps the
/// result: a later launcher of the same app enters it again.
///
/// # Errors
/// When `abi` is below [`MIN_ABI`], or the kernel knows less than `abi`.
pub fn ruleset(app_root: BorrowedFd<'_>, abi: u32) -> Result<OwnedFd, Error> {
    if abi < MIN_ABI {
        return Err(Error::new(
            Kind::Host,
            format!("Landlock ABI {abi} is below {MIN_ABI}"),
        ));
    }
    let rights = sys::fs_rights(abi);
    let ruleset = sys::create_ruleset(rights, sys::scopes(abi))
        .doing(|| format!("make a Landlock ruleset of ABI {abi}"))?;
    sys::add_path_beneath(ruleset.as_fd(), app_root, rights)
        .doing(|| "allow the app's own `/` in its Landlock ruleset".into())?;
    Ok(ruleset)
}

/// Allows the pod's message queues, which `/dev/mqueue` shows. `mq_open(2)` goes by a mount of the
/// kernel's own, which is below no root of anybody's.
///
/// Not for an app in the pod's user namespace: it owns its siblings' queues too.
///
/// # Errors
/// The kernel's. Where no queues are mounted there is nothing to allow.
pub fn allow_queues(
    ruleset: BorrowedFd<'_>,
    app_root: BorrowedFd<'_>,
    abi: u32,
) -> Result<(), Error> {
    let Some(queues) = queues(app_root) else {
        return Ok(());
    };
    sys::add_path_beneath(ruleset, queues.as_fd(), sys::fs_rights(abi))
        .doing(|| "allow the pod's message queues in the app's Landlock ruleset".into())
}

/// The root of the pod's message queues, when they are mounted at the app's `/dev/mqueue`.
fn queues(app_root: BorrowedFd<'_>) -> Option<OwnedFd> {
    /// `MQUEUE_MAGIC` of `<linux/magic.h>`.
    const MQUEUE: u64 = 0x1980_0202;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let root = rkt_sys::fd::open(app_root, "dev/mqueue", flags, Mode::empty(), within).ok()?;
    let kind = rustix::fs::fstatfs(&root).ok()?.f_type;
    (u64::try_from(kind).ok()? == MQUEUE).then_some(root)
}
