//! rkt's firewall: nftables, by netlink, in one transaction a change.
//!
//! The tables `inet rkt` and, when a pod stands on a bridge, `bridge rkt` are made with the first
//! pod of the network namespace and go with its last. Their rules are the same for every pod
//! (`table.rs`); a pod is elements of sets (`elements.rs`), and each element carries the pod's UUID
//! as its comment, so that what a killed supervisor left behind is known for what it is. No other
//! table is ever changed: what it drops stays dropped ([`obstacle`] tells of it).
//!
//! Refused here: an element that another pod already has.

mod elements;
mod expression;
mod look;
pub mod metadata;
pub mod obstacle;
mod table;
#[cfg(test)]
mod tests;
pub mod track;
mod transaction;
pub mod trial;

use crate::error::{Doing, Error, Kind};
use crate::netlink::Socket;
use rkt_spec::Uuid;
use rkt_spec::network::{Driver, Mac, NetworkPlan, PortPlan, Prefix, Protocol, Wired};
use rkt_sys::netlink::Family as Protocols;
use rkt_sys::{fd, process, signal};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use transaction::{Element, Family, Transaction};

/// How often a transaction is tried again when others change the tables meanwhile.
const TRIES: usize = 50;

/// How the names of all devices begin that the rules guard, and of no bridge of rkt's: four bytes,
/// which the kernel compares at once.
pub(crate) const DEVICES: &str = "rktv";

/// More than a grace period of the kernel takes.
const GRACE: Duration = Duration::from_millis(100);
/// How often it is looked whether the host still changes its rules; each time after twice as long.
const LOOKS: u32 = 5;

/// A device of the host behind which stands one pod, and what is allowed by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The device.
    pub device: String,
    /// The bridge it is a port of; `None` when the host routes to it.
    pub bridge: Option<String>,
    /// The pod's hardware address.
    pub mac: Mac,
    /// The pod's addresses, with the length of their subnets.
    pub addresses: Vec<Prefix>,
    /// Addresses of the host that a restricted pod may reach.
    pub gates: Vec<IpAddr>,
    /// Whether what leaves the host carries the host's address.
    pub masquerade: bool,
    /// Whether it is kept from other pods of its network.
    pub isolated: bool,
    /// Whether it is kept in its network, the host out of reach but its gateways.
    pub restricted: bool,
    /// Whether the cloud's metadata address is within reach.
    pub metadata: bool,
    /// Whether others made the device and guard it.
    pub guest: bool,
}

impl Link {
    /// What a network of rkt's own drivers became; `None` when the pod has no device on the host.
    ///
    /// The metadata address is within reach only by a route of the network that names it.
    pub fn of(plan: &NetworkPlan, wired: &Wired) -> Option<Self> {
        let bridge = match plan.driver {
            Driver::Bridge => Some(plan.device.clone()),
            Driver::Ptp => None,
            Driver::Macvlan | Driver::Cni | Driver::Pasta => return None,
        };
        Some(Self {
            device: wired.host_device.clone(),
            bridge,
            mac: wired.mac?,
            addresses: wired.addresses.clone(),
            gates: wired.gateways.clone(),
            masquerade: plan.masquerade,
            isolated: plan.isolated,
            restricted: plan.restricted,
            metadata: metadata::asks(plan),
            guest: false,
        })
    }

    /// What a network of others became: only its addresses are known, and that they are not those of
    /// another network. `None` without addresses in a subnet.
    pub fn guest(wired: &Wired) -> Option<Self> {
        // By a whole address it cannot be known who is of the same network.
        let whole = |p: &&Prefix| p.length == if p.address.is_ipv4() { 32 } else { 128 };
        let addresses: Vec<Prefix> = wired
            .addresses
            .iter()
            .filter(|p| !whole(p))
            .copied()
            .collect();
        (!addresses.is_empty()).then(|| Self {
            device: wired.host_device.clone(),
            bridge: None,
            mac: Mac([0; 6]),
            addresses,
            gates: vec![],
            masquerade: false,
            isolated: false,
            restricted: false,
            metadata: false,
            guest: true,
        })
    }

    /// The device by which the host itself reaches the pod.
    pub fn way(&self) -> &str {
        self.bridge.as_ref().unwrap_or(&self.device)
    }
}

/// A port of the host that the kernel sends on to a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Published {
    /// Its protocol.
    pub protocol: Protocol,
    /// Address of the host; unspecified is all of that family.
    pub host: IpAddr,
    /// Port of the host.
    pub host_port: u16,
    /// Address of the pod, of the same family.
    pub to: IpAddr,
    /// Port in the pod.
    pub pod_port: u16,
}

impl Published {
    /// Where a port leads, given the addresses of its pod: the first of the host's family.
    ///
    /// # Errors
    /// When the pod has no address of that family.
    pub fn of(port: &PortPlan, addresses: &[IpAddr]) -> Result<Self, Error> {
        let family = |a: &&IpAddr| a.is_ipv4() == port.host.is_ipv4();
        let Some(to) = addresses.iter().find(family) else {
            let word = if port.host.is_ipv4() { "IPv4" } else { "IPv6" };
            let host = SocketAddr::new(port.host, port.host_port);
            return Err(Error::new(
                Kind::Request,
                format!("the pod has no {word} address that the host can send to"),
            )
            .while_doing(format!("publish port `{host}/{}`", port.protocol.as_str())));
        };
        Ok(Self {
            protocol: port.protocol,
            host: port.host,
            host_port: port.host_port,
            to: *to,
            pod_port: port.pod_port,
        })
    }

    /// Whether only the host itself can reach it.
    pub fn is_loopback(&self) -> bool {
        self.host.is_loopback()
    }

    /// Whether a client on the host may come from its loopback address.
    pub fn serves_loopback(&self) -> bool {
        self.host.is_loopback() || self.host.is_unspecified()
    }
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = SocketAddr::new(self.host, self.host_port);
        write!(f, "{host}/{}", self.protocol.as_str())
    }
}

/// The door to nf_tables of one network namespace.
#[derive(Debug)]
pub struct Firewall {
    socket: Socket,
}

impl Firewall {
    /// Opens it in the calling process's network namespace.
    ///
    /// # Errors
    /// [`Kind::Host`] when the kernel has no nf_tables.
    pub fn open() -> Result<Self, Error> {
        let socket = Socket::open(Protocols::Netfilter).map_err(|e| told(&e))?;
        Ok(Self { socket })
    }

    /// Adds a pod, all of it or nothing. What a pod that `is_dead` left in the way is removed.
    ///
    /// # Errors
    /// [`Kind::Taken`] when a living pod has an address, device or port of these; [`Kind::Host`]
    /// when the kernel lacks a part of nf_tables.
    pub fn add(
        &self,
        pod: &Uuid,
        links: &[Link],
        ports: &[Published],
        is_dead: &dyn Fn(&Uuid) -> bool,
    ) -> Result<(), Error> {
        let elements = elements::of_pod(links, ports);
        if elements.is_empty() {
            return Ok(());
        }
        let bridged = links.iter().any(|l| l.bridge.is_some());
        let needed: &[Family] = match bridged {
            true => &[Family::Inet, Family::Bridge],
            false => &[Family::Inet],
        };
        let owner = pod.to_string();
        let mut missing = self.missing(needed)?;
        let mut last = Error::from(Errno::AGAIN);
        for _ in 0..TRIES {
            let mut transaction = Transaction::begin(None);
            for family in &missing {
                table::make(*family, &mut transaction);
            }
            for element in &elements {
                transaction.element(element, &owner);
            }
            let error = match transaction.commit(&self.socket) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let new = !missing.is_empty();
            match error.errno() {
                Some(Errno::NOENT) => {
                    missing = self.missing(needed)?;
                    if missing.is_empty() {
                        if new || last.errno() == Some(Errno::NOENT) {
                            return Err(other_version(error));
                        }
                        last = error;
                        continue;
                    }
                }
                Some(Errno::EXIST) => {
                    missing = self.missing(needed)?;
                    let gone = self.make_way(&elements, is_dead)?;
                    if !gone && !new {
                        return Err(error);
                    }
                }
                Some(Errno::INTR) => {}
                _ => return Err(told(&error)),
            }
            last = error;
        }
        Err(last)
    }

    /// Adds a pod of which a part may be there, all of it or nothing.
    ///
    /// # Errors
    /// As [`Firewall::add`]; what was there is there still.
    pub fn renew(
        &self,
        pod: &Uuid,
        links: &[Link],
        ports: &[Published],
        is_dead: &dyn Fn(&Uuid) -> bool,
    ) -> Result<(), Error> {
        match self.add(pod, links, ports, is_dead) {
            Err(error) if error.kind() == Kind::Taken => {}
            done => return done,
        }
        let owner = pod.to_string();
        let elements = elements::of_pod(links, ports);
        let mut transaction = Transaction::begin(None);
        for (there, whose) in self.all_owned()? {
            if whose == *pod && elements.iter().any(|e| e.is_at(&there)) {
                transaction.delete_element(&there);
            }
        }
        for element in &elements {
            transaction.element(element, &owner);
        }
        let taken = |error: Error| match error.errno() {
            Some(Errno::EXIST) => Error::new(Kind::Taken, "another pod has a part of it"),
            _ => told(&error),
        };
        transaction.commit(&self.socket).map_err(taken)
    }

    /// Takes back what [`Firewall::add`] added with the same words, ends what goes on by the UDP
    /// ports, and removes the tables when this was the last pod.
    ///
    /// What is not there is no error: somebody may have flushed the whole ruleset.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove(&self, pod: &Uuid, links: &[Link], ports: &[Published]) -> Result<(), Error> {
        self.take_back(pod, links, ports)?;
        self.tidy()
    }

    /// The same, but empty tables stay for [`Firewall::leave`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn take_back(&self, pod: &Uuid, links: &[Link], ports: &[Published]) -> Result<(), Error> {
        let elements = elements::of_pod(links, ports);
        if elements.is_empty() {
            return Ok(());
        }
        match self.delete(&elements) {
            Ok(()) => {}
            Err(error) if error.errno() == Some(Errno::NOENT) => {
                self.sweep(&|owner| owner == pod)?;
            }
            Err(error) => return Err(error),
        }
        forget(ports)
    }

    /// Publishes one port more of a pod.
    ///
    /// # Errors
    /// As [`Firewall::add`].
    pub fn publish(
        &self,
        pod: &Uuid,
        port: &Published,
        is_dead: &dyn Fn(&Uuid) -> bool,
    ) -> Result<(), Error> {
        self.add(pod, &[], std::slice::from_ref(port), is_dead)
    }

    /// Takes back one published port and ends its connections.
    ///
    /// # Errors
    /// As [`Firewall::remove`].
    pub fn withdraw(&self, pod: &Uuid, port: &Published) -> Result<(), Error> {
        let ports = std::slice::from_ref(port);
        self.remove(pod, &[], ports)?;
        track::forget(ports)
    }

    /// Removes what pods that `is_dead` left, and the tables when no pod is left.
    ///
    /// # Errors
    /// The kernel's.
    pub fn sweep(&self, is_dead: &dyn Fn(&Uuid) -> bool) -> Result<(), Error> {
        for _ in 0..TRIES {
            let dead: Vec<Element> = self
                .all_owned()?
                .into_iter()
                .filter(|(_, owner)| is_dead(owner))
                .map(|(element, _)| element)
                .collect();
            if dead.is_empty() {
                return self.tidy();
            }
            let ports: Vec<Published> = dead.iter().filter_map(elements::published).collect();
            match self.delete(&dead).and_then(|()| forget(&ports)) {
                // Somebody was quicker: look again.
                Err(error) if error.errno() == Some(Errno::NOENT) => {}
                Err(error) => return Err(error),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Pods that have elements in rkt's tables.
    ///
    /// # Errors
    /// The kernel's.
    pub fn owners(&self) -> Result<Vec<Uuid>, Error> {
        let mut list: Vec<Uuid> = self.all_owned()?.into_iter().map(|(_, o)| o).collect();
        list.sort();
        list.dedup();
        Ok(list)
    }

    /// Lets go of the door after [`Firewall::take_back`], without waiting, and removes the tables when
    /// no pod is in them any more: who starts one pod after the other needs them again.
    ///
    /// Who closes a socket of netfilter waits for a grace period, 10 to 20 ms, when something was
    /// deleted a moment ago, and keeps everybody else's transactions waiting with it
    /// (`nft_rcv_nl_event`, to which each of these sockets could be the owner of a table); and with
    /// the transactions every new device, which nf_tables is told of. So a child that has nothing
    /// else keeps it until the kernel is through with what was deleted, not only by this pod: until
    /// no rule of the host has changed for a tenth of a second, or, where they change all the time,
    /// three seconds at most. A signal to end, as systemd sends to what is left of a unit, is obeyed.
    pub fn leave(self) {
        let Ok((closing, close)) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC) else {
            return;
        };
        let rest = || {
            let mut keep = [fd::number(self.socket.fd()), fd::number(&closing)];
            // What it was born with is somebody's: a pipe whose end is waited for, a mount.
            let alone =
                fd::close_all_but(0, &mut keep).is_ok() && std::env::set_current_dir("/").is_ok();
            if alone {
                // Until the parent has closed its own: the last to close is the one who waits.
                let _ = rustix::io::read(&closing, &mut [0u8; 1]);
                self.rest();
            }
            0
        };
        if process::fork_with(0, rest).is_err() {
            // It is closed here, later than one would like.
            let _ = self.tidy();
        }
        drop(self);
        drop(close);
    }

    /// The rest of the life of a door: waits, tidies up, waits.
    fn rest(&self) {
        const TERM: i32 = 15;
        let told = signal::open(&[TERM]).ok();
        // Whether it was told to end.
        let pause = |time: Duration| {
            let mut fds: Vec<PollFd<'_>> = Vec::new();
            fds.extend(told.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
            let time = Timespec::try_from(time).ok();
            rustix::event::poll(&mut fds, time.as_ref()).is_ok_and(|n| n > 0)
        };
        let mut seen = None;
        let mut time = GRACE;
        for _ in 0..LOOKS {
            let now = look::generation(&self.socket).ok();
            if seen.is_some() && now == seen {
                break;
            }
            seen = now;
            if pause(time) {
                break;
            }
            time *= 2;
        }
        let before = look::generation(&self.socket).ok();
        let _ = self.tidy();
        if look::generation(&self.socket).ok() != before {
            pause(GRACE);
        }
    }

    fn delete(&self, elements: &[Element]) -> Result<(), Error> {
        let mut transaction = Transaction::begin(None);
        for element in elements {
            transaction.delete_element(element);
        }
        transaction.commit(&self.socket)
    }

    /// Removes what dead pods have of these; whether something was removed.
    fn make_way(
        &self,
        elements: &[Element],
        is_dead: &dyn Fn(&Uuid) -> bool,
    ) -> Result<bool, Error> {
        let mut dead = vec![];
        for (there, owner) in self.all_owned()? {
            let Some(wanted) = elements.iter().find(|e| e.is_at(&there)) else {
                continue;
            };
            if !is_dead(&owner) {
                return Err(Error::new(Kind::Taken, format!("pod `{owner}` has it"))
                    .while_doing(wanted.what.clone()));
            }
            dead.push(owner);
        }
        self.sweep(&|owner| dead.contains(owner))?;
        Ok(!dead.is_empty())
    }

    /// Says that the host speaks from its loopback address to this bridge, so that nothing that
    /// comes by it to that address is let in.
    ///
    /// # Errors
    /// The kernel's.
    pub fn guard_bridge(&self, bridge: &str) -> Result<(), Error> {
        let mut transaction = Transaction::begin(None);
        transaction.element(&elements::localnet(bridge), "loopback");
        match transaction.commit(&self.socket) {
            Err(error) if error.errno() != Some(Errno::EXIST) => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes the tables when no pod is in them.
    fn tidy(&self) -> Result<(), Error> {
        let doing = || "remove rkt's empty tables".to_owned();
        for _ in 0..TRIES {
            let generation = look::generation(&self.socket)?;
            let mut empty = vec![];
            for family in [Family::Bridge, Family::Inet] {
                match look::is_empty(&self.socket, family) {
                    Ok(true) => empty.push(family),
                    Ok(false) => {}
                    Err(error) if error.errno() == Some(Errno::NOENT) => {}
                    Err(error) => return Err(error).doing(doing),
                }
            }
            if empty.is_empty() {
                return Ok(());
            }
            let bridges = match empty.contains(&Family::Inet) {
                true => look::bridges(&self.socket)?,
                false => vec![],
            };
            for bridge in &bridges {
                crate::localnet::close(bridge);
            }
            let mut transaction = Transaction::begin(Some(generation));
            for family in &empty {
                transaction.delete_table(*family);
            }
            match transaction.commit(&self.socket) {
                Ok(()) => return Ok(()),
                // Something has changed since: a pod may have come, and may need them.
                Err(error) if is_restart(&error) || error.errno() == Some(Errno::NOENT) => {
                    for bridge in &bridges {
                        let _ = crate::localnet::open(bridge);
                    }
                }
                Err(error) => return Err(error).doing(doing),
            }
        }
        Ok(())
    }

    fn missing(&self, needed: &[Family]) -> Result<Vec<Family>, Error> {
        let mut list = vec![];
        for family in needed {
            if !look::has_table(&self.socket, *family)? {
                list.push(*family);
            }
        }
        Ok(list)
    }

    fn all_owned(&self) -> Result<Vec<(Element, Uuid)>, Error> {
        look::owned(&self.socket)
    }
}

/// Ends what goes on by ports that are gone. A new TCP or SCTP connection has a new beginning and is
/// led by the rules; a UDP client that keeps its port has not.
fn forget(ports: &[Published]) -> Result<(), Error> {
    let mut udp = ports.to_vec();
    udp.retain(|p| p.protocol == Protocol::Udp);
    track::forget(&udp)
}

/// `ERESTART`, which is the kernel's own and which rustix does not name.
fn is_restart(error: &Error) -> bool {
    error.errno().is_some_and(|e| e.raw_os_error() == 85)
}

/// The sure reasons by which a kernel has no nf_tables, or not enough of it.
fn told(error: &Error) -> Error {
    let lacks = matches!(
        error.errno(),
        Some(Errno::PROTONOSUPPORT | Errno::OPNOTSUPP | Errno::AFNOSUPPORT | Errno::PROTOTYPE)
    );
    if !lacks {
        return error.clone();
    }
    Error::new(
        Kind::Host,
        format!("the kernel has no nf_tables, or not all of it: {error}"),
    )
    .with_hint("`--net=none` and `--net=host` need none of it")
}

fn other_version(error: Error) -> Error {
    error
        .while_doing("use table `inet rkt`, which another version of rkt made")
        .with_hint("stop the pods of that version; the table goes with the last of them")
}
