//! The probe in an app of the pod: put there as `rkt enter` does, and listened to.

use super::super::ask;
use crate::failure::{Failure, USAGE};
use rkt_pod::Pod;
use rkt_pod::control::{Connection, Reply, Request};
use rkt_spec::codec::Bytes;
use rkt_spec::plan::{AppPlan, Plan, Process};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Where the image has it.
const PROGRAM: &str = "/rkt-probe";
/// Most that is read of what it says, bytes.
const MOST: usize = 4 << 20;
/// How long one attack may take: the probe itself gives each ten seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// SIGHUP, SIGINT and SIGTERM, from now on something to poll for: the pod has to go before we do.
pub(super) struct Signals(OwnedFd);

impl Signals {
    pub(super) fn listen() -> Result<Self, Failure> {
        let fd = rkt_sys::signal::open(&[1, 2, 15]);
        fd.map(Self)
            .map_err(|e| Failure::usage("listen for signals").because(e.to_string()))
    }

    /// Fails when one has come.
    fn check(&self) -> Result<(), Failure> {
        match rkt_sys::signal::next(self.0.as_fd()) {
            Ok(Some(number)) => {
                let status = 128u8.saturating_add(u8::try_from(number).unwrap_or(0));
                Err(Failure::new(status, "interrupted by a signal")
                    .because("the pod that was attacked is gone"))
            }
            _ => Ok(()),
        }
    }
}

/// Where the probe is put.
pub(super) struct Inside<'a> {
    pub(super) pod: &'a Pod,
    pub(super) plan: &'a Plan,
    pub(super) signals: &'a Signals,
}

fn failed(because: impl ToString) -> Failure {
    Failure::new(USAGE, "attack the pod").because(because.to_string())
}

impl Inside<'_> {
    /// Runs the probe in an app to its end; gives what it wrote.
    ///
    /// # Errors
    /// When it cannot be started or does not end, or a signal says to leave.
    pub(super) fn run(&self, app: &AppPlan, words: &[&str]) -> Result<String, Failure> {
        self.signals.check()?;
        let words = std::iter::once(PROGRAM).chain(words.iter().copied());
        let process = Process {
            argv: words.map(|w| Bytes(w.as_bytes().to_vec())).collect(),
            ..app.process.clone()
        };
        let connection = ask::connect(self.pod)?;
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(failed);
        let (in_read, in_write) = pipe()?;
        let (out_read, out_write) = pipe()?;
        let request = Request::Enter {
            app: app.name.clone(),
            process,
            tty: false,
            rows: 0,
            cols: 0,
        };
        let theirs = [in_read.as_fd(), out_write.as_fd(), out_write.as_fd()];
        connection.send_request(&request, &theirs)?;
        drop((in_read, out_write, in_write));
        match connection.recv_reply()? {
            Some((Reply::Entered { .. }, _)) => self.hear(&connection, &out_read),
            Some((
                Reply::Failed {
                    doing,
                    because,
                    hint,
                    ..
                },
                _,
            )) => Err(ask::failed(USAGE, doing, because, &hint)),
            Some(_) => Err(failed("the supervisor answers nonsense")),
            None => Err(failed("the pod has ended")),
        }
    }

    fn hear(&self, connection: &Connection, output: &OwnedFd) -> Result<String, Failure> {
        let end = Instant::now() + PATIENCE;
        let mut said = Vec::new();
        let mut open = true;
        let mut ended = false;
        while open || !ended {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(failed("the probe does not come to an end"));
            }
            let mut ready = vec![self.signals.0.as_fd()];
            ready.extend((!ended).then_some(connection.as_fd()));
            ready.extend(open.then_some(output.as_fd()));
            let ready = readable(&ready, left)?;
            self.signals.check()?;
            let mut ready = ready.into_iter().skip(1);
            if !ended && ready.next() == Some(true) {
                match connection.recv_reply()? {
                    Some((Reply::Exited { .. }, _)) => ended = true,
                    Some(_) => {}
                    None => return Err(failed("the pod has ended")),
                }
            }
            if open && ready.next() == Some(true) {
                let mut buffer = [0; 16_384];
                match rustix::io::read(output, &mut buffer) {
                    Ok(0) => open = false,
                    Ok(n) if said.len() < MOST => {
                        said.extend_from_slice(buffer.get(..n).unwrap_or(&[]));
                    }
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(e) => return Err(failed(e)),
                }
            }
        }
        Ok(String::from_utf8_lossy(&said).into_owned())
    }
}

fn readable(fds: &[BorrowedFd<'_>], left: Duration) -> Result<Vec<bool>, Failure> {
    let timeout = Timespec::try_from(left).map_err(failed)?;
    let mut polled: Vec<PollFd<'_>> = fds
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
        .collect();
    match poll(&mut polled, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(e) => return Err(failed(e)),
    }
    Ok(polled.iter().map(|p| !p.revents().is_empty()).collect())
}
