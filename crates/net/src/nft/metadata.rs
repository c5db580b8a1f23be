//! The metadata address, closed from within a pod's network.
//!
//! The packets of networks that others make (plugins, `pasta`) and of a macvlan do not meet the rules
//! of the host. A route would not do: a socket that is bound to a device goes around it.

use super::elements::bytes;
use super::expression::Expression as E;
use super::table::{BOTH, FILTER, destination, drop_counted, is_ip};
use super::transaction::{Chain, Family, Hook, Transaction};
use super::{Socket, told};
use crate::error::{Doing, Error};
use rkt_spec::network::{Driver, NetworkPlan};
use rkt_sys::netlink::Family as Protocols;
use std::net::IpAddr;

const OUTPUT: &str = "output";

/// Whether some of these networks leave the host's rules out, and none has a route that asks for the
/// metadata address.
pub fn is_open(networks: &[NetworkPlan]) -> bool {
    let others =
        |n: &NetworkPlan| matches!(n.driver, Driver::Macvlan | Driver::Cni | Driver::Pasta);
    networks.iter().any(others) && !networks.iter().any(asks)
}

/// Whether a network has a route that names the metadata address.
pub(super) fn asks(network: &NetworkPlan) -> bool {
    let names = |a: IpAddr| {
        let mut routes = network.routes.iter().map(|r| r.to);
        routes.any(|to| to.address == a && to.length >= 24)
    };
    super::table::metadata().into_iter().any(names)
}

/// Closes it for all that is sent from the calling process's network namespace. A process that has
/// CAP_NET_ADMIN over that can take the rule away.
///
/// # Errors
/// [`Kind::Host`](crate::Kind::Host) when the kernel has no nf_tables.
pub fn close() -> Result<(), Error> {
    let socket = Socket::open(Protocols::Netfilter).map_err(|e| told(&e))?;
    let mut transaction = Transaction::begin(None);
    transaction.table(Family::Inet);
    let base = Some(("filter", Hook::Output, FILTER));
    transaction.chain(Family::Inet, Chain { name: OUTPUT, base });
    for (ip, address) in BOTH.into_iter().zip(super::table::metadata()) {
        let to_it = [destination(ip, 0), E::Is(0, bytes(address))];
        let rule = [is_ip(Family::Inet, ip), to_it.to_vec(), drop_counted()].concat();
        let words = Some("metadata of the host");
        transaction.rule(Family::Inet, OUTPUT, &rule, words);
    }
    transaction
        .commit(&socket)
        .map_err(|e| told(&e))
        .doing(|| "close the metadata address".into())
}
