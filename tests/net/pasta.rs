//! `--net=pasta`: one process carries the packets of a pod.

use super::PROBE;
use rkt_tests::images::{self, BUSYBOX};
use rkt_tests::netns::Netns;
use rkt_tests::{Need, Rkt, eyes};
use std::fs;

/// rkt in a network that leads to another, where somebody answers.
fn lab() -> Option<(Rkt, Netns)> {
    let mut needs = vec![Need::Tool("pasta"), Need::Tool("busybox")];
    needs.extend_from_slice(images::TOOLS);
    let rkt = Rkt::networked(&needs)?;
    let world = Netns::new();
    rkt.net()
        .link(("up0", "192.0.2.2/24"), &world, ("up1", "192.0.2.1/24"));
    rkt.net().ip("route add default via 192.0.2.1");
    Some((rkt, world))
}

/// The process of pasta of a pod, by its supervisor.
fn pasta(supervisor: i32) -> Vec<i32> {
    let name = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let all = eyes::children(supervisor).into_iter();
    all.filter(|pid| name(pid).starts_with("pas")).collect()
}

fn field(pid: i32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn a_pod_by_pasta_reaches_the_world_and_is_reached_by_its_ports() {
    let Some((rkt, world)) = lab() else { return };
    let serve = "while :; do echo from-the-pod | nc -l -p 80; done";
    let image = BUSYBOX.oci();
    let port = "--port=127.0.0.1:8080:80";
    let words = [
        "--net=pasta",
        port,
        &image,
        "--name=a",
        "--",
        "sh",
        "-c",
        serve,
    ];
    let pod = rkt.start(&words);
    let wired = super::addresses(&pod, "eth0");
    assert_eq!(wired, ["10.0.2.100/24"]);
    assert!(pod.status().to_string().contains("10.0.2.100"));
    // It answers through the host's own sockets: the world sees the host's address.
    let mut far = world.command("busybox");
    far.args(["nc", "-l", "-p", "7777", "-w", "30"]);
    let far = std::thread::spawn(move || rkt_tests::command::run(far, None));
    let hello = "for i in 1 2 3 4 5 6 7 8 9; do echo hello | nc -w 5 192.0.2.1 7777 && break; sleep 1; done";
    pod.enter(None, &["sh", "-c", hello]).ends_with(0);
    assert_eq!(far.join().unwrap().out, "hello\n");
    let got = rkt.net().run("busybox nc -w 10 127.0.0.1 8080");
    assert_eq!(got.out, "from-the-pod\n", "{got}");
    // What was not said is not there, the host's loopback least of all.
    let refused = pod.enter(None, &["sh", "-c", "nc -w 3 10.0.2.2 8080 < /dev/null"]);
    assert_ne!(refused.status, 0, "{refused}");
    // It is nobody to the host, and holds nothing over the host's network.
    let found = pasta(pod.supervisor());
    assert_eq!(found.len(), 1, "{found:?}");
    let pid = found[0];
    assert!(field(pid, "Uid:").parse::<u32>().unwrap() >= 524_288);
    assert_eq!(field(pid, "NoNewPrivs:"), "1");
    assert_eq!(field(pid, "Seccomp:"), "2");
    let user = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/user")).unwrap();
    assert_eq!(user(pid), user(pod.init().pid));
    rkt.rkt(&["audit", &pod.uuid]).ok();
    pod.stop().ok();
    rkt_tests::wait_for("the end of pasta", 20, || {
        !fs::exists(format!("/proc/{pid}")).unwrap()
    });
    rkt.gc();
}

#[test]
fn pasta_and_its_pod_end_together() {
    let Some((rkt, _world)) = lab() else { return };
    let pod = rkt.start(&["--net=pasta", PROBE, "--", "sleep"]);
    let (supervisor, found) = (pod.supervisor(), pasta(pod.supervisor()));
    rkt_tests::host::kill(found[0]);
    pod.wait_for_end();
    assert!(
        pod.status().to_string().contains("pasta"),
        "{}",
        pod.status()
    );
    rkt_tests::wait_for("the end of the supervisor", 20, || {
        !fs::exists(format!("/proc/{supervisor}")).unwrap()
    });
    let pod = rkt.start(&["--net=pasta", PROBE, "--", "sleep"]);
    let (supervisor, found) = (pod.supervisor(), pasta(pod.supervisor()));
    rkt_tests::host::kill(supervisor);
    rkt_tests::wait_for("the end of pasta", 20, || {
        !fs::exists(format!("/proc/{}", found[0])).unwrap()
    });
    rkt.gc();
    rkt.leaves_nothing();
}

#[test]
fn what_pasta_cannot_do_is_told() {
    let Some((rkt, _world)) = lab() else { return };
    let held = rkt
        .net()
        .command("busybox")
        .args(["nc", "-l", "-p", "8081"])
        .spawn();
    let mut held = held.unwrap();
    rkt_tests::wait_for("a listener", 20, || {
        rkt.net()
            .run("cat /proc/net/tcp /proc/net/tcp6")
            .out
            .contains(":1F91")
    });
    for (port, why) in [
        ("--port=127.0.0.1:8081:80", "it is in use by process"),
        ("--port=8082:80/sctp", "does not carry sctp"),
    ] {
        let words = ["run", "--rm", "--net=pasta", port, PROBE, "--", "exit", "0"];
        rkt.rkt(&words)
            .ends_with(125)
            .is_one_clear_error()
            .says(why);
    }
    let _ = held.kill();
    let _ = held.wait();
    rkt.gc();
    rkt.leaves_nothing();
}
