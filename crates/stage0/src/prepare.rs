//! The walk from a request to a decided pod: nothing of the pod exists yet.

use crate::error::{Doing, Error};
use crate::filters;
use crate::merge;
use crate::networks::{self, Forwards};
use crate::plan::{self, Facts, Planned};
use crate::plugins;
use crate::request::RunRequest;
use crate::resolve::{self, Resolved};
use crate::sources::{self, Source};
use rkt_isolate::host;
use rkt_net::files::Hosts;
use rkt_net::resolv::{Mode, Resolver};
use rkt_spec::Uuid;
use rkt_spec::manifest::PodManifest;
use rkt_spec::plan::Net;
use rkt_store::{Events, FetchOptions, OpenMode, Store};
use std::io::{IsTerminal, Read};
use std::path::Path;

/// The host's `hosts` and `resolv.conf` are taken up to this size, bytes.
const MAX_HOST_FILE: u64 = 1 << 20;
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// What systemd-resolved itself asks.
const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// A pod that is decided and not yet made.
#[derive(Debug)]
pub struct Prepared {
    /// Its identity.
    pub uuid: Uuid,
    /// What it is to be.
    pub manifest: PodManifest,
    /// How that is done here.
    pub planned: Planned,
    /// Its apps' images, in order.
    pub images: Vec<Resolved>,
    /// Its volumes' sources, in order.
    pub sources: Vec<Option<Source>>,
    /// Where the images are; gc waits while it is open.
    pub store: Store,
}

/// Decides everything about a pod: finds or fetches its images, opens its volumes, looks at
/// the host. `tell` gets a line a step.
///
/// # Errors
/// Whatever makes the pod impossible; nothing but images in the store is left behind.
pub fn prepare(
    request: &RunRequest,
    options: &FetchOptions,
    events: Events<'_>,
    tell: &dyn Fn(&str),
) -> Result<Prepared, Error> {
    let uuid = new_uuid()?;
    let request = &filters::load(request)?;
    let store = Store::open(&request.place.dir, OpenMode::Use)?;
    tell("opened the store");
    let images = resolve::images(&store, request, options, events)?;
    tell("found the images");
    let facts: Vec<_> = images.iter().map(|i| i.facts.clone()).collect();
    let manifest = merge::manifest(request, &facts, uuid)?;
    let sources = sources::open_all(&manifest)?;
    tell("merged the manifest");
    let planned = plan::build(request, &manifest, uuid, &sources, &look(request)?)?;
    plugins::check(&planned.plan)?;
    tell("decided the walls");
    Ok(Prepared {
        uuid,
        manifest,
        planned,
        images,
        sources,
        store,
    })
}

/// A UUID nobody has.
///
/// # Errors
/// When the kernel gives no randomness.
pub fn new_uuid() -> Result<Uuid, Error> {
    let mut bytes = [0u8; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .doing(|| "make a UUID".to_owned())?;
    Ok(Uuid::from_random(bytes))
}

fn look(request: &RunRequest) -> Result<Facts, Error> {
    let net = request.network().net();
    let host_net = net == Net::Host;
    let low_port = host_net
        .then(|| std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").ok())
        .flatten();
    let hosts = match request.hosts {
        Hosts::Host => true,
        Hosts::Image => host_net,
        Hosts::Entries(_) => false,
    };
    let host = host::probe();
    Ok(Facts {
        networks: match net {
            Net::Private => networks::known(&request.configs)?,
            Net::None | Net::Host => Vec::new(),
        },
        systemd: rkt_isolate::cgroup::scope::wanted(&host.cgroups),
        host,
        hosts: hosts.then(|| read(Path::new("/etc/hosts"))).flatten(),
        resolv_conf: match request.dns.mode {
            Mode::Host => read(Path::new(RESOLV_CONF)),
            Mode::Network if host_net => read(Path::new(RESOLV_CONF)),
            Mode::Network if net == Net::Private => name_servers(),
            Mode::Network | Mode::Image => None,
        },
        low_port: low_port
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(1024),
        forwards: match net {
            Net::Private => Forwards::look(),
            Net::None | Net::Host => Forwards::default(),
        },
        terminal: std::io::stdin().is_terminal(),
    })
}

/// The host's file, or that of systemd-resolved behind it: its own listens on the host's loopback.
fn name_servers() -> Option<Vec<u8>> {
    let own = read(Path::new(RESOLV_CONF))?;
    match Resolver::of_host(&own).0.nameservers.is_empty() {
        true => read(Path::new(RESOLVED)).or(Some(own)),
        false => Some(own),
    }
}

/// A file of the host; `None` when it is not there, and then the image's own stays.
fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(MAX_HOST_FILE).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
