//! Bytes between the operator's descriptors and the entered program's, until it ends.
//!
//! Never blocks on the program: what it does not read yet waits here, at most one block, and
//! the operator's input waits in turn. Blocking on the operator's side is right: a program whose
//! output nobody takes has to wait.

use super::terminal::{self, Terminal};
use crate::failure::{Failure, RKT};
use rkt_pod::control::{Connection, Reply};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, read, write};
use rustix::process::Signal;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

const BLOCK: usize = 64 * 1024;
/// How long a pty may take to hand out what was written before its last user ended.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// How many rounds are read after the end: more than any pipe or pty holds, and no more than
/// that of what a process in the background goes on writing.
const LAST_TURNS: usize = 64;

/// Our ends of what the program has as stdin, stdout and stderr.
#[derive(Debug)]
pub(super) struct Ends {
    input: Option<OwnedFd>,
    outputs: Vec<Output>,
    tty: bool,
}

#[derive(Debug)]
struct Output {
    from: OwnedFd,
    to: To,
}

#[derive(Debug, Clone, Copy)]
enum To {
    Stdout,
    Stderr,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With this status (128 + signal when a signal ended it).
    Exited(u8),
    /// This process was told to end.
    Signal(u8),
    /// The supervisor is gone.
    PodEnded,
}

fn failed(what: &str, e: Errno) -> Failure {
    Failure::new(RKT, what).because(e.to_string())
}

fn nonblocking(fd: &OwnedFd) -> Result<(), Failure> {
    let set = || fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK);
    set().map_err(|e| failed("prepare to relay", e))
}

impl Ends {
    /// Three pipes.
    pub(super) fn pipes(stdin: OwnedFd, stdout: OwnedFd, stderr: OwnedFd) -> Result<Self, Failure> {
        for fd in [&stdin, &stdout, &stderr] {
            nonblocking(fd)?;
        }
        let outputs = vec![
            Output {
                from: stdout,
                to: To::Stdout,
            },
            Output {
                from: stderr,
                to: To::Stderr,
            },
        ];
        Ok(Self {
            input: Some(stdin),
            outputs,
            tty: false,
        })
    }

    /// The master of a pty.
    pub(super) fn pty(master: OwnedFd) -> Result<Self, Failure> {
        nonblocking(&master)?;
        let from = master
            .try_clone()
            .map_err(|e| Failure::new(RKT, "prepare to relay").because(e.to_string()))?;
        let outputs = vec![Output {
            from,
            to: To::Stdout,
        }];
        Ok(Self {
            input: Some(master),
            outputs,
            tty: true,
        })
    }
}

/// Carries bytes until the program or the pod has ended, or a signal says to leave.
pub(super) fn relay(
    connection: &Connection,
    ends: Ends,
    terminal: Option<&Terminal>,
) -> Result<Outcome, Failure> {
    let mut relay = Relay {
        ends,
        stdin: true,
        waiting: Vec::new(),
        buffer: vec![0; BLOCK],
    };
    // The terminal may have changed its size before its signals were listened to.
    relay.resize();
    loop {
        let turn = relay.turn(Some(connection), terminal, None)?;
        if let Some(number) = turn.signal {
            return Ok(Outcome::Signal(number));
        }
        if turn.control {
            match connection.recv_reply().map_err(super::rkts)? {
                Some((Reply::Exited { status, .. }, _)) => {
                    relay.last_words()?;
                    return Ok(Outcome::Exited(u8::try_from(status & 0xff).unwrap_or(RKT)));
                }
                Some(_) => {}
                None => {
                    relay.last_words()?;
                    return Ok(Outcome::PodEnded);
                }
            }
        }
    }
}

struct Relay {
    ends: Ends,
    /// Whether the operator's stdin may have more.
    stdin: bool,
    /// Input that the program has not taken yet.
    waiting: Vec<u8>,
    buffer: Vec<u8>,
}

#[derive(Default)]
struct Turn {
    control: bool,
    signal: Option<u8>,
    /// Whether any output has come or ended.
    moved: bool,
}

impl Relay {
    /// Waits until something can be done, and does it.
    fn turn(
        &mut self,
        connection: Option<&Connection>,
        terminal: Option<&Terminal>,
        patience: Option<Duration>,
    ) -> Result<Turn, Failure> {
        let ready = self.wait(connection, terminal, patience)?;
        let mut turn = Turn {
            control: ready.control,
            ..Turn::default()
        };
        if ready.signal
            && let Some(number) = terminal.and_then(Terminal::next_signal)
        {
            if number == Signal::WINCH.as_raw() {
                self.resize();
            } else {
                turn.signal = Some(u8::try_from(number).unwrap_or(0));
            }
        }
        if ready.stdin {
            self.take_input();
        }
        if ready.input || ready.stdin {
            self.give_input(ready.input_gone);
        }
        for index in ready.outputs.into_iter().rev() {
            turn.moved = true;
            self.carry(index)?;
        }
        Ok(turn)
    }

    fn wait(
        &self,
        connection: Option<&Connection>,
        terminal: Option<&Terminal>,
        patience: Option<Duration>,
    ) -> Result<Ready, Failure> {
        let stdin = std::io::stdin();
        let reads = self.stdin && self.waiting.is_empty() && self.ends.input.is_some();
        let writes = match self.waiting.is_empty() {
            true => PollFlags::empty(),
            false => PollFlags::OUT,
        };
        let mut fds = Vec::with_capacity(7);
        let mut places = Vec::with_capacity(7);
        let mut add = |place: Place, fd, events| {
            places.push(place);
            fds.push(PollFd::from_borrowed_fd(fd, events));
        };
        if let Some(connection) = connection {
            add(Place::Control, connection.as_fd(), PollFlags::IN);
        }
        if let Some(terminal) = terminal {
            add(Place::Signal, terminal.signals(), PollFlags::IN);
        }
        if reads {
            add(Place::Stdin, stdin.as_fd(), PollFlags::IN);
        }
        if let Some(input) = &self.ends.input
            && (!self.ends.tty || !self.waiting.is_empty())
        {
            add(Place::Input, input.as_fd(), writes);
        }
        for (index, output) in self.ends.outputs.iter().enumerate() {
            add(Place::Output(index), output.from.as_fd(), PollFlags::IN);
        }
        let timeout = patience.and_then(|p| Timespec::try_from(p).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(failed("wait for the program", e)),
        }
        let mut ready = Ready::default();
        for (place, fd) in places.into_iter().zip(&fds) {
            let events = fd.revents();
            if events.is_empty() {
                continue;
            }
            match place {
                Place::Control => ready.control = true,
                Place::Signal => ready.signal = true,
                Place::Stdin => ready.stdin = true,
                Place::Input => {
                    ready.input = true;
                    ready.input_gone = events.intersects(PollFlags::ERR | PollFlags::NVAL);
                }
                Place::Output(index) => ready.outputs.push(index),
            }
        }
        Ok(ready)
    }

    /// Reads a block of the operator's input.
    fn take_input(&mut self) {
        match read(std::io::stdin(), &mut *self.buffer) {
            Ok(0) => {
                self.stdin = false;
                if !self.ends.tty {
                    // The end of file goes on; a terminal has none to pass.
                    self.ends.input = None;
                }
            }
            Ok(n) => self
                .waiting
                .extend_from_slice(self.buffer.get(..n).unwrap_or(&[])),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // EIO: this process is in the background of its terminal, or that has hung up.
            Err(_) => self.stdin = false,
        }
    }

    /// Hands on what waits, as far as the program takes it.
    fn give_input(&mut self, gone: bool) {
        let Some(input) = &self.ends.input else {
            return;
        };
        if !self.waiting.is_empty() {
            match write(input, &self.waiting) {
                Ok(n) => drop(self.waiting.drain(..n.min(self.waiting.len()))),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => {
                    self.ends.input = None;
                    self.waiting.clear();
                }
            }
        } else if gone {
            // Nobody reads any more: the operator's input stays the operator's.
            self.ends.input = None;
        }
    }

    /// Carries a block of output.
    fn carry(&mut self, index: usize) -> Result<(), Failure> {
        let Some(output) = self.ends.outputs.get(index) else {
            return Ok(());
        };
        let n = match read(&output.from, &mut *self.buffer) {
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            // A pty whose last user has gone says EIO.
            Ok(0) | Err(_) => {
                self.ends.outputs.remove(index);
                return Ok(());
            }
            Ok(n) => n,
        };
        let bytes = self.buffer.get(..n).unwrap_or(&[]);
        let done = match output.to {
            To::Stdout => put(std::io::stdout().as_fd(), bytes),
            To::Stderr => put(std::io::stderr().as_fd(), bytes),
        };
        match done {
            Ok(()) => Ok(()),
            // Our reader has gone: the program is told by its next write.
            Err(Errno::PIPE) => {
                self.ends.outputs.remove(index);
                Ok(())
            }
            Err(e) => Err(failed("pass the program's output on", e)),
        }
    }

    /// Carries what was written before the end, and not what others write for ever after.
    fn last_words(&mut self) -> Result<(), Failure> {
        self.ends.input = None;
        self.stdin = false;
        let end = Instant::now() + LAST_WORDS;
        for _ in 0..LAST_TURNS {
            let left = match self.ends.tty {
                true => end.saturating_duration_since(Instant::now()),
                false => Duration::ZERO,
            };
            if self.ends.outputs.is_empty() || !self.turn(None, None, Some(left))?.moved {
                break;
            }
        }
        Ok(())
    }

    /// Gives the pty the size of the operator's terminal.
    fn resize(&self) {
        if let Some(output) = self.ends.outputs.first().filter(|_| self.ends.tty) {
            let (rows, cols) = terminal::size();
            if rows > 0 && cols > 0 {
                let _ = rkt_sys::tty::set_size(output.from.as_fd(), rows, cols);
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Control,
    Signal,
    Stdin,
    Input,
    Output(usize),
}

/// What poll has found.
#[derive(Default)]
struct Ready {
    control: bool,
    signal: bool,
    stdin: bool,
    input: bool,
    input_gone: bool,
    outputs: Vec<usize>,
}

/// Writes all; the operator's descriptor may be non-blocking by somebody else's doing.
fn put(to: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match write(to, bytes) {
            Ok(n) => bytes = bytes.get(n..).unwrap_or(&[]),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut fds = [PollFd::from_borrowed_fd(to, PollFlags::OUT)];
                match poll(&mut fds, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(e) => return Err(e),
                }
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
