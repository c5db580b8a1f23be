//! `rkt gc`: mark what has ended, remove what was marked long enough ago.

use super::{leave, look};
use crate::args::{self, Format, Globals};
use crate::failure::Failure;
use crate::view::time::{self, duration};
use clap::Parser;
use rkt_isolate::cgroup::{self, Layout};
use rkt_pod::{Kind, Pod, Pods, State};
use rkt_spec::Uuid;
use serde_json::json;
use std::ffi::OsString;
use std::time::Duration;

/// How long a process that was killed may take to go.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Remove what old pods left
#[derive(Debug, Parser)]
#[command(name = "rkt gc")]
struct Gc {
    /// How long ended pods are kept after they were marked
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30m")]
    grace_period: Duration,
    /// How long prepared pods are kept that were never run
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "24h")]
    expire_prepared: Duration,
    /// Mark only, remove nothing
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set,
          hide_default_value = true, hide_possible_values = true)]
    mark_only: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

pub(super) fn run(words: Vec<OsString>) -> Result<u8, Failure> {
    let asked: Gc = args::parse("gc", words)?;
    look::need_root()?;
    let pods = look::open(&asked.globals)?;
    each(&pods, |pod| mark(&asked, pod))?;
    // The pods' own devices are gone by now; what is left belongs to no pod that is known.
    if let Err(failure) = leave::strays(&pods) {
        failure.print();
    }
    if asked.mark_only {
        return Ok(0);
    }
    each(&pods, |pod| expire(&asked, pod))?;
    each(&pods, |pod| collect(&asked, pod))?;
    super::selftest::sweep(&asked.globals);
    rkt_net::wire::sweep(&asked.globals.run_dir)?;
    Ok(0)
}

/// Does something to every pod. One that cannot be helped is told of, and is no reason to leave
/// the others; one that somebody else takes care of is left to them.
fn each(pods: &Pods, act: impl Fn(Pod) -> Result<(), Failure>) -> Result<(), Failure> {
    for (uuid, shelf) in pods.uuids()? {
        if let Some(pod) = pods.get_from(uuid, shelf)?
            && let Err(failure) = act(pod)
        {
            failure.print();
        }
    }
    Ok(())
}

/// Takes a pod's lock; `None` when somebody has it or it has gone on.
fn take(pod: Pod) -> Result<Option<rkt_pod::Locked>, Failure> {
    let shelf = pod.shelf();
    match pod.lock() {
        Ok(locked) if locked.shelf() == shelf => Ok(Some(locked)),
        Ok(_) => Ok(None),
        Err(e) if matches!(e.kind(), Kind::Taken | Kind::NotFound) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Ended pods and aborted preparations are set aside. What still runs of a pod whose supervisor
/// was killed ends here.
fn mark(asked: &Gc, mut pod: Pod) -> Result<(), Failure> {
    let (uuid, state) = (pod.uuid(), pod.state());
    match state {
        State::Exited | State::AbortedPrepare => {}
        // An embryo without an owner has nothing in it yet: it goes at once.
        State::Embryo if !pod.is_locked()? => {
            if let Some(locked) = take(pod)? {
                locked.remove()?;
            }
            return Ok(());
        }
        _ => return Ok(()),
    }
    sweep(&asked.globals, uuid)?;
    leave::networks(&pod)?;
    if !pod.set_aside()? {
        return Ok(());
    }
    let what = match state {
        State::Exited => "pod",
        _ => "failed prepare",
    };
    tell(
        asked,
        uuid,
        "marked",
        &format!("moving {what} \"{uuid}\" to garbage"),
    )
}

/// Prepared pods that nobody has run for long are set aside.
fn expire(asked: &Gc, pod: Pod) -> Result<(), Failure> {
    let uuid = pod.uuid();
    if pod.state() != State::Prepared || age(pod.created().unwrap_or(0)) < asked.expire_prepared {
        return Ok(());
    }
    let Some(locked) = take(pod)? else {
        return Ok(());
    };
    locked.to_garbage()?;
    tell(
        asked,
        uuid,
        "marked",
        &format!("moving expired prepared pod \"{uuid}\" to garbage"),
    )
}

/// What was set aside long enough ago is removed.
fn collect(asked: &Gc, pod: Pod) -> Result<(), Failure> {
    let uuid = pod.uuid();
    match pod.state() {
        State::Garbage => {}
        State::ExitedGarbage if age(pod.changed()?) >= asked.grace_period => {}
        State::ExitedGarbage => {
            let period = time::span(asked.grace_period);
            return tell(
                asked,
                uuid,
                "kept",
                &format!("pod \"{uuid}\" not removed: still within grace period ({period})"),
            );
        }
        _ => return Ok(()),
    }
    let Some(locked) = take(pod)? else {
        return Ok(());
    };
    if asked.format == Format::Table {
        super::say(&format!("Garbage collecting pod \"{uuid}\"\n"));
    }
    sweep(&asked.globals, uuid)?;
    locked.remove()?;
    tell(asked, uuid, "removed", "")
}

fn age(since: u64) -> Duration {
    Duration::from_nanos(rkt_pod::time::now().saturating_sub(since))
}

/// One line on stderr for people; one object on stdout for programs.
fn tell(asked: &Gc, uuid: Uuid, action: &str, text: &str) -> Result<(), Failure> {
    match asked.format {
        Format::Table if text.is_empty() => {}
        Format::Table => super::note(&format!("gc: {text}")),
        format => {
            let line = json!({ "name": uuid, "action": action });
            super::say(&super::json(&line, format)?);
        }
    }
    Ok(())
}

/// Ends what is left of a dead pod and removes its cgroups.
pub(super) fn sweep(globals: &Globals, uuid: Uuid) -> Result<(), Failure> {
    let layout = Layout::detect();
    let scope = cgroup::scope::parent(&uuid);
    for parent in [&globals.cgroup_parent, &scope] {
        cgroup::sweep(&layout, parent, &uuid, KILL_PATIENCE)?;
    }
    Ok(())
}

/// Removes a pod that nobody keeps, with its cgroups.
pub(super) fn discard(globals: &Globals, pod: Pod) -> Result<(), Failure> {
    let uuid = pod.uuid();
    leave::networks(&pod)?;
    let locked = pod.lock()?;
    sweep(globals, uuid)?;
    Ok(locked.remove()?)
}
