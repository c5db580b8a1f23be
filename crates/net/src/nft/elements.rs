//! What a pod is in rkt's tables: elements of their sets.
//!
//! The same function says what is added and what is taken back, so the two cannot differ.

use super::expression::{Ip, Verdict};
use super::table::{chain, of, set};
use super::transaction::{Element, Family, Target};
use super::{Link, Published};
use rkt_spec::network::{Mac, Protocol};
use std::net::{IpAddr, Ipv6Addr};

/// The name of a device, padded as the kernel compares it.
fn device(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

/// An address as packets have it.
pub(super) fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

fn family(address: IpAddr) -> Ip {
    if address.is_ipv4() { Ip::V4 } else { Ip::V6 }
}

/// One byte and two, each padded to a register.
fn transport(protocol: u8, port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    vec![protocol, 0, 0, 0, high, low, 0, 0]
}

/// The address that a device of this hardware address gives itself (RFC 4291, appendix A).
pub(super) fn link_local(mac: Mac) -> IpAddr {
    let [a, b, c, d, e, f] = mac.0;
    IpAddr::V6(Ipv6Addr::from([
        0xfe,
        0x80,
        0,
        0,
        0,
        0,
        0,
        0,
        a ^ 2,
        b,
        c,
        0xff,
        0xfe,
        d,
        e,
        f,
    ]))
}

/// Elements of one pod.
struct List {
    elements: Vec<Element>,
    what: String,
}

impl List {
    fn put(&mut self, family: Family, set: &'static str, key: Vec<u8>) -> &mut Element {
        self.elements.push(Element {
            family,
            set,
            key,
            end: None,
            leads: None,
            what: self.what.clone(),
        });
        let last = self.elements.len() - 1;
        &mut self.elements[last]
    }

    fn link(&mut self, link: &Link) {
        let doing =
            |what: &dyn std::fmt::Display| format!("let `{what}` through `{}`", link.device);
        self.what = format!("guard device `{}`", link.device);
        // What a bridge passes on is seen in the bridge's table alone.
        let guard = match link.bridge {
            Some(_) => Family::Bridge,
            None => Family::Inet,
        };
        // The first table says which pods there are, whatever they stand on.
        if !link.guest {
            self.put(guard, set::LINKS, device(&link.device));
        }
        for prefix in &link.addresses {
            let address = prefix.address;
            let ip = family(address);
            let own = bytes(address);
            self.what = doing(&address);
            self.source(guard, link, address);
            if link.metadata {
                self.put(guard, of(ip, set::METADATA), own.clone());
            }
            let inet = Family::Inet;
            self.put(inet, of(ip, set::PODS), own.clone());
            if link.isolated {
                self.put(inet, of(ip, set::ALONE), own.clone());
            }
            let first = [own.clone(), bytes(prefix.network())].concat();
            let last = [own.clone(), bytes(prefix.last())].concat();
            self.put(inet, of(ip, set::HOME), first.clone()).end = Some(last.clone());
            let from = match (link.restricted, link.isolated) {
                (false, false) => chain::OPEN,
                (false, true) => chain::ALONE,
                (true, false) => chain::CLOSED,
                (true, true) => chain::NOWHERE,
            };
            self.put(inet, of(ip, set::FROM), own.clone()).leads =
                Some(Target::Verdict(Verdict::Goto(from)));
            if link.restricted || link.masquerade {
                self.put(inet, of(ip, set::TO), own.clone()).leads =
                    Some(Target::Verdict(Verdict::Goto(chain::HIDDEN)));
            }
            if link.restricted {
                self.closed(link, address);
            }
            if link.masquerade {
                self.put(inet, of(ip, set::MASQUERADE), own.clone());
            }
            if link.guest {
                continue;
            }
            // Pods of one bridge answer each other directly, those of routed devices by the host.
            let (from, to) = match link.bridge {
                Some(_) => (first, last),
                None => (
                    [own.clone(), own.clone()].concat(),
                    [own.clone(), own].concat(),
                ),
            };
            self.put(inet, of(ip, set::HAIRPIN), from).end = Some(to);
        }
        if link.addresses.iter().any(|p| p.address.is_ipv6()) {
            let local = link_local(link.mac);
            self.what = doing(&local);
            self.source(guard, link, local);
            if link.restricted {
                self.closed(link, local);
            }
        }
    }

    fn source(&mut self, guard: Family, link: &Link, address: IpAddr) {
        // Whoever made a guest's device guards it.
        if link.guest {
            return;
        }
        let mut hardware = link.mac.0.to_vec();
        hardware.resize(8, 0);
        let key = [device(&link.device), hardware, bytes(address)].concat();
        self.put(guard, of(family(address), set::SOURCE), key);
    }

    fn closed(&mut self, link: &Link, address: IpAddr) {
        let ip = family(address);
        self.put(Family::Inet, of(ip, set::CLOSED), bytes(address));
        let gates = link.gates.iter().filter(|g| family(**g) == ip);
        for gate in gates {
            let key = [bytes(address), bytes(*gate)].concat();
            self.put(Family::Inet, of(ip, set::GATES), key);
        }
    }

    fn port(&mut self, port: &Published) {
        let ip = family(port.to);
        self.what = format!("publish port `{port}`");
        let transport = transport(port.protocol.number(), port.host_port);
        let (set, key) = if port.host.is_unspecified() {
            (of(ip, set::ANY), transport)
        } else {
            let key = [bytes(port.host), transport].concat();
            (of(ip, set::PORTS), key)
        };
        let [high, low] = port.pod_port.to_be_bytes();
        let to = [bytes(port.to), vec![high, low, 0, 0]].concat();
        self.put(Family::Inet, set, key).leads = Some(Target::Data(to));
    }
}

/// What these links and ports are in the tables.
pub(super) fn of_pod(links: &[Link], ports: &[Published]) -> Vec<Element> {
    let mut list = List {
        elements: vec![],
        what: String::new(),
    };
    for link in links {
        list.link(link);
    }
    for port in ports {
        list.port(port);
    }
    list.elements
}

/// The element that says: the host speaks from its loopback to this bridge.
pub(super) fn localnet(bridge: &str) -> Element {
    Element {
        family: Family::Inet,
        set: set::LOCALNET,
        key: device(bridge),
        end: None,
        leads: None,
        what: format!("guard bridge `{bridge}`"),
    }
}

/// Reads the name of a device out of a key.
pub(super) fn device_name(key: &[u8]) -> String {
    let name = key.split(|b| *b == 0).next().unwrap_or(&[]);
    String::from_utf8_lossy(name).into_owned()
}

/// Reads a published port back from its element.
pub(super) fn published(element: &Element) -> Option<Published> {
    let (ip, any) = match element.set {
        s if s == of(Ip::V4, set::PORTS) => (Ip::V4, false),
        s if s == of(Ip::V6, set::PORTS) => (Ip::V6, false),
        s if s == of(Ip::V4, set::ANY) => (Ip::V4, true),
        s if s == of(Ip::V6, set::ANY) => (Ip::V6, true),
        _ => return None,
    };
    let Some(Target::Data(data)) = &element.leads else {
        return None;
    };
    let read = |bytes: &[u8]| match ip {
        Ip::V4 => bytes.first_chunk::<4>().map(|b| IpAddr::from(*b)),
        Ip::V6 => bytes.first_chunk::<16>().map(|b| IpAddr::from(*b)),
    };
    let port = |bytes: &[u8]| bytes.first_chunk().map(|b| u16::from_be_bytes(*b));
    let length = ip.bytes() as usize;
    let (host, transport) = match any {
        true => (read(&[0; 16])?, element.key.as_slice()),
        false => (read(&element.key)?, element.key.get(length..)?),
    };
    let protocol = match *transport.first()? {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        132 => Protocol::Sctp,
        _ => return None,
    };
    Some(Published {
        protocol,
        host,
        host_port: port(transport.get(4..)?)?,
        to: read(data)?,
        pod_port: port(data.get(length..)?)?,
    })
}
