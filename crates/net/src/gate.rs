//! One pod's part of the host's firewall: its links and its ports, from its start to its end.
//!
//! The order: first the rules, then the devices come up ([`crate::wire`]), then the way from the
//! host's loopback. A port is held by a bound socket beside its rule, so that no process of the
//! host takes it meanwhile, and every tool that lists sockets shows whose it is.

use crate::error::{Doing, Error, Kind};
use crate::localnet;
use crate::nft::obstacle::{self, Obstacle};
use crate::nft::{Firewall, Link, Published};
use rkt_spec::Uuid;
use rkt_spec::network::{PortPlan, PortWay, Protocol};
use rustix::fd::OwnedFd;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// A port that leads into the pod.
#[derive(Debug)]
struct Open {
    plan: PortPlan,
    published: Published,
    /// Holds the port of the host; `None` where the kernel has no sockets of that protocol.
    _socket: Option<OwnedFd>,
}

/// What the firewall has of a pod.
#[derive(Debug)]
pub struct Gate {
    pod: Uuid,
    firewall: Firewall,
    links: Vec<Link>,
    /// Addresses that a port may lead to.
    addresses: Vec<IpAddr>,
    open: Vec<Open>,
}

/// Which port of the host is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Which {
    /// Its address; `None` is any.
    pub host: Option<IpAddr>,
    /// Its number.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

impl Gate {
    /// Lets a pod through: its links, and its ports with the sockets that hold them.
    ///
    /// What a pod that `is_dead` left is removed.
    ///
    /// # Errors
    /// When a port leads to no address of its family, when somebody living has an address or port,
    /// when the kernel has no nf_tables. Nothing is left then.
    pub fn open(
        pod: Uuid,
        links: Vec<Link>,
        ports: Vec<(PortPlan, Option<OwnedFd>)>,
        is_dead: &dyn Fn(&Uuid) -> bool,
    ) -> Result<Self, Error> {
        let firewall = Firewall::open()?;
        let own = links.iter().flat_map(|l| &l.addresses);
        let addresses: Vec<IpAddr> = own.map(|p| p.address).collect();
        let mut open = vec![];
        for (plan, socket) in ports {
            if plan.way == PortWay::Nat {
                open.push(Open {
                    published: Published::of(&plan, &addresses)?,
                    plan,
                    _socket: socket,
                });
            }
        }
        let published: Vec<Published> = open.iter().map(|o| o.published).collect();
        firewall
            .add(&pod, &links, &published, is_dead)
            .doing(|| "let the pod through the host's firewall".into())?;
        Ok(Self {
            pod,
            firewall,
            links,
            addresses,
            open,
        })
    }

    /// Keeps what networks of others have given the pod apart from other networks' pods.
    ///
    /// An address that a living pod has already, which others may give out twice, is left alone.
    ///
    /// # Errors
    /// The kernel's.
    pub fn admit(
        &mut self,
        guests: Vec<Link>,
        is_dead: &dyn Fn(&Uuid) -> bool,
    ) -> Result<(), Error> {
        for guest in guests {
            match self
                .firewall
                .add(&self.pod, std::slice::from_ref(&guest), &[], is_dead)
            {
                Ok(()) => self.links.push(guest),
                Err(error) if error.kind() == Kind::Taken => {}
                Err(error) => {
                    return Err(error.while_doing("let the pod through the host's firewall"));
                }
            }
        }
        Ok(())
    }

    /// Opens the way from the host's loopback, now that the devices are there.
    ///
    /// # Errors
    /// Names the port and the setting.
    pub fn lead_loopback(&self) -> Result<(), Error> {
        self.open.iter().try_for_each(|o| self.lead(o.published))
    }

    fn lead(&self, port: Published) -> Result<(), Error> {
        if !port.serves_loopback() {
            return Ok(());
        }
        let leads = |l: &&Link| l.addresses.iter().any(|p| p.address == port.to);
        let Some(link) = self.links.iter().find(leads) else {
            return Ok(());
        };
        let doing = || format!("publish port `{port}`");
        if let Some(bridge) = &link.bridge {
            if port.host.is_loopback() && port.host.is_ipv6() && bridge_rewrites() {
                return Err(Error::new(
                    Kind::Host,
                    format!("answers to `::1` are lost on bridge `{bridge}` while `net.bridge.bridge-nf-call-ip6tables` is 1"),
                )
                .while_doing(doing())
                .with_hint("set it to 0, or publish on 127.0.0.1"));
            }
            self.firewall.guard_bridge(bridge).doing(doing)?;
        }
        localnet::open(link.way()).doing(doing)
    }

    /// Publishes one port more.
    ///
    /// # Errors
    /// As [`Gate::open`]; nothing has changed then.
    pub fn publish(
        &mut self,
        plan: PortPlan,
        socket: Option<OwnedFd>,
        is_dead: &dyn Fn(&Uuid) -> bool,
    ) -> Result<(), Error> {
        let published = Published::of(&plan, &self.addresses)?;
        self.firewall.publish(&self.pod, &published, is_dead)?;
        if let Err(error) = self.lead(published) {
            let _ = self.firewall.withdraw(&self.pod, &published);
            return Err(error);
        }
        self.open.push(Open {
            plan,
            published,
            _socket: socket,
        });
        Ok(())
    }

    /// Takes a port back and ends the connections through it.
    ///
    /// # Errors
    /// When there is no such port, or several are meant.
    pub fn withdraw(&mut self, which: Which) -> Result<(), Error> {
        let meant = |o: &Open| {
            o.plan.host_port == which.port
                && o.plan.protocol == which.protocol
                && which.host.is_none_or(|h| h == o.plan.host)
        };
        let protocol = which.protocol.as_str();
        let doing = || match which.host {
            Some(host) => {
                let host = SocketAddr::new(host, which.port);
                format!("take back port `{host}/{protocol}`")
            }
            None => format!("take back port `{}/{protocol}`", which.port),
        };
        let mut found = (0..).zip(&self.open).filter(|(_, o)| meant(o));
        let at = match (found.next(), found.next()) {
            (Some((at, _)), None) => at,
            (Some(_), Some(_)) => {
                let error = Error::new(Kind::Request, "it is published on several addresses");
                return Err(error
                    .while_doing(doing())
                    .with_hint("say which: ADDRESS:PORT"));
            }
            (None, _) => {
                let list: Vec<String> = self.open.iter().map(|o| o.published.to_string()).collect();
                let because = match list.is_empty() {
                    true => "the pod has no ports".to_owned(),
                    false => format!("the pod has {}", list.join(", ")),
                };
                return Err(Error::new(Kind::Request, because).while_doing(doing()));
            }
        };
        let open = self.open.remove(at);
        self.firewall
            .withdraw(&self.pod, &open.published)
            .doing(doing)
    }

    /// The ports that are open.
    pub fn ports(&self) -> Vec<PortPlan> {
        self.open.iter().map(|o| o.plan.clone()).collect()
    }

    /// Puts everything back, whatever is left of it: what is there stays there meanwhile.
    ///
    /// # Errors
    /// As [`Gate::open`]; what was there is there still.
    pub fn restore(&self, is_dead: &dyn Fn(&Uuid) -> bool) -> Result<(), Error> {
        let doing = || "let the pod through the host's firewall".to_owned();
        let published: Vec<Published> = self.open.iter().map(|o| o.published).collect();
        let (guests, own): (Vec<Link>, Vec<Link>) =
            self.links.iter().cloned().partition(|link| link.guest);
        self.firewall
            .renew(&self.pod, &own, &published, is_dead)
            .doing(doing)?;
        for guest in guests {
            match self.firewall.renew(&self.pod, &[guest], &[], is_dead) {
                // As in [`Gate::admit`].
                Err(error) if error.kind() != Kind::Taken => return Err(error).doing(doing),
                Err(_) | Ok(()) => {}
            }
        }
        self.lead_loopback()
    }

    /// Rules of others that are in the way of this pod.
    pub fn obstacles(&self) -> Vec<Obstacle> {
        obstacle::find(&self.links).unwrap_or_default()
    }

    /// Takes everything back, when no process of the pod is left.
    ///
    /// # Errors
    /// The kernel's.
    pub fn close(self) -> Result<(), Error> {
        let published: Vec<Published> = self.open.iter().map(|o| o.published).collect();
        let removed = self
            .firewall
            .take_back(&self.pod, &self.links, &published)
            .doing(|| "take the pod out of the host's firewall".into());
        self.firewall.leave();
        removed
    }
}

/// Whether bridges show what they pass on to the filters for IPv6 (`br_netfilter`).
fn bridge_rewrites() -> bool {
    let setting = Path::new("/proc/sys/net/bridge/bridge-nf-call-ip6tables");
    std::fs::read_to_string(setting).is_ok_and(|t| t.trim() != "0")
}
