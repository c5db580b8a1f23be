//! Ports of the host that lead into pods: who reaches them, who has them, and how they end.

use super::{PROBE, addresses, bare};
use rkt_tests::talk::{self, Client, misses, reach, serve};
use rkt_tests::{Need, Netns, Pod, Rkt};
use std::net::TcpListener;

const NFT: &[Need] = &[Need::Tool("nft")];

fn space(pod: &Pod<'_>) -> String {
    talk::of(pod.init().pid)
}

fn start<'a>(rkt: &'a Rkt, ports: &[&str]) -> Pod<'a> {
    let words = [
        &["--net=default"],
        ports,
        &[PROBE, "--name=a", "--", "sleep"],
    ]
    .concat();
    let pod = rkt.start(&words);
    serve(&space(&pod), "0.0.0.0:80");
    serve(&space(&pod), "[::]:81");
    pod
}

/// rkt, and a network outside of its host.
fn with_outside() -> Option<(Rkt, Netns)> {
    let rkt = Rkt::networked(NFT)?;
    let outside = Netns::new();
    let (here, there) = (("up0", "10.9.0.1/24"), ("up0", "10.9.0.2/24"));
    rkt.net().link(here, &outside, there);
    rkt.net().ip("addr add fd09::1/64 dev up0 nodad");
    outside.ip("addr add fd09::2/64 dev up0 nodad");
    Some((rkt, outside))
}

#[test]
fn ports_of_both_families_are_reached_from_every_side() {
    let Some((rkt, outside)) = with_outside() else {
        return;
    };
    let pod = start(
        &rkt,
        &[
            "--port=8080:80",
            "--port=[::1]:8080:81",
            "--port=0.0.0.0:8081:80",
            "--port=[::]:8081:81",
            "--port=0.0.0.0:8081:80/udp",
        ],
    );
    let host = rkt.net().path();
    assert_eq!(reach(&host, "127.0.0.1:8080").unwrap(), "172.16.28.1");
    assert_eq!(reach(&host, "[::1]:8080").unwrap(), "fd72:6b74:0:1c::1");
    assert_eq!(reach(&host, "10.9.0.1:8081").unwrap(), "10.9.0.1");
    let far = outside.path();
    assert_eq!(reach(&far, "10.9.0.1:8081").unwrap(), "10.9.0.2");
    assert_eq!(reach(&far, "[fd09::1]:8081").unwrap(), "fd09::2");
    let udp = Client::new(&far, "10.9.0.2:0");
    assert_eq!(udp.ask("10.9.0.1:8081").unwrap(), "10.9.0.2");
    for closed in ["10.9.0.1:8080", "[fd09::1]:8080"] {
        assert!(misses(&far, closed), "{closed}");
    }
    // A pod reaches its own port by the host's address.
    assert!(reach(&space(&pod), "10.9.0.1:8081").is_some());
    // What it says of itself, and what is left of it.
    let told = rkt.rkt(&["port", "list", &pod.uuid]).ok();
    assert!(told.contains("127.0.0.1:8080->80/tcp\n"), "{told}");
    assert!(told.contains("[::]:8081->81/tcp\n"), "{told}");
    pod.stop().ok();
    leaves_no_rule(&rkt);
    assert!(TcpListener::bind("127.0.0.1:0").is_ok());
}

/// The tables go a moment after the last pod.
fn leaves_no_rule(rkt: &Rkt) {
    let list = || rkt.net().run("nft list ruleset").ok();
    rkt_tests::wait_for("the tables to go", 10, || list().is_empty());
}

#[test]
fn ports_are_added_and_taken_back_while_a_pod_runs() {
    let Some(rkt) = Rkt::networked(NFT) else {
        return;
    };
    let pod = start(&rkt, &[]);
    let host = rkt.net().path();
    let uuid = pod.uuid.as_str();
    assert!(misses(&host, "127.0.0.1:8080"));
    let said = rkt
        .rkt(&["port", "add", uuid, "8080:80", "8080:80/udp"])
        .ok();
    assert_eq!(said, "127.0.0.1:8080->80/tcp\n127.0.0.1:8080->80/udp\n");
    assert!(reach(&host, "127.0.0.1:8080").is_some());
    let udp = Client::new(&host, "127.0.0.1:0");
    assert_eq!(udp.ask("127.0.0.1:8080").unwrap(), "172.16.28.1");
    let json = rkt.rkt(&["port", "list", uuid, "--format=json"]).json();
    assert_eq!(json[0]["hostPort"], 8080, "{json}");
    assert_eq!(json[1]["protocol"], "udp", "{json}");
    // Every view of the pod says the same.
    let seen = rkt.rkt(&["status", uuid, "--format=json"]).json();
    assert_eq!(seen["ports"], json, "{seen}");
    let said = rkt.rkt(&["status", uuid]).ok();
    assert!(
        said.contains("ports=127.0.0.1:8080->80/tcp,127.0.0.1:8080->80/udp\n"),
        "{said}"
    );
    assert!(said.contains("routes=default:0.0.0.0/0 via 172.16.28.1,"));
    let listed = rkt.rkt(&["list"]).ok();
    assert!(
        listed.contains("127.0.0.1:8080->80/tcp, 127.0.0.1:8080->80/udp"),
        "{listed}"
    );
    // All of a range or none of it, also when only the supervisor sees that one cannot be.
    let server = talk::inside(&host, || TcpListener::bind("127.0.0.1:9002").unwrap());
    rkt.rkt(&["port", "add", uuid, "9000-9002:90-92"])
        .is_one_clear_error()
        .says("9002");
    drop(server);
    rkt.rkt(&[
        "port",
        "add",
        uuid,
        "9000:90",
        "[fe80::1]:9001:91",
        "0.0.0.0:8080:80",
    ])
    .is_one_clear_error();
    assert_eq!(
        rkt.rkt(&["port", "list", uuid, "--format=json"]).json(),
        json
    );
    // It is there already; and what is not there cannot be taken back.
    let again = rkt
        .rkt(&["port", "add", uuid, "8080:80"])
        .is_one_clear_error();
    again.says("in use by pod").says(uuid);
    rkt.rkt(&["port", "rm", uuid, "9999"])
        .is_one_clear_error()
        .says("the pod has 127.0.0.1:8080/tcp, 127.0.0.1:8080/udp");
    rkt.rkt(&["port", "add", uuid, "8090:80,via=socket"])
        .is_one_clear_error()
        .says("handed to it at its start");
    rkt.rkt(&["port", "rm", uuid, "8080:81"])
        .is_one_clear_error()
        .says("the pod has 127.0.0.1:8080->80/tcp, 127.0.0.1:8080->80/udp");
    // The words that opened it, and the host's end alone.
    rkt.rkt(&["port", "rm", uuid, "8080:80", "127.0.0.1:8080/udp"])
        .ok();
    assert!(misses(&host, "127.0.0.1:8080"));
    // Who was in conversation is not any more, and the port is free for others.
    assert!(udp.ask_once("127.0.0.1:8080").is_none());
    talk::inside(&host, || TcpListener::bind("127.0.0.1:8080").unwrap());
    assert_eq!(rkt.rkt(&["port", "list", uuid]).ok(), "");
    pod.stop().ok();
    rkt.rkt(&["port", "add", uuid, "8080:80"])
        .is_one_clear_error()
        .says("is not running");
}

#[test]
fn who_has_a_port_is_said() {
    let Some(rkt) = Rkt::networked(NFT) else {
        return;
    };
    let host = rkt.net().path();
    let server = talk::inside(&host, || TcpListener::bind("0.0.0.0:8080").unwrap());
    let run = |port: &str| {
        let words = [
            "run",
            "--rm",
            "--quiet",
            "--net=default",
            port,
            PROBE,
            "--",
            "exit",
            "0",
        ];
        rkt.rkt(&words)
    };
    let me = std::process::id().to_string();
    run("--port=8080:80")
        .is_one_clear_error()
        .says("open port 127.0.0.1:8080/tcp of the host")
        .says(&format!("in use by process {me}"));
    drop(server);
    run("--port=8080:80").ok();
    let pod = start(&rkt, &["--port=8080:80"]);
    let taken = run("--port=0.0.0.0:8080:80").is_one_clear_error();
    taken.says("in use by pod").says(&pod.uuid);
    run("--port=192.0.2.7:80:80")
        .is_one_clear_error()
        .says("the host has no address 192.0.2.7");
    pod.kill().ok();
    leaves_no_rule(&rkt);
}

#[test]
fn what_a_killed_supervisor_left_goes_and_does_not_stand_in_the_way() {
    let Some(rkt) = Rkt::networked(NFT) else {
        return;
    };
    let kill = |pod: &Pod<'_>| {
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(pod.supervisor()).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
        rkt_tests::wait_for("the end of the pod", 30, || pod.state() != "running");
    };
    let list = || rkt.net().run("nft list ruleset").ok();
    let first = start(&rkt, &["--port=8080:80", "--port=8080:80/udp"]);
    let udp = Client::new(&rkt.net().path(), "127.0.0.1:0");
    assert!(udp.ask("127.0.0.1:8080").is_some());
    kill(&first);
    assert!(list().contains(&first.uuid), "{}", list());
    // The same port, and by and by the same address.
    let second = start(&rkt, &["--port=8080:80", "--port=8080:80/udp"]);
    assert!(!list().contains(&first.uuid), "{}", list());
    assert!(reach(&rkt.net().path(), "127.0.0.1:8080").is_some());
    assert!(udp.ask("127.0.0.1:8080").is_some());
    kill(&second);
    rkt.gc().ok();
    assert_eq!(list(), "");
}

#[test]
fn rules_of_others_are_left_alone_and_told_when_they_are_in_the_way() {
    let needs = [
        Need::Tool("nft"),
        Need::Tool("iptables-nft"),
        Need::Tool("iptables-legacy"),
    ];
    let Some(rkt) = Rkt::networked(&needs) else {
        return;
    };
    let outside = Netns::new();
    let (here, there) = (("up0", "10.9.0.1/24"), ("up0", "10.9.0.2/24"));
    rkt.net().link(here, &outside, there);
    serve(&outside.path(), "0.0.0.0:80");
    for (program, words) in [
        ("iptables-nft", "chain `FORWARD` of table `ip filter` drops"),
        (
            "iptables-legacy",
            "chain `FORWARD` of iptables-legacy drops",
        ),
    ] {
        // As docker leaves it.
        rkt.net().run(&format!("{program} -P FORWARD DROP")).ok();
        rkt.net()
            .run(&format!("{program} -A FORWARD -i docker0 -j ACCEPT"))
            .ok();
        let before = rkt.net().run(&format!("{program}-save")).ok();
        let words_of_run = [
            "run",
            "--detach",
            "--net=default",
            PROBE,
            "--name=a",
            "--",
            "sleep",
        ];
        let done = rkt
            .rkt(&words_of_run)
            .says(words)
            .says("iptables -I FORWARD -s");
        let uuid = done.ok().trim().to_owned();
        let pod = Pod::new(&rkt, uuid);
        assert!(misses(&space(&pod), "10.9.0.2:80"), "{program}");
        // The remedy, as it is told.
        for side in ["-s", "-d"] {
            let line = format!("{program} -I FORWARD {side} 172.16.28.0/24 -j ACCEPT");
            rkt.net().run(&line).ok();
        }
        assert_eq!(reach(&space(&pod), "10.9.0.2:80").unwrap(), "10.9.0.1");
        for side in ["-s", "-d"] {
            let line = format!("{program} -D FORWARD {side} 172.16.28.0/24 -j ACCEPT");
            rkt.net().run(&line).ok();
        }
        pod.stop().ok();
        let strip = |text: &str| -> Vec<String> {
            let rules = text.lines().filter(|l| !l.starts_with('#'));
            rules
                .map(|l| l.split(" [").next().unwrap_or_default().to_owned())
                .collect()
        };
        let after = rkt.net().run(&format!("{program}-save")).ok();
        assert_eq!(strip(&after), strip(&before), "{program}");
        rkt.net().run(&format!("{program} -P FORWARD ACCEPT")).ok();
        rkt.net().run(&format!("{program} -F FORWARD")).ok();
    }
}

#[test]
fn addresses_are_not_reused_with_what_another_pod_left() {
    let Some(rkt) = Rkt::networked(NFT) else {
        return;
    };
    let first = start(&rkt, &["--port=8080:80/udp"]);
    let own = bare(&addresses(&first, "eth0")[0]).to_owned();
    first.stop().ok();
    let net = format!("--net=default:IP={own}");
    let again = rkt.start(&[&net, PROBE, "--name=a", "--", "sleep"]);
    assert_eq!(bare(&addresses(&again, "eth0")[0]), own);
    let list = rkt.net().run("nft list ruleset").ok();
    assert!(!list.contains(&first.uuid), "{list}");
    assert!(list.contains(&again.uuid));
}

/// Each port of a range leads to its own, on the loopback and on an address that others reach.
#[test]
fn a_range_leads_each_port_to_its_own() {
    let Some((rkt, outside)) = with_outside() else {
        return;
    };
    let words = [
        "--net=default",
        "--port=8000-8002:80-82",
        "--port=[::1]:8000-8002:80-82",
        "-p",
        "0.0.0.0:8100-8102:80-82",
        "--port=[::]:8100-8102:80-82",
        "--port=0.0.0.0:8100-8102:80-82/udp",
        PROBE,
        "--name=a",
        "--",
        "sleep",
    ];
    let pod = rkt.start(&words);
    let host = rkt.net().path();
    for n in 0..3 {
        // Only its own server is there: another port would be found closed.
        let server = format!("[::]:{}", 80 + n);
        let got = serve(&space(&pod), &server);
        for (port, client) in [(8000 + n, &host), (8100 + n, &outside.path())] {
            let near = port < 8100;
            let v4 = format!("{}:{port}", if near { "127.0.0.1" } else { "10.9.0.1" });
            let v6 = format!("{}:{port}", if near { "[::1]" } else { "[fd09::1]" });
            for address in [v4, v6] {
                assert!(reach(client, &address).is_some(), "{address}");
            }
        }
        let before = got.load(std::sync::atomic::Ordering::SeqCst);
        let udp = Client::new(&outside.path(), "10.9.0.2:0");
        assert!(udp.ask(&format!("10.9.0.1:{}", 8100 + n)).is_some());
        assert!(got.load(std::sync::atomic::Ordering::SeqCst) > before);
        if n < 2 {
            let next = format!("127.0.0.1:{}", 8001 + n);
            assert!(misses(&host, &next), "{next} leads to another port");
        }
    }
    for port in [7999, 8003] {
        assert!(misses(&host, &format!("127.0.0.1:{port}")));
    }
    for wrong in ["--port=8000-8002:80-81", "--port=8002-8000:80-82"] {
        rkt.run(&["--net=default", wrong, PROBE, "--", "exit", "0"])
            .ends_with(254)
            .is_one_clear_error();
    }
}

#[test]
fn a_start_tells_where_its_ports_are_open() {
    let Some(rkt) = Rkt::networked(NFT) else {
        return;
    };
    let run = |more: &[&str]| {
        let words = [
            "run",
            "--rm",
            "--net=default",
            "--port=8080:80",
            "--port=[::1]:8081-8082:81-82/udp",
        ];
        let end = [PROBE, "--", "exit", "0"];
        rkt.rkt(&[&words[..], more, &end].concat()).ends_with(0)
    };
    let done = run(&[]);
    for told in [
        "run: port 127.0.0.1:8080/tcp leads to port 80 of app `probe`",
        "run: port [::1]:8081/udp leads to port 81 of app `probe`",
        "run: port [::1]:8082/udp leads to port 82 of app `probe`",
    ] {
        let lines = done.err.lines().filter(|l| *l == told);
        assert_eq!(lines.count(), 1, "{told}: {done}");
    }
    assert!(!run(&["--quiet"]).err.contains("port"));
}
