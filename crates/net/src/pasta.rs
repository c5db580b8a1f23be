//! `pasta` (of passt): a program that carries a pod's packets to sockets of the host. Pure: its
//! words, and what they make.
//!
//! It needs nothing of the host but a tap device; no address of the host's is given out and no rule
//! of a firewall is touched, so that it is also what a plain user can have.

use rkt_spec::network::{NetworkPlan, PortPlan, PortWay, Prefix, Protocol, Route, Wired};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where it is looked for.
pub const PROGRAMS: [&str; 3] = ["/usr/bin/pasta", "/usr/local/bin/pasta", "/bin/pasta"];

/// Where its own mount namespace has the pod's network namespace.
pub const NAMESPACE: &str = "/run/netns";

/// Addresses when the network has none: those that such programs have had since slirp.
const NET: [u8; 3] = [10, 0, 2];
const POD: u8 = 100;
const GATEWAY: u8 = 2;
/// Questions about names to here are asked of the host's own name server.
const NAMES: u8 = 3;

fn own(last: u8) -> IpAddr {
    let [a, b, c] = NET;
    Ipv4Addr::new(a, b, c, last).into()
}

/// What the pod is given.
pub fn wired(network: &NetworkPlan) -> Wired {
    let pools = network.pools.iter();
    let mut addresses: Vec<Prefix> = pools
        .map(|pool| Prefix {
            address: pool.wanted.unwrap_or(pool.first),
            length: pool.subnet.length,
        })
        .collect();
    let mut gateways: Vec<IpAddr> = network.pools.iter().filter_map(|p| p.gateway).collect();
    if addresses.is_empty() {
        addresses.push(Prefix {
            address: own(POD),
            length: 24,
        });
        gateways.push(own(GATEWAY));
    }
    Wired {
        name: network.name.clone(),
        interface: network.interface.clone(),
        host_device: String::new(),
        mac: network.mac,
        addresses,
        routes: gateways.iter().map(|via| default_by(*via)).collect(),
        gateways,
        nameservers: vec![own(NAMES)],
        domain: String::new(),
        search: vec![],
        options: vec![],
    }
}

fn default_by(gateway: IpAddr) -> Route {
    let nowhere = match gateway {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    Route {
        to: Prefix {
            address: nowhere,
            length: 0,
        },
        via: Some(gateway),
    }
}

/// The words to start it with: nothing leads in or out but what is said here.
///
/// # Errors
/// Why a port cannot be had this way.
pub fn arguments(network: &NetworkPlan, ports: &[PortPlan]) -> Result<Vec<String>, String> {
    let wired = wired(network);
    let mut words: Vec<String> = [
        "pasta",
        "--foreground",
        "--quiet",
        "--config-net",
        // The host itself stays out of reach, its loopback first of all.
        "--no-map-gw",
        "--tcp-ns=none",
        "--udp-ns=none",
    ]
    .map(str::to_owned)
    .into();
    let mut pair = |name: &str, value: String| words.extend([name.to_owned(), value]);
    pair("--ns-ifname", network.interface.clone());
    for address in &wired.addresses {
        pair("--address", address.address.to_string());
        if address.address.is_ipv4() {
            pair("--netmask", address.length.to_string());
        }
    }
    for gateway in &wired.gateways {
        pair("--gateway", gateway.to_string());
    }
    for server in &wired.nameservers {
        pair("--dns-forward", server.to_string());
    }
    if let Some(mac) = network.mac {
        pair("--ns-mac-addr", mac.to_string());
    }
    if network.mtu > 0 {
        pair("--mtu", network.mtu.to_string());
    }
    for (name, protocol) in [
        ("--tcp-ports", Protocol::Tcp),
        ("--udp-ports", Protocol::Udp),
    ] {
        let nat = |p: &&PortPlan| p.way == PortWay::Nat && p.protocol == protocol;
        let mut some = false;
        for port in ports.iter().filter(nat) {
            some = true;
            let (host, pod) = (port.host_port, port.pod_port);
            pair(name, format!("{}/{host}:{pod}", port.host));
        }
        if !some {
            pair(name, "none".to_owned());
        }
    }
    if let Some(port) = ports.iter().find(|p| p.protocol == Protocol::Sctp) {
        return Err(format!(
            "pasta does not carry sctp, as port `{}` wants",
            port.name
        ));
    }
    if wired.addresses.iter().all(|a| a.address.is_ipv4()) {
        words.push("--ipv4-only".to_owned());
    }
    // It writes its pid there as soon as packets go.
    words.extend(["--pid", "/proc/self/fd/1", "--netns", NAMESPACE].map(str::to_owned));
    Ok(words)
}

/// What is worth telling of its complaints: the lines that are not about its own log.
pub fn complaint(text: &str) -> String {
    let own_log = |line: &&str| !line.trim().is_empty() && !line.starts_with("Failed to send ");
    let lines: Vec<&str> = text.lines().filter(own_log).map(str::trim).collect();
    match lines.is_empty() {
        true => "it ended without a word".to_owned(),
        false => lines.join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rkt_spec::codec::Bytes;
    use rkt_spec::network::{Driver, MacvlanMode};

    fn network() -> NetworkPlan {
        NetworkPlan {
            name: "pasta".to_owned().try_into().unwrap(),
            interface: "eth0".into(),
            driver: Driver::Pasta,
            device: String::new(),
            macvlan: MacvlanMode::Bridge,
            mtu: 0,
            gateway: false,
            masquerade: false,
            isolated: false,
            hairpin: false,
            restricted: false,
            names: false,
            pools: vec![],
            routes: vec![],
            mac: None,
            config: Bytes::default(),
            args: String::new(),
        }
    }

    fn port(protocol: Protocol) -> PortPlan {
        PortPlan {
            name: "p".into(),
            app: None,
            protocol,
            host: "127.0.0.1".parse().unwrap(),
            host_port: 8080,
            pod_port: 80,
            way: PortWay::Nat,
            socket: -1,
        }
    }

    #[test]
    fn nothing_leads_in_or_out_but_what_was_said() {
        let words = arguments(&network(), &[]).unwrap().join(" ");
        for word in [
            "--no-map-gw",
            "--tcp-ns=none",
            "--udp-ns=none",
            "--tcp-ports none",
            "--udp-ports none",
            "--address 10.0.2.100 --netmask 24 --gateway 10.0.2.2",
            "--ipv4-only",
        ] {
            assert!(words.contains(word), "{words}");
        }
        let words = arguments(&network(), &[port(Protocol::Udp)])
            .unwrap()
            .join(" ");
        assert!(
            words.contains("--tcp-ports none --udp-ports 127.0.0.1/8080:80"),
            "{words}"
        );
        assert!(arguments(&network(), &[port(Protocol::Sctp)]).is_err());
    }

    #[test]
    fn its_log_is_not_its_complaint() {
        let text = "Failed to send 9 bytes to syslog\nNo tap\n\nFailed to send 1 bytes to syslog\n";
        assert_eq!(complaint(text), "No tap");
        assert_eq!(complaint(""), "it ended without a word");
    }
}
