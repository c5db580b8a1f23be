//! The operator's terminal: raw while a pty is relayed, and as it was on every way out.

use crate::failure::{Failure, RKT};
use rkt_sys::signal;
use rustix::process::Signal;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A terminal in raw mode; [`Drop`] puts it back.
#[derive(Debug)]
pub(super) struct Terminal {
    before: Termios,
    signals: OwnedFd,
}

impl Terminal {
    /// Makes stdin raw when it is a terminal; `None` when it is none.
    ///
    /// The signals that would end this process are only read from now on, so that there is
    /// time to put the terminal back.
    pub(super) fn raw() -> Result<Option<Self>, Failure> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let failed = |e: String| Failure::new(RKT, "take over the terminal").because(e);
        let before = tcgetattr(&stdin).map_err(|e| failed(e.to_string()))?;
        let wanted = [
            Signal::WINCH,
            Signal::TERM,
            Signal::INT,
            Signal::HUP,
            Signal::QUIT,
        ];
        let signals =
            signal::open(&wanted.map(Signal::as_raw)).map_err(|e| failed(e.to_string()))?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Drain, &raw).map_err(|e| failed(e.to_string()))?;
        Ok(Some(Self { before, signals }))
    }

    /// Readable when a signal has come.
    pub(super) fn signals(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// The next signal that has come.
    pub(super) fn next_signal(&self) -> Option<i32> {
        signal::next(self.signals.as_fd()).ok().flatten()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that has hung up needs no care.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Rows and columns of the operator's terminal; 0 and 0 when there is none.
pub(super) fn size() -> (u16, u16) {
    tcgetwinsize(std::io::stdin())
        .or_else(|_| tcgetwinsize(std::io::stdout()))
        .map_or((0, 0), |s| (s.ws_row, s.ws_col))
}
