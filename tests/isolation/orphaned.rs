//! Pods whose supervisor is killed: they end, and until they have ended they are what they were.

use rkt_tests::attack::record_held;
use rkt_tests::eyes::Process;
use rkt_tests::{Need, Rkt, host, wait_for};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PROBE: &str = "builtin:probe";

/// What confines a process.
#[derive(Debug, Clone, PartialEq)]
struct Walls {
    capabilities: [u64; 5],
    no_new_privs: bool,
    seccomp: u32,
    uids: Vec<u32>,
    namespaces: BTreeMap<String, u64>,
    cgroups: Vec<String>,
}

/// `None` for one that is on its way out: then the kernel takes its namespaces away one by one.
fn walls(pid: i32) -> Option<Walls> {
    let process = Process::read(pid)?;
    let state = process.field("State").chars().next();
    if matches!(state, Some('Z' | 'X')) || process.namespaces.len() < 7 {
        return None;
    }
    Some(Walls {
        capabilities: process.all_capabilities(),
        no_new_privs: process.no_new_privs(),
        seccomp: process.seccomp(),
        uids: process.uids(),
        namespaces: process.namespaces.clone(),
        // Version 1 lets a process go as soon as it begins to die.
        cgroups: process
            .cgroups
            .into_iter()
            .filter(|line| line.starts_with("0::"))
            .collect(),
    })
}

/// D15: an app that lives on where nobody keeps it, or is more than it was.
#[test]
fn nobody_outlives_the_supervisor_and_nobody_is_freed_by_its_death() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    for red in [&[][..], &["--caps-retain=all"], &["--userns=pod"]] {
        let mut words = vec![PROBE, "--name=blue", "--", "victim", "@blue", "/counter"];
        words.extend(["---", PROBE, "--name=red", "--pids=0"]);
        words.extend(red);
        words.extend(["--", "sleep"]);
        let pod = rkt.start(&words);
        pod.wait_for_log("blue", "ready");
        pod.enter(Some("red"), &["/rkt-probe", "fork-bomb", "150"])
            .ok();
        wait_for("red's many", 20, || pod.app_processes("red").len() > 100);
        let supervisor = pod.supervisor();
        let mut all: BTreeMap<i32, Walls> = BTreeMap::new();
        for process in pod.processes() {
            all.extend(walls(process.pid).map(|w| (process.pid, w)));
        }
        assert!(all.len() > 100, "{}", all.len());
        let launchers: Vec<i32> = pod.launchers().iter().map(|p| p.pid).collect();
        host::signal(supervisor, rustix::process::Signal::KILL);
        let begin = Instant::now();
        let mut changed = Vec::new();
        loop {
            let now: Vec<_> = all.keys().map(|pid| (*pid, walls(*pid))).collect();
            let left: Vec<_> = now
                .iter()
                .filter_map(|(p, w)| Some((p, w.as_ref()?)))
                .collect();
            // One that dies while it is read is a little of both; one that lives differs again.
            let again = |pid: i32| {
                std::thread::sleep(Duration::from_millis(20));
                walls(pid)
            };
            let differs = |pid: i32, now: &Walls| all[&pid] != *now;
            changed.extend(left.iter().filter_map(|(pid, now)| {
                let later = differs(**pid, now).then(|| again(**pid))??;
                differs(**pid, &later).then_some((**pid, later))
            }));
            if left.is_empty() {
                break;
            }
            assert!(begin.elapsed() < Duration::from_secs(10), "{left:?}");
        }
        assert!(changed.is_empty(), "{red:?}: {changed:?}");
        wait_for("the end of the launchers", 10, || {
            launchers
                .iter()
                .all(|pid| Process::read(*pid).is_none_or(|p| p.is_zombie()))
        });
        // A zombie of the dead supervisor's is in its group until somebody else has reaped it.
        wait_for("the pod's groups to be empty", 10, || {
            pod.processes().is_empty()
        });
        pod.enter(Some("red"), &["/rkt-probe", "exit", "0"])
            .ends_with(254)
            .is_one_clear_error();
        rkt.gc().ok();
    }
    // A program that nobody has tied to its starter lives on.
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "sleep 1000 & echo $!; wait"])
        .stdout(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    let mut line = String::new();
    let mut out = std::io::BufReader::new(shell.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    let child: i32 = line.trim().parse().unwrap();
    shell.kill().unwrap();
    shell.wait().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let lives = walls(child).is_some();
    host::signal(child, rustix::process::Signal::KILL);
    record_held("D15.1", true, lives);
    rkt.leaves_nothing();
}
