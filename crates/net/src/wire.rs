//! From plan to devices: the order in which a pod's networks are made, undone and swept.
//!
//! 1. An address of each pool is taken ([`crate::ipam`]), and what a dead owner left is removed.
//! 2. The firewall lets the pod through ([`crate::gate`]), and leads its ports.
//! 3. The host is told to forward, when it does not.
//! 4. The devices are made, down: the pod's end is born in the pod.
//! 5. The host's end gets its settings, addresses and routes; then the pod's.
//!
//! The end is cheaper: the namespace takes its devices with it, by the kernel's own time. Only
//! what would stand in the way of the next pod with that address goes at once: its routes.

use crate::choice::MAX_NETWORKS;
use crate::error::{Doing, Error, Kind};
use crate::gate::{Gate, Which};
use crate::ipam::{self, Lease, Ledger};
use crate::link;
use crate::netlink::{Batch, Socket};
use crate::nft::obstacle::Obstacle;
use crate::nft::{DEVICES, Firewall, Link as Guarded};
use crate::route;
use rkt_spec::network::{Driver, Mac, NetworkPlan, Pool, PortPlan, Prefix, Route, Wired};
use rkt_spec::{NetworkName, Uuid};
use rkt_sys::netlink::Family;
use rustix::fd::{BorrowedFd, OwnedFd};
use std::collections::HashSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

mod bridge;
mod host;
mod macvlan;
mod pod;
mod ptp;

/// Where a pod is wired.
#[derive(Debug)]
pub struct Site<'a> {
    /// The pod.
    pub uuid: Uuid,
    /// rkt's run directory.
    pub run_dir: &'a Path,
    /// A procfs of the host, whose network this process is in.
    pub proc: BorrowedFd<'a>,
    /// The pod's network namespace.
    pub netns: BorrowedFd<'a>,
    /// An rtnetlink socket that was opened in it.
    pub pod: &'a Socket,
}

/// What there is of a pod's networks; grows while they are made, so that a failure half-way can
/// be undone.
#[derive(Debug, Default)]
pub struct Wires {
    run_dir: PathBuf,
    host: Option<Socket>,
    gate: Option<Gate>,
    leases: Vec<(NetworkName, Vec<Lease>)>,
    /// Routes of the host to the pod, with their devices.
    routes: Vec<(Prefix, u32)>,
    /// Ports of bridges.
    ports: Vec<u32>,
}

/// One network that is being made.
struct One<'a> {
    site: &'a Site<'a>,
    plan: &'a NetworkPlan,
    host: &'a Socket,
    /// Name of the host's end.
    host_device: String,
    /// Hardware address of the pod's end, and of the host's.
    macs: [Mac; 2],
    /// An address from each pool.
    addresses: Vec<(&'a Pool, IpAddr)>,
}

impl One<'_> {
    /// Whether the host's end needs IPv6.
    fn ipv6(&self) -> host::Ipv6 {
        match self.addresses.iter().any(|(_, a)| a.is_ipv6()) {
            true => host::Ipv6::On,
            false => host::Ipv6::Off,
        }
    }

    /// The pod's addresses, with the length of their subnets.
    fn prefixes(&self) -> Vec<Prefix> {
        let with = |(pool, address): &(&Pool, IpAddr)| Prefix {
            address: *address,
            length: pool.subnet.length,
        };
        self.addresses.iter().map(with).collect()
    }

    fn pod_end(&self) -> link::PodEnd<'_> {
        link::PodEnd {
            name: &self.plan.interface,
            mac: self.macs[0],
            mtu: self.plan.mtu,
            netns: self.site.netns,
        }
    }

    /// The planned routes of families that the pod has, each with its gateway.
    fn routes(&self) -> Vec<Route> {
        let pool = |to: &Prefix| {
            let of = |(pool, _): &&(&Pool, IpAddr)| {
                pool.subnet.address.is_ipv4() == to.address.is_ipv4()
            };
            self.addresses.iter().find(of).map(|(pool, _)| *pool)
        };
        let planned = self.plan.routes.iter();
        planned
            .filter_map(|route| {
                let via = route.via.or(pool(&route.to)?.gateway);
                Some(Route { to: route.to, via })
            })
            .collect()
    }

    fn wired(&self, host_device: &str) -> Wired {
        Wired {
            name: self.plan.name.clone(),
            interface: self.plan.interface.clone(),
            host_device: host_device.to_owned(),
            mac: Some(self.macs[0]),
            addresses: self.prefixes(),
            gateways: self
                .addresses
                .iter()
                .filter_map(|(p, _)| p.gateway)
                .collect(),
            routes: self.routes(),
            nameservers: vec![],
            domain: String::new(),
            search: vec![],
            options: vec![],
        }
    }
}

impl Wires {
    /// Makes every network of a pod, and leads the ports of the host that `held` sockets keep into
    /// it. After an error, [`Wires::end`] takes back what was made.
    ///
    /// # Errors
    /// For an address or port that is taken, a pool that is empty, a device that is not there.
    pub fn make(
        &mut self,
        site: &Site<'_>,
        plans: &[NetworkPlan],
        held: Vec<(PortPlan, Option<OwnedFd>)>,
    ) -> Result<Vec<Wired>, Error> {
        site.run_dir.clone_into(&mut self.run_dir);
        let host = &*self.host.insert(Socket::open(Family::Route)?);
        let mut taken = Vec::new();
        for plan in plans {
            let join = || format!("join the network `{}`", plan.name);
            taken.push(take(&mut self.leases, site, host, plan).doing(join)?);
        }
        let every: Vec<One<'_>> = plans
            .iter()
            .enumerate()
            .zip(taken)
            .map(|((at, plan), addresses)| One {
                site,
                plan,
                host,
                host_device: device_name(&site.uuid, at),
                macs: macs(plan, &site.uuid, at),
                addresses,
            })
            .collect();
        let guarded = |one: &One<'_>| Guarded::of(one.plan, &one.wired(&one.host_device));
        let links: Vec<Guarded> = every.iter().filter_map(guarded).collect();
        if !links.is_empty() {
            let is_dead = |pod: &Uuid| is_dead(site.run_dir, pod);
            let gate = Gate::open(site.uuid, links, held, &is_dead)?;
            self.gate = Some(gate);
        }
        host::forward(site.proc, plans)?;
        // The first network that leads somewhere is the one that is used.
        let mut led = HashSet::new();
        let mut all = Vec::new();
        for one in &every {
            let plan = one.plan;
            let wired = match plan.driver {
                Driver::Ptp => one.ptp(&mut self.routes, &mut led),
                Driver::Bridge => one.bridge(&mut self.ports, &mut led),
                Driver::Macvlan => one.macvlan(&mut led),
                // Others make those (`crates/stage1/src/plugins.rs`).
                Driver::Cni | Driver::Pasta => continue,
            };
            all.push(wired.doing(|| format!("join the network `{}`", plan.name))?);
        }
        if let Some(gate) = &self.gate {
            gate.lead_loopback()?;
        }
        Ok(all)
    }

    /// Keeps what plugins have connected apart from the pods of other networks. Where the kernel has
    /// no nf_tables, no network is kept apart.
    ///
    /// # Errors
    /// The kernel's; a directory that cannot be made.
    pub fn admit(&mut self, run_dir: &Path, uuid: Uuid, wired: &[Wired]) -> Result<(), Error> {
        let guests: Vec<Guarded> = wired.iter().filter_map(Guarded::guest).collect();
        if guests.is_empty() {
            return Ok(());
        }
        run_dir.clone_into(&mut self.run_dir);
        if self.host.is_none() {
            self.host = Some(Socket::open(Family::Route)?);
        }
        // By its lock it is known when the pod is dead.
        for network in wired {
            let ledger = Ledger::open(run_dir, &network.name)?;
            let lease = ledger.hold()?.join(uuid)?;
            self.leases.push((network.name.clone(), vec![lease]));
        }
        let is_dead = |pod: &Uuid| is_dead(run_dir, pod);
        let gate = match &mut self.gate {
            Some(gate) => gate,
            none => match Gate::open(uuid, vec![], vec![], &is_dead) {
                Ok(gate) => none.insert(gate),
                Err(error) if error.kind() == Kind::Host => return Ok(()),
                Err(error) => return Err(error),
            },
        };
        gate.admit(guests, &is_dead)
    }

    /// Leads one port of the host more into the pod.
    ///
    /// # Errors
    /// When the pod has no address that the host can send to, or the port is taken.
    pub fn publish(&mut self, port: PortPlan, socket: Option<OwnedFd>) -> Result<(), Error> {
        let run_dir = &self.run_dir;
        let gate = self.gate.as_mut().ok_or_else(no_gate)?;
        gate.publish(port, socket, &|pod| is_dead(run_dir, pod))
    }

    /// Takes a port of the host back.
    ///
    /// # Errors
    /// When the pod has no such port, or several are meant.
    pub fn withdraw(&mut self, which: Which) -> Result<(), Error> {
        self.gate.as_mut().ok_or_else(no_gate)?.withdraw(which)
    }

    /// Puts back what the host's firewall has lost of the pod, as by `nft flush ruleset`. Nothing to
    /// do for a pod without a device there.
    ///
    /// # Errors
    /// As [`Wires::make`]; what was there is there still.
    pub fn guard(&mut self) -> Result<(), Error> {
        let run_dir = &self.run_dir;
        match &self.gate {
            Some(gate) => gate.restore(&|pod| is_dead(run_dir, pod)),
            None => Ok(()),
        }
    }

    /// The ports that the kernel leads into the pod.
    pub fn ports(&self) -> Vec<PortPlan> {
        self.gate.as_ref().map_or(vec![], Gate::ports)
    }

    /// Ends what must not outlive the pod, whose processes are gone by now, and gives its
    /// addresses back. Safe at every stage of the making, and twice.
    ///
    /// # Errors
    /// When an address cannot be given back; all the others are.
    pub fn end(&mut self) -> Result<(), Error> {
        let mut first = self.gate.take().map_or(Ok(()), Gate::close);
        let Some(host) = self.host.take() else {
            return first;
        };
        let mut batch = Batch::new();
        for (to, device) in self.routes.drain(..) {
            route::delete(&mut batch, to, device);
        }
        for port in self.ports.drain(..) {
            link::silence(&mut batch, port);
        }
        // What is gone already, with its device, is no failure.
        let _ = host.run(&batch);
        for (name, leases) in self.leases.drain(..) {
            let back = give_back(&self.run_dir, &name, leases, &host);
            first = first.and(back.doing(|| format!("leave the network `{name}`")));
        }
        first
    }
}

/// Takes an address of each pool.
fn take<'p>(
    leases: &mut Vec<(NetworkName, Vec<Lease>)>,
    site: &Site<'_>,
    host: &Socket,
    plan: &'p NetworkPlan,
) -> Result<Vec<(&'p Pool, IpAddr)>, Error> {
    let mut addresses = Vec::new();
    let mut own = Vec::new();
    let counted = plan.driver == Driver::Bridge;
    if plan.pools.is_empty() && !counted {
        return Ok(addresses);
    }
    let ledger = Ledger::open(site.run_dir, &plan.name)?;
    if plan.pools.is_empty() {
        // The bridge goes with the last pod on it.
        own.push(ledger.hold()?.join(site.uuid)?);
    }
    let taken = plan.pools.iter().try_for_each(|pool| {
        let address = take_one(&ledger, &mut own, site, host, (pool, plan.driver))?;
        addresses.push((pool, address));
        Ok(())
    });
    leases.push((plan.name.clone(), own));
    taken.map(|()| addresses)
}

fn take_one(
    ledger: &Ledger,
    leases: &mut Vec<Lease>,
    site: &Site<'_>,
    host: &Socket,
    (pool, driver): (&Pool, Driver),
) -> Result<IpAddr, Error> {
    loop {
        let lease = ledger.hold()?.take(pool, site.uuid)?;
        let (address, left_by) = (lease.address, lease.left_by);
        leases.push(lease);
        let Some(address) = address else {
            return Err(Error::new(Kind::System, "a pool gave no address"));
        };
        if let Some(dead) = left_by {
            forget(host, dead, address);
            unguard(&[dead])?;
        }
        if driver != Driver::Ptp || !leads_elsewhere(host, address) {
            return Ok(address);
        }
        // Somebody who does not know our run directory has it. It stays taken until the pod ends,
        // so the next is another.
        if pool.wanted.is_some() {
            let because = "this host has a route to it already";
            return Err(Error::new(Kind::Taken, because)
                .while_doing(format!("take the address `{address}`"))
                .with_hint(format!("`ip route get {address}` shows who has it")));
        }
    }
}

/// Removes what dead pods left of their networks below a run directory.
///
/// # Errors
/// The first failure; the other networks are swept all the same.
pub fn sweep(run_dir: &Path) -> Result<(), Error> {
    let path = run_dir.join(ipam::DIR);
    let list = match std::fs::read_dir(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.doing(|| format!("list `{}`", path.display()))?,
    };
    let host = Socket::open(Family::Route)?;
    let mut first = Ok(());
    for entry in list.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().and_then(|n| NetworkName::new(n).ok()) else {
            continue;
        };
        let swept = sweep_one(run_dir, &name, &host);
        first = first.and(swept.doing(|| format!("sweep the network `{name}`")));
    }
    // Who was killed before the very end has left empty tables, which nobody owns.
    first.and(unguard(&[]))
}

fn sweep_one(run_dir: &Path, name: &NetworkName, host: &Socket) -> Result<(), Error> {
    let dead = Ledger::open(run_dir, name)?.hold()?.dead()?;
    let mut pods = vec![];
    for lease in &dead {
        if let (Some(pod), Some(address)) = (lease.left_by, lease.address) {
            forget(host, pod, address);
        }
        pods.extend(lease.left_by);
    }
    if !pods.is_empty() {
        unguard(&pods)?;
    }
    crate::names::sweep(run_dir, name)?;
    give_back(run_dir, name, dead, host)
}

/// The last pod of a network takes its bridge along.
fn give_back(
    run_dir: &Path,
    name: &NetworkName,
    leases: Vec<Lease>,
    host: &Socket,
) -> Result<(), Error> {
    let ledger = Ledger::open(run_dir, name)?;
    let held = ledger.hold()?;
    let mut first = Ok(());
    for lease in leases {
        first = first.and(held.give_back(lease));
    }
    first.and(bridge::remove(host, &held, name))
}

/// Removes what a dead pod left that would be in the way of the next one with this address. Its
/// devices go with its namespace, which the kernel takes apart by and by.
fn forget(host: &Socket, dead: Uuid, address: IpAddr) {
    let mut batch = Batch::new();
    for at in 0..MAX_NETWORKS {
        link::show(&mut batch, &device_name(&dead, at));
    }
    let found = host.each(&batch).unwrap_or_default();
    let devices = found.into_iter().flatten().flatten();
    let mut batch = Batch::new();
    for device in devices.filter_map(|answer| link::Link::read(&answer)) {
        route::delete(&mut batch, whole(address), device.index);
    }
    let _ = host.run(&batch);
}

/// Removes what the firewall has of dead pods.
fn unguard(dead: &[Uuid]) -> Result<(), Error> {
    match Firewall::open() {
        Ok(firewall) => firewall.sweep(&|pod| dead.contains(pod)),
        // Without nf_tables no pod was ever in it.
        Err(error) if error.kind() == Kind::Host => Ok(()),
        Err(error) => Err(error),
    }
}

fn no_gate() -> Error {
    Error::new(
        Kind::Request,
        "no network of the pod has a device on the host",
    )
}

/// Whether a pod has ended without giving its addresses back.
fn is_dead(run_dir: &Path, pod: &Uuid) -> bool {
    let names = std::fs::read_dir(run_dir.join(ipam::DIR)).into_iter();
    names.flatten().flatten().any(|entry| {
        let name = entry.file_name();
        let Some(name) = name.to_str().and_then(|n| NetworkName::new(n).ok()) else {
            return false;
        };
        let dead = Ledger::open(run_dir, &name).and_then(|l| l.hold()?.dead());
        dead.is_ok_and(|list| list.iter().any(|lease| lease.left_by == Some(*pod)))
    })
}

/// Rules of others that are in the way of pods on these networks, in the calling process's network.
///
/// # Errors
/// The kernel's.
pub fn obstacles(plans: &[NetworkPlan]) -> Result<Vec<Obstacle>, Error> {
    let link = |plan: &NetworkPlan| {
        let wired = Wired {
            name: plan.name.clone(),
            interface: plan.interface.clone(),
            host_device: DEVICES.to_owned(),
            mac: Some(Mac([0; 6])),
            addresses: plan.pools.iter().map(|p| p.subnet).collect(),
            gateways: vec![],
            routes: vec![],
            nameservers: vec![],
            domain: String::new(),
            search: vec![],
            options: vec![],
        };
        Guarded::of(plan, &wired)
    };
    let links: Vec<Guarded> = plans.iter().filter_map(link).collect();
    crate::nft::obstacle::find(&links)
}

/// Whether the host has a route to this very address.
fn leads_elsewhere(host: &Socket, address: IpAddr) -> bool {
    let mut batch = Batch::new();
    route::find(&mut batch, address);
    let to = whole(address);
    host.run(&batch)
        .is_ok_and(|answers| answers.iter().any(|a| route::is_to(a, to)))
}

/// An address as a network of one.
fn whole(address: IpAddr) -> Prefix {
    Prefix {
        address,
        length: if address.is_ipv4() { 32 } else { 128 },
    }
}

/// Name of the host's end of a pod's device: 40 bits of its UUID, and which of its networks.
pub fn device_name(uuid: &Uuid, at: usize) -> String {
    let digits = uuid.to_string().replace('-', "");
    format!("{DEVICES}{}{at:x}", digits.get(..10).unwrap_or_default())
}

/// Hardware addresses of the pod's end and of the host's: locally administered, and no pod's twice.
fn macs(plan: &NetworkPlan, uuid: &Uuid, at: usize) -> [Mac; 2] {
    let [.., a, b, c, d, e] = *uuid.as_bytes();
    let e = e ^ u8::try_from(at).unwrap_or(0);
    let pod = plan.mac.unwrap_or(Mac([0x02, a, b, c, d, e]));
    [pod, Mac([0x06, a, b, c, d, e])]
}
