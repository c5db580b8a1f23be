//! Children that try something and say what came of it.

use rkt_sys::process::{self, Cloned, Ended};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use std::fmt;

/// What a test came to.
pub(crate) enum Outcome {
    Pass,
    Skip(String),
    Fail(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => f.write_str("ok"),
            Self::Skip(why) => write!(f, "SKIPPED: {why}"),
            Self::Fail(why) => write!(f, "FAILED\n  {why}"),
        }
    }
}

/// What went wrong; anything that can be shown is one.
pub(crate) struct Wrong(pub(crate) String);

impl<E: fmt::Display> From<E> for Wrong {
    fn from(e: E) -> Self {
        Self(e.to_string())
    }
}

pub(crate) type Try<T = ()> = Result<T, Wrong>;

pub(crate) fn outcome(tried: Try) -> Outcome {
    match tried {
        Ok(()) => Outcome::Pass,
        Err(Wrong(why)) => Outcome::Fail(why),
    }
}

/// Fails unless `holds`.
pub(crate) fn check(holds: bool, what: impl FnOnce() -> String) -> Try {
    if holds { Ok(()) } else { Err(Wrong(what())) }
}

/// Fails unless `result` is this errno; `None` wants success.
pub(crate) fn expect<T>(what: &str, result: Result<T, Errno>, want: Option<Errno>) -> Try {
    let got = result.err();
    check(got == want, || {
        format!("{what}: got {got:?}, wanted {want:?}")
    })
}

/// Errno of an `io::Result`.
pub(crate) fn errno<T>(result: std::io::Result<T>) -> Result<T, Errno> {
    result.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
}

/// Runs `body` in a child and gives back what it found wrong.
pub(crate) fn in_child(body: impl FnOnce() -> Try) -> Try {
    match ended(None, body)? {
        (Ended::Exited(0), _) => Ok(()),
        (how, text) => Err(Wrong(format!("{how:?}: {text}"))),
    }
}

/// Runs `body` in a child, born in `cgroup`, and says how it ended and what it said.
pub(crate) fn ended(
    cgroup: Option<BorrowedFd<'_>>,
    body: impl FnOnce() -> Try,
) -> Try<(Ended, String)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    let Cloned::Parent { pidfd, .. } = process::clone3(0, cgroup)? else {
        let status = match body() {
            Ok(()) => 0,
            Err(Wrong(text)) => {
                let _ = rustix::io::write(&writer, text.as_bytes());
                1
            }
        };
        process::exit(status)
    };
    drop(writer);
    let text = rkt_sys::fd::read_all(reader.as_fd(), 1 << 16)?;
    let how = process::wait_pidfd(pidfd.as_fd())?;
    Ok((how, String::from_utf8_lossy(&text).into_owned()))
}

/// A child that says a word and then waits until it is let go, or killed.
pub(crate) struct Held {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
    word: OwnedFd,
    release: OwnedFd,
}

impl Held {
    /// Starts one; what `body` returns is its word.
    pub(crate) fn start(
        flags: u64,
        cgroup: Option<BorrowedFd<'_>>,
        body: impl FnOnce() -> Try<String>,
    ) -> Try<Self> {
        let (word, say) = pipe_with(PipeFlags::CLOEXEC)?;
        let (wait, release) = pipe_with(PipeFlags::CLOEXEC)?;
        let Cloned::Parent { pid, pidfd } = process::clone3(flags, cgroup)? else {
            drop((word, release));
            let _ = rkt_sys::cred::die_with_parent();
            let (status, text) = match body() {
                Ok(text) => (0, text),
                Err(Wrong(text)) => (1, format!("wrong: {text}")),
            };
            let _ = rustix::io::write(&say, format!("{text}\n").as_bytes());
            drop(say);
            if status == 0 {
                let _ = rustix::io::read(&wait, &mut [0u8; 1]);
            }
            process::exit(status)
        };
        Ok(Self {
            pid,
            pidfd,
            word,
            release,
        })
    }

    /// Waits for its word.
    pub(crate) fn hear(&self) -> Try<String> {
        // To the end of the line: its children may keep the pipe open.
        let mut text = Vec::new();
        let mut byte = [0u8; 1];
        while rustix::io::read(&self.word, &mut byte)? == 1 && byte != *b"\n" {
            text.extend(byte);
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        match text.strip_prefix("wrong: ") {
            Some(why) => Err(Wrong(why.to_owned())),
            None => Ok(text),
        }
    }

    /// Lets it go and says how it ended.
    pub(crate) fn end(self) -> Try<Ended> {
        // By a byte: children forked later hold copies of the pipe's end.
        rustix::io::write(&self.release, b"g")?;
        Ok(process::wait_pidfd(self.pidfd.as_fd())?)
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&self) -> Try<Option<Ended>> {
        Ok(process::try_wait_pidfd(self.pidfd.as_fd())?)
    }

    /// Waits for its end, without letting it go.
    pub(crate) fn wait(&self) -> Try<Ended> {
        Ok(process::wait_pidfd(self.pidfd.as_fd())?)
    }
}

/// A directory of the test's own, removed when dropped.
pub(crate) struct Dir(pub(crate) std::path::PathBuf);

impl Dir {
    pub(crate) fn new(name: &str) -> Try<Self> {
        let pid = std::process::id();
        let path = std::env::temp_dir().join(format!("rkt-isolate-{name}-{pid}"));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
