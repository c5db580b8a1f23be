//! Signals, grace periods, and what is left afterwards.

use rkt_tests::{Rkt, host, wait_for};
use rustix::process::Signal;
use std::process::Stdio;
use std::time::{Duration, Instant};

const PROBE: &str = "builtin:probe";

#[test]
fn stop_asks_with_the_apps_own_signal() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[
        PROBE,
        "--name=term",
        "--",
        "trap",
        "15",
        "---",
        PROBE,
        "--name=usr1",
        "--stop-signal=SIGUSR1",
        "--",
        "trap",
        "10",
    ]);
    pod.wait_for_log("term", "ready");
    pod.wait_for_log("usr1", "ready");
    pod.stop().ok();
    assert!(pod.logs("term").contains("got 15"));
    assert!(pod.logs("usr1").contains("got 10"));
    assert_eq!(pod.status()["apps"][0]["exit_code"], 0);
}

#[test]
fn an_app_that_does_not_listen_is_killed_after_its_grace_period() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[
        PROBE,
        "--name=deaf",
        "--stop-timeout=1",
        "--",
        "ignore-term",
    ]);
    pod.wait_for_log("deaf", "ready");
    let begin = Instant::now();
    pod.stop().ok();
    let took = begin.elapsed();
    assert!((900..6000).contains(&took.as_millis()), "{took:?}");
    assert_eq!(pod.status()["apps"][0]["exit_code"], 137);
}

#[test]
fn stop_by_force_does_not_wait() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[PROBE, "--name=deaf", "--", "ignore-term"]);
    pod.wait_for_log("deaf", "ready");
    let begin = Instant::now();
    pod.kill().ok();
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert!(pod.processes().is_empty());
}

/// Runs in the foreground, sends a signal once, twice if asked; its exit status.
fn signalled(rkt: &Rkt, words: &[&str], signal: Signal, times: u32) -> (i32, Duration) {
    let mut all = vec!["run", "--rm", "--quiet", "--net=none", PROBE];
    all.extend(words);
    let mut command = rkt.command(&all);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let root = host::v2_root().join(&rkt.cgroup);
    wait_for("the app", 15, || {
        host::cgroup_processes(&root).iter().any(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|c| c.contains("rkt-probe"))
        })
    });
    std::thread::sleep(Duration::from_millis(300));
    let begin = Instant::now();
    for _ in 0..times {
        host::signal(i32::try_from(child.id()).unwrap(), signal);
        std::thread::sleep(Duration::from_millis(200));
    }
    let status = rkt_tests::command::wait(&mut child, Duration::from_secs(25)).expect("it ends");
    (rkt_tests::command::shell_status(status), begin.elapsed())
}

#[test]
fn control_c_and_sigterm_stop_a_pod_in_the_foreground() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    for signal in [Signal::INT, Signal::TERM] {
        let (status, took) = signalled(&rkt, &["--", "trap", "15"], signal, 1);
        assert_eq!(status, 0, "{signal:?}: the app has ended well");
        assert!(took < Duration::from_secs(5), "{took:?}");
        rkt.leaves_nothing();
    }
}

#[test]
fn a_second_control_c_kills() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let (status, took) = signalled(&rkt, &["--", "ignore-term"], Signal::INT, 2);
    assert_eq!(status, 137);
    assert!(took < Duration::from_secs(5), "{took:?}");
    rkt.leaves_nothing();
}

#[test]
fn orphans_are_reaped_and_init_stays_small() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[PROBE, "--name=a", "--", "sleep"]);
    pod.enter(None, &["/rkt-probe", "orphans", "500"]).ok();
    wait_for("no zombies", 5, || pod.zombies().is_empty());
    let init = pod.init();
    let resident: u64 = init
        .field("VmRSS")
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(resident < 4096, "{resident} KiB");
    assert_eq!(pod.processes().len(), 2);
}

#[test]
fn a_pod_ends_when_its_last_app_does() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[
        PROBE, "--name=a", "--", "exit", "0", "---", PROBE, "--name=b", "--", "sleep", "1",
    ]);
    wait_for("the end of a", 5, || pod.app_processes("a").is_empty());
    assert_eq!(pod.state(), "running");
    pod.wait_for_end();
    assert!(!pod.cgroup().exists(), "its cgroup is left");
    assert!(rkt.processes().is_empty());
}
