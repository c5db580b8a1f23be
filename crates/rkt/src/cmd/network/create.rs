//! `rkt network create`: a new file of `net.d`, read back before it counts.

use crate::args::{Format, Globals};
use crate::failure::{Failure, printable};
use rkt_net::Refusal;
use rkt_net::choice::Origin;
use rkt_net::config::{self, Draft};
use rkt_spec::NetworkName;
use rkt_spec::network::{Driver, Prefix};
use rkt_stage0::networks::DIRECTORY;
use serde_json::json;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

#[derive(Debug, clap::Args)]
pub(super) struct Create {
    /// Name of the network
    #[arg(value_name = "NETWORK")]
    name: NetworkName,
    /// Who connects its pods: a bridge, a link for each, or a device of the host
    #[arg(long = "type", value_name = "bridge|ptp|macvlan", default_value = "bridge", value_parser = driver)]
    driver: Driver,
    /// Addresses of its pods, such as 10.9.0.0/24; one of IPv4 and one of IPv6 at most (default: a
    /// free one of 172.16.0.0/16)
    #[arg(long, value_name = "PREFIX")]
    subnet: Vec<Prefix>,
    /// Address of the host in a subnet (default: its first)
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<IpAddr>,
    /// Addresses that pods get, of a subnet (default: all)
    #[arg(long, value_name = "FIRST-LAST", value_parser = range)]
    range: Vec<(IpAddr, IpAddr)>,
    /// The bridge, or the device that a macvlan is on (default: a bridge named after the network)
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Largest packet, bytes
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 0,
        hide_default_value = true
    )]
    mtu: u32,
    /// No way out of the network
    #[arg(long)]
    internal: bool,
    /// Keep its pods from each other
    #[arg(long)]
    isolated: bool,
    /// Keep its pods from the host, but for the gateway
    #[arg(long)]
    restricted: bool,
    /// Do not tell its pods each other's names
    #[arg(long)]
    no_names: bool,
    /// Name servers of its pods (default: the host's)
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    dns: Vec<IpAddr>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

fn driver(text: &str) -> Result<Driver, String> {
    match text {
        "bridge" => Ok(Driver::Bridge),
        "ptp" => Ok(Driver::Ptp),
        "macvlan" => Ok(Driver::Macvlan),
        _ => Err("needs one of bridge, ptp, macvlan".to_owned()),
    }
}

fn range(text: &str) -> Result<(IpAddr, IpAddr), String> {
    let pair = text
        .split_once('-')
        .and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    pair.ok_or_else(|| "needs two addresses, such as 10.9.0.10-10.9.0.99".to_owned())
}

pub(super) fn run(asked: &Create) -> Result<u8, Failure> {
    let doing = || Failure::usage(format!("create the network `{}`", asked.name));
    let refused = |refusal: Refusal| {
        let failure = doing().because(refusal.to_string());
        match refusal.remedy() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    };
    let found = super::find(&asked.globals)?;
    if let Some(there) = found.named(asked.name.as_str())
        && let Origin::File(path) = &there.origin
    {
        return Err(doing().because(format!("the file `{}` has it already", path.display())));
    }
    let taken: Vec<Prefix> = found
        .networks
        .iter()
        .flat_map(|n| n.plan.pools.iter().map(|p| p.subnet))
        .collect();
    let subnets = match (asked.subnet.as_slice(), asked.driver) {
        ([], Driver::Macvlan) => Vec::new(),
        ([], _) => vec![free(&taken).ok_or_else(|| {
            doing()
                .because("no subnet of 172.16.0.0/16 is free")
                .hint("say one: --subnet=10.9.0.0/24")
        })?],
        (said, _) => said.to_vec(),
    };
    for subnet in &subnets {
        if let Some(other) = taken.iter().find(|t| overlap(t, subnet)) {
            let why = format!("its subnet `{subnet}` overlaps with `{other}` of another network");
            return Err(doing().because(why));
        }
    }
    let text = config::draft(&Draft {
        name: asked.name.clone(),
        driver: asked.driver,
        device: asked.device.clone(),
        subnets,
        gateways: asked.gateway.clone(),
        ranges: asked.range.clone(),
        mtu: asked.mtu,
        internal: asked.internal,
        isolated: asked.isolated,
        restricted: asked.restricted,
        nameless: asked.no_names,
        dns: asked.dns.clone(),
    })
    .map_err(refused)?;
    let directory = asked.globals.configs.local_config.join(DIRECTORY);
    let path = directory.join(format!("{}.conflist", asked.name));
    let network = config::read(&path, text.as_bytes()).map_err(refused)?;
    if !network.why.is_empty() {
        return Err(doing().because(format!(
            "rkt's own drivers do not do this: {}",
            network.why.join(", ")
        )));
    }
    write(&path, &text).map_err(|e| {
        let failure = doing().because(format!("`{}`: {e}", path.display()));
        match e.kind() {
            std::io::ErrorKind::PermissionDenied => failure.hint("run it as root"),
            _ => failure,
        }
    })?;
    crate::cmd::say(&match asked.format {
        Format::Table => format!("{}\n", printable(&path.to_string_lossy())),
        format => crate::cmd::json(&json!({ "name": asked.name, "file": path }), format)?,
    });
    Ok(0)
}

/// The whole file or none, and never over another one.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)?;
    }
    let temporary = path.with_extension(format!("tmp-{}", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&temporary)?;
    let done = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::hard_link(&temporary, path));
    let removed = std::fs::remove_file(&temporary);
    done.and(removed)
}

/// Whether two subnets have addresses in common.
fn overlap(a: &Prefix, b: &Prefix) -> bool {
    a.contains(b.network()) || b.contains(a.network())
}

/// The first subnet of the original's range that neither a network has nor a route of the host
/// leads to.
fn free(taken: &[Prefix]) -> Option<Prefix> {
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let routes = routed(&routes);
    (29..=255)
        .filter_map(|n| Prefix::new(Ipv4Addr::new(172, 16, n, 0).into(), 24).ok())
        .find(|p| !taken.iter().chain(&routes).any(|t| overlap(t, p)))
}

/// Where the host's routes lead, but for the default one.
fn routed(table: &str) -> Vec<Prefix> {
    let one = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let to = u32::from_str_radix(words.nth(1)?, 16).ok()?;
        let mask = u32::from_str_radix(words.nth(5)?, 16).ok()?;
        // The kernel prints addresses as they lie in memory.
        let length = u8::try_from(mask.count_ones()).ok()?;
        let to = Ipv4Addr::from(to.to_ne_bytes());
        (length > 0)
            .then(|| Prefix::new(to.into(), length).ok())
            .flatten()
    };
    table.lines().skip(1).filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_is_free_when_nobody_has_it_and_no_route_leads_there() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n\
                     eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\n\
                     eth0\t001D10AC\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\n";
        let routes = routed(table);
        let told: Vec<String> = routes.iter().map(Prefix::to_string).collect();
        assert_eq!(told, ["172.16.29.0/24"]);
        let all: Prefix = "172.16.0.0/12".parse().unwrap();
        assert_eq!(free(&[all]), None);
        assert!(overlap(&all, &routes[0]) && overlap(&routes[0], &all));
        assert!(range("10.0.0.1-10.0.0.2").is_ok() && range("10.0.0.1").is_err());
    }
}
