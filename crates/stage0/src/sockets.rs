//! Ports of the host, taken before anything of the pod exists: listening sockets for apps
//! (`--port=...,via=socket`), and sockets that only hold a port that the kernel leads into the pod.
//!
//! The plan says which port is whose; here each is opened on the host, or it is said who has it.

use crate::error::{Doing, Error};
use rkt_net::{hold, holder, listen};
use rkt_pod::{PodStatus, Pods, State};
use rkt_spec::Uuid;
use rkt_spec::network::{Driver, PortPlan, PortWay};
use rkt_spec::plan::{Net, Plan};
use rkt_sys::fd::number;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Takes every port of the plan and puts the numbers of the sockets into it; they must live until
/// the plan is handed over.
///
/// # Errors
/// When a port is in use, and by whom; when the host does not have the address.
pub(crate) fn open(plan: &mut Plan, data_dir: &Path) -> Result<Vec<OwnedFd>, Error> {
    let mut sockets = Vec::new();
    let binds_itself = plan.networks.iter().any(|n| n.driver == Driver::Pasta);
    let leads = plan.leads_ports();
    for port in &mut plan.ports {
        let socket = match port.way {
            PortWay::Socket => listen::open(port)
                .map(Some)
                .map_err(|error| refused(port, &error, data_dir))?,
            // `pasta` binds the ports itself: here it is only said who has one.
            PortWay::Nat if !leads && binds_itself => {
                hold(port, data_dir)?;
                None
            }
            // Also of plugins: they lead a port by a rule, which does not ask who has it.
            PortWay::Nat => hold(port, data_dir)?,
        };
        port.socket = socket.as_ref().map_or(-1, number);
        sockets.extend(socket);
    }
    Ok(sockets)
}

/// Holds a port of the host that the kernel is to lead into a pod; `None` when the kernel has no
/// sockets of that protocol.
///
/// # Errors
/// When the port is in use, and by whom; when the host does not have the address.
pub fn hold(port: &PortPlan, data_dir: &Path) -> Result<Option<OwnedFd>, Error> {
    hold::take(port).map_err(|error| refused(port, &error, data_dir))
}

/// Why a port of the host cannot be had.
pub(crate) fn refused(port: &PortPlan, error: &std::io::Error, data_dir: &Path) -> Error {
    use std::io::ErrorKind::{AddrInUse, AddrNotAvailable, Unsupported};
    let address = SocketAddr::new(port.host, port.host_port);
    let doing = format!("open port {address}/{} of the host", port.protocol.as_str());
    let unsupported = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    let because = match error.kind() {
        AddrInUse => in_use(port, data_dir),
        AddrNotAvailable => format!("the host has no address {}", port.host),
        Unsupported if port.host.is_ipv6() => "IPv6 is disabled on this host".to_owned(),
        _ if error.raw_os_error() == Some(unsupported) && port.host.is_ipv6() => {
            "IPv6 is disabled on this host".to_owned()
        }
        _ => error.to_string(),
    };
    Error::new(because).while_doing(doing)
}

/// By whom a port is in use: a pod of ours, or a process.
fn in_use(port: &PortPlan, data_dir: &Path) -> String {
    if let Some(uuid) = pod_with(port, data_dir) {
        return format!("it is in use by pod `{uuid}`");
    }
    match holder::find(port.protocol, port.host, port.host_port) {
        Some(holder) => format!("it is in use by {holder}"),
        None => "it is in use".to_owned(),
    }
}

fn pod_with(port: &PortPlan, data_dir: &Path) -> Option<Uuid> {
    let pods = Pods::open(data_dir)
        .doing(|| "look for the pod".to_owned())
        .ok()?;
    let all = pods.uuids().ok()?.into_iter();
    all.filter_map(|(uuid, shelf)| pods.get_from(uuid, shelf).ok()?)
        .filter(|pod| pod.state() == State::Running)
        .find(|pod| {
            let plan = pod.plan().ok().flatten();
            let plan = plan.and_then(|bytes| Plan::decode(&bytes).ok());
            // Ports come and go while it runs.
            let status = PodStatus::read(pod.as_fd()).ok().flatten();
            plan.is_some_and(|plan| {
                let list = match &status {
                    Some(status) if status.ready => &status.ports,
                    _ => &plan.ports,
                };
                list.iter().any(|other| same(&plan, other, port))
            })
        })
        .map(|pod| pod.uuid())
}

/// Whether another pod's port is in the way of ours.
fn same(plan: &Plan, other: &PortPlan, ours: &PortPlan) -> bool {
    let whole = other.host.is_unspecified() || ours.host.is_unspecified();
    let address = other.host == ours.host || whole && other.host.is_ipv4() == ours.host.is_ipv4();
    let held = plan.net != Net::Host || other.way == PortWay::Socket;
    held && address && other.protocol == ours.protocol && other.host_port == ours.host_port
}
