//! What goes through and what does not, with real packets.

use super::lab::{Lab, ask, on};
use super::*;
use crate::nft::obstacle;

fn two(host: &str, host6: &str, host_port: u16, net: u8, n: u8) -> [Published; 2] {
    [
        port(host, host_port, &format!("172.16.{net}.{n}")),
        port(host6, host_port, &format!("fd00:{net}::{n}")),
    ]
}

#[test]
fn pods_reach_out_and_nobody_reaches_in() {
    let lab = Lab::new();
    let (a, link_a) = lab.routed(20, 5);
    let (b, link_b) = lab.routed(20, 6);
    let (c, link_c) = lab.routed(21, 5);
    for (n, link) in [(1, &link_a), (2, &link_b), (3, &link_c)] {
        lab.add(n, std::slice::from_ref(link), &[]);
    }
    for address in ["0.0.0.0:80", "[::]:81"] {
        for place in [&a, &b, &c, &lab.outside] {
            place.serve(address);
        }
    }
    // Masqueraded outside, as they are within their network.
    assert_eq!(a.reach("10.9.0.2:80").unwrap(), "10.9.0.1");
    assert_eq!(a.reach("[fd09::2]:81").unwrap(), "fd09::1");
    assert_eq!(a.reach("172.16.20.6:80").unwrap(), "172.16.20.5");
    assert_eq!(a.reach("[fd00:20::6]:81").unwrap(), "fd00:20::5");
    // Another network and the outside.
    assert!(a.misses("172.16.21.5:80"));
    assert!(a.misses("[fd00:21::5]:81"));
    assert!(lab.dropped("pod of another network") >= 2);
    assert!(lab.outside.misses("172.16.20.5:80"));
    assert!(lab.outside.misses("[fd00:20::5]:81"));
    assert!(lab.dropped("port that is not published") >= 2);
    // The host itself reaches pods.
    assert_eq!(lab.host.reach("172.16.20.5:80").unwrap(), "172.16.20.1");
    // The controls: without the table nothing is in the way.
    lab.host.sh("nft delete table inet rkt");
    assert!(a.reach("172.16.21.5:80").is_some());
    assert!(lab.outside.reach("172.16.20.5:80").is_some());
}

#[test]
fn a_device_of_somebody_else_that_is_called_like_ours_is_left_alone() {
    let lab = Lab::new();
    let (_a, guarded) = lab.routed(20, 5);
    let (stranger, unknown) = lab.routed(21, 5);
    assert!(unknown.device.starts_with(crate::nft::DEVICES));
    lab.add(1, std::slice::from_ref(&guarded), &[]);
    lab.outside.serve("0.0.0.0:80");
    assert_eq!(stranger.reach("10.9.0.2:80").unwrap(), "172.16.21.5");
    assert_eq!(lab.dropped("not the address of this pod"), 0);
}

#[test]
fn isolated_and_restricted_pods_keep_to_themselves() {
    let lab = Lab::new();
    let (a, open) = lab.routed(20, 5);
    let (b, alone) = lab.routed(20, 6);
    let (c, closed) = lab.routed(31, 5);
    let (d, neighbour) = lab.routed(31, 6);
    let alone = Link {
        isolated: true,
        ..alone
    };
    let closed = Link {
        restricted: true,
        masquerade: false,
        ..closed
    };
    let neighbour = Link {
        restricted: true,
        masquerade: false,
        ..neighbour
    };
    for (n, link) in [(1, &open), (2, &alone), (3, &closed), (4, &neighbour)] {
        lab.add(n, std::slice::from_ref(link), &[]);
    }
    for place in [&a, &b, &c, &d, &lab.outside, &lab.host] {
        place.serve("0.0.0.0:80");
        place.serve("[::]:81");
    }
    assert!(a.misses("172.16.20.6:80"));
    assert!(b.misses("172.16.20.5:80"));
    assert!(b.reach("10.9.0.2:80").is_some());
    // Restricted: its network and the gateway, nothing else of the host, nothing outside.
    assert!(c.reach("172.16.31.6:80").is_some());
    assert!(c.reach("172.16.31.1:80").is_some());
    assert!(c.reach("[fd00:31::1]:81").is_some());
    assert!(c.misses("10.9.0.1:80"));
    assert!(c.misses("[fd09::1]:81"));
    assert!(c.misses("172.16.20.1:80"));
    assert!(lab.dropped("host from a restricted network") >= 3);
    assert!(c.misses("10.9.0.2:80"));
    assert!(c.misses("172.16.20.5:80"));
    assert!(lab.dropped("out of a restricted network") >= 2);
    // The host's link-local address is the host as well.
    let local = lab
        .host
        .sh("ip -6 -o addr show dev rktv-31-5 scope link | awk '{print $4}' | cut -d/ -f1");
    let scoped = format!("[{}%2]:81", local.trim());
    assert!(c.misses(&scoped));
    let from_open = lab
        .host
        .sh("ip -6 -o addr show dev rktv-20-5 scope link | awk '{print $4}' | cut -d/ -f1");
    assert!(a.reach(&format!("[{}%2]:81", from_open.trim())).is_some());
}

#[test]
fn forged_addresses_and_routers_are_dropped() {
    for bridged in [false, true] {
        let lab = Lab::new();
        let make = |n| match bridged {
            true => lab.bridged(20, n),
            false => lab.routed(20, n),
        };
        let (a, link) = make(5);
        let (b, other) = make(6);
        lab.add(1, std::slice::from_ref(&link), &[]);
        lab.add(2, std::slice::from_ref(&other), &[]);
        lab.host.serve("0.0.0.0:80");
        b.serve("0.0.0.0:80");
        assert!(a.reach("172.16.20.1:80").is_some());
        assert!(a.reach("172.16.20.6:80").is_some());
        let forged = || lab.dropped("not the address of this pod");
        let before = forged();
        // Another address.
        a.ip("addr add 172.16.20.9/24 dev eth0");
        let udp = a.udp("172.16.20.9:0");
        let _ = udp.send_to(b"?", "172.16.20.1:80");
        wait(|| forged() > before);
        // Another hardware address.
        let before = forged();
        a.ip("link set eth0 address 02:00:00:00:00:99");
        let udp = a.udp("172.16.20.5:0");
        let _ = udp.send_to(b"?", "172.16.20.1:80");
        wait(|| forged() > before);
        a.ip(&format!("link set eth0 address {}", link.mac));
        // The host's loopback and the metadata of a cloud.
        a.sh("ip addr flush dev lo; \
              ip route add 127.0.0.0/8 via 172.16.20.1 src 172.16.20.5; \
              echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet");
        let udp = a.udp("172.16.20.5:0");
        let _ = udp.send_to(b"?", "127.0.0.1:80");
        wait(|| lab.dropped("loopback of the host") > 0);
        let _ = udp.send_to(b"?", "169.254.169.254:80");
        wait(|| lab.dropped("metadata of the host") > 0);
    }
}

#[track_caller]
fn wait(mut ready: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !ready() {
        assert!(std::time::Instant::now() < end, "it did not happen");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn ports_lead_where_they_were_said_to_and_show_the_client() {
    // On a bridge the filters for IP may see packets already there (`br_netfilter`).
    for (bridged, twice) in [(false, false), (true, false), (true, true)] {
        let lab = Lab::new();
        let calls = u8::from(twice);
        lab.host.sh(&format!(
            "for f in /proc/sys/net/bridge/bridge-nf-call-ip*tables; do \
                 [ ! -e $f ] || echo {calls} > $f; done"
        ));
        let make = |n| match bridged {
            true => lab.bridged(20, n),
            false => lab.routed(20, n),
        };
        let (a, link_a) = make(5);
        let (b, link_b) = make(6);
        let mut ports = vec![];
        ports.extend(two("127.0.0.1", "::1", 8080, 20, 5));
        ports.extend(two("0.0.0.0", "::", 8081, 20, 5));
        ports.extend(two("10.9.0.1", "fd09::1", 8082, 20, 5));
        let udp = Published {
            protocol: Protocol::Udp,
            ..port("0.0.0.0", 8081, "172.16.20.5")
        };
        ports.push(udp);
        lab.add(1, std::slice::from_ref(&link_a), &ports);
        lab.add(2, std::slice::from_ref(&link_b), &[]);
        a.serve("0.0.0.0:80");
        a.serve("[fd00:20::5]:80");
        let gate = ("172.16.20.1", "fd00:20::1");
        // From the host's loopback: the gateway is the client.
        for n in [8080, 8081] {
            let got = lab.host.reach(&format!("127.0.0.1:{n}"));
            assert_eq!(got.unwrap(), gate.0, "{n} {bridged}");
            if twice {
                continue;
            }
            let got = lab.host.reach(&format!("[::1]:{n}"));
            assert_eq!(got.as_deref(), Some(gate.1), "{n} {bridged}");
        }
        assert_eq!(lab.host.reach("10.9.0.1:8081").unwrap(), "10.9.0.1");
        assert_eq!(lab.host.reach("10.9.0.1:8082").unwrap(), "10.9.0.1");
        // From outside: the true client, and only to what was said.
        assert_eq!(lab.outside.reach("10.9.0.1:8081").unwrap(), "10.9.0.2");
        assert_eq!(lab.outside.reach("[fd09::1]:8081").unwrap(), "fd09::2");
        assert_eq!(lab.outside.reach("10.9.0.1:8082").unwrap(), "10.9.0.2");
        assert_eq!(lab.outside.reach("[fd09::1]:8082").unwrap(), "fd09::2");
        assert!(lab.outside.misses("10.9.0.1:8080"));
        assert!(lab.outside.misses("[fd09::1]:8080"));
        // From another pod and from itself.
        assert!(b.reach("10.9.0.1:8081").is_some());
        if twice {
            // The bridge itself sends it back (`hairpinMode` of the network).
            let device = &link_a.device;
            lab.host.ip(&format!(
                "link set dev {device} type bridge_slave hairpin on"
            ));
        }
        assert!(a.reach("10.9.0.1:8081").is_some(), "{bridged} {twice}");
        let client = lab.outside.udp("10.9.0.2:0");
        assert_eq!(ask(&client, "10.9.0.1:8081").unwrap(), "10.9.0.2");
        // A neighbour that sends to the host's loopback: to a port that is published there alone.
        lab.outside.sh("ip addr flush dev lo; \
             ip route add 127.0.0.0/8 via 10.9.0.1 src 10.9.0.2; \
             echo 1 > /proc/sys/net/ipv4/conf/up0/route_localnet");
        assert!(lab.outside.misses("127.0.0.1:8080"));
        // It ends with the port, for the one who was connected as well.
        lab.remove(1, &[], &ports);
        assert!(ask(&client, "10.9.0.1:8081").is_none());
        assert!(lab.host.misses("127.0.0.1:8080"));
        lab.remove(1, &[link_a], &[]);
        lab.remove(2, &[link_b], &[]);
        assert_eq!(lab.host.sh("nft list ruleset"), "");
        let settings = "cat /proc/sys/net/ipv4/conf/*/route_localnet | sort -u; \
             ip -6 route show table local | grep '^local ::1 ' | grep -v 'dev lo' || true";
        if bridged {
            assert_eq!(lab.host.sh(settings), "0\n");
        }
    }
}

#[test]
fn rules_of_others_in_the_way_are_found_and_told() {
    let lab = Lab::new();
    let find = |link: &Link| {
        let links = [link.clone()];
        lab.host.run(move || obstacle::find(&links).unwrap())
    };
    let link = on(20, 5);
    assert_eq!(find(&link), []);
    let clear = |lab: &Lab| lab.host.sh("nft flush ruleset");
    for command in ["iptables-legacy", "iptables-nft"] {
        lab.host.sh(&format!("{command} -P FORWARD DROP"));
        let told = find(&link);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].to_string().contains("172.16.20.0/24"), "{told:?}");
        assert!(
            told[0]
                .remedy
                .starts_with("`iptables -I FORWARD -s 172.16.20.0/24 -j ACCEPT`")
        );
        let restricted = Link {
            restricted: true,
            ..link.clone()
        };
        assert_eq!(find(&restricted), []);
        lab.host
            .sh(&format!("{command} -I FORWARD -s 172.16.20.0/24 -j ACCEPT"));
        assert_eq!(find(&link), []);
        lab.host.sh(&format!(
            "{command} -F FORWARD; {command} -I FORWARD -i rktv+ -j ACCEPT"
        ));
        assert_eq!(find(&link), []);
        lab.host.sh(&format!(
            "{command} -F FORWARD; {command} -P FORWARD ACCEPT"
        ));
        assert_eq!(find(&link), []);
    }
    clear(&lab);
    lab.host.sh("nft -f - <<END
table inet firewalld {
    chain filter_FORWARD {
        type filter hook forward priority filter + 10; policy accept;
        ct state established accept
        reject with icmpx admin-prohibited
    }
}
END");
    let told = find(&link);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0]
            .remedy
            .contains("firewall-cmd --zone=trusted --add-source=172.16.20.0/24")
    );
    clear(&lab);
    lab.host.sh("nft add table ip6 mine; nft add chain ip6 mine f '{ type filter hook forward priority 0; policy drop; }'");
    let told = find(&link);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0]
            .remedy
            .contains("nft insert rule ip6 mine f ip6 saddr fd00:20::/64 accept")
    );
    lab.host
        .sh("nft insert rule ip6 mine f ip6 saddr fd00:20::/64 accept");
    assert_eq!(find(&link), []);
}
