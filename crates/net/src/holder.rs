//! Who has a port of this host, for the error that says so.
//!
//! The socket tables of `/proc/net` have the address and the inode, `/proc/PID/fd` the process. A
//! TCP socket that is bound and does not listen is in no table: those of rkt's own pods the caller
//! finds in their plans.

use rkt_spec::network::Protocol;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A process that has a port open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its pid, and its name as ps shows it; `None` when it is in another PID namespace, or it is
    /// the kernel itself.
    pub process: Option<(u32, String)>,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.process {
            Some((pid, name)) => write!(f, "process {pid} (`{name}`)"),
            None => f.write_str("a process that is not seen from here"),
        }
    }
}

/// Looks for whoever keeps `address` and `port` from being bound, in the calling process's network
/// namespace; `None` when no table names anybody.
pub fn find(protocol: Protocol, address: IpAddr, port: u16) -> Option<Holder> {
    let tables: &[&str] = match protocol {
        Protocol::Tcp => &["tcp", "tcp6"],
        Protocol::Udp => &["udp", "udp6"],
        Protocol::Sctp => &["sctp/eps"],
    };
    let inode = tables.iter().find_map(|name| {
        let text = fs::read_to_string(format!("/proc/self/net/{name}")).ok()?;
        match protocol {
            Protocol::Sctp => in_endpoints(&text, address, port),
            _ => in_table(&text, protocol, address, port),
        }
    })?;
    Some(Holder {
        process: process_with(inode),
    })
}

/// Inode of the first socket of a table that is in the way of this address.
fn in_table(text: &str, protocol: Protocol, address: IpAddr, port: u16) -> Option<u64> {
    const LISTEN: &str = "0A";
    text.lines().skip(1).find_map(|line| {
        let mut words = line.split_whitespace();
        let local = words.nth(1)?;
        let state = words.nth(1)?;
        let inode = words.nth(5)?;
        let (other, number) = local.split_once(':')?;
        let same = u16::from_str_radix(number, 16) == Ok(port);
        let open = protocol != Protocol::Tcp || state == LISTEN;
        if !same || !open || !collide(parse_address(other)?, address) {
            return None;
        }
        inode.parse().ok()
    })
}

/// The same of SCTP's endpoints: port, owner, inode, and all addresses of the socket as people write
/// them.
fn in_endpoints(text: &str, address: IpAddr, port: u16) -> Option<u64> {
    text.lines().skip(1).find_map(|line| {
        let mut words = line.split_whitespace().skip(5);
        let same = words.next()?.parse() == Ok(port);
        let inode = words.nth(1)?.parse().ok()?;
        let mut all = words.filter_map(|w| w.parse::<IpAddr>().ok());
        (same && all.any(|theirs| collide(theirs, address))).then_some(inode)
    })
}

/// An address of the table: words of four bytes, each in host order.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = text.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0u8; 16];
            for (at, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(at)?);
            }
            let six = Ipv6Addr::from(bytes);
            Some(six.to_ipv4_mapped().map_or(six.into(), IpAddr::from))
        }
        _ => None,
    }
}

/// Whether two sockets of these addresses cannot both be bound to one port.
fn collide(theirs: IpAddr, ours: IpAddr) -> bool {
    let all = |a: IpAddr| a.is_unspecified();
    match (theirs, ours) {
        _ if theirs == ours => true,
        // `::` is normally both families.
        (IpAddr::V6(_), IpAddr::V4(_)) => all(theirs),
        (IpAddr::V4(_), IpAddr::V6(_)) => false,
        _ => all(theirs) || all(ours),
    }
}

fn process_with(inode: u64) -> Option<(u32, String)> {
    let link = format!("socket:[{inode}]");
    let pids = fs::read_dir("/proc").ok()?.flatten();
    for pid in pids.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok()) {
        let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            continue;
        };
        let has = |e: fs::DirEntry| fs::read_link(e.path()).is_ok_and(|l| l.as_os_str() == &*link);
        if open.flatten().any(has) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            return Some((pid, name.trim().to_owned()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0
   2: 0100007F:0050 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0
";
    const TCP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:0035 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 5711 1 0 100 0
   1: 00000000000000000000000001000000:0036 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 5712 1 0 100 0
";

    #[test]
    fn who_is_in_the_way_is_found_by_address_and_port() {
        let four = |a: &str, port| in_table(TCP, Protocol::Tcp, a.parse().unwrap(), port);
        assert_eq!(four("127.0.0.1", 8080), Some(4711));
        assert_eq!(four("0.0.0.0", 8080), Some(4711));
        assert_eq!(four("127.0.0.2", 8080), None);
        assert_eq!(four("10.0.0.1", 22), Some(4712));
        assert_eq!(
            four("127.0.0.1", 80),
            None,
            "a connection is not in the way"
        );
        let six = |a: &str, port| in_table(TCP6, Protocol::Tcp, a.parse().unwrap(), port);
        assert_eq!(six("::1", 53), Some(5711));
        assert_eq!(six("10.0.0.1", 53), Some(5711));
        assert_eq!(six("::1", 54), Some(5712));
        assert_eq!(six("::2", 54), None);
        assert_eq!(six("127.0.0.1", 54), None);
    }

    #[test]
    fn an_endpoint_of_sctp_has_several_addresses() {
        const EPS: &str = "\
 ENDPT     SOCK   STY SST HBKT LPORT   UID INODE LADDRS
00000000 00000000 2   10  29   9003      0 6711 10.0.0.1 fd00:0000:0000:0000:0000:0000:0000:0001 
00000000 00000000 2   10  30   9004      0 6712 0.0.0.0 
";
        let find = |a: &str, port| in_endpoints(EPS, a.parse().unwrap(), port);
        assert_eq!(find("10.0.0.1", 9003), Some(6711));
        assert_eq!(find("fd00::1", 9003), Some(6711));
        assert_eq!(find("10.0.0.2", 9003), None);
        assert_eq!(find("127.0.0.1", 9004), Some(6712));
        assert_eq!(find("10.0.0.1", 9005), None);
    }

    #[test]
    fn a_listener_of_this_process_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = find(Protocol::Tcp, "127.0.0.1".parse().unwrap(), port).unwrap();
        assert_eq!(found.process.unwrap().0, std::process::id());
    }
}
