//! Addresses of devices (`rtnetlink(7)`).

use crate::netlink::{Batch, flag};
use rkt_spec::network::Prefix;
use std::net::IpAddr;

const NEW: u16 = 20;
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const FLAGS: u16 = 8;
/// No search for others with that address before it is used: it is given out once.
const NODAD: u32 = 2;
/// No route to the subnet comes with it.
const NO_ROUTE: u32 = 0x200;

/// Whether an address brings a route to its subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subnet {
    /// The subnet is on the link.
    OnLink,
    /// Only what routes say is.
    Routed,
}

/// Family of an address, as the kernel numbers them.
pub(crate) fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { 2 } else { 10 }
}

/// Gives an address to a device, and fails when it has it.
pub fn add(batch: &mut Batch, index: u32, address: Prefix, subnet: Subnet) {
    put(batch, flag::EXCL, index, address, subnet);
}

/// Sees to it that a device has an address.
pub fn keep(batch: &mut Batch, index: u32, address: Prefix) {
    put(batch, flag::REPLACE, index, address, Subnet::OnLink);
}

fn put(batch: &mut Batch, how: u16, index: u32, address: Prefix, subnet: Subnet) {
    let mut body = [0u8; 8];
    body[0] = family(address.address);
    body[1] = address.length;
    body[4..].copy_from_slice(&index.to_ne_bytes());
    let mut flags = 0;
    if address.address.is_ipv6() {
        flags |= NODAD;
    }
    if subnet == Subnet::Routed {
        flags |= NO_ROUTE;
    }
    batch
        .message(
            NEW,
            flag::CREATE | how,
            format!("add the address `{address}`"),
        )
        .body(&body)
        .attr_ip(LOCAL, address.address)
        .attr_ip(ADDRESS, address.address)
        .attr_u32(FLAGS, flags);
}
