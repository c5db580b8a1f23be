//! Refused system calls of traced apps: noted, answered with the filter's own error, and kept in a
//! file of the pod for `rkt why`.

use super::Supervisor;
use rkt_isolate::seccomp::trace::{self, Call};
use rkt_pod::denials::{self, Denial, MOST};
use rkt_sys::seccomp;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;
use std::time::{Duration, Instant};

/// How long a note may wait for the disk.
const FLUSH: Duration = Duration::from_millis(200);

/// What was noted so far.
#[derive(Debug, Default)]
pub(super) struct Denials {
    list: Vec<Denial>,
    /// More kinds than are kept.
    more: u64,
    pub(super) flush_at: Option<Instant>,
}

impl Denials {
    fn note(&mut self, one: Denial) {
        let same = |d: &&mut Denial| {
            (&d.app, d.number, d.errno, d.arg) == (&one.app, one.number, one.errno, one.arg)
        };
        let room = self.list.len() < MOST;
        match self.list.iter_mut().find(same) {
            Some(known) => {
                known.count = known.count.saturating_add(1);
                known.program = one.program;
            }
            None if room => self.list.push(one),
            None => self.more = self.more.saturating_add(1),
        }
        self.flush_at.get_or_insert_with(|| Instant::now() + FLUSH);
    }

    pub(super) fn flush(&mut self, pod: BorrowedFd<'_>) {
        if self.flush_at.take().is_some() {
            // Notes are for onlookers: a full disk must not end the pod.
            let _ = denials::write(pod, &self.list, self.more);
        }
    }
}

impl Supervisor {
    /// Answers one refused call. `false` when nobody can ask on this listener any more.
    pub(super) fn on_denial(&mut self, n: usize) -> bool {
        let (Some(running), Some(app)) = (self.running.get(n), self.plan.apps.get(n)) else {
            return false;
        };
        let Some(listener) = running.child.as_ref().and_then(|c| c.listener.as_ref()) else {
            return false;
        };
        let asked = match seccomp::receive(listener.as_fd()) {
            Ok(asked) => asked,
            // Its caller was killed between poll and here.
            Err(error) => {
                return error == rustix::io::Errno::NOENT || error == rustix::io::Errno::INTR;
            }
        };
        let call = Call {
            arch: asked.arch,
            number: asked.number,
            args: asked.args,
        };
        // The program asks only where the other one refuses by an error.
        let errno = trace::errno(&app.walls.seccomp.0, &call).unwrap_or(1);
        let program = self.program_name(asked.pid);
        let _ = self.answer_denial(listener, asked.id, errno);
        let telling = trace::telling(call.number).and_then(|at| call.args.get(at).copied());
        let denial = Denial {
            app: app.name.clone(),
            number: call.number,
            errno,
            arg: telling.map(|arg| arg & u64::from(u32::MAX)),
            count: 1,
            program,
        };
        self.denials.note(denial);
        true
    }

    fn answer_denial(&self, listener: &OwnedFd, id: u64, errno: u16) -> rustix::io::Result<()> {
        seccomp::refuse(listener.as_fd(), id, errno)
    }

    /// `comm` of a process, which it chose itself: at most 15 bytes, escaped by who prints it.
    fn program_name(&self, pid: u32) -> String {
        let file = self.host.open_pid(pid, "comm", OFlags::RDONLY);
        let mut text = [0u8; 16];
        let n = file
            .and_then(|file| rustix::io::read(&file, &mut text))
            .unwrap_or(0);
        let name = text.get(..n).unwrap_or(&[]);
        String::from_utf8_lossy(name).trim_end().to_owned()
    }
}
