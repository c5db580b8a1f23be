//! The supervisor's own view of the host, held as descriptors from the first moment.

use crate::error::{Doing, Failure};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::time::{Duration, Instant};

/// How long a set-up child may take before it is killed: an app may stop it, but not for ever.
pub(crate) const SETUP_DEADLINE: Duration = Duration::from_secs(5);

/// How long the making of a pod may take at each step: no app runs yet that could hold it up, but
/// the host may be busy.
pub(crate) const MAKE_DEADLINE: Duration = Duration::from_secs(30);

/// Descriptors of the host that set-up needs.
#[derive(Debug)]
pub(crate) struct Host {
    /// The host's procfs. Never a procfs of a pod: writes to `/proc/PID` of ours go through it.
    pub(crate) proc: OwnedFd,
    /// This very program, to be executed once more as init.
    pub(crate) exe: OwnedFd,
    /// The supervisor's pid.
    pub(crate) pid: u32,
}

impl Host {
    /// Opens them.
    ///
    /// # Errors
    /// When /proc is no procfs.
    pub(crate) fn open() -> Result<Self, Failure> {
        const PROC_SUPER_MAGIC: i64 = 0x9fa0;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let proc = rustix::fs::open(c"/proc", flags | OFlags::DIRECTORY, Mode::empty())
            .doing(|| "open `/proc`".into())?;
        let kind = rustix::fs::fstatfs(&proc)
            .doing(|| "look at `/proc`".into())?
            .f_type;
        if kind != PROC_SUPER_MAGIC {
            return Err(Failure::new("open `/proc`", "it is not a procfs")
                .hint("mount the host's procfs: `mount -t proc proc /proc`"));
        }
        let exe = rustix::fs::openat(&proc, c"self/exe", flags, Mode::empty())
            .doing(|| "open the supervisor's own program".into())?;
        Ok(Self {
            proc,
            exe,
            pid: std::process::id(),
        })
    }

    /// Opens a file of one of our children below `/proc/PID`.
    ///
    /// The pid cannot have been reused: the child is ours and has not been reaped.
    pub(crate) fn open_pid(
        &self,
        pid: u32,
        name: &str,
        flags: OFlags,
    ) -> rustix::io::Result<OwnedFd> {
        let path = format!("{pid}/{name}");
        rustix::fs::openat(&self.proc, path, flags | OFlags::CLOEXEC, Mode::empty())
    }

    /// Opens a namespace of one of our children.
    pub(crate) fn namespace(&self, pid: u32, kind: &str) -> Result<OwnedFd, Failure> {
        self.open_pid(pid, &format!("ns/{kind}"), OFlags::RDONLY)
            .doing(|| format!("open the {kind} namespace of a set-up child"))
    }

    /// Writes a small file below `/proc/PID` in one write.
    pub(crate) fn write_pid(&self, pid: u32, name: &str, text: &str) -> rustix::io::Result<()> {
        let file = self.open_pid(pid, name, OFlags::WRONLY)?;
        rustix::io::write(&file, text.as_bytes())?;
        Ok(())
    }

    /// In a child: whether the supervisor is still the parent (call after asking to die with it).
    pub(crate) fn is_parent(&self) -> bool {
        rustix::process::getppid()
            .is_some_and(|pid| u32::try_from(pid.as_raw_nonzero().get()) == Ok(self.pid))
    }
}

/// Asks for SIGTERM, which stops the pod, when the process that started the supervisor ends. Not
/// before the pod is made: who takes another effective user meanwhile forgets it (`prctl(2)`).
///
/// # Errors
/// When that process has ended already.
pub(crate) fn stop_with(owner: Option<u32>) -> Result<(), Failure> {
    let Some(owner) = owner else {
        return Ok(());
    };
    let doing = || "tie the pod to its starter".to_owned();
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
        .doing(doing)?;
    let parent = rustix::process::getppid().map(|p| p.as_raw_nonzero().get());
    if parent.and_then(|p| u32::try_from(p).ok()) == Some(owner) {
        Ok(())
    } else {
        Err(Failure::new(doing(), "it has ended"))
    }
}

/// Opens a path below `dir` as if `dir` were `/`, never through a magic link.
pub(crate) fn open_in(
    dir: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
    resolve: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    let relative = path.trim_start_matches('/');
    let relative = if relative.is_empty() { "." } else { relative };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | resolve;
    rkt_sys::fd::open(dir, relative, flags, Mode::empty(), resolve)
}

/// Waits until `fd` can be read or the deadline has passed; whether it can be read.
pub(crate) fn wait_readable(fd: impl AsFd, deadline: Instant) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(timeout) = Timespec::try_from(left) else {
            return false;
        };
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) => return false,
            Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return true,
            Err(_) => return false,
        }
    }
}
