//! The users of a running app, as its files have them now.
//!
//! The app may have made of its files whatever it likes: they are opened below its root only, by
//! a child that has its root user's id and no capability, and never waited for.

use crate::failure::{Failure, RKT};
use rkt_pod::Pod;
use rkt_pod::status::{AppState, PodStatus};
use rkt_spec::AppName;
use rkt_spec::image::Accounts;
use rkt_sys::process::{self, Ended};
use rkt_sys::{cred, fd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, openat};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use std::io;

/// Most that is read of one file, bytes; as of an image.
const MAX_FILE: usize = 1 << 20;
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Reads `/etc/passwd` and `/etc/group` of a running app; a missing file is empty. `None` when
/// the app does not run.
///
/// # Errors
/// When a file is there and is none that can be read: no regular file, too long, not for the
/// app's own root user.
pub(super) fn live(pod: &Pod, app: &AppName) -> Option<Result<Accounts, Failure>> {
    let pid = running(pod, app)?;
    let proc = openat(
        rustix::fs::CWD,
        format!("/proc/{pid}"),
        DIRECTORY,
        Mode::empty(),
    )
    .ok()?;
    // Still its pid after the directory was opened: so the directory is that process's.
    if running(pod, app) != Some(pid) {
        return None;
    }
    let look = || -> io::Result<Accounts> {
        let root = openat(&proc, "root", DIRECTORY, Mode::empty())?;
        let (uid, gid) = (outside(&proc, "uid_map")?, outside(&proc, "gid_map")?);
        let read = |path: &str| in_child(root.as_fd(), path, uid, gid);
        Ok(Accounts {
            passwd: read("etc/passwd")?,
            group: read("etc/group")?,
        })
    };
    Some(look().map_err(|error| {
        Failure::new(RKT, format!("read the users of app `{app}`"))
            .because(error.to_string())
            .hint("name the user and group by number")
    }))
}

fn running(pod: &Pod, app: &AppName) -> Option<u32> {
    let status = PodStatus::read(pod.as_fd()).ok()??;
    let app = status.apps.iter().find(|a| a.name == *app)?;
    (app.state == AppState::Running && app.pid > 0).then_some(app.pid)
}

/// Which id of the host the app's id 0 is.
fn outside(proc: &OwnedFd, map: &str) -> io::Result<u32> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let text = fd::read_all(openat(proc, map, flags, Mode::empty())?.as_fd(), 4096)?;
    let text = String::from_utf8_lossy(&text);
    let first = text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (inside, outside) = (words.next()?, words.next()?);
        (inside == "0").then(|| outside.parse().ok()).flatten()
    });
    first.ok_or_else(|| io::Error::other("the app has no root user"))
}

fn in_child(root: BorrowedFd<'_>, path: &str, uid: u32, gid: u32) -> io::Result<Vec<u8>> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    let (_, child) = process::fork_with(0, || {
        let body = || -> io::Result<()> {
            cred::become_ids(uid, gid, &[])?;
            cred::capset(0, 0, 0)?;
            cred::no_new_privs()?;
            send(writer.as_fd(), &read(root, path)?)
        };
        body().map_or_else(|e| e.raw_os_error().unwrap_or(255), |()| 0)
    })?;
    drop(writer);
    let bytes = fd::read_all(reader.as_fd(), MAX_FILE);
    match process::wait_pidfd(child.as_fd())? {
        Ended::Exited(0) => bytes,
        Ended::Exited(status) => {
            let error = io::Error::from_raw_os_error(status.into());
            Err(match Errno::from_io_error(&error) {
                Some(Errno::MEDIUMTYPE) => told(path, "is no regular file"),
                Some(Errno::FBIG) => told(path, "is longer than 1 MiB"),
                _ => told(path, &error.to_string()),
            })
        }
        Ended::Killed(_) => Err(told(path, "cannot be read: its reader was killed")),
    }
}

fn told(path: &str, what: &str) -> io::Error {
    io::Error::other(format!("`/{path}` {what}"))
}

/// The child's part. Nothing of the app is waited for: a FIFO opens at once, and is refused.
fn read(root: BorrowedFd<'_>, path: &str) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let below = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = match fd::open(root, path, flags, Mode::empty(), below) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(Vec::new()),
        // A socket, or a FIFO that nobody has open to write.
        Err(Errno::NXIO) => return Err(Errno::MEDIUMTYPE.into()),
        Err(errno) => return Err(errno.into()),
    };
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(Errno::MEDIUMTYPE.into());
    }
    fd::read_all(file.as_fd(), MAX_FILE)
}

fn send(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = rustix::io::write(to, bytes)?;
        bytes = bytes.get(n..).unwrap_or(&[]);
    }
    Ok(())
}
