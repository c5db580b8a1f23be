//! kill -9, at every step: no process of the pod lives on, and `rkt gc` cleans what is left.

use rkt_tests::{Rkt, host, wait_for};
use std::process::Stdio;
use std::time::{Duration, Instant};

const PROBE: &str = "builtin:probe";

#[track_caller]
fn all_gone(rkt: &Rkt, what: &str) {
    wait_for(&format!("the end of every process ({what})"), 5, || {
        rkt.processes().is_empty()
    });
}

#[test]
fn when_the_supervisor_is_killed_the_whole_pod_dies_at_once() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[
        PROBE,
        "--name=a",
        "--",
        "ignore-term",
        "---",
        PROBE,
        "--name=b",
        "--",
        "sleep",
    ]);
    let (supervisor, apps) = (pod.supervisor(), pod.processes());
    assert_eq!(apps.len(), 3);
    let begin = Instant::now();
    host::kill(supervisor);
    all_gone(&rkt, "kill -9 of the supervisor");
    assert!(
        begin.elapsed() < Duration::from_secs(1),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(pod.state(), "exited");
    rkt.gc().ok();
    rkt.leaves_nothing();
}

#[test]
fn when_init_is_killed_the_pod_is_over() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[PROBE, "--name=a", "--", "sleep"]);
    host::kill(pod.init().pid);
    pod.wait_for_end();
    all_gone(&rkt, "kill -9 of init");
    rkt.rkt(&["rm", &pod.uuid]).ok();
    rkt.leaves_nothing();
}

#[test]
fn when_a_launcher_is_killed_the_app_runs_on() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[PROBE, "--name=a", "--", "sleep"]);
    let app = pod.app("a").pid;
    for launcher in pod.launchers() {
        host::kill(launcher.pid);
    }
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(pod.app("a").pid, app);
    // A new one is made; a later enter works and says what it cannot see.
    pod.enter(None, &["/rkt-probe", "exit", "3"]).ends_with(3);
    pod.stop().ok();
    rkt.rkt(&["rm", &pod.uuid]).ok();
    rkt.leaves_nothing();
}

/// Kills a start after ever more of the time that a whole one takes.
fn kill_in_time(rkt: &Rkt, network: &[&str], steps: u32) {
    let whole = rkt
        .run(&[network, &[PROBE, "--", "exit", "0"]].concat())
        .took;
    for step in 0..steps {
        let apps = [
            PROBE, "--name=a", "--", "sleep", "---", PROBE, "--name=b", "--", "sleep",
        ];
        let mut command = rkt.command(&[&["run", "--quiet"], network, &apps].concat());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(whole * 2 * step / steps);
        // nsenter, rkt and the supervisor are one process: they exec.
        let _ = child.kill();
        let _ = child.wait();
        all_gone(rkt, &format!("after step {step}"));
    }
    rkt.gc().ok();
    rkt.leaves_nothing();
    rkt.run(&[network, &[PROBE, "--", "exit", "0"]].concat())
        .ok();
}

/// The time that a start takes is cut at many points; whatever was reached, nothing lives on.
#[test]
fn a_start_that_is_killed_at_any_step_leaves_nothing() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    kill_in_time(&rkt, &["--net=none"], 60);
}

/// Points at which a start is cut by the next test: each so many system calls after the last.
const CUTS: usize = 100;

/// rkt and its supervisor are one process; it is killed on its way into one system call after
/// another, as many as there is patience for, from the first of `rkt run` to its last.
fn kill_in_calls(rkt: &Rkt, network: &[&str], cuts: usize) {
    let trace = |how: &[&str]| {
        let mut command = rkt.inside("strace");
        command.args(how).arg(rkt_tests::need::binary().unwrap());
        command.args(
            rkt.command(&[&["run"], network].concat())
                .get_args()
                .skip_while(|word| !word.to_string_lossy().starts_with("--dir=")),
        );
        command.args(["--quiet", PROBE, "--name=a", "--", "sleep", "0.1"]);
        command.args(["---", PROBE, "--name=b", "--", "sleep", "0.1"]);
        rkt_tests::command::run(command, None)
    };
    rkt.run(&[network, &[PROBE, "--", "exit", "0"]].concat())
        .ok();
    let list = rkt.file("calls");
    trace(&["-qq", "-o", &list.display().to_string()]).ok();
    let text = std::fs::read_to_string(&list).unwrap();
    let calls: Vec<&str> = text
        .lines()
        .filter_map(|line| Some(line.split_once('(')?.0))
        .collect();
    assert!(
        calls.len() > 300,
        "only {} system calls: {text}",
        calls.len()
    );
    let (mut killed, step) = (0, calls.len().div_ceil(cuts));
    for at in (0..calls.len()).step_by(step) {
        let name = calls[at];
        // strace counts the calls of one name.
        let nth = calls[..=at].iter().filter(|call| **call == name).count();
        let inject = format!("inject={name}:signal=KILL:when={nth}");
        let out = trace(&["-qq", "-o", "/dev/null", "-e", &inject]);
        killed += usize::from(out.status == 137);
        all_gone(
            rkt,
            &format!("killed in {name}, number {at} of {}", calls.len()),
        );
    }
    // A run differs a little from the one before: a few points may be missed, not many.
    assert!(killed > cuts / 2, "only {killed} were killed");
    rkt.gc().ok();
    rkt.leaves_nothing();
    rkt.run(&[network, &[PROBE, "--", "exit", "0"]].concat())
        .ok();
}

#[test]
fn a_start_that_is_killed_in_a_system_call_leaves_nothing() {
    let needs = [rkt_tests::Need::Tool("strace")];
    let Some(rkt) = Rkt::needs(&needs) else {
        return;
    };
    kill_in_calls(&rkt, &["--net=none"], CUTS);
}

const LAN: &str = r#"{ "cniVersion": "1.0.0", "name": "lan", "plugins": [ { "type": "bridge",
    "bridge": "rktcut0", "isGateway": true, "ipMasq": true,
    "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.89.8.0/24" }],
        [{ "subnet": "fd00:89:8::/64" }]] } } ] }"#;

/// An rkt whose network is its own, with a network on a bridge.
fn with_networks() -> Option<(Rkt, String)> {
    let needs = ["strace", "nft"].map(rkt_tests::Need::Tool);
    let rkt = Rkt::networked(&needs)?;
    let config = rkt.file("config");
    std::fs::create_dir_all(config.join("net.d")).unwrap();
    std::fs::write(config.join("net.d/lan.conflist"), LAN).unwrap();
    let flag = format!("--local-config={}", config.display());
    Some((rkt, flag))
}

/// Nothing of any network is left: no rule, no device, no address that somebody has.
#[track_caller]
fn no_network_is_left(rkt: &Rkt, networks: &[&str]) {
    rkt.gc().ok();
    assert_eq!(rkt.net().run("nft list ruleset").ok(), "");
    // The kernel takes a namespace apart by and by, and its devices with it.
    rkt_tests::wait_for("the devices to go", 20, || {
        let links = rkt.net().run("ip -json link show").json();
        let names = links.as_array().unwrap().iter();
        names.filter_map(|link| link["ifname"].as_str()).eq(["lo"])
    });
    for network in networks {
        let leases = rkt.run_dir().join("net").join(network).join("leases");
        let left: Vec<_> = std::fs::read_dir(&leases).unwrap().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_start_with_the_default_network_that_is_killed_leaves_nothing_of_it() {
    let Some((rkt, _)) = with_networks() else {
        return;
    };
    let network = ["--net=default", "--port=8080:80"];
    kill_in_time(&rkt, &network, 20);
    no_network_is_left(&rkt, &["default"]);
    kill_in_calls(&rkt, &network, CUTS / 2);
    no_network_is_left(&rkt, &["default"]);
}

#[test]
fn a_start_on_a_bridge_that_is_killed_leaves_nothing_of_it() {
    let Some((rkt, config)) = with_networks() else {
        return;
    };
    let network = [config.as_str(), "--net=lan", "--port=8080:80"];
    kill_in_time(&rkt, &network, 20);
    no_network_is_left(&rkt, &["lan"]);
    kill_in_calls(&rkt, &network, CUTS / 2);
    no_network_is_left(&rkt, &["lan"]);
}

#[test]
fn a_stop_that_is_killed_is_finished_by_gc() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    for step in 0..10 {
        let pod = rkt.start(&[PROBE, "--name=a", "--", "sleep"]);
        let supervisor = pod.supervisor();
        let mut stop = rkt.command(&["stop", &pod.uuid]);
        let mut child = stop
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(800 * step));
        host::kill(supervisor);
        let _ = child.wait();
        all_gone(&rkt, &format!("at step {step}"));
    }
    rkt.gc().ok();
    rkt.leaves_nothing();
}

#[test]
fn a_fetch_that_is_killed_leaves_nothing_half_written() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    use rkt_tests::layout::Image;
    use rkt_tests::tar::Entry;
    let files: Vec<Entry> = (0..300)
        .map(|n| Entry::file(format!("f{n}"), vec![n as u8; 20_000]))
        .collect();
    let layout = Image::with_probe(&files).write(&rkt.file("layout"));
    let name = layout.reference();
    let begin = Instant::now();
    rkt.rkt(&["fetch", "--quiet", &name]).ok();
    let whole = begin.elapsed();
    rkt.rkt(&["image", "rm", &name]).ok();
    for step in 0..20 {
        let mut fetch = rkt.command(&["fetch", "--quiet", &name]);
        let mut child = fetch
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(whole * step / 18);
        let _ = child.kill();
        let _ = child.wait();
        all_gone(&rkt, &format!("fetch, step {step}"));
        // Whatever is there is whole.
        let out = rkt.run(&[&name, "--", "cat", "/f7"]);
        assert_eq!(out.ok().len(), 20_000);
        rkt.rkt(&["image", "rm", &name]).ok();
    }
}
