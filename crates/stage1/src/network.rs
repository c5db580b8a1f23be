//! The networks of a pod: three ways to make them, behind one trait.
//!
//! The plan says which network is made which way; what each became is plain data ([`Wired`]).

use crate::error::Failure;
use crate::host::Host;
use crate::make::Inherited;
use crate::pasta::ByPasta;
use crate::plugins::Foreign;
use rkt_net::netlink::Socket;
use rkt_net::wire::{Site, Wires};
use rkt_spec::network::{Driver, NetworkPlan, PortPlan, Wired};
use rkt_spec::plan::Plan;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The pod that is to be connected.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) host: &'a Host,
    pub(crate) plan: &'a Plan,
    /// Host pid of its init, in whose user namespace its network is.
    pub(crate) init: u32,
    /// The pod's root, on the host.
    pub(crate) base: u32,
    /// Its network namespace; `None` when that is the host's.
    pub(crate) net: Option<BorrowedFd<'a>>,
    /// A netlink socket in it, when it is to have devices.
    pub(crate) wire: Option<&'a Socket>,
    pub(crate) inherited: &'a Inherited,
}

/// A way to make networks.
pub(crate) trait Network {
    /// Makes those of the plan's networks that are its own, and says what they became. What was made
    /// before an error is unmade by [`Network::leave`].
    ///
    /// # Errors
    /// Names the network.
    fn join(&mut self, pod: &Place<'_>) -> Result<Vec<Wired>, Failure>;

    /// Unmakes what does not go with the pod's network namespace. Safe at every stage, and twice.
    ///
    /// # Errors
    /// The first failure, when all else is unmade.
    fn leave(&mut self) -> Result<(), Failure>;
}

/// All three.
#[derive(Debug, Default)]
pub(crate) struct Networks {
    pub(crate) own: Own,
    foreign: Foreign,
    pub(crate) pasta: ByPasta,
}

impl Networks {
    /// With the ports of the host that are to lead into the pod, and the sockets that hold them.
    pub(crate) fn with_ports(held: Vec<(PortPlan, Option<OwnedFd>)>) -> Self {
        Self {
            own: Own {
                held,
                ..Own::default()
            },
            ..Self::default()
        }
    }

    /// Has plugins make theirs, and keeps those apart from the networks of other pods.
    pub(crate) fn join_foreign(&mut self, pod: &Place<'_>) -> Result<Vec<Wired>, Failure> {
        let made = self.foreign.join(pod)?;
        let plan = pod.plan;
        let wires = &mut self.own.wires;
        wires.admit(Path::new(&plan.run_dir), plan.uuid, &made)?;
        Ok(made)
    }

    /// Unmakes what is left when no process of the pod is.
    pub(crate) fn leave(&mut self) -> Result<(), Failure> {
        let unplugged = self.foreign.leave();
        unplugged.and(self.own.leave())
    }
}

/// rkt's own drivers: bridge, point to point, macvlan.
#[derive(Debug, Default)]
pub(crate) struct Own {
    pub(crate) wires: Wires,
    /// Ports that others lead stay held here until the pod ends.
    held: Vec<(PortPlan, Option<OwnedFd>)>,
}

impl Network for Own {
    fn join(&mut self, pod: &Place<'_>) -> Result<Vec<Wired>, Failure> {
        let plan = pod.plan;
        let own = |n: &&NetworkPlan| !matches!(n.driver, Driver::Cni | Driver::Pasta);
        let own: Vec<NetworkPlan> = plan.networks.iter().filter(own).cloned().collect();
        let (Some(netns), Some(wire), false) = (pod.net, pod.wire, own.is_empty()) else {
            return Ok(Vec::new());
        };
        let site = Site {
            uuid: plan.uuid,
            run_dir: Path::new(&plan.run_dir),
            proc: pod.host.proc.as_fd(),
            netns,
            pod: wire,
        };
        let led = match plan.leads_ports() {
            true => std::mem::take(&mut self.held),
            false => Vec::new(),
        };
        Ok(self.wires.make(&site, &own, led)?)
    }

    fn leave(&mut self) -> Result<(), Failure> {
        self.held.clear();
        Ok(self.wires.end()?)
    }
}
