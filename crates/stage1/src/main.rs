//! Keep a pod: the supervisor, one single-threaded process per pod, outside of it.
//!
//! `rkt run` becomes this program by exec (same pid). It reads one binary plan, makes the pod,
//! starts its apps, and lives as long as they do. It parses nothing of an image or a registry,
//! and takes no order from inside the pod.
#![forbid(unsafe_code)]

mod app;
mod control;
mod error;
mod host;
mod init;
mod launcher;
mod make;
mod network;
mod notify;
mod pasta;
mod plugins;
mod relay;
mod rootfs;
mod sandbox;
mod stdio;
mod supervise;
mod users;

use error::{Doing, Failure};
use make::Inherited;
use rkt_spec::plan::{AppPlan, Plan, UserSpace, weaken};
use rkt_sys::fd;
use rustix::fd::AsFd;
use std::ffi::OsString;
use std::process::ExitCode;

/// Longest plan that is read, bytes.
const MAX_PLAN: usize = 16 << 20;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let words: Vec<Option<&str>> = args.iter().map(|a| a.to_str()).collect();
    let status = match words.as_slice() {
        [Some("rkt-init")] => init::main().try_into().unwrap_or(1),
        [_, Some("run"), Some(number)] => run(number),
        _ => {
            last_words("rkt-stage1 is a part of rkt and of no use by itself; see `rkt run --help`");
            254
        }
    };
    ExitCode::from(status)
}

/// The one place where the supervisor speaks to the operator.
#[allow(clippy::print_stderr)]
pub(crate) fn last_words(text: &str) {
    eprintln!("{text}");
}

fn run(number: &str) -> u8 {
    match load(number) {
        Ok((plan, inherited)) => {
            let socket = std::env::var_os("NOTIFY_SOCKET");
            supervise::supervise(plan, inherited, socket.as_deref())
        }
        Err(failure) => {
            last_words(&failure.to_string());
            failure.exit
        }
    }
}

/// Takes the plan and every descriptor it names.
fn load(number: &str) -> Result<(Plan, Inherited), Failure> {
    let doing = || "take the plan of the pod".to_owned();
    let number: i32 = number
        .parse()
        .map_err(|_| Failure::new(doing(), "its descriptor is no number"))?;
    let memory = fd::inherit(number).doing(doing)?;
    let bytes = fd::read_all(memory.as_fd(), MAX_PLAN).doing(doing)?;
    let mut plan = Plan::decode(&bytes).map_err(|e| Failure::new(doing(), e.to_string()))?;
    if plan.weaken != 0 && !cfg!(feature = "weaken") {
        return Err(Failure::new(
            doing(),
            "it takes defences away, and this is no test build",
        ));
    }
    if plan.weaken & weaken::DISJOINT_IDS != 0 {
        let own = |a: &&mut AppPlan| a.walls.user_space == UserSpace::Own;
        for app in plan.apps.iter_mut().filter(own) {
            app.slot = 1;
        }
    }
    if plan
        .apps
        .iter()
        .any(|a| (a.slot == 0) != (a.walls.user_space == UserSpace::Pod) || a.slot >= plan.slots)
    {
        return Err(Failure::new(
            doing(),
            "an app's slot lies outside the pod's block",
        ));
    }
    let take = |number: i32| fd::inherit(number).doing(doing);
    let mut inherited = Inherited {
        pod: take(plan.lock_fd)?,
        layers: vec![],
        sources: vec![],
        ports: vec![],
        rkt: plan.rkt_fd.map(take).transpose()?,
    };
    for app in &plan.apps {
        inherited.layers.push(
            app.layers
                .iter()
                .map(|n| take(*n))
                .collect::<Result<_, _>>()?,
        );
    }
    for volume in &plan.volumes {
        let source = (volume.source >= 0)
            .then(|| take(volume.source))
            .transpose()?;
        inherited.sources.push(source);
    }
    for port in &plan.ports {
        let socket = (port.socket >= 0).then(|| take(port.socket)).transpose()?;
        inherited.ports.push(socket);
    }
    Ok((plan, inherited))
}
