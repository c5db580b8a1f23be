//! A host, its pods and a neighbour: each a network namespace that a thread of its own lives in.

use super::*;
use crate::localnet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace, and a thread that lives in it.
pub(super) struct Place {
    pub(super) tid: i32,
    jobs: mpsc::Sender<Job>,
}

impl Place {
    pub(super) fn new() -> Self {
        let (jobs, list) = mpsc::channel::<Job>();
        let (say, hear) = mpsc::channel();
        std::thread::spawn(move || {
            ns::unshare(ns::kind::NET).unwrap();
            say.send(rustix::thread::gettid().as_raw_pid()).unwrap();
            for job in list {
                job();
            }
        });
        let place = Self {
            tid: hear.recv().unwrap(),
            jobs,
        };
        place.ip("link set lo up");
        place
    }

    /// Runs something there.
    pub(super) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (say, hear) = mpsc::channel();
        let job = move || say.send(job()).unwrap();
        self.jobs.send(Box::new(job)).unwrap();
        hear.recv().unwrap()
    }

    /// Runs a command of iproute2, without its name.
    pub(super) fn ip(&self, words: &str) {
        self.sh(&format!("ip {words}"));
    }

    /// Runs a shell command and gives what it printed.
    pub(super) fn sh(&self, words: &str) -> String {
        let words = words.to_owned();
        self.run(move || {
            let done = Command::new("sh").args(["-ec", &words]).output().unwrap();
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            assert!(done.status.success(), "`{words}`: {said}");
            String::from_utf8(done.stdout).unwrap()
        })
    }

    /// Listens there and answers each connection with the client's address.
    pub(super) fn serve(&self, address: &str) {
        let address: SocketAddr = address.parse().unwrap();
        self.run(move || {
            let listener = TcpListener::bind(address).unwrap();
            let udp = UdpSocket::bind(address).unwrap();
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let mut stream = stream.unwrap();
                    let from = stream.peer_addr().unwrap().ip().to_string();
                    let _ = stream.write_all(from.as_bytes());
                }
            });
            std::thread::spawn(move || {
                let mut bytes = [0; 64];
                while let Ok((_, from)) = udp.recv_from(&mut bytes) {
                    let _ = udp.send_to(from.ip().to_string().as_bytes(), from);
                }
            });
        });
    }

    /// Connects from there: what the server saw as the client's address.
    pub(super) fn reach(&self, address: &str) -> Option<String> {
        self.reach_within(address, Duration::from_secs(20))
    }

    /// The same, when no answer is expected: a connection that is dropped takes the whole time.
    pub(super) fn misses(&self, address: &str) -> bool {
        let short = Duration::from_millis(700);
        self.reach_within(address, short).is_none()
    }

    fn reach_within(&self, address: &str, time: Duration) -> Option<String> {
        let address: SocketAddr = address.parse().unwrap();
        self.run(move || {
            let mut stream = TcpStream::connect_timeout(&address, time).ok()?;
            stream.set_read_timeout(Some(time)).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            (!text.is_empty()).then_some(text)
        })
    }

    /// Asks by UDP from one socket that may be used again.
    pub(super) fn udp(&self, from: &str) -> UdpSocket {
        let from = from.to_owned();
        self.run(move || {
            let socket = UdpSocket::bind(from).unwrap();
            let time = Duration::from_millis(700);
            socket.set_read_timeout(Some(time)).unwrap();
            socket
        })
    }
}

/// One question and its answer.
pub(super) fn ask(socket: &UdpSocket, to: &str) -> Option<String> {
    let mut bytes = [0; 64];
    for _ in 0..20 {
        socket.send_to(b"?", to).ok()?;
        if let Ok((n, _)) = socket.recv_from(&mut bytes) {
            return Some(String::from_utf8_lossy(&bytes[..n]).into_owned());
        }
    }
    None
}

/// A host with rkt's firewall, a neighbour outside, and a pod a network.
pub(super) struct Lab {
    pub(super) host: Place,
    pub(super) outside: Place,
}

impl Lab {
    pub(super) fn new() -> Self {
        let lab = Self {
            host: Place::new(),
            outside: Place::new(),
        };
        let out = lab.outside.tid;
        lab.host
            .ip(&format!("link add up0 type veth peer name up0 netns {out}"));
        for (place, last) in [(&lab.host, 1), (&lab.outside, 2)] {
            place.ip(&format!("addr add 10.9.0.{last}/24 dev up0"));
            place.ip(&format!("addr add fd09::{last}/64 dev up0 nodad"));
            place.ip("link set up0 up");
        }
        // The neighbour knows where pods are, and tries.
        for way in ["172.16.0.0/12 via 10.9.0.1", "-6 fd00::/16 via fd09::1"] {
            lab.outside.ip(&match way.strip_prefix("-6 ") {
                Some(way) => format!("-6 route add {way}"),
                None => format!("route add {way}"),
            });
        }
        lab.host.sh(
            "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
        );
        lab
    }

    /// A pod by itself on a routed device: `net` is the third byte of its network, `n` the last of
    /// its address.
    pub(super) fn routed(&self, net: u8, n: u8) -> (Place, Link) {
        let pod = Place::new();
        let (tid, host) = (pod.tid, &self.host);
        let link = on(net, n);
        let (device, mac) = (&link.device, link.mac);
        host.ip(&format!(
            "link add {device} type veth peer name eth0 address {mac} netns {tid}"
        ));
        host.ip(&format!("addr add 172.16.{net}.1/32 dev {device}"));
        host.ip(&format!("addr add fd00:{net}::1/128 dev {device} nodad"));
        host.ip(&format!("link set {device} up"));
        host.ip(&format!("route add 172.16.{net}.{n}/32 dev {device}"));
        host.ip(&format!("-6 route add fd00:{net}::{n}/128 dev {device}"));
        inside(&pod, net, n, "noprefixroute");
        pod.ip(&format!("route add 172.16.{net}.1 dev eth0"));
        pod.ip(&format!("route add 172.16.{net}.0/24 via 172.16.{net}.1"));
        pod.ip(&format!("-6 route add fd00:{net}::1 dev eth0"));
        pod.ip(&format!("-6 route add fd00:{net}::/64 via fd00:{net}::1"));
        leave(&pod, net);
        (pod, link)
    }

    /// A pod on bridge `br0`.
    pub(super) fn bridged(&self, net: u8, n: u8) -> (Place, Link) {
        let pod = Place::new();
        let (tid, host) = (pod.tid, &self.host);
        let link = Link {
            bridge: Some("br0".into()),
            ..on(net, n)
        };
        let (device, mac) = (&link.device, link.mac);
        host.sh(&format!(
            "ip link show br0 >/dev/null 2>&1 || {{ ip link add br0 type bridge; \
             ip addr add 172.16.{net}.1/24 dev br0; ip addr add fd00:{net}::1/64 dev br0 nodad; \
             ip link set br0 up; }}"
        ));
        host.ip(&format!(
            "link add {device} master br0 type veth peer name eth0 address {mac} netns {tid}"
        ));
        host.ip(&format!("link set {device} up"));
        inside(&pod, net, n, "");
        leave(&pod, net);
        (pod, link)
    }

    /// Adds a pod to the firewall of the host.
    pub(super) fn add(&self, n: u8, links: &[Link], ports: &[Published]) {
        let (links, ports) = (links.to_vec(), ports.to_vec());
        self.host.run(move || {
            let firewall = Firewall::open().unwrap();
            firewall.add(&pod(n), &links, &ports, &nobody).unwrap();
            if ports.iter().any(Published::serves_loopback) {
                for link in &links {
                    if let Some(bridge) = &link.bridge {
                        firewall.guard_bridge(bridge).unwrap();
                    }
                    localnet::open(link.way()).unwrap();
                }
            }
        });
    }

    pub(super) fn remove(&self, n: u8, links: &[Link], ports: &[Published]) {
        let (links, ports) = (links.to_vec(), ports.to_vec());
        self.host.run(move || {
            let firewall = Firewall::open().unwrap();
            firewall.remove(&pod(n), &links, &ports).unwrap();
        });
    }

    /// How many packets were dropped for this reason.
    pub(super) fn dropped(&self, why: &str) -> u64 {
        let text = self.host.sh("nft list ruleset");
        let lines = text.lines().filter(|l| l.contains(&format!("\"{why}\"")));
        let packets = |l: &str| {
            let (_, after) = l.split_once("packets ").unwrap();
            after.split_once(' ').unwrap().0.parse::<u64>().unwrap()
        };
        lines.map(packets).sum()
    }
}

fn inside(pod: &Place, net: u8, n: u8, how: &str) {
    pod.ip(&format!("addr add 172.16.{net}.{n}/24 dev eth0 {how}"));
    pod.ip(&format!("addr add fd00:{net}::{n}/64 dev eth0 nodad {how}"));
    pod.ip("link set eth0 up");
}

fn leave(pod: &Place, net: u8) {
    pod.ip(&format!("route add default via 172.16.{net}.1"));
    pod.ip(&format!("-6 route add default via fd00:{net}::1"));
}

/// What a pod of this network is to the firewall.
pub(super) fn on(net: u8, n: u8) -> Link {
    Link {
        device: format!("rktv-{net}-{n}"),
        mac: Mac([2, 0, 0, 0, net, n]),
        addresses: vec![
            format!("172.16.{net}.{n}/24").parse().unwrap(),
            format!("fd00:{net}::{n}/64").parse().unwrap(),
        ],
        gates: vec![
            format!("172.16.{net}.1").parse().unwrap(),
            format!("fd00:{net}::1").parse().unwrap(),
        ],
        ..link(0)
    }
}
