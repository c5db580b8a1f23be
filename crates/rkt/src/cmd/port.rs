//! `rkt port add|rm|list POD`: ports of the host that lead into a running pod.
//!
//! The port is taken here, so that it is said here who has it; the supervisor gets the socket that
//! holds it, and writes the rule.

use super::{ask, look};
use crate::args::{self, Format, Globals};
use crate::failure::{Failure, USAGE};
use crate::view::ports;
use clap::{Parser, Subcommand};
use rkt_net::ports::{PortRequest, Target};
use rkt_pod::control::Request;
use rkt_pod::{Pod, PodStatus, State};
use rkt_spec::network::{PortPlan, Protocol};
use rkt_spec::plan::Plan;
use rkt_stage0::sockets;
use std::ffi::OsString;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::str::FromStr;

/// Open, close and list ports of the host that lead into a running pod
#[derive(Debug, Parser)]
#[command(name = "rkt port")]
struct Words {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lead ports of the host into a running pod
    Add(Add),
    /// Take ports of the host back, and end the connections through them
    Rm(Remove),
    /// Tell which ports of the host lead into a pod
    List(List),
}

#[derive(Debug, clap::Args)]
struct Add {
    /// A UUID, the beginning of one, or a name
    #[arg(value_name = "POD")]
    pod: String,
    /// NAME:[ADDRESS:]PORT with a port of the image, or [ADDRESS:]PORT:PORT[/tcp|udp|sctp]
    #[arg(value_name = "PORT", required = true)]
    ports: Vec<PortRequest>,
    #[command(flatten)]
    globals: Globals,
}

#[derive(Debug, clap::Args)]
struct Remove {
    /// A UUID, the beginning of one, or a name
    #[arg(value_name = "POD")]
    pod: String,
    /// [ADDRESS:]PORT[/tcp|udp|sctp] of the host, or the words that opened it
    #[arg(value_name = "PORT", required = true)]
    ports: Vec<Opened>,
    #[command(flatten)]
    globals: Globals,
}

#[derive(Debug, clap::Args)]
struct List {
    /// A UUID, the beginning of one, or a name
    #[arg(value_name = "POD")]
    pod: String,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    globals: Globals,
}

/// A port of the host as `rkt port rm` takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct HostPort {
    host: Option<IpAddr>,
    port: u16,
    protocol: Protocol,
}

/// What `rkt port rm` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Opened {
    /// By the host's end alone.
    Host(HostPort),
    /// As `rkt port add` and `--port` took it.
    Words(PortRequest),
}

impl FromStr for Opened {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self::Host).or_else(|shape| {
            let words = text.parse().map(Self::Words);
            words.map_err(|_| format!("{shape}, or what `rkt port add` takes"))
        })
    }
}

impl Opened {
    /// The ends on the host, of ports that are open.
    fn ends(&self, open: &[PortPlan]) -> Result<Vec<HostPort>, String> {
        let request = match self {
            Self::Host(port) => return Ok(vec![*port]),
            Self::Words(request) => request,
        };
        let numbers = request.host_ports.first..=request.host_ports.last;
        let leads = |port: &PortPlan, host_port: u16| match &request.to {
            Target::Image(name) => port.name == *name,
            Target::Number(pod, protocol) => {
                let at = host_port - request.host_ports.first;
                port.protocol == *protocol && port.pod_port == pod.first + at
            }
        };
        numbers
            .map(|host_port| {
                let mut here = open.iter().filter(|p| {
                    p.host == request.host && p.host_port == host_port && p.way == request.way
                });
                let found = here.find(|p| leads(p, host_port)).ok_or_else(|| {
                    let all: Vec<String> = open.iter().map(ports::line).collect();
                    match all.is_empty() {
                        true => "the pod has no ports".to_owned(),
                        false => format!("the pod has {}", all.join(", ")),
                    }
                })?;
                Ok(HostPort::of(found))
            })
            .collect()
    }
}

impl HostPort {
    fn of(port: &PortPlan) -> Self {
        Self {
            host: Some(port.host),
            port: port.host_port,
            protocol: port.protocol,
        }
    }
}

impl FromStr for HostPort {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || "needs [ADDRESS:]PORT[/tcp|udp|sctp]".to_owned();
        let (place, protocol) = match text.split_once('/') {
            Some((place, protocol)) => (place, protocol.parse().map_err(|_| shape())?),
            None => (text, Protocol::Tcp),
        };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) => {
                let host = host.trim_start_matches('[').trim_end_matches(']');
                (Some(host.parse().map_err(|_| shape())?), port)
            }
            None => (None, place),
        };
        match port.parse() {
            Ok(port) if port > 0 => Ok(Self {
                host,
                port,
                protocol,
            }),
            _ => Err(shape()),
        }
    }
}

pub(super) fn run(words: Vec<OsString>) -> Result<u8, Failure> {
    match args::parse::<Words>("port", words)?.verb {
        Verb::Add(asked) => add(&asked),
        Verb::Rm(asked) => remove(&asked),
        Verb::List(asked) => list(&asked),
    }
}

fn running(globals: &Globals, word: &str) -> Result<Pod, Failure> {
    let pod = look::find(&look::open(globals)?, word)?;
    if pod.state() == State::Running {
        return Ok(pod);
    }
    let uuid = pod.uuid();
    Err(Failure::usage(format!("pod \"{uuid}\" is not running"))
        .because(format!("it is {}", pod.state().as_str())))
}

fn plan(pod: &Pod) -> Result<Plan, Failure> {
    let missing =
        || Failure::usage(format!("read the plan of pod `{}`", pod.uuid())).because("it has none");
    let bytes = pod.plan()?.ok_or_else(missing)?;
    Plan::decode(&bytes).map_err(|e| {
        Failure::usage(format!("read the plan of pod `{}`", pod.uuid())).because(e.to_string())
    })
}

/// The ports that are open now: the supervisor's own word while it lives.
fn open_ports(pod: &Pod) -> Result<Vec<PortPlan>, Failure> {
    let status = PodStatus::read(pod.as_fd())?;
    Ok(status.map_or(vec![], |s| s.ports))
}

fn add(asked: &Add) -> Result<u8, Failure> {
    let pod = running(&asked.globals, &asked.pod)?;
    let uuid = pod.uuid();
    let doing = || format!("open a port of pod `{uuid}`");
    let manifest = look::manifest(&pod)?.ok_or_else(|| Failure::usage(doing()))?;
    let wanted = rkt_stage0::ports::added(&asked.ports, &manifest, &plan(&pod)?).map_err(ours)?;
    // All are taken before the first leads anywhere.
    let mut held = Vec::new();
    for port in &wanted {
        held.push(sockets::hold(port, &asked.globals.dir).map_err(ours)?);
    }
    for (at, (port, socket)) in wanted.iter().zip(&held).enumerate() {
        if let Err(failure) = publish(&pod, port, socket.as_ref()) {
            for port in wanted.get(..at).unwrap_or_default().iter().rev() {
                // The first failure is the one to tell.
                let _ = withdraw(&pod, &HostPort::of(port));
            }
            return Err(failure);
        }
    }
    for port in &wanted {
        super::say(&format!("{}\n", ports::line(port)));
    }
    Ok(0)
}

fn publish(pod: &Pod, port: &PortPlan, socket: Option<&OwnedFd>) -> Result<(), Failure> {
    let connection = ask::connect(pod)?;
    let request = Request::Publish {
        port: port.clone(),
        held: socket.is_some(),
    };
    let with: Vec<_> = socket.into_iter().map(AsFd::as_fd).collect();
    connection.send_request(&request, &with)?;
    ask::done(&connection, || {
        format!("open a port of pod `{}`", pod.uuid())
    })
}

fn withdraw(pod: &Pod, port: &HostPort) -> Result<(), Failure> {
    let connection = ask::connect(pod)?;
    let request = Request::Withdraw {
        host: port.host,
        port: port.port,
        protocol: port.protocol,
    };
    connection.send_request(&request, &[])?;
    ask::done(&connection, || {
        format!("close a port of pod `{}`", pod.uuid())
    })
}

/// What stage0 could not do is here no start of a pod that failed.
fn ours(error: rkt_stage0::Error) -> Failure {
    let mut failure = Failure::from(error);
    failure.status = USAGE;
    failure
}

fn remove(asked: &Remove) -> Result<u8, Failure> {
    let pod = running(&asked.globals, &asked.pod)?;
    let doing = || format!("close a port of pod `{}`", pod.uuid());
    if plan(&pod)?.others_lead_ports() {
        return Err(Failure::usage(doing())
            .because("plugins and `pasta` lead a pod's ports, from its start to its end"));
    }
    let open = open_ports(&pod)?;
    let mut ends = Vec::new();
    for port in &asked.ports {
        let found = port.ends(&open);
        ends.extend(found.map_err(|why| Failure::usage(doing()).because(why))?);
    }
    ends.iter().try_for_each(|port| withdraw(&pod, port))?;
    Ok(0)
}

fn list(asked: &List) -> Result<u8, Failure> {
    let pod = look::find(&look::open(&asked.globals)?, &asked.pod)?;
    let open = match pod.state() {
        State::Running => open_ports(&pod)?,
        _ => vec![],
    };
    super::say(&match asked.format {
        Format::Table => open
            .iter()
            .map(|p| format!("{}\n", ports::line(p)))
            .collect(),
        format => {
            let list: Vec<_> = open.iter().map(ports::value).collect();
            super::json(&list, format)?
        }
    });
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_the_host_are_read() {
        let read = |text: &str| text.parse::<HostPort>().unwrap();
        assert_eq!(read("8080").port, 8080);
        assert_eq!(read("8080").host, None);
        let six = read("[::1]:53/udp");
        assert_eq!(six.host.unwrap().to_string(), "::1");
        assert_eq!(six.protocol, Protocol::Udp);
        assert_eq!(read("0.0.0.0:1/sctp").protocol, Protocol::Sctp);
        for bad in ["", "0", "65536", "80/icmp", "x:80", "1.2.3.4:", ":80"] {
            assert!(bad.parse::<HostPort>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_opened_a_port_closes_it() {
        let plan = |name: &str, host: &str, host_port, pod_port, protocol| PortPlan {
            name: name.into(),
            app: None,
            protocol,
            host: host.parse().unwrap(),
            host_port,
            pod_port,
            way: rkt_spec::network::PortWay::Nat,
            socket: -1,
        };
        let open = [
            plan("", "127.0.0.1", 8443, 443, Protocol::Tcp),
            plan("dns", "0.0.0.0", 53, 53, Protocol::Udp),
            plan("", "::1", 9000, 90, Protocol::Tcp),
            plan("", "::1", 9001, 91, Protocol::Tcp),
        ];
        let ends = |text: &str| text.parse::<Opened>().unwrap().ends(&open);
        let only = |text: &str| {
            let all = ends(text).unwrap();
            assert_eq!(all.len(), 1, "{text}");
            (
                all[0].host.map(|h| h.to_string()),
                all[0].port,
                all[0].protocol,
            )
        };
        assert_eq!(only("8443"), (None, 8443, Protocol::Tcp));
        let home = Some("127.0.0.1".to_owned());
        assert_eq!(only("8443:443"), (home.clone(), 8443, Protocol::Tcp));
        assert_eq!(only("127.0.0.1:8443:443/tcp"), (home, 8443, Protocol::Tcp));
        let all = Some("0.0.0.0".to_owned());
        assert_eq!(only("dns:0.0.0.0:53"), (all.clone(), 53, Protocol::Udp));
        assert_eq!(only("0.0.0.0:53:53/udp"), (all, 53, Protocol::Udp));
        assert_eq!(ends("[::1]:9000-9001:90-91").unwrap().len(), 2);
        for wrong in ["8443:444", "8443:443/udp", "dns:53", "10.0.0.1:8443:443"] {
            assert!(ends(wrong).unwrap_err().contains("8443"), "{wrong}");
        }
        for bad in ["", "a b", "1:2:3:4", "0:1"] {
            assert!(bad.parse::<Opened>().is_err(), "{bad}");
        }
    }
}
