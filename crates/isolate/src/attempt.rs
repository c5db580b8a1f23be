//! A throw-away child that tries one thing and says what came of it.

use crate::error::{Doing, Error, Kind};
use rkt_sys::process::{self, Cloned, Ended};
use rkt_sys::{cred, fd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, pidfd_send_signal};

/// Seconds that one try may take.
const DEADLINE: i64 = 10;
/// Bytes of a child's answer.
const ANSWER: usize = 4096;

/// Runs `body` in a child (made with `flags`, in `cgroup`), which ends right after. The text is
/// what the child found, the error what stopped it.
pub(crate) fn attempt_in(
    flags: u64,
    cgroup: Option<BorrowedFd<'_>>,
    body: impl FnOnce() -> Result<String, Error>,
) -> Result<String, Error> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).doing(|| "make a pipe".into())?;
    let child = process::clone3(flags, cgroup).doing(|| "fork a child".into())?;
    let Cloned::Parent { pidfd, .. } = child else {
        // A doctor that was interrupted leaves nothing behind.
        let _ = cred::die_with_parent();
        let (status, text) = match body() {
            Ok(text) => (0, text),
            Err(e) => (1, e.to_string()),
        };
        let _ = rustix::io::write(&writer, text.as_bytes());
        process::exit(status)
    };
    drop(writer);
    let answer = collect(&reader, &pidfd);
    if answer.is_err() {
        // It may have ended by itself; wait_pidfd tells in any case.
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    }
    let ended = process::wait_pidfd(pidfd.as_fd()).doing(|| "wait for the child".into())?;
    let text = answer?;
    match ended {
        Ended::Exited(0) => Ok(text),
        Ended::Exited(_) => Err(Error::new(Kind::Host, text)),
        Ended::Killed(signal) => {
            let name = rkt_spec::signal::name(signal);
            Err(Error::new(
                Kind::Host,
                format!("the child was killed by {name}"),
            ))
        }
    }
}

/// As [`attempt_in`], in a plain fork.
pub(crate) fn attempt(body: impl FnOnce() -> Result<String, Error>) -> Result<String, Error> {
    attempt_in(0, None, body)
}

fn collect(reader: &OwnedFd, pidfd: &OwnedFd) -> Result<String, Error> {
    let mut polled = [PollFd::new(pidfd, PollFlags::IN)];
    let deadline = Timespec {
        tv_sec: DEADLINE,
        tv_nsec: 0,
    };
    // The answer is far smaller than a pipe holds, so the end of the child can be awaited first.
    let ready = rustix::io::retry_on_intr(|| poll(&mut polled, Some(&deadline)))
        .doing(|| "wait for the child".into())?;
    if ready == 0 {
        return Err(Error::new(
            Kind::Host,
            format!("no answer within {DEADLINE} s"),
        ));
    }
    let bytes = fd::read_all(reader.as_fd(), ANSWER).doing(|| "read the answer".into())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A user namespace with these maps and no process in it. Needs the privilege to write them.
pub(crate) fn user_namespace(uids: &str, gids: &str) -> Result<OwnedFd, Error> {
    let (hold, release) = pipe_with(PipeFlags::CLOEXEC).doing(|| "make a pipe".into())?;
    let (ready, told) = pipe_with(PipeFlags::CLOEXEC).doing(|| "make a pipe".into())?;
    let child =
        process::clone3(process::flags::NEWUSER, None).doing(|| "make a user namespace".into())?;
    let Cloned::Parent { pid, pidfd } = child else {
        drop(release);
        drop(ready);
        let _ = rustix::io::write(&told, b"r");
        let _ = rustix::io::read(&hold, &mut [0u8; 1]);
        process::exit(0)
    };
    drop(told);
    let made = (|| {
        // Only a child that runs has its namespace's files.
        rustix::io::read(&ready, &mut [0u8; 1]).doing(|| "wait for the child".into())?;
        let proc = |file: &str| format!("/proc/{pid}/{file}");
        std::fs::write(proc("uid_map"), uids).doing(|| "write `uid_map`".into())?;
        std::fs::write(proc("gid_map"), gids).doing(|| "write `gid_map`".into())?;
        let file = std::fs::File::open(proc("ns/user")).doing(|| "open `ns/user`".into())?;
        Ok(OwnedFd::from(file))
    })();
    drop(release);
    process::wait_pidfd(pidfd.as_fd()).doing(|| "wait for the child".into())?;
    made
}
