//! What `rkt doctor` says of networks: the firewall, tried, and what the host passes on.

use rkt_isolate::doctor::{Finding, State};
use rkt_net::builtin::Ipv6;
use rkt_net::choice::Network;
use rkt_net::nft;
use rkt_stage0::networks::{Forwards, built_in, ipv6, unforwarded};

/// Both.
pub(super) fn findings() -> [Finding; 2] {
    [firewall(), forwarding()]
}

fn firewall() -> Finding {
    let (state, detail, remedy) = match nft::trial::firewall() {
        Ok(()) => (State::Ok, "rkt's tables, tried".to_owned(), None),
        Err(error) => (
            State::Degraded,
            format!("{error}: pods can have --net=none, host, pasta and those of macvlan and plugins"),
            Some("run it as root, on a kernel with CONFIG_NF_TABLES_INET, CONFIG_NF_TABLES_BRIDGE and CONFIG_NFT_NAT".to_owned()),
        ),
    };
    Finding {
        name: "nf_tables",
        state,
        detail,
        remedy,
    }
}

fn forwarding() -> Finding {
    let networks: Vec<Network> = built_in().unwrap_or_default();
    let off = unforwarded(&networks, Forwards::look());
    let stuck: Vec<&str> = off
        .iter()
        .copied()
        .filter(|name| !can_be_set(name))
        .collect();
    let families = match ipv6() {
        Ipv6::On => "IPv4 and IPv6",
        Ipv6::Off => "IPv4",
    };
    let (state, detail, remedy) = match (off.is_empty(), stuck.is_empty()) {
        (true, _) => (State::Ok, format!("on for {families}"), None),
        (false, true) => {
            let detail = format!(
                "the first pod with a network turns on {}",
                off.join(" and ")
            );
            (State::Ok, detail, None)
        }
        (false, false) => (
            State::Degraded,
            format!("{} cannot be turned on from here", stuck.join(" and ")),
            Some(format!("on the host: `sysctl -w {}=1`", stuck.join("=1 "))),
        ),
    };
    Finding {
        name: "forwarding",
        state,
        detail,
        remedy,
    }
}

/// Whether a start could turn a setting on: its file is opened for writing, and not written.
pub(super) fn can_be_set(name: &str) -> bool {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    std::fs::OpenOptions::new().write(true).open(path).is_ok()
}
