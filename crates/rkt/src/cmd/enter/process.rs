//! What is to be executed: the app's own process with another command.

use super::accounts::live;
use super::{Enter, bytes, rkts};
use crate::failure::{Failure, RKT, USAGE};
use rkt_pod::Pod;
use rkt_spec::codec::Bytes;
use rkt_spec::image::Accounts;
use rkt_spec::manifest::RuntimeApp;
use rkt_spec::plan::Process;
use rkt_stage0::environment::Environment;
use rkt_stage0::users::{self, Identity};
use rkt_store::{HUB, OpenMode, Store};

/// The process of `asked` in `app`; its command is empty when none was given.
pub(super) fn of(
    asked: &Enter,
    pod: &Pod,
    app: &RuntimeApp,
    tty: bool,
) -> Result<Process, Failure> {
    let who = who(asked, pod, app)?;
    let mut env = Environment::default();
    let mut set = |name: &str, value: &str| {
        env.set(name, value)
            .map_err(|e| Failure::new(USAGE, "read the environment").because(e.to_string()))
    };
    for pair in &app.app.environment {
        set(&pair.name, &pair.value)?;
    }
    if asked.user.is_some() {
        if let Some(name) = &who.name {
            set("USER", name)?;
            set("LOGNAME", name)?;
        }
        if let Some(home) = &who.home {
            set("HOME", home)?;
        }
    }
    if tty {
        let term = std::env::var("TERM").unwrap_or_default();
        set("TERM", if term.is_empty() { "vt100" } else { &term })?;
    }
    for word in &asked.env {
        match word.split_once('=') {
            Some((name, value)) => set(name, value)?,
            None => {
                if let Ok(value) = std::env::var(word) {
                    set(word, &value)?;
                }
            }
        }
    }
    let cwd = match &asked.workdir {
        Some(dir) if !dir.starts_with('/') => {
            return Err(Failure::usage(format!(
                "working directory `{}` is not absolute",
                dir.escape_debug()
            )));
        }
        Some(dir) => dir.clone(),
        None if app.app.working_directory.is_empty() => "/".to_owned(),
        None => app.app.working_directory.clone(),
    };
    let pairs = env.into_pairs();
    Ok(Process {
        argv: bytes(asked.command.clone()),
        env: pairs
            .into_iter()
            .map(|p| Bytes(format!("{}={}", p.name, p.value).into_bytes()))
            .collect(),
        uid: who.uid,
        gid: who.gid,
        groups: who.groups,
        cwd,
        make_cwd: false,
        umask: rkt_isolate::defaults::UMASK,
    })
}

/// The app's own user, or the one asked for: by number, or by a name that the app's files have now.
fn who(asked: &Enter, pod: &Pod, app: &RuntimeApp) -> Result<Identity, Failure> {
    let none = Accounts::default();
    if asked.user.is_none() && asked.group.is_none() {
        // The manifest has numbers: stage0 looked the names up.
        let (user, group) = (&app.app.user, &app.app.group);
        let extra = &app.app.supplementary_gids;
        return users::resolve(user, Some(group), extra, &none).map_err(rkts);
    }
    let user = asked.user.as_deref().unwrap_or(&app.app.user);
    let group = asked.group.as_deref();
    let accounts = match accounts(asked, pod, app) {
        Ok(accounts) => accounts,
        Err(_) if is_numeric(user) && group.is_none_or(is_numeric) => none,
        Err(failure) => return Err(failure),
    };
    let who = users::resolve(user, group, &[], &accounts);
    who.map_err(|e| {
        let mut failure = Failure::from(e);
        failure.status = USAGE;
        failure
    })
}

fn is_numeric(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || b == b':')
}

/// The users of the running app; of its image when the app has ended.
fn accounts(asked: &Enter, pod: &Pod, app: &RuntimeApp) -> Result<Accounts, Failure> {
    if let Some(live) = live(pod, &app.name) {
        return live;
    }
    let look = || {
        let store = Store::open(&asked.globals.dir, OpenMode::Look)?;
        store.accounts(&store.find(&app.image.id, HUB)?)
    };
    look().map_err(|e: rkt_store::Error| {
        let mut failure = Failure::from(e).hint("name the user and group by number");
        failure.status = RKT;
        failure
    })
}
