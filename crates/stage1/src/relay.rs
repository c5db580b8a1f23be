//! The operator's side of a foreground pod: output copied with bounded memory, input passed on,
//! the terminal in raw mode only as long as needed.

use crate::stdio;
use rkt_pod::logs::escape;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::termios::{OptionalActions, Termios};

/// Above this much waiting output nothing more is read from the apps, so that a slow reader
/// slows them down instead of filling our memory.
const FULL: usize = 64 * 1024;
/// What one write may carry without blocking on a pipe that poll calls writable (`PIPE_BUF`).
const CHUNK: usize = 4096;

/// Our own stdout or stderr.
#[derive(Debug)]
pub(crate) struct Output {
    stderr: bool,
    /// Whether it is a terminal, which obeys what is written to it.
    terminal: bool,
    waiting: Vec<u8>,
    closed: bool,
}

impl Output {
    pub(crate) fn new(stderr: bool) -> Self {
        let mut output = Self {
            stderr,
            terminal: false,
            waiting: Vec::new(),
            closed: false,
        };
        output.terminal = rustix::termios::isatty(output.fd());
        output
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'static> {
        if self.stderr {
            rustix::stdio::stderr()
        } else {
            rustix::stdio::stdout()
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if !self.closed {
            self.waiting.extend_from_slice(bytes);
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= FULL
    }

    pub(crate) fn wants_to_write(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes a piece; call it when the descriptor is writable.
    pub(crate) fn write_some(&mut self) {
        let piece = self
            .waiting
            .get(..self.waiting.len().min(CHUNK))
            .unwrap_or(&[]);
        match rustix::io::write(self.fd(), piece) {
            Ok(n) => drop(self.waiting.drain(..n)),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            // Nobody reads any more; the log still has everything.
            Err(_) => {
                self.closed = true;
                self.waiting.clear();
            }
        }
    }

    /// Writes what waits, as long as somebody takes it within `milliseconds`.
    pub(crate) fn drain(&mut self, milliseconds: u32) {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let patience = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(milliseconds) * 1_000_000,
        };
        while self.wants_to_write() {
            let fd = self.fd();
            match poll(&mut [PollFd::new(&fd, PollFlags::OUT)], Some(&patience)) {
                Ok(0) => return,
                _ => self.write_some(),
            }
        }
    }
}

/// Puts an app's name before each of its lines, for pods of several apps.
#[derive(Debug, Default)]
pub(crate) struct Prefixed {
    line: Vec<u8>,
}

/// A line longer than this is cut, so that memory stays bounded.
const LONGEST_LINE: usize = 8 * 1024;

impl Prefixed {
    pub(crate) fn push(&mut self, name: &str, bytes: &[u8], out: &mut Output) {
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.line.len() >= LONGEST_LINE {
                self.flush(name, out);
            }
        }
    }

    pub(crate) fn flush(&mut self, name: &str, out: &mut Output) {
        if self.line.is_empty() {
            return;
        }
        out.push(name.as_bytes());
        out.push(b": ");
        let text = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        if out.terminal {
            // No app of several writes over another's lines, or in its name.
            let mut harmless = Vec::with_capacity(text.len());
            escape::terminal(text.strip_suffix(b"\r").unwrap_or(text), &mut harmless);
            out.push(&harmless);
        } else {
            out.push(text);
        }
        out.push(b"\n");
        self.line.clear();
    }
}

/// Our own stdin on its way to an app.
#[derive(Debug, Default)]
pub(crate) struct Input {
    waiting: Vec<u8>,
    ended: bool,
}

impl Input {
    pub(crate) fn wants_to_read(&self) -> bool {
        !self.ended && self.waiting.len() < CHUNK
    }

    pub(crate) fn wants_to_write(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Reads a piece of our stdin.
    pub(crate) fn read_some(&mut self) {
        let mut buffer = [0u8; CHUNK];
        match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
            Ok(0) => self.ended = true,
            Ok(n) => self
                .waiting
                .extend_from_slice(buffer.get(..n).unwrap_or(&[])),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(_) => self.ended = true,
        }
    }

    /// Passes on what waits; whether the app's end should be closed now.
    pub(crate) fn write_some(&mut self, to: &OwnedFd) -> bool {
        if !self.waiting.is_empty() {
            match rustix::io::write(to, &self.waiting) {
                Ok(n) => drop(self.waiting.drain(..n)),
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                Err(_) => {
                    self.ended = true;
                    self.waiting.clear();
                }
            }
        }
        self.is_done()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.ended && self.waiting.is_empty()
    }
}

/// The operator's terminal in raw mode; put back when dropped.
#[derive(Debug)]
pub(crate) struct RawTerminal(Termios);

impl RawTerminal {
    /// `None` when our stdin is no terminal.
    pub(crate) fn begin() -> Option<Self> {
        let stdin = rustix::stdio::stdin();
        let before = rustix::termios::tcgetattr(stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(stdin, OptionalActions::Drain, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let stdin = rustix::stdio::stdin();
        let _ = rustix::termios::tcsetattr(stdin, OptionalActions::Drain, &self.0);
    }
}

/// Gives a pty the size of the operator's terminal.
pub(crate) fn copy_size(master: &OwnedFd) {
    if let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stdin().as_fd()) {
        stdio::set_size(master, size.ws_row, size.ws_col);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_several_apps_carry_names() {
        let mut out = Output::new(false);
        let mut lines = Prefixed::default();
        lines.push("web", b"one\ntw", &mut out);
        lines.push("web", b"o\nrest", &mut out);
        lines.flush("web", &mut out);
        assert_eq!(out.waiting, b"web: one\nweb: two\nweb: rest\n");
        out.waiting.clear();
        out.terminal = true;
        lines.push(
            "web",
            b"\x1b[31mred\x1b[0m\rdb: forged\r\n\x1b[2J\n",
            &mut out,
        );
        let told = b"web: \x1b[31mred\x1b[0m\\x0ddb: forged\nweb: \\x1b[2J\n";
        assert_eq!(out.waiting, told);
        out.waiting.clear();
        out.terminal = false;
        lines.push("a", &vec![b'x'; 3 * LONGEST_LINE], &mut out);
        assert!(lines.line.is_empty());
    }
}
