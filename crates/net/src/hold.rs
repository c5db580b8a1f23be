//! The socket that holds a port of the host while the kernel leads it into a pod.
//!
//! Packets to the port never come to it: their destination is rewritten before. It is there so that
//! nobody else can bind the port, and so that `ss` and the like show whose it is. What comes to it
//! all the same, when somebody has flushed the rules, a filter drops.

use rkt_spec::network::{PortPlan, Protocol};
use rkt_sys::socket::lock_filter;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with};
use std::io;
use std::net::{IpAddr, SocketAddr};

/// One instruction (`struct sock_filter`): take nothing.
const NOTHING: [u8; 8] = {
    const RETURN: u16 = 0x06;
    let [a, b] = RETURN.to_ne_bytes();
    [a, b, 0, 0, 0, 0, 0, 0]
};

/// Takes a port of the calling process's network namespace; `None` when the kernel has no sockets
/// of that protocol, so that nobody else can have it either.
///
/// # Errors
/// `EADDRINUSE` when another has it, `EADDRNOTAVAIL` when the host has no such address,
/// `EAFNOSUPPORT` without IPv6.
pub fn take(port: &PortPlan) -> io::Result<Option<OwnedFd>> {
    let family = match port.host {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let (kind, protocol) = match port.protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let socket = match socket_with(family, kind, SocketFlags::CLOEXEC, Some(protocol)) {
        Err(Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT) if port.protocol == Protocol::Sctp => {
            return Ok(None);
        }
        other => other?,
    };
    if port.host.is_ipv6() {
        set_ipv6_v6only(&socket, true)?;
    }
    if port.protocol != Protocol::Sctp {
        lock_filter(&socket, &NOTHING)?;
    }
    if port.protocol == Protocol::Tcp {
        // Connections of a server of before that still say good-bye are no reason to refuse; one
        // that listens is, and so are we from `listen` on.
        set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &SocketAddr::new(port.host, port.host_port))?;
    if port.protocol != Protocol::Udp {
        listen(&socket, 1)?;
    }
    Ok(Some(socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rkt_spec::network::PortWay;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::time::Duration;

    fn port(protocol: Protocol, host: &str, host_port: u16) -> PortPlan {
        PortPlan {
            name: String::new(),
            app: None,
            protocol,
            host: host.parse().unwrap(),
            host_port,
            pod_port: 80,
            way: PortWay::Nat,
            socket: -1,
        }
    }

    /// In a network namespace of its own, where every port is free.
    fn alone(test: impl FnOnce() + Send) {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                rkt_sys::ns::unshare(rkt_sys::ns::kind::NET).unwrap();
                rkt_sys::netdev::bring_up(c"lo").unwrap();
                test();
            });
        });
    }

    #[test]
    fn a_held_port_is_nobody_elses() {
        alone(|| {
            let tcp = port(Protocol::Tcp, "127.0.0.1", 8080);
            let held = take(&tcp).unwrap().unwrap();
            let in_use = |e: io::Error| e.kind() == io::ErrorKind::AddrInUse;
            assert!(in_use(TcpListener::bind("127.0.0.1:8080").unwrap_err()));
            assert!(in_use(TcpListener::bind("0.0.0.0:8080").unwrap_err()));
            assert!(in_use(take(&tcp).unwrap_err()));
            // Nobody is served by it.
            let time = Duration::from_millis(200);
            let to = "127.0.0.1:8080".parse().unwrap();
            assert!(TcpStream::connect_timeout(&to, time).is_err());
            drop(held);
            let all = take(&port(Protocol::Tcp, "0.0.0.0", 8080)).unwrap();
            assert!(in_use(take(&tcp).unwrap_err()));
            drop(all);
            let udp = port(Protocol::Udp, "::1", 53);
            let _held = take(&udp).unwrap();
            assert!(in_use(UdpSocket::bind("[::1]:53").unwrap_err()));
            let absent = take(&port(Protocol::Tcp, "192.0.2.1", 80)).unwrap_err();
            assert_eq!(absent.kind(), io::ErrorKind::AddrNotAvailable);
            assert!(take(&port(Protocol::Sctp, "127.0.0.1", 80)).is_ok());
        });
    }

    #[test]
    fn a_server_that_has_just_gone_is_not_in_the_way() {
        alone(|| {
            let server = TcpListener::bind("127.0.0.1:8080").unwrap();
            let client = TcpStream::connect("127.0.0.1:8080").unwrap();
            let (served, _) = server.accept().unwrap();
            // Who closes first waits.
            drop(served);
            drop(client);
            drop(server);
            take(&port(Protocol::Tcp, "127.0.0.1", 8080)).unwrap();
        });
    }
}
