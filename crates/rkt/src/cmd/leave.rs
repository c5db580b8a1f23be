//! What foreign plugins made for a pod that its supervisor did not unmake: after a crash or a
//! reboot the plugins are called again, from here.

use crate::failure::Failure;
use rkt_net::cni::{Attachment, Command, Request, run};
use rkt_pod::{Pod, Pods, State, attachment};
use rkt_spec::codec::Bytes;
use rkt_spec::network::{Driver, NetworkPlan};
use rkt_spec::plan::Plan;
use std::os::fd::AsFd;

/// Unmakes every device of a dead pod, the last first.
///
/// # Errors
/// Names the plugin that does not do its part. The pod stays then, so that the next `rkt gc`
/// tries again.
pub(super) fn networks(pod: &Pod) -> Result<(), Failure> {
    if pod.is_locked()? {
        return Ok(());
    }
    let Some(plan) = pod.plan()?.and_then(|bytes| Plan::decode(&bytes).ok()) else {
        return Ok(());
    };
    let foreign = plan.networks.iter().filter(|n| n.driver == Driver::Cni);
    for network in foreign.rev() {
        let Some(result) = attachment::get(pod.as_fd(), &network.interface)? else {
            continue;
        };
        let mut asked = request(Command::Del, network, &plan);
        asked.result = Bytes(result);
        accepted(&asked).map_err(|failure| {
            let file = format!("network-{}", network.interface);
            failure.hint(format!(
                "or remove the file `{file}` of the pod, to leave it as it is"
            ))
        })?;
        attachment::forget(pod.as_fd(), &network.interface)?;
    }
    Ok(())
}

/// Has the plugins of each network of these pods take away what belongs to no pod (GC, since
/// version 1.1). A network that no pod's plan names is not known here.
pub(super) fn strays(pods: &Pods) -> Result<(), Failure> {
    let mut networks: Vec<(NetworkPlan, Plan)> = Vec::new();
    let mut valid = Vec::new();
    for (uuid, shelf) in pods.uuids()? {
        let Some(pod) = pods.get_from(uuid, shelf)? else {
            continue;
        };
        let Some(plan) = pod.plan()?.and_then(|bytes| Plan::decode(&bytes).ok()) else {
            continue;
        };
        for network in plan.networks.iter().filter(|n| n.driver == Driver::Cni) {
            let there = attachment::get(pod.as_fd(), &network.interface)?.is_some();
            if there || pod.state() == State::Running {
                valid.push((network.name.clone(), attached(&plan, network)));
            }
            if networks.iter().all(|(known, _)| known.name != network.name) {
                networks.push((network.clone(), plan.clone()));
            }
        }
    }
    // Each, whatever becomes of the others.
    let mut first = Ok(());
    for (network, plan) in networks {
        let mut asked = request(Command::Gc, &network, &plan);
        let of_network = valid.iter().filter(|(name, _)| *name == network.name);
        asked.valid = of_network.map(|(_, one)| one.clone()).collect();
        first = first.and(accepted(&asked));
    }
    first
}

fn attached(plan: &Plan, network: &NetworkPlan) -> Attachment {
    Attachment {
        pod: plan.uuid,
        interface: network.interface.clone(),
    }
}

/// What is asked of the plugins of a network for a pod, without namespace and result.
pub(super) fn request(command: Command, network: &NetworkPlan, plan: &Plan) -> Request {
    Request {
        command,
        pod: plan.uuid,
        network: network.clone(),
        namespace: -1,
        ports: plan.ports.clone(),
        resolv_conf: plan.resolv_conf.clone().unwrap_or_default(),
        result: Bytes::default(),
        directories: plan.plugin_directories.clone(),
        valid: vec![],
    }
}

fn accepted(asked: &Request) -> Result<(), Failure> {
    let Some(refusal) = run(asked).refusal else {
        return Ok(());
    };
    let failure = Failure::usage(refusal.doing).because(refusal.because);
    Err(match refusal.hint.is_empty() {
        true => failure,
        false => failure.hint(refusal.hint),
    })
}
