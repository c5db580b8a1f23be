//! Point-to-point networks: the built-in `default`.

use super::{PROBE, addresses, answers, bare, host_ip, ip};
use rkt_tests::netns::run_in;
use rkt_tests::{Need, Rkt};

const BUSYBOX: &[Need] = &[Need::Tool("busybox")];

#[test]
fn a_pod_has_an_address_a_gateway_and_a_way_out_in_both_families() {
    let Some(rkt) = Rkt::networked(BUSYBOX) else {
        return;
    };
    let pod = rkt.start(&["--net=default", PROBE, "--name=a", "--", "sleep"]);
    let own = addresses(&pod, "eth0");
    assert_eq!(own.len(), 2, "{own:?}");
    assert!(
        own[0].starts_with("172.16.28.") && own[0].ends_with("/24"),
        "{own:?}"
    );
    assert!(
        own[1].starts_with("fd") && own[1].ends_with("/64"),
        "{own:?}"
    );
    for (family, gateway) in [("-4", "172.16.28.1"), ("-6", "fd72:6b74:0:1c::1")] {
        let routes = ip(&pod, &format!("{family} route show default"));
        assert_eq!(routes[0]["gateway"], gateway, "{routes}");
        assert_eq!(routes[0]["dev"], "eth0");
    }
    // The host reaches the pod, and the pod the host, each by the device that is this pod's alone.
    for address in &own {
        let address = bare(address);
        let route = host_ip(&rkt, &format!("route get {address}"));
        let device = route[0]["dev"].as_str().unwrap();
        assert!(device.starts_with("rkt"), "{route}");
        assert!(answers(&rkt, address), "{address} does not answer");
    }
    for gateway in ["172.16.28.1", "fd72:6b74:0:1c::1"] {
        let line = format!("busybox ping -c 1 -W 5 {gateway}");
        run_in(pod.init().pid, &line).ok();
    }
    // There is no time in which an address is tried out, and none that a router gave.
    let six = ip(&pod, "-6 addr show dev eth0");
    for one in six[0]["addr_info"].as_array().unwrap() {
        assert!(
            one["tentative"].is_null() && one["dynamic"].is_null(),
            "{one}"
        );
    }
    pod.stop().ok();
    assert!(
        host_ip(&rkt, "route show 172.16.28.0/24")
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[test]
fn the_hosts_end_trusts_nothing_that_comes_from_the_pod() {
    let Some(rkt) = Rkt::networked(BUSYBOX) else {
        return;
    };
    let pod = rkt.start(&["--net=default", PROBE, "--name=a", "--", "sleep"]);
    let own = addresses(&pod, "eth0");
    let route = host_ip(&rkt, &format!("route get {}", bare(&own[0])));
    let device = route[0]["dev"].as_str().unwrap().to_owned();
    for (setting, value) in [
        ("ipv4/conf/DEV/rp_filter", "1"),
        ("ipv4/conf/DEV/accept_redirects", "0"),
        ("ipv4/conf/DEV/send_redirects", "0"),
        ("ipv4/conf/DEV/accept_source_route", "0"),
        ("ipv4/conf/DEV/arp_ignore", "1"),
        ("ipv4/conf/DEV/route_localnet", "0"),
        ("ipv6/conf/DEV/accept_ra", "0"),
        ("ipv6/conf/DEV/accept_redirects", "0"),
    ] {
        let path = setting.replace("DEV", &device);
        assert_eq!(rkt.net().sysctl(&path), value, "{path}");
    }
    let inside = |path: &str| {
        let line = format!("cat /proc/sys/net/{path}");
        run_in(pod.init().pid, &line).ok().trim().to_owned()
    };
    assert_eq!(inside("ipv6/conf/eth0/accept_ra"), "0");
    for (setting, value) in [
        ("conf/eth0/accept_redirects", "0"),
        ("conf/all/accept_redirects", "0"),
        ("conf/eth0/send_redirects", "0"),
        ("conf/all/send_redirects", "0"),
        ("conf/all/rp_filter", "2"),
        ("ip_unprivileged_port_start", "0"),
    ] {
        assert_eq!(inside(&format!("ipv4/{setting}")), value, "{setting}");
    }
}

#[test]
fn fifty_at_once_get_fifty_addresses_and_give_them_back() {
    let Some(rkt) = Rkt::networked(BUSYBOX) else {
        return;
    };
    // Readies the store.
    rkt.run(&[PROBE, "--", "exit", "0"]).ok();
    let pods: Vec<_> = std::thread::scope(|scope| {
        let start = || rkt.start(&["--net=default", "--rm", PROBE, "--name=a", "--", "sleep"]);
        let all: Vec<_> = (0..50).map(|_| scope.spawn(start)).collect();
        all.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let all: std::collections::HashSet<String> =
        pods.iter().flat_map(|p| addresses(p, "eth0")).collect();
    assert_eq!(all.len(), 100);
    for address in all.iter().filter(|a| !a.contains(':')).take(5) {
        assert!(answers(&rkt, bare(address)));
    }
    for pod in &pods {
        pod.kill().ok();
    }
    rkt.leaves_nothing();
    let leases = rkt.run_dir().join("net/default/leases");
    assert_eq!(std::fs::read_dir(leases).unwrap().count(), 0);
    let routes = host_ip(&rkt, "route show 172.16.28.0/24");
    assert!(routes.as_array().unwrap().is_empty(), "{routes}");
}

#[test]
fn no_net_is_the_default_network_and_forwarding_is_told_once() {
    let Some(rkt) = Rkt::networked(BUSYBOX) else {
        return;
    };
    // A namespace begins with what the host has.
    let off = "sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0";
    rkt.net().run(off).ok();
    let words = ["run", "--rm", PROBE, "--", "list", "/sys/class/net"];
    let first = rkt.rkt(&words).ends_with(0);
    let devices: Vec<&str> = first.out.split_whitespace().collect();
    assert_eq!(devices, ["eth0", "lo"]);
    let told = "turning on net.ipv4.ip_forward and net.ipv6.conf.all.forwarding";
    assert_eq!(first.err.matches(told).count(), 1, "{first}");
    for path in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        assert_eq!(rkt.net().sysctl(path), "1", "{path}");
    }
    let second = rkt.rkt(&words).ends_with(0);
    assert!(!second.err.contains("turning on"), "{second}");
}
