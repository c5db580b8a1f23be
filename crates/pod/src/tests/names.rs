//! Names: one owner at a time, whatever the race.

use super::Scratch;
use super::life::{owner, uuid};
use crate::{Kind, Pods, State};
use std::sync::Barrier;

#[test]
fn a_second_running_pod_of_the_same_name_is_refused() {
    let dir = Scratch::new();
    let pods = Pods::make(&dir.path).unwrap();
    let mut child = owner(&dir, uuid(1), Some("web"));
    let pod = pods.create(uuid(2)).unwrap().to_prepare().unwrap();
    let error = pod.claim_name(&"web".parse().unwrap()).unwrap_err();
    assert_eq!(error.kind(), Kind::Taken);
    assert_eq!(error.doing(), "take the pod name `web`");
    assert!(error.because().any(|b| b.contains(&uuid(1).to_string())));
    assert!(error.hint().unwrap().contains("rkt stop web"));
    pod.claim_name(&"web2".parse().unwrap()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let pod = pods.create(uuid(3)).unwrap().to_prepare().unwrap();
    pod.claim_name(&"web".parse().unwrap()).unwrap();
}

#[test]
fn a_prepared_pod_keeps_its_name_and_a_removed_one_does_not() {
    let dir = Scratch::new();
    let pods = Pods::make(&dir.path).unwrap();
    let name = "web".parse().unwrap();
    let pod = pods.create(uuid(1)).unwrap().to_prepare().unwrap();
    pod.claim_name(&name).unwrap();
    pod.claim_name(&name).unwrap();
    drop(pod.to_prepared().unwrap());
    let second = pods.create(uuid(2)).unwrap().to_prepare().unwrap();
    assert_eq!(second.claim_name(&name).unwrap_err().kind(), Kind::Taken);
    pods.find("web").unwrap().lock().unwrap().remove().unwrap();
    second.claim_name(&name).unwrap();
    assert_eq!(pods.names().unwrap().get(&name), Some(&uuid(2)));
}

#[test]
fn of_many_takers_of_an_ended_pods_name_one_wins() {
    let dir = Scratch::new();
    let pods = Pods::make(&dir.path).unwrap();
    let name = "web".parse().unwrap();
    for round in 0..20u8 {
        // An ended pod has the name.
        let old = pods.create(uuid(200)).unwrap().to_prepare().unwrap();
        old.claim_name(&name).unwrap();
        drop(old.to_run().unwrap().into_fd().unwrap());
        let start = Barrier::new(9);
        let mut kept = Vec::new();
        std::thread::scope(|scope| {
            let takers: Vec<_> = (1..=8u8)
                .map(|n| {
                    let (start, pods, name) = (&start, &pods, &name);
                    scope.spawn(move || {
                        let pod = pods.create(uuid(n)).unwrap().to_prepare().unwrap();
                        start.wait();
                        match pod.claim_name(name) {
                            Ok(()) => Some(pod),
                            Err(e) => {
                                assert_eq!(e.kind(), Kind::Taken, "{e}");
                                // Stays until all have tried.
                                std::thread::sleep(std::time::Duration::from_millis(2));
                                None
                            }
                        }
                    })
                })
                .collect();
            start.wait();
            // The old one is removed in the middle of it.
            let old = pods.get(uuid(200)).unwrap().unwrap().lock().unwrap();
            old.remove().unwrap();
            kept.extend(takers.into_iter().filter_map(|t| t.join().unwrap()));
        });
        assert_eq!(kept.len(), 1, "round {round}");
        assert_eq!(pods.find("web").unwrap().uuid(), kept[0].uuid());
        drop(kept);
        assert!(pods.names().unwrap().is_empty());
    }
}

#[test]
fn processes_that_race_for_a_name_agree_on_one_owner() {
    let dir = Scratch::new();
    let pods = Pods::make(&dir.path).unwrap();
    drop(pods);
    // `owner` panics in its process when it is refused, and then never says that it owns.
    let spawn = |n: u8| {
        std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::life::owner_process", "--nocapture"])
            .env("RKT_POD_TEST_DIR", &dir.path)
            .env("RKT_POD_TEST_UUID", uuid(n).to_string())
            .env("RKT_POD_TEST_NAME", "web")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut children: Vec<_> = (1..=6).map(spawn).collect();
    // The losers end by themselves; the winner waits to be killed.
    let mut owners = children.len();
    for _ in 0..3000 {
        owners = children
            .iter_mut()
            .filter_map(|c| c.try_wait().unwrap().is_none().then_some(()))
            .count();
        if owners <= 1 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let found = Pods::open(&dir.path).unwrap().find("web");
    for mut child in children {
        let _ = child.kill();
        let _ = child.wait();
    }
    assert_eq!(owners, 1);
    assert_eq!(found.unwrap().state(), State::Running);
}
