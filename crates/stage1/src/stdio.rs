//! The three standard descriptors of a process of an app: always pipes or a pty of the app's
//! own, never a file or terminal of the host.

use crate::error::{Doing, Failure};
use crate::host::open_in;
use rkt_sys::tty;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Gid, OFlags, ResolveFlags, Uid};
use rustix::pipe::{PipeFlags, pipe_with};

/// Descriptors for the child.
#[derive(Debug)]
pub(crate) struct Given {
    /// stdin, stdout, stderr.
    pub(crate) child: [OwnedFd; 3],
    /// Whether they are a terminal.
    pub(crate) tty: bool,
}

/// The supervisor's ends.
#[derive(Debug, Default)]
pub(crate) struct Ours {
    /// Writes to the app's stdin.
    pub(crate) stdin: Option<OwnedFd>,
    /// Reads the app's stdout, or is the master of its pty.
    pub(crate) stdout: Option<OwnedFd>,
    /// Reads the app's stderr.
    pub(crate) stderr: Option<OwnedFd>,
}

/// The null device of the app itself: the host's could not be opened again in its domain.
fn null(root: BorrowedFd<'_>) -> Result<OwnedFd, Failure> {
    open_in(
        root,
        "dev/null",
        OFlags::RDWR | OFlags::NOCTTY,
        ResolveFlags::NO_SYMLINKS,
    )
    .doing(|| "open the app's `/dev/null`".into())
}

/// Who may open a descriptor again through /proc/self/fd.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

fn give(fd: &OwnedFd, owner: Owner) -> Result<(), Failure> {
    let (uid, gid) = (
        Some(Uid::from_raw(owner.uid)),
        Some(Gid::from_raw(owner.gid)),
    );
    rustix::fs::fchown(fd, uid, gid).doing(|| "give a descriptor to the app".into())
}

fn pipe(owner: Owner) -> Result<(OwnedFd, OwnedFd), Failure> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).doing(|| "make a pipe".into())?;
    give(&read, owner)?;
    Ok((read, write))
}

fn nonblocking(fd: &OwnedFd) -> Result<(), Failure> {
    rustix::io::ioctl_fionbio(fd, true).doing(|| "prepare a pipe".into())
}

impl Given {
    /// No input, and output to nowhere.
    pub(crate) fn nothing(root: BorrowedFd<'_>) -> Result<Self, Failure> {
        Ok(Self {
            child: [null(root)?, null(root)?, null(root)?],
            tty: false,
        })
    }

    /// Pipes for output, and for input when `stream`.
    pub(crate) fn pipes(
        root: BorrowedFd<'_>,
        owner: Owner,
        stream: bool,
    ) -> Result<(Self, Ours), Failure> {
        let (out_read, out_write) = pipe(owner)?;
        let (err_read, err_write) = pipe(owner)?;
        nonblocking(&out_read)?;
        nonblocking(&err_read)?;
        let (stdin, ours_in) = if stream {
            let (read, write) = pipe(owner)?;
            nonblocking(&write)?;
            (read, Some(write))
        } else {
            (null(root)?, None)
        };
        let given = Self {
            child: [stdin, out_write, err_write],
            tty: false,
        };
        Ok((
            given,
            Ours {
                stdin: ours_in,
                stdout: Some(out_read),
                stderr: Some(err_read),
            },
        ))
    }

    /// A new pty of the app's own devpts. Its master is what the supervisor (or `rkt enter`)
    /// relays to the operator's terminal.
    pub(crate) fn pty(root: BorrowedFd<'_>, owner: Owner) -> Result<(Self, OwnedFd), Failure> {
        let doing = || "make a pty".to_owned();
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let master =
            open_in(root, "dev/pts/ptmx", flags, ResolveFlags::NO_SYMLINKS).doing(doing)?;
        tty::unlock(master.as_fd()).doing(doing)?;
        let slave = tty::peer(master.as_fd()).doing(doing)?;
        // The terminal's group stays `tty`, as login programs expect.
        rustix::fs::fchown(&slave, Some(Uid::from_raw(owner.uid)), None).doing(doing)?;
        let copy = || slave.as_fd().try_clone_to_owned().doing(doing);
        let child = [copy()?, copy()?, copy()?];
        Ok((Self { child, tty: true }, master))
    }

    /// Pipes that `rkt enter` brought; anything but pipes is refused, because a file or terminal
    /// of the host would be handed into the pod.
    pub(crate) fn brought(fds: Vec<OwnedFd>, owner: Owner) -> Result<Self, Failure> {
        let doing = "take the pipes of `rkt enter`";
        for fd in &fds {
            let mode = rustix::fs::fstat(fd).doing(|| doing.into())?.st_mode;
            if !rustix::fs::FileType::from_raw_mode(mode).is_fifo() {
                return Err(Failure::new(doing, "a descriptor is not a pipe"));
            }
            give(fd, owner)?;
        }
        let child: [OwnedFd; 3] = fds
            .try_into()
            .map_err(|_| Failure::new(doing, "there must be three descriptors"))?;
        Ok(Self { child, tty: false })
    }
}

/// Sets the size of a pty, when the operator has a terminal.
pub(crate) fn set_size(master: &OwnedFd, rows: u16, cols: u16) {
    if rows > 0 && cols > 0 {
        let _ = tty::set_size(master.as_fd(), rows, cols);
    }
}
