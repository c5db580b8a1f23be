//! The rows of `--explain` about networks, ports and names.

use super::{Row, row};
use crate::plan::Planned;
use crate::ports;
use rkt_net::choice::{Network, Origin};
use rkt_spec::network::{Driver, MacvlanMode, NetworkPlan};
use rkt_spec::plan::Net;

pub(super) fn rows(planned: &Planned) -> Vec<Row> {
    let plan = &planned.plan;
    let is = match plan.net {
        Net::None => "none: a namespace of its own with loopback only",
        Net::Host => "host: the host's own",
        Net::Private => "a namespace of its own",
    };
    let mut rows = vec![row("network", is, "--net")];
    for network in &planned.networks {
        let name = format!("network {}", network.plan.name);
        rows.push(row(&name, told(network), "--net"));
    }
    for port in &plan.ports {
        let name = format!("port {}", ports::host_end(port));
        rows.push(row(&name, ports::pod_end(port), "--port"));
    }
    let hosts = match (&plan.hosts, plan.keep_hosts) {
        (None, _) => "the image's",
        (Some(_), true) => "the image's; when it has none, localhost and the pod's name",
        (Some(_), false) => "one for the pod, not the image's",
    };
    let hosts = match plan.grow_hosts {
        true => format!("{hosts}; with the names of pods on its networks"),
        false => hosts.to_owned(),
    };
    rows.push(row("/etc/hosts", hosts, "--hosts-entry"));
    let resolver = match &plan.resolv_conf {
        None => "the image's".to_owned(),
        Some(bytes) => {
            let text = String::from_utf8_lossy(&bytes.0).into_owned();
            let lines = text.lines().map(str::trim);
            let said: Vec<&str> = lines
                .filter(|l| !l.is_empty() && !l.starts_with(['#', ';']))
                .collect();
            said.join("; ")
        }
    };
    rows.push(row("/etc/resolv.conf", resolver, "--dns"));
    rows
}

fn told(network: &Network) -> String {
    let plan = &network.plan;
    let mut words = vec![format!("{} {}", plan.interface, driver(plan))];
    if let Origin::File(path) = &network.origin {
        words.push(format!("by `{}`", path.display()));
    }
    if !network.why.is_empty() {
        let why = network.why.join(", ");
        words.push(format!("made by plugins ({why})"));
    }
    for pool in &plan.pools {
        words.push(match pool.wanted {
            Some(address) => format!("{address} of {}", pool.subnet),
            None => pool.subnet.to_string(),
        });
    }
    for route in &plan.routes {
        words.push(match route.via {
            Some(via) => format!("to {} by {via}", route.to),
            None => format!("to {}", route.to),
        });
    }
    for (is, word) in [
        (plan.masquerade, "with the host's address outside"),
        (plan.isolated, "pods kept from each other"),
        (plan.restricted, "the host out of reach but its gateway"),
        (plan.hairpin, "hairpin"),
        (plan.names, "pods found by name"),
    ] {
        words.extend(is.then(|| word.to_owned()));
    }
    if plan.mtu != 0 {
        words.push(format!("mtu {}", plan.mtu));
    }
    words.extend(plan.mac.map(|mac| mac.to_string()));
    if !plan.args.is_empty() {
        words.push(format!("told {}", plan.args));
    }
    words.join(", ")
}

fn driver(plan: &NetworkPlan) -> String {
    let mode = match plan.macvlan {
        MacvlanMode::Bridge => "bridge",
        MacvlanMode::Private => "private",
        MacvlanMode::Vepa => "vepa",
        MacvlanMode::Passthru => "passthru",
    };
    match plan.driver {
        Driver::Bridge => format!("on the bridge {}", plan.device),
        Driver::Ptp => "a link of its own".to_owned(),
        Driver::Macvlan => format!("a macvlan ({mode}) of {}", plan.device),
        Driver::Cni => "of plugins".to_owned(),
        Driver::Pasta => "by pasta".to_owned(),
    }
}
