//! The listening sockets of `--port=...,via=socket`: opened on the host, handed to an app.
//!
//! A socket lives in the network namespace it was made in, for ever. Who holds a listening one may
//! give up listening (`connect(2)` to `AF_UNSPEC`) and then connect with it to whatever the
//! host reaches, its loopback included. So each carries a packet filter that is locked there and
//! that sockets accepted from it inherit: it drops the answer to a connection that was begun from
//! here. A datagram socket answers and begins by the same packets, so those are not handed out.

use rkt_spec::network::{PortPlan, Protocol};
use rkt_sys::socket::lock_filter;
use rustix::fd::OwnedFd;
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with};
use std::io;
use std::net::{IpAddr, SocketAddr};

/// Connections that may wait to be accepted; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Opens the socket of a port in the calling process's network namespace.
///
/// # Errors
/// `EADDRINUSE` when another has it, `EADDRNOTAVAIL` when the host has no such address,
/// `EAFNOSUPPORT` without IPv6, `EPROTONOSUPPORT` for another protocol than TCP.
pub fn open(port: &PortPlan) -> io::Result<OwnedFd> {
    if port.protocol != Protocol::Tcp {
        return Err(rustix::io::Errno::PROTONOSUPPORT.into());
    }
    let family = match port.host {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let kind = SocketType::STREAM;
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, Some(ipproto::TCP))?;
    // Connections of an earlier pod that still say good-bye are no reason to refuse.
    set_socket_reuseaddr(&socket, true)?;
    if port.host.is_ipv6() {
        set_ipv6_v6only(&socket, true)?;
    }
    lock_filter(&socket, &filter())?;
    bind(&socket, &SocketAddr::new(port.host, port.host_port))?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// The filter, as `sock_filter`s: it sees each segment that comes in, from its TCP header on.
///
/// Dropped are SYN with ACK, by which a peer accepts, and the RST by which one refuses (its
/// sequence number is 0, RFC 9293 3.10.7.1): an attempt ends in silence, whether somebody listens
/// there or not.
fn filter() -> Vec<u8> {
    const LOAD_BYTE: u16 = 0x30;
    const LOAD_WORD: u16 = 0x20;
    const AND: u16 = 0x54;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const FLAGS: u32 = 13;
    const SEQUENCE: u32 = 4;
    const SYN: u32 = 0x02;
    const RST: u32 = 0x04;
    const ACK: u32 = 0x10;
    let program: [(u16, u8, u8, u32); 8] = [
        (LOAD_BYTE, 0, 0, FLAGS),
        (AND, 0, 0, SYN | RST | ACK),
        (JUMP_EQUAL, 4, 0, SYN | ACK),
        (JUMP_EQUAL, 0, 2, RST | ACK),
        (LOAD_WORD, 0, 0, SEQUENCE),
        (JUMP_EQUAL, 1, 0, 0),
        (RETURN, 0, 0, u32::MAX),
        (RETURN, 0, 0, 0),
    ];
    let bytes = program.into_iter().flat_map(|(code, yes, no, value)| {
        let [a, b] = code.to_ne_bytes();
        let [c, d, e, f] = value.to_ne_bytes();
        [a, b, yes, no, c, d, e, f]
    });
    bytes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Interprets the program for one segment, as the kernel would.
    fn passes(flags: u8, sequence: u32) -> bool {
        let bytes = filter();
        let code: Vec<_> = bytes.chunks_exact(8).collect();
        let (mut at, mut acc) = (0usize, 0u32);
        loop {
            let i = code[at];
            let k = u32::from_ne_bytes(i[4..8].try_into().unwrap());
            match u16::from_ne_bytes([i[0], i[1]]) {
                0x30 => acc = u32::from(flags),
                0x20 => acc = sequence,
                0x54 => acc &= k,
                0x15 => at += usize::from(if acc == k { i[2] } else { i[3] }),
                0x06 => return k > 0,
                other => panic!("unknown instruction {other:#x}"),
            }
            at += 1;
        }
    }

    #[test]
    fn only_answers_to_what_began_here_are_dropped() {
        let (fin, syn, rst, psh, ack) = (1, 2, 4, 8, 16);
        for (flags, sequence, good) in [
            (syn, 7, true),
            (ack, 7, true),
            (ack | psh, 0, true),
            (ack | fin, 7, true),
            (rst, 7, true),
            (rst | ack, 7, true),
            (syn | ack, 7, false),
            (syn | ack | psh, 0, false),
            (rst | ack, 0, false),
        ] {
            assert_eq!(passes(flags, sequence), good, "{flags:#x} {sequence}");
        }
    }
}
