//! The Landlock domain of an app: one rule, everything below its own `/`.
//!
//! What it adds to the namespaces: opens below a directory that somebody passed in are
//! refused, the mount tree is frozen, and (ABI 6) no signal or abstract socket leaves the app.

use crate::error::{Doing, Error, Kind};
use rkt_sys::landlock as sys;
use rustix::fd::{BorrowedFd, OwnedFd};

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
    sys::add_path_beneath(rustix::fd::AsFd::as_fd(&ruleset), app_root, rights)
        .doing(|| "allow the app's own `/` in its Landlock ruleset".into())?;
    Ok(ruleset)
}
