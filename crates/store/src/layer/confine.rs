//! The walls of the child that reads layers: no namespace with anything in it, no capability, no
//! file to open, no call but those on what it already has.

use super::wire::Bounds;
use crate::error::{Doing, Result};
use rkt_sys::ns::kind;
use rkt_sys::{confine, cred, landlock, ns};

/// Resource numbers of `setrlimit(2)` on every architecture that we build for.
const RLIMIT_FSIZE: u32 = 1;
const RLIMIT_CORE: u32 = 4;
const RLIMIT_NOFILE: u32 = 7;
const RLIMIT_AS: u32 = 9;

/// Memory besides the tree: the program, buffers, and the largest window of zstd.
const BASE_MEMORY: u64 = 320 << 20;

/// Puts the walls up; nothing of the layer has been looked at yet. Single-threaded callers only.
///
/// Where new user namespaces are forbidden, and where the kernel has no Landlock, the walls that
/// are left still hold: no capability, and no call that could open, connect or signal. What must
/// be there is no_new_privs and seccomp; without them nothing is read.
pub(super) fn lock_in(bounds: &Bounds) -> Result<()> {
    let limit = |resource, value, what: &str| {
        cred::set_rlimit(resource, value, value).doing(|| format!("limit {what} of the reader"))
    };
    limit(RLIMIT_CORE, 0, "core files")?;
    limit(RLIMIT_NOFILE, 1024, "descriptors")?;
    limit(RLIMIT_FSIZE, bounds.bytes.saturating_add(1 << 30), "files")?;
    let memory = bounds
        .metadata
        .saturating_mul(4)
        .saturating_add(BASE_MEMORY);
    limit(RLIMIT_AS, memory, "memory")?;

    let all = kind::MOUNT | kind::NET | kind::IPC | kind::UTS | kind::CGROUP;
    // One after the other: a host may forbid the user namespace and still allow root the rest.
    if ns::unshare(kind::USER | all).is_err() {
        let _ = ns::unshare(all);
    }
    // The bounding set needs a capability that an ordinary user does not have; without any
    // capability and with no_new_privs it is a second wall only.
    let _ = cred::limit_bounding(0);
    let _ = cred::clear_ambient();
    cred::capset(0, 0, 0).doing(|| "drop all capabilities of the reader".into())?;
    cred::set_dumpable(false)?;
    cred::no_new_privs().doing(|| "set no_new_privs on the reader".into())?;
    if let Ok(abi) = landlock::abi() {
        let rules = landlock::create_ruleset(landlock::fs_rights(abi), landlock::scopes(abi))
            .doing(|| "make a Landlock ruleset".into())?;
        use rustix::fd::AsFd;
        landlock::restrict_self(rules.as_fd()).doing(|| "enter a Landlock domain".into())?;
    }
    confine::compute_only().doing(|| "load the seccomp filter of the reader".into())
}
