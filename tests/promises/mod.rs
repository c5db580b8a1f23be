//! Promises with numbers that hold on any machine; speed is `make bench`'s.

use rkt_tests::{Rkt, eyes};
use std::fs;

const PROBE: &str = "builtin:probe";

/// What a leak would make larger, of the whole host and of this rkt.
#[derive(Debug, PartialEq, Eq)]
struct Counts {
    processes: usize,
    cgroups: usize,
    mounts: usize,
    pods: usize,
    files: usize,
}

fn counts(rkt: &Rkt) -> Counts {
    let files = rkt_tests::command::tool("find", &[&rkt.top.display().to_string()])
        .lines()
        .count();
    Counts {
        processes: rkt.processes().len(),
        cgroups: rkt.cgroups().len(),
        mounts: rkt.mounts().len(),
        pods: rkt.pod_dirs().len(),
        files,
    }
}

#[test]
fn two_hundred_starts_and_stops_leak_nothing() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    // The first makes what stays: the store, the pinned namespace, the lock files.
    rkt.run(&[PROBE, "--", "exit", "0"]).ok();
    let block = base(&rkt);
    let before = counts(&rkt);
    for round in 0..200 {
        if round % 4 == 0 {
            let pod = rkt.start(&["--rm", PROBE, "--name=a", "--", "sleep"]);
            pod.kill().ok();
        } else {
            rkt.run(&[PROBE, "--", "exit", "0"]).ok();
        }
    }
    rkt.leaves_nothing();
    assert_eq!(counts(&rkt), before);
    // A block that was not given back would push every later pod to a higher one; what tests
    // beside this one hold comes back.
    rkt_tests::wait_for("an id block as low as before", 60, || base(&rkt) <= block);
}

/// First host id of a pod that is started now.
fn base(rkt: &Rkt) -> u64 {
    let pod = rkt.start(&["--rm", PROBE, "--name=a", "--", "sleep"]);
    let base = pod.app("a").base();
    pod.kill().ok();
    base
}

#[test]
fn two_hundred_enters_and_restarts_leak_no_descriptor() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[PROBE, "--name=a", "--", "sleep"]);
    let round = |n: u32| {
        if n.is_multiple_of(4) {
            rkt.rkt(&["app", "restart", "--force", &pod.uuid]).ok();
        } else {
            pod.enter(None, &["/rkt-probe", "exit", "0"]).ok();
        }
    };
    // What the first of each kind opens for good is not a leak.
    (0..4).for_each(round);
    let keepers = || -> Vec<(String, usize)> {
        let supervisor = pod.supervisor();
        let mut pids = eyes::children(supervisor);
        pids.push(supervisor);
        let mut open: Vec<_> = pids
            .into_iter()
            .filter_map(eyes::Process::read)
            .map(|p| (p.field("Name").to_owned(), p.descriptors().len()))
            .collect();
        open.sort();
        open
    };
    let before = keepers();
    assert!(before.len() >= 4, "{before:?}");
    (0..200).for_each(round);
    // What served the last enter may be on its way out.
    rkt_tests::wait_for("as many descriptors as before", 5, || keepers() == before);
}

#[test]
fn fifty_pods_start_at_once() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    rkt.run(&[PROBE, "--", "exit", "0"]).ok();
    std::thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| rkt.run(&[PROBE, "--", "exit", "0"]).ok());
        }
    });
    rkt.leaves_nothing();
}

#[test]
fn a_second_start_reads_no_byte_of_the_image() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    use rkt_tests::layout::Image;
    use rkt_tests::tar::Entry;
    let layout =
        Image::with_probe(&[Entry::file("big", vec![1; 32 << 20])]).write(&rkt.file("layout"));
    let id = rkt.rkt(&["fetch", "--quiet", &layout.reference()]).ok();
    fs::remove_dir_all(&layout.dir).unwrap();
    rkt.run(&[id.trim(), "--", "exit", "0"]).ok();
    let done = rkt.run(&[id.trim(), "--", "exit", "0"]).ends_with(0);
    assert!(done.took.as_millis() < 1000, "{done}");
}

#[test]
fn the_binary_as_released_does_not_know_how_to_weaken() {
    let Some(rkt) = Rkt::needs(&[rkt_tests::Need::Plain]) else {
        return;
    };
    let plain = Rkt::with(rkt_tests::need::plain().unwrap());
    let done = plain.run(&["--weaken=caps", PROBE, "--", "exit", "0"]);
    done.ends_with(254).is_one_clear_error().says("weaken");
    plain.run(&[PROBE, "--", "exit", "7"]).ends_with(7);
    drop(rkt);
}
