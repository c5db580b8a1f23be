//! `--port=...,via=socket`: the app gets the listening socket of the host (`sd_listen_fds(3)`).

use rkt_tests::attack::record_held;
use rkt_tests::images::{self, NGINX, PYTHON};
use rkt_tests::{Need, Pod, Rkt};
use rustix::net::{AddressFamily, Shutdown, SocketType};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// A program as systemd would activate it: checks what it is told, then answers each client with
/// its address as seen here and the program's own pid.
const SERVE: &str = r#"
import os, socket, sys
n = int(os.environ["LISTEN_FDS"])
assert int(os.environ["LISTEN_PID"]) == os.getpid(), os.environ["LISTEN_PID"]
names = os.environ["LISTEN_FDNAMES"].split(":")
assert len(names) == n, names
s = socket.socket(fileno=3)
print("serving", n, names, s.getsockname(), flush=True)
while True:
    c, peer = s.accept()
    c.sendall(("%s %d\n" % (peer[0], os.getpid())).encode())
    c.close()
"#;

/// Gives up listening and connects to the port named, as who was handed a socket could try.
const ATTACK: &str = r#"
import socket, sys
s = socket.socket(fileno=3)
s.shutdown(socket.SHUT_RDWR)
s.settimeout(3)
try:
    s.connect(("127.0.0.1", int(sys.argv[1])))
    print("reached", flush=True)
except OSError as e:
    print("refused", type(e).__name__, flush=True)
"#;

fn needs() -> Vec<Need> {
    let mut all = vec![Need::Landlock];
    all.extend_from_slice(images::TOOLS);
    all
}

/// A port of loopback that nobody has now.
fn free_port() -> u16 {
    let found = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    found.local_addr().unwrap().port()
}

/// What is answered to a client who comes from this address and says these words.
fn ask_from(from: Ipv4Addr, port: u16, words: &str) -> String {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from((from, 0))).unwrap();
    rustix::net::connect(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
    let mut stream = TcpStream::from(socket);
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream.write_all(words.as_bytes()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    said
}

fn serve<'a>(rkt: &'a Rkt, port: u16) -> Pod<'a> {
    let option = format!("--port={port}:80,via=socket");
    let image = PYTHON.oci();
    let words = [
        "--net=none",
        &option,
        &image,
        "--name=web",
        "--",
        "python3",
        "-c",
        SERVE,
    ];
    rkt.start(&words)
}

#[test]
fn an_app_without_a_network_serves_clients_it_sees_as_they_are() {
    let Some(rkt) = Rkt::needs(&needs()) else {
        return;
    };
    let port = free_port();
    let pod = serve(&rkt, port);
    pod.wait_for_log("web", "serving 1");
    assert!(pod.logs("web").contains(&format!("'127.0.0.1', {port}")));
    for from in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 7, 7, 7)] {
        let said = ask_from(from, port, "");
        assert!(said.starts_with(&format!("{from} ")), "{said}");
    }
    // Nothing of it is for those who enter, and the audit knows it.
    let told = pod.enter(None, &["sh", "-c", "env; ls /proc/self/fd"]).ok();
    assert!(!told.contains("LISTEN"), "{told}");
    let numbers: Vec<_> = told.lines().filter(|l| l.parse::<u32>().is_ok()).collect();
    assert_eq!(
        numbers,
        ["0", "1", "2", "3"],
        "ls has its directory open\n{told}"
    );
    rkt.rkt(&["audit", &pod.uuid]).ok();
    // Its own network is loopback alone, whatever it was handed.
    let links = pod.enter(None, &["sh", "-c", "cat /proc/net/dev"]).ok();
    assert_eq!(
        links.lines().filter(|l| l.contains(':')).count(),
        1,
        "{links}"
    );
    pod.stop().ok();
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
}

#[test]
fn nginx_takes_the_socket_as_from_its_own_predecessor() {
    let Some(rkt) = Rkt::needs(&needs()) else {
        return;
    };
    let port = free_port();
    let config = rkt.file("nginx.conf");
    let text = format!(
        "events {{}} http {{ server {{ listen 127.0.0.1:{port}; location / {{\
         return 200 \"served $remote_addr\\n\"; }} }} }}\n"
    );
    std::fs::write(&config, text).unwrap();
    let volume = format!("-v{}:/etc/nginx/nginx.conf:ro", config.display());
    let option = format!("--port={port}:{port},via=socket");
    let image = NGINX.oci();
    // nginx's own word for sockets that it was handed; it compares their addresses with its
    // configuration.
    let words = [
        "--net=none",
        &option,
        &volume,
        &image,
        "--name=web",
        "--environment=NGINX=3;",
    ];
    let pod = rkt.start(&words);
    let from = Ipv4Addr::new(127, 7, 7, 7);
    let said = ask_from(from, port, "GET / HTTP/1.0\r\n\r\n");
    assert!(said.ends_with("served 127.7.7.7\n"), "{said}");
    rkt.rkt(&["audit", &pod.uuid]).ok();
    pod.stop().ok();
}

#[test]
fn clients_wait_while_the_app_is_restarted() {
    let Some(rkt) = Rkt::needs(&needs()) else {
        return;
    };
    let port = free_port();
    let pod = serve(&rkt, port);
    pod.wait_for_log("web", "serving 1");
    let first = ask_from(Ipv4Addr::LOCALHOST, port, "");
    // It is stopped: the kernel takes the connection, nobody answers it.
    let app = pod.app("web").pid;
    rkt_tests::host::signal(app, rustix::process::Signal::STOP);
    rkt_tests::wait_for("the app to stop", 20, || {
        let stat = std::fs::read_to_string(format!("/proc/{app}/stat")).unwrap();
        stat.contains(") T ")
    });
    let client = std::thread::spawn(move || ask_from(Ipv4Addr::LOCALHOST, port, ""));
    rkt.rkt(&["app", "restart", "--force", &pod.uuid, "--app=web"])
        .ok();
    let second = client.join().unwrap();
    let pid = |said: &str| said.split_whitespace().nth(1).unwrap().to_owned();
    assert_ne!(pid(&first), pid(&second), "{first}{second}");
    // The second life of a launcher knows the sockets too.
    let old: Vec<i32> = pod.launchers().iter().map(|l| l.pid).collect();
    for pid in &old {
        rkt_tests::host::kill(*pid);
    }
    let is_new = |pid: i32| !old.contains(&pid);
    rkt_tests::wait_for("a new launcher", 20, || {
        pod.launchers().iter().any(|l| is_new(l.pid))
    });
    rkt.rkt(&["app", "restart", "--force", &pod.uuid, "--app=web"])
        .ok();
    let third = ask_from(Ipv4Addr::LOCALHOST, port, "");
    assert_ne!(pid(&second), pid(&third));
}

#[test]
fn a_port_in_use_is_told_with_who_has_it() {
    let Some(rkt) = Rkt::needs(&needs()) else {
        return;
    };
    let port = free_port();
    let pod = serve(&rkt, port);
    let option = format!("--port=127.0.0.1:{port}:80,via=socket");
    let words = ["run", "--rm", "--net=none", &option, "builtin:probe"];
    let done = rkt.rkt(&words).ends_with(125).is_one_clear_error();
    done.says(&format!("127.0.0.1:{port}/tcp"))
        .says(&format!("in use by pod `{}`", pod.uuid));
    pod.kill().ok();
    let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = held.local_addr().unwrap().port();
    let own = format!("in use by process {} (", std::process::id());
    for address in ["127.0.0.1", "0.0.0.0"] {
        let option = format!("--port={address}:{port}:80,via=socket");
        let words = ["run", "--rm", "--net=none", &option, "builtin:probe"];
        rkt.rkt(&words)
            .ends_with(125)
            .is_one_clear_error()
            .says(&own);
    }
    let words = [
        "run",
        "--rm",
        "--net=none",
        "--port=192.0.2.77:9:80,via=socket",
        "builtin:probe",
    ];
    rkt.rkt(&words)
        .ends_with(125)
        .says("the host has no address 192.0.2.77");
    let words = [
        "run",
        "--rm",
        "--net=none",
        "--port=9:80/udp,via=socket",
        "builtin:probe",
    ];
    rkt.rkt(&words)
        .ends_with(254)
        .says("only tcp is handed over");
    rkt.gc();
    rkt.leaves_nothing();
}

#[test]
fn a_socket_of_the_host_reaches_nothing_of_the_host() {
    let Some(rkt) = Rkt::needs(&needs()) else {
        return;
    };
    let victim = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target: SocketAddr = victim.local_addr().unwrap();
    // The control: a listening socket that nobody took care of can do it.
    let bare = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    rustix::net::shutdown(&bare, Shutdown::Both).unwrap();
    let reached = rustix::net::connect(&bare, &target).is_ok();
    victim.set_nonblocking(true).unwrap();
    let control = reached && victim.accept().is_ok();
    let option = format!("--port={}:80,via=socket", free_port());
    let number = target.port().to_string();
    let image = PYTHON.oci();
    let words = [&*option, &image, "--", "python3", "-c", ATTACK, &number];
    let done = rkt.run(&words).ends_with(0);
    record_held("F04.7", done.out.starts_with("refused"), control);
    // A port where nobody listens looks the same.
    let shut = free_port().to_string();
    let words = [&*option, &image, "--", "python3", "-c", ATTACK, &shut];
    assert_eq!(rkt.run(&words).ok(), done.out);
    if let Ok((mut stream, _)) = victim.accept() {
        // The kernel of the victim may have answered: what it sends must come to nobody.
        let _ = stream.write_all(b"x");
    }
}
