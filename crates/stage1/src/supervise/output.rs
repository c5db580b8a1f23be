//! What apps write: to their logs, and in the foreground to the operator too.

use super::Supervisor;
use rkt_pod::logs::Stream;
use rkt_pod::time;
use rustix::event::PollFlags;
use std::time::{Duration, Instant};

impl Supervisor {
    /// Reads what is left in an app's pipes, without waiting for more.
    pub(super) fn drain(&mut self, n: usize) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            // Bounded: a pipe holds at most 1 MiB, and everyone who could write is dead or dying.
            for _ in 0..1024 {
                if !self.read_output(n, stream) {
                    break;
                }
            }
            self.close_output(n, stream);
        }
        if let Some(running) = self.running.get_mut(n) {
            let _ = running.log.flush(time::now());
            running.flush_at = None;
            running.ours.stdin = None;
        }
    }

    pub(super) fn on_output(&mut self, n: usize, stream: Stream, flags: PollFlags) {
        if !self.read_output(n, stream) && !flags.contains(PollFlags::IN) {
            self.close_output(n, stream);
        }
    }

    /// Takes one piece of output; whether there was any.
    pub(super) fn read_output(&mut self, n: usize, stream: Stream) -> bool {
        let mut buffer = [0u8; 16 * 1024];
        let Some(running) = self.running.get_mut(n) else {
            return false;
        };
        let end = if stream == Stream::Stdout {
            &running.ours.stdout
        } else {
            &running.ours.stderr
        };
        let Some(fd) = end else { return false };
        let bytes = match rustix::io::read(fd, &mut buffer) {
            Ok(0) => {
                self.close_output(n, stream);
                return false;
            }
            Ok(got) => buffer.get(..got).unwrap_or(&[]),
            // The last process has closed the pty.
            Err(rustix::io::Errno::IO) => {
                self.close_output(n, stream);
                return false;
            }
            Err(_) => return false,
        };
        // A full disk loses lines, never the app.
        let _ = running.log.write(stream, bytes, time::now());
        running.flush_at = running
            .log
            .has_partial()
            .then(|| Instant::now() + Duration::from_millis(200));
        if self.plan.foreground {
            let many = self.plan.apps.len() > 1;
            let at = usize::from(stream == Stream::Stderr);
            let (Some(output), Some(prefixed), Some(app)) = (
                self.outputs.get_mut(at),
                running.prefixed.get_mut(at),
                self.plan.apps.get(n),
            ) else {
                return true;
            };
            if many {
                prefixed.push(app.name.as_str(), bytes, output);
            } else {
                output.push(bytes);
            }
        }
        true
    }

    pub(super) fn close_output(&mut self, n: usize, stream: Stream) {
        let (Some(running), Some(app)) = (self.running.get_mut(n), self.plan.apps.get(n)) else {
            return;
        };
        let at = usize::from(stream == Stream::Stderr);
        match stream {
            Stream::Stdout => running.ours.stdout = None,
            Stream::Stderr => running.ours.stderr = None,
        }
        if let (Some(prefixed), Some(output)) =
            (running.prefixed.get_mut(at), self.outputs.get_mut(at))
        {
            prefixed.flush(app.name.as_str(), output);
        }
    }

    pub(super) fn finish_output(&mut self) {
        for n in 0..self.running.len() {
            self.drain(n);
        }
        for output in &mut self.outputs {
            output.drain(1000);
        }
    }
}
