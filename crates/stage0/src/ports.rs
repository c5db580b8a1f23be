//! Ports of the host that lead into the pod: words and images' ports put together. Pure.
//!
//! Refuses two that would be the same port of the host, with the original's text.

use crate::error::Error;
use rkt_net::cni::List;
use rkt_net::ports::{PortRequest, Range, Target};
use rkt_spec::AppName;
use rkt_spec::image::Port;
use rkt_spec::manifest::{ExposedPort, PodManifest, RuntimeApp, Via};
use rkt_spec::network::{Driver, NetworkPlan, PortPlan, PortWay, Protocol};
use rkt_spec::plan::{Net, Plan};
use std::net::{IpAddr, SocketAddr};

/// What `--port` opens, in order; a range is as many as it has ports.
///
/// # Errors
/// When there is no network to lead through, no image or several have a port of the name, the app
/// is not there or not known, or a port of the host is there twice.
pub(crate) fn exposed(
    requests: &[PortRequest],
    net: Net,
    apps: &[RuntimeApp],
) -> Result<Vec<ExposedPort>, Error> {
    let mut list: Vec<ExposedPort> = Vec::new();
    for request in requests {
        let one = |e: Error| e.while_doing(format!("open the port `{}`", request.words));
        check_network(request, net).map_err(one)?;
        for port in ports_of(request, apps).map_err(one)? {
            if let Some(other) = list.iter().find(|other| conflict(other, &port)) {
                return Err(Error::usage(format!(
                    "port {}-{}:{} already mapped to pod port {}",
                    port.pod_port.protocol, port.host_ip, port.host_port, other.pod_port.port
                )));
            }
            list.push(port);
        }
    }
    Ok(list)
}

fn check_network(request: &PortRequest, net: Net) -> Result<(), Error> {
    let word = match (net, request.way) {
        (Net::Private, _) | (_, PortWay::Socket) => return Ok(()),
        (Net::None, _) => "none",
        (Net::Host, _) => "host",
    };
    let error = Error::usage(format!(
        "--port flag does not work with '{word}' networking"
    ));
    Err(error.hint(match net {
        Net::Host => "with the host's network an app's ports are the host's already",
        _ => "--net=default gives the pod a network; `,via=socket` hands the app a socket without",
    }))
}

fn ports_of(request: &PortRequest, apps: &[RuntimeApp]) -> Result<Vec<ExposedPort>, Error> {
    let via = match request.way {
        PortWay::Nat => Via::Nat,
        PortWay::Socket => Via::Socket,
    };
    let (name, app, pod, protocol) = match &request.to {
        Target::Image(name) => {
            let (app, port) = named(name, request.app.as_ref(), apps)?;
            let range = Range {
                first: port.port,
                last: port.port,
            };
            (name, Some(app), range, port.protocol.parse::<Protocol>()?)
        }
        Target::Number(range, protocol) => {
            let app = numbered(request, *range, *protocol, apps)?;
            (&request.words, app, *range, *protocol)
        }
    };
    if via == Via::Socket && protocol != Protocol::Tcp {
        return Err(Error::usage(format!(
            "by a {} socket of the host an app could send to whatever the host reaches; only tcp \
             is handed over",
            protocol.as_str()
        ))
        .hint("without `via=socket` the port leads into the pod's own network"));
    }
    let pairs = request.host_ports.pairs(pod);
    Ok(pairs
        .map(|(host_port, port)| ExposedPort {
            name: name.clone(),
            host_port,
            host_ip: request.host,
            pod_port: Port {
                name: name.clone(),
                protocol: protocol.as_str().to_owned(),
                port,
            },
            app: app.clone(),
            via,
        })
        .collect())
}

/// The port of an image by its name.
fn named<'a>(
    name: &str,
    app: Option<&AppName>,
    apps: &'a [RuntimeApp],
) -> Result<(AppName, &'a Port), Error> {
    if let Some(app) = app {
        there(app, apps)?;
    }
    let mut found = apps
        .iter()
        .filter(|a| app.is_none_or(|app| *app == a.name))
        .flat_map(|a| a.app.ports.iter().map(move |p| (a, p)))
        .filter(|(_, port)| port.name == name);
    match (found.next(), found.next()) {
        (Some((app, port)), None) => Ok((app.name.clone(), port)),
        (Some(_), Some(_)) => Err(Error::usage(format!(
            "port name \"{name}\" defined multiple apps"
        ))
        .hint("say which with `,app=NAME`")),
        (None, _) => {
            let error = Error::usage(format!(
                "port name \"{name}\" could not be found in any apps"
            ));
            let names: Vec<&str> = apps
                .iter()
                .flat_map(|a| a.app.ports.iter().map(|p| p.name.as_str()))
                .collect();
            Err(match names.is_empty() {
                true => error.hint("the images name no ports: --port=HOSTPORT:PODPORT"),
                false => error.hint(format!("there are: {}", names.join(", "))),
            })
        }
    }
}

fn there(app: &AppName, apps: &[RuntimeApp]) -> Result<(), Error> {
    match apps.iter().any(|a| a.name == *app) {
        true => Ok(()),
        false => Err(Error::usage(format!("the pod has no app `{app}`"))),
    }
}

/// The app that a port by number belongs to: the one that was said, the one whose image has it, or
/// the only one. A socket has to be some app's.
fn numbered(
    request: &PortRequest,
    range: Range,
    protocol: Protocol,
    apps: &[RuntimeApp],
) -> Result<Option<AppName>, Error> {
    if let Some(app) = &request.app {
        there(app, apps)?;
        return Ok(Some(app.clone()));
    }
    let has = |a: &&RuntimeApp| {
        let mut ports = a.app.ports.iter();
        ports.any(|p| p.port == range.first && p.protocol == protocol.as_str())
    };
    let mut owners = apps.iter().filter(has);
    let owner = match (owners.next(), owners.next(), apps) {
        (Some(one), None, _) | (None, _, [one]) => Some(one.name.clone()),
        _ => None,
    };
    if owner.is_none() && request.way == PortWay::Socket {
        return Err(Error::usage("it is not said which app gets the socket")
            .hint("say it with `,app=NAME`"));
    }
    Ok(owner)
}

/// Whether both would be one port of the host.
fn conflict(a: &ExposedPort, b: &ExposedPort) -> bool {
    let meet = |a: IpAddr, b: IpAddr| a == b || a.is_unspecified() || b.is_unspecified();
    a.host_port == b.host_port
        && a.pod_port.protocol == b.pod_port.protocol
        && a.host_ip.is_ipv4() == b.host_ip.is_ipv4()
        && meet(a.host_ip, b.host_ip)
}

/// What `rkt port add` opens of a pod that runs.
///
/// # Errors
/// As for `rkt run`; when a port is there already; for `via=socket`.
pub fn added(
    requests: &[PortRequest],
    manifest: &PodManifest,
    plan: &Plan,
) -> Result<Vec<PortPlan>, Error> {
    if let Some(request) = requests.iter().find(|r| r.way == PortWay::Socket) {
        return Err(Error::usage(
            "the app runs already, and sockets are handed to it at its start",
        )
        .while_doing(format!("open the port `{}`", request.words))
        .hint("leave `via=socket` out: the kernel leads the port into the pod"));
    }
    let exposed = exposed(requests, plan.net, &manifest.apps)?;
    if let (true, Some(request)) = (plan.others_lead_ports(), requests.first()) {
        return Err(Error::usage(
            "plugins and `pasta` lead a pod's ports, and are told of them at its start only",
        )
        .while_doing(format!("open the port `{}`", request.words))
        .hint("start the pod with --port"));
    }
    plans(&exposed, &plan.networks)
}

/// The ports for stage1; their sockets are not open yet.
///
/// # Errors
/// When a way is not there, or no network of the pod has an address of a port's family.
pub(crate) fn plans<'a>(
    ports: &[ExposedPort],
    networks: impl IntoIterator<Item = &'a NetworkPlan>,
) -> Result<Vec<PortPlan>, Error> {
    let networks: Vec<&NetworkPlan> = networks.into_iter().collect();
    ports
        .iter()
        .map(|port| {
            let doing = || format!("open the port {}", told(port));
            plan(port, &networks).map_err(|e| e.while_doing(doing()))
        })
        .collect()
}

fn plan(port: &ExposedPort, networks: &[&NetworkPlan]) -> Result<PortPlan, Error> {
    let way = match port.via {
        Via::Nat => PortWay::Nat,
        Via::Socket => PortWay::Socket,
    };
    let led = |n: &&NetworkPlan| match n.driver {
        Driver::Bridge | Driver::Ptp | Driver::Pasta => true,
        Driver::Cni => List::parse(&n.config.0).is_ok_and(|list| list.maps_ports()),
        Driver::Macvlan => false,
    };
    if way == PortWay::Nat && !networks.iter().any(led) {
        return Err(
            Error::usage("no network of the pod leads ports to it").hint(
                "networks of the types bridge and ptp do, and those whose plugins have `portmap`",
            ),
        );
    }
    let family = |p: IpAddr| p.is_ipv4() == port.host_ip.is_ipv4();
    // What addresses a plugin gives is not known before it gave them.
    let reaches = |n: &&NetworkPlan| {
        matches!(n.driver, Driver::Cni | Driver::Pasta)
            || n.pools.iter().any(|p| family(p.subnet.address))
    };
    if way == PortWay::Nat && !networks.iter().any(reaches) {
        let (has, said) = match port.host_ip.is_ipv4() {
            true => ("IPv4", "[::1]:"),
            false => ("IPv6", "127.0.0.1:"),
        };
        return Err(
            Error::usage(format!("no network of the pod has an {has} address"))
                .hint(format!("give an address of the other family: {said}..")),
        );
    }
    Ok(PortPlan {
        name: port.name.clone(),
        app: port.app.clone(),
        protocol: port.pod_port.protocol.parse()?,
        host: port.host_ip,
        host_port: port.host_port,
        pod_port: port.pod_port.port,
        way,
        socket: -1,
    })
}

fn told(port: &ExposedPort) -> String {
    let host = SocketAddr::new(port.host_ip, port.host_port);
    format!("{host}/{}", port.pod_port.protocol)
}

/// The end on the host: `127.0.0.1:8080/tcp`.
pub(crate) fn host_end(port: &PortPlan) -> String {
    let host = SocketAddr::new(port.host, port.host_port);
    format!("{host}/{}", port.protocol.as_str())
}

/// The end in the pod.
pub(crate) fn pod_end(port: &PortPlan) -> String {
    let of = match &port.app {
        Some(app) => format!("app `{app}`"),
        None => "the pod".to_owned(),
    };
    match port.way {
        PortWay::Nat => format!("leads to port {} of {of}", port.pod_port),
        PortWay::Socket => format!("is a socket of {of}"),
    }
}

/// The line about a port at the start.
pub(crate) fn note(port: &PortPlan) -> String {
    format!("port {} {}", host_end(port), pod_end(port))
}
