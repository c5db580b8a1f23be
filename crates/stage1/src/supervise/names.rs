//! Names of other pods in the apps' `/etc/hosts`, as those pods come and go.
//!
//! The files lie on file systems of rkt's own; a set-up child has handed over a descriptor of each.
//! No path of an app is looked up.

use super::Supervisor;
use crate::rootfs::write_at;
use rkt_net::names::Names;
use rustix::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How long changes are gathered: fifty pods that start at once are read once.
const GATHER: Duration = Duration::from_millis(20);
/// How often is looked when the kernel tells of no change.
const EVERY: Duration = Duration::from_secs(2);

/// What was written last, and when to look again.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    pub(super) look_at: Option<Instant>,
    lines: Vec<u8>,
}

impl Supervisor {
    /// Whether a change is to be waited for.
    pub(super) fn listens_for_names(&self) -> Option<&Names> {
        self.pod
            .names
            .as_ref()
            .filter(|_| self.neighbours.look_at.is_none())
    }

    /// Something has changed.
    pub(super) fn on_names(&mut self) {
        self.neighbours.look_at = Some(Instant::now() + GATHER);
    }

    /// Looks who is there now.
    pub(super) fn look_for_names(&mut self) {
        self.neighbours.look_at = None;
        if let Some(names) = &mut self.pod.names {
            // What cannot be read stays as it was known: the pod is not worse for it.
            let _ = names.look();
        }
        self.tell_names();
    }

    /// Writes the lines into every app's file that takes them.
    pub(super) fn tell_names(&mut self) {
        let Some(names) = &self.pod.names else {
            return;
        };
        if names.watch().is_none() {
            self.neighbours.look_at = Some(Instant::now() + EVERY);
        }
        let lines = names.lines();
        if lines == self.neighbours.lines {
            return;
        }
        let before = std::mem::replace(&mut self.neighbours.lines, lines);
        let base = self.plan.hosts.as_ref().map_or(0, |h| h.0.len());
        for file in self.pod.apps.iter().filter_map(|a| a.hosts.as_ref()) {
            // A full memory leaves an app with what it could be told.
            let _ = rewrite(file, base, before.len(), &self.neighbours.lines);
        }
    }
}

/// Puts lines in the place of those before, behind the first `base` bytes. Who reads meanwhile
/// finds empty lines where there was more, and never half of an old one.
fn rewrite(file: &OwnedFd, base: usize, before: usize, lines: &[u8]) -> rustix::io::Result<()> {
    let mut bytes = lines.to_vec();
    bytes.resize(lines.len().max(before), b'\n');
    write_at(file, &bytes, base as u64)?;
    if lines.len() < before {
        rustix::fs::ftruncate(file, (base + lines.len()) as u64)?;
    }
    Ok(())
}
