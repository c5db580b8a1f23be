//! What pods tell of themselves, and which of it becomes a line of another's `/etc/hosts`. Pure.

use rkt_spec::Uuid;
use std::collections::HashSet;
use std::fmt::Write;
use std::net::IpAddr;

/// Most bytes of lines for `/etc/hosts`.
pub const MAX_BYTES: usize = 128 << 10;
/// Most addresses, and most names, that a pod tells on one network.
const MAX_WORDS: usize = 8;

/// Names that mean the host, its gateway or the machine itself wherever they stand.
const RESERVED: &[&str] = &[
    "broadcasthost",
    "gateway",
    "_gateway",
    "gateway.docker.internal",
    "host.containers.internal",
    "host.docker.internal",
    "host.rkt.internal",
    "ip6-allnodes",
    "ip6-allrouters",
    "ip6-localhost",
    "ip6-localnet",
    "ip6-loopback",
    "ip6-mcastprefix",
];

/// Whether a pod can be called this by others: a name of a host, which is no address by any way of
/// writing one, not `localhost` nor a name below or beside it, and none that means the host.
pub fn can_be_told(name: &str) -> bool {
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > 253 || !name.bytes().all(ok) {
        return false;
    }
    let name = name.to_ascii_lowercase();
    let mut labels = name.split('.');
    if labels.clone().any(str::is_empty) {
        return false;
    }
    let local = |label: &str| {
        let rest = label.strip_prefix("localhost");
        rest.is_some_and(|rest| matches!(rest, "" | "4" | "6"))
    };
    if labels.any(local) || RESERVED.contains(&name.as_str()) {
        return false;
    }
    // inet_aton(3) takes `10.1`, `0x7f.1` and `2130706433` for addresses.
    let last = name.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").unwrap_or_default();
    let number = last.bytes().all(|b| b.is_ascii_digit())
        || last.starts_with("0x") && hex.bytes().all(|b| b.is_ascii_hexdigit());
    !number
}

/// What a pod tells on one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    addresses: Vec<IpAddr>,
    /// In small letters, each once.
    names: Vec<String>,
}

impl Told {
    pub(super) fn of(addresses: &[IpAddr], names: &[&str]) -> Self {
        let mut told = Self {
            addresses: addresses.iter().take(MAX_WORDS).copied().collect(),
            names: Vec::new(),
        };
        names.iter().for_each(|name| told.call(name));
        told
    }

    fn call(&mut self, name: &str) {
        let name = name.to_ascii_lowercase();
        if self.names.len() < MAX_WORDS && can_be_told(&name) && !self.names.contains(&name) {
            self.names.push(name);
        }
    }

    /// The file: a line an address, with every name.
    pub(super) fn text(&self) -> String {
        let names = self.names.join(" ");
        let lines = self.addresses.iter().map(|a| format!("{a} {names}\n"));
        lines.collect()
    }

    /// Reads such a file; `None` when it says nothing that is understood.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut told = Self::of(&[], &[]);
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let address = words.next()?.parse().ok()?;
            if told.addresses.len() < MAX_WORDS {
                told.addresses.push(address);
            }
            words.for_each(|word| told.call(word));
        }
        (!told.addresses.is_empty() && !told.names.is_empty()).then_some(told)
    }
}

/// Names that are somebody's already, for one pod.
#[derive(Debug)]
pub(super) struct Known {
    /// By the pod's own file of hosts.
    fixed: HashSet<String>,
    /// What the pod itself is called.
    own: HashSet<String>,
}

impl Known {
    pub(super) fn new(hosts: &[u8], own: &[&str]) -> Self {
        let text = String::from_utf8_lossy(hosts);
        let mut fixed = HashSet::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let names = line.split_ascii_whitespace().skip(1);
            fixed.extend(names.map(str::to_ascii_lowercase));
        }
        Self {
            fixed,
            own: own.iter().map(|n| n.to_ascii_lowercase()).collect(),
        }
    }

    /// Whether a pod may be called this here.
    fn lets(&self, name: &String, is_own: bool) -> bool {
        !self.fixed.contains(name) && (is_own || !self.own.contains(name))
    }

    /// Lines for all pods, those of the first network first; the pod itself among them, by names
    /// that its file does not have.
    pub(super) fn lines<'a>(
        &self,
        own: Uuid,
        rooms: impl Iterator<Item = &'a [(Uuid, Told)]>,
    ) -> Vec<u8> {
        const TITLE: &str = "\n# Pods on the same networks\n";
        let mut text = String::new();
        let mut left_out = 0usize;
        for (pod, told) in rooms.flatten() {
            let names = told.names.iter().filter(|n| self.lets(n, *pod == own));
            let names: Vec<&str> = names.map(String::as_str).collect();
            if names.is_empty() {
                continue;
            }
            let names = names.join(" ");
            let mut lines = String::new();
            for address in &told.addresses {
                // Writing to a string cannot fail.
                let _ = writeln!(lines, "{address}\t{names}");
            }
            // Room for the title and for what is said of the rest.
            match text.len() + lines.len() + 128 <= MAX_BYTES {
                true => text.push_str(&lines),
                false => left_out += 1,
            }
        }
        if text.is_empty() {
            return Vec::new();
        }
        text.insert_str(0, TITLE);
        if left_out > 0 {
            let _ = writeln!(text, "# and {left_out} more, for which there is no room");
        }
        text.into_bytes()
    }
}
