//! Connections that the kernel tracks (conntrack): ended when what they led to is gone.
//!
//! The kernel sends a known connection where its first packet went, whatever the rules say now: a
//! client of a published UDP port would speak for ever to the address of a pod that has ended, or
//! to another pod that was given the address.

use super::Published;
use crate::error::{Doing, Error};
use crate::netlink::{Answer, Attributes, Batch, Message, Socket, flag};
use rkt_sys::netlink::Family;
use rustix::io::Errno;
use std::net::IpAddr;

/// `NFNL_SUBSYS_CTNETLINK`.
const TRACK: u16 = 1 << 8;
const GET: u16 = TRACK | 1;
const DELETE: u16 = TRACK | 2;

const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ID: u16 = 12;
const FILTER: u16 = 25;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Ends the connections that came by these published ports.
///
/// The kernel is asked once: it looks through the whole table of the host, some 12 ms for one of
/// 262 144 buckets.
///
/// # Errors
/// The kernel's. One that tracks nothing has nothing to end.
pub fn forget(ports: &[Published]) -> Result<(), Error> {
    let doing = || "end the connections of published ports".to_owned();
    for family in [AF_INET, AF_INET6] {
        let of_family = |p: &&Published| family_of(p.to) == family;
        let mut ports = ports.iter().filter(of_family).peekable();
        let Some(first) = ports.peek() else {
            continue;
        };
        let address = first.to;
        let ports: Vec<&Published> = ports.collect();
        let one = ports.iter().all(|p| p.to == address);
        let Some(socket) = open().doing(doing)? else {
            return Ok(());
        };
        let list = ask(&socket, family, one.then_some(address)).doing(doing)?;
        end(&socket, family, &list, |answer| {
            ports.iter().any(|port| came_by(answer, port))
        })
        .doing(doing)?;
    }
    Ok(())
}

fn family_of(address: IpAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn came_by(answer: &Answer, port: &Published) -> bool {
    let original = tuple(answer, ORIGINAL).unwrap_or_default();
    let reply = tuple(answer, REPLY).unwrap_or_default();
    let host = (port.protocol.number(), port.host_port);
    (original.protocol, original.destination_port) == host
        && (reply.source, reply.source_port) == (Some(port.to), port.pod_port)
}

fn open() -> Result<Option<Socket>, Error> {
    match Socket::open(Family::Netfilter) {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if error.errno() == Some(Errno::PROTONOSUPPORT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Connections of a family; when `to` is said, those alone that lead to it.
///
/// The kernel looks for those itself since 5.8; one that does not, lists all.
fn ask(socket: &Socket, family: u8, to: Option<IpAddr>) -> Result<Vec<Answer>, Error> {
    const ORIGINAL_FLAGS: u16 = 1;
    const REPLY_FLAGS: u16 = 2;
    /// `CTA_FILTER_F_CTA_IP_SRC`.
    const BY_SOURCE: u32 = 1;
    let mut batch = Batch::new();
    let mut message = batch.message(GET, flag::DUMP, "list connections");
    message.body(&[family, 0, 0, 0]);
    if let Some(to) = to {
        message.nest(FILTER, |m| {
            m.attr_u32(ORIGINAL_FLAGS, 0)
                .attr_u32(REPLY_FLAGS, BY_SOURCE);
        });
        message.nest(REPLY, |m| source(m, to));
    }
    match socket.run(&batch) {
        // No connection tracking in this kernel.
        Err(error) if error.errno() == Some(Errno::INVAL) => Ok(vec![]),
        other => other,
    }
}

fn source(m: &mut Message<'_>, address: IpAddr) {
    const IP: u16 = 1;
    let kind = if address.is_ipv4() { 1 } else { 3 };
    m.nest(IP, |m| {
        m.attr_ip(kind, address);
    });
}

/// Deletes those that are wanted gone.
fn end(
    socket: &Socket,
    family: u8,
    list: &[Answer],
    which: impl Fn(&Answer) -> bool,
) -> Result<(), Error> {
    let mut batch = Batch::new();
    for answer in list.iter().filter(|a| which(a)) {
        let mut message = batch.message(DELETE, 0, "end a connection");
        message.body(&[family, 0, 0, 0]);
        for (kind, value) in Attributes::new(answer.body.get(4..).unwrap_or(&[])) {
            match kind {
                ORIGINAL => {
                    message.nest(kind, |m| {
                        m.body(value);
                    });
                }
                ID => {
                    message.attr(kind, value);
                }
                _ => {}
            }
        }
    }
    match socket.run(&batch) {
        // It has ended by itself.
        Err(error) if error.errno() == Some(Errno::NOENT) => Ok(()),
        other => other.map(drop),
    }
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Tuple {
    source: Option<IpAddr>,
    protocol: u8,
    source_port: u16,
    destination_port: u16,
}

fn tuple(answer: &Answer, direction: u16) -> Option<Tuple> {
    let body = answer.body.get(4..)?;
    let (_, parts) = Attributes::new(body).find(|(kind, _)| *kind == direction)?;
    let mut told = Tuple::default();
    for (part, value) in Attributes::new(parts) {
        for (kind, value) in Attributes::new(value) {
            match (part, kind) {
                (1, 1) => told.source = value.first_chunk::<4>().map(|b| IpAddr::from(*b)),
                (1, 3) => told.source = value.first_chunk::<16>().map(|b| IpAddr::from(*b)),
                (2, 1) => told.protocol = *value.first()?,
                (2, 2) => told.source_port = u16::from_be_bytes(*value.first_chunk()?),
                (2, 3) => told.destination_port = u16::from_be_bytes(*value.first_chunk()?),
                _ => {}
            }
        }
    }
    Some(told)
}
