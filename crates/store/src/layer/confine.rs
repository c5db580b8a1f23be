//! The walls of the child that reads layers: no namespace with anything in it, no capability, no
//! file to open, no call but those on what it already has.

use super::wire::Bounds;
use crate::error::{Doing, Result};
use rkt_sys::ns::kind;
use rkt_sys::{confine, cred, landlock, ns};
use rustix::fd::AsFd;

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
    shut_files()?;
    confine::compute_only().doing(|| "load the seccomp filter of the reader".into())
}

/// Enters a Landlock domain in which no path leads to anything; `false` when the kernel has none.
/// Needs no_new_privs.
fn shut_files() -> Result<bool> {
    let Ok(abi) = landlock::abi() else {
        return Ok(false);
    };
    let rules = landlock::create_ruleset(landlock::fs_rights(abi), landlock::scopes(abi))
        .doing(|| "make a Landlock ruleset".into())?;
    landlock::restrict_self(rules.as_fd()).doing(|| "enter a Landlock domain".into())?;
    Ok(true)
}

#[cfg(test)]
#[allow(clippy::print_stderr)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::io::{ErrorKind, Read, Seek, Write};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
    use std::process::Command;

    /// In the reader the seccomp filter refuses all of this first.
    #[test]
    fn landlock_alone_shuts_every_file_and_leaves_what_is_open() {
        let dir = std::env::temp_dir().join(format!("rkt-confine-{}", std::process::id()));
        fs::create_dir_all(dir.join("sub")).unwrap();
        fs::create_dir(dir.join("gone")).unwrap();
        let path = dir.join("file");
        fs::write(&path, "bytes").unwrap();
        let mut held = File::options().read(true).write(true).open(&path).unwrap();
        let name = format!("rkt-confine-{}", std::process::id());
        let name = SocketAddr::from_abstract_name(name).unwrap();
        let _listener = UnixListener::bind_addr(&name).unwrap();

        let tries = |path: &std::path::Path| {
            let kind = |result: std::io::Result<()>| result.err().map(|e| e.kind());
            let new = dir.join("new");
            vec![
                ("read", kind(File::open(path).map(drop))),
                ("proc", kind(File::open("/proc/self/status").map(drop))),
                ("list", kind(fs::read_dir(&dir).map(drop))),
                (
                    "write",
                    kind(File::options().append(true).open(path).map(drop)),
                ),
                ("create", kind(File::create(&new).map(drop))),
                ("rename", kind(fs::rename(&new, dir.join("other")))),
                ("link", kind(fs::hard_link(path, dir.join("sub/link")))),
                (
                    "symlink",
                    kind(std::os::unix::fs::symlink("x", dir.join("soft"))),
                ),
                ("mkdir", kind(fs::create_dir(dir.join("made")))),
                ("rmdir", kind(fs::remove_dir(dir.join("gone")))),
                ("unlink", kind(fs::remove_file(dir.join("other")))),
                (
                    "execute",
                    kind(Command::new("/bin/true").status().map(drop)),
                ),
            ]
        };
        for (what, failure) in tries(&path) {
            assert_eq!(failure, None, "{what} must work without a domain");
        }
        for left in ["sub/link", "soft"] {
            fs::remove_file(dir.join(left)).unwrap();
        }
        fs::remove_dir(dir.join("made")).unwrap();
        fs::write(dir.join("new"), "").unwrap();
        fs::write(dir.join("other"), "").unwrap();
        fs::create_dir(dir.join("gone")).unwrap();
        // A domain is of one thread, and of those that it starts.
        let entered = std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                cred::no_new_privs().unwrap();
                if !shut_files().unwrap() {
                    return false;
                }
                for (what, failure) in tries(&path) {
                    assert_eq!(failure, Some(ErrorKind::PermissionDenied), "{what}");
                }
                if landlock::abi().unwrap() >= 6 {
                    let error = UnixStream::connect_addr(&name).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
                }
                let mut text = String::new();
                held.read_to_string(&mut text).unwrap();
                assert_eq!(text, "bytes");
                held.rewind().unwrap();
                held.write_all(b"BYTES").unwrap();
                true
            });
            inside.join().unwrap()
        });
        if entered {
            assert_eq!(fs::read(&path).unwrap(), b"BYTES");
        } else {
            eprintln!("skipped: this kernel has no Landlock");
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
