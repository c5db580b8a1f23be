//! Images that people run, under the default policy, with the words that people use: they serve.
//! nginx and redis are in [`super::sources`], from every source.

use rkt_tests::images::{BUSYBOX, DEBIAN, PING, POSTGRES, PYTHON, TOOLS};
use rkt_tests::{Need, Rkt, command::tool, wait_for};
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn postgres_makes_a_database_and_answers() {
    let Some(rkt) = Rkt::needs(TOOLS) else { return };
    let image = POSTGRES.oci();
    let pod = rkt.start(&[&image, "--name=db"]);
    let ask = |words: &str| {
        let psql = ["psql", "-U", "postgres", "-h", "127.0.0.1", "-Atc", words];
        pod.enter(None, &psql)
    };
    wait_for("postgres", 50, || {
        assert_eq!(pod.state(), "running", "{}", pod.logs("db"));
        ask("select 6 * 7").out.trim() == "42"
    });
    // Work that takes shared memory and more than one process.
    ask("create table t as select generate_series(1, 100000) as n").ok();
    let sum =
        "set min_parallel_table_scan_size = 0; set parallel_setup_cost = 0; select sum(n) from t";
    assert!(ask(sum).ok().contains("5000050000"));
    let base = pod.app("db").base();
    for process in pod.app_processes("db") {
        let uid = u64::from(process.uids()[0]);
        assert!(uid > base && uid < base + 65_536, "{process:?}");
        assert_eq!(process.all_capabilities()[..3], [0, 0, 0], "{process:?}");
    }
    pod.stop().ok();
    assert_eq!(
        pod.status()["apps"][0]["exit_code"],
        0,
        "{}",
        pod.logs("db")
    );
}

#[test]
fn python_serves_and_asks() {
    let Some(rkt) = Rkt::needs(TOOLS) else { return };
    let image = PYTHON.oci();
    let serve = "import socket, os, signal
signal.signal(signal.SIGTERM, lambda *a: os._exit(0))
s = socket.create_server(('127.0.0.1', 80))
while True:
    c, _ = s.accept()
    c.sendall(b'from ' + str(os.getuid()).encode())
    c.close()";
    let ask = "import socket
s = socket.create_connection(('127.0.0.1', 80)); print(s.recv(99).decode())";
    let pod = rkt.start(&[
        &image,
        "--name=web",
        "--user=1000",
        "--",
        "python3",
        "-c",
        serve,
    ]);
    wait_for("the server", 30, || {
        assert_eq!(pod.state(), "running", "{}", pod.logs("web"));
        pod.enter(None, &["python3", "-c", ask]).out.trim() == "from 1000"
    });
    // Who asks for datagrams may ping.
    let ping = "import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
s.sendto(b'\\x08' + bytes(7), ('127.0.0.1', 0)); print(s.recv(99)[0])";
    for user in ["--user=0", "--user=1000"] {
        let done = rkt.rkt(&["enter", user, &pod.uuid, "python3", "-c", ping]);
        assert_eq!(done.ok().trim(), "0", "an echo reply");
    }
    // Processes, threads and a pipe between them.
    let work = "import os, threading
ts = [threading.Thread(target=os.getpid) for _ in range(20)]
[t.start() for t in ts]; [t.join() for t in ts]
r, w = os.pipe()
if os.fork() == 0: os.write(w, b'child'); os._exit(0)
os.wait(); print(os.read(r, 9).decode())";
    assert_eq!(
        pod.enter(None, &["python3", "-c", work]).ok().trim(),
        "child"
    );
    pod.stop().ok();
}

/// A package whose scripts do what packages' scripts do.
fn package(rkt: &Rkt) -> String {
    let top = rkt.file("package");
    let write = |name: &str, mode: u32, text: &str| {
        let path = top.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let control = "Package: hello-pod\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\n\
        Description: says hello\n";
    write("DEBIAN/control", 0o644, control);
    let script = "#!/bin/sh\nset -e\nuseradd --system --no-create-home hello\ninstall -d -o hello -g daemon -m 2750 /var/lib/hello\n\
        chown hello /usr/share/hello/greeting\nsetcap cap_chown+ep /usr/bin/hello-copy 2>/dev/null || true\n";
    write("DEBIAN/postinst", 0o755, script);
    write(
        "usr/bin/hello-pod",
        0o755,
        "#!/bin/sh\ncat /usr/share/hello/greeting\n",
    );
    write("usr/bin/hello-setuid", 0o4755, "#!/bin/sh\n");
    write("usr/share/hello/greeting", 0o644, "hello from a package\n");
    let deb = rkt.file("hello.deb");
    let words = [
        "--root-owner-group",
        "--build",
        &*top.display().to_string(),
        &*deb.display().to_string(),
    ];
    tool("dpkg-deb", &words);
    deb.display().to_string()
}

#[test]
fn apt_and_dpkg_install_a_package_in_a_debian_pod() {
    let mut needs = TOOLS.to_vec();
    needs.push(Need::Tool("dpkg-deb"));
    let Some(rkt) = Rkt::needs(&needs) else {
        return;
    };
    let (image, deb) = (DEBIAN.oci(), package(&rkt));
    let volume = format!("-v{deb}:/tmp/hello.deb:ro");
    let after = "hello-pod; stat -c '%U %a' /var/lib/hello /usr/share/hello/greeting /usr/bin/hello-setuid; dpkg -s hello-pod | grep Status";
    for install in [
        "apt-get install -y /tmp/hello.deb",
        "dpkg -i /tmp/hello.deb",
    ] {
        let script =
            format!("set -e; export DEBIAN_FRONTEND=noninteractive; {install} >&2; {after}");
        let done = rkt.run(&[&volume, &image, "--", "bash", "-c", &script]);
        let out = done.clone().ok();
        let lines: Vec<&str> = out.lines().collect();
        let expected = [
            "hello from a package",
            "hello 2750",
            "hello 644",
            "root 4755",
            "Status: install ok installed",
        ];
        assert_eq!(lines, expected, "{install}: {done}");
    }
    rkt.leaves_nothing();
}

/// Debian's busybox knows raw sockets only, which take NET_RAW over the pod's own network; what asks
/// for datagrams needs nothing (`ping_of_iputils_needs_no_flag`).
#[test]
fn busybox_pings_the_pods_own_loopback_with_the_flags_that_are_told() {
    let Some(rkt) = Rkt::needs(TOOLS) else { return };
    let image = BUSYBOX.oci();
    let ping = |flags: &[&str]| {
        let mut words = vec![image.as_str()];
        words.extend(flags);
        words.extend(["--", "ping", "-c", "1", "-W", "5", "127.0.0.1"]);
        rkt.run(&words)
    };
    ping(&[]).ends_with(1).says("permission denied");
    let done = ping(&["--userns=pod", "--caps-retain=CAP_NET_RAW"]);
    assert!(done.clone().ok().contains("1 packets received"), "{done}");
}

/// As any user, over the loopback and to the gateway: the default policy opens datagram sockets of
/// ICMP to every group of the app.
#[test]
fn ping_of_iputils_needs_no_flag() {
    let Some(rkt) = Rkt::networked(TOOLS) else {
        return;
    };
    let image = PING.oci();
    let ping = |flags: &[&str], address: &str| {
        let words = [&["--net=default"], flags, &[&image]].concat();
        let end = ["--", "ping", "-n", "-c", "1", "-W", "5", address];
        rkt.run(&[&words[..], &end].concat())
    };
    for address in ["127.0.0.1", "::1", "172.16.28.1"] {
        let done = ping(&[], address);
        assert!(done.clone().ok().contains(" 1 received"), "{done}");
    }
    let words = [
        &image,
        "--user=1000:1000",
        "--",
        "ping",
        "-c",
        "1",
        "127.0.0.1",
    ];
    let done = rkt.run(&words);
    assert!(done.clone().ok().contains(" 1 received"), "{done}");
    // It is that setting that opens them.
    let closed = ping(&["--sysctl=net.ipv4.ping_group_range=1 0"], "127.0.0.1");
    assert_ne!(closed.status, 0, "{closed}");
    assert!(closed.err.contains("not permitted"), "{closed}");
}
