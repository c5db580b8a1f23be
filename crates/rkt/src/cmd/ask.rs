//! Talking to a running pod's supervisor, for every verb that does.

use crate::failure::{Failure, USAGE};
use rkt_pod::control::{Connection, Reply};
use rkt_pod::{Kind, Pod, PodStatus};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a pod that is just starting has until its supervisor listens.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// Connects; a pod that is just starting is waited for.
pub(super) fn connect(pod: &Pod) -> rkt_pod::Result<Connection> {
    let end = Instant::now() + START_PATIENCE;
    loop {
        match Connection::connect(pod.as_fd()) {
            Err(e) if e.kind() == Kind::Gone && Instant::now() < end && pod.is_locked()? => {
                std::thread::sleep(Duration::from_millis(2));
            }
            done => return done,
        }
    }
}

/// Waits for the answer to a request, as long as it takes; `wanted` picks what it is out of the reply.
pub(super) fn answer<T>(
    connection: &Connection,
    doing: impl Fn() -> String,
    wanted: impl Fn(&Reply) -> Option<T>,
) -> Result<T, Failure> {
    readable(connection.as_fd(), None)?;
    let Some((reply, _)) = connection.recv_reply()? else {
        return Err(Failure::usage(doing()).because("the pod has ended"));
    };
    if let Some(answer) = wanted(&reply) {
        return Ok(answer);
    }
    Err(match reply {
        Reply::Failed {
            exit,
            doing,
            because,
            hint,
        } => failed(exit, doing, because, &hint),
        _ => Failure::usage(doing()).because("its supervisor says something else"),
    })
}

/// The same of a request that has no other answer than that it is done.
pub(super) fn done(connection: &Connection, doing: impl Fn() -> String) -> Result<(), Failure> {
    answer(connection, doing, |reply| {
        (*reply == Reply::Done).then_some(())
    })
}

/// Waits until there is something to read (or the end of it); `false` when the time is over.
pub(super) fn readable(fd: BorrowedFd<'_>, end: Option<Instant>) -> Result<bool, Failure> {
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(n) => return Ok(n > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Failure::usage("wait for the pod").because(e.to_string())),
        }
    }
}

/// What a supervisor says it could not do, as a failure of ours.
pub(super) fn failed(status: u8, doing: String, because: Vec<String>, hint: &str) -> Failure {
    let failure = because
        .into_iter()
        .fold(Failure::new(status, doing), Failure::because);
    if hint.is_empty() {
        failure
    } else {
        failure.hint(hint)
    }
}

/// A handle on the supervisor's process; `None` when it has ended or not said its number yet.
pub(super) fn supervisor(pod: &Pod) -> Result<Option<OwnedFd>, Failure> {
    let said = PodStatus::read(pod.as_fd())?.map_or(0, |s| s.supervisor);
    let Some(pid) = i32::try_from(said).ok().and_then(Pid::from_raw) else {
        return Ok(None);
    };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        Err(e) => {
            return Err(Failure::new(
                USAGE,
                format!("find the supervisor of pod `{}`", pod.uuid()),
            )
            .because(e.to_string()));
        }
    };
    // The number may be somebody else's by now. Whoever had it when the handle was made is the
    // supervisor only if it has the pod's directory open.
    let holds = pod.is_locked()? && has_open(said, pod);
    Ok(holds.then_some(pidfd))
}

/// Whether a process has the pod's directory open.
fn has_open(pid: u32, pod: &Pod) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(wanted) = rustix::fs::fstat(pod) else {
        return false;
    };
    let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    open.flatten()
        .filter_map(|entry| std::fs::metadata(entry.path()).ok())
        .any(|there| (there.dev(), there.ino()) == (wanted.st_dev, wanted.st_ino))
}
