//! Network devices: veth pairs, bridges, macvlans, made and changed by messages
//! (`rtnetlink(7)`).
//!
//! A device of a pod is born in the pod's namespace, in the message that makes it: moving it there
//! later, or deleting it, waits for every processor (`synchronize_net`).

use crate::netlink::{Answer, Attributes, Batch, Message, flag};
use rkt_spec::network::{Mac, MacvlanMode};
use rkt_sys::fd::number;
use rustix::fd::BorrowedFd;

const NEW: u16 = 16;
const DELETE: u16 = 17;
const GET: u16 = 18;
const SET: u16 = 19;

/// `IFLA_*`.
mod attr {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const NAME: u16 = 3;
    pub(super) const MTU: u16 = 4;
    pub(super) const LINK: u16 = 5;
    pub(super) const MASTER: u16 = 10;
    pub(super) const PROTINFO: u16 = 12;
    pub(super) const LINKINFO: u16 = 18;
    pub(super) const ALIAS: u16 = 20;
    pub(super) const AF_SPEC: u16 = 26;
    pub(super) const NETNS_FD: u16 = 28;
    pub(super) const TRANSMIT_QUEUES: u16 = 31;
    pub(super) const RECEIVE_QUEUES: u16 = 32;
}

/// Inside `IFLA_LINKINFO`.
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
/// Inside the data of a veth: all of the other end.
const VETH_PEER: u16 = 1;
/// Inside the data of a macvlan.
const MACVLAN_MODE: u16 = 1;
/// `IFF_UP`.
const UP: u32 = 1;

/// A bridge port's settings (`IFLA_BRPORT_*`).
mod port {
    pub(super) const STATE: u16 = 1;
    pub(super) const HAIRPIN: u16 = 4;
    pub(super) const ISOLATED: u16 = 33;
}

/// Settings of IPv4 that a device can have by message (`IPV4_DEVCONF_*`).
mod v4 {
    pub(super) const ACCEPT_REDIRECTS: u16 = 4;
    pub(super) const SEND_REDIRECTS: u16 = 6;
    pub(super) const RP_FILTER: u16 = 8;
    pub(super) const ACCEPT_SOURCE_ROUTE: u16 = 9;
    pub(super) const ARP_IGNORE: u16 = 19;
}

/// `struct ifinfomsg`.
fn info(family: u8, index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut body = [0u8; 16];
    body[0] = family;
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[8..12].copy_from_slice(&flags.to_ne_bytes());
    body[12..16].copy_from_slice(&change.to_ne_bytes());
    body
}

/// The end of a link that is a pod's.
#[derive(Debug, Clone, Copy)]
pub struct PodEnd<'a> {
    /// Name in the pod.
    pub name: &'a str,
    /// Hardware address.
    pub mac: Mac,
    /// Maximum transmission unit; 0 leaves the kernel's.
    pub mtu: u32,
    /// The pod's network namespace.
    pub netns: BorrowedFd<'a>,
}

impl PodEnd<'_> {
    fn put(&self, message: &mut Message<'_>) {
        message
            .attr_text(attr::NAME, self.name)
            .attr(attr::ADDRESS, &self.mac.0)
            .attr_u32(attr::NETNS_FD, number(self.netns).unsigned_abs());
        if self.mtu != 0 {
            message.attr_u32(attr::MTU, self.mtu);
        }
    }
}

/// One queue each way, said. When nothing is said the kernel makes one a processor, takes all but one
/// back (`veth_init_queues`), and waits for every processor meanwhile, for each end, while nobody else on
/// the host may change a network.
fn one_queue(message: &mut Message<'_>) {
    message
        .attr_u32(attr::TRANSMIT_QUEUES, 1)
        .attr_u32(attr::RECEIVE_QUEUES, 1);
}

/// Makes a pair, down at both ends: one here, one in the pod.
pub fn veth(batch: &mut Batch, host: &str, mac: Mac, pod: &PodEnd<'_>) {
    let what = format!("make the device pair `{host}` and `{}`", pod.name);
    let message = &mut batch.message(NEW, flag::CREATE | flag::EXCL, what);
    message
        .body(&info(0, 0, 0, 0))
        .attr_text(attr::NAME, host)
        .attr(attr::ADDRESS, &mac.0);
    if pod.mtu != 0 {
        message.attr_u32(attr::MTU, pod.mtu);
    }
    one_queue(message);
    message.nest(attr::LINKINFO, |m| {
        m.attr_text(INFO_KIND, "veth").nest(INFO_DATA, |m| {
            m.nest(VETH_PEER, |m| {
                m.body(&info(0, 0, 0, 0));
                pod.put(m);
                one_queue(m);
            });
        });
    });
}

/// Makes a macvlan of the device `parent` in the pod, down.
pub fn macvlan(batch: &mut Batch, parent: u32, mode: MacvlanMode, pod: &PodEnd<'_>) {
    let mode: u32 = match mode {
        MacvlanMode::Private => 1,
        MacvlanMode::Vepa => 2,
        MacvlanMode::Bridge => 4,
        MacvlanMode::Passthru => 8,
    };
    let what = format!("make the macvlan `{}`", pod.name);
    let message = &mut batch.message(NEW, flag::CREATE | flag::EXCL, what);
    message.body(&info(0, 0, 0, 0));
    pod.put(message);
    message.attr_u32(attr::LINK, parent);
    message.nest(attr::LINKINFO, |m| {
        m.attr_text(INFO_KIND, "macvlan").nest(INFO_DATA, |m| {
            m.attr_u32(MACVLAN_MODE, mode);
        });
    });
}

/// Makes a bridge, down, with a hardware address that stays whatever joins it; its alias tells
/// whose it is.
pub fn bridge(batch: &mut Batch, name: &str, mac: Mac, mtu: u32, alias: &str) {
    let what = format!("make the bridge `{name}`");
    let message = &mut batch.message(NEW, flag::CREATE | flag::EXCL, what);
    message
        .body(&info(0, 0, 0, 0))
        .attr_text(attr::NAME, name)
        .attr(attr::ADDRESS, &mac.0);
    if mtu != 0 {
        message.attr_u32(attr::MTU, mtu);
    }
    message.nest(attr::LINKINFO, |m| {
        m.attr_text(INFO_KIND, "bridge");
    });
    batch
        .message(SET, 0, format!("mark the bridge `{name}` as rkt's"))
        .body(&info(0, 0, 0, 0))
        .attr_text(attr::NAME, name)
        .attr(attr::ALIAS, alias.as_bytes());
}

/// Brings a device up.
pub fn up(batch: &mut Batch, index: u32, name: &str) {
    batch
        .message(SET, 0, format!("bring up `{name}`"))
        .body(&info(0, index, UP, UP));
}

/// Brings a host's end up, once IPv4 is told to trust nothing that comes from it: only sources
/// that are routed back to it (`rp_filter`), no redirects, no source routes, and no answers about
/// addresses of other devices.
pub fn up_wary(batch: &mut Batch, index: u32, name: &str) {
    const INET: u16 = 2;
    const CONF: u16 = 1;
    batch
        .message(SET, 0, format!("bring up `{name}`"))
        .body(&info(0, index, UP, UP))
        .nest(attr::AF_SPEC, |m| {
            m.nest(INET, |m| {
                m.nest(CONF, |m| {
                    m.attr_u32(v4::RP_FILTER, 1)
                        .attr_u32(v4::ACCEPT_REDIRECTS, 0)
                        .attr_u32(v4::SEND_REDIRECTS, 0)
                        .attr_u32(v4::ACCEPT_SOURCE_ROUTE, 0)
                        .attr_u32(v4::ARP_IGNORE, 1);
                });
            });
        });
}

/// How a device is a port of a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// Whether it is kept from other isolated ports.
    pub isolated: bool,
    /// Whether a frame may leave by the port it came in by.
    pub hairpin: bool,
}

/// Makes a device a port of a bridge.
pub fn join(batch: &mut Batch, index: u32, bridge: u32, port: Port) {
    batch
        .message(SET, 0, "join the bridge")
        .body(&info(0, index, 0, 0))
        .attr_u32(attr::MASTER, bridge);
    batch
        .message(SET, 0, "set up the port of the bridge")
        .body(&info(AF_BRIDGE, index, 0, 0))
        .nest(attr::PROTINFO, |m| {
            m.attr(port::HAIRPIN, &[port.hairpin.into()])
                .attr(port::ISOLATED, &[port.isolated.into()]);
        });
}

const AF_BRIDGE: u8 = 7;

/// Lets no frame through a bridge's port any more; at once, unlike taking it from the bridge.
pub fn silence(batch: &mut Batch, index: u32) {
    batch
        .message(SET, 0, "close the port of the bridge")
        .body(&info(AF_BRIDGE, index, 0, 0))
        .nest(attr::PROTINFO, |m| {
            m.attr(port::STATE, &[0]);
        });
}

/// Deletes a device. Waits for every processor: not for what ends by itself with a namespace.
pub fn delete(batch: &mut Batch, index: u32, name: &str) {
    batch
        .message(DELETE, 0, format!("delete the device `{name}`"))
        .body(&info(0, index, 0, 0));
}

/// Asks for a device by name; [`Link::read`] reads the answer.
pub fn show(batch: &mut Batch, name: &str) {
    batch
        .message(GET, 0, format!("look at the device `{name}`"))
        .body(&info(0, 0, 0, 0))
        .attr_text(attr::NAME, name);
}

/// What the kernel says about a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Index of what it belongs to: the other end of a pair, the parent of a macvlan; 0 when none.
    pub link: u32,
    /// Its name.
    pub name: String,
    /// Its kind, such as `veth`; empty for hardware.
    pub kind: String,
    /// Its alias.
    pub alias: String,
    /// Its hardware address, when that has six bytes.
    pub mac: Option<Mac>,
    /// Whether it is up.
    pub up: bool,
}

impl Link {
    /// Reads an answer to [`show`]; `None` when it is none.
    pub fn read(answer: &Answer) -> Option<Self> {
        if answer.kind != NEW {
            return None;
        }
        let body = answer.body.as_slice();
        let number = |at: usize| body.get(at..).and_then(<[u8]>::first_chunk);
        let mut found = Self {
            index: u32::from_ne_bytes(*number(4)?),
            up: u32::from_ne_bytes(*number(8)?) & UP != 0,
            ..Self::default()
        };
        let text = |value: &[u8]| {
            let text = value.split(|b| *b == 0).next().unwrap_or(&[]);
            String::from_utf8_lossy(text).into_owned()
        };
        for (kind, value) in Attributes::new(body.get(16..)?) {
            match kind {
                attr::NAME => found.name = text(value),
                attr::ALIAS => found.alias = text(value),
                attr::ADDRESS => found.mac = value.try_into().ok().map(Mac),
                attr::LINK => found.link = u32::from_ne_bytes(*value.first_chunk()?),
                attr::LINKINFO => {
                    let kind = Attributes::new(value).find(|(k, _)| *k == INFO_KIND);
                    found.kind = kind.map(|(_, v)| text(v)).unwrap_or_default();
                }
                _ => {}
            }
        }
        Some(found)
    }
}
