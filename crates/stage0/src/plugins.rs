//! Foreign plugins of networks: that they are there, and who will run them.

use crate::error::{Doing, Error};
use rkt_net::cni::{self, List};
use rkt_spec::network::{Driver, NetworkPlan};
use rkt_spec::plan::Plan;
use rustix::fs::{Mode, OFlags};
use std::os::fd::OwnedFd;

/// Looks for every program that the networks of a plan need.
///
/// # Errors
/// For a configuration that cannot be read and a plugin that is missing, with where it was looked
/// for.
pub(crate) fn check(plan: &Plan) -> Result<(), Error> {
    let mut directories = plan.plugin_directories.clone();
    directories.extend(cni::DIRECTORIES.map(str::to_owned));
    for network in of(plan) {
        let found = List::parse(&network.config.0)
            .and_then(|list| cni::programs(&list.names(), &directories));
        found.map_err(|refusal| {
            let doing = format!("prepare network `{}`", network.name);
            let error = Error::new(refusal.because).while_doing(refusal.doing);
            let error = match refusal.hint.is_empty() {
                true => error,
                false => error.hint(refusal.hint),
            };
            error.while_doing(doing)
        })?;
    }
    Ok(())
}

/// This very program, for the supervisor to run plugins by; `None` when no network has any.
///
/// # Errors
/// When /proc is not there.
pub(crate) fn program(plan: &Plan) -> Result<Option<OwnedFd>, Error> {
    if of(plan).next().is_none() {
        return Ok(None);
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let program = rustix::fs::open(c"/proc/self/exe", flags, Mode::empty())
        .doing(|| "hold rkt's own program".to_owned())?;
    Ok(Some(program))
}

fn of(plan: &Plan) -> impl Iterator<Item = &NetworkPlan> {
    plan.networks.iter().filter(|n| n.driver == Driver::Cni)
}
