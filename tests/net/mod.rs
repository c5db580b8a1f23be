//! Networks of pods, each test's in network namespaces of its own.

mod addresses;
mod bridge;
mod files;
mod firewall;
mod forged;
mod guests;
mod names;
mod neighbours;
mod pasta;
mod plugins;
mod ports;
mod ptp;
mod scripts;
mod sockets;
mod words;

use rkt_tests::{Pod, Rkt};
use serde_json::Value;

const PROBE: &str = "builtin:probe";

/// What a pod's network looks like from inside: `ip -json WORDS` in it.
#[track_caller]
fn ip(pod: &Pod<'_>, words: &str) -> Value {
    let line = format!("ip -json {words}");
    rkt_tests::netns::run_in(pod.init().pid, &line).json()
}

/// The same of the network that rkt is in.
#[track_caller]
fn host_ip(rkt: &Rkt, words: &str) -> Value {
    rkt.net().run(&format!("ip -json {words}")).json()
}

/// Global addresses of a device in a pod, with their lengths, IPv4 first.
#[track_caller]
fn addresses(pod: &Pod<'_>, device: &str) -> Vec<String> {
    let all = ip(pod, &format!("addr show dev {device} scope global"));
    let list = all[0]["addr_info"].as_array().unwrap();
    // Of what is filtered out, `ip` leaves an empty object.
    let show = |a: &Value| Some(format!("{}/{}", a["local"].as_str()?, a["prefixlen"]));
    list.iter().filter_map(show).collect()
}

/// The address alone.
fn bare(prefix: &str) -> &str {
    prefix.split('/').next().unwrap()
}

/// Writes files of `net.d`; gives the option that makes rkt read them.
fn configured(rkt: &Rkt, networks: &[(&str, &str)]) -> String {
    let dir = rkt.file("config");
    std::fs::create_dir_all(dir.join("net.d")).unwrap();
    for (name, text) in networks {
        std::fs::write(dir.join(format!("net.d/{name}.conflist")), text).unwrap();
    }
    format!("--local-config={}", dir.display())
}

/// `run` and these words.
fn run_words<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [&["run"], words].concat()
}

/// One ping from a pod; it says whether there was an answer within two seconds.
fn reaches(pod: &Pod<'_>, address: &str) -> bool {
    let line = format!("busybox ping -c 1 -W 2 {address}");
    rkt_tests::netns::run_in(pod.init().pid, &line).status == 0
}

/// One ping from rkt's network; it says whether there was an answer within five seconds.
fn answers(rkt: &Rkt, address: &str) -> bool {
    let line = format!("busybox ping -c 1 -W 5 {address}");
    rkt.net().run(&line).status == 0
}
