//! `rkt network list|check|create|rm`: the networks that pods can join.

mod check;
mod create;
mod pods;

use super::look;
use crate::args::{self, Format, Globals};
use crate::failure::{Failure, printable};
use crate::view::networks::{self, Listed};
use clap::{Parser, Subcommand};
use rkt_net::choice::{Network, Origin};
use rkt_pod::{PodStatus, Pods, State};
use rkt_spec::Uuid;
use rkt_stage0::networks::{Entry, built_in, files};
use serde_json::json;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::PathBuf;

/// List, check, create and remove networks
#[derive(Debug, Parser)]
#[command(name = "rkt network")]
struct Words {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the networks that there are, and which pods have joined them
    #[command(visible_alias = "ls")]
    List(List),
    /// Tell whether each network could be joined here, and whether plugins find their pods in order
    Check(check::Check),
    /// Write a new network into net.d
    Create(create::Create),
    /// Remove networks that no pod uses
    Rm(Rm),
}

#[derive(Debug, clap::Args)]
struct List {
    /// No line of headings
    #[arg(long)]
    no_legend: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

#[derive(Debug, clap::Args)]
struct Rm {
    /// Names of networks
    #[arg(value_name = "NETWORK", required = true)]
    names: Vec<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

pub(super) fn run(words: Vec<OsString>) -> Result<u8, Failure> {
    match args::parse::<Words>("network", words)?.verb {
        Verb::List(asked) => list(&asked),
        Verb::Check(asked) => check::run(&asked),
        Verb::Create(asked) => create::run(&asked),
        Verb::Rm(asked) => remove(&asked),
    }
}

/// What there is: networks that count, files that another one overrides, and files that are none.
struct Found {
    networks: Vec<Network>,
    overridden: Vec<(PathBuf, Network)>,
    broken: Vec<(PathBuf, Failure)>,
}

fn find(globals: &Globals) -> Result<Found, Failure> {
    let mut found = Found {
        networks: Vec::new(),
        overridden: Vec::new(),
        broken: Vec::new(),
    };
    for Entry { path, network } in files(&globals.configs.dirs()).map_err(Failure::outside_run)? {
        match network {
            Err(error) => found.broken.push((path, Failure::outside_run(error))),
            Ok(network) if found.named(network.plan.name.as_str()).is_some() => {
                found.overridden.push((path, network));
            }
            Ok(network) => found.networks.push(network),
        }
    }
    for network in built_in().map_err(Failure::outside_run)? {
        if found.named(network.plan.name.as_str()).is_none() {
            found.networks.push(network);
        }
    }
    Ok(found)
}

impl Found {
    fn named(&self, name: &str) -> Option<&Network> {
        self.networks.iter().find(|n| n.plan.name.as_str() == name)
    }
}

/// Pods that live, by the networks they have joined.
fn users(globals: &Globals) -> Result<BTreeMap<String, Vec<Uuid>>, Failure> {
    let mut users: BTreeMap<String, Vec<Uuid>> = BTreeMap::new();
    let pods: Pods = look::open(globals)?;
    for (uuid, shelf) in pods.uuids()? {
        let Some(pod) = pods.get_from(uuid, shelf)? else {
            continue;
        };
        let lives = [
            State::Embryo,
            State::Preparing,
            State::Prepared,
            State::Running,
        ];
        if !lives.contains(&pod.state()) {
            continue;
        }
        let names = match PodStatus::read(pod.as_fd()) {
            Ok(Some(status)) => status.networks,
            // Its supervisor has not said anything yet, or is of another version: what it was asked for
            // counts.
            Ok(None) | Err(_) => look::manifest(&pod)?.map_or_else(Vec::new, |manifest| {
                let words = manifest.net.split(',');
                let name = |word: &str| word.split(':').next().unwrap_or_default().to_owned();
                words.map(name).collect()
            }),
        };
        for name in names {
            users.entry(name).or_default().push(uuid);
        }
    }
    Ok(users)
}

fn list(asked: &List) -> Result<u8, Failure> {
    let found = find(&asked.globals)?;
    let mut users = users(&asked.globals)?;
    let rows: Vec<Listed<'_>> = found
        .networks
        .iter()
        .map(|network| Listed {
            network,
            pods: users.remove(network.plan.name.as_str()).unwrap_or_default(),
        })
        .collect();
    super::say(&match asked.format {
        Format::Table => networks::table(&rows, asked.no_legend),
        format => {
            let values: Vec<_> = rows.iter().map(networks::listed).collect();
            super::json(&values, format)?
        }
    });
    for (path, network) in &found.overridden {
        let (path, name) = (path.display(), &network.plan.name);
        super::note(&format!(
            "network: `{path}` does not count: another file has the network `{name}` too"
        ));
    }
    if !found.broken.is_empty() {
        super::note(&format!(
            "{} error(s) encountered when listing networks:",
            found.broken.len()
        ));
        found.broken.iter().for_each(|(_, failure)| failure.print());
    }
    Ok(0)
}

fn remove(asked: &Rm) -> Result<u8, Failure> {
    let found = find(&asked.globals)?;
    let users = users(&asked.globals)?;
    let mut paths: Vec<(&str, &PathBuf)> = Vec::new();
    for name in &asked.names {
        let doing = || Failure::usage(format!("remove the network `{}`", printable(name)));
        let network = found
            .named(name)
            .ok_or_else(|| doing().because(missing(name, &found)))?;
        let Origin::File(path) = &network.origin else {
            return Err(doing()
                .because("it is part of rkt")
                .hint("a file of net.d with a network of this name overrides it"));
        };
        if path.starts_with(&asked.globals.configs.system_config) {
            return Err(doing().because(format!(
                "its file `{}` belongs to the distribution",
                path.display()
            )));
        }
        if let Some(pods) = users.get(name) {
            let pods: Vec<String> = pods.iter().map(Uuid::to_string).collect();
            return Err(doing()
                .because(format!("it is used by {}", pods.join(", ")))
                .hint("stop what uses it first"));
        }
        paths.push((name, path));
    }
    let mut gone = Vec::new();
    for (name, path) in paths {
        std::fs::remove_file(path).map_err(|e| {
            Failure::usage(format!("remove the file `{}`", path.display())).because(e.to_string())
        })?;
        gone.push(json!({ "name": name, "file": path }));
    }
    super::say(&match asked.format {
        Format::Table => asked.names.iter().map(|n| format!("\"{n}\"\n")).collect(),
        format => super::json(&gone, format)?,
    });
    Ok(0)
}

fn missing(name: &str, found: &Found) -> String {
    let name = printable(name);
    match found.broken.is_empty() {
        true => format!("networks not found: {name}"),
        false => format!(
            "networks not found: {name}, and {} file(s) cannot be read as networks",
            found.broken.len()
        ),
    }
}
