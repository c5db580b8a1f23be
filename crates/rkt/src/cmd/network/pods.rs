//! CHECK: whether what plugins made for pods that run is still as they made it.

use crate::args::Globals;
use crate::cmd::{ask, leave, look};
use crate::failure::Failure;
use rkt_net::cni::{self, Command, List};
use rkt_net::nft::{Firewall, Link as Guarded};
use rkt_pod::control::Request;
use rkt_pod::{Pod, PodStatus, State, attachment};
use rkt_spec::Uuid;
use rkt_spec::codec::Bytes;
use rkt_spec::network::{Driver, NetworkPlan};
use rkt_spec::plan::Plan;
use rkt_sys::fd;
use rustix::fs::{Mode, OFlags};
use serde_json::{Value, json};
use std::os::fd::{AsFd, OwnedFd};

/// What was found out about a pod's device on a network of plugins.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) network: String,
    pub(super) pod: Uuid,
    interface: String,
    pub(super) verdict: Verdict,
}

#[derive(Debug)]
pub(super) enum Verdict {
    Fine,
    /// Why nobody was asked.
    Unasked(&'static str),
    /// Its rules were gone, and are back.
    Repaired,
    /// What a plugin said.
    Wrong(String),
}

impl Checked {
    /// The line of a problem.
    pub(super) fn problem(&self) -> Option<String> {
        match &self.verdict {
            Verdict::Wrong(said) => Some(format!("pod {} ({}): {said}", self.pod, self.interface)),
            Verdict::Fine | Verdict::Unasked(_) | Verdict::Repaired => None,
        }
    }

    pub(super) fn value(&self) -> Value {
        let (checked, ok, why) = match &self.verdict {
            Verdict::Fine => (true, true, ""),
            Verdict::Repaired => (true, true, "its rules were gone and are back"),
            Verdict::Unasked(why) => (false, true, *why),
            Verdict::Wrong(said) => (true, false, said.as_str()),
        };
        json!({
            "pod": self.pod,
            "interface": self.interface,
            "checked": checked,
            "ok": ok,
            "because": why,
        })
    }
}

/// Hands over each pod that runs, with its plan.
fn each_running(
    globals: &Globals,
    mut look_at: impl FnMut(&Pod, &Plan) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let pods = look::open(globals)?;
    for (uuid, shelf) in pods.uuids()? {
        let Some(pod) = pods.get_from(uuid, shelf)? else {
            continue;
        };
        if pod.state() != State::Running {
            continue;
        }
        if let Some(plan) = pod.plan()?.and_then(|bytes| Plan::decode(&bytes).ok()) {
            look_at(&pod, &plan)?;
        }
    }
    Ok(())
}

/// Looks whether the host's firewall still has every running pod that rkt has put there, and has
/// those put back that are gone, when that is wanted.
pub(super) fn guarded(
    globals: &Globals,
    wanted: impl Fn(&str) -> bool,
    repair: bool,
) -> Result<Vec<Checked>, Failure> {
    let mut all = Vec::new();
    let mut owners = Vec::new();
    each_running(globals, |pod, plan| {
        // One that another version of rkt runs says nothing that is understood here.
        let status = PodStatus::read(pod.as_fd()).ok().flatten();
        let Some(status) = status.filter(|s| s.ready) else {
            return Ok(());
        };
        let is_there = |n: &&NetworkPlan| match n.driver {
            Driver::Bridge | Driver::Ptp => true,
            Driver::Cni => status
                .wired
                .iter()
                .any(|w| w.name == n.name && Guarded::guest(w).is_some()),
            Driver::Macvlan | Driver::Pasta => false,
        };
        let mut there = plan.networks.iter().filter(is_there);
        let Some(network) = there.find(|n| wanted(n.name.as_str())) else {
            return Ok(());
        };
        // Pods come and go meanwhile: who is not there is looked for once more.
        let uuid = pod.uuid();
        if !owners.contains(&uuid) {
            owners = Firewall::open().and_then(|firewall| firewall.owners())?;
        }
        // Who asks while the pod ends finds nothing of it.
        if owners.contains(&uuid) || !pod.is_locked()? {
            return Ok(());
        }
        all.push(Checked {
            network: network.name.to_string(),
            pod: uuid,
            interface: network.interface.clone(),
            verdict: match repair {
                true => put_back(pod),
                false => Verdict::Wrong(
                    "the host's firewall has lost its rules; `rkt network check --repair` puts them back"
                        .to_owned(),
                ),
            },
        });
        Ok(())
    })?;
    Ok(all)
}

fn put_back(pod: &Pod) -> Verdict {
    let asked = || -> Result<(), Failure> {
        let connection = ask::connect(pod)?;
        connection.send_request(&Request::Guard, &[])?;
        ask::done(&connection, || {
            format!("put back the rules of pod `{}`", pod.uuid())
        })
    };
    match asked() {
        Ok(()) => Verdict::Repaired,
        Err(failure) => Verdict::Wrong(failure.causes().join(": ")),
    }
}

/// Asks the plugins of every network that `wanted` names, for every pod that runs on it.
pub(super) fn check(
    globals: &Globals,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Checked>, Failure> {
    let mut all = Vec::new();
    each_running(globals, |pod, plan| {
        let foreign = plan.networks.iter().filter(|n| n.driver == Driver::Cni);
        for network in foreign.filter(|n| wanted(n.name.as_str())) {
            let verdict = match one(pod, plan, network)? {
                Some(verdict) => verdict,
                // It has ended meanwhile, or is not that far.
                None => continue,
            };
            all.push(Checked {
                network: network.name.to_string(),
                pod: pod.uuid(),
                interface: network.interface.clone(),
                verdict,
            });
        }
        Ok(())
    })?;
    Ok(all)
}

fn one(pod: &Pod, plan: &Plan, network: &NetworkPlan) -> Result<Option<Verdict>, Failure> {
    let skipped = List::parse(&network.config.0).ok();
    if let Some(why) = skipped.and_then(|list| list.unchecked()) {
        return Ok(Some(Verdict::Unasked(why)));
    }
    let known = attachment::get(pod.as_fd(), &network.interface)?;
    let Some(result) = known.filter(|bytes| !bytes.is_empty()) else {
        return Ok(None);
    };
    let Some(namespace) = namespace(pod)? else {
        return Ok(None);
    };
    let mut asked = leave::request(Command::Check, network, plan);
    asked.namespace = fd::number(&namespace);
    asked.result = Bytes(result);
    let said = cni::run(&asked).refusal.map(|refusal| refusal.because);
    // Who asks while the pod ends hears of a network that is being taken apart.
    if said.is_some() && !pod.is_locked()? {
        return Ok(None);
    }
    Ok(Some(said.map_or(Verdict::Fine, Verdict::Wrong)))
}

/// The network of a pod that runs, by its PID 1, which lives as long as the pod.
fn namespace(pod: &Pod) -> Result<Option<OwnedFd>, Failure> {
    let pid = PodStatus::read(pod.as_fd())?.map_or(0, |status| status.pid);
    let path = format!("/proc/{pid}/ns/net");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty()).ok();
    // The number may be another process's by now, unless the pod still runs.
    Ok(opened.filter(|_| pid != 0 && pod.is_locked().unwrap_or(false)))
}
