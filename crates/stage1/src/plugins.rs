//! Networks of foreign plugins, by a child that executes rkt once more and ends.
//!
//! The supervisor reads nothing of what plugins say: it sends a record, gets a record, and keeps
//! the result's bytes in the pod's directory for the plugins themselves.

use crate::error::{Doing, Failure};
use crate::host::wait_readable;
use crate::network::{Network, Place};
use rkt_net::cni::{Answer, CHILD_VERB, Command, MAX_RECORD, Request};
use rkt_net::resolv::Resolver;
use rkt_pod::attachment;
use rkt_spec::codec::{Bytes, Record};
use rkt_spec::network::{Driver, NetworkPlan, Wired};
use rkt_spec::plan::Plan;
use rkt_sys::process::{self, CStrings, Cloned};
use rkt_sys::{cred, fd, signal};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::io;
use std::time::{Duration, Instant};

/// How long all plugins of a network may take together; each has its own, shorter time.
const PATIENCE: Duration = Duration::from_secs(300);

/// The networks of a pod that plugins make, and all that is needed to unmake them.
#[derive(Debug)]
struct Plugins {
    /// What is the same in every request.
    request: Request,
    networks: Vec<NetworkPlan>,
    /// rkt's own program.
    rkt: OwnedFd,
    /// The pod's directory.
    pod: OwnedFd,
    /// The pod's network namespace, which lives as long as this.
    net: OwnedFd,
}

/// Networks that plugins make, once the pod has joined them.
#[derive(Debug, Default)]
pub(crate) struct Foreign(Option<Plugins>);

impl Network for Foreign {
    fn join(&mut self, pod: &Place<'_>) -> Result<Vec<Wired>, Failure> {
        let Some(net) = pod.net else {
            return Ok(Vec::new());
        };
        let (rkt, dir) = (pod.inherited.rkt.as_ref(), pod.inherited.pod.as_fd());
        self.0 = Plugins::of(pod.plan, rkt, dir, net)?;
        self.0.as_ref().map_or(Ok(Vec::new()), Plugins::add_all)
    }

    fn leave(&mut self) -> Result<(), Failure> {
        self.0.take().map_or(Ok(()), |plugins| plugins.del_all())
    }
}

impl Plugins {
    /// Those of a plan; `None` when it has none.
    fn of(
        plan: &Plan,
        rkt: Option<&OwnedFd>,
        pod: BorrowedFd<'_>,
        net: BorrowedFd<'_>,
    ) -> Result<Option<Self>, Failure> {
        let networks: Vec<NetworkPlan> = plan
            .networks
            .iter()
            .filter(|n| n.driver == Driver::Cni)
            .cloned()
            .collect();
        let Some(first) = networks.first() else {
            return Ok(None);
        };
        let doing = || "prepare networks of plugins".to_owned();
        let rkt = rkt.ok_or_else(|| Failure::new(doing(), "rkt's program was not handed over"))?;
        Ok(Some(Self {
            request: Request {
                command: Command::Add,
                pod: plan.uuid,
                network: first.clone(),
                namespace: -1,
                ports: match plan.leads_ports() {
                    true => vec![],
                    false => plan.ports.clone(),
                },
                resolv_conf: plan.resolv_conf.clone().unwrap_or_default(),
                result: Bytes::default(),
                directories: plan.plugin_directories.clone(),
                valid: vec![],
            },
            networks,
            rkt: rkt.try_clone().doing(doing)?,
            pod: pod.try_clone_to_owned().doing(doing)?,
            net: net.try_clone_to_owned().doing(doing)?,
        }))
    }

    /// Has every device made, in order.
    fn add_all(&self) -> Result<Vec<Wired>, Failure> {
        self.networks.iter().map(|n| self.add(n)).collect()
    }

    /// Has a device made.
    fn add(&self, network: &NetworkPlan) -> Result<Wired, Failure> {
        let joining = || format!("join the network `{}`", network.name);
        // Before anything: who is killed in the middle has told what to look for.
        let pod = self.pod.as_fd();
        attachment::put(pod, &network.interface, &[]).doing(joining)?;
        let answer = self.ask(Command::Add, network, Vec::new()).doing(joining)?;
        if answer.refusal.is_some() && !answer.left {
            attachment::forget(pod, &network.interface).doing(joining)?;
        }
        let answer = accepted(answer)?;
        let none = || Failure::new(joining(), "its plugins say nothing of what they made");
        let wired = answer.wired.ok_or_else(none)?;
        attachment::put(pod, &network.interface, &answer.result.0).doing(joining)?;
        Ok(wired)
    }

    /// Has a device unmade, if there is any.
    fn del(&self, network: &NetworkPlan) -> Result<(), Failure> {
        let leaving = || format!("leave the network `{}`", network.name);
        let pod = self.pod.as_fd();
        let Some(result) = attachment::get(pod, &network.interface).doing(leaving)? else {
            return Ok(());
        };
        accepted(self.ask(Command::Del, network, result).doing(leaving)?)
            .map_err(|f| f.hint("`rkt gc` tries again"))?;
        attachment::forget(pod, &network.interface).doing(leaving)
    }

    /// Unmakes every device, the last first, and each whatever becomes of the others.
    fn del_all(&self) -> Result<(), Failure> {
        let mut first = Ok(());
        for network in self.networks.iter().rev() {
            let left = self.del(network);
            if first.is_ok() {
                first = left;
            }
        }
        first
    }

    fn ask(
        &self,
        command: Command,
        network: &NetworkPlan,
        result: Vec<u8>,
    ) -> Result<Answer, Failure> {
        let request = Request {
            command,
            network: network.clone(),
            namespace: fd::number(&self.net),
            result: Bytes(result),
            ..self.request.clone()
        };
        let said = self.run(&request.to_bytes());
        let said = said.doing(|| "run its plugins".into())?;
        Answer::from_bytes(&said).map_err(|e| Failure::new("run its plugins", e.to_string()))
    }

    /// Runs the child with these bytes for its input; what it says until its end.
    fn run(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        let input = fd::sealed_memfd("cni", request)?;
        let (output, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let argv = CStrings::new(["rkt", CHILD_VERB])?;
        let none: [&str; 0] = [];
        let envp = CStrings::new(none)?;
        let pidfd = match process::clone3(0, None)? {
            Cloned::Parent { pidfd, .. } => pidfd,
            Cloned::Child => {
                let prepared = cred::die_with_parent()
                    .and_then(|()| fd::onto_stdio(input.as_fd(), 0))
                    .and_then(|()| fd::onto_stdio(theirs.as_fd(), 1))
                    // Nothing is said there: every failure is in the answer.
                    .and_then(|()| fd::onto_stdio(input.as_fd(), 2))
                    .and_then(|()| fd::cloexec_from(3))
                    .and_then(|()| fd::keep_on_exec(self.net.as_fd()));
                if prepared.is_ok() {
                    signal::default_all();
                    signal::unblock_all();
                    process::execve_fd(self.rkt.as_fd(), &argv, &envp);
                }
                process::exit(127)
            }
        };
        drop(theirs);
        let said = hear(&output, Instant::now() + PATIENCE);
        // A child that said all has ended by itself.
        let _ = signal::send(pidfd.as_fd(), 9);
        let _ = process::wait_pidfd(pidfd.as_fd());
        said
    }
}

/// The devices of a pod that plugins make.
pub(crate) fn interfaces(plan: &Plan) -> Vec<String> {
    let foreign = plan.networks.iter().filter(|n| n.driver == Driver::Cni);
    foreign.map(|n| n.interface.clone()).collect()
}

/// Whether something of these is not unmade: the pod's directory then tells `rkt gc` what.
pub(crate) fn has_any_left(pod: BorrowedFd<'_>, interfaces: &[String]) -> bool {
    let mut all = interfaces.iter();
    all.any(|interface| !matches!(attachment::get(pod, interface), Ok(None)))
}

/// The `/etc/resolv.conf` of a pod whose plugins brought name servers: what was given comes first,
/// then the first network that says anything. `None` leaves it as it was planned.
pub(crate) fn resolv_conf(plan: &Plan, wired: &[Wired]) -> Option<Bytes> {
    let said = plan.resolver.as_ref()?;
    let given = Resolver {
        nameservers: said.nameservers.clone(),
        domain: said.domain.clone(),
        search: said.search.clone(),
        options: said.options.clone(),
    };
    let count = said
        .named_by
        .map_or(plan.networks.len(), |n| n as usize + 1);
    let foreign = plan.networks.iter().take(count);
    let foreign = foreign.filter(|n| n.driver == Driver::Cni);
    let brought = foreign.filter_map(|n| wired.iter().find(|w| w.interface == n.interface));
    let mut brought = brought.map(|w| Resolver {
        nameservers: w.nameservers.clone(),
        domain: w.domain.clone(),
        search: w.search.clone(),
        options: w.options.clone(),
    });
    let first = brought.find(|resolver| !resolver.is_empty())?;
    Some(Bytes(given.or(&first).text().into_bytes()))
}

fn accepted(answer: Answer) -> Result<Answer, Failure> {
    match answer.refusal {
        None => Ok(answer),
        Some(refusal) => Err(Failure::new(refusal.doing, refusal.because).hint(refusal.hint)),
    }
}

fn hear(output: &OwnedFd, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut said = Vec::new();
    let mut buffer = [0u8; 8192];
    while wait_readable(output, deadline) {
        match rustix::io::read(output, &mut buffer) {
            Ok(0) => return Ok(said),
            Ok(n) => said.extend_from_slice(buffer.get(..n).unwrap_or(&[])),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if said.len() > MAX_RECORD {
            return Err(rustix::io::Errno::FBIG.into());
        }
    }
    Err(rustix::io::Errno::TIMEDOUT.into())
}
