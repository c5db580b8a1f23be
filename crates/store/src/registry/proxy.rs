//! Which hosts are reached through a proxy. The caller gives the variables as text.

use super::address::{Address, Scheme};
use super::dns::Failure;
use crate::error::{Error, Kind, Result};
use crate::options::Proxies;
use std::net::IpAddr;
use ureq::Proxy;

/// The proxy for an address; `None` for the direct way. This host is never behind one.
pub(super) fn proxy_for(proxies: &Proxies, to: &Address) -> Result<Option<Proxy>> {
    let text = match to.scheme {
        Scheme::Http => &proxies.http,
        Scheme::Https => &proxies.https,
    };
    let Some(text) = text.as_deref().map(str::trim).filter(|t| !t.is_empty()) else {
        return Ok(None);
    };
    if to.is_loopback() || is_direct(proxies.none.as_deref().unwrap_or(""), to) {
        return Ok(None);
    }
    Proxy::new(text).map(Some).map_err(|_| {
        // The text may hold a password: it is not repeated.
        Error::new(Kind::System, "the proxy variable is no address of a proxy")
            .hint("it should look like `http://proxy.example:3128`")
    })
}

/// Why a proxy did not lead to `host`; `None` when the proxy is not to blame. Its user and password
/// are not repeated.
pub(super) fn explain(error: &ureq::Error, host: &str, proxy: &Proxy) -> Option<Error> {
    let at = format!("proxy `{}:{}`", proxy.host(), proxy.port());
    let unreachable = |why: String| Error::new(Kind::Unreachable, why);
    match error {
        ureq::Error::ConnectProxyFailed(said) => {
            let error = unreachable(format!("{at} does not lead to `{host}`: {said}"));
            Some(match said.contains("407") {
                true => error.hint(
                    "it wants a user and password: `https_proxy=http://USER:PASSWORD@HOST:PORT`",
                ),
                false => error,
            })
        }
        // Behind a proxy, what fails before there is a connection is the way to the proxy.
        ureq::Error::Io(e) => {
            let dns = e.get_ref().and_then(|e| e.downcast_ref::<Failure>());
            if let Some(dns) = dns {
                return Some(unreachable(format!(
                    "{at}, which is to lead to `{host}`, has a name that leads nowhere: {dns}"
                )));
            }
            (e.kind() == std::io::ErrorKind::ConnectionRefused).then(|| {
                unreachable(format!(
                    "nobody listens at {at}, which is to lead to `{host}`"
                ))
            })
        }
        ureq::Error::ConnectionFailed | ureq::Error::HostNotFound => Some(unreachable(format!(
            "there is no way to {at}, which is to lead to `{host}`"
        ))),
        ureq::Error::Timeout(_) => Some(unreachable(format!(
            "`{host}` does not answer in time through {at}"
        ))),
        _ => None,
    }
}

/// `no_proxy` as curl and Go read it: `*`, names with their sub-domains, `.suffix`,
/// `*.suffix`, addresses and CIDR ranges, each with an optional port.
fn is_direct(list: &str, to: &Address) -> bool {
    let host = to.host.trim_start_matches('[').trim_end_matches(']');
    let address = host.parse::<IpAddr>().ok();
    list.split([',', ' '])
        .map(str::trim)
        .filter(|w| !w.is_empty())
        .any(|word| {
            if word == "*" {
                return true;
            }
            let (word, port) = match word.rsplit_once(':') {
                Some((w, p)) if !w.contains(':') || w.ends_with(']') => (w, p.parse::<u16>().ok()),
                _ => (word, None),
            };
            if port.is_some_and(|p| p != to.port) {
                return false;
            }
            let word = word.trim_start_matches('[').trim_end_matches(']');
            match address {
                Some(address) => in_range(address, word),
                None => {
                    let word = word
                        .trim_start_matches('*')
                        .trim_start_matches('.')
                        .to_ascii_lowercase();
                    host == word
                        || host
                            .strip_suffix(&word)
                            .is_some_and(|h| h.ends_with('.') && !word.is_empty())
                }
            }
        })
}

fn in_range(address: IpAddr, range: &str) -> bool {
    let (net, bits) = match range.split_once('/') {
        Some((net, bits)) => (net, bits.parse::<u32>().ok()),
        None => (range, Some(128)),
    };
    let (Ok(net), Some(bits)) = (net.parse::<IpAddr>(), bits) else {
        return false;
    };
    match (address, net) {
        (IpAddr::V4(a), IpAddr::V4(n)) => same(
            u128::from(a.to_bits()) << 96,
            u128::from(n.to_bits()) << 96,
            bits,
        ),
        (IpAddr::V6(a), IpAddr::V6(n)) => same(a.to_bits(), n.to_bits(), bits),
        _ => false,
    }
}

fn same(a: u128, b: u128, bits: u32) -> bool {
    bits == 0 || (a ^ b) >> (128 - bits.min(128)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_is_read_as_others_read_it() {
        let to = |text: &str| Address::parse(text).unwrap();
        for (list, address, want) in [
            ("*", "https://a.example/", true),
            ("example", "https://a.example/", true),
            (".example", "https://a.example/", true),
            ("*.example", "https://a.example/", true),
            ("a.example", "https://ba.example/", false),
            ("a.example:5000", "https://a.example/", false),
            ("a.example:443", "https://a.example/", true),
            ("10.0.0.0/8", "http://10.1.2.3/", true),
            ("10.0.0.0/8", "http://11.1.2.3/", false),
            ("192.0.2.1", "http://192.0.2.1:5000/", true),
            ("fd00::/8", "http://[fd00::1]:5000/", true),
            ("", "https://a.example/", false),
            ("x, a.example", "https://a.example/", true),
        ] {
            assert_eq!(is_direct(list, &to(address)), want, "{list} {address}");
        }
        let proxies = Proxies {
            https: Some("http://proxy.example:3128".into()),
            ..Proxies::default()
        };
        assert!(
            proxy_for(&proxies, &to("https://a.example/"))
                .unwrap()
                .is_some()
        );
        assert!(
            proxy_for(&proxies, &to("http://a.example/"))
                .unwrap()
                .is_none()
        );
        assert!(
            proxy_for(&proxies, &to("https://localhost:5000/"))
                .unwrap()
                .is_none()
        );
    }
}
