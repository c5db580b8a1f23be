//! `/etc/hosts` and `/etc/resolv.conf`, read the way the C library reads them.

use crate::disk;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// Largest file that is read; block lists in `hosts` get long.
const LIMIT: u64 = 16 << 20;

fn lines(path: &Path) -> String {
    // Both files are often symlinks, so the plain open is the right one here.
    let bytes = std::fs::File::open(path)
        .map_err(crate::error::Error::from)
        .and_then(|file| disk::read_limited(file, LIMIT))
        .unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Lines of `hosts`.
pub(super) struct Hosts(String);

impl Hosts {
    /// A missing file is an empty one.
    pub(super) fn read(path: &Path) -> Self {
        Self(lines(path))
    }

    #[cfg(test)]
    pub(super) fn of(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Addresses of a name, in the order of the file.
    pub(super) fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let mut list = Vec::new();
        for line in self.0.lines() {
            let line = line.split('#').next().unwrap_or("");
            let mut words = line.split_ascii_whitespace();
            let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else {
                continue;
            };
            if words.any(|w| w.trim_end_matches('.').eq_ignore_ascii_case(name))
                && !list.contains(&address)
            {
                list.push(address);
            }
        }
        list
    }
}

/// What `resolv.conf` says, with the C library's limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResolvConf {
    pub(super) servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
    pub(super) timeout: Duration,
    pub(super) attempts: u32,
}

impl ResolvConf {
    /// A missing file means a server on this host, as resolv.conf(5) says.
    pub(super) fn read(path: &Path) -> Self {
        Self::of(&lines(path))
    }

    pub(super) fn of(text: &str) -> Self {
        let mut conf = Self {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
        };
        for line in text.lines() {
            if line.starts_with([';', '#']) {
                continue;
            }
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    if let Some(server) = words.next().and_then(server)
                        && conf.servers.len() < 3
                    {
                        conf.servers.push(server);
                    }
                }
                Some("domain") => conf.search = words.take(1).map(str::to_owned).collect(),
                Some("search") => conf.search = words.take(6).map(str::to_owned).collect(),
                Some("options") => words.for_each(|word| conf.option(word)),
                _ => {}
            }
        }
        if conf.servers.is_empty() {
            conf.servers.push((Ipv4Addr::LOCALHOST, 53).into());
        }
        conf
    }

    fn option(&mut self, word: &str) {
        let Some((name, value)) = word.split_once(':') else {
            return;
        };
        let Ok(value) = value.parse::<u32>() else {
            return;
        };
        match name {
            "ndots" => self.ndots = usize::try_from(value.min(15)).unwrap_or(1),
            "timeout" => self.timeout = Duration::from_secs(u64::from(value.clamp(1, 30))),
            "attempts" => self.attempts = value.clamp(1, 5),
            _ => {}
        }
    }

    /// Names to ask for, in order: as it is when it has `ndots` dots, else the search list first.
    pub(super) fn candidates(&self, name: &str) -> Vec<String> {
        let dots = name.bytes().filter(|b| *b == b'.').count();
        let mut list: Vec<String> = self
            .search
            .iter()
            .map(|s| s.trim_matches('.'))
            .filter(|s| !s.is_empty())
            .map(|suffix| format!("{name}.{suffix}"))
            .collect();
        let place = if dots >= self.ndots { 0 } else { list.len() };
        list.insert(place, name.to_owned());
        list
    }
}

/// An address, perhaps with a zone (`fe80::1%eth0`), which only names can resolve: passed over.
/// `address#port` and `[address]:port` are ours, for tests and odd set-ups.
fn server(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some((address, 53).into());
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_by_line() {
        let hosts = Hosts::of("# c\n10.0.0.1 a A.example # x\n::1 a\nbad a\n10.0.0.2\tb a\n");
        assert_eq!(hosts.addresses("a").len(), 3);
        assert_eq!(hosts.addresses("a.example").len(), 1);
        assert!(hosts.addresses("x").is_empty());
    }

    #[test]
    fn resolv_conf_has_its_limits() {
        let conf = ResolvConf::of(
            "nameserver 10.0.0.1\nnameserver fe80::1%eth0\nnameserver ::1\nsearch a.example b.example\noptions ndots:2 timeout:1 attempts:9 rotate\n;x\n",
        );
        assert_eq!(conf.servers.len(), 2);
        assert_eq!(conf.timeout, Duration::from_secs(1));
        assert_eq!(conf.attempts, 5);
        assert_eq!(
            conf.candidates("x.y"),
            ["x.y.a.example", "x.y.b.example", "x.y"]
        );
        assert_eq!(
            conf.candidates("x.y.z"),
            ["x.y.z", "x.y.z.a.example", "x.y.z.b.example"]
        );
        assert_eq!(
            ResolvConf::of("").servers,
            [SocketAddr::from((Ipv4Addr::LOCALHOST, 53))]
        );
    }
}
