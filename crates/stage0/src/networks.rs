//! The networks that there are on this host, and those of them that a pod joins.
//!
//! Files of `net.d` in the directories of the configuration; of two with one name that of the later
//! directory counts, and in one directory the first by name, as in the original. A file that cannot
//! be read as a network fails every start that needs the list: what it might have said is not
//! guessed.

use crate::error::{Doing, Error};
use crate::plan::Facts;
use crate::request::RunRequest;
use rkt_net::builtin::{self, Ipv6};
use rkt_net::choice::{self, Network};
use rkt_net::config;
use rkt_spec::network::Driver;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Directory of networks in each directory of the configuration.
pub const DIRECTORY: &str = "net.d";

/// A file of `net.d`, as far as it could be read.
#[derive(Debug)]
pub struct Entry {
    /// Where it lies.
    pub path: PathBuf,
    /// What it says.
    pub network: Result<Network, Error>,
}

/// Every file of `net.d` below `configs`: the later directories first, and in each by name.
///
/// # Errors
/// When a directory that is there cannot be listed.
pub fn files(configs: &[PathBuf]) -> Result<Vec<Entry>, Error> {
    let mut all = Vec::new();
    for config in configs.iter().rev() {
        for path in list(&config.join(DIRECTORY))? {
            let network = read(&path).doing(|| format!("read the network `{}`", path.display()));
            all.push(Entry { path, network });
        }
    }
    Ok(all)
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let doing = || format!("list the networks in `{}`", directory.display());
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).doing(doing),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.doing(doing)?.path();
        if config::is_network(&path) && !path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<Network, Error> {
    let mut bytes = Vec::new();
    let limit = config::MAX_FILE as u64 + 1;
    std::fs::File::open(path)?
        .take(limit)
        .read_to_end(&mut bytes)?;
    let network = config::read(path, &bytes)?;
    // CNI 1.1 lets a directory beside a list add to it. rkt does not.
    let beside = path.with_file_name(network.plan.name.as_str());
    if path.extension().is_some_and(|e| e == "conflist") && beside.is_dir() {
        let said = "plugins of a list stand in the list, and there is a directory";
        return Err(Error::usage(format!("{said} `{}`", beside.display())));
    }
    Ok(network)
}

/// Which families of addresses the host passes on, as a router does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forwards {
    /// `net.ipv4.ip_forward`.
    pub ipv4: bool,
    /// `net.ipv6.conf.all.forwarding`.
    pub ipv6: bool,
}

impl Forwards {
    /// What it is set to now.
    pub fn look() -> Self {
        let on = |path: &str| std::fs::read_to_string(path).is_ok_and(|t| t.trim() != "0");
        Self {
            ipv4: on("/proc/sys/net/ipv4/ip_forward"),
            ipv6: on("/proc/sys/net/ipv6/conf/all/forwarding"),
        }
    }
}

/// Settings that are off and that pods of these networks need on.
pub fn unforwarded(networks: &[Network], forwards: Forwards) -> Vec<&'static str> {
    let of = |ipv4: bool| {
        let plans = networks.iter().map(|n| &n.plan);
        let routed = plans.filter(|n| match n.driver {
            Driver::Ptp => true,
            Driver::Bridge => n.gateway,
            Driver::Macvlan | Driver::Cni | Driver::Pasta => false,
        });
        routed
            .flat_map(|n| &n.pools)
            .any(|p| p.subnet.address.is_ipv4() == ipv4)
    };
    let off = [
        (of(true) && !forwards.ipv4).then_some("net.ipv4.ip_forward"),
        (of(false) && !forwards.ipv6).then_some("net.ipv6.conf.all.forwarding"),
    ];
    off.into_iter().flatten().collect()
}

/// What a start is going to change for all of the host, in one line.
pub(crate) fn forwarding(networks: &[Network], facts: &Facts) -> Option<String> {
    let off = unforwarded(networks, facts.forwards);
    (!off.is_empty()).then(|| {
        format!(
            "turning on {}: this host did not pass on what its pods send and get",
            off.join(" and ")
        )
    })
}

/// Every network that a pod of this host can join: those of files, then the built-in ones.
///
/// # Errors
/// For the first file that is no network.
pub fn known(configs: &[PathBuf]) -> Result<Vec<Network>, Error> {
    let mut all: Vec<Network> = Vec::new();
    for entry in files(configs)? {
        let network = entry.network?;
        if !all.iter().any(|n| n.plan.name == network.plan.name) {
            all.push(network);
        }
    }
    for network in built_in()? {
        if !all.iter().any(|n| n.plan.name == network.plan.name) {
            all.push(network);
        }
    }
    Ok(all)
}

/// The networks that are there without any file.
///
/// # Errors
/// Never; the tables are right.
pub fn built_in() -> Result<Vec<Network>, Error> {
    let plans = builtin::networks(ipv6())?;
    Ok(plans.into_iter().map(Network::built_in).collect())
}

/// Whether addresses of IPv6 can be given to devices of the caller's network namespace.
pub fn ipv6() -> Ipv6 {
    match std::fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6") {
        Ok(text) if text.trim() == "0" => Ipv6::On,
        _ => Ipv6::Off,
    }
}

/// The networks of the pod, in the order of their devices.
///
/// # Errors
/// For one that is not there, or cannot be what its arguments say.
pub(crate) fn chosen(request: &RunRequest, facts: &Facts) -> Result<Vec<Network>, Error> {
    let chosen = choice::networks(&request.network(), &facts.networks)?;
    let asks = |n: &&Network| {
        let own = matches!(
            n.plan.driver,
            Driver::Bridge | Driver::Ptp | Driver::Macvlan
        );
        own && n.plan.pools.iter().any(|p| p.subnet.address.is_ipv6())
    };
    if let Some(network) = chosen.iter().find(asks)
        && ipv6() == Ipv6::Off
    {
        return Err(
            Error::usage("it has addresses of IPv6, which is disabled on this host")
                .while_doing(format!("join the network `{}`", network.plan.name))
                .hint("turn `net.ipv6.conf.all.disable_ipv6` off, or take the subnet out of the network's file"),
        );
    }
    Ok(chosen)
}
