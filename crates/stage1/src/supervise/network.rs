//! Ports of the host that lead into the pod, as they change while it runs.

use super::Supervisor;
use crate::error::Failure;
use crate::make::Inherited;
use rkt_net::gate::Which;
use rkt_spec::network::{PortPlan, PortWay};
use rkt_spec::plan::Plan;
use rustix::fd::OwnedFd;

/// Ports that rules are to lead into the pod, ours or a plugin's, with the sockets that hold them.
pub(super) type Held = Vec<(PortPlan, Option<OwnedFd>)>;

/// Takes those sockets out of what was inherited: nobody else keeps them, so that a port that is
/// taken back is free.
pub(super) fn held(plan: &Plan, inherited: &mut Inherited) -> Held {
    let all = plan.ports.iter().enumerate();
    all.filter(|(_, port)| port.way == PortWay::Nat)
        .map(|(at, port)| {
            let socket = inherited.ports.get_mut(at).and_then(Option::take);
            (port.clone(), socket)
        })
        .collect()
}

impl Supervisor {
    /// Leads one port more into the pod.
    pub(crate) fn publish(
        &mut self,
        port: PortPlan,
        socket: Option<OwnedFd>,
    ) -> Result<(), Failure> {
        self.pod.networks.own.wires.publish(port, socket)?;
        self.tell_ports();
        // Who is answered may read it at once. A full disk makes the port no less open.
        let _ = self.status.flush();
        Ok(())
    }

    /// Puts back what the host's firewall has lost of the pod.
    pub(crate) fn guard(&mut self) -> Result<(), Failure> {
        Ok(self.pod.networks.own.wires.guard()?)
    }

    /// Takes a port back.
    pub(crate) fn withdraw(&mut self, which: Which) -> Result<(), Failure> {
        self.pod.networks.own.wires.withdraw(which)?;
        self.tell_ports();
        // Who is answered may read it at once. A full disk makes the port no less open.
        let _ = self.status.flush();
        Ok(())
    }

    /// Puts the ports that are open now into the status.
    pub(super) fn tell_ports(&mut self) {
        let ours = |p: &&PortPlan| p.way == PortWay::Nat && self.plan.leads_ports();
        let fixed = self.plan.ports.iter().filter(|p| !ours(p));
        let mut ports: Vec<PortPlan> = fixed.cloned().collect();
        ports.extend(self.pod.networks.own.wires.ports());
        for port in &mut ports {
            port.socket = -1;
        }
        let status = self.status.change();
        if status.ports != ports {
            status.ports = ports;
        }
    }
}
