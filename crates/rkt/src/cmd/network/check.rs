//! `rkt network check`: whether each network could be joined on this host, and if not, why; and
//! whether its plugins find what they made for pods that run.

use super::pods::{self, Checked};
use crate::args::{Format, Globals};
use crate::cmd::net_probe;
use crate::failure::{Failure, printable};
use clap::Args;
use rkt_net::builtin::Ipv6;
use rkt_net::choice::{DRIVERS, Network, Origin};
use rkt_net::cni::{self, List};
use rkt_net::nft;
use rkt_spec::network::Driver;
use rkt_stage0::networks::{DIRECTORY, Forwards, ipv6, unforwarded};
use serde_json::{Value, json};
use std::path::Path;

/// Exit status when a network could not be joined.
const PROBLEMS: u8 = 1;

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Names of networks; all without any
    #[arg(value_name = "NETWORK")]
    names: Vec<String>,
    /// Put back the rules of pods that the host's firewall has lost, as by `nft flush ruleset`
    #[arg(long)]
    repair: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

/// What was found out about one network or file.
struct Verdict {
    name: String,
    /// Its file; empty when there is none.
    file: String,
    problems: Vec<String>,
    /// What a start is going to change, and what could not be found out.
    notes: Vec<String>,
    /// What its plugins say of pods that run.
    pods: Vec<Checked>,
}

impl Verdict {
    fn of(name: impl Into<String>, file: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            file: file.into(),
            problems: Vec::new(),
            notes: Vec::new(),
            pods: Vec::new(),
        }
    }

    fn take(&mut self, checked: Checked) {
        self.problems.extend(checked.problem());
        let pod = checked.pod;
        match &checked.verdict {
            pods::Verdict::Unasked(why) => {
                self.notes.push(format!("pod {pod} is not checked: {why}"));
            }
            pods::Verdict::Repaired => {
                let note = format!("pod {pod}: its rules were gone and are back");
                self.notes.push(note);
            }
            pods::Verdict::Fine | pods::Verdict::Wrong(_) => {}
        }
        self.pods.push(checked);
    }
}

pub(super) fn run(asked: &Check) -> Result<u8, Failure> {
    let found = super::find(&asked.globals)?;
    for name in &asked.names {
        if found.named(name).is_none() {
            return Err(
                Failure::usage(format!("check the network `{}`", printable(name)))
                    .because(super::missing(name, &found)),
            );
        }
    }
    let wanted = |n: &&Network| {
        asked.names.is_empty() || asked.names.iter().any(|name| name == n.plan.name.as_str())
    };
    let mut host = Host {
        forwards: Forwards::look(),
        firewall: None,
    };
    let mut verdicts: Vec<Verdict> = found
        .networks
        .iter()
        .filter(wanted)
        .map(|n| verdict(n, &found.networks, asked, &mut host))
        .collect();
    if asked.names.is_empty() {
        verdicts.extend(found.broken.iter().map(|(path, failure)| {
            let mut verdict = Verdict::of("", path.display().to_string());
            verdict.problems.push(failure.causes().join(": "));
            verdict
        }));
    }
    let named = |name: &str| asked.names.is_empty() || asked.names.iter().any(|n| n == name);
    let mut of_pods = pods::guarded(&asked.globals, named, asked.repair)?;
    of_pods.extend(pods::check(&asked.globals, named)?);
    for checked in of_pods {
        match verdicts.iter_mut().find(|v| v.name == checked.network) {
            Some(verdict) => verdict.take(checked),
            // Its file is gone; the pod is still on it.
            None => {
                let mut verdict = Verdict::of(&checked.network, "");
                verdict.take(checked);
                verdicts.push(verdict);
            }
        }
    }
    let bad = verdicts.iter().any(|v| !v.problems.is_empty());
    crate::cmd::say(&match asked.format {
        Format::Table => verdicts.iter().map(lines).collect(),
        format => {
            let values: Vec<Value> = verdicts.iter().map(value).collect();
            crate::cmd::json(&values, format)?
        }
    });
    for verdict in &verdicts {
        for note in &verdict.notes {
            crate::cmd::note(&format!("network: {}: {note}", verdict.name));
        }
    }
    Ok(if bad { PROBLEMS } else { 0 })
}

/// What is the same for all networks, and looked for once.
struct Host {
    forwards: Forwards,
    firewall: Option<Option<String>>,
}

impl Host {
    /// Why the host's firewall takes no pods.
    fn firewall(&mut self) -> Option<&String> {
        let tried = || {
            nft::trial::firewall()
                .err()
                .map(|e| format!("try the firewall: {e}"))
        };
        self.firewall.get_or_insert_with(tried).as_ref()
    }
}

fn lines(verdict: &Verdict) -> String {
    let what = match verdict.name.is_empty() {
        true => &verdict.file,
        false => &verdict.name,
    };
    let what = printable(what);
    match verdict.problems.is_empty() {
        true => format!("{what}: ok\n"),
        false => verdict
            .problems
            .iter()
            .map(|p| format!("{what}: {}\n", printable(p)))
            .collect(),
    }
}

fn value(verdict: &Verdict) -> Value {
    json!({
        "name": verdict.name,
        "file": verdict.file,
        "ok": verdict.problems.is_empty(),
        "problems": verdict.problems,
        "notes": verdict.notes,
        "pods": verdict.pods.iter().map(Checked::value).collect::<Vec<_>>(),
    })
}

fn verdict(network: &Network, all: &[Network], asked: &Check, host: &mut Host) -> Verdict {
    let plan = &network.plan;
    let mut problems = Vec::new();
    let mut notes = Vec::new();
    if matches!(plan.driver, Driver::Bridge | Driver::Ptp) {
        problems.extend(host.firewall().cloned());
    }
    for setting in unforwarded(std::slice::from_ref(network), host.forwards) {
        match net_probe::can_be_set(setting) {
            true => notes.push(format!("{setting} is off; a start turns it on")),
            false => problems.push(format!(
                "{setting} is off and cannot be turned on from here"
            )),
        }
    }
    if !DRIVERS.contains(&plan.driver) {
        problems.push("this version does not have its driver yet".to_owned());
    }
    match plan.driver {
        Driver::Bridge => problems.extend(bridge(&plan.device)),
        Driver::Macvlan if !device(&plan.device).exists() => {
            problems.push(format!("the host has no device `{}`", plan.device));
        }
        Driver::Cni => problems.extend(plugins(network, asked)),
        Driver::Macvlan | Driver::Ptp | Driver::Pasta => {}
    }
    if ipv6() == Ipv6::Off && plan.pools.iter().any(|p| p.subnet.address.is_ipv6()) {
        problems.push("it has addresses of IPv6, which is disabled on this host".to_owned());
    }
    for other in all.iter().filter(|o| o.plan.name != plan.name) {
        let meets = |a: &rkt_spec::network::Pool| {
            let meets = |b: &rkt_spec::network::Pool| {
                a.subnet.contains(b.subnet.network()) || b.subnet.contains(a.subnet.network())
            };
            other.plan.pools.iter().any(meets)
        };
        if let Some(pool) = plan.pools.iter().find(|p| meets(p)) {
            problems.push(format!(
                "its subnet `{}` overlaps with the network `{}`",
                pool.subnet, other.plan.name
            ));
        }
    }
    let file = match &network.origin {
        Origin::File(path) => path.display().to_string(),
        Origin::BuiltIn => String::new(),
    };
    Verdict {
        problems,
        notes,
        ..Verdict::of(plan.name.as_str(), file)
    }
}

/// The first plugin that is missing, looked for where a start looks for it.
fn plugins(network: &Network, asked: &Check) -> Option<String> {
    let configs = asked.globals.configs.dirs();
    let beside = configs.iter().rev().map(|dir| dir.join(DIRECTORY));
    let beside = beside.map(|dir| dir.to_string_lossy().into_owned());
    let places: Vec<String> = beside.chain(cni::DIRECTORIES.map(str::to_owned)).collect();
    let list = List::parse(&network.plan.config.0);
    let found = list.and_then(|list| cni::programs(&list.names(), &places));
    found
        .err()
        .map(|refusal| format!("{}: {}", refusal.doing, refusal.because))
}

fn device(name: &str) -> std::path::PathBuf {
    Path::new("/sys/class/net").join(name)
}

fn bridge(name: &str) -> Option<String> {
    let device = device(name);
    (device.exists() && !device.join("bridge").exists())
        .then(|| format!("the device `{name}` of the host is no bridge"))
}
