//! Starting an app's program once more, in the walls that stand: the launcher that cloned it the
//! first time clones it again.

use super::{Supervisor, kill, stdio_for};
use crate::app::App;
use crate::error::Failure;
use crate::launcher::{Child, What};
use crate::stdio::Ours;
use rkt_pod::status::AppState;
use rkt_pod::time;
use rkt_stage2::Mode;
use rkt_sys::signal;
use rustix::fd::AsFd;
use std::time::{Duration, Instant};

/// How long what an app left behind may take to die once it was killed. Its ports are free only
/// then.
const REMAINS: Duration = Duration::from_secs(5);

/// What became of a restart, for the client who asked for it.
pub(crate) type Answer = (u64, Result<u32, Failure>);

impl Supervisor {
    /// Ends an app's processes, by its stop signal or at once, and starts its program again. One
    /// that has ended is just started. The answer comes with [`Supervisor::take_answers`].
    ///
    /// # Errors
    /// When the pod is being stopped.
    pub(crate) fn restart(
        &mut self,
        n: usize,
        client: u64,
        force: bool,
        grace_ms: Option<u32>,
    ) -> Result<(), Failure> {
        let (Some(running), Some(app)) = (self.running.get_mut(n), self.pod.apps.get(n)) else {
            return Err(Failure::new("restart an app", "the pod is not complete"));
        };
        if self.stopping {
            let doing = format!("restart app `{}`", app.plan.name);
            return Err(Failure::new(doing, "the pod is being stopped"));
        }
        running.again.push(client);
        match &running.child {
            // Started with the next [`Supervisor::start_ended`].
            None => {}
            Some(_) if force => kill(running, app),
            Some(child) => {
                let grace = grace_ms.unwrap_or(app.plan.stop_timeout_ms);
                let _ = signal::send(child.pidfd.as_fd(), app.plan.stop_signal.into());
                let at = Instant::now() + Duration::from_millis(grace.into());
                running.kill_at = Some(running.kill_at.map_or(at, |before| before.min(at)));
            }
        }
        Ok(())
    }

    /// Whether somebody waits for an app to run once more.
    pub(super) fn wants_again(&self, n: usize) -> bool {
        self.running.get(n).is_some_and(|r| !r.again.is_empty())
    }

    /// What has become of restarts since the last call.
    pub(crate) fn take_answers(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.answers)
    }

    /// Starts the apps that have ended and are wanted again. Not called while the events of one
    /// poll are handled: those of the old pipes would be taken for the new ones'.
    pub(super) fn start_ended(&mut self) {
        for n in 0..self.running.len() {
            let ended = self.running.get(n).is_some_and(|r| r.child.is_none());
            if ended && self.wants_again(n) {
                self.start_again(n);
            }
        }
    }

    /// Starts an app that has ended. A failure ends the pod, as it does at the first start.
    fn start_again(&mut self, n: usize) {
        let (Some(running), Some(app)) = (self.running.get_mut(n), self.pod.apps.get(n)) else {
            return;
        };
        let clients = std::mem::take(&mut running.again);
        let outcome = if self.stopping {
            let doing = format!("restart app `{}`", app.plan.name);
            Err(Failure::new(doing, "the pod is being stopped"))
        } else {
            start(app, self.plan.foreground)
        };
        let now = time::now();
        let mut failed = None;
        let answer = match outcome {
            Ok((child, ours)) => {
                let pid = child.pid;
                running.child = Some(child);
                running.ours = ours;
                if let Some(one) = self.status.change_app(&app.plan.name) {
                    one.state = AppState::Running;
                    one.pid = pid;
                    one.started_at = now;
                    one.finished_at = 0;
                    one.exit_code = None;
                    one.signal = 0;
                    one.oom = 0;
                    one.reason.clear();
                    one.restarts = one.restarts.saturating_add(1);
                }
                Ok(pid)
            }
            Err(failure) => {
                if let Some(one) = self.status.change_app(&app.plan.name)
                    && !self.stopping
                {
                    one.exit_code = Some(failure.exit.into());
                    one.finished_at = now;
                    one.reason = failure.because.join(": ");
                    failed = Some(failure.exit);
                }
                Err(failure)
            }
        };
        let answers = clients.into_iter().map(|client| (client, answer.clone()));
        self.answers.extend(answers);
        if let Some(exit) = failed {
            self.exit.get_or_insert(exit);
            self.stop(None);
        }
    }
}

fn start(app: &App, foreground: bool) -> Result<(Child, Ours), Failure> {
    let end = Instant::now() + REMAINS;
    while app.cgroup.populated() == Some(true) {
        if Instant::now() > end {
            let doing = format!("restart app `{}`", app.plan.name);
            return Err(Failure::new(doing, "what it left behind does not die")
                .hint("`rkt stop --force` ends the pod"));
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    let (given, ours) = stdio_for(app, foreground)?;
    let asked = app.ask(What::Main, Mode::Execute, &given)?;
    let starting = app.cloned(asked)?;
    app.finish(starting, What::Main).map(|child| (child, ours))
}
