//! The pod's end of a link: address, routes, up; by a socket that was opened in the pod.

use super::{One, whole};
use crate::address::{self, Subnet};
use crate::error::{Error, Kind};
use crate::link;
use crate::netlink::Batch;
use crate::route::{self, Route};
use rkt_spec::network::{Mac, Prefix};
use std::collections::HashSet;
use std::net::IpAddr;

/// How the subnet is reached from the pod.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reach {
    /// It is on the link.
    Link,
    /// By the gateway, whose hardware address is this one.
    Gateway(Mac),
}

impl One<'_> {
    /// Sets up the device of this index in the pod. `led` has the destinations that an earlier
    /// network leads to.
    pub(super) fn set_up_pod(
        &self,
        index: u32,
        reach: Reach,
        led: &mut HashSet<Prefix>,
    ) -> Result<(), Error> {
        let mut batch = Batch::new();
        link::up(&mut batch, index, &self.plan.interface);
        for (pool, own) in &self.addresses {
            let subnet = match reach {
                Reach::Link => Subnet::OnLink,
                Reach::Gateway(_) => Subnet::Routed,
            };
            let prefix = Prefix {
                address: *own,
                length: pool.subnet.length,
            };
            address::add(&mut batch, index, prefix, subnet);
            let (Reach::Gateway(mac), Some(gateway)) = (reach, pool.gateway) else {
                continue;
            };
            let route = |to, via| Route {
                to,
                via,
                device: index,
                source: Some(*own),
            };
            route::neighbour(&mut batch, gateway, mac, index);
            route::add(&mut batch, &route(whole(gateway), None));
            let subnet = Prefix {
                address: pool.subnet.network(),
                ..pool.subnet
            };
            if subnet.length < whole(gateway).length {
                route::add(&mut batch, &route(subnet, Some(gateway)));
            }
        }
        for route in &self.plan.routes {
            let to = Prefix {
                address: route.to.network(),
                ..route.to
            };
            if !led.insert(to) {
                continue;
            }
            let via = match route.via {
                Some(via) => via,
                None => self.gateway(to.address)?,
            };
            let route = Route {
                to,
                via: Some(via),
                device: index,
                source: None,
            };
            route::add(&mut batch, &route);
        }
        self.site.pod.run(&batch)?;
        Ok(())
    }

    /// The gateway of the pool of the same family.
    fn gateway(&self, to: IpAddr) -> Result<IpAddr, Error> {
        let mut same = self
            .addresses
            .iter()
            .filter(|(_, a)| a.is_ipv4() == to.is_ipv4());
        let gateway = same.find_map(|(pool, _)| pool.gateway);
        gateway.ok_or_else(|| {
            Error::new(Kind::Request, "no pool of its family has a gateway")
                .while_doing(format!("find the way to `{to}`"))
        })
    }
}
