//! The domain of an app in the kernel, entered as a launcher does: by CAP_SYS_ADMIN, without
//! no_new_privs.

use super::child::{Dir, Held, Outcome, Try, check, errno, expect, in_child, outcome};
use rkt_isolate::landlock::{SCOPES_ABI, ruleset};
use rkt_sys::landlock as sys;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;

const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);
const DIR: OFlags = READ.union(OFlags::DIRECTORY);

fn open(path: impl AsRef<Path>, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path.as_ref(), flags, Mode::empty())
}

pub(crate) fn files() -> Outcome {
    match sys::abi() {
        Ok(abi) if abi >= rkt_isolate::landlock::MIN_ABI => outcome(run_files(abi)),
        other => Outcome::Skip(format!("Landlock ABI {other:?}")),
    }
}

fn run_files(abi: u32) -> Try {
    let dir = Dir::new("landlock")?;
    std::fs::create_dir_all(dir.0.join("root/sub"))?;
    std::fs::create_dir_all(dir.0.join("other"))?;
    std::fs::write(dir.0.join("root/file"), "in")?;
    std::fs::write(dir.0.join("other/file"), "out")?;
    let inside = open(dir.0.join("root"), DIR)?;
    let outside = open(dir.0.join("other"), DIR)?;
    check(ruleset(inside.as_fd(), 1).is_err(), || {
        "ABI 1 must be refused".to_owned()
    })?;
    in_child(|| {
        let path = open(dir.0.join("root"), OFlags::PATH | OFlags::CLOEXEC)?;
        let rules = ruleset(path.as_fd(), abi)?;
        let at = |fd: &OwnedFd, name: &str| rustix::fs::openat(fd, name, READ, Mode::empty());
        // Control.
        expect("outside before", at(&outside, "file"), None)?;
        expect("enter", sys::restrict_self(rules.as_fd()), None)?;
        expect("own file", at(&inside, "file"), None)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&inside, "new", flags, Mode::from_raw_mode(0o600));
        expect("own new file", made, None)?;
        let moved = rustix::fs::renameat(&inside, "new", &inside, "sub/new");
        expect("rename between own directories", moved, None)?;
        let denied = Some(Errno::ACCESS);
        expect("passed directory", at(&outside, "file"), denied)?;
        expect("way up", at(&inside, "../other/file"), denied)?;
        expect("host", open("/etc/passwd", READ), denied)?;
        let made = rustix::fs::openat(&outside, "new", flags, Mode::from_raw_mode(0o600));
        expect("file elsewhere", made, denied)?;
        let gone = rustix::fs::unlinkat(&outside, "file", AtFlags::empty());
        expect("unlink elsewhere", gone, denied)?;
        // The mount tree is frozen, whatever the capabilities.
        let tmpfs =
            rkt_sys::mount::NewFs::open(c"tmpfs").and_then(|fs| fs.mount(rkt_sys::mount::PLAIN));
        let attached = tmpfs.and_then(|fs| rkt_sys::mount::attach(&fs, &inside));
        expect("mount", errno(attached), Some(Errno::PERM))?;
        let unmount = rustix::mount::unmount(c"/proc", rustix::mount::UnmountFlags::DETACH);
        expect("umount", unmount, Some(Errno::PERM))
    })?;
    in_child(|| {
        let rules = ruleset(inside.as_fd(), abi)?;
        rkt_sys::cred::capset(0, 0, 0)?;
        let enter = sys::restrict_self(rules.as_fd());
        expect("enter with neither", enter, Some(Errno::PERM))?;
        rkt_sys::cred::no_new_privs()?;
        expect("with no_new_privs", sys::restrict_self(rules.as_fd()), None)
    })
}

pub(crate) fn scopes() -> Outcome {
    match sys::abi() {
        Ok(abi) if abi >= SCOPES_ABI => outcome(run_scopes(abi)),
        other => Outcome::Skip(format!("Landlock ABI {other:?}, scopes need {SCOPES_ABI}")),
    }
}

fn run_scopes(abi: u32) -> Try {
    let victim = Held::start(0, None, || Ok(String::new()))?;
    victim.hear()?;
    let name = format!("rkt-isolate-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name)?;
    let _listener = UnixListener::bind_addr(&address)?;
    in_child(|| {
        let pid = i32::try_from(victim.pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| super::child::Wrong("no pid".to_owned()))?;
        let signal = || rustix::process::kill_process(pid, Signal::CONT);
        // Control.
        expect("signal before", signal(), None)?;
        UnixStream::connect_addr(&address)?;
        let root = open("/", OFlags::PATH | OFlags::CLOEXEC)?;
        sys::restrict_self(ruleset(root.as_fd(), abi)?.as_fd())?;
        expect("signal out", signal(), Some(Errno::PERM))?;
        let connect = errno(UnixStream::connect_addr(&address));
        expect("abstract socket out", connect, Some(Errno::PERM))?;
        // Within the domain both work.
        let own = Held::start(0, None, || Ok(String::new()))?;
        own.hear()?;
        rustix::process::pidfd_send_signal(&own.pidfd, Signal::KILL)?;
        own.wait()?;
        Ok(())
    })?;
    check(victim.has_ended()?.is_none(), || {
        "the victim died".to_owned()
    })?;
    victim.end()?;
    Ok(())
}
