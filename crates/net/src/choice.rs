//! From names to networks: what a request asks for, looked up among what is configured. Pure.

use crate::builtin;
use crate::refusal::Refusal;
use crate::request::{Arg, NetRequest};
use crate::resolv::Resolver;
use rkt_spec::network::{Driver, NetworkPlan};
use std::net::IpAddr;
use std::path::PathBuf;

/// Drivers that this version can make; a network of another one is refused.
pub const DRIVERS: &[Driver] = &[
    Driver::Ptp,
    Driver::Bridge,
    Driver::Macvlan,
    Driver::Cni,
    Driver::Pasta,
];

/// A network that there is, and what is known of it beside its plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// How a pod joins it; the interface is not chosen yet.
    pub plan: NetworkPlan,
    /// What its file says of name servers.
    pub dns: Resolver,
    /// Where it is configured.
    pub origin: Origin,
    /// Names of the plugins that its file asks for, in order.
    pub plugins: Vec<String>,
    /// Why rkt's own drivers would not do exactly what its file says; empty when they do.
    pub why: Vec<String>,
}

/// Where a network is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In rkt.
    BuiltIn,
    /// In a file of `net.d`.
    File(PathBuf),
}

impl Network {
    /// One that is there without a file.
    pub fn built_in(plan: NetworkPlan) -> Self {
        Self {
            plan,
            dns: Resolver::default(),
            origin: Origin::BuiltIn,
            plugins: Vec::new(),
            why: Vec::new(),
        }
    }

    /// Whether it leads anywhere beyond itself, as far as that is known before plugins ran.
    pub fn leads_out(&self) -> bool {
        let all = |route: &rkt_spec::network::Route| route.to.length == 0;
        match self.plan.driver {
            Driver::Cni | Driver::Pasta => true,
            Driver::Bridge | Driver::Ptp | Driver::Macvlan => self.plan.routes.iter().any(all),
        }
    }
}

/// Most networks of a pod: a digit of its devices' names on the host tells them apart.
pub const MAX_NETWORKS: usize = 16;

/// The networks of a pod, in the order of their devices.
///
/// `known` has every network there is, those of files before the built-in ones.
///
/// # Errors
/// `networks not found: X, Y`; more than [`MAX_NETWORKS`]; an argument that a network cannot obey; a network whose driver is
/// not there.
pub fn networks(request: &NetRequest, known: &[Network]) -> Result<Vec<Network>, Refusal> {
    let NetRequest::Private { all, named } = request else {
        return Ok(Vec::new());
    };
    let pasta = builtin::pasta()?;
    let find = |name: &str| {
        let found = known.iter().find(|k| k.plan.name.as_str() == name);
        found.or((name == builtin::PASTA).then_some(&pasta))
    };
    let missing: Vec<&str> = named
        .iter()
        .map(|n| n.name.as_str())
        .filter(|name| find(name).is_none())
        .collect();
    if !missing.is_empty() {
        let there: Vec<&str> = known.iter().map(|k| k.plan.name.as_str()).collect();
        return Err(
            Refusal::new(format!("networks not found: {}", missing.join(", "))).hint(format!(
                "there are: none, host, {}, pasta",
                there.join(", ")
            )),
        );
    }
    let mut chosen: Vec<Network> = Vec::new();
    for one in named {
        let Some(network) = find(one.name.as_str()) else {
            continue;
        };
        let mut network = network.clone();
        obey(&mut network.plan, &one.args)?;
        chosen.push(network);
    }
    if *all {
        let rest = known
            .iter()
            .filter(|k| k.plan.name.as_str() != builtin::RESTRICTED || k.origin != Origin::BuiltIn)
            .filter(|k| named.iter().all(|n| n.name != k.plan.name));
        chosen.extend(rest.cloned());
    }
    if chosen.len() > MAX_NETWORKS {
        let many = chosen.len();
        return Err(Refusal::new(format!(
            "{many} networks are more than the {MAX_NETWORKS} a pod can have"
        ))
        .hint("name those that it needs: --net=NAME,NAME"));
    }
    for (at, Network { plan: network, .. }) in chosen.iter_mut().enumerate() {
        network.interface = format!("eth{at}");
        if !DRIVERS.contains(&network.driver) {
            return Err(Refusal::new(format!(
                "the network `{}` needs the driver {:?}, which this version does not have yet",
                network.name, network.driver
            ))
            .hint("--net=none and --net=host are there"));
        }
    }
    Ok(chosen)
}

/// Takes the arguments of `--net=NAME:KEY=VALUE;...` into the plan.
fn obey(network: &mut NetworkPlan, args: &[Arg]) -> Result<(), Refusal> {
    if network.driver == Driver::Cni {
        let all: Vec<String> = args.iter().map(Arg::to_string).collect();
        network.args = all.join(";");
        return Ok(());
    }
    let lenient = args
        .iter()
        .any(|a| a.key == "IgnoreUnknown" && matches!(a.value.as_str(), "1" | "true"));
    for arg in args {
        match arg.key.as_str() {
            "IP" => want(network, &arg.value)?,
            "MAC" => network.mac = Some(arg.value.parse()?),
            "IgnoreUnknown" => {}
            _ if lenient => {}
            key => {
                return Err(Refusal::new(format!(
                    "the network `{}` knows no argument `{key}`",
                    network.name
                ))
                .hint("it knows IP=ADDRESS and MAC=ADDRESS; IgnoreUnknown=1 skips others"));
            }
        }
    }
    Ok(())
}

fn want(network: &mut NetworkPlan, text: &str) -> Result<(), Refusal> {
    let name = network.name.clone();
    let not = |why: &str| {
        Refusal::new(format!(
            "requested IP address \"{}\" is not available in network: {name} ({why})",
            text.escape_debug()
        ))
    };
    let address: IpAddr = text.parse().map_err(|_| not("it is no address"))?;
    let subnets: Vec<String> = network.pools.iter().map(|p| p.subnet.to_string()).collect();
    let pool = network
        .pools
        .iter_mut()
        .find(|p| p.subnet.contains(address))
        .ok_or_else(|| match subnets.is_empty() {
            true => not("the network has no addresses of its own"),
            false => not(&format!("its subnet is {}", subnets.join(", "))),
        })?;
    if pool.gateway == Some(address) {
        return Err(not("it is the gateway's"));
    }
    if address < pool.first || address > pool.last {
        let (first, last) = (pool.first, pool.last);
        return Err(not(&format!("it gives out {first} to {last}")));
    }
    if pool.wanted.replace(address).is_some() {
        return Err(not("another one of its subnet is asked for too"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::Ipv6;

    fn known() -> Vec<Network> {
        let plans = builtin::networks(Ipv6::Off).unwrap();
        plans.into_iter().map(Network::built_in).collect()
    }

    fn plan(network: &str) -> Result<NetworkPlan, Refusal> {
        let NetRequest::Private { named, .. } = network.parse().unwrap() else {
            panic!()
        };
        let one = named.first().unwrap();
        let known = builtin::networks(Ipv6::On).unwrap();
        let found = known.iter().find(|k| k.name == one.name).unwrap();
        let mut found = found.clone();
        obey(&mut found, &one.args).map(|()| found)
    }

    #[test]
    fn unknown_networks_are_named_together() {
        let known = known();
        let request = "web,default,db".parse().unwrap();
        let error = networks(&request, &known).unwrap_err();
        assert_eq!(error.to_string(), "networks not found: web, db");
        assert_eq!(
            error.remedy(),
            Some("there are: none, host, default, default-restricted, pasta")
        );
        for none in ["none", "host"] {
            assert!(networks(&none.parse().unwrap(), &known).unwrap().is_empty());
        }
    }

    #[test]
    fn a_pod_has_sixteen_networks_and_no_more() {
        let one = known().remove(0);
        let named = |n: usize| Network {
            plan: NetworkPlan {
                name: rkt_spec::NetworkName::new(format!("n{n}")).unwrap(),
                ..one.plan.clone()
            },
            ..one.clone()
        };
        let all = "all".parse().unwrap();
        let some: Vec<Network> = (0..MAX_NETWORKS).map(named).collect();
        let chosen = networks(&all, &some).unwrap();
        assert_eq!(chosen.last().unwrap().plan.interface, "eth15");
        let more: Vec<Network> = (0..=MAX_NETWORKS).map(named).collect();
        let said = networks(&all, &more).unwrap_err().to_string();
        assert!(said.starts_with("17 networks are more"), "{said}");
    }

    #[test]
    fn an_address_is_asked_for_within_its_pool() {
        let p = plan("default:IP=172.16.28.5;IP=fd72:6b74:0:1c::9;MAC=02:00:5e:10:00:01").unwrap();
        let wanted: Vec<_> = p
            .pools
            .iter()
            .map(|p| p.wanted.unwrap().to_string())
            .collect();
        assert_eq!(wanted, ["172.16.28.5", "fd72:6b74:0:1c::9"]);
        assert_eq!(p.mac.unwrap().to_string(), "02:00:5e:10:00:01");
        for (words, why) in [
            ("default:IP=10.0.0.1", "its subnet is 172.16.28.0/24, fd72"),
            ("default:IP=172.16.28.1", "the gateway's"),
            ("default:IP=172.16.28.0", "172.16.28.1 to 172.16.28.254"),
            ("default:IP=172.16.28.255", "172.16.28.1 to 172.16.28.254"),
            ("default:IP=x", "no address"),
            ("default:IP=172.16.28.5;IP=172.16.28.6", "asked for too"),
        ] {
            let text = plan(words).unwrap_err().to_string();
            assert!(text.starts_with("requested IP address \""), "{text}");
            assert!(
                text.contains(" is not available in network: default ("),
                "{text}"
            );
            assert!(text.contains(why), "{words}: {text}");
        }
        assert!(plan("default:MAC=01:00:00:00:00:00").is_err());
        let text = plan("default:FOO=1").unwrap_err().to_string();
        assert_eq!(text, "the network `default` knows no argument `FOO`");
        assert!(plan("default:FOO=1;IgnoreUnknown=1").is_ok());
    }
}
