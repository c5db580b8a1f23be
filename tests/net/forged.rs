//! What a pod says of addresses and routes that are not its own (rows F02, F04 and F05 of the
//! acceptance suite), in a network with neighbours.
//!
//! The control of each is the same message once more, without rkt's tables. What a pod may say
//! passes, and the rule that drops the rest counts it.

use super::{PROBE, addresses, bare, configured, host_ip, reaches};
use rkt_tests::attack::record_held;
use rkt_tests::netns::run_in;
use rkt_tests::talk::{self, Client, arrived, serve};
use rkt_tests::{Need, Pod, Rkt, wait_for};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, socket_with};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::Ordering;

const TOOLS: &[Need] = &[Need::Tool("nft"), Need::Tool("busybox")];

const LAN: &str = r#"{ "cniVersion": "1.0.0", "name": "lan", "plugins": [ { "type": "bridge",
    "bridge": "rktlan0", "isGateway": true,
    "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.89.7.0/24" }],
        [{ "subnet": "fd00:89:7::/64" }]] } } ] }"#;
const GATEWAY4: &str = "10.89.7.1";
const GATEWAY6: &str = "fd00:89:7::1";

/// Packets that rules with this comment have dropped.
fn dropped(rkt: &Rkt, comment: &str) -> u64 {
    let rules = rkt.net().run("nft list ruleset").ok();
    let comment = format!("comment \"{comment}\"");
    let count = |line: &str| -> Option<u64> {
        let (_, rest) = line.split_once("counter packets ")?;
        rest.split(' ').next()?.parse().ok()
    };
    let lines = rules.lines().filter(|l| l.contains(&comment));
    let all: Vec<u64> = lines.filter_map(count).collect();
    assert!(!all.is_empty(), "no rule has `{comment}`: {rules}");
    all.iter().sum()
}

fn without_tables(rkt: &Rkt) {
    let tables = rkt.net().run("nft list tables").ok();
    for table in tables.lines().filter(|l| l.ends_with(" rkt")) {
        rkt.net().run(&format!("nft delete {table}")).ok();
    }
}

/// The same attack with the tables, where the rule of this comment must have counted it, and without
/// them.
fn twice(rkt: &Rkt, rules: &[&str], attacks: &[(&str, &dyn Fn() -> bool)]) {
    let counts = || -> Vec<u64> { rules.iter().map(|words| dropped(rkt, words)).collect() };
    let before = counts();
    let walled: Vec<bool> = attacks.iter().map(|(_, attack)| attack()).collect();
    for ((words, before), now) in rules.iter().zip(before).zip(counts()) {
        assert!(now > before, "`{words}` has counted nothing");
    }
    without_tables(rkt);
    for ((id, attack), walled) in attacks.iter().zip(walled) {
        record_held(id, !walled, attack());
    }
}

/// Two pods on one bridge; the first is the attacker's.
fn neighbours(rkt: &Rkt) -> (Pod<'_>, Pod<'_>) {
    let config = configured(rkt, &[("lan", LAN)]);
    let words = [
        config.as_str(),
        "--net=lan",
        PROBE,
        "--name=a",
        "--",
        "sleep",
    ];
    let pair = (rkt.start(&words), rkt.start(&words));
    for address in addresses(&pair.1, "eth0") {
        assert!(reaches(&pair.0, bare(&address)), "honest packets pass");
    }
    pair
}

fn space(pod: &Pod<'_>) -> String {
    talk::of(pod.init().pid)
}

fn hardware(pod: &Pod<'_>) -> String {
    let link = run_in(pod.init().pid, "ip -json link show dev eth0").json();
    link[0]["address"].as_str().unwrap().to_owned()
}

/// Sends a message of ICMP or ICMPv6 as whoever has every right in the pod's network.
fn message(pod: &Pod<'_>, to: &str, bytes: &[u8]) {
    let to: SocketAddr = SocketAddr::new(to.parse().unwrap(), 0);
    let (family, protocol) = match to {
        SocketAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
        SocketAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    talk::inside(&space(pod), || {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::RAW, flags, Some(protocol)).unwrap();
        if to.is_ipv6() {
            // Neighbour discovery from another hop counts for nothing (RFC 4861).
            rustix::net::sockopt::set_ipv6_unicast_hops(&socket, Some(255)).unwrap();
        }
        rustix::net::sendto(&socket, bytes, SendFlags::empty(), &to).unwrap();
    });
}

/// What the host holds for the hardware address of a neighbour.
fn believed(rkt: &Rkt, address: &str) -> String {
    let list = host_ip(rkt, &format!("neigh show {address} dev rktlan0"));
    let found = list[0]["lladdr"].as_str();
    found.unwrap_or("none").to_owned()
}

fn ping_from_host(rkt: &Rkt, address: &str) {
    let line = format!("busybox ping -c 1 -W 5 {address}");
    rkt.net().run(&line).ok();
}

#[test]
fn nobody_speaks_for_a_neighbour_on_a_bridge() {
    let Some(rkt) = Rkt::networked(TOOLS) else {
        return;
    };
    let (a, b) = neighbours(&rkt);
    let own: Vec<String> = addresses(&b, "eth0");
    let (b4, b6) = (bare(&own[0]).to_owned(), bare(&own[1]).to_owned());
    let (mac_a, mac_b) = (hardware(&a), hardware(&b));
    // Else what is new is believed after a second only.
    rkt.net()
        .run("busybox sysctl -w net.ipv4.neigh.rktlan0.locktime=0")
        .ok();
    let pid = a.init().pid;
    let by_arp = || {
        ping_from_host(&rkt, &b4);
        assert_eq!(believed(&rkt, &b4), mac_b);
        run_in(pid, &format!("ip addr add {b4}/32 dev eth0")).ok();
        run_in(pid, &format!("busybox arping -A -c 2 -I eth0 {b4}"));
        run_in(pid, &format!("ip addr del {b4}/32 dev eth0")).ok();
        believed(&rkt, &b4) == mac_a
    };
    // RFC 4861 4.4: solicited, override; about the neighbour, with the option of a hardware address.
    let advertisement = |about: &str, mac: &str| {
        let mut bytes = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
        bytes.extend(about.parse::<Ipv6Addr>().unwrap().octets());
        bytes.extend([2, 1]);
        let pairs = mac.split(':').map(|h| u8::from_str_radix(h, 16).unwrap());
        bytes.extend(pairs);
        bytes
    };
    let by_neighbor = || {
        ping_from_host(&rkt, &b6);
        assert_eq!(believed(&rkt, &b6), mac_b);
        message(&a, GATEWAY6, &advertisement(&b6, &mac_a));
        std::thread::sleep(std::time::Duration::from_millis(300));
        believed(&rkt, &b6) == mac_a
    };
    let rules = [
        "not the address of this pod",
        "neighbor that is not this pod",
    ];
    twice(&rkt, &rules, &[("F02.4", &by_arp), ("F02.5", &by_neighbor)]);
}

#[test]
fn a_pod_sends_from_its_own_ipv6_addresses_only() {
    let Some(rkt) = Rkt::networked(TOOLS) else {
        return;
    };
    let (a, _b) = neighbours(&rkt);
    let own = addresses(&a, "eth0");
    let got = serve(&rkt.net().path(), "[::]:9000");
    let to = format!("[{GATEWAY6}]:9000");
    let honest = Client::new(&space(&a), &format!("[{}]:0", bare(&own[1])));
    assert_eq!(honest.ask(&to).unwrap(), bare(&own[1]));
    let pid = a.init().pid;
    run_in(pid, "ip addr add fd00:89:7::222/128 dev eth0 nodad").ok();
    let forged = || {
        let before = got.load(Ordering::SeqCst);
        Client::new(&space(&a), "[fd00:89:7::222]:0").send(&to);
        arrived(&got, before)
    };
    twice(
        &rkt,
        &["not the address of this pod"],
        &[("F02.3", &forged)],
    );
}

#[test]
fn a_pod_gives_no_addresses_and_no_routes() {
    let Some(rkt) = Rkt::networked(TOOLS) else {
        return;
    };
    let (a, _b) = neighbours(&rkt);
    let own = addresses(&a, "eth0");
    let host = rkt.net().path();
    let clients = [serve(&host, "0.0.0.0:68"), serve(&host, "[::]:546")];
    let giver = |n: usize, port: u16| {
        let (from, to) = match n {
            0 => (bare(&own[0]).to_owned(), format!("{GATEWAY4}:68")),
            _ => (format!("[{}]", bare(&own[1])), format!("[{GATEWAY6}]:546")),
        };
        let before = clients[n].load(Ordering::SeqCst);
        Client::new(&space(&a), &format!("{from}:{port}")).send(&to);
        arrived(&clients[n], before)
    };
    // From another port it is a packet like any other.
    assert!(giver(0, 1067) && giver(1, 1547));
    // RFC 792: for one host (code 1) by way of the pod, as the answer to what the host had sent.
    let gateway: Ipv4Addr = bare(&own[0]).parse().unwrap();
    let mut redirect4 = vec![5, 1, 0, 0];
    redirect4.extend(gateway.octets());
    redirect4.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]);
    redirect4.extend(GATEWAY4.parse::<Ipv4Addr>().unwrap().octets());
    redirect4.extend([10, 89, 7, 77, 0, 1, 0, 1, 0, 8, 0, 0]);
    let sum: u32 = redirect4
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    redirect4[2..4].copy_from_slice(&sum.to_be_bytes());
    // RFC 4861 4.5: target and destination.
    let mut redirect6 = vec![137, 0, 0, 0, 0, 0, 0, 0];
    redirect6.extend(bare(&own[1]).parse::<Ipv6Addr>().unwrap().octets());
    redirect6.extend("fd00:89:7::77".parse::<Ipv6Addr>().unwrap().octets());
    let seen = |file: &str, name: &str| -> u64 {
        let text = rkt.net().run(&format!("cat /proc/net/{file}")).ok();
        let line = |prefix: &str| {
            let lines = text.lines().filter(|l| l.starts_with(prefix));
            lines
                .map(|l| l.split_whitespace().collect::<Vec<_>>())
                .collect::<Vec<_>>()
        };
        match file {
            "snmp6" => line(name).first().map_or(0, |l| l[1].parse().unwrap()),
            _ => {
                let both = line("IcmpMsg:");
                let at = both.first().and_then(|l| l.iter().position(|w| *w == name));
                at.map_or(0, |at| both[1][at].parse().unwrap())
            }
        }
    };
    let redirected = |to: &str, bytes: &[u8], file: &str, name: &str| {
        let before = seen(file, name);
        message(&a, to, bytes);
        std::thread::sleep(std::time::Duration::from_millis(300));
        seen(file, name) > before
    };
    let attacks: [(&str, &dyn Fn() -> bool); 4] = [
        ("F05.2", &|| giver(0, 67)),
        ("F05.3", &|| giver(1, 547)),
        ("F05.4", &|| {
            redirected(GATEWAY4, &redirect4, "snmp", "InType5")
        }),
        ("F05.5", &|| {
            redirected(GATEWAY6, &redirect6, "snmp6", "Icmp6InRedirects")
        }),
    ];
    twice(
        &rkt,
        &["giver of addresses", "router that is none"],
        &attacks,
    );
}

#[test]
fn the_metadata_address_is_closed_by_ipv6_too() {
    let Some(rkt) = Rkt::networked(TOOLS) else {
        return;
    };
    let pod = rkt.start(&["--net=default", PROBE, "--name=a", "--", "sleep"]);
    let own = addresses(&pod, "eth0");
    rkt.net().ip("addr add fd00:ec2::254/128 dev lo nodad");
    rkt.net().ip("addr add fd00:ec2::255/128 dev lo nodad");
    let got = serve(&rkt.net().path(), "[::]:80");
    let client = Client::new(&space(&pod), &format!("[{}]:0", bare(&own[1])));
    wait_for("its neighbour of the same host answers", 10, || {
        client.ask_once("[fd00:ec2::255]:80").is_some()
    });
    let asks = || {
        let before = got.load(Ordering::SeqCst);
        client.send("[fd00:ec2::254]:80");
        arrived(&got, before)
    };
    twice(&rkt, &["metadata of the host"], &[("F04.8", &asks)]);
}
