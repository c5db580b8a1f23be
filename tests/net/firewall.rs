//! Attacks on the network, by whoever has every right in a pod's network namespace, and by a
//! neighbour of the host (rows F02, F04, F05 and F06 of the acceptance suite).
//!
//! The control of each is the same attack once more, without rkt's tables.

use super::{PROBE, addresses, bare, host_ip};
use rkt_tests::attack::record_held;
use rkt_tests::eyes::{Process, all_pids};
use rkt_tests::netns::run_in;
use rkt_tests::talk::{self, Client, arrived, misses, reach, serve};
use rkt_tests::{Need, Netns, Pod, Rkt, wait_for};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::Ordering;

const NFT: &[Need] = &[Need::Tool("nft")];

/// A host with a neighbour outside, which knows where pods are.
fn with_neighbour() -> Option<(Rkt, Netns)> {
    let rkt = Rkt::networked(NFT)?;
    let outside = Netns::new();
    let ends = (("up0", "10.9.0.1/24"), ("up0", "10.9.0.2/24"));
    rkt.net().link(ends.0, &outside, ends.1);
    outside.ip("route add 172.16.0.0/12 via 10.9.0.1");
    Some((rkt, outside))
}

/// Where a pod's network is.
fn space(pod: &Pod<'_>) -> String {
    talk::of(pod.init().pid)
}

/// Takes the firewall away, as a control.
fn without_tables(rkt: &Rkt) {
    rkt.net().run("nft delete table inet rkt").ok();
}

/// The device of the host that leads to a pod.
fn device_of(rkt: &Rkt, address: &str) -> String {
    let route = host_ip(rkt, &format!("route get {address}"));
    route[0]["dev"].as_str().unwrap().to_owned()
}

#[test]
fn a_pod_sends_from_its_own_addresses_only() {
    let Some(rkt) = Rkt::networked(NFT) else {
        return;
    };
    let pod = rkt.start(&["--net=default", PROBE, "--name=a", "--", "sleep"]);
    let own = addresses(&pod, "eth0");
    let own = bare(&own[0]);
    let got = serve(rkt.net().path().as_str(), "0.0.0.0:9000");
    let pid = pod.init().pid;
    let device = device_of(&rkt, own);
    run_in(pid, "ip addr add 172.16.28.222/32 dev eth0").ok();
    let by_address = || {
        let before = got.load(Ordering::SeqCst);
        let forger = Client::new(&space(&pod), "172.16.28.222:0");
        forger.send("172.16.28.1:9000");
        arrived(&got, before)
    };
    let mac = rkt_mac(pid);
    let by_mac = || {
        run_in(pid, "ip link set eth0 address 02:00:00:00:00:99").ok();
        let before = got.load(Ordering::SeqCst);
        Client::new(&space(&pod), &format!("{own}:0")).send("172.16.28.1:9000");
        let through = arrived(&got, before);
        run_in(pid, &format!("ip link set eth0 address {mac}")).ok();
        through
    };
    let honest = Client::new(&space(&pod), &format!("{own}:0"));
    assert_eq!(honest.ask("172.16.28.1:9000").unwrap(), own);
    let walled = (by_address(), by_mac());
    let rules = rkt.net().run("nft list chain inet rkt arrive").ok();
    assert!(
        !rules.contains("counter packets 0 "),
        "nothing was counted: {rules}"
    );
    without_tables(&rkt);
    // The kernel's own check of addresses is a second wall.
    for name in [device.as_str(), "all"] {
        let line = format!("busybox sysctl -w net.ipv4.conf.{name}.rp_filter=0");
        rkt.net().run(&line).ok();
    }
    let open = (by_address(), by_mac());
    record_held("F02.1", !walled.0, open.0);
    record_held("F02.2", !walled.1, open.1);
}

/// The hardware address of `eth0` in a process's network.
fn rkt_mac(pid: i32) -> String {
    let link = run_in(pid, "ip -json link show dev eth0").json();
    link[0]["address"].as_str().unwrap().to_owned()
}

#[test]
fn the_hosts_loopback_and_metadata_are_out_of_reach() {
    let Some(rkt) = Rkt::networked(NFT) else {
        return;
    };
    // With a port for clients on the loopback the kernel would let packets to 127.0.0.1 in.
    let words = [
        "--net=default",
        "--port=8080:80",
        PROBE,
        "--name=a",
        "--",
        "sleep",
    ];
    let pod = rkt.start(&words);
    let own = addresses(&pod, "eth0");
    let own = bare(&own[0]);
    let device = device_of(&rkt, own);
    let setting = format!("ipv4/conf/{device}/route_localnet");
    assert_eq!(rkt.net().sysctl(&setting), "1");
    assert_eq!(rkt.net().sysctl("ipv4/conf/all/route_localnet"), "0");
    let host = rkt.net().path();
    rkt.net().ip("addr add 169.254.169.254/32 dev lo");
    let loopback = serve(&host, "127.0.0.1:9000");
    let metadata = serve(&host, "169.254.169.254:80");
    let pid = pod.init().pid;
    run_in(pid, "ip addr flush dev lo").ok();
    run_in(
        pid,
        &format!("ip route add 127.0.0.0/8 via 172.16.28.1 src {own}"),
    )
    .ok();
    run_in(pid, "busybox sysctl -w net.ipv4.conf.eth0.route_localnet=1").ok();
    let attack = || {
        let client = Client::new(&space(&pod), &format!("{own}:0"));
        let before = (
            loopback.load(Ordering::SeqCst),
            metadata.load(Ordering::SeqCst),
        );
        client.send("127.0.0.1:9000");
        client.send("169.254.169.254:80");
        (arrived(&loopback, before.0), arrived(&metadata, before.1))
    };
    let walled = attack();
    without_tables(&rkt);
    let open = attack();
    record_held("F04.2", !walled.0, open.0);
    record_held("F04.3", !walled.1, open.1);
}

#[test]
fn pods_of_different_networks_do_not_meet() {
    let Some((rkt, outside)) = with_neighbour() else {
        return;
    };
    let shop = r#"{ "cniVersion": "1.0.0", "name": "shop", "plugins": [ { "type": "ptp",
        "ipam": { "type": "host-local", "subnet": "10.83.0.0/24" } } ] }"#;
    let option = super::configured(&rkt, &[("shop", shop)]);
    let start = |net: &str| rkt.start(&[&*option, net, PROBE, "--name=a", "--", "sleep"]);
    let a = start("--net=default");
    let port = "--port=0.0.0.0:8090:80";
    let b = rkt.start(&["--net=default", port, PROBE, "--name=a", "--", "sleep"]);
    let c = start("--net=default-restricted");
    let address = |pod: &Pod<'_>| bare(&addresses(pod, "eth0")[0]).to_owned();
    for pod in [&a, &b, &c] {
        serve(&space(pod), "0.0.0.0:80");
    }
    let host = rkt.net().path();
    serve(&host, "0.0.0.0:80");
    serve(&outside.path(), "0.0.0.0:80");
    // What is allowed: a network that says so, the host with its ports, the outside with the host's
    // address.
    let (d, e) = (start("--net=shop"), start("--net=shop"));
    serve(&space(&e), "0.0.0.0:80");
    assert!(reach(&space(&d), &format!("{}:80", address(&e))).is_some());
    assert!(reach(&space(&a), "10.9.0.1:8090").is_some());
    assert_eq!(reach(&space(&a), "10.9.0.2:80").unwrap(), "10.9.0.1");
    assert!(reach(&space(&c), "172.31.0.1:80").is_some());
    let to_c = format!("{}:80", address(&c));
    let to_a = format!("{}:80", address(&a));
    // On `default` nobody has said that they are to meet.
    let to_b = format!("{}:80", address(&b));
    assert!(misses(&space(&a), &to_b));
    // A route out, which a restricted pod does not have by itself.
    run_in(c.init().pid, "ip route add default via 172.31.0.1").ok();
    let attack = || {
        (
            !misses(&space(&a), &to_c),
            !misses(&space(&c), "10.9.0.1:80"),
            !misses(&space(&c), "10.9.0.2:80"),
            !misses(&outside.path(), &to_a),
        )
    };
    let walled = attack();
    without_tables(&rkt);
    // For the control the neighbour must find the way back without masquerade.
    outside.ip("route replace 172.31.0.0/16 via 10.9.0.1");
    assert!(reach(&space(&a), &to_b).is_some());
    let open = attack();
    record_held("F04.4", !walled.0, open.0);
    record_held("F04.5", !walled.1, open.1);
    record_held("F04.6", !walled.2, open.2);
    record_held("F06.2", !walled.3, open.3);
}

#[test]
fn a_port_of_the_loopback_is_no_neighbours() {
    let Some((rkt, outside)) = with_neighbour() else {
        return;
    };
    let words = ["--net=default", "--port=8080:80", "--port=0.0.0.0:8081:80"];
    let words = [&words[..], &[PROBE, "--name=a", "--", "sleep"]].concat();
    let pod = rkt.start(&words);
    serve(&space(&pod), "0.0.0.0:80");
    let host = rkt.net().path();
    assert_eq!(reach(&host, "127.0.0.1:8080").unwrap(), "172.16.28.1");
    // The true client (CVE-2021-20199).
    assert_eq!(reach(&outside.path(), "10.9.0.1:8081").unwrap(), "10.9.0.2");
    assert!(misses(&outside.path(), "10.9.0.1:8080"));
    // A neighbour that sends to 127.0.0.1, and a device of the host that would let it in.
    outside.ip("addr flush dev lo");
    outside.ip("route add 127.0.0.0/8 via 10.9.0.1 src 10.9.0.2");
    for namespace in [&outside, rkt.net()] {
        namespace
            .run("busybox sysctl -w net.ipv4.conf.up0.route_localnet=1")
            .ok();
    }
    let attack = || !misses(&outside.path(), "127.0.0.1:8080");
    let walled = attack();
    // A port forwarder that does not ask where a packet comes from.
    let address = bare(&addresses(&pod, "eth0")[0]).to_owned();
    without_tables(&rkt);
    for line in [
        "nft add table ip naive".to_owned(),
        "nft add chain ip naive pre { type nat hook prerouting priority -100 ; }".to_owned(),
        format!("nft add rule ip naive pre ip daddr 127.0.0.1 tcp dport 8080 dnat to {address}:80"),
    ] {
        rkt.net().run(&line).ok();
    }
    let open = attack();
    record_held("F06.1", !walled, open);
}

/// A filter by which the kernel has no `NETLINK_NETFILTER`, as one that was built without it.
fn no_netfilter() -> Vec<u8> {
    const SOCKET: u32 = 41;
    const NETLINK: u32 = 16;
    const NETFILTER: u32 = 12;
    const PROTONOSUPPORT: u32 = 93;
    let program: [(u16, u8, u8, u32); 8] = [
        (0x20, 0, 0, 0),
        (0x15, 0, 5, SOCKET),
        (0x20, 0, 0, 16),
        (0x15, 0, 3, NETLINK),
        (0x20, 0, 0, 32),
        (0x15, 0, 1, NETFILTER),
        (0x06, 0, 0, 0x0005_0000 | PROTONOSUPPORT),
        (0x06, 0, 0, 0x7fff_0000),
    ];
    let bytes = program.into_iter().flat_map(|(code, yes, no, value)| {
        let [a, b] = code.to_ne_bytes();
        let [c, d, e, f] = value.to_ne_bytes();
        [a, b, yes, no, c, d, e, f]
    });
    bytes.collect()
}

#[test]
fn a_kernel_without_nf_tables_is_told_and_nothing_stays() {
    let Some(rkt) = Rkt::networked(NFT) else {
        return;
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            rkt_sys::seccomp::load(&no_netfilter()).unwrap();
            let words = ["--net=default", PROBE, "--", "exit", "0"];
            rkt.run(&words)
                .is_one_clear_error()
                .says("the kernel has no nf_tables")
                .says("--net=none");
            rkt.run(&["--net=none", PROBE, "--", "exit", "0"]).ok();
        });
    });
    rkt.leaves_nothing();
    let leases = rkt.run_dir().join("net/default/leases");
    assert_eq!(std::fs::read_dir(leases).unwrap().count(), 0);
}

#[test]
fn a_pod_is_no_router_of_the_host() {
    use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, socket_with};
    let Some(rkt) = Rkt::networked(NFT) else {
        return;
    };
    let pod = rkt.start(&["--net=default", PROBE, "--name=a", "--", "sleep"]);
    let own = addresses(&pod, "eth0");
    let device = device_of(&rkt, bare(&own[0]));
    let pid = pod.init().pid;
    // rkt tells the device to believe no router; here it does, so that the rule is the only wall.
    let setting = format!("ipv6/conf/{device}/accept_ra");
    assert_eq!(rkt.net().sysctl(&setting), "0");
    for name in [
        "accept_ra=2",
        "autoconf=1",
        "accept_ra_pinfo=1",
        "accept_ra_defrtr=1",
    ] {
        let line = format!("busybox sysctl -w net.ipv6.conf.{device}.{name}");
        rkt.net().run(&line).ok();
    }
    let index = run_in(pid, "ip -json link show dev eth0").json()[0]["ifindex"].clone();
    let index = u32::try_from(index.as_u64().unwrap()).unwrap();
    // RFC 4861 4.2: hop limit 64, lifetime 1800 s; prefix fd66::/64 for addresses.
    let mut advertisement = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    advertisement.extend([3, 4, 64, 0xc0, 0, 0, 7, 8, 0, 0, 7, 8, 0, 0, 0, 0]);
    advertisement.extend([0xfd, 0x66, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let attack = || {
        for _ in 0..3 {
            let bytes = advertisement.clone();
            talk::inside(&space(&pod), move || {
                let raw = Some(ipproto::ICMPV6);
                let socket = socket_with(
                    AddressFamily::INET6,
                    SocketType::RAW,
                    SocketFlags::CLOEXEC,
                    raw,
                )
                .unwrap();
                rustix::net::sockopt::set_ipv6_multicast_hops(&socket, 255).unwrap();
                let all = "ff02::1".parse().unwrap();
                let to = std::net::SocketAddrV6::new(all, 0, 0, index);
                rustix::net::sendto(&socket, &bytes, SendFlags::empty(), &to).unwrap();
            });
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        let list = rkt.net().ip(&format!("-6 route show dev {device}"));
        list.contains("fd66::/64") || list.contains("proto ra")
    };
    let walled = attack();
    without_tables(&rkt);
    let open = attack();
    record_held("F05.1", !walled, open);
}

/// Processes of a network namespace, but for who is there anyway.
fn others_in(net: u64, known: &[i32]) -> Vec<Process> {
    let is_in = |pid: &i32| {
        let own = std::fs::metadata(format!("/proc/{pid}/ns/net"));
        !known.contains(pid) && own.is_ok_and(|own| own.ino() == net)
    };
    let there = all_pids().into_iter().filter(is_in);
    there.filter_map(Process::read).collect()
}

/// The kernel forgets rules by and by, and who closes their socket meanwhile waits.
#[test]
fn what_waits_for_the_kernel_after_the_end_of_a_pod_has_one_socket_and_goes() {
    let Some(rkt) = Rkt::networked(NFT) else {
        return;
    };
    let net = std::fs::metadata(rkt.net().path()).unwrap().ino();
    let known: Vec<i32> = all_pids();
    let mut seen = false;
    // It is there for a tenth of a second, which a busy machine may miss.
    for _ in 0..10 {
        rkt.run(&["--net=default", PROBE, "--", "exit", "0"]).ok();
        // Its first steps are to let go of what it was born with: it may be seen at those.
        let (mut found, mut left) = (false, BTreeMap::new());
        for eyes in std::iter::from_fn(|| others_in(net, &known).pop()) {
            found = true;
            left = eyes.descriptors();
            // And by what it hears that it is to end.
            let own = ["socket:", "pipe:", "anon_inode:[signalfd]"];
            let own = |to: &String| own.iter().any(|begins| to.starts_with(begins));
            if left.len() <= 3 && left.values().all(own) {
                left.clear();
                break;
            }
        }
        seen |= found;
        assert!(left.is_empty(), "{left:?}");
        let gone = || others_in(net, &known).is_empty();
        wait_for("what keeps the socket to go", 5, gone);
    }
    assert!(seen, "nobody keeps the socket: the end of a pod waits");
}

#[test]
fn a_ruleset_that_was_flushed_is_found_and_put_back() {
    let Some((rkt, outside)) = with_neighbour() else {
        return;
    };
    let bridge = r#"{ "cniVersion": "1.0.0", "name": "shop", "plugins": [ { "type": "bridge",
        "isGateway": true, "ipam": { "type": "host-local", "subnet": "10.83.0.0/24" } } ] }"#;
    let option = super::configured(&rkt, &[("shop", bridge)]);
    let port = "--port=0.0.0.0:8080:80";
    let words = ["--net=default", port, PROBE, "--name=a", "--", "sleep"];
    let pod = rkt.start(&words);
    let other = rkt.start(&[&option, "--net=shop", PROBE, "--name=a", "--", "sleep"]);
    serve(&space(&pod), "0.0.0.0:80");
    let check = |more: &[&str]| rkt.rkt(&[&["network", "check", &*option], more].concat());
    let all_well = "shop: ok\ndefault: ok\ndefault-restricted: ok\n";
    assert_eq!(check(&[]).ok(), all_well);
    let before = rkt.net().run("nft list ruleset").ok();
    rkt.net().run("nft flush ruleset").ok();
    assert!(misses(&outside.path(), "10.9.0.1:8080"));
    let found = check(&[]).ends_with(1).out;
    for (network, of) in [("default", &pod), ("shop", &other)] {
        let line = format!(
            "{network}: pod {} (eth0): the host's firewall has lost",
            of.uuid
        );
        assert!(found.contains(&line), "{found}");
    }
    let mended = check(&["--repair"]);
    assert_eq!(mended.clone().ok(), all_well);
    mended.says(&format!(
        "pod {}: its rules were gone and are back",
        pod.uuid
    ));
    assert!(reach(&outside.path(), "10.9.0.1:8080").is_some());
    // Counters and order aside, it is what it was.
    let words = |text: &str| {
        let lines = text.lines().filter(|l| !l.contains("counter packets"));
        let apart = |c: char| c.is_whitespace() || c == ',';
        let mut words: Vec<String> = lines
            .flat_map(|l| l.split(apart))
            .map(str::to_owned)
            .collect();
        words.retain(|w| !w.is_empty());
        words.sort();
        words
    };
    let after = rkt.net().run("nft list ruleset").ok();
    assert!(words(&after) == words(&before), "{before}\n---\n{after}");
    // A part of it gone counts as little as all of it there.
    assert_eq!(check(&["--repair"]).ok(), all_well);
    pod.stop().ok();
    other.stop().ok();
    rkt.gc();
    rkt.leaves_nothing();
}
