//! `rkt stop POD..`: ask the supervisors to end their pods; with --force, make them.

use super::{ask, look};
use crate::args::{self, Format, Globals};
use crate::failure::{Failure, USAGE};
use crate::view::time::duration;
use clap::Parser;
use rkt_pod::control::{Connection, Reply, Request};
use rkt_pod::{Kind, Pod, State};
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Exit status when the UUID file cannot be read, as in the original.
const UNREADABLE: u8 = 1;
/// How long a supervisor has to answer; and, forced, to end the pod before it is killed itself.
const FORCE_PATIENCE: Duration = Duration::from_secs(5);
/// How long a pod may take to vanish once nothing holds it up any more.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// Stop pods
#[derive(Debug, Parser)]
#[command(name = "rkt stop")]
struct Stop {
    /// UUIDs, beginnings of UUIDs, or names
    #[arg(value_name = "POD")]
    pods: Vec<String>,
    /// Read a UUID from a file
    #[arg(long, value_name = "FILE")]
    uuid_file: Option<PathBuf>,
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
    let asked: Stop = args::parse("stop", words)?;
    let words = look::words(asked.pods.clone(), asked.uuid_file.as_deref(), UNREADABLE)?;
    let pods = look::open(&asked.globals)?;
    let grace_ms = asked
        .stop_timeout
        .map(|t| u32::try_from(t.as_millis()).unwrap_or(u32::MAX));
    let request = Request::Stop {
        force: asked.force,
        grace_ms,
    };
    // All are asked first, so that their grace periods run side by side.
    let stopping: Vec<_> = words
        .iter()
        .map(|word| ask_to_stop(look::find(&pods, word)?, asked.force, &request))
        .collect();
    let mut status = 0;
    for outcome in stopping {
        match outcome.and_then(|begun| {
            begun
                .map(|b| b.finish(asked.force, &asked.globals))
                .transpose()
        }) {
            Ok(Some(uuid)) => super::say(&match asked.format {
                Format::Table => format!("\"{uuid}\"\n"),
                format => super::json(
                    &serde_json::json!({ "name": uuid, "stopped": true }),
                    format,
                )?,
            }),
            Ok(None) => {}
            Err(failure) => {
                failure.print();
                status = failure.status;
            }
        }
    }
    Ok(status)
}

/// Kills a running pod, for `rkt rm --force`.
pub(super) fn kill(pod: Pod, globals: &Globals) -> Result<(), Failure> {
    let request = Request::Stop {
        force: true,
        grace_ms: None,
    };
    if let Some(begun) = ask_to_stop(pod, true, &request)? {
        begun.finish(true, globals)?;
    }
    Ok(())
}

/// A pod whose supervisor was asked, or could not be.
struct Begun {
    pod: Pod,
    connection: Option<Connection>,
}

/// Asks; `None` when the pod has ended already.
fn ask_to_stop(pod: Pod, force: bool, request: &Request) -> Result<Option<Begun>, Failure> {
    let uuid = pod.uuid();
    match pod.state() {
        State::Running => {}
        state if state.has_exited() => {
            super::note(&format!("stop: pod \"{uuid}\" is already stopped"));
            return Ok(None);
        }
        state => {
            return Err(Failure::usage(format!("pod \"{uuid}\" is not running"))
                .because(format!("it is {}", state.as_str())));
        }
    }
    let connected = match force {
        true => Connection::connect(pod.as_fd()),
        false => ask::connect(&pod),
    };
    let connection = match connected {
        Ok(connection) => {
            connection.send_request(request, &[])?;
            Some(connection)
        }
        // Ended meanwhile; or it will be killed without being asked.
        Err(e) if e.kind() == Kind::Gone && !pod.is_locked()? => None,
        Err(e) if force && e.kind() != Kind::Refused => None,
        Err(e) => {
            return Err(Failure::from(e)
                .because(format!(
                    "pod `{uuid}` runs, but its supervisor does not answer"
                ))
                .hint(format!("kill it with `rkt stop --force {uuid}`")));
        }
    };
    Ok(Some(Begun { pod, connection }))
}

impl Begun {
    /// Waits for the end; gives the UUID.
    fn finish(self, force: bool, globals: &Globals) -> Result<String, Failure> {
        let uuid = self.pod.uuid();
        let doing = format!("stop pod `{uuid}`");
        let ending = match &self.connection {
            Some(connection) => until_closed(connection, force)?,
            None => false,
        };
        if !ending && !force && self.pod.is_locked()? {
            return Err(Failure::new(USAGE, doing)
                .because("its supervisor does not answer")
                .hint(format!("kill it with `rkt stop --force {uuid}`")));
        }
        // Closed is not ended: first it takes down what it has made.
        if ending && self.is_gone_in(END_PATIENCE)? {
            return Ok(uuid.to_string());
        }
        if force {
            if let Some(supervisor) = ask::supervisor(&self.pod)? {
                // The kernel takes the whole pod with it.
                let signal = rustix::process::Signal::KILL;
                let killed = rustix::process::pidfd_send_signal(&supervisor, signal);
                killed.map_err(|e| Failure::new(USAGE, &doing).because(e.to_string()))?;
            }
            if self.is_gone_in(END_PATIENCE)? {
                super::gc::sweep(globals, uuid)?;
                return Ok(uuid.to_string());
            }
        } else if !self.pod.is_locked()? {
            return Ok(uuid.to_string());
        }
        let failure = Failure::new(USAGE, doing).because("something still holds its lock");
        Err(match force {
            true => failure,
            false => failure.hint(format!("kill it with `rkt stop --force {uuid}`")),
        })
    }

    fn is_gone_in(&self, patience: Duration) -> Result<bool, Failure> {
        let end = Instant::now() + patience;
        while self.pod.is_locked()? {
            if Instant::now() > end {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(true)
    }
}

/// Waits until the supervisor has closed, and whether it has; what it has to say against
/// stopping is the failure.
///
/// It answers at once, and then takes as long as the apps' grace periods; forced, it has
/// [`FORCE_PATIENCE`] for all.
fn until_closed(connection: &Connection, force: bool) -> Result<bool, Failure> {
    let mut end = Some(Instant::now() + FORCE_PATIENCE);
    while ask::readable(connection.as_fd(), end)? {
        match connection.recv_reply()? {
            None => return Ok(true),
            Some((
                Reply::Failed {
                    doing,
                    because,
                    hint,
                    ..
                },
                _,
            )) => {
                return Err(ask::failed(USAGE, doing, because, &hint));
            }
            Some(_) if force => {}
            Some(_) => end = None,
        }
    }
    Ok(false)
}
