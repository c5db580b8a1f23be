//! The networks that are there without any file: `default` and `default-restricted`.
//!
//! Their pods do not meet, whoever has started them: that is what a network of a file says.
//!
//! The original's addresses. `default` leads to the world, with the host's address on what leaves;
//! `default-restricted` leads to its gateway on the host and nowhere else.

use crate::choice::Network;
use crate::refusal::Refusal;
use rkt_spec::NetworkName;
use rkt_spec::codec::Bytes;
use rkt_spec::network::{Driver, MacvlanMode, NetworkPlan, Pool, Prefix, Route};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Name of the network that a pod joins when nobody says anything.
pub const DEFAULT: &str = "default";
/// Name of the network that the program of this name makes.
pub const PASTA: &str = "pasta";
/// Name of the network that leads nowhere.
pub const RESTRICTED: &str = "default-restricted";

const DEFAULT_V4: (Ipv4Addr, u8) = (Ipv4Addr::new(172, 16, 28, 0), 24);
const RESTRICTED_V4: (Ipv4Addr, u8) = (Ipv4Addr::new(172, 31, 0, 0), 16);
/// Of the addresses for local use (RFC 4193): they are rewritten on the way out, as the others.
const DEFAULT_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0xfd72, 0x6b74, 0, 0x1c, 0, 0, 0, 0), 64);

/// Whether the host speaks IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ipv6 {
    /// It does.
    On,
    /// It does not.
    Off,
}

/// The built-in networks, in the order of their names; their interfaces are not chosen yet.
///
/// # Errors
/// Never; the tables are right.
pub fn networks(ipv6: Ipv6) -> Result<Vec<NetworkPlan>, Refusal> {
    let mut default = ptp(DEFAULT)?;
    default.masquerade = true;
    // Nobody has said that those who say nothing are to meet.
    default.isolated = true;
    default.pools.push(pool(DEFAULT_V4.0.into(), DEFAULT_V4.1)?);
    default.routes.push(anywhere(Ipv4Addr::UNSPECIFIED.into())?);
    if ipv6 == Ipv6::On {
        default.pools.push(pool(DEFAULT_V6.0.into(), DEFAULT_V6.1)?);
        default.routes.push(anywhere(Ipv6Addr::UNSPECIFIED.into())?);
    }
    let mut restricted = ptp(RESTRICTED)?;
    restricted.restricted = true;
    restricted.isolated = true;
    let v4 = pool(RESTRICTED_V4.0.into(), RESTRICTED_V4.1)?;
    restricted.pools.push(v4);
    Ok(vec![default, restricted])
}

/// The network of `--net=pasta`, which is no network of the host's and not among `all`.
///
/// # Errors
/// Never.
pub fn pasta() -> Result<Network, Refusal> {
    let mut plan = ptp(PASTA)?;
    plan.driver = Driver::Pasta;
    plan.gateway = false;
    let nameservers = crate::pasta::wired(&plan).nameservers;
    let mut network = Network::built_in(plan);
    network.dns.nameservers = nameservers;
    Ok(network)
}

fn ptp(name: &str) -> Result<NetworkPlan, Refusal> {
    Ok(NetworkPlan {
        name: NetworkName::new(name)?,
        interface: String::new(),
        driver: Driver::Ptp,
        device: String::new(),
        macvlan: MacvlanMode::Bridge,
        mtu: 0,
        gateway: true,
        masquerade: false,
        isolated: false,
        hairpin: false,
        restricted: false,
        names: false,
        pools: Vec::new(),
        routes: Vec::new(),
        mac: None,
        config: Bytes(Vec::new()),
        args: String::new(),
    })
}

fn anywhere(unspecified: IpAddr) -> Result<Route, Refusal> {
    Ok(Route {
        to: Prefix::new(unspecified, 0)?,
        via: None,
    })
}

/// A pool of all of a subnet: the first address is the gateway's; IPv4's last is the broadcast's.
///
/// # Errors
/// When the subnet has no room for a gateway and a pod, or `address` has bits of a host.
pub fn pool(address: IpAddr, length: u8) -> Result<Pool, Refusal> {
    let subnet = Prefix::new(address, length)?;
    if subnet.network() != address {
        return Err(Refusal::new(format!(
            "the subnet `{subnet}` has bits of a host set; it is `{}/{length}`",
            subnet.network()
        )));
    }
    let (bits, reserved) = if address.is_ipv4() { (32, 1) } else { (128, 0) };
    if length > bits - 2 {
        return Err(Refusal::new(format!(
            "the subnet `{subnet}` is too small for a gateway and a pod"
        )));
    }
    let span = u128::MAX.checked_shr(128 - u32::from(bits - length));
    let last = offset(address, span.unwrap_or(0) - reserved);
    Ok(Pool {
        subnet,
        first: offset(address, 1),
        last,
        gateway: Some(offset(address, 1)),
        wanted: None,
    })
}

/// The address so much further on.
fn offset(address: IpAddr, by: u128) -> IpAddr {
    match address {
        IpAddr::V4(a) => {
            let by = u32::try_from(by).unwrap_or(u32::MAX);
            IpAddr::V4(u32::from(a).saturating_add(by).into())
        }
        IpAddr::V6(a) => IpAddr::V6(u128::from(a).saturating_add(by).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_networks_are_the_originals() {
        let [default, restricted]: [NetworkPlan; 2] =
            networks(Ipv6::Off).unwrap().try_into().unwrap();
        let pool = default.pools.first().unwrap();
        assert_eq!(pool.subnet.to_string(), "172.16.28.0/24");
        assert_eq!(pool.first.to_string(), "172.16.28.1");
        assert_eq!(pool.last.to_string(), "172.16.28.254");
        assert_eq!(pool.gateway.unwrap().to_string(), "172.16.28.1");
        assert!(default.masquerade && !default.restricted);
        assert_eq!(default.routes.first().unwrap().to.to_string(), "0.0.0.0/0");
        assert_eq!(restricted.name.as_str(), "default-restricted");
        assert!(restricted.restricted && !restricted.masquerade && restricted.routes.is_empty());
        let pool = restricted.pools.first().unwrap();
        assert_eq!(pool.last.to_string(), "172.31.255.254");
        let six = networks(Ipv6::On).unwrap();
        let default = six.first().unwrap();
        assert_eq!(default.pools.len(), 2);
        assert_eq!(default.routes.len(), 2);
        let pool = default.pools.get(1).unwrap();
        assert_eq!(pool.subnet.to_string(), "fd72:6b74:0:1c::/64");
        assert_eq!(pool.last.to_string(), "fd72:6b74:0:1c:ffff:ffff:ffff:ffff");
    }

    #[test]
    fn pools_that_are_none_are_refused() {
        for (address, length, why) in [
            ("10.0.0.1", 24, "`10.0.0.0/24`"),
            ("10.0.0.0", 31, "too small"),
            ("10.0.0.0", 32, "too small"),
            ("10.0.0.0", 33, "more than 32"),
            ("fd00::", 127, "too small"),
            ("fd00::1", 64, "`fd00::/64`"),
        ] {
            let text = pool(address.parse().unwrap(), length)
                .unwrap_err()
                .to_string();
            assert!(text.contains(why), "{text}");
        }
        let small = pool("10.0.0.0".parse().unwrap(), 30).unwrap();
        assert_eq!(small.last.to_string(), "10.0.0.2");
        let all = pool("0.0.0.0".parse().unwrap(), 0).unwrap();
        assert_eq!(all.last.to_string(), "255.255.255.254");
        let all = pool("::".parse().unwrap(), 0).unwrap();
        assert_eq!(
            u128::from(match all.last {
                IpAddr::V6(a) => a,
                IpAddr::V4(_) => panic!(),
            }),
            u128::MAX
        );
    }
}
