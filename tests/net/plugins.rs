//! Networks of foreign plugins: Debian's, by the child of rkt that runs them, between network
//! namespaces that stand for the host and a pod.

use rkt_net::cni::{Answer, CHILD_VERB, Command as Ask, Request};
use rkt_spec::codec::{Bytes, Record};
use rkt_spec::network::{Driver, MacvlanMode, NetworkPlan, PortPlan, PortWay, Protocol};
use rkt_spec::{NetworkName, Uuid};
use rkt_tests::command::run;
use rkt_tests::{Done, Need, Rkt};
use rustix::fs::{Mode, OFlags};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};

/// The programs of Debian's `containernetworking-plugins`, and what they call.
pub(super) fn needs() -> [Need; 3] {
    [
        Need::Plugin("bridge"),
        Need::Tool("ip"),
        Need::Tool("iptables"),
    ]
}

/// A network namespace that lives as long as this.
struct Space {
    holder: Child,
}

impl Space {
    fn new() -> Self {
        let holder = Command::new("unshare")
            .args(["--net", "--mount", "--propagation", "private", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let space = Self { holder };
        let ours = fs::read_link("/proc/self/ns/net").unwrap();
        rkt_tests::wait_for("a network namespace", 10, || {
            let name = fs::read_to_string(format!("/proc/{}/comm", space.holder.id()));
            fs::read_link(space.path()).is_ok_and(|l| l != ours)
                && name.is_ok_and(|n| n.trim() == "cat")
        });
        space.ip("link set lo up");
        space
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    /// A command in it.
    fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path()))
            .arg("--")
            .arg(program);
        command
    }

    #[track_caller]
    fn ip(&self, words: &str) -> String {
        let mut command = self.inside("ip");
        command.args(words.split(' '));
        run(command, None).ok()
    }

    fn rules(&self) -> String {
        let mut command = self.inside("iptables-save");
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        run(command, None).ok()
    }

    /// Devices but `lo`.
    fn devices(&self) -> Vec<String> {
        let text = self.ip("-o link");
        let names = text.lines().filter_map(|l| l.split(": ").nth(1));
        let names = names.map(|n| n.split('@').next().unwrap_or(n).to_owned());
        names.filter(|n| n != "lo").collect()
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// A host, a pod of it, and what is asked of plugins.
struct Lab {
    rkt: Rkt,
    host: Space,
    pod: Space,
    request: Request,
}

impl Lab {
    fn new(config: &str) -> Option<Self> {
        let rkt = Rkt::needs(&needs())?;
        let leases = rkt.file("leases").display().to_string();
        let config = config.replace("LEASES", &leases);
        let request = Request {
            command: Ask::Add,
            pod: "0d5a1c5e-0000-4000-8000-000000000001"
                .parse::<Uuid>()
                .unwrap(),
            network: NetworkPlan {
                name: NetworkName::new("lab").unwrap(),
                interface: "eth0".into(),
                driver: Driver::Cni,
                device: String::new(),
                macvlan: MacvlanMode::Bridge,
                mtu: 0,
                gateway: false,
                masquerade: false,
                isolated: false,
                hairpin: false,
                restricted: false,
                names: false,
                pools: vec![],
                routes: vec![],
                mac: None,
                config: Bytes(config.into_bytes()),
                args: String::new(),
            },
            namespace: -1,
            ports: vec![],
            resolv_conf: Bytes::default(),
            result: Bytes::default(),
            directories: vec![],
            valid: vec![],
        };
        Some(Self {
            rkt,
            host: Space::new(),
            pod: Space::new(),
            request,
        })
    }

    /// What the child answers; the pod's namespace is handed to it unless it is gone.
    #[track_caller]
    fn ask(&self, command: Ask, pod: Option<&Space>) -> Answer {
        // Without close-on-exec: that is how the supervisor hands it over.
        let open = |s: &Space| rustix::fs::open(s.path(), OFlags::RDONLY, Mode::empty()).unwrap();
        let namespace: Option<OwnedFd> = pod.map(open);
        let request = Request {
            command,
            namespace: namespace.as_ref().map_or(-1, AsRawFd::as_raw_fd),
            ..self.request.clone()
        };
        let mut child = self
            .host
            .inside(&rkt_tests::need::binary().unwrap().display().to_string());
        child
            .arg(CHILD_VERB)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = child.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, &request.to_bytes()).unwrap();
        drop(stdin);
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{out:?}");
        Answer::from_bytes(&out.stdout).unwrap()
    }

    /// ADD, which has to do.
    #[track_caller]
    fn add(&mut self) -> Answer {
        let answer = self.ask(Ask::Add, Some(&self.pod));
        assert_eq!(answer.refusal, None);
        self.request.result = answer.result.clone();
        answer
    }

    #[track_caller]
    fn does(&self, command: Ask, pod: Option<&Space>) {
        assert_eq!(self.ask(command, pod).refusal, None, "{command:?}");
    }

    fn leases(&self) -> usize {
        let dir = fs::read_dir(self.rkt.file("leases/lab"));
        let names = dir.into_iter().flatten().flatten();
        names
            .filter(|e| e.file_name().to_string_lossy().starts_with("10."))
            .count()
    }
}

const IPAM: &str = r#""ipam":{"type":"host-local","dataDir":"LEASES",
    "ranges":[[{"subnet":"10.77.0.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}"#;

pub(super) fn chained(version: &str) -> String {
    // Debian's firewall knows no older version than 0.4.0.
    let firewall = match version {
        "0.3.1" => "",
        _ => r#"{"type":"firewall","backend":"iptables"},"#,
    };
    format!(
        r#"{{"cniVersion":"{version}","name":"lab","plugins":[
        {{"type":"bridge","bridge":"lab0","isGateway":true,"ipMasq":true,{IPAM}}},
        {{"type":"tuning","capabilities":{{"mac":true}},"sysctl":{{"net.core.somaxconn":"77"}}}},
        {firewall}
        {{"type":"portmap","capabilities":{{"portMappings":true}},"snat":true}}]}}"#
    )
}

#[test]
fn a_chain_of_plugins_is_made_checked_and_unmade_in_every_version() {
    for version in ["0.3.1", "0.4.0", "1.0.0"] {
        let Some(mut lab) = Lab::new(&chained(version)) else {
            return;
        };
        let clean = lab.host.rules();
        lab.request.network.mac = Some("02:00:5e:10:00:01".parse().unwrap());
        lab.request.ports = vec![PortPlan {
            name: "http".into(),
            app: None,
            protocol: Protocol::Tcp,
            host: "127.0.0.1".parse().unwrap(),
            host_port: 8080,
            pod_port: 80,
            way: PortWay::Nat,
            socket: -1,
        }];
        lab.does(Ask::Version, None);
        let answer = lab.add();
        assert!(answer.ports_done);
        let wired = answer.wired.unwrap();
        let address = wired.addresses[0].address.to_string();
        assert_eq!(
            (address.as_str(), wired.addresses[0].length),
            ("10.77.0.2", 24)
        );
        assert_eq!(wired.gateways[0].to_string(), "10.77.0.1");
        assert!(
            lab.host.devices().contains(&wired.host_device),
            "{version}: {wired:?}"
        );
        let seen = lab.pod.ip("addr show eth0");
        assert!(
            seen.contains("10.77.0.2/24") && seen.contains("02:00:5e:10:00:01"),
            "{seen}"
        );
        assert!(lab.pod.ip("route").contains("default via 10.77.0.1"));
        let rules = lab.host.rules();
        assert!(
            rules.contains("--dport 8080") && rules.contains("MASQUERADE"),
            "{rules}"
        );
        assert_eq!(lab.leases(), 1);
        // Debian's portmap looks for rules of IPv6 too, whatever the port's address; it is the
        // last, so the others have been content.
        if let Some(refusal) = lab.ask(Ask::Check, Some(&lab.pod)).refusal {
            let said = "CHECK by plugin `portmap`: could not check ipv6 dnat";
            assert!(refusal.because.contains(said), "{refusal}");
        }
        if version != "0.3.1" {
            lab.pod.ip("addr flush dev eth0");
            let refusal = lab.ask(Ask::Check, Some(&lab.pod)).refusal.unwrap();
            assert!(
                refusal.because.contains("CHECK by plugin `bridge`"),
                "{refusal}"
            );
            // The plugin finds its rules by the addresses that the device has at DEL.
            lab.pod.ip("addr add 10.77.0.2/24 dev eth0");
        }
        for _ in 0..2 {
            lab.does(Ask::Del, Some(&lab.pod));
            assert!(lab.pod.devices().is_empty());
        }
        assert_eq!(lab.host.devices(), ["lab0"], "a bridge stays");
        assert_eq!(lab.leases(), 0);
        // Chains of the plugins stay; no rule for this pod does.
        let mentions =
            |text: &str| text.matches("10.77.0.2").count() + text.matches("8080").count();
        assert_eq!(
            mentions(&lab.host.rules()),
            mentions(&clean),
            "{}",
            lab.host.rules()
        );
    }
}

#[test]
fn single_plugins_of_the_originals_time_and_of_today_work() {
    let old = format!(r#"{{"name":"lab","type":"ptp","ipMasq":false,{IPAM}}}"#);
    let new = old.replacen('{', r#"{"cniVersion":"1.0.0","#, 1);
    for config in [old, new] {
        let Some(mut lab) = Lab::new(&config) else {
            return;
        };
        lab.request.network.args = "IP=10.77.0.9".into();
        let wired = lab.add().wired.unwrap();
        assert_eq!(
            wired.addresses[0].address.to_string(),
            "10.77.0.9",
            "{config}"
        );
        assert!(lab.pod.ip("addr show eth0").contains("10.77.0.9"));
        // The same once more: what host-local says comes through, with its name.
        let refusal = lab.ask(Ask::Add, Some(&lab.pod)).refusal.unwrap();
        assert!(
            refusal.because.starts_with("ADD by plugin `ptp`: "),
            "{refusal}"
        );
        assert!(refusal.because.contains("10.77.0.9"), "{refusal}");
        lab.does(Ask::Del, Some(&lab.pod));
        assert!(lab.host.devices().is_empty());
        assert_eq!(lab.leases(), 0);
    }
    let Some(mut lab) = Lab::new(&format!(
        r#"{{"cniVersion":"1.0.0","name":"lab","type":"macvlan","master":"up0",{IPAM}}}"#
    )) else {
        return;
    };
    lab.host.ip("link add up0 type veth peer name up1");
    lab.host.ip("link set up0 up");
    let wired = lab.add().wired.unwrap();
    assert_eq!(
        (wired.interface.as_str(), wired.host_device.as_str()),
        ("eth0", "")
    );
    lab.does(Ask::Del, Some(&lab.pod));
    assert!(lab.pod.devices().is_empty());
}

#[test]
fn what_a_crash_left_is_unmade_without_the_pods_network() {
    let Some(mut lab) = Lab::new(&chained("1.0.0")) else {
        return;
    };
    lab.add();
    let gone = std::mem::replace(&mut lab.pod, Space::new());
    drop(gone);
    rkt_tests::wait_for("the end of the pod's devices", 20, || {
        lab.host.devices() == ["lab0"]
    });
    lab.does(Ask::Del, None);
    assert_eq!(lab.leases(), 0);
    let rules = lab.host.rules();
    assert!(!rules.contains("10.77.0.2"), "{rules}");
}

#[test]
fn the_child_takes_nothing_but_a_request() {
    let Some(rkt) = Rkt::needs(&needs()) else {
        return;
    };
    let done: Done = rkt.rkt_with(&[CHILD_VERB], b"nonsense");
    assert_ne!(done.status, 0, "it is no verb of the command line");
    let binary = rkt_tests::need::binary().unwrap().display().to_string();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("printf nonsense | {binary} {CHILD_VERB}")]);
    let out = command.output().unwrap();
    let answer = Answer::from_bytes(&out.stdout).unwrap();
    assert!(answer.refusal.unwrap().doing.contains("take what is asked"));
}

/// rkt in a network of its own, with a directory of configuration that has this list.
fn configured(list: &str) -> Option<(Rkt, String)> {
    configured_with(list, &needs())
}

pub(super) fn configured_with(list: &str, needs: &[Need]) -> Option<(Rkt, String)> {
    let rkt = Rkt::networked(needs)?;
    let leases = rkt.file("leases").display().to_string();
    let dir = rkt.file("etc/net.d");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("10-lab.conflist"), list.replace("LEASES", &leases)).unwrap();
    let option = format!("--local-config={}", rkt.file("etc").display());
    Some((rkt, option))
}

fn leases(rkt: &Rkt) -> usize {
    let dir = fs::read_dir(rkt.file("leases/lab"));
    let names = dir.into_iter().flatten().flatten();
    names
        .filter(|e| e.file_name().to_string_lossy().starts_with("10."))
        .count()
}

fn rules(rkt: &Rkt) -> String {
    rkt.net().run("/usr/sbin/iptables-save").ok()
}

#[test]
fn a_pod_joins_a_network_of_plugins_and_leaves_it() {
    let Some((rkt, option)) = configured(&chained("1.0.0")) else {
        return;
    };
    let port = "--port=8080:80";
    let words = [&*option, "--net=lab", port, super::PROBE, "--", "sleep"];
    let pod = rkt.start(&words);
    assert_eq!(super::addresses(&pod, "eth0"), ["10.77.0.2/24"]);
    assert!(
        pod.status().to_string().contains("10.77.0.2/24"),
        "{}",
        pod.status()
    );
    let routes = pod.status()["networks"][0]["routes"].to_string();
    assert!(routes.contains(r#""dst":"0.0.0.0/0""#), "{routes}");
    assert!(rules(&rkt).contains("--dport 8080"));
    // A rule asks nobody who has the port; rkt does, of pods and of processes.
    let again = [&["run"][..], &words].concat();
    rkt.rkt(&again)
        .is_one_clear_error()
        .says(&format!("in use by pod `{}`", pod.uuid));
    let host = rkt.net().path();
    let server = rkt_tests::talk::inside(&host, || {
        std::net::TcpListener::bind("127.0.0.1:8081").unwrap()
    });
    let other = ["run", &option, "--net=lab", "--port=8081:80", super::PROBE];
    rkt.rkt(&other)
        .is_one_clear_error()
        .says("in use by process");
    drop(server);
    rkt.rkt(&["port", "add", &pod.uuid, "8082:80"])
        .is_one_clear_error()
        .says("at its start only");
    rkt.rkt(&["port", "rm", &pod.uuid, "8080"])
        .is_one_clear_error()
        .says("from its start to its end");
    assert!(pod.dir().join("network-eth0").exists());
    pod.stop().ok();
    assert_eq!(leases(&rkt), 0);
    assert!(!rules(&rkt).contains("10.77.0.2"), "{}", rules(&rkt));
    assert!(!pod.dir().join("network-eth0").exists());
    // The same by `rkt gc`, when nobody was left to do it.
    let pod = rkt.start(&words);
    let supervisor = pod.supervisor();
    rkt_tests::host::kill(supervisor);
    rkt_tests::wait_for("the end of the supervisor", 20, || {
        !fs::exists(format!("/proc/{supervisor}")).unwrap()
    });
    assert_eq!(leases(&rkt), 1);
    rkt.gc();
    assert_eq!(leases(&rkt), 0);
    let left = rules(&rkt);
    assert!(
        !left.contains("10.77.0.3") && !left.contains("8080"),
        "{left}"
    );
    rkt.leaves_nothing();
}

#[test]
fn a_plugin_that_fails_or_is_missing_is_named_and_nothing_stays() {
    let list = r#"{"cniVersion":"1.0.0","name":"lab","plugins":[
        {"type":"bridge","bridge":"lab0",IPAM},{"type":"sulks"}]}"#;
    let Some((rkt, option)) = configured(&list.replace("IPAM", IPAM)) else {
        return;
    };
    let words = [
        "run",
        "--rm",
        &option,
        "--net=lab",
        super::PROBE,
        "--",
        "exit",
        "0",
    ];
    let done = rkt.rkt(&words).ends_with(125).is_one_clear_error();
    done.says("the network plugin `sulks`")
        .says("containernetworking-plugins");
    plugin(
        &rkt,
        "sulks",
        r#"[ $CNI_COMMAND = ADD ] || exit 0; echo '{"code":11,"msg":"not today"}'; exit 1"#,
    );
    let done = rkt.rkt(&words).ends_with(125).is_one_clear_error();
    done.says("ADD by plugin `sulks`: not today").says("`lab`");
    assert_eq!(leases(&rkt), 0);
    rkt.gc();
    rkt.leaves_nothing();
}

/// A plugin beside the networks, where the original looked for them too.
pub(super) fn plugin(rkt: &Rkt, name: &str, script: &str) {
    let path = rkt.file("etc/net.d").join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&path, mode).unwrap();
}

#[test]
fn limits_settings_and_rules_of_plugins_are_there_and_go_with_the_pod() {
    let list = format!(
        r#"{{"cniVersion":"1.0.0","name":"lab","plugins":[
        {{"type":"bridge","bridge":"lab0","isGateway":true,{IPAM}}},
        {{"type":"tuning","mtu":1400,"sysctl":{{"net.core.somaxconn":"77"}}}},
        {{"type":"firewall","backend":"iptables"}},
        {{"type":"bandwidth","capabilities":{{"bandwidth":true}}}}]}}"#
    );
    let needs = [
        Need::Plugin("bandwidth"),
        Need::Tool("tc"),
        Need::Tool("ip"),
        Need::Tool("iptables"),
        Need::Shaping,
    ];
    let Some((rkt, option)) = configured_with(&list, &needs) else {
        return;
    };
    let net =
        "--net=lab:ingressRate=1000000;ingressBurst=80000;egressRate=2000000;egressBurst=80000";
    let pod = rkt.start(&[&option, net, super::PROBE, "--name=a", "--", "sleep"]);
    let qdiscs = || rkt.net().run("tc qdisc show").ok();
    let shaped = qdiscs();
    for rate in ["rate 1Mbit", "rate 2Mbit", "ingress"] {
        assert!(shaped.contains(rate), "{rate}: {shaped}");
    }
    let inside = |path: &str| rkt_tests::netns::run_in(pod.init().pid, &format!("cat {path}")).ok();
    assert_eq!(inside("/proc/sys/net/core/somaxconn"), "77\n");
    let link = super::ip(&pod, "link show dev eth0");
    assert_eq!(link[0]["mtu"], 1400);
    assert!(rules(&rkt).contains("-d 10.77.0.2/32"), "{}", rules(&rkt));
    pod.stop().ok();
    let left = qdiscs();
    assert!(!left.contains("tbf"), "{left}");
    assert!(!rules(&rkt).contains("10.77.0.2"), "{}", rules(&rkt));
    rkt.gc();
    rkt.leaves_nothing();
}

#[test]
fn an_address_comes_by_dhcp_from_the_plugins_daemon() {
    let list = r#"{"cniVersion":"1.0.0","name":"lab","plugins":[{"type":"bridge","bridge":"lab0",
        "ipam":{"type":"dhcp","daemonSocketPath":"SOCKET"}}]}"#;
    let needs = [
        Need::Plugin("dhcp"),
        Need::Tool("busybox"),
        Need::Tool("ip"),
    ];
    let Some(rkt) = Rkt::networked(&needs) else {
        return;
    };
    let socket = rkt.file("dhcp.sock").display().to_string();
    let dir = rkt.file("etc/net.d");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("10-lab.conflist"), list.replace("SOCKET", &socket)).unwrap();
    let option = format!("--local-config={}", rkt.file("etc").display());
    // The world on that bridge: a router who gives addresses.
    rkt.net().ip("link add lab0 type bridge");
    rkt.net().ip("addr add 10.66.0.1/24 dev lab0");
    rkt.net().ip("link set lab0 up");
    let leases = rkt.file("udhcpd.leases");
    fs::write(&leases, "").unwrap();
    let config = rkt.file("udhcpd.conf");
    let text = format!(
        "start 10.66.0.50\nend 10.66.0.60\ninterface lab0\nlease_file {}\npidfile {}\n\
         option subnet 255.255.255.0\noption router 10.66.0.1\noption dns 10.66.0.1\noption lease 600\n",
        leases.display(),
        rkt.file("udhcpd.pid").display()
    );
    fs::write(&config, text).unwrap();
    let mut server = Daemon::start(rkt.inside("busybox").arg("udhcpd").arg("-f").arg(&config));
    let start_daemon = || {
        let _ = fs::remove_file(&socket);
        let mut program = rkt.inside("/usr/lib/cni/dhcp");
        let daemon = Daemon::start(program.args(["daemon", "-socketpath", &socket]));
        rkt_tests::wait_for("the plugin's daemon", 10, || fs::exists(&socket).unwrap());
        daemon
    };
    let mut daemon = start_daemon();
    let pod = rkt.start(&[
        &option,
        "--net=lab",
        super::PROBE,
        "--name=a",
        "--",
        "sleep",
    ]);
    let address = super::addresses(&pod, "eth0");
    assert!(
        address[0].starts_with("10.66.0.") && address[0].ends_with("/24"),
        "{address:?}"
    );
    assert!(
        super::ip(&pod, "route show default")
            .to_string()
            .contains("10.66.0.1")
    );
    pod.stop().ok();
    daemon.is_there();
    server.is_there();
    drop((daemon, server));
    // Without the daemon the plugin says so; it cannot take anything back either, so the pod stays
    // for a later `rkt gc`, `--rm` or not.
    let words = ["run", "--rm", &option, "--net=lab", super::PROBE];
    let done = rkt.rkt(&words).ends_with(125).is_one_clear_error();
    done.says("ADD by plugin `bridge`")
        .says("dialing DHCP daemon");
    rkt.gc();
    assert_eq!(rkt.pod_dirs().len(), 1);
    let daemon = start_daemon();
    rkt.gc();
    rkt.leaves_nothing();
    drop(daemon);
}

/// A program beside the test, killed with it.
struct Daemon(Child);

impl Daemon {
    fn start(command: &mut Command) -> Self {
        let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(quiet.spawn().unwrap())
    }

    #[track_caller]
    fn is_there(&mut self) {
        assert!(self.0.try_wait().unwrap().is_none(), "it has ended");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
