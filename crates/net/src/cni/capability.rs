//! `runtimeConfig`: what a plugin is told of the pod, when its configuration says it wants to know.

use super::list::List;
use super::record::Request;
use rkt_spec::network::PortWay;
use serde_json::{Map, Value, json};

/// Words of `--net=NAME:KEY=VALUE` that are for the capability `bandwidth`, and its fields: bits
/// a second, and bits.
const BANDWIDTH: [&str; 4] = ["ingressRate", "ingressBurst", "egressRate", "egressBurst"];

/// The capability of mapping ports.
pub(super) const PORTS: &str = "portMappings";

/// Whether a plugin's configuration has a capability turned on.
pub(super) fn wants(config: &Map<String, Value>, name: &str) -> bool {
    let all = config.get("capabilities");
    all.and_then(|c| c.get(name)).and_then(Value::as_bool) == Some(true)
}

/// A word of the network's arguments.
fn argument<'a>(request: &'a Request, key: &str) -> Option<&'a str> {
    let mut all = request
        .network
        .args
        .split(';')
        .filter_map(|w| w.split_once('='));
    all.find(|(name, _)| *name == key).map(|(_, value)| value)
}

/// `CNI_ARGS`: the arguments but for those that a plugin is told by the capability `bandwidth`.
/// Where none wants to know they stay, and plugins refuse what they do not know.
pub(super) fn arguments(list: &List, request: &Request) -> String {
    let limited = list.plugins.iter().any(|p| wants(&p.config, "bandwidth"));
    let told = |word: &str| {
        let pair = word.split_once('=');
        limited && pair.is_some_and(|(key, value)| BANDWIDTH.contains(&key) && is_number(value))
    };
    let words = request.network.args.split(';');
    let rest = words.filter(|word| !word.is_empty() && !told(word));
    rest.collect::<Vec<_>>().join(";")
}

fn is_number(text: &str) -> bool {
    text.parse::<u64>().is_ok()
}

/// What there is to tell of the pod, for the capabilities that a plugin wants.
pub(super) fn runtime(config: &Map<String, Value>, request: &Request) -> Map<String, Value> {
    let mut all = Map::new();
    let told = [
        (PORTS, ports(request)),
        ("ips", argument(request, "IP").map(|ip| json!([ip]))),
        ("mac", mac(request)),
        ("dns", dns(&request.resolv_conf.0)),
        ("bandwidth", bandwidth(request)),
    ];
    for (name, value) in told {
        if let Some(value) = value
            && wants(config, name)
        {
            all.insert(name.to_owned(), value);
        }
    }
    all
}

fn ports(request: &Request) -> Option<Value> {
    let nat = request.ports.iter().filter(|p| p.way == PortWay::Nat);
    let all: Vec<Value> = nat
        .map(|port| {
            let mut one = json!({
                "hostPort": port.host_port,
                "containerPort": port.pod_port,
                "protocol": port.protocol.as_str(),
            });
            if !port.host.is_unspecified()
                && let Some(one) = one.as_object_mut()
            {
                one.insert("hostIP".to_owned(), json!(port.host.to_string()));
            }
            one
        })
        .collect();
    (!all.is_empty()).then_some(Value::Array(all))
}

fn mac(request: &Request) -> Option<Value> {
    let asked = request.network.mac.map(|mac| mac.to_string());
    let asked = asked.or_else(|| argument(request, "MAC").map(str::to_owned));
    asked.map(Value::String)
}

fn bandwidth(request: &Request) -> Option<Value> {
    let pairs = BANDWIDTH.iter().filter_map(|key| {
        let value: u64 = argument(request, key)?.parse().ok()?;
        Some(((*key).to_owned(), json!(value)))
    });
    let all: Map<String, Value> = pairs.collect();
    (!all.is_empty()).then_some(Value::Object(all))
}

/// Name servers, search list and options of a `resolv.conf`.
fn dns(text: &[u8]) -> Option<Value> {
    let text = String::from_utf8_lossy(text);
    let words = |key: &str| {
        let mut all = Vec::new();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            if words.next() == Some(key) {
                all.extend(words.map(str::to_owned));
            }
        }
        all
    };
    let (servers, searches, options) = (words("nameserver"), words("search"), words("options"));
    if servers.is_empty() && searches.is_empty() && options.is_empty() {
        return None;
    }
    Some(json!({ "servers": servers, "searches": searches, "options": options }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cni::run::tests::request;

    fn config(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_plugin_is_told_what_it_wants_to_know() {
        let mut request = request("{}");
        request.network.args = "IP=10.1.2.3;ingressRate=1000;FOO=1".into();
        request.resolv_conf.0 = b"# x\nnameserver 9.9.9.9\nsearch a b\n".to_vec();
        assert!(runtime(&config("{}"), &request).is_empty());
        let all = r#"{"capabilities":{"ips":true,"dns":true,"bandwidth":true,"mac":true,
            "portMappings":false}}"#;
        let told = Value::Object(runtime(&config(all), &request));
        let want = json!({
            "ips": ["10.1.2.3"],
            "dns": { "servers": ["9.9.9.9"], "searches": ["a", "b"], "options": [] },
            "bandwidth": { "ingressRate": 1000 },
        });
        assert_eq!(told, want);
    }

    #[test]
    fn what_is_told_by_capability_is_no_argument_and_all_else_is() {
        let list = |caps: &str| {
            let text = format!(r#"{{"plugins":[{{"type":"x","capabilities":{caps}}}]}}"#);
            List::parse(text.as_bytes()).unwrap()
        };
        let mut request = request("{}");
        request.network.args = "IP=10.1.2.3;ingressRate=1000;egressRate=fast".into();
        let limited = list(r#"{"bandwidth":true}"#);
        assert_eq!(arguments(&limited, &request), "IP=10.1.2.3;egressRate=fast");
        assert_eq!(arguments(&list("{}"), &request), request.network.args);
    }
}
