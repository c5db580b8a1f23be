//! A bridge of the host that the pod is a port of: pods on it see each other, unless they are
//! isolated.
//!
//! The bridge is made by the first pod that needs it and marked as rkt's; the last one takes it
//! along. One that somebody else made is used and left.

use super::pod::Reach;
use super::{One, host};
use crate::address;
use crate::error::{Error, Kind};
use crate::ipam::{Held, Ledger};
use crate::link::{self, Link, Port};
use crate::netlink::{Batch, Socket};
use rkt_spec::NetworkName;
use rkt_spec::network::{Mac, Prefix, Wired};
use rustix::io::Errno;
use std::collections::HashSet;

impl One<'_> {
    pub(super) fn bridge(
        &self,
        ports: &mut Vec<u32>,
        led: &mut HashSet<Prefix>,
    ) -> Result<Wired, Error> {
        let bridge = self.ensure_bridge()?;
        let link = self.make_pair()?;
        ports.push(link.index);
        // The bridge speaks for its ports; they have no addresses.
        host::wary(self.site.proc, &self.host_device, host::Ipv6::Off)?;
        let mut batch = Batch::new();
        let port = Port {
            isolated: self.plan.isolated,
            hairpin: self.plan.hairpin,
        };
        link::join(&mut batch, link.index, bridge.index, port);
        link::up_wary(&mut batch, link.index, &self.host_device);
        self.host.run(&batch)?;
        self.set_up_pod(link.link, Reach::Link, led)?;
        Ok(self.wired(&self.host_device))
    }

    /// The bridge, up and with the gateways' addresses.
    fn ensure_bridge(&self) -> Result<Link, Error> {
        let name = self.plan.device.as_str();
        if name.is_empty() {
            return Err(Error::new(Kind::Request, "the network names no bridge"));
        }
        let bridge = match look(self.host, name)? {
            Some(bridge) => bridge,
            None => self.make_bridge(name)?,
        };
        if bridge.kind != "bridge" {
            let kind = if bridge.kind.is_empty() {
                "hardware"
            } else {
                &bridge.kind
            };
            return Err(Error::new(
                Kind::Request,
                format!("the device `{name}` is no bridge, but of the kind `{kind}`"),
            ));
        }
        let mut batch = Batch::new();
        if self.plan.gateway {
            for (pool, _) in &self.addresses {
                if let Some(gateway) = pool.gateway {
                    let prefix = Prefix {
                        address: gateway,
                        length: pool.subnet.length,
                    };
                    address::keep(&mut batch, bridge.index, prefix);
                }
            }
        }
        if !bridge.up {
            link::up_wary(&mut batch, bridge.index, name);
        }
        self.host.run(&batch)?;
        Ok(bridge)
    }

    fn make_bridge(&self, name: &str) -> Result<Link, Error> {
        let [.., a, b, c, d, e] = *self.site.uuid.as_bytes();
        let mac = Mac([0x0a, a, b, c, d, e]);
        let mut batch = Batch::new();
        link::bridge(&mut batch, name, mac, self.plan.mtu, &mark(&self.plan.name));
        // First, so that one whose maker is killed in between is still known to who removes it. A
        // note of a bridge that is not there, or is somebody else's, removes nothing.
        Ledger::open(self.site.run_dir, &self.plan.name)?.note_bridge(name)?;
        match self.host.run(&batch) {
            Ok(_) => host::wary(self.site.proc, name, self.ipv6())?,
            // Another pod was quicker.
            Err(e) if e.errno() == Some(Errno::EXIST) => {}
            Err(e) => return Err(e),
        }
        look(self.host, name)?.ok_or_else(|| Error::new(Kind::System, "the new bridge is gone"))
    }
}

/// What the alias of a network's bridge says when rkt made it.
fn mark(network: &NetworkName) -> String {
    format!("rkt network {network}")
}

fn look(host: &Socket, name: &str) -> Result<Option<Link>, Error> {
    let mut batch = Batch::new();
    link::show(&mut batch, name);
    match host.run(&batch) {
        Ok(answers) => Ok(answers.iter().find_map(Link::read)),
        Err(e) if e.errno() == Some(Errno::NODEV) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Deletes the bridge of a network that no pod has an address of any more, when rkt made it.
/// Waits for every processor; who wants to join meanwhile waits for `held`.
pub(super) fn remove(host: &Socket, held: &Held<'_>, network: &NetworkName) -> Result<(), Error> {
    let Some(name) = held.bridge_without_pods()? else {
        return Ok(());
    };
    if let Some(bridge) = look(host, &name)?
        && bridge.alias == mark(network)
    {
        let mut batch = Batch::new();
        link::delete(&mut batch, bridge.index, &name);
        host.run(&batch)?;
    }
    held.forget_bridge()
}
