//! Names to addresses without the C library.
//!
//! rkt is a static program, and glibc's `getaddrinfo` loads the host's NSS modules into it: that
//! crashes sooner or later. So: `/etc/hosts` first, then the servers of `resolv.conf` over UDP,
//! and over TCP when an answer does not fit. `localhost` is always loopback (RFC 6761).
//! mDNS, NIS and LDAP are not asked.

mod files;
mod message;

use files::{Hosts, ResolvConf};
use message::{Answer, Kind as Record};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// Resolves for one fetch: its two files are read again for each name.
#[derive(Debug, Clone)]
pub(super) struct Dns {
    pub(super) hosts: PathBuf,
    pub(super) resolv_conf: PathBuf,
}

/// Why there is no address.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The servers say that the name does not exist, or has no address.
    NoSuchName,
    /// No server answered.
    NoAnswer,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchName => "there is no host of that name",
            Self::NoAnswer => "no name server answers",
        })
    }
}

impl std::error::Error for Failure {}

/// Most addresses that are tried for one name.
const MOST: usize = 8;

impl Dns {
    /// All addresses of a name, in the order to try them; at least one.
    pub(super) fn look_up(&self, host: &str, within: Duration) -> Result<Vec<IpAddr>, Failure> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![address]);
        }
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if host == "localhost" || host.ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let known = Hosts::read(&self.hosts).addresses(&host);
        if !known.is_empty() {
            return Ok(known);
        }
        let conf = ResolvConf::read(&self.resolv_conf);
        let deadline = Instant::now() + within;
        let mut failure = Failure::NoSuchName;
        for name in conf.candidates(&host) {
            match ask_all(&conf, &name, deadline) {
                Ok(list) if !list.is_empty() => return Ok(list),
                Ok(_) => {}
                Err(worse) => failure = worse,
            }
        }
        Err(failure)
    }
}

/// Asks for both kinds of addresses. IPv4 goes first: it is the one that works more often.
fn ask_all(conf: &ResolvConf, name: &str, deadline: Instant) -> Result<Vec<IpAddr>, Failure> {
    let mut list = Vec::new();
    let mut failure = None;
    for record in [Record::A, Record::Aaaa] {
        match ask(conf, name, record, deadline) {
            Ok(addresses) => list.extend(addresses),
            Err(Failure::NoSuchName) => {}
            Err(worse) => failure = Some(worse),
        }
    }
    list.truncate(MOST);
    match (list.is_empty(), failure) {
        (true, Some(failure)) => Err(failure),
        _ => Ok(list),
    }
}

fn ask(
    conf: &ResolvConf,
    name: &str,
    record: Record,
    deadline: Instant,
) -> Result<Vec<IpAddr>, Failure> {
    for _ in 0..conf.attempts {
        for server in &conf.servers {
            let left = deadline.saturating_duration_since(Instant::now());
            let within = conf.timeout.min(left);
            if within.is_zero() {
                return Err(Failure::NoAnswer);
            }
            match ask_one(*server, name, record, within) {
                Ok(Answer::Addresses(list)) => return Ok(list),
                Ok(Answer::NoSuchName) => return Err(Failure::NoSuchName),
                // Refused, broken or silent: the next server may know.
                Ok(Answer::Truncated | Answer::Unusable) | Err(_) => {}
            }
        }
    }
    Err(Failure::NoAnswer)
}

fn ask_one(server: SocketAddr, name: &str, record: Record, within: Duration) -> io::Result<Answer> {
    let id = random_id()?;
    let Some(query) = message::query(id, name, record) else {
        return Ok(Answer::NoSuchName);
    };
    let deadline = Instant::now() + within;
    let local: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Connected: datagrams of others do not arrive. The port is the kernel's random one.
    let socket = UdpSocket::bind((local, 0))?;
    socket.connect(server)?;
    socket.send(&query)?;
    let mut buffer = [0_u8; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = socket.recv(&mut buffer)?;
        let bytes = buffer.get(..length).unwrap_or(&[]);
        // Not an answer to our question: somebody guesses. Wait on.
        let Some(answer) = message::answer(bytes, id, name, record) else {
            continue;
        };
        return match answer {
            Answer::Truncated => ask_tcp(server, &query, id, name, record, deadline),
            other => Ok(other),
        };
    }
}

fn ask_tcp(
    server: SocketAddr,
    query: &[u8],
    id: u16,
    name: &str,
    record: Record,
    deadline: Instant,
) -> io::Result<Answer> {
    let left = || {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            Err(io::Error::from(io::ErrorKind::TimedOut))
        } else {
            Ok(left)
        }
    };
    let mut stream = TcpStream::connect_timeout(&server, left()?)?;
    stream.set_write_timeout(Some(left()?))?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(query)?;
    stream.set_read_timeout(Some(left()?))?;
    let mut length = [0_u8; 2];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0_u8; usize::from(u16::from_be_bytes(length))];
    stream.set_read_timeout(Some(left()?))?;
    stream.read_exact(&mut bytes)?;
    Ok(message::answer(&bytes, id, name, record).unwrap_or(Answer::Unusable))
}

fn random_id() -> io::Result<u16> {
    let mut bytes = [0_u8; 2];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u16::from_be_bytes(bytes))
}

impl Resolver for Dns {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let port = uri.port_u16().unwrap_or(match uri.scheme_str() {
            Some("https") => 443,
            _ => 80,
        });
        let within = if timeout.after.is_not_happening() {
            Duration::from_secs(20)
        } else {
            *timeout.after
        };
        let addresses = self
            .look_up(host, within)
            .map_err(|failure| ureq::Error::Io(io::Error::new(io::ErrorKind::NotFound, failure)))?;
        let mut list = self.empty();
        for address in addresses.into_iter().take(MOST) {
            list.push(SocketAddr::new(address, port));
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests;
