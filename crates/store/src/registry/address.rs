//! Addresses of registries: `http` and `https` only, and where a redirect leads.

use crate::error::{Error, Kind, Result};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// How a connection is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// One absolute URL without user, password and fragment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Address {
    pub(super) scheme: Scheme,
    /// Name or address in lower case; IPv6 with its brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Begins with `/`; with the query.
    pub(super) path: String,
}

impl Address {
    /// `host[:port]` of a checked reference, with a path.
    pub(super) fn new(scheme: Scheme, authority: &str, path: &str) -> Result<Self> {
        Self::parse(&format!("{}://{authority}{path}", scheme.as_str()))
    }

    /// Reads an absolute URL.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            Error::new(
                Kind::Refused,
                format!(
                    "`{}` is no address to fetch from: {why}",
                    text.escape_debug()
                ),
            )
        };
        if text.len() > 16 << 10 || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(bad("it holds strange bytes"));
        }
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| bad("it is not absolute"))?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(bad("needs `http` or `https`")),
        };
        let rest = rest.split('#').next().unwrap_or(rest);
        let cut = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(cut);
        if authority.contains(['@', '\\']) {
            return Err(bad("it names a user"));
        }
        let (host, port) = match authority.rfind(':') {
            Some(i) if !authority.ends_with(']') => {
                let (host, port) = authority.split_at(i);
                let port = port.trim_start_matches(':');
                (
                    host,
                    port.parse::<u16>()
                        .map_err(|_| bad("its port is no number"))?,
                )
            }
            _ => (authority, scheme.port()),
        };
        let host_ok = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty()
                    && host.len() <= 253
                    && host
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
            }
        };
        if !host_ok || port == 0 {
            return Err(bad("it has no host"));
        }
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        Ok(Self {
            scheme,
            host: host.to_ascii_lowercase(),
            port,
            path,
        })
    }

    /// Where `Location` leads from here.
    pub(super) fn join(&self, location: &str) -> Result<Self> {
        if location.contains("://") && !location.starts_with(['/', '?']) {
            return Self::parse(location);
        }
        let base = format!("{}://{}", self.scheme.as_str(), self.authority());
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("{}://{rest}", self.scheme.as_str()));
        }
        let path_only = self.path.split('?').next().unwrap_or(&self.path);
        if location.starts_with('/') {
            Self::parse(&format!("{base}{location}"))
        } else if location.starts_with('?') {
            Self::parse(&format!("{base}{path_only}{location}"))
        } else {
            let folder = path_only
                .rfind('/')
                .map_or("/", |i| path_only.get(..=i).unwrap_or("/"));
            Self::parse(&format!("{base}{folder}{location}"))
        }
    }

    /// Whether both are the same scheme, host and port: the reach of a password.
    pub(super) fn same_origin(&self, other: &Self) -> bool {
        self.scheme == other.scheme && self.host == other.host && self.port == other.port
    }

    /// `host:port`, the port only when it is not the scheme's own.
    pub(super) fn authority(&self) -> String {
        if self.port == self.scheme.port() {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Whether it can only be this machine.
    pub(super) fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

/// `localhost` (RFC 6761: never anything else), 127/8 and `::1`.
pub(super) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost"
        || bare.ends_with(".localhost")
        || bare.parse::<Ipv4Addr>().is_ok_and(|a| a.is_loopback())
        || bare.parse::<Ipv6Addr>().is_ok_and(|a| a.is_loopback())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}{}",
            self.scheme.as_str(),
            self.authority(),
            self.path
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_where_rfc_3986_says() {
        let base = Address::parse("https://reg.example:5000/v2/a/blobs/x?y=1").unwrap();
        for (location, want) in [
            (
                "https://cdn.example/b?sig=%2F",
                "https://cdn.example/b?sig=%2F",
            ),
            ("//cdn.example/b", "https://cdn.example/b"),
            ("/c", "https://reg.example:5000/c"),
            ("d", "https://reg.example:5000/v2/a/blobs/d"),
            ("?z", "https://reg.example:5000/v2/a/blobs/x?z"),
            ("HTTP://H.example:80", "http://h.example/"),
            ("http://[::1]:5000/x#frag", "http://[::1]:5000/x"),
        ] {
            assert_eq!(base.join(location).unwrap().to_string(), want);
        }
        for bad in [
            "ftp://x/",
            "https://u:p@x/",
            "https:///x",
            "https://x:0/",
            "https://x:y/",
            "file:///etc/passwd",
            "https://a b/",
            "https://ü/",
            "https://x\\y/",
        ] {
            assert!(base.join(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn loopback_is_only_loopback() {
        for yes in [
            "localhost",
            "127.0.0.1",
            "127.9.9.9",
            "[::1]",
            "a.localhost",
        ] {
            assert!(is_loopback(yes), "{yes}");
        }
        for no in [
            "localhost.example",
            "127.0.0.1.example",
            "10.0.0.1",
            "[::2]",
            "mylocalhost",
        ] {
            assert!(!is_loopback(no), "{no}");
        }
    }
}
