//! Which address a pod gets, who else can have it, and that every one comes back.

use super::{PROBE, addresses, answers, bare, configured, host_ip, run_words};
use rkt_tests::{Need, Rkt, host};
use std::fs;

const BUSYBOX: &[Need] = &[Need::Tool("busybox")];

/// A point-to-point network of six addresses, one of them the gateway's.
const SMALL: &str = r#"{ "cniVersion": "1.0.0", "name": "small", "plugins": [ { "type": "ptp",
    "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.88.7.0/29" }]] } } ] }"#;

/// Leases of a network that are written down.
fn leases(rkt: &Rkt, network: &str) -> Vec<String> {
    let dir = rkt.run_dir().join("net").join(network).join("leases");
    let list = fs::read_dir(dir).into_iter().flatten().flatten();
    list.map(|e| e.file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn the_wanted_address_is_had_or_refused_with_the_reason() {
    let Some(rkt) = Rkt::networked(BUSYBOX) else {
        return;
    };
    let want = "--net=default:IP=172.16.28.77";
    let pod = rkt.start(&[want, PROBE, "--name=a", "--", "sleep"]);
    assert_eq!(addresses(&pod, "eth0")[0], "172.16.28.77/24");
    assert!(answers(&rkt, "172.16.28.77"));
    let taken = rkt.rkt(&["run", "--rm", want, PROBE, "--", "exit", "0"]);
    assert_ne!(taken.status, 0);
    taken
        .is_one_clear_error()
        .says("172.16.28.77")
        .says(&pod.uuid);
    for outside in ["10.0.0.9", "172.16.28.1", "172.16.28.255"] {
        let net = format!("--net=default:IP={outside}");
        let done = rkt.rkt(&["run", "--rm", &net, PROBE, "--", "exit", "0"]);
        assert_ne!(done.status, 0, "{outside}");
        done.is_one_clear_error().says(outside);
    }
    pod.kill().ok();
    // Free at once, however often.
    for _ in 0..3 {
        rkt.rkt(&["run", "--rm", want, PROBE, "--", "exit", "0"])
            .ok();
    }
    assert!(leases(&rkt, "default").is_empty());
}

#[test]
fn a_network_that_is_full_says_so_and_leaves_nothing() {
    let Some(rkt) = Rkt::networked(BUSYBOX) else {
        return;
    };
    let config = configured(&rkt, &[("small", SMALL)]);
    let words = [
        config.as_str(),
        "--net=small",
        PROBE,
        "--name=a",
        "--",
        "sleep",
    ];
    let mut pods: Vec<_> = (0..5).map(|_| rkt.start(&words)).collect();
    let full = rkt.rkt(&run_words(&words));
    assert_ne!(full.status, 0);
    full.is_one_clear_error()
        .says("10.88.7.0/29")
        .says("is taken");
    assert_eq!(leases(&rkt, "small").len(), 5);
    assert_eq!(
        rkt.pod_dirs().len(),
        6,
        "the pod that did not start is kept as ended"
    );
    let given = addresses(&pods[2], "eth0");
    pods.remove(2).kill().ok();
    let next = rkt.start(&words);
    assert_eq!(addresses(&next, "eth0"), given);
}

#[test]
fn what_a_killed_supervisor_left_is_no_obstacle_and_gc_removes_it() {
    let Some(rkt) = Rkt::networked(BUSYBOX) else {
        return;
    };
    let want = "--net=default:IP=172.16.28.66";
    let words = [want, PROBE, "--name=a", "--", "sleep"];
    let pod = rkt.start(&words);
    host::kill(pod.supervisor());
    rkt_tests::wait_for("the end of the pod", 20, || pod.state() != "running");
    assert!(leases(&rkt, "default").contains(&"172.16.28.66".to_owned()));
    // At once, while the kernel may still take the old device apart.
    let again = rkt.start(&words);
    assert_eq!(addresses(&again, "eth0")[0], "172.16.28.66/24");
    assert!(answers(&rkt, "172.16.28.66"));
    host::kill(again.supervisor());
    rkt_tests::wait_for("the end of the pod", 20, || again.state() != "running");
    rkt.gc().ends_with(0);
    assert!(leases(&rkt, "default").is_empty());
    rkt.leaves_nothing();
    rkt_tests::wait_for("the end of its device", 20, || {
        let links = host_ip(&rkt, "link show");
        links.as_array().is_some_and(|l| l.len() == 1)
    });
}

#[test]
fn a_lost_run_directory_gives_no_address_twice() {
    let Some(rkt) = Rkt::networked(BUSYBOX) else {
        return;
    };
    let words = ["--net=default", PROBE, "--name=a", "--", "sleep"];
    let first = rkt.start(&words);
    let had = addresses(&first, "eth0");
    fs::remove_dir_all(rkt.run_dir().join("net")).unwrap();
    let second = rkt.start(&words);
    let has = addresses(&second, "eth0");
    assert!(has.iter().all(|a| !had.contains(a)), "{had:?} {has:?}");
    for address in had.iter().chain(&has) {
        assert!(answers(&rkt, bare(address)), "{address}");
    }
    second.kill().ok();
    first.kill().ok();
    rkt.gc().ends_with(0);
    rkt.leaves_nothing();
}

#[test]
fn a_host_without_ipv6_gives_ipv4() {
    let Some(rkt) = Rkt::networked(BUSYBOX) else {
        return;
    };
    let off = "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1";
    rkt.net().run(off).ok();
    let pod = rkt.start(&["--net=default", PROBE, "--name=a", "--", "sleep"]);
    let own = addresses(&pod, "eth0");
    assert_eq!(own.len(), 1, "{own:?}");
    assert!(answers(&rkt, bare(&own[0])));
}
