//! The words of `--port`: which port of the host leads to which port of the pod. Pure.
//!
//! The original's `NAME:[ADDRESS:]PORT`, where NAME is a port of an image, and docker's
//! `[ADDRESS:]PORT[-PORT]:PORT[-PORT][/tcp|udp|sctp]`; an IPv6 address stands in brackets. Each may
//! be followed by `,via=nat|socket` and `,app=NAME`. The address is 127.0.0.1 unless one is said:
//! a port that others can reach is asked for by name.

use crate::refusal::Refusal;
use rkt_spec::AppName;
use rkt_spec::network::{PortWay, Protocol};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

/// Address of the host when none is said.
pub const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Most ports that one range may have.
pub const MAX_RANGE: u16 = 1024;

/// One `--port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRequest {
    /// As it was typed.
    pub words: String,
    /// Address of the host; [`HOST`] when none was said.
    pub host: IpAddr,
    /// Ports of the host.
    pub host_ports: Range,
    /// Where they lead.
    pub to: Target,
    /// How they lead there.
    pub way: PortWay,
    /// The app, when it was said.
    pub app: Option<AppName>,
}

/// Consecutive ports, 1..=65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first.
    pub first: u16,
    /// The last; not below the first.
    pub last: u16,
}

/// Ports of the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A port that an image names.
    Image(String),
    /// By number, as many as there are of the host.
    Number(Range, Protocol),
}

impl Range {
    /// How many ports, less one.
    const fn more(self) -> u16 {
        self.last - self.first
    }

    /// The ports of both, side by side.
    pub fn pairs(self, other: Self) -> impl Iterator<Item = (u16, u16)> {
        (self.first..=self.last).zip(other.first..=other.last)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.more() {
            0 => write!(f, "{}", self.first),
            _ => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

impl FromStr for PortRequest {
    type Err = Refusal;
    fn from_str(words: &str) -> Result<Self, Refusal> {
        let mut parts = words.split(',');
        let place = parts.next().unwrap_or_default();
        let mut way = None;
        let mut app = None;
        for option in parts {
            match option.split_once('=') {
                Some(("via", "nat")) if way.is_none() => way = Some(PortWay::Nat),
                Some(("via", "socket")) if way.is_none() => way = Some(PortWay::Socket),
                Some(("app", name)) if app.is_none() => app = Some(AppName::new(name)?),
                _ => {
                    return Err(Refusal::new(format!(
                        "`{}` is none of via=nat, via=socket and app=NAME, each once",
                        option.escape_debug()
                    )));
                }
            }
        }
        let (host, host_ports, to) = read(place)?;
        Ok(Self {
            words: words.to_owned(),
            host,
            host_ports,
            to,
            way: way.unwrap_or(PortWay::Nat),
            app,
        })
    }
}

/// Reads what stands before the first comma.
fn read(place: &str) -> Result<(IpAddr, Range, Target), Refusal> {
    let parts = split(place)?;
    let text = |at: usize| parts.get(at).copied().unwrap_or_default();
    match parts.len() {
        2 if is_name(text(0)) => Ok((HOST, one(text(1))?, Target::Image(text(0).to_owned()))),
        3 if is_name(text(0)) => Ok((
            address(text(1))?,
            one(text(2))?,
            Target::Image(text(0).to_owned()),
        )),
        2 => numbers(HOST, text(0), text(1)),
        3 => numbers(address(text(0))?, text(1), text(2)),
        _ => Err(shape()),
    }
}

fn shape() -> Refusal {
    Refusal::new(
        "needs NAME:[ADDRESS:]PORT with a port of the image, or \
         [ADDRESS:]PORT:PORT[/tcp|udp|sctp] with ports of the host and of the pod",
    )
}

/// Splits at colons outside of brackets, and takes the brackets off.
fn split(place: &str) -> Result<Vec<&str>, Refusal> {
    let mut parts = Vec::new();
    let mut rest = place;
    loop {
        if let Some(inner) = rest.strip_prefix('[') {
            let (address, after) = inner
                .split_once(']')
                .ok_or_else(|| Refusal::new("`[` has no `]`"))?;
            // What stood in brackets can be an IPv6 address and nothing else.
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(Refusal::new(format!(
                    "`{}` is no IPv6 address",
                    address.escape_debug()
                )));
            }
            parts.push(address);
            match after.strip_prefix(':') {
                Some(more) => rest = more,
                None => return Err(shape()),
            }
        } else {
            match rest.split_once(':') {
                Some((part, more)) => {
                    parts.push(part);
                    rest = more;
                }
                None => {
                    parts.push(rest);
                    return Ok(parts);
                }
            }
        }
    }
}

/// Whether it names a port of an image (appc's AC Name), and is no number and no range.
fn is_name(text: &str) -> bool {
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    let number = digits(text)
        || text
            .split_once('-')
            .is_some_and(|(a, b)| digits(a) && digits(b));
    !number && AppName::new(text).is_ok()
}

fn address(text: &str) -> Result<IpAddr, Refusal> {
    text.parse().map_err(|_| {
        Refusal::new(format!(
            "`{}` is no address of the host",
            text.escape_debug()
        ))
    })
}

fn numbers(host: IpAddr, host_ports: &str, pod: &str) -> Result<(IpAddr, Range, Target), Refusal> {
    let (pod, protocol) = match pod.split_once('/') {
        Some((pod, word)) => (pod, word.parse()?),
        None => (pod, Protocol::Tcp),
    };
    if host_ports.is_empty() {
        return Err(Refusal::new("the port of the host is missing")
            .hint(format!("rkt chooses none by itself: --port={pod}:{pod}")));
    }
    let (host_ports, pod) = (range(host_ports)?, range(pod)?);
    if host_ports.more() != pod.more() {
        return Err(Refusal::new(format!(
            "the ranges {host_ports} and {pod} are of different lengths"
        )));
    }
    Ok((host, host_ports, Target::Number(pod, protocol)))
}

fn range(text: &str) -> Result<Range, Refusal> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    if last < first {
        return Err(Refusal::new(format!(
            "the range {first}-{last} runs backwards"
        )));
    }
    if last - first >= MAX_RANGE {
        return Err(Refusal::new(format!(
            "the range {first}-{last} is of more than {MAX_RANGE} ports"
        )));
    }
    Ok(Range { first, last })
}

/// The one port of the host for a port by name.
fn one(text: &str) -> Result<Range, Refusal> {
    if text.contains('/') {
        return Err(Refusal::new(
            "the image says the protocol of a port that is named",
        ));
    }
    let port = port(text)?;
    Ok(Range {
        first: port,
        last: port,
    })
}

fn port(text: &str) -> Result<u16, Refusal> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    number
        .filter(|n| *n > 0)
        .ok_or_else(|| Refusal::new(format!("`{}` is no port 1 to 65535", text.escape_debug())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(words: &str) -> PortRequest {
        words.parse().unwrap_or_else(|e| panic!("{words}: {e}"))
    }

    fn why(words: &str) -> String {
        words.parse::<PortRequest>().unwrap_err().to_string()
    }

    #[test]
    fn names_of_images_and_numbers() {
        let p = good("http:8080");
        assert_eq!(p.host, HOST);
        assert_eq!(p.host_ports.to_string(), "8080");
        assert_eq!(p.to, Target::Image("http".into()));
        assert_eq!(p.way, PortWay::Nat);
        let p = good("80-tcp:0.0.0.0:80");
        assert_eq!(p.host.to_string(), "0.0.0.0");
        assert_eq!(p.to, Target::Image("80-tcp".into()));
        let p = good("http:[::1]:80,via=socket");
        assert_eq!(p.host.to_string(), "::1");
        assert_eq!(p.way, PortWay::Socket);
        let p = good("8080:80");
        let eighty = Range {
            first: 80,
            last: 80,
        };
        assert_eq!(p.to, Target::Number(eighty, Protocol::Tcp));
        let p = good("[fd00::1]:53:5353/udp,app=dns");
        assert_eq!(p.host.to_string(), "fd00::1");
        assert_eq!(p.app.unwrap().as_str(), "dns");
        let p = good("10.0.0.1:8000-8010:80-90/sctp");
        let Target::Number(pod, Protocol::Sctp) = p.to else {
            panic!()
        };
        assert_eq!(p.host_ports.pairs(pod).nth(3), Some((8003, 83)));
        assert_eq!(p.host_ports.pairs(pod).count(), 11);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (words, said) in [
            ("", "needs NAME:"),
            ("80", "needs NAME:"),
            ("http", "needs NAME:"),
            ("1.2.3.4:1:2:3", "needs NAME:"),
            ("0:80", "`0` is no port"),
            ("65536:80", "is no port"),
            ("+80:80", "is no port"),
            ("80:", "is no port"),
            ("127.0.0.1::80", "the port of the host is missing"),
            (":80", "the port of the host is missing"),
            ("http:0", "is no port"),
            ("http:80/udp", "the image says"),
            ("http:host.example:80", "is no address of the host"),
            ("1.2.3:80:80", "is no address of the host"),
            ("8000-8002:80", "different lengths"),
            ("8002-8000:80-82", "backwards"),
            ("1-2000:1-2000", "more than 1024"),
            ("80:80/icmp", "protocol"),
            ("80:80/TCP", "protocol"),
            ("80:80,via=tunnel", "via=nat"),
            ("80:80,via=nat,via=nat", "each once"),
            ("80:80,", "via=nat"),
            ("80:80,app=A", "app name"),
            ("[::1:80:80", "has no `]`"),
            ("[1.2.3.4]:80:80", "no IPv6 address"),
            ("[::1]", "needs NAME:"),
            ("[::1]80:80", "needs NAME:"),
            ("Http:80", "is no port"),
        ] {
            let text = why(words);
            assert!(text.contains(said), "{words}: {text}");
        }
    }
}
