//! Whether a plan has a defence.

use rkt_spec::plan::{AppPlan, Plan, UserSpace};

/// What a plan says of a defence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It stands as by default, or stronger.
    On,
    /// It stands with a hole that was asked for; which.
    Less(String),
    /// It does not stand; why.
    Off(String),
}

impl State {
    /// The word for tables.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Less(_) => "less",
            Self::Off(_) => "off",
        }
    }

    /// What is missing; empty when nothing is.
    pub fn why(&self) -> &str {
        match self {
            Self::On => "",
            Self::Less(why) | Self::Off(why) => why,
        }
    }
}

pub(super) fn always(_: &Plan, _: &AppPlan) -> State {
    State::On
}

fn off_unless(stands: bool, why: &str) -> State {
    if stands {
        State::On
    } else {
        State::Off(why.to_owned())
    }
}

fn less_unless(stands: bool, why: impl FnOnce() -> String) -> State {
    if stands {
        State::On
    } else {
        State::Less(why())
    }
}

pub(super) fn bounding(_: &Plan, app: &AppPlan) -> State {
    let more = app.walls.bounding.without(crate::defaults::CAPABILITIES);
    less_unless(more.is_empty(), || {
        format!("granted beyond the default: {more}")
    })
}

pub(super) fn no_new_privs(_: &Plan, app: &AppPlan) -> State {
    off_unless(app.walls.no_new_privs, "--no-new-privs=false")
}

pub(super) fn seccomp(_: &Plan, app: &AppPlan) -> State {
    off_unless(!app.walls.seccomp.0.is_empty(), "no filter was asked for")
}

/// The same, and whether it is the default one.
pub(super) fn system_calls(plan: &Plan, app: &AppPlan) -> State {
    let own = crate::seccomp::default_program(app.walls.bounding);
    match seccomp(plan, app) {
        State::On if own.is_ok_and(|p| *p == *app.walls.seccomp.0) => State::On,
        State::On => State::Less("a list of its own; what rkt always refuses stays refused".into()),
        off => off,
    }
}

pub(super) fn user(_: &Plan, app: &AppPlan) -> State {
    match app.walls.user_space {
        UserSpace::Own => State::On,
        UserSpace::Pod => State::Less("it lives in the pod's user namespace".into()),
    }
}

pub(super) fn devices(_: &Plan, app: &AppPlan) -> State {
    let names: Vec<&str> = app.walls.devices.iter().map(|d| d.name.as_str()).collect();
    less_unless(names.is_empty(), || format!("given: {}", names.join(" ")))
}

pub(super) fn nested(_: &Plan, app: &AppPlan) -> State {
    let n = app.walls.max_user_namespaces;
    less_unless(n == 0, || format!("{n} may be made"))
}

pub(super) fn landlock(_: &Plan, app: &AppPlan) -> State {
    off_unless(app.walls.landlock, "no domain")
}

pub(super) fn masked(_: &Plan, app: &AppPlan) -> State {
    shortened(&app.walls.masked, crate::defaults::MASKED, "seen")
}

pub(super) fn read_only_paths(_: &Plan, app: &AppPlan) -> State {
    shortened(
        &app.walls.read_only_paths,
        crate::defaults::READ_ONLY,
        "writable",
    )
}

fn shortened(has: &[String], wanted: &[&str], word: &str) -> State {
    let gone: Vec<&str> = wanted
        .iter()
        .copied()
        .filter(|w| !has.iter().any(|h| h == w))
        .collect();
    match gone.as_slice() {
        [] => State::On,
        all if all.len() == wanted.len() => State::Off("none is covered".to_owned()),
        some => State::Less(format!("{word}: {}", some.join(" "))),
    }
}

pub(super) fn hidepid(plan: &Plan, _: &AppPlan) -> State {
    if plan.hide_siblings || plan.apps.len() < 2 {
        State::On
    } else {
        State::Off("the processes of all apps are shown".to_owned())
    }
}

pub(super) fn network(plan: &Plan, _: &AppPlan) -> State {
    match plan.net {
        rkt_spec::plan::Net::None | rkt_spec::plan::Net::Private => State::On,
        rkt_spec::plan::Net::Host => State::Less("net is the host's".to_owned()),
    }
}

pub(super) fn tasks(_: &Plan, app: &AppPlan) -> State {
    let has = app
        .limits
        .iter()
        .any(|l| l.knob == rkt_spec::plan::Knob::Pids);
    off_unless(has, "tasks are not bounded")
}

pub(super) fn volumes(plan: &Plan, app: &AppPlan) -> State {
    let root = app
        .mounts
        .iter()
        .filter_map(|m| plan.volumes.get(m.volume as usize))
        .find(|v| v.owner == rkt_spec::plan::Owner::HostRoot && !v.read_only);
    match root {
        Some(v) => State::Less(format!("volume {} maps the host's root", v.name)),
        None => State::On,
    }
}
