//! Pods on a bridge of the host, and on a device of it.

use super::{PROBE, addresses, bare, configured, host_ip, reaches, run_words};
use rkt_tests::{Need, Rkt};

const BUSYBOX: &[Need] = &[Need::Tool("busybox")];

const WEB: &str = r#"{ "cniVersion": "1.0.0", "name": "web", "plugins": [ { "type": "bridge",
    "bridge": "rktweb0", "isGateway": true, "hairpinMode": true,
    "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.89.1.0/24" }],
        [{ "subnet": "fd00:89:1::/64" }]] } } ] }"#;

const APART: &str = r#"{ "cniVersion": "1.0.0", "name": "apart", "plugins": [ { "type": "bridge",
    "bridge": "rktapart0", "isGateway": true, "portIsolation": true,
    "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.89.2.0/24" }]] } } ] }"#;

const OUTSIDE: &str = r#"{ "cniVersion": "1.0.0", "name": "outside", "plugins": [ { "type": "macvlan",
    "master": "plug", "mode": "bridge",
    "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.89.3.0/24" }]] } } ] }"#;

#[test]
fn pods_on_a_bridge_see_each_other_and_the_last_takes_it_along() {
    let Some(rkt) = Rkt::networked(BUSYBOX) else {
        return;
    };
    let config = configured(&rkt, &[("web", WEB)]);
    let words = [
        config.as_str(),
        "--net=web",
        PROBE,
        "--name=a",
        "--",
        "sleep",
    ];
    let (one, two) = (rkt.start(&words), rkt.start(&words));
    for (from, to) in [(&one, &two), (&two, &one)] {
        for address in addresses(to, "eth0") {
            assert!(reaches(from, bare(&address)), "{address}");
        }
        for gateway in ["10.89.1.1", "fd00:89:1::1"] {
            assert!(reaches(from, gateway), "{gateway}");
        }
    }
    let ports = host_ip(&rkt, "-details link show master rktweb0");
    assert_eq!(ports.as_array().unwrap().len(), 2, "{ports}");
    for port in ports.as_array().unwrap() {
        let data = &port["linkinfo"]["info_slave_data"];
        assert_eq!(
            (&data["hairpin"], &data["isolated"]),
            (&true.into(), &false.into())
        );
    }
    one.kill().ok();
    let name = "rktweb0";
    assert!(rkt.net().run(&format!("ip link show {name}")).status == 0);
    two.kill().ok();
    assert!(rkt.net().run(&format!("ip link show {name}")).status != 0);
}

#[test]
fn isolated_ports_keep_pods_apart_and_a_bridge_of_others_stays() {
    let Some(rkt) = Rkt::networked(BUSYBOX) else {
        return;
    };
    rkt.net().ip("link add rktapart0 type bridge");
    let config = configured(&rkt, &[("apart", APART)]);
    let words = [
        config.as_str(),
        "--net=apart",
        PROBE,
        "--name=a",
        "--",
        "sleep",
    ];
    let (one, two) = (rkt.start(&words), rkt.start(&words));
    let other = addresses(&two, "eth0");
    assert!(
        !reaches(&one, bare(&other[0])),
        "isolated ports let it through"
    );
    assert!(reaches(&one, "10.89.2.1"));
    one.kill().ok();
    two.kill().ok();
    rkt.net().ip("link show rktapart0");
}

#[test]
fn fifty_on_a_bridge_that_comes_and_goes() {
    let Some(rkt) = Rkt::networked(BUSYBOX) else {
        return;
    };
    let config = configured(&rkt, &[("web", WEB)]);
    let words = [
        config.as_str(),
        "--net=web",
        "--rm",
        PROBE,
        "--",
        "exit",
        "0",
    ];
    rkt.rkt(&run_words(&words)).ok();
    // Each of them may be the one that makes the bridge, and the one that takes it along.
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                for _ in 0..5 {
                    rkt.rkt(&run_words(&words)).ok();
                }
            });
        }
    });
    assert!(rkt.net().run("ip link show rktweb0").status != 0);
    rkt.leaves_nothing();
}

#[test]
fn a_macvlan_is_a_second_plug_of_a_device_of_the_host() {
    let Some(rkt) = Rkt::networked(BUSYBOX) else {
        return;
    };
    let world = rkt_tests::Netns::new();
    rkt.net().link(
        ("plug", "10.89.3.200/24"),
        &world,
        ("socket", "10.89.3.201/24"),
    );
    let config = configured(&rkt, &[("outside", OUTSIDE)]);
    let words = [
        config.as_str(),
        "--net=outside",
        PROBE,
        "--name=a",
        "--",
        "sleep",
    ];
    let (one, two) = (rkt.start(&words), rkt.start(&words));
    let other = addresses(&two, "eth0");
    assert!(reaches(&one, bare(&other[0])));
    assert!(reaches(&one, "10.89.3.201"), "the world outside");
    one.kill().ok();
    two.kill().ok();
    rkt.net().ip("link delete plug");
    let gone = rkt.rkt(&run_words(&words));
    assert_ne!(gone.status, 0);
    gone.is_one_clear_error().says("`plug`");
}
