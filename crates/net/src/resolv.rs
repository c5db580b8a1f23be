//! `/etc/resolv.conf`: what `--dns*` and networks say, and the text, in the original's order.
//!
//! A name server on the host's loopback is none for a pod: it is left out and named. Words that
//! could end a line or begin another are refused.

use crate::refusal::Refusal;
use std::fmt::Write;
use std::net::IpAddr;

/// Where a resolver asks, and for what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolver {
    /// Name servers, in order.
    pub nameservers: Vec<IpAddr>,
    /// The domain; empty when there is none.
    pub domain: String,
    /// Domains to search, in order.
    pub search: Vec<String>,
    /// Options of the resolver.
    pub options: Vec<String>,
}

/// What `--dns*` say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dns {
    /// Whose file it is.
    pub mode: Mode,
    /// What was given by words; empty unless the mode is [`Mode::Network`].
    pub given: Resolver,
}

/// Whose `/etc/resolv.conf` a pod has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// One made of what was given and of what its networks say.
    #[default]
    Network,
    /// The host's, byte for byte (`--dns=host`).
    Host,
    /// The image's, or none (`--dns=none`).
    Image,
}

impl Dns {
    /// `--dns=ADDRESS[,ADDRESS]|host|none`.
    ///
    /// # Errors
    /// For a word that is neither, and for `host` or `none` beside anything else.
    pub fn servers(&mut self, list: &str) -> Result<(), Refusal> {
        for word in list.split(',') {
            let mode = match word {
                "host" => Mode::Host,
                "none" => Mode::Image,
                _ => {
                    self.check_mode()?;
                    let server = word.parse().map_err(|_| {
                        Refusal::new(format!(
                            "`{}` is no address of a name server",
                            word.escape_debug()
                        ))
                    })?;
                    self.given.nameservers.push(server);
                    continue;
                }
            };
            self.check_mode()?;
            self.mode = mode;
            self.check_alone()?;
        }
        Ok(())
    }

    /// `--dns-search=DOMAIN[,DOMAIN]`.
    ///
    /// # Errors
    /// For a word that is no domain, and beside `--dns=host` or `--dns=none`.
    pub fn search(&mut self, list: &str) -> Result<(), Refusal> {
        self.check_mode()?;
        for word in list.split(',') {
            self.given.search.push(domain(word)?);
        }
        Ok(())
    }

    /// `--dns-opt=OPTION[,OPTION]`.
    ///
    /// # Errors
    /// As [`Dns::search`].
    pub fn options(&mut self, list: &str) -> Result<(), Refusal> {
        self.check_mode()?;
        for word in list.split(',') {
            self.given.options.push(option(word)?);
        }
        Ok(())
    }

    /// `--dns-domain=DOMAIN`; the last one counts.
    ///
    /// # Errors
    /// As [`Dns::search`].
    pub fn domain(&mut self, word: &str) -> Result<(), Refusal> {
        self.check_mode()?;
        self.given.domain = domain(word)?;
        Ok(())
    }

    fn check_mode(&self) -> Result<(), Refusal> {
        let word = match self.mode {
            Mode::Network => return Ok(()),
            Mode::Host => "host",
            Mode::Image => "none",
        };
        Err(not_alone(word))
    }

    fn check_alone(&self) -> Result<(), Refusal> {
        match self.given.is_empty() {
            true => Ok(()),
            false => self.check_mode(),
        }
    }
}

fn not_alone(word: &str) -> Refusal {
    Refusal::new(format!(
        "no other --dns options allowed when --dns={word} is passed"
    ))
}

/// A domain that can stand in a line.
///
/// # Errors
/// For anything but letters, digits, `-`, `_` and `.`, and for more than 253 bytes.
pub fn domain(word: &str) -> Result<String, Refusal> {
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    // `.` alone is resolv.conf(5)'s word for no search at all.
    match !word.is_empty() && word.len() <= 253 && word.bytes().all(ok) {
        true => Ok(word.to_owned()),
        false => Err(Refusal::new(format!(
            "`{}` is no domain",
            word.escape_debug()
        ))),
    }
}

/// An option that can stand in a line, such as `ndots:2`.
///
/// # Errors
/// For anything but letters, digits, `-`, `_`, `.` and `:`.
pub fn option(word: &str) -> Result<String, Refusal> {
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    match !word.is_empty() && word.len() <= 64 && word.bytes().all(ok) {
        true => Ok(word.to_owned()),
        false => Err(Refusal::new(format!(
            "`{}` is no option of a resolver",
            word.escape_debug()
        ))),
    }
}

impl Resolver {
    /// Whether it says nothing at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The file: a comment, `search`, `nameserver` lines, `options`, `domain`.
    pub fn text(&self) -> String {
        let mut text = "# Generated by rkt run\n\n".to_owned();
        let mut line = |word: &str, rest: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{word} {rest}");
        };
        if !self.search.is_empty() {
            line("search", &self.search.join(" "));
        }
        for server in &self.nameservers {
            line("nameserver", &server.to_string());
        }
        if !self.options.is_empty() {
            line("options", &self.options.join(" "));
        }
        if !self.domain.is_empty() {
            line("domain", &self.domain);
        }
        text
    }

    /// Reads a host's file; also the words of name servers that are no use to a pod: those of the
    /// host's loopback, and those with a scope.
    ///
    /// Lines and words that cannot stand in a file of ours are left out.
    pub fn of_host(bytes: &[u8]) -> (Self, Vec<String>) {
        Self::read(bytes, reachable)
    }

    /// The same for a pod with the host's network, which reaches what the host reaches.
    pub fn of_host_itself(bytes: &[u8]) -> Self {
        Self::read(bytes, |_| true).0
    }

    fn read(bytes: &[u8], reachable: impl Fn(IpAddr) -> bool) -> (Self, Vec<String>) {
        let text = String::from_utf8_lossy(bytes);
        let mut resolver = Self::default();
        let mut useless = Vec::new();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let Some(first) = words.next() else { continue };
            match first {
                "nameserver" => {
                    let Some(word) = words.next() else { continue };
                    match word.parse::<IpAddr>() {
                        Ok(server) if reachable(server) => resolver.nameservers.push(server),
                        _ => useless.push(word.to_owned()),
                    }
                }
                // Of these the last line counts (resolv.conf(5)).
                "search" => {
                    resolver.search = words.filter_map(|w| domain(w).ok()).collect();
                    resolver.domain.clear();
                }
                "domain" => {
                    resolver.search.clear();
                    let word = words.next().and_then(|w| domain(w).ok());
                    resolver.domain = word.unwrap_or_default();
                }
                "options" => resolver
                    .options
                    .extend(words.filter_map(|w| option(w).ok())),
                _ => {}
            }
        }
        (resolver, useless)
    }

    /// The same, with what it does not say taken from another.
    #[must_use]
    pub fn or(mut self, other: &Self) -> Self {
        if self.nameservers.is_empty() {
            self.nameservers.clone_from(&other.nameservers);
        }
        if self.search.is_empty() && self.domain.is_empty() {
            self.search.clone_from(&other.search);
            self.domain.clone_from(&other.domain);
        }
        if self.options.is_empty() {
            self.options.clone_from(&other.options);
        }
        self
    }
}

/// Whether a pod with a network of its own could reach it.
fn reachable(server: IpAddr) -> bool {
    let local = match server {
        IpAddr::V4(_) => false,
        IpAddr::V6(a) => a.is_unicast_link_local(),
    };
    !(server.is_loopback() || server.is_unspecified() || local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_in_the_originals_order() {
        let mut dns = Dns::default();
        dns.domain("corp.example").unwrap();
        dns.options("ndots:2,debug").unwrap();
        dns.servers("8.8.8.8").unwrap();
        dns.search("a.example").unwrap();
        dns.search("b.example").unwrap();
        dns.servers("8.8.4.4,fd00::53").unwrap();
        assert_eq!(
            dns.given.text(),
            "# Generated by rkt run\n\nsearch a.example b.example\nnameserver 8.8.8.8\n\
             nameserver 8.8.4.4\nnameserver fd00::53\noptions ndots:2 debug\ndomain corp.example\n"
        );
    }

    #[test]
    fn host_and_none_stand_alone() {
        for word in ["host", "none"] {
            let said = format!("no other --dns options allowed when --dns={word} is passed");
            let mut dns = Dns::default();
            dns.servers(word).unwrap();
            for error in [
                dns.clone().servers("1.1.1.1"),
                dns.clone().servers("none"),
                dns.clone().search("a"),
                dns.clone().options("a"),
                dns.clone().domain("a"),
            ] {
                assert_eq!(error.unwrap_err().to_string(), said);
            }
            let mut dns = Dns::default();
            dns.search("a").unwrap();
            assert_eq!(dns.servers(word).unwrap_err().to_string(), said);
        }
    }

    #[test]
    fn nothing_breaks_out_of_its_line() {
        for bad in ["", "x", "1.2.3", "1.1.1.1 8.8.8.8", "1.1.1.1\noptions x"] {
            assert!(Dns::default().servers(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "a b", "a\nnameserver 6.6.6.6", "a#b", &"a".repeat(254)] {
            assert!(Dns::default().search(bad).is_err(), "{bad:?}");
            assert!(Dns::default().domain(bad).is_err(), "{bad:?}");
            assert!(Dns::default().options(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_hosts_file_is_read_without_what_a_pod_cannot_use() {
        let (resolver, useless) = Resolver::of_host(
            b"; made by hand\nsearch a.example\nnameserver 127.0.0.53\nnameserver 10.0.0.2 # two\n\
              nameserver fe80::1%eth0\nnameserver fe80::2\nnameserver ::1\nnameserver 2001:db8::1\n\
              options edns0 trust-ad bad/one\nsortlist 1\ndomain b.example\n\xff\nnameserver\n",
        );
        let servers: Vec<_> = resolver.nameservers.iter().map(IpAddr::to_string).collect();
        assert_eq!(servers, ["10.0.0.2", "2001:db8::1"]);
        assert_eq!(useless, ["127.0.0.53", "fe80::1%eth0", "fe80::2", "::1"]);
        assert_eq!(
            (resolver.domain.as_str(), resolver.search.len()),
            ("b.example", 0)
        );
        assert_eq!(resolver.options, ["edns0", "trust-ad"]);
        let mut given = Dns::default();
        given.search("c.example").unwrap();
        let both = given.given.or(&resolver);
        assert_eq!(both.nameservers.len(), 2);
        assert_eq!(both.search, ["c.example"]);
        assert!(both.domain.is_empty());
    }
}
