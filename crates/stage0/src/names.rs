//! `/etc/hosts` and `/etc/resolv.conf` of a pod: what flags, networks and the host say. Pure.

use crate::plan::Facts;
use crate::request::RunRequest;
use rkt_net::choice::Network;
use rkt_net::files::{self, Hosts};
use rkt_net::names::can_be_told;
use rkt_net::resolv::{Mode, Resolver};
use rkt_spec::codec::Bytes;
use rkt_spec::network::Driver;
use rkt_spec::plan::{Net, ResolverPlan};

/// The files, decided.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// `/etc/hosts`; `None` leaves the image's.
    pub(crate) hosts: Option<Bytes>,
    /// Whether an image's own one stays, when it is not empty.
    pub(crate) keep_hosts: bool,
    /// Whether pods on the same networks are added to it.
    pub(crate) grow_hosts: bool,
    /// `/etc/resolv.conf`; `None` leaves the image's.
    pub(crate) resolv_conf: Option<Bytes>,
    /// What plugins' name servers are put into.
    pub(crate) resolver: Option<ResolverPlan>,
    /// Things to say at the start.
    pub(crate) notes: Vec<String>,
}

/// Decides both files.
pub(crate) fn decide(
    request: &RunRequest,
    hostname: &str,
    networks: &[Network],
    facts: &Facts,
) -> Names {
    let mut names = Names::default();
    let net = request.network().net();
    if networks.iter().any(|n| n.plan.names) {
        // Who wants the host's file gets that and no line more.
        names.grow_hosts = request.hosts != Hosts::Host;
        if !can_be_told(hostname) {
            names.notes.push(format!(
                "other pods on its networks do not find it by its host name `{hostname}`, which means something else"
            ));
        }
    }
    match (&request.hosts, net) {
        (Hosts::Host, _) | (Hosts::Image, Net::Host) => {
            names.hosts = facts.hosts.clone().map(Bytes);
        }
        (Hosts::Image, Net::None | Net::Private) => {
            names.hosts = Some(Bytes(files::hosts(hostname, &[]).into_bytes()));
            names.keep_hosts = true;
        }
        (Hosts::Entries(list), _) => {
            names.hosts = Some(Bytes(files::hosts(hostname, list).into_bytes()));
        }
    }
    match request.dns.mode {
        Mode::Image => {}
        Mode::Host => names.resolv_conf = facts.resolv_conf.clone().map(Bytes),
        Mode::Network if net == Net::Host && request.dns.given.is_empty() => {
            names.resolv_conf = facts.resolv_conf.clone().map(Bytes);
        }
        Mode::Network => resolver(request, networks, facts, &mut names),
    }
    names
}

/// What was given, filled up by the first network that says anything, or by what the host uses
/// where a network leads that far.
fn resolver(request: &RunRequest, networks: &[Network], facts: &Facts, names: &mut Names) {
    let given = &request.dns.given;
    let says = |n: &Network| !n.dns.is_empty();
    let of_network = networks.iter().find(|n| says(n)).map(|n| &n.dns);
    if networks.iter().any(|n| n.plan.driver == Driver::Cni) {
        let place = networks.iter().position(says);
        names.resolver = Some(ResolverPlan {
            nameservers: given.nameservers.clone(),
            domain: given.domain.clone(),
            search: given.search.clone(),
            options: given.options.clone(),
            named_by: place.and_then(|at| u32::try_from(at).ok()),
        });
    }
    let mut made = given.clone();
    if let Some(dns) = of_network {
        made = made.or(dns);
    } else if request.network().net() == Net::Host || networks.iter().any(Network::leads_out) {
        let of_host = match (&facts.resolv_conf, request.network().net()) {
            (Some(bytes), Net::Host) => Resolver::of_host_itself(bytes),
            (Some(bytes), _) => {
                let (resolver, useless) = Resolver::of_host(bytes);
                if given.nameservers.is_empty() && !useless.is_empty() {
                    names.notes.push(left_out(&resolver, &useless));
                }
                resolver
            }
            (None, _) => Resolver::default(),
        };
        made = made.or(&of_host);
    }
    if !made.is_empty() {
        names.resolv_conf = Some(Bytes(made.text().into_bytes()));
    }
}

fn left_out(resolver: &Resolver, useless: &[String]) -> String {
    let servers = useless.join(", ");
    let rest = match resolver.nameservers.is_empty() {
        true => ": the pod has none (--dns=ADDRESS gives it one)",
        false => ": it is left out",
    };
    format!("the host's name server {servers} cannot be reached from a pod's own network{rest}")
}
