//! A link of the pod's own to the host, which routes to it: no bridge, no broadcast but the pod's.
//!
//! ```text
//! host:  gateway/32 on rktUUIDn      route ADDRESS/32 dev rktUUIDn
//! pod:   ADDRESS/24 on eth0          route gateway dev eth0, SUBNET via gateway, and the plan's
//! ```
//!
//! Each side is told the other's hardware address, so neither asks, and no answer can be forged.

use super::pod::Reach;
use super::{One, host, whole};
use crate::address::{self, Subnet};
use crate::error::{Error, Kind};
use crate::link::{self, Link};
use crate::netlink::Batch;
use crate::route::{self, Route};
use rkt_spec::network::{Prefix, Wired};
use std::collections::HashSet;

impl One<'_> {
    pub(super) fn ptp(
        &self,
        routes: &mut Vec<(Prefix, u32)>,
        led: &mut HashSet<Prefix>,
    ) -> Result<Wired, Error> {
        if let Some((pool, _)) = self.addresses.iter().find(|(p, _)| p.gateway.is_none()) {
            let because = format!("the subnet `{}` has none", pool.subnet);
            return Err(Error::new(Kind::Request, because)
                .while_doing("find the gateway of a point-to-point network"));
        }
        let [_, host_mac] = self.macs;
        let link = self.make_pair()?;
        host::wary(self.site.proc, &self.host_device, self.ipv6())?;
        let mut batch = Batch::new();
        link::up_wary(&mut batch, link.index, &self.host_device);
        for (pool, own) in &self.addresses {
            if let Some(gateway) = pool.gateway {
                address::add(&mut batch, link.index, whole(gateway), Subnet::Routed);
            }
            route::neighbour(&mut batch, *own, self.macs[0], link.index);
            let route = Route {
                to: whole(*own),
                via: None,
                device: link.index,
                source: None,
            };
            route::add(&mut batch, &route);
            routes.push((route.to, link.index));
        }
        self.host.run(&batch)?;
        self.set_up_pod(link.link, Reach::Gateway(host_mac), led)?;
        Ok(self.wired(&self.host_device))
    }

    /// Makes the device pair, down.
    pub(super) fn make_pair(&self) -> Result<Link, Error> {
        let mut batch = Batch::new();
        link::veth(&mut batch, &self.host_device, self.macs[1], &self.pod_end());
        link::show(&mut batch, &self.host_device);
        let answers = self.host.run(&batch)?;
        let link = answers.iter().find_map(Link::read);
        link.ok_or_else(|| Error::new(Kind::System, "the kernel did not show the new device"))
    }
}
