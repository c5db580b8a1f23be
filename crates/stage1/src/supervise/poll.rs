//! What the supervisor waits for.

use super::{Source, Supervisor};
use crate::control::Server;
use crate::relay::Output;
use rkt_pod::logs::Stream;
use rkt_spec::plan::Stdio;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

impl Supervisor {
    pub(super) fn wait(&self, signals: &OwnedFd, server: &Server) -> Vec<(Source, PollFlags)> {
        let mut fds: Vec<PollFd<'_>> = Vec::new();
        let mut sources: Vec<Source> = Vec::new();
        let mut add = |source, fd, flags| {
            fds.push(PollFd::from_borrowed_fd(fd, flags));
            sources.push(source);
        };
        add(Source::Signals, signals.as_fd(), PollFlags::IN);
        if let Some(sandbox) = &self.pod.sandbox {
            add(Source::Init, sandbox.init.as_fd(), PollFlags::IN);
        }
        if let Some(pasta) = &self.pod.networks.pasta.0 {
            add(Source::Pasta, pasta.pidfd.as_fd(), PollFlags::IN);
        }
        if let Some(watch) = self.listens_for_names().and_then(|n| n.watch()) {
            add(Source::Names, watch, PollFlags::IN);
        }
        let full = self.plan.foreground && self.outputs.iter().any(Output::is_full);
        for (n, (running, app)) in self.running.iter().zip(&self.pod.apps).enumerate() {
            if let Some(child) = &running.child {
                add(Source::Main(n), child.pidfd.as_fd(), PollFlags::IN);
                if let Some(listener) = &child.listener {
                    add(Source::Denials(n), listener.as_fd(), PollFlags::IN);
                }
            }
            add(
                Source::Launcher(n),
                app.launcher.pidfd.as_fd(),
                PollFlags::IN,
            );
            let streams = [
                (&running.ours.stdout, Stream::Stdout),
                (&running.ours.stderr, Stream::Stderr),
            ];
            for (fd, stream) in streams {
                if let Some(fd) = fd.as_ref().filter(|_| !full) {
                    add(Source::Out(n, stream), fd.as_fd(), PollFlags::IN);
                }
            }
        }
        for (n, output) in self.outputs.iter().enumerate() {
            if output.wants_to_write() {
                add(Source::Output(n), output.fd(), PollFlags::OUT);
            }
        }
        if let Some(at) = self.interactive() {
            let open = self.input_end(at);
            if open.is_some() && self.input.wants_to_read() {
                add(Source::Stdin, rustix::stdio::stdin(), PollFlags::IN);
            }
            if let Some(fd) = open.filter(|_| self.input.wants_to_write()) {
                add(Source::ToApp(at), fd.as_fd(), PollFlags::OUT);
            }
        }
        for (source, fd) in server.sources() {
            add(Source::Control(source), fd, PollFlags::IN);
        }
        let timeout = self.next_deadline(server).map(|left| Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(1),
            tv_nsec: left.subsec_nanos().into(),
        });
        if poll(&mut fds, timeout.as_ref()).is_err() {
            return vec![];
        }
        let ready = fds.iter().zip(sources);
        ready
            .filter(|(p, _)| !p.revents().is_empty())
            .map(|(p, s)| (s, p.revents()))
            .collect()
    }

    pub(super) fn input_end(&self, at: usize) -> Option<&OwnedFd> {
        let running = self.running.get(at)?;
        match self.plan.apps.get(at)?.stdio {
            Stdio::Tty => running.ours.stdout.as_ref(),
            _ => running.ours.stdin.as_ref(),
        }
    }

    pub(super) fn next_deadline(&self, server: &Server) -> Option<Duration> {
        let apps = self
            .running
            .iter()
            .flat_map(|r| [r.kill_at, r.flush_at])
            .flatten()
            .chain(self.denials.flush_at)
            .chain(self.neighbours.look_at);
        let next = apps.chain(server.next_deadline()).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }
}
