//! The networks that there are on this host, and those of them that a pod joins.

use crate::error::Error;
use crate::plan::Facts;
use crate::request::RunRequest;
use rkt_net::builtin::{self, Ipv6};
use rkt_net::choice;
use rkt_spec::network::NetworkPlan;

/// Every network that a pod of this host can join.
///
/// # Errors
/// Never so far; files of the configuration may be wrong.
pub(crate) fn known() -> Result<Vec<NetworkPlan>, Error> {
    Ok(builtin::networks(ipv6())?)
}

/// Whether addresses of IPv6 can be given to devices of the caller's network namespace.
fn ipv6() -> Ipv6 {
    match std::fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6") {
        Ok(text) if text.trim() == "0" => Ipv6::On,
        _ => Ipv6::Off,
    }
}

/// The networks of the pod, in the order of their devices.
///
/// # Errors
/// For one that is not there, or cannot be what its arguments say.
pub(crate) fn chosen(request: &RunRequest, facts: &Facts) -> Result<Vec<NetworkPlan>, Error> {
    Ok(choice::networks(&request.network(), &facts.networks)?)
}
