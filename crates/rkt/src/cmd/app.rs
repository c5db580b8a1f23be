//! `rkt app restart POD`: one app of a running pod, while the others go on.

use super::{ask, look};
use crate::args::{self, Format, Globals};
use crate::failure::{Failure, USAGE};
use crate::view::time::duration;
use clap::{Parser, Subcommand};
use rkt_pod::control::{Connection, Reply, Request};
use rkt_pod::{PodStatus, State};
use rkt_spec::AppName;
use serde_json::json;
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

/// Act on single apps of a running pod
#[derive(Debug, Parser)]
#[command(name = "rkt app")]
struct Words {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// End the processes of apps and start their programs again, with the same files and walls
    Restart(Restart),
}

#[derive(Debug, clap::Args)]
struct Restart {
    /// A UUID, the beginning of one, or a name
    #[arg(value_name = "POD")]
    pod: Option<String>,
    /// Read the UUID from a file
    #[arg(long, value_name = "FILE")]
    uuid_file: Option<PathBuf>,
    /// The app; every app of the pod when not given
    #[arg(short, long, value_name = "NAME")]
    app: Vec<AppName>,
    /// Kill at once
    #[arg(short, long)]
    force: bool,
    /// Time from the stop signal to SIGKILL; each app's own when not given
    #[arg(short = 't', long, alias = "time", alias = "timeout", value_name = "TIME", value_parser = duration)]
    stop_timeout: Option<Duration>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

pub(super) fn run(words: Vec<OsString>) -> Result<u8, Failure> {
    let Verb::Restart(asked) = args::parse::<Words>("app", words)?.verb;
    let word = look::words(
        asked.pod.into_iter().collect(),
        asked.uuid_file.as_deref(),
        USAGE,
    )?;
    let word = word.into_iter().next().unwrap_or_default();
    let pod = look::find(&look::open(&asked.globals)?, &word)?;
    let uuid = pod.uuid();
    if pod.state() != State::Running {
        return Err(Failure::usage(format!("pod \"{uuid}\" is not running"))
            .because(format!("it is {}", pod.state().as_str())));
    }
    let doing = |app: &AppName| format!("restart app `{app}` of pod `{uuid}`");
    let grace_ms = asked
        .stop_timeout
        .map(|t| u32::try_from(t.as_millis()).unwrap_or(u32::MAX));
    let mut apps = asked.app;
    if apps.is_empty() {
        let status = PodStatus::read(pod.as_fd())?;
        apps = status.map_or(vec![], |s| s.apps.into_iter().map(|a| a.name).collect());
    }
    // All are asked first, so that their grace periods run side by side.
    let mut begun: Vec<(AppName, Connection)> = Vec::new();
    for app in apps {
        let connection = ask::connect(&pod).map_err(|e| Failure::from(e).because(doing(&app)))?;
        let request = Request::Restart {
            app: app.clone(),
            force: asked.force,
            grace_ms,
        };
        connection.send_request(&request, &[])?;
        begun.push((app, connection));
    }
    let mut status = 0;
    for (app, connection) in begun {
        match answer(&connection, || doing(&app)) {
            Ok(pid) => super::say(&match asked.format {
                Format::Table => format!("\"{app}\"\n"),
                format => super::json(&json!({ "pod": uuid, "app": app, "pid": pid }), format)?,
            }),
            Err(failure) => {
                failure.print();
                status = failure.status;
            }
        }
    }
    Ok(status)
}

/// Waits for as long as the app takes to end and to start: its supervisor keeps the deadlines.
fn answer(connection: &Connection, doing: impl Fn() -> String) -> Result<u32, Failure> {
    ask::answer(connection, doing, |reply| match reply {
        Reply::Entered { pid } => Some(*pid),
        _ => None,
    })
}
