//! Networks that others make, plugins and `pasta`, beside rkt's own: whom their pods must not reach.

use super::{PROBE, addresses, bare, plugins};
use rkt_tests::netns::Netns;
use rkt_tests::talk::{self, misses, reach, serve};
use rkt_tests::{Need, Pod};
use std::fs;

fn space(pod: &Pod<'_>) -> String {
    talk::of(pod.init().pid)
}

/// Where such a pod answers.
fn server(pod: &Pod<'_>) -> String {
    serve(&space(pod), "0.0.0.0:80");
    format!("{}:80", bare(&addresses(pod, "eth0")[0]))
}

#[test]
fn pods_of_plugins_do_not_meet_those_of_other_networks() {
    let list = plugins::chained("1.0.0");
    let Some((rkt, option)) = plugins::configured_with(&list, &plugins::needs()) else {
        return;
    };
    let leases = rkt.file("leases").display().to_string();
    let far = list
        .replace("LEASES", &leases)
        .replace("\"lab\"", "\"far\"")
        .replace("lab0", "far0")
        .replace("10.77.", "10.78.");
    fs::write(rkt.file("etc/net.d/11-far.conflist"), far).unwrap();
    let start = |net: &str| rkt.start(&[&option, net, PROBE, "--", "sleep"]);
    let (a, b) = (start("--net=lab"), start("--net=lab"));
    let (far, own) = (start("--net=far"), start("--net=default"));
    let [at_a, at_b, at_far, at_own] = [&a, &b, &far, &own].map(server);
    assert!(reach(&space(&a), &at_b).is_some());
    for (from, to) in [(&a, &at_far), (&far, &at_a), (&a, &at_own), (&own, &at_a)] {
        assert!(misses(&space(from), to), "{to}");
    }
    // The host reaches them all, and one of another network when nothing is in the way.
    assert!(reach(&rkt.net().path(), &at_far).is_some());
    rkt.net().run("nft delete table inet rkt").ok();
    assert!(reach(&space(&a), &at_far).is_some());
    for pod in [a, b, far, own] {
        pod.stop().ok();
    }

    // Who was killed leaves nothing either, once somebody looks.
    let killed = start("--net=lab");
    let ruleset = || rkt.net().run("nft list ruleset").ok();
    assert!(ruleset().contains(&killed.uuid), "{}", ruleset());
    let supervisor = killed.supervisor();
    rkt_tests::host::kill(supervisor);
    rkt_tests::wait_for("the end of the supervisor", 20, || {
        !fs::exists(format!("/proc/{supervisor}")).unwrap()
    });
    rkt.gc();
    assert!(!ruleset().contains("table inet rkt "), "{}", ruleset());
    rkt.leaves_nothing();
}

#[test]
fn the_metadata_address_is_closed_by_way_of_others_too() {
    let needs = [&plugins::needs()[..], &[Need::Tool("pasta")]].concat();
    let list = plugins::chained("1.0.0");
    let Some((rkt, option)) = plugins::configured_with(&list, &needs) else {
        return;
    };
    let host = rkt.net().path();
    for address in ["169.254.169.254/32", "198.51.100.7/32"] {
        rkt.net().ip(&format!("addr add {address} dev lo"));
    }
    let (metadata, other) = ("169.254.169.254:80", "198.51.100.7:80");
    serve(&host, metadata);
    serve(&host, other);
    assert!(reach(&host, metadata).is_some());
    let world = Netns::new();
    let ends = [("up0", "192.0.2.2/24"), ("up1", "192.0.2.1/24")];
    rkt.net().link(ends[0], &world, ends[1]);
    rkt.net().ip("route add default via 192.0.2.1");
    for net in ["--net=lab", "--net=pasta"] {
        let pod = rkt.start(&[&option, net, PROBE, "--", "sleep"]);
        assert!(reach(&space(&pod), other).is_some(), "{net}");
        assert!(misses(&space(&pod), metadata), "{net}");
        // Without the rule it is there.
        talk::inside(&space(&pod), || {
            let mut nft = std::process::Command::new("nft");
            nft.args(["delete", "table", "inet", "rkt"]);
            rkt_tests::command::run(nft, None).ok();
        });
        assert!(reach(&space(&pod), metadata).is_some(), "{net}");
        pod.stop().ok();
    }
    rkt.gc();
    rkt.leaves_nothing();
}
