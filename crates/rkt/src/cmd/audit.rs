//! `rkt audit [POD...]`: every running process of a pod beside the plan it was started by.

mod watch;

use super::look;
use crate::args::{self, Format, Globals};
use crate::failure::{Failure, USAGE};
use crate::view::audit::{self as view, Row, Seen};
use clap::Parser;
use rkt_isolate::audit::{self, Audit};
use rkt_pod::control::{Connection, Reply, Request};
use rkt_pod::{AppState, Pod, PodStatus, Pods, State};
use rkt_spec::AppName;
use rkt_spec::plan::Plan;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::time::Duration;

/// Exit status when a process has more than its plan says.
const DRIFT: u8 = 1;

/// Compare the running processes of pods with what was planned for them
///
/// Reads the host's /proc and changes nothing. Exit status 1 when something is not as planned.
#[derive(Debug, Parser)]
#[command(name = "rkt audit")]
struct Words {
    /// UUIDs, their beginnings, or names; every running pod if none is given
    #[arg(value_name = "POD")]
    pods: Vec<String>,
    /// Look again and again, every second or so often, and tell what changes
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, require_equals = true,
          default_missing_value = "1s", value_parser = crate::view::time::duration)]
    watch: Option<Duration>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

pub(super) fn run(words: Vec<OsString>) -> Result<u8, Failure> {
    let asked: Words = args::parse("audit", words)?;
    look::need_root()?;
    let pods = look::open(&asked.globals)?;
    if let Some(every) = asked.watch {
        return watch::run(&pods, &asked, every);
    }
    let mut rows = Vec::new();
    let mut status = 0;
    for pod in chosen(&pods, &asked.pods)? {
        let row = Row::new(pod.uuid(), one(&pods, &pod));
        if let Seen::Failed(failure) = &row.seen {
            failure.print();
        }
        if let Seen::NotRunning(state) = &row.seen {
            super::note(&format!("audit: pod `{}` does not run: {state}", row.uuid));
        }
        let named = !asked.pods.is_empty();
        let unseen = match &row.seen {
            Seen::Processes(_) => false,
            Seen::NotRunning(_) => named,
            Seen::Failed(_) => true,
        };
        if unseen {
            status = USAGE;
        }
        rows.push(row);
    }
    if rows.iter().any(Row::has_drift) {
        status = DRIFT;
    }
    super::say(&match asked.format {
        Format::Table => view::table(&rows),
        Format::Json => {
            let lines: Result<Vec<_>, _> = rows
                .iter()
                .map(|row| super::json(&view::value(row), Format::Json))
                .collect();
            lines?.concat()
        }
        Format::JsonPretty => {
            let all: Vec<_> = rows.iter().map(view::value).collect();
            super::json(&all, Format::JsonPretty)?
        }
    });
    Ok(status)
}

/// The pods named, or all but those that are being made or removed.
fn chosen(pods: &Pods, words: &[String]) -> Result<Vec<Pod>, Failure> {
    if !words.is_empty() {
        return words.iter().map(|word| look::find(pods, word)).collect();
    }
    let mut all = Vec::new();
    for (uuid, shelf) in pods.uuids()? {
        all.extend(pods.get_from(uuid, shelf)?);
    }
    Ok(all)
}

fn one(pods: &Pods, pod: &Pod) -> Seen {
    if pod.state() != State::Running {
        return Seen::NotRunning(pod.state().as_str().to_owned());
    }
    match look_at(pod) {
        // What ends is not drift: the pod is asked for again after it was looked at.
        Ok(audit) if audit.is_clean() => Seen::Processes(audit),
        seen => match pods.get(pod.uuid()) {
            Ok(Some(now)) if now.state() == State::Running => match seen {
                Ok(audit) => Seen::Processes(audit),
                Err(failure) => Seen::Failed(failure),
            },
            Ok(now) => {
                let state = now.map_or("removed", |pod| pod.state().as_str());
                Seen::NotRunning(state.to_owned())
            }
            Err(error) => Seen::Failed(error.into()),
        },
    }
}

/// What of a running pod is not as planned, a line each, for `rkt selftest`.
pub(super) fn drift_of(pod: &Pod) -> Result<Vec<String>, Failure> {
    Ok(view::lines(pod.uuid(), &look_at(pod)?))
}

fn look_at(pod: &Pod) -> Result<Audit, Failure> {
    let doing = || format!("audit pod `{}`", pod.uuid());
    let fail = |because: &str| Failure::usage(doing()).because(because);
    let bytes = pod.plan()?.ok_or_else(|| fail("it has no plan"))?;
    let plan = Plan::decode(&bytes)
        .map_err(|e| fail(&e.to_string()).hint("a pod is audited by the rkt that started it"))?;
    let status = PodStatus::read(pod.as_fd())?.filter(|s| s.ready && s.pid > 0);
    let status = status.ok_or_else(|| fail("it is still starting"))?;
    let number = |pid: u32| i32::try_from(pid).unwrap_or(0);
    let running = status.apps.iter().filter(|a| a.state == AppState::Running);
    let first: BTreeMap<_, _> = running
        .map(|app| (app.name.clone(), number(app.pid)))
        .collect();
    let mut opened = BTreeMap::new();
    for app in plan.apps.iter().filter(|a| a.walls.landlock) {
        if let Some(errno) = domain(pod, &app.name)? {
            opened.insert(app.name.clone(), errno);
        }
    }
    let pod = audit::Pod {
        opened,
        plan: &plan,
        init: number(status.pid),
        supervisor: number(status.supervisor),
        first,
    };
    audit::audit(&pod).map_err(|e| Failure::from(e.while_doing(doing())))
}

/// What the launcher of an app gets for an open of the host's `/`; `None` when it cannot be asked,
/// because the pod is ending or busy.
fn domain(pod: &Pod, app: &AppName) -> Result<Option<i32>, Failure> {
    let connection = match Connection::connect(pod.as_fd()) {
        Ok(connection) => connection,
        Err(e) if e.kind() == rkt_pod::Kind::Gone => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let request = Request::Domain { app: app.clone() };
    connection.send_request(&request, &[])?;
    let end = std::time::Instant::now() + Duration::from_secs(10);
    if !super::ask::readable(connection.as_fd(), Some(end))? {
        return Err(Failure::usage("ask the supervisor").because("it does not answer"));
    }
    match connection.recv_reply()? {
        Some((Reply::Domain { errno }, _)) => Ok(Some(errno)),
        Some((
            Reply::Failed {
                doing,
                because,
                hint,
                ..
            },
            _,
        )) => Err(super::ask::failed(USAGE, doing, because, &hint)),
        _ => Ok(None),
    }
}
