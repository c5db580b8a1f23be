//! `rkt port add|rm|list POD`: ports of the host that lead into a running pod.
//!
//! The port is taken here, so that it is said here who has it; the supervisor gets the socket that
//! holds it, and writes the rule.

use super::{ask, look};
use crate::args::{self, Format, Globals};
use crate::failure::{Failure, USAGE};
use crate::view::ports;
use clap::{Parser, Subcommand};
use rkt_net::ports::PortRequest;
use rkt_pod::control::{Connection, Reply, Request};
use rkt_pod::{Pod, PodStatus, State};
use rkt_spec::network::{PortPlan, Protocol};
use rkt_spec::plan::Plan;
use rkt_stage0::sockets;
use std::ffi::OsString;
use std::net::IpAddr;
use std::os::fd::AsFd;
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
    /// [ADDRESS:]PORT[/tcp|udp|sctp] of the host
    #[arg(value_name = "PORT", required = true)]
    ports: Vec<HostPort>,
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
    for port in wanted {
        let socket = sockets::hold(&port, &asked.globals.dir).map_err(ours)?;
        let connection = ask::connect(&pod)?;
        let request = Request::Publish {
            port: port.clone(),
            held: socket.is_some(),
        };
        let with: Vec<_> = socket.iter().map(AsFd::as_fd).collect();
        connection.send_request(&request, &with)?;
        done(&connection, doing)?;
        super::say(&format!("{}\n", ports::line(&port)));
    }
    Ok(0)
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
    for port in &asked.ports {
        let connection = ask::connect(&pod)?;
        let request = Request::Withdraw {
            host: port.host,
            port: port.port,
            protocol: port.protocol,
        };
        connection.send_request(&request, &[])?;
        done(&connection, doing)?;
    }
    Ok(0)
}

fn done(connection: &Connection, doing: impl Fn() -> String) -> Result<(), Failure> {
    ask::readable(connection.as_fd(), None)?;
    match connection.recv_reply()? {
        Some((Reply::Done, _)) => Ok(()),
        Some((
            Reply::Failed {
                exit,
                doing,
                because,
                hint,
            },
            _,
        )) => Err(ask::failed(exit, doing, because, &hint)),
        Some(_) => Err(Failure::usage(doing()).because("its supervisor says something else")),
        None => Err(Failure::new(USAGE, doing()).because("the pod has ended")),
    }
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
}
