//! A pod's `/etc/hosts`: the original's lines, and those of `--hosts-entry`. Pure text.

use crate::refusal::Refusal;
use std::fmt::Write;
use std::net::IpAddr;

/// What `--hosts-entry` say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Hosts {
    /// Nothing: the image's own file, or else the usual lines.
    #[default]
    Image,
    /// The host's file, byte for byte.
    Host,
    /// The usual lines and these, an address once.
    Entries(Vec<(IpAddr, Vec<String>)>),
}

impl Hosts {
    /// `--hosts-entry=ADDRESS=NAME[,NAME]|host`.
    ///
    /// # Errors
    /// For a word that is neither, and for `host` beside another one.
    pub fn entry(&mut self, text: &str) -> Result<(), Refusal> {
        if text == "host" {
            return match self {
                Self::Image => {
                    *self = Self::Host;
                    Ok(())
                }
                _ => Err(not_alone()),
            };
        }
        let (address, names) = text.split_once('=').ok_or_else(shape)?;
        self.add(address.parse().map_err(|_| shape())?, names)
    }

    /// docker's `--add-host=NAME:ADDRESS`; an IPv6 address may stand in brackets.
    ///
    /// # Errors
    /// As [`Hosts::entry`].
    pub fn add_host(&mut self, text: &str) -> Result<(), Refusal> {
        let shape = || Refusal::new("needs NAME:ADDRESS, such as `db:10.1.2.3`");
        let (name, address) = text.split_once([':', '=']).ok_or_else(shape)?;
        let inner = address
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let address = inner.unwrap_or(address).parse().map_err(|_| shape())?;
        self.add(address, name)
    }

    fn add(&mut self, address: IpAddr, names: &str) -> Result<(), Refusal> {
        let names: Vec<String> = names
            .split(',')
            .map(host_name)
            .collect::<Result<_, Refusal>>()?;
        match self {
            Self::Host => return Err(not_alone()),
            Self::Image => *self = Self::Entries(vec![(address, names)]),
            Self::Entries(list) => match list.iter_mut().find(|(a, _)| *a == address) {
                Some((_, known)) => known.extend(names),
                None => list.push((address, names)),
            },
        }
        Ok(())
    }
}

fn shape() -> Refusal {
    Refusal::new("needs ADDRESS=NAME[,NAME..], such as `10.1.2.3=db`, or `host`")
}

fn not_alone() -> Refusal {
    Refusal::new("cannot pass --hosts-entry=host with multiple hosts-entries")
}

fn host_name(word: &str) -> Result<String, Refusal> {
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    match !word.is_empty() && word.len() <= 253 && word.bytes().all(ok) {
        true => Ok(word.to_owned()),
        false => Err(Refusal::new(format!(
            "`{}` is no name of a host",
            word.escape_debug()
        ))),
    }
}

/// `/etc/hosts` of a pod: localhost, the pod's own name, and `entries` below.
///
/// The lines are the original's (`rkt-hosts` fallback).
pub fn hosts(hostname: &str, entries: &[(IpAddr, Vec<String>)]) -> String {
    let names = "localhost localhost.domain localhost4 localhost4.localdomain4";
    let names6 = "localhost localhost.domain localhost6 localhost6.localdomain6";
    let mut text = format!("127.0.0.1\t{names} {hostname}\n::1\t{names6} {hostname}\n");
    if !entries.is_empty() {
        text.push_str("\n\n# Added by rkt run --hosts-entry\n");
    }
    for (address, names) in entries {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{address} {}", names.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_knows_its_own_name() {
        let text = hosts("rkt-1", &[]);
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().all(|l| l.ends_with(" rkt-1")));
    }

    #[test]
    fn entries_come_below_an_address_once() {
        let mut wanted = Hosts::default();
        for entry in ["10.1.2.3=db,db.example", "fd00::5=six", "10.1.2.3=sql"] {
            wanted.entry(entry).unwrap();
        }
        wanted.add_host("seven:[fd00::7]").unwrap();
        wanted.add_host("eight:10.0.0.8").unwrap();
        let Hosts::Entries(list) = &wanted else {
            panic!()
        };
        let text = hosts("rkt-1", list);
        assert!(text.ends_with(
            "\n\n\n# Added by rkt run --hosts-entry\n10.1.2.3 db db.example sql\nfd00::5 six\n\
             fd00::7 seven\n10.0.0.8 eight\n"
        ));
        let text = wanted.entry("host").unwrap_err().to_string();
        assert_eq!(
            text,
            "cannot pass --hosts-entry=host with multiple hosts-entries"
        );
        let mut host = Hosts::default();
        host.entry("host").unwrap();
        assert_eq!(host, Hosts::Host);
        assert!(host.entry("10.0.0.1=a").is_err() && host.entry("host").is_err());
    }

    #[test]
    fn nothing_breaks_out_of_its_line() {
        for bad in [
            "",
            "db",
            "10.0.0.1",
            "10.0.0.1=",
            "db=10.0.0.1",
            "10.0.0.1=a b",
            "10.0.0.1=a\n6.6.6.6 bank",
            "10.0.0.1=a,,b",
            "10.0.0.1=#",
        ] {
            assert!(Hosts::default().entry(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "a", "a:host-gateway", ":10.0.0.1", "a b:10.0.0.1"] {
            assert!(Hosts::default().add_host(bad).is_err(), "{bad:?}");
        }
    }
}
