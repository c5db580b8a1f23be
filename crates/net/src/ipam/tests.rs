//! Leases: given once, back, and never to two; quick with ten thousand.

use super::*;
use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("rkt-ipam-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn ledger(&self) -> Ledger {
        Ledger::open(&self.0, &NetworkName::new("n").unwrap()).unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn pool(subnet: &str, first: &str, last: &str, gateway: Option<&str>) -> Pool {
    Pool {
        subnet: subnet.parse().unwrap(),
        first: first.parse().unwrap(),
        last: last.parse().unwrap(),
        gateway: gateway.map(|g| g.parse().unwrap()),
        wanted: None,
    }
}

fn small() -> Pool {
    pool("10.9.8.0/29", "10.9.8.0", "10.9.8.7", Some("10.9.8.1"))
}

fn uuid(n: u8) -> Uuid {
    Uuid::from_random([n; 16])
}

#[test]
fn addresses_go_round_and_never_are_the_gateways_or_the_subnets_own() {
    let dir = Dir::new("round");
    let ledger = dir.ledger();
    let held = ledger.hold().unwrap();
    let take = || held.take(&small(), uuid(1)).map(|l| (l.name.clone(), l));
    let mut leases: Vec<_> = (0..5).map(|_| take().unwrap()).collect();
    let names: Vec<&str> = leases.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(
        names,
        ["10.9.8.2", "10.9.8.3", "10.9.8.4", "10.9.8.5", "10.9.8.6"]
    );
    let full = take().unwrap_err();
    assert_eq!(full.kind(), Kind::Full);
    assert!(full.to_string().contains("10.9.8.0/29"), "{full}");
    // The one that is free again comes last, not next.
    held.give_back(leases.remove(4).1).unwrap();
    held.give_back(leases.remove(0).1).unwrap();
    assert_eq!(take().unwrap().0, "10.9.8.2");
}

#[test]
fn what_a_dead_pod_left_is_known_and_used_when_all_else_is_taken() {
    let dir = Dir::new("dead");
    let ledger = dir.ledger();
    let held = ledger.hold().unwrap();
    let mut leases: Vec<_> = (0..5)
        .map(|n| held.take(&small(), uuid(n)).unwrap())
        .collect();
    assert!(leases.iter().all(|l| l.left_by.is_none()));
    // Closed without being given back, as when its supervisor is killed.
    drop(leases.remove(2));
    let again = held.take(&small(), uuid(9)).unwrap();
    assert_eq!(again.name, "10.9.8.4");
    assert_eq!(again.left_by, Some(uuid(2)));
    assert_eq!(held.owner(again.address.unwrap()), Some(uuid(9)));
    drop(leases.remove(0));
    let dead = held.dead().unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].left_by, Some(uuid(0)));
    for lease in dead {
        held.give_back(lease).unwrap();
    }
    assert!(held.dead().unwrap().is_empty());
    assert_eq!(held.take(&small(), uuid(8)).unwrap().left_by, None);
}

#[test]
fn the_wanted_address_is_given_or_the_reason_told() {
    let dir = Dir::new("wanted");
    let ledger = dir.ledger();
    let held = ledger.hold().unwrap();
    let want = |text: &str| {
        let pool = Pool {
            wanted: Some(text.parse().unwrap()),
            ..pool("10.9.8.0/24", "10.9.8.10", "10.9.8.99", Some("10.9.8.1"))
        };
        held.take(&pool, uuid(3))
    };
    let lease = want("10.9.8.50").unwrap();
    let taken = want("10.9.8.50").unwrap_err();
    assert_eq!(taken.kind(), Kind::Taken);
    assert!(taken.to_string().contains(&uuid(3).to_string()), "{taken}");
    for (text, why) in [
        ("10.9.9.1", "not in the subnet `10.9.8.0/24`"),
        ("10.9.8.1", "the gateway's"),
        ("10.9.8.0", "the subnet `10.9.8.0/24` itself"),
        ("10.9.8.255", "the subnet `10.9.8.0/24` itself"),
        ("10.9.8.9", "`10.9.8.10` to `10.9.8.99`"),
        ("fd00::1", "not in the subnet"),
    ] {
        let error = want(text).unwrap_err();
        assert_eq!(error.kind(), Kind::Request, "{text}");
        assert!(error.to_string().contains(why), "{error}");
    }
    held.give_back(lease).unwrap();
    want("10.9.8.50").unwrap();
}

#[test]
fn a_large_subnet_of_ipv6_gives_the_first_and_any_that_is_wanted() {
    let dir = Dir::new("six");
    let ledger = dir.ledger();
    let held = ledger.hold().unwrap();
    let all = "fd00::ffff:ffff:ffff:ffff";
    let mut pool = pool("fd00::/64", "fd00::1", all, Some("fd00::1"));
    let one = held.take(&pool, uuid(1)).unwrap();
    assert_eq!(one.name, "fd00::2");
    for wanted in ["fd00::8000:0:0:5", all, "fd00::3"] {
        pool.wanted = Some(wanted.parse().unwrap());
        let lease = held.take(&pool, uuid(1)).unwrap();
        assert_eq!(held.take(&pool, uuid(2)).unwrap_err().kind(), Kind::Taken);
        held.give_back(lease).unwrap();
    }
}

#[test]
fn fifty_at_once_get_fifty_addresses() {
    let dir = Dir::new("fifty");
    let pool = pool("10.0.0.0/16", "10.0.0.1", "10.0.255.254", Some("10.0.0.1"));
    let take = || dir.ledger().hold().unwrap().take(&pool, uuid(1)).unwrap();
    let leases: Vec<Lease> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..50).map(|_| scope.spawn(take)).collect();
        all.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let distinct: HashSet<IpAddr> = leases.iter().filter_map(|l| l.address).collect();
    assert_eq!(distinct.len(), 50);
}

#[test]
fn the_last_of_ten_thousand_is_found_without_a_look_at_the_others() {
    let dir = Dir::new("many");
    let ledger = dir.ledger();
    let held = ledger.hold().unwrap();
    let last = "10.0.39.17";
    let pool = pool("10.0.0.0/16", "10.0.0.2", last, Some("10.0.0.1"));
    // The leases are there but not open: a process has not so many descriptors.
    for _ in 0..10_000 {
        held.take(&pool, uuid(1)).unwrap();
    }
    let mut wanted = pool.clone();
    wanted.wanted = Some("10.0.3.9".parse().unwrap());
    let lease = held.take(&wanted, uuid(2)).unwrap();
    held.give_back(lease).unwrap();
    let best = (0..20)
        .map(|_| {
            let before = Instant::now();
            let lease = held.take(&pool, uuid(3)).unwrap();
            let took = before.elapsed();
            assert_eq!(lease.name, "10.0.3.9");
            held.give_back(lease).unwrap();
            took
        })
        .min()
        .unwrap();
    // A look at each would be 10 000 calls, some milliseconds at the least.
    assert!(best < Duration::from_millis(1), "{best:?}");
}
