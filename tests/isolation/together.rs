//! Limits of the pod: what its apps take together.

use super::resources::{made, ticks, two};
use rkt_tests::{Need, Pod, Rkt, host, wait_for};
use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const EATEN: &str = "30000000";

/// A file of the pod's own cgroup, by its name in version 1 or 2.
fn of_pod(pod: &Pod<'_>, rkt: &Rkt, controller: &str, names: [&str; 2]) -> String {
    let root = host::controller_root(controller).unwrap();
    let dir = root.join(&rkt.cgroup).join(&pod.uuid);
    let mut texts = names
        .iter()
        .filter_map(|name| fs::read_to_string(dir.join(name)).ok());
    let text = texts.next();
    let text = text.unwrap_or_else(|| panic!("none of {names:?} in {}", dir.display()));
    text.trim().to_owned()
}

fn entered(rkt: &Rkt, pod: &Pod<'_>, app: &str, words: &[&str], out: Stdio) -> Child {
    let app = format!("--app={app}");
    let mut line = vec!["enter", &app, &pod.uuid, "/rkt-probe"];
    line.extend(words);
    rkt.command(&line).stdout(out).spawn().unwrap()
}

fn end(pod: &Pod<'_>, children: &mut [Child]) {
    if pod.state() == "running" {
        pod.kill().ok();
    }
    for child in children {
        let _ = rkt_tests::command::wait(child, Duration::from_secs(20));
    }
}

/// Each app takes what fits alone; whether both had it.
fn both_eat(rkt: &Rkt, pod: &Pod<'_>) -> bool {
    let mut eaters = Vec::new();
    let mut outputs = Vec::new();
    let mut both = true;
    for app in ["blue", "red"] {
        let out = rkt.file(&format!("{app}-of-{}", pod.uuid));
        let file = fs::File::create(&out).unwrap();
        let words = ["eat-memory", EATEN];
        eaters.push(entered(rkt, pod, app, &words, file.into()));
        outputs.push(out);
        let has_eaten = |n: usize| fs::read_to_string(&outputs[n]).unwrap().starts_with("ate ");
        let mut status = None;
        let last = eaters.len() - 1;
        wait_for("somebody has eaten or is dead", 20, || {
            let ended = eaters.iter_mut().find_map(|e| e.try_wait().unwrap());
            status = ended;
            ended.is_some() || has_eaten(last)
        });
        if let Some(status) = status {
            assert_eq!(status.code(), Some(137), "{app}");
            assert_eq!(app, "red", "one alone fits");
            both = false;
        }
    }
    end(pod, &mut eaters);
    both
}

#[test]
fn memory_of_the_pod_is_that_of_all_its_apps() {
    let Some(rkt) = Rkt::needs(&[Need::Controller("memory")]) else {
        return;
    };
    let pod = two(&rkt, &["--pod-memory=48Mi"], &[]);
    let names = ["memory.limit_in_bytes", "memory.max"];
    assert_eq!(of_pod(&pod, &rkt, "memory", names), "50331648");
    rkt.rkt(&["audit", &pod.uuid]).ok();
    assert!(!both_eat(&rkt, &pod), "60 MB in 48 MiB");
    let free = two(&rkt, &[], &[]);
    assert!(both_eat(&rkt, &free), "they fit where nothing bounds them");
}

#[test]
fn processor_time_of_the_pod_is_that_of_all_its_apps() {
    let Some(rkt) = Rkt::needs(&[Need::Controller("cpu")]) else {
        return;
    };
    let used = |limit: &[&str]| {
        let pod = two(&rkt, limit, &[]);
        if !limit.is_empty() {
            let names = ["cpu.cfs_quota_us", "cpu.max"];
            let text = of_pod(&pod, &rkt, "cpu", names);
            assert_eq!(text.split(' ').next(), Some("20000"));
            rkt.rkt(&["audit", &pod.uuid]).ok();
        }
        let apps = ["blue", "red"];
        let mut spinners = apps.map(|app| entered(&rkt, &pod, app, &["spin"], Stdio::null()));
        wait_for("two who spin", 20, || {
            apps.iter().all(|app| pod.app_processes(app).len() == 2)
        });
        let all = || apps.map(|app| ticks(&pod, app));
        let (before, begin) = (all(), Instant::now());
        std::thread::sleep(Duration::from_secs(3));
        let (after, time) = (all(), begin.elapsed().as_secs_f64());
        end(&pod, &mut spinners);
        [0, 1].map(|n| (after[n] - before[n]) as f64 / 100.0 / time)
    };
    let bounded = used(&["--pod-cpu=200m"]);
    let free = used(&[]);
    assert!(bounded[0] + bounded[1] < 0.3, "{bounded:?}");
    // What one has the other has not.
    assert!(bounded.iter().all(|share| *share > 0.02), "{bounded:?}");
    assert!(free[0] + free[1] > 0.4, "{free:?}");
}

#[test]
fn tasks_of_the_pod_are_those_of_all_its_apps() {
    let Some(rkt) = Rkt::needs(&[Need::Controller("pids")]) else {
        return;
    };
    // Those of the first bomb stay while the second goes off.
    let bombs = |limit: &str| {
        let pod = two(&rkt, &[limit], &[]);
        let blue = pod.enter(Some("blue"), &["/rkt-probe", "fork-bomb", "30"]);
        let red = pod.enter(Some("red"), &["/rkt-probe", "fork-bomb", "30"]);
        assert_eq!(made(&blue), (30, "enough".to_owned()), "{limit}: {blue}");
        let left = of_pod(&pod, &rkt, "pids", ["pids.current", "pids.current"]);
        let left: u64 = left.parse().unwrap();
        pod.kill().ok();
        (made(&red), left)
    };
    let ((red, why), now) = bombs("--pod-pids=50");
    assert_eq!(why, "EAGAIN");
    assert!((5..20).contains(&red) && now <= 50, "{red}, {now} in all");
    let (free, now) = bombs("--pod-pids=200");
    assert_eq!(free, (30, "enough".to_owned()));
    assert!(now > 60, "{now} in all");
}
