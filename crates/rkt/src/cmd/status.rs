//! `rkt status POD`: state, times and exit codes; waits for the end or for readiness.

use super::{ask, look};
use crate::args::{self, Format, Globals};
use crate::failure::{Failure, USAGE};
use crate::view::pods;
use crate::view::time::{Wait, wait};
use clap::Parser;
use rkt_pod::{Pod, PodStatus, Pods, State};
use rkt_spec::Uuid;
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Exit status when the UUID file cannot be read, as in the original.
const UNREADABLE: u8 = 1;
/// How often is looked where nothing wakes us.
const PAUSE: Duration = Duration::from_millis(20);

/// Tell the state of a pod
#[derive(Debug, Parser)]
#[command(name = "rkt status")]
struct Status {
    /// UUID, its beginning, or a name
    #[arg(value_name = "POD")]
    pod: Option<String>,
    /// Read the UUID from a file
    #[arg(long, value_name = "FILE")]
    uuid_file: Option<PathBuf>,
    /// Wait until the pod has ended, for ever or so long
    #[arg(long, value_name = "BOOL|TIME", num_args = 0..=1, require_equals = true, value_parser = wait,
          default_missing_value = "true", default_value = "false", hide_default_value = true)]
    wait: Wait,
    /// Wait until every app runs, for ever or so long
    #[arg(long, value_name = "BOOL|TIME", num_args = 0..=1, require_equals = true, value_parser = wait,
          default_missing_value = "true", default_value = "false", hide_default_value = true)]
    wait_ready: Wait,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

pub(super) fn run(words: Vec<OsString>) -> Result<u8, Failure> {
    let asked: Status = args::parse("status", words)?;
    let typed = asked.pod.into_iter().collect();
    let words = look::words(typed, asked.uuid_file.as_deref(), UNREADABLE)?;
    let [word] = words.as_slice() else {
        return Err(Failure::usage("one pod at a time, by name or by file"));
    };
    let pods = look::open(&asked.globals)?;
    let mut pod = look::find(&pods, word)?;
    let uuid = pod.uuid();
    if let Some(end) = deadline(asked.wait_ready) {
        pod = until_ready(&pods, pod, end)?;
    }
    if let Some(end) = deadline(asked.wait) {
        until_ended(&pods, pod, end)?;
        pod = again(&pods, uuid)?;
    }
    let (row, problem) = look::row(&pod, &look::names(&pods)?);
    super::say(&match asked.format {
        Format::Table => pods::lines(&row),
        format => super::json(&pods::value(&row), format)?,
    });
    problem.map_or(Ok(0), Err)
}

/// Until when to wait: `None` not at all, `Some(None)` for ever.
fn deadline(wait: Wait) -> Option<Option<Instant>> {
    match wait {
        Wait::No => None,
        Wait::Ever => Some(None),
        Wait::AtMost(time) => Some(Instant::now().checked_add(time)),
    }
}

fn late(what: &str) -> Failure {
    Failure::new(
        USAGE,
        format!("error waiting for pod {what}: context deadline exceeded"),
    )
}

fn again(pods: &Pods, uuid: Uuid) -> Result<Pod, Failure> {
    pods.get(uuid)?
        .ok_or_else(|| Failure::usage(format!("pod `{uuid}` was removed while it was waited for")))
}

/// Whether the time is over; sleeps a little when it is not.
fn pause(end: Option<Instant>) -> bool {
    let left = end.map_or(PAUSE, |end| end.saturating_duration_since(Instant::now()));
    std::thread::sleep(left.min(PAUSE));
    left.is_zero()
}

fn until_ready(pods: &Pods, pod: Pod, end: Option<Instant>) -> Result<Pod, Failure> {
    let mut pod = pod;
    loop {
        // A pod that has ended will not become ready; what it was is told.
        let ready = PodStatus::read(pod.as_fd())?.is_some_and(|s| s.ready);
        if ready || pod.state().has_exited() {
            return Ok(pod);
        }
        if pause(end) {
            return Err(late("readiness"));
        }
        pod = again(pods, pod.uuid())?;
    }
}

/// Waits for the end of a pod: for the end of its supervisor, where that can be had.
///
/// The supervisor is not asked, so that no number of waiters keeps others from asking.
fn until_ended(pods: &Pods, pod: Pod, end: Option<Instant>) -> Result<(), Failure> {
    let mut pod = pod;
    loop {
        if pod.state() == State::Running
            && let Some(supervisor) = ask::supervisor(&pod)?
            && !ask::readable(supervisor.as_fd(), end)?
        {
            return Err(late("termination"));
        }
        pod = match pods.get(pod.uuid())? {
            // Removed at its end (`--rm`): that is an end, too.
            None => return Ok(()),
            Some(pod) => pod,
        };
        if pod.state().has_exited() {
            return Ok(());
        }
        if pause(end) {
            return Err(late("termination"));
        }
    }
}
