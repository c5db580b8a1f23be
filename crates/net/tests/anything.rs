//! The readers of words and files with anything anywhere: never a panic, and what is taken holds.
// All of this file is a test, its helpers too.
#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;
use rkt_net::builtin::{self, Ipv6};
use rkt_net::choice::{self, Network};
use rkt_net::files::{self, Hosts};
use rkt_net::ports::{PortRequest, Target};
use rkt_net::request::NetRequest;
use rkt_net::resolv::{Dns, Resolver};

/// Text of the bytes that the grammars care for, more often than not.
fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c0-9:,;=./\\[\\]-]{0,24}",
        "(default|none|host|all|web|IP|MAC|via|app|socket|tcp|udp|[0-9]{1,5}|[:,;=/\\[\\]-]){0,8}",
        any::<String>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_net_takes_it_says_again(text in words(), more in words()) {
        if let Ok(request) = text.parse::<NetRequest>() {
            let said = request.to_string();
            prop_assert_eq!(&said.parse::<NetRequest>().unwrap(), &request);
            prop_assert!(!said.chars().any(char::is_control));
            let plans = builtin::networks(Ipv6::On).unwrap();
            let known: Vec<Network> = plans.into_iter().map(Network::built_in).collect();
            if let Ok(chosen) = choice::networks(&request, &known) {
                for (at, network) in chosen.iter().enumerate() {
                    prop_assert_eq!(&network.plan.interface, &format!("eth{at}"));
                    for pool in &network.plan.pools {
                        let wanted = pool.wanted.unwrap_or(pool.last);
                        prop_assert!(pool.first <= wanted && wanted <= pool.last);
                        prop_assert!(pool.gateway != Some(wanted));
                    }
                }
            }
            if let Ok(both) = request.and(&more) {
                prop_assert_eq!(both.to_string().parse::<NetRequest>().unwrap(), both);
            }
        }
    }

    #[test]
    fn what_port_takes_are_ports(text in words()) {
        if let Ok(port) = text.parse::<PortRequest>() {
            let host = port.host_ports;
            prop_assert!(0 < host.first && host.first <= host.last);
            if let Target::Number(pod, _) = port.to {
                prop_assert!(0 < pod.first && pod.first <= pod.last);
                prop_assert_eq!(host.last - host.first, pod.last - pod.first);
                prop_assert_eq!(host.pairs(pod).last(), Some((host.last, pod.last)));
            }
        }
    }

    #[test]
    fn no_word_breaks_out_of_its_line(list in prop::collection::vec((0..4, words()), 0..6)) {
        let mut dns = Dns::default();
        for (kind, word) in &list {
            // Refused words change nothing that counts here.
            let _ = match kind {
                0 => dns.servers(word),
                1 => dns.search(word),
                2 => dns.options(word),
                _ => dns.domain(word),
            };
        }
        for line in dns.given.text().lines().skip(2) {
            let first = line.split(' ').next().unwrap();
            prop_assert!(["search", "nameserver", "options", "domain"].contains(&first));
            prop_assert!(!line.chars().any(char::is_control));
        }
        let mut hosts = Hosts::default();
        for (_, word) in &list {
            let _ = hosts.entry(word);
            let _ = hosts.add_host(word);
        }
        if let Hosts::Entries(entries) = &hosts {
            let text = files::hosts("pod", entries);
            prop_assert_eq!(text.lines().count(), 2 + 3 + entries.len());
        }
    }

    #[test]
    fn a_hosts_resolv_conf_is_read_into_one_that_reads_the_same(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            "((nameserver|search|domain|options|#|;)[ \t](1.2.3.4|::1|a.b|x:1|,|\u{e9}){0,3}\n){0,8}"
                .prop_map(String::into_bytes),
        ],
    ) {
        let (resolver, _) = Resolver::of_host(&bytes);
        let text = resolver.text();
        let (again, useless) = Resolver::of_host(text.as_bytes());
        prop_assert!(useless.is_empty());
        prop_assert_eq!(again, resolver);
    }
}

#[cfg(feature = "config")]
mod config {
    use super::*;
    use rkt_net::config;
    use rkt_spec::network::Driver;
    use serde_json::{Map, Value, json};
    use std::path::Path;

    /// A value of the kinds that files have, right and wrong.
    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-3i64..70_000).prop_map(Value::from),
            prop::sample::select(vec![
                "bridge",
                "ptp",
                "macvlan",
                "host-local",
                "dhcp",
                "nftables",
                "eth0",
                "10.9.0.0/24",
                "10.9.0.7",
                "fd09::/64",
                "fd09::7",
                "0.0.0.0/0",
                "1.0.0",
                "",
                "x",
            ])
            .prop_map(Value::from),
        ]
    }

    fn object(keys: &'static [&'static str]) -> impl Strategy<Value = Value> {
        let pair = (prop::sample::select(keys), value());
        prop::collection::vec(pair, 0..6).prop_map(|pairs| {
            let pairs = pairs.into_iter().map(|(k, v)| (k.to_owned(), v));
            Value::Object(pairs.collect::<Map<_, _>>())
        })
    }

    fn ipam() -> impl Strategy<Value = Value> {
        const KEYS: &[&str] = &[
            "subnet",
            "rangeStart",
            "rangeEnd",
            "gateway",
            "dataDir",
            "odd",
        ];
        let routes = prop::collection::vec(object(&["dst", "gw", "mtu"]), 0..3);
        (
            object(KEYS),
            routes,
            prop::collection::vec(object(KEYS), 0..3),
            any::<bool>(),
        )
            .prop_map(|(mut ipam, routes, ranges, local)| {
                if local {
                    ipam["type"] = json!("host-local");
                }
                ipam["routes"] = json!(routes);
                ipam["ranges"] = json!([ranges]);
                ipam
            })
    }

    fn plugin() -> impl Strategy<Value = Value> {
        const KEYS: &[&str] = &[
            "type",
            "bridge",
            "isGateway",
            "isDefaultGateway",
            "ipMasq",
            "mtu",
            "master",
            "mode",
            "mac",
            "hairpinMode",
            "vlan",
            "portIsolation",
            "dns",
            "capabilities",
            "odd",
        ];
        let kind = prop::sample::select(vec!["bridge", "ptp", "macvlan", "calico"]);
        (object(KEYS), kind, ipam()).prop_map(|(mut plugin, kind, ipam)| {
            if plugin.get("type").is_none() {
                plugin["type"] = json!(kind);
            }
            plugin["ipam"] = ipam;
            plugin
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn a_file_is_a_network_that_holds_or_is_refused(
            main in plugin(),
            chain in prop::collection::vec(plugin(), 0..2),
        ) {
            let mut plugins = vec![main];
            plugins.extend(chain);
            let file = json!({ "cniVersion": "1.0.0", "name": "x", "plugins": plugins }).to_string();
            let path = Path::new("/etc/rkt/net.d/x.conflist");
            if let Ok(network) = config::read(path, file.as_bytes()) {
                let plan = &network.plan;
                prop_assert_eq!(plan.driver == Driver::Cni, !network.why.is_empty());
                prop_assert_eq!(!plan.config.0.is_empty(), !network.why.is_empty());
                for pool in &plan.pools {
                    prop_assert!(pool.first <= pool.last);
                    prop_assert!(pool.subnet.contains(pool.first) && pool.subnet.contains(pool.last));
                    prop_assert_eq!(pool.subnet.network(), pool.subnet.address);
                    prop_assert!(pool.gateway.is_none_or(|g| pool.subnet.contains(g)));
                }
                prop_assert!(plan.device.len() <= 15);
            }
        }

        #[test]
        fn bytes_are_no_reason_to_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = config::read(Path::new("x.conf"), &bytes);
            let _ = config::read(Path::new("x.conflist"), &bytes);
        }
    }
}
