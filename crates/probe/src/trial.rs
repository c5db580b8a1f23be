//! One attempt of an attack, how it ended, and a child process to make it in.

use crate::value::Value;
use rkt_sys::raw;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, WaitOptions, kill_process, waitpid};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The kernel said no.
    Refused(Errno),
    /// Nothing said no, and nothing was gained.
    Held(String),
    /// The attack worked.
    Broke(String),
    /// There was nothing to attack here.
    Moot(String),
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Try {
    /// The call and its object.
    pub what: String,
    /// How it ended.
    pub end: End,
}

impl Try {
    /// From a call that is an attack by itself when it works.
    pub(crate) fn of<T>(what: impl Into<String>, result: Result<T, Errno>) -> Self {
        let end = match result {
            Ok(_) => End::Broke("it worked".to_owned()),
            Err(errno) => End::Refused(errno),
        };
        Self::new(what, end)
    }

    /// From a call of `std`.
    pub(crate) fn of_io<T>(what: impl Into<String>, result: std::io::Result<T>) -> Self {
        Self::of(what, result.map_err(|e| errno_of(&e)))
    }

    /// With a known end.
    pub(crate) fn new(what: impl Into<String>, end: End) -> Self {
        Self {
            what: what.into(),
            end,
        }
    }

    /// Nothing to attack.
    pub(crate) fn moot(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(what, End::Moot(why.into()))
    }

    /// Whether the attack worked.
    pub(crate) fn broke(&self) -> bool {
        matches!(self.end, End::Broke(_))
    }

    /// `refused`, `succeeded` or `inconclusive`.
    pub(crate) fn verdict(&self) -> &'static str {
        match self.end {
            End::Refused(_) | End::Held(_) => "refused",
            End::Broke(_) => "succeeded",
            End::Moot(_) => "inconclusive",
        }
    }

    /// What there is to say about the end: an errno's name, or words.
    pub(crate) fn note(&self) -> String {
        match &self.end {
            End::Refused(errno) => errno_name(*errno),
            End::Held(words) | End::Broke(words) | End::Moot(words) => words.clone(),
        }
    }

    /// For JSON.
    pub(crate) fn value(&self) -> Value {
        Value::map([
            ("what", Value::text(&*self.what)),
            ("result", Value::text(self.verdict())),
            ("note", Value::text(self.note())),
        ])
    }

    /// One line, for the pipe from the child.
    fn encode(&self) -> String {
        let (kind, note) = match &self.end {
            End::Refused(errno) => ('r', errno.raw_os_error().to_string()),
            End::Held(words) => ('h', words.clone()),
            End::Broke(words) => ('b', words.clone()),
            End::Moot(words) => ('m', words.clone()),
        };
        let flat = |s: &str| s.replace(['\n', '\t'], " ");
        format!("{kind}\t{}\t{}\n", flat(&self.what), flat(&note))
    }

    fn decode(line: &str) -> Option<Self> {
        let mut parts = line.splitn(3, '\t');
        let (kind, what, note) = (parts.next()?, parts.next()?, parts.next()?.to_owned());
        let end = match kind {
            "r" => End::Refused(Errno::from_raw_os_error(note.parse().ok()?)),
            "h" => End::Held(note),
            "b" => End::Broke(note),
            "m" => End::Moot(note),
            _ => return None,
        };
        Some(Self::new(what, end))
    }
}

/// The verdict over several attempts: one that worked decides, then one refused.
pub(crate) fn verdict(tries: &[Try]) -> &'static str {
    if tries.iter().any(Try::broke) {
        "succeeded"
    } else if tries.iter().any(|t| t.verdict() == "refused") {
        "refused"
    } else {
        "inconclusive"
    }
}

/// Makes the attempts in a child, so that what they change ends with them.
///
/// Blocks for at most ten seconds; then the child is killed, and what it had said counts.
pub(crate) fn in_child(attempts: impl FnOnce(&mut Log)) -> Vec<Try> {
    let stuck = |words: &str| vec![Try::moot("make a child for the attack", words)];
    let Ok((reader, writer)) = std::io::pipe() else {
        return stuck("no pipe");
    };
    let child = match raw::fork() {
        Ok(Some(pid)) => pid,
        Ok(None) => {
            drop(reader);
            attempts(&mut Log(writer));
            raw::exit_now(0);
        }
        Err(errno) => return stuck(&errno_name(errno)),
    };
    drop(writer);
    let (said, in_time) = read_until(reader, Instant::now() + Duration::from_secs(10));
    if !in_time {
        let _ = kill_process(child, Signal::KILL);
    }
    let status = waitpid(Some(child), WaitOptions::empty());
    let mut tries: Vec<Try> = String::from_utf8_lossy(&said)
        .lines()
        .filter_map(Try::decode)
        .collect();
    if !in_time {
        tries.push(Try::moot("the rest of it", "no answer within 10 s"));
    } else if let Ok(Some((_, status))) = status
        && let Some(signal) = status.terminating_signal()
    {
        let words = format!("the attacker was killed by signal {signal}");
        tries.push(Try::new("the rest of it", End::Held(words)));
    }
    tries
}

/// Where a child tells its attempts; a line is out before the next attempt begins.
pub(crate) struct Log(std::io::PipeWriter);

impl Log {
    /// Tells one.
    pub(crate) fn add(&mut self, attempt: Try) {
        let _ = self.0.write_all(attempt.encode().as_bytes());
    }
}

fn read_until(mut from: std::io::PipeReader, deadline: Instant) -> (Vec<u8>, bool) {
    let mut said = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(left) = Timespec::try_from(left) else {
            return (said, false);
        };
        let mut fds = [PollFd::new(&from, PollFlags::IN)];
        match poll(&mut fds, Some(&left)) {
            Ok(0) => return (said, false),
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return (said, true),
        }
        let mut buffer = [0; 4096];
        match from.read(&mut buffer) {
            Ok(0) | Err(_) => return (said, true),
            Ok(n) => said.extend_from_slice(buffer.get(..n).unwrap_or(&[])),
        }
    }
}

/// The errno inside an error of `std`.
pub(crate) fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw_os_error(error.raw_os_error().unwrap_or(5))
}

/// `EPERM`; `errno 200` for one that no attack here meets.
pub(crate) fn errno_name(errno: Errno) -> String {
    const NAMES: &[(Errno, &str)] = &[
        (Errno::PERM, "EPERM"),
        (Errno::NOENT, "ENOENT"),
        (Errno::SRCH, "ESRCH"),
        (Errno::INTR, "EINTR"),
        (Errno::IO, "EIO"),
        (Errno::NXIO, "ENXIO"),
        (Errno::TOOBIG, "E2BIG"),
        (Errno::BADF, "EBADF"),
        (Errno::AGAIN, "EAGAIN"),
        (Errno::NOMEM, "ENOMEM"),
        (Errno::ACCESS, "EACCES"),
        (Errno::FAULT, "EFAULT"),
        (Errno::BUSY, "EBUSY"),
        (Errno::EXIST, "EEXIST"),
        (Errno::XDEV, "EXDEV"),
        (Errno::NODEV, "ENODEV"),
        (Errno::NOTDIR, "ENOTDIR"),
        (Errno::ISDIR, "EISDIR"),
        (Errno::INVAL, "EINVAL"),
        (Errno::MFILE, "EMFILE"),
        (Errno::NOTTY, "ENOTTY"),
        (Errno::TXTBSY, "ETXTBSY"),
        (Errno::NOSPC, "ENOSPC"),
        (Errno::SPIPE, "ESPIPE"),
        (Errno::ROFS, "EROFS"),
        (Errno::PIPE, "EPIPE"),
        (Errno::NOSYS, "ENOSYS"),
        (Errno::LOOP, "ELOOP"),
        (Errno::NOMSG, "ENOMSG"),
        (Errno::OVERFLOW, "EOVERFLOW"),
        (Errno::USERS, "EUSERS"),
        (Errno::NOTSOCK, "ENOTSOCK"),
        (Errno::PROTOTYPE, "EPROTOTYPE"),
        (Errno::PROTONOSUPPORT, "EPROTONOSUPPORT"),
        (Errno::SOCKTNOSUPPORT, "ESOCKTNOSUPPORT"),
        (Errno::OPNOTSUPP, "EOPNOTSUPP"),
        (Errno::AFNOSUPPORT, "EAFNOSUPPORT"),
        (Errno::CONNREFUSED, "ECONNREFUSED"),
        (Errno::STALE, "ESTALE"),
        (Errno::DQUOT, "EDQUOT"),
        (Errno::NOKEY, "ENOKEY"),
    ];
    NAMES.iter().find(|(e, _)| *e == errno).map_or_else(
        || format!("errno {}", errno.raw_os_error()),
        |(_, n)| (*n).to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_come_back_from_the_child() {
        let told = [
            Try::of::<()>("mount", Err(Errno::PERM)),
            Try::new("chroot", End::Held("still\tinside".into())),
            Try::moot("volume", "there is none"),
        ];
        let copy = told.clone();
        let heard = in_child(move |log| copy.into_iter().for_each(|t| log.add(t)));
        assert_eq!(heard[0], told[0]);
        assert_eq!(heard[1].note(), "still inside");
        assert_eq!(verdict(&heard), "refused");
        assert_eq!(verdict(&heard[2..]), "inconclusive");
    }

    #[test]
    fn a_child_that_dies_is_told_of() {
        let heard = in_child(|_| {
            let _ = raw::signal_any(rustix::process::getpid().as_raw_pid(), 9);
        });
        assert_eq!(heard.len(), 1);
        assert!(heard[0].note().contains("signal 9"));
    }
}
