//! Routes and neighbours (`rtnetlink(7)`).

use crate::address::family;
use crate::netlink::{Answer, Attributes, Batch, flag};
use rkt_spec::network::{Mac, Prefix};
use std::net::IpAddr;

const NEW: u16 = 24;
const DELETE: u16 = 25;
const GET: u16 = 26;
const NEW_NEIGHBOUR: u16 = 28;
const TO: u16 = 1;
const DEVICE: u16 = 4;
const GATEWAY: u16 = 5;
const SOURCE: u16 = 7;

/// A route in the main table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub to: Prefix,
    /// By which gateway; `None` when it is on the link.
    pub via: Option<IpAddr>,
    /// By which device.
    pub device: u32,
    /// Address that packets by it carry, when the kernel shall not choose.
    pub source: Option<IpAddr>,
}

impl Route {
    /// `struct rtmsg`: main table, static, to one receiver.
    fn body(&self) -> [u8; 12] {
        const MAIN: u8 = 254;
        const STATIC: u8 = 4;
        const LINK_SCOPE: u8 = 253;
        const UNICAST: u8 = 1;
        let scope = match self.via {
            None if self.to.address.is_ipv4() => LINK_SCOPE,
            _ => 0,
        };
        let mut body = [0u8; 12];
        body[0] = family(self.to.address);
        body[1] = self.to.length;
        body[4] = MAIN;
        body[5] = STATIC;
        body[6] = scope;
        body[7] = UNICAST;
        body
    }
}

/// Adds a route; one that is there already is an error.
pub fn add(batch: &mut Batch, route: &Route) {
    let what = match route.via {
        Some(via) => format!("add the route to `{}` by `{via}`", route.to),
        None => format!("add the route to `{}`", route.to),
    };
    let message = &mut batch.message(NEW, flag::CREATE | flag::EXCL, what);
    message.body(&route.body());
    if route.to.length > 0 {
        message.attr_ip(TO, route.to.network());
    }
    message.attr_u32(DEVICE, route.device);
    if let Some(via) = route.via {
        message.attr_ip(GATEWAY, via);
    }
    if let Some(source) = route.source {
        message.attr_ip(SOURCE, source);
    }
}

/// Deletes a route by a device.
pub fn delete(batch: &mut Batch, to: Prefix, device: u32) {
    // `RT_SCOPE_NOWHERE` and no type: whatever leads there.
    let mut body = [0u8; 12];
    body[0] = family(to.address);
    body[1] = to.length;
    body[4] = 254;
    body[6] = 255;
    batch
        .message(DELETE, 0, format!("delete the route to `{to}`"))
        .body(&body)
        .attr_ip(TO, to.network())
        .attr_u32(DEVICE, device);
}

/// Asks which route leads to an address, for [`is_to`]; none is an error.
pub fn find(batch: &mut Batch, address: IpAddr) {
    // The route as it is in the table, not as it is used.
    const FIB_MATCH: u32 = 0x2000;
    let mut body = [0u8; 12];
    body[0] = family(address);
    body[1] = if address.is_ipv4() { 32 } else { 128 };
    body[8..12].copy_from_slice(&FIB_MATCH.to_ne_bytes());
    batch
        .message(GET, 0, format!("look for the route to `{address}`"))
        .body(&body)
        .attr_ip(TO, address);
}

/// Whether an answer to [`find`] is a route to this and nothing larger.
pub fn is_to(answer: &Answer, to: Prefix) -> bool {
    let body = answer.body.as_slice();
    let length = body.get(1).copied();
    let octets = match to.network() {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    };
    answer.kind == NEW
        && length == Some(to.length)
        && Attributes::new(body.get(12..).unwrap_or(&[])).any(|(k, v)| k == TO && v == octets)
}

/// Says for ever which hardware address a neighbour has: nobody is asked, nobody can lie.
pub fn neighbour(batch: &mut Batch, address: IpAddr, mac: Mac, device: u32) {
    const PERMANENT: u16 = 0x80;
    const ADDRESS: u16 = 1;
    const HARDWARE: u16 = 2;
    let mut body = [0u8; 12];
    body[0] = family(address);
    body[4..8].copy_from_slice(&device.to_ne_bytes());
    body[8..10].copy_from_slice(&PERMANENT.to_ne_bytes());
    let what = format!("say where `{address}` is");
    batch
        .message(NEW_NEIGHBOUR, flag::CREATE | flag::REPLACE, what)
        .body(&body)
        .attr_ip(ADDRESS, address)
        .attr(HARDWARE, &mac.0);
}
