//! Networks as the words of `list`, as a table, and as JSON.

use crate::columns;
use rkt_net::choice::{Network, Origin};
use rkt_pod::logs::escape;
use rkt_spec::Uuid;
use rkt_spec::network::{Driver, Prefix, Route, Wired};
use serde_json::{Map, Value, json};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// A configured network and the pods that have joined it.
#[derive(Debug)]
pub(crate) struct Listed<'a> {
    pub(crate) network: &'a Network,
    pub(crate) pods: Vec<Uuid>,
}

/// The entries of the column NETWORKS: `default:ip4=172.16.28.2`, as the original's, and one more
/// for IPv6; a network without addresses is its name.
pub(crate) fn words(names: &[String], wired: &[Wired]) -> Vec<String> {
    let mut words = Vec::new();
    for name in names {
        let of = wired.iter().filter(|w| w.name.as_str() == name);
        let before = words.len();
        for address in of.flat_map(|w| &w.addresses) {
            let family = if address.address.is_ipv4() { 4 } else { 6 };
            words.push(format!("{name}:ip{family}={}", address.address));
        }
        if words.len() == before {
            words.push(name.clone());
        }
    }
    words
}

/// The networks of a pod for JSON, with the original's keys (`netName`, `ifName`, `ip`, `mask`) and
/// ours.
pub(crate) fn joined(names: &[String], wired: &[Wired]) -> Value {
    let one = |name: &String| {
        let mut map = Map::new();
        let mut set = |key: &str, value: Value| {
            map.insert(key.to_owned(), value);
        };
        set("netName", json!(name));
        let Some(wired) = wired.iter().find(|w| w.name.as_str() == name) else {
            return Value::Object(map);
        };
        set("ifName", json!(wired.interface));
        let first = |v4: bool| wired.addresses.iter().find(|a| a.address.is_ipv4() == v4);
        if let Some(v4) = first(true) {
            set("ip", json!(v4.address));
            set("mask", json!(mask(v4)));
        }
        if let Some(v6) = first(false) {
            set("ip6", json!(v6.address));
        }
        let addresses: Vec<String> = wired.addresses.iter().map(Prefix::to_string).collect();
        set("addresses", json!(addresses));
        set("gateways", json!(wired.gateways));
        if let Some(mac) = wired.mac {
            set("mac", json!(mac.to_string()));
        }
        if !wired.host_device.is_empty() {
            set("hostDevice", json!(wired.host_device));
        }
        set("routes", wired.routes.iter().map(route).collect());
        Value::Object(map)
    };
    names.iter().map(one).collect()
}

fn mask(prefix: &Prefix) -> String {
    let bits = u32::MAX
        .checked_shl(32_u32.saturating_sub(prefix.length.into()))
        .unwrap_or(0);
    Ipv4Addr::from(bits).to_string()
}

fn route(route: &Route) -> Value {
    match route.via {
        Some(via) => json!({ "dst": route.to.to_string(), "gw": via }),
        None => json!({ "dst": route.to.to_string() }),
    }
}

/// The routes of a pod, network by network: `default:0.0.0.0/0 via 172.16.28.1`.
pub(crate) fn ways(wired: &[Wired]) -> Vec<String> {
    let of = |w: &Wired| -> Vec<String> {
        let routes = w.routes.iter();
        routes
            .map(|route| match route.via {
                Some(via) => format!("{}:{} via {via}", w.name, route.to),
                None => format!("{}:{}", w.name, route.to),
            })
            .collect()
    };
    wired.iter().flat_map(of).collect()
}

fn driver(driver: Driver) -> &'static str {
    match driver {
        Driver::Bridge => "bridge",
        Driver::Ptp => "ptp",
        Driver::Macvlan => "macvlan",
        Driver::Cni => "plugins",
        Driver::Pasta => "pasta",
    }
}

fn file(network: &Network) -> Option<&Path> {
    match &network.origin {
        Origin::BuiltIn => None,
        Origin::File(path) => Some(path),
    }
}

/// The table of `rkt network list`.
pub(crate) fn table(rows: &[Listed<'_>], no_legend: bool) -> String {
    let mut lines: Vec<Vec<String>> = Vec::new();
    if !no_legend {
        let head = ["NAME", "DRIVER", "SUBNETS", "PODS", "FROM"];
        lines.push(head.map(str::to_owned).into());
    }
    for row in rows {
        let plan = &row.network.plan;
        let subnets: Vec<String> = plan.pools.iter().map(|p| p.subnet.to_string()).collect();
        let driver = match row.network.plugins.is_empty() || plan.driver != Driver::Cni {
            true => driver(plan.driver).to_owned(),
            false => row.network.plugins.join("+"),
        };
        let from = file(row.network).map_or("rkt".into(), Path::to_string_lossy);
        lines.push(vec![
            plan.name.to_string(),
            escape::line(&driver),
            subnets.join(","),
            row.pods.len().to_string(),
            escape::line(&from),
        ]);
    }
    columns::text(&lines)
}

/// A network of `rkt network list` for JSON.
pub(crate) fn listed(row: &Listed<'_>) -> Value {
    let Listed { network, pods } = row;
    let plan = &network.plan;
    let pool = |p: &rkt_spec::network::Pool| {
        json!({
            "subnet": p.subnet.to_string(),
            "rangeStart": p.first,
            "rangeEnd": p.last,
            "gateway": p.gateway,
        })
    };
    let pods: Vec<String> = pods.iter().map(Uuid::to_string).collect();
    let server = |s: &IpAddr| json!(s);
    json!({
        "name": plan.name,
        "driver": driver(plan.driver),
        "file": file(network),
        "device": plan.device,
        "mtu": plan.mtu,
        "masquerade": plan.masquerade,
        "isolated": plan.isolated,
        "names": plan.names,
        "restricted": plan.restricted,
        "pools": plan.pools.iter().map(pool).collect::<Vec<_>>(),
        "routes": plan.routes.iter().map(route).collect::<Vec<_>>(),
        "nameservers": network.dns.nameservers.iter().map(server).collect::<Vec<_>>(),
        "plugins": network.plugins,
        "whyPlugins": network.why,
        "pods": pods,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rkt_spec::NetworkName;

    fn wired(name: &str, addresses: &[&str]) -> Wired {
        Wired {
            name: NetworkName::new(name).unwrap(),
            interface: "eth0".into(),
            host_device: String::new(),
            mac: None,
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            gateways: Vec::new(),
            routes: vec![Route {
                to: "0.0.0.0/0".parse().unwrap(),
                via: Some("10.0.0.1".parse().unwrap()),
            }],
            nameservers: Vec::new(),
            domain: String::new(),
            search: Vec::new(),
            options: Vec::new(),
        }
    }

    #[test]
    fn addresses_are_told_as_the_original_told_them() {
        let names = ["default", "web", "host"].map(str::to_owned);
        let wired = [
            wired("default", &["172.16.28.2/24", "fd72:6b74:0:1c::2/64"]),
            wired("web", &[]),
        ];
        assert_eq!(
            words(&names, &wired).join(", "),
            "default:ip4=172.16.28.2, default:ip6=fd72:6b74:0:1c::2, web, host"
        );
        let value = joined(&names, &wired);
        assert_eq!(value[0]["netName"], "default");
        assert_eq!(value[0]["ip"], "172.16.28.2");
        assert_eq!(value[0]["mask"], "255.255.255.0");
        assert_eq!(value[0]["ip6"], "fd72:6b74:0:1c::2");
        assert_eq!(
            value[1]["routes"],
            json!([{ "dst": "0.0.0.0/0", "gw": "10.0.0.1" }])
        );
        assert_eq!(ways(&wired)[0], "default:0.0.0.0/0 via 10.0.0.1");
        assert_eq!(value[2], json!({ "netName": "host" }));
    }
}
