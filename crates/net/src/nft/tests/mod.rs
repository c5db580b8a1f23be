//! The tables in the real kernel, in network namespaces of the tests' own; `nft` is the oracle.

mod lab;
mod traffic;

use super::*;
use rkt_sys::ns;
use std::process::Command;

/// Runs in a network namespace of its own.
fn alone<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            ns::unshare(ns::kind::NET).unwrap();
            test()
        });
        run.join().unwrap()
    })
}

fn nft(words: &[&str]) -> String {
    let done = Command::new("nft").args(words).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "nft {words:?}: {said}");
    String::from_utf8(done.stdout).unwrap()
}

fn pod(n: u8) -> Uuid {
    Uuid::from_random([n; 16])
}

fn link(n: u8) -> Link {
    Link {
        device: format!("rktv-{n}"),
        bridge: None,
        mac: Mac([2, 0, 0, 0, 0, n]),
        addresses: vec![
            format!("172.16.28.{n}/24").parse().unwrap(),
            format!("fd00:1::{n}/64").parse().unwrap(),
        ],
        gates: vec!["172.16.28.1".parse().unwrap(), "fd00:1::1".parse().unwrap()],
        masquerade: true,
        isolated: false,
        restricted: false,
        metadata: false,
        guest: false,
    }
}

fn port(host: &str, host_port: u16, to: &str) -> Published {
    Published {
        protocol: Protocol::Tcp,
        host: host.parse().unwrap(),
        host_port,
        to: to.parse().unwrap(),
        pod_port: 80,
    }
}

fn nobody(_: &Uuid) -> bool {
    false
}

#[test]
fn a_pod_comes_and_goes_without_a_trace() {
    alone(|| {
        let firewall = Firewall::open().unwrap();
        let bridged = Link {
            device: "rktv-9".into(),
            bridge: Some("br0".into()),
            isolated: true,
            restricted: true,
            metadata: true,
            ..link(9)
        };
        let links = [link(5), bridged];
        let ports = [
            port("127.0.0.1", 8080, "172.16.28.5"),
            port("::1", 8080, "fd00:1::5"),
            port("0.0.0.0", 8081, "172.16.28.5"),
            port("::", 8081, "fd00:1::5"),
        ];
        firewall.add(&pod(1), &links, &ports, &nobody).unwrap();
        let text = nft(&["list", "ruleset"]);
        for word in [
            "\"rktv-5\" comment",
            "type nat hook prerouting",
            "goto from_nowhere",
        ] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert_eq!(firewall.owners().unwrap(), [pod(1)]);
        firewall.remove(&pod(1), &links, &ports).unwrap();
        assert_eq!(nft(&["list", "ruleset"]), "");
    });
}

#[test]
fn what_the_dead_left_gives_way_and_what_the_living_have_does_not() {
    alone(|| {
        let firewall = Firewall::open().unwrap();
        let ports = [port("0.0.0.0", 8080, "172.16.28.5")];
        firewall.add(&pod(1), &[link(5)], &ports, &nobody).unwrap();
        let again = firewall.add(&pod(2), &[link(5)], &[], &nobody).unwrap_err();
        assert_eq!(again.kind(), Kind::Taken);
        assert!(again.to_string().contains(&pod(1).to_string()), "{again}");
        let port = firewall
            .add(&pod(2), &[link(6)], &ports, &nobody)
            .unwrap_err();
        assert_eq!(port.doing(), "publish port `0.0.0.0:8080/tcp`");
        assert_eq!(firewall.owners().unwrap(), [pod(1)]);
        let dead = |uuid: &Uuid| *uuid == pod(1);
        firewall.add(&pod(2), &[link(5)], &ports, &dead).unwrap();
        assert_eq!(firewall.owners().unwrap(), [pod(2)]);
        firewall.sweep(&|_| true).unwrap();
        assert_eq!(nft(&["list", "ruleset"]), "");
    });
}

#[test]
fn a_pod_of_which_a_part_is_gone_is_made_whole() {
    alone(|| {
        let firewall = Firewall::open().unwrap();
        let ports = [port("0.0.0.0", 8080, "172.16.28.5")];
        let links = [link(5)];
        firewall.add(&pod(1), &links, &ports, &nobody).unwrap();
        firewall.add(&pod(2), &[link(6)], &[], &nobody).unwrap();
        let elements = || {
            let text = nft(&["list", "ruleset"]);
            text.matches(&pod(1).to_string()).count()
        };
        let whole = elements();
        let gone = [
            "delete",
            "element",
            "inet",
            "rkt",
            "pods4",
            "{ 172.16.28.5 }",
        ];
        nft(&gone);
        assert_eq!(elements(), whole - 1);
        firewall.renew(&pod(1), &links, &ports, &nobody).unwrap();
        assert_eq!(elements(), whole);
        // What another has by now is the other's, and nothing has changed.
        nft(&gone);
        let thief = Link {
            guest: true,
            masquerade: false,
            addresses: link(5).addresses[..1].to_vec(),
            ..link(5)
        };
        nft(&[
            "delete",
            "element",
            "inet",
            "rkt",
            "from4",
            "{ 172.16.28.5 }",
        ]);
        nft(&[
            "delete",
            "element",
            "inet",
            "rkt",
            "home4",
            "{ 172.16.28.5 . 172.16.28.0/24 }",
        ]);
        firewall.add(&pod(3), &[thief], &[], &nobody).unwrap();
        let left = elements();
        let error = firewall
            .renew(&pod(1), &links, &ports, &nobody)
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Taken);
        assert_eq!(elements(), left);
        for n in [1, 2, 3] {
            firewall.sweep(&|owner| *owner == pod(n)).unwrap();
        }
        assert_eq!(nft(&["list", "ruleset"]), "");
    });
}

#[test]
fn a_flushed_ruleset_is_no_reason_to_fail() {
    alone(|| {
        let firewall = Firewall::open().unwrap();
        firewall.add(&pod(1), &[link(5)], &[], &nobody).unwrap();
        nft(&["flush", "ruleset"]);
        firewall.remove(&pod(1), &[link(5)], &[]).unwrap();
        nft(&["add", "table", "inet", "mine"]);
        firewall.add(&pod(1), &[link(5)], &[], &nobody).unwrap();
        firewall.add(&pod(2), &[link(6)], &[], &nobody).unwrap();
        nft(&[
            "delete",
            "element",
            "inet",
            "rkt",
            "pods4",
            "{ 172.16.28.5 }",
        ]);
        firewall.remove(&pod(1), &[link(5)], &[]).unwrap();
        assert_eq!(firewall.owners().unwrap(), [pod(2)]);
        firewall.remove(&pod(2), &[link(6)], &[]).unwrap();
        assert_eq!(nft(&["list", "ruleset"]).trim(), "table inet mine {\n}");
    });
}

#[test]
fn many_come_and_go_at_once() {
    alone(|| {
        let space = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
        std::thread::scope(|scope| {
            for n in 1..=8u8 {
                let space = &space;
                scope.spawn(move || {
                    ns::enter(std::os::fd::AsFd::as_fd(space), ns::kind::NET).unwrap();
                    let firewall = Firewall::open().unwrap();
                    for _ in 0..20 {
                        firewall.add(&pod(n), &[link(n)], &[], &nobody).unwrap();
                        firewall.remove(&pod(n), &[link(n)], &[]).unwrap();
                    }
                });
            }
        });
        assert_eq!(nft(&["list", "ruleset"]), "");
    });
}
