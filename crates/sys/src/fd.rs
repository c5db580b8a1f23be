//! Descriptors: openat2, close_range, close-on-exec, memfd.

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::io;

/// How often a way is walked again before a host is believed to rename without end.
const WALKS: u32 = 1000;

/// Opens `path` from `dir` with rules for the way (`openat2(2)`, Linux 5.6); close-on-exec.
///
/// A `..` on a way that may not be left cannot be taken while anything on the host is renamed or
/// mounted: the kernel says `EAGAIN` and wants to be asked again, which is done here.
///
/// # Errors
/// What openat2 says: `EXDEV` and `ELOOP` for a broken rule; `EAGAIN` after a thousand walks.
pub fn open(
    dir: impl AsFd,
    path: impl rustix::path::Arg + Copy,
    flags: OFlags,
    mode: Mode,
    rules: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let mut walks = 0;
    loop {
        #[expect(clippy::disallowed_methods, reason = "the one place that asks again")]
        let opened = rustix::fs::openat2(&dir, path, flags | OFlags::CLOEXEC, mode, rules);
        match opened {
            Err(Errno::AGAIN) if walks < WALKS => walks += 1,
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

/// Turns a raw result into the errno way.
pub(crate) fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Takes a descriptor that was inherited by number (from a plan, or after exec).
///
/// # Errors
/// `EBADF` when it is not open, or is one of 0, 1, 2.
pub fn inherit(number: RawFd) -> io::Result<OwnedFd> {
    if number < 3 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: F_GETFD takes two integers and touches no memory; a closed number gives EBADF.
    check(unsafe { libc::fcntl(number, libc::F_GETFD) }.into())?;
    // SAFETY: it is open (checked above), was handed to this process by number for this one
    // owner, and the caller takes each number once.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// Lets a descriptor live on across exec, and gives its number.
///
/// # Errors
/// `EBADF` cannot happen for an owned descriptor.
pub fn keep_on_exec(fd: BorrowedFd<'_>) -> io::Result<RawFd> {
    rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
    Ok(fd.as_raw_fd())
}

/// The number of a descriptor, for a record or a `/proc/self/fd` path.
pub fn number(fd: impl AsFd) -> RawFd {
    fd.as_fd().as_raw_fd()
}

/// Closes every descriptor from `first` on but the ones in `keep` (`close_range(2)`, Linux 5.9).
///
/// For use right after a fork: the owners of the closed numbers are copies that nobody drops,
/// because the child ends by exec or `_exit`.
///
/// # Errors
/// `ENOSYS` before 5.9.
pub fn close_all_but(first: u32, keep: &mut [RawFd]) -> io::Result<()> {
    keep.sort_unstable();
    let mut from = first;
    for number in keep.iter().filter_map(|n| u32::try_from(*n).ok()) {
        if number < from {
            continue;
        }
        if number > from {
            close_range(from, number - 1)?;
        }
        from = number + 1;
    }
    close_range(from, u32::MAX)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: integers only. Numbers closed here belong to copies of owners that are never
    // dropped (see `close_all_but`).
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
    Ok(())
}

/// Marks every descriptor from `first` on close-on-exec (`CLOSE_RANGE_CLOEXEC`, Linux 5.11).
///
/// # Errors
/// `EINVAL` before 5.11.
pub fn cloexec_from(first: u32) -> io::Result<()> {
    const CLOEXEC: u32 = 4;
    // SAFETY: integers only; nothing is closed now.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOEXEC) })?;
    Ok(())
}

/// A sealed memory file with these bytes, offset at the start: nobody can change it any more.
///
/// # Errors
/// `ENOMEM`, `EMFILE`.
pub fn sealed_memfd(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags, SeekFrom};
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let n = rustix::io::write(&fd, rest)?;
        rest = rest.get(n..).unwrap_or(&[]);
    }
    rustix::fs::seek(&fd, SeekFrom::Start(0))?;
    rustix::fs::fcntl_add_seals(
        &fd,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(fd)
}

/// Reads a descriptor to its end, at most `limit` bytes.
///
/// # Errors
/// `EFBIG` when there is more.
pub fn read_all(fd: BorrowedFd<'_>, limit: usize) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut buffer = [0u8; 8192];
    loop {
        let n = match rustix::io::read(fd, &mut buffer) {
            Ok(0) => return Ok(out),
            Ok(n) => n,
            Err(rustix::io::Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
        };
        if out.len() + n > limit {
            return Err(io::Error::from_raw_os_error(libc::EFBIG));
        }
        out.extend_from_slice(buffer.get(..n).unwrap_or(&[]));
    }
}

/// Puts a descriptor on number 0, 1 or 2 (`dup3(2)`), without close-on-exec.
///
/// # Errors
/// `EBADF` when `fd` is not open.
pub fn onto_stdio(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    if fd.as_raw_fd() == number {
        return Ok(rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?);
    }
    // SAFETY: integers only; what was open at 0, 1 or 2 is replaced, and no owner of those exists.
    check(unsafe { libc::dup2(fd.as_raw_fd(), number) }.into())?;
    Ok(())
}

/// Puts a descriptor on any number from 3 on (`dup2(2)`), without close-on-exec, in a child that
/// is about to exec.
///
/// # Errors
/// `EINVAL` below 3, `EBADF` when `fd` is not open.
pub fn onto_number(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    if number < 3 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: integers only. What was open at `number` is a copy made by fork whose owner is
    // never dropped, since the process ends by exec or `_exit`.
    check(unsafe { libc::dup2(fd.as_raw_fd(), number) }.into())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::CWD;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_way_up_is_walked_again_while_the_host_renames() {
        let top = std::env::temp_dir().join(format!("rkt-sys-open-{}", std::process::id()));
        std::fs::create_dir_all(top.join("a/b")).unwrap();
        std::fs::write(top.join("file"), "").unwrap();
        let root = rustix::fs::open(&top, OFlags::PATH, Mode::empty()).unwrap();
        let ended = AtomicBool::new(false);
        let (mut refused, mut opened) = (0, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (one, two) = (top.join("one"), top.join("a/two"));
                std::fs::write(&one, "").unwrap();
                while !ended.load(Ordering::Relaxed) {
                    rustix::fs::renameat(CWD, &one, CWD, &two).unwrap();
                    rustix::fs::renameat(CWD, &two, CWD, &one).unwrap();
                }
            });
            let (way, rules) = ("a/b/../../file", ResolveFlags::IN_ROOT);
            for _ in 0..20_000 {
                // The control: without asking again it is refused now and then.
                #[expect(clippy::disallowed_methods, reason = "what is asked again")]
                let once = rustix::fs::openat2(&root, way, OFlags::PATH, Mode::empty(), rules);
                refused += u32::from(once.is_err_and(|e| e == Errno::AGAIN));
                opened += u32::from(open(&root, way, OFlags::PATH, Mode::empty(), rules).is_ok());
            }
            ended.store(true, Ordering::Relaxed);
        });
        std::fs::remove_dir_all(&top).unwrap();
        assert_eq!(opened, 20_000, "{refused} refused at once");
        assert!(refused > 0, "nothing was renamed meanwhile");
    }
}
