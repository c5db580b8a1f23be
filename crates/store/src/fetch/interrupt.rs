//! Ctrl-C while layers flow: everything that grows is taken away first.
//!
//! The caller names the signals. They are blocked from the first layer to the last record; a
//! thread waits for one and breaks the connections, so that the fetch ends as after any other
//! failure. Before and after, nothing is half done and a signal does what it always does.

use crate::error::{Doing, Error, Result};
use rkt_sys::signal::{self, Mask};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::PipeFlags;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// Signals held back.
pub(crate) struct Interrupt {
    /// The descriptor goes before the mask: what is pending still belongs to it.
    signals: Option<OwnedFd>,
    got: AtomicI32,
    _mask: Option<Mask>,
}

impl Interrupt {
    /// Blocks `signals` in this thread and those that it starts, until it is dropped.
    pub(crate) fn block(signals: &[i32]) -> Result<Self> {
        let what = || "hold signals back".into();
        let mask = match signals {
            [] => None,
            _ => Some(Mask::save().doing(what)?),
        };
        let fd = match signals {
            [] => None,
            _ => Some(signal::open(signals).doing(what)?),
        };
        Ok(Self {
            signals: fd,
            got: AtomicI32::new(0),
            _mask: mask,
        })
    }

    /// Does `work`, and calls `stop` from another thread when a signal comes meanwhile.
    pub(crate) fn watch<T>(&self, stop: &(dyn Fn() + Sync), work: impl FnOnce() -> T) -> T {
        let Some(signals) = &self.signals else {
            return work();
        };
        let Ok((over, end)) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC) else {
            return work();
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut fds = [
                    PollFd::new(signals, PollFlags::IN),
                    PollFd::new(&over, PollFlags::IN),
                ];
                while let Err(rustix::io::Errno::INTR) = poll(&mut fds, None) {}
                if self.take() {
                    stop();
                }
            });
            let result = work();
            drop(end);
            result
        })
    }

    /// Whether a signal has come by now.
    fn take(&self) -> bool {
        if let Some(signals) = &self.signals
            && let Ok(Some(number)) = signal::next(signals.as_fd())
        {
            self.got.store(number, Ordering::Relaxed);
        }
        self.got.load(Ordering::Relaxed) != 0
    }

    /// The error for a signal that came, whatever it made of the work.
    pub(crate) fn check(&self) -> Result<()> {
        if !self.take() {
            return Ok(());
        }
        let number = u8::try_from(self.got.load(Ordering::Relaxed)).unwrap_or(u8::MAX);
        let because = format!("it was stopped by {}", rkt_spec::signal::name(number));
        Err(Error::stopped_by(number, because)
            .hint("what has come is kept: the next fetch goes on from there"))
    }
}
