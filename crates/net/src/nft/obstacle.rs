//! Other people's rules in the way of pods: seen and told, never changed.
//!
//! A packet passes when every chain of a hook lets it pass. A chain of docker's, firewalld's or the
//! administrator's that drops what it does not know drops what pods send and get, and no rule of
//! ours can change that. Looked at are chains of the forward hook whose policy is to drop or whose
//! last rule drops or rejects everything, those of iptables-legacy included. A chain beside which a
//! rule names the pod's subnet or its device is taken as knowing about it.

use super::Link;
use super::elements::bytes;
use super::transaction::{Family, TABLE, kind, list};
use crate::error::{Doing, Error};
use crate::netlink::{Attributes, Socket};
use rkt_spec::network::Prefix;
use rkt_sys::netlink::Family as Protocols;
use rkt_sys::xtables;
use std::collections::BTreeSet;
use std::fmt;

/// A chain that drops what pods of a subnet send or get.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Obstacle {
    /// Whose it is, as `nft` and `iptables` name it.
    pub place: String,
    /// The subnet.
    pub subnet: String,
    /// What lets its packets through.
    pub remedy: String,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            subnet,
            remedy,
        } = self;
        write!(
            f,
            "{place} drops what it does not know, and with it what pods of {subnet} send and get; {remedy}"
        )
    }
}

/// Looks for chains in the way of these links, in the calling process's network namespace.
///
/// Pods that stay in their network are in nobody's way.
///
/// # Errors
/// The kernel's.
pub fn find(links: &[Link]) -> Result<Vec<Obstacle>, Error> {
    let doing = || "look for other rules in the way".to_owned();
    let wide: Vec<&Link> = links.iter().filter(|l| !l.restricted).collect();
    if wide.is_empty() {
        return Ok(vec![]);
    }
    let mut found = BTreeSet::new();
    let socket = Socket::open(Protocols::Netfilter)?;
    for wall in walls(&socket).doing(doing)? {
        for link in &wide {
            for subnet in &link.addresses {
                let v4 = subnet.address.is_ipv4();
                if wall.family.carries(v4) && !wall.knows(link, subnet) {
                    found.insert(wall.told(subnet));
                }
            }
        }
    }
    for v4 in [true, false] {
        let Some(table) = xtables::filter_table(v4).doing(doing)? else {
            continue;
        };
        if table.forward_policy_accepts() {
            continue;
        }
        for link in &wide {
            for subnet in link.addresses.iter().filter(|p| p.address.is_ipv4() == v4) {
                let network = bytes(subnet.network());
                if !table.names(&network, &link.device) {
                    found.insert(by_iptables("FORWARD", subnet, "iptables-legacy"));
                }
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// The same subnet without the pod's own bits.
fn subnet(prefix: &Prefix) -> String {
    format!("{}/{}", prefix.network(), prefix.length)
}

fn by_iptables(chain: &str, prefix: &Prefix, table: &str) -> Obstacle {
    let subnet = subnet(prefix);
    let command = if prefix.address.is_ipv4() {
        "iptables"
    } else {
        "ip6tables"
    };
    Obstacle {
        place: format!("chain `FORWARD` of {table}"),
        remedy: format!(
            "`{command} -I {chain} -s {subnet} -j ACCEPT` and the same with `-d` let them through"
        ),
        subnet,
    }
}

impl Family {
    fn carries(self, v4: bool) -> bool {
        match self {
            Self::Ip => v4,
            Self::Ip6 => !v4,
            Self::Inet => true,
            Self::Any | Self::Bridge => false,
        }
    }
}

/// A chain of the forward hook that drops what it does not know.
struct Wall {
    family: Family,
    table: String,
    chain: String,
    /// Chains of the same table.
    others: Vec<String>,
    /// What rules of the table compare with.
    values: Vec<Vec<u8>>,
}

impl Wall {
    /// Whether a rule of the table names the subnet or the device.
    fn knows(&self, link: &Link, prefix: &Prefix) -> bool {
        let network = bytes(prefix.network());
        // Whole bytes of a prefix are compared as they are, with no mask.
        let whole = usize::from(prefix.length / 8);
        let start = network.get(..whole).unwrap_or(&network);
        let device = link.way().as_bytes();
        self.values.iter().any(|value| {
            let name = value.split(|b| *b == 0).next().unwrap_or(&[]);
            let named = name.len() >= 3 && device.starts_with(name);
            named || *value == network || whole >= 2 && *value == start
        })
    }

    fn told(&self, prefix: &Prefix) -> Obstacle {
        let Self {
            family,
            table,
            chain,
            others,
            ..
        } = self;
        let of = format!("table `{} {table}`", family.word());
        if chain == "FORWARD" && table == "filter" {
            let user = others.iter().find(|c| *c == "DOCKER-USER");
            return by_iptables(user.map_or("FORWARD", String::as_str), prefix, &of);
        }
        let subnet = subnet(prefix);
        let word = if prefix.address.is_ipv4() {
            "ip"
        } else {
            "ip6"
        };
        let remedy = if table == "firewalld" {
            format!("`firewall-cmd --zone=trusted --add-source={subnet}` lets them through")
        } else {
            let family = family.word();
            format!(
                "`nft insert rule {family} {table} {chain} {word} saddr {subnet} accept` and the same with `daddr` let them through"
            )
        };
        Obstacle {
            place: format!("chain `{chain}` of {of}"),
            subnet,
            remedy,
        }
    }
}

fn text(value: &[u8]) -> String {
    let text = value.split(|b| *b == 0).next().unwrap_or(&[]);
    String::from_utf8_lossy(text).into_owned()
}

fn number(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|b| u32::from_be_bytes(*b))
}

/// A chain as the kernel tells it.
struct Told {
    family: Family,
    table: String,
    name: String,
    forward: bool,
    drops: bool,
}

fn chain(body: &[u8]) -> Option<Told> {
    const FORWARD: u32 = 2;
    const DROP: u32 = 0;
    let family = Family::of(*body.first()?)?;
    let mut told = Told {
        family,
        table: String::new(),
        name: String::new(),
        forward: false,
        drops: false,
    };
    for (kind, value) in Attributes::new(body.get(4..)?) {
        match kind {
            1 => told.table = text(value),
            3 => told.name = text(value),
            4 => {
                let hook = Attributes::new(value).find(|(k, _)| *k == 1);
                told.forward = hook.and_then(|(_, v)| number(v)) == Some(FORWARD);
            }
            5 => told.drops = number(value) == Some(DROP),
            _ => {}
        }
    }
    Some(told)
}

fn walls(socket: &Socket) -> Result<Vec<Wall>, Error> {
    let answers = list(socket, kind::GET_CHAIN, Family::Any, "list chains", |_| {})?;
    let all: Vec<Told> = answers.iter().filter_map(|a| chain(&a.body)).collect();
    let mut walls = vec![];
    let strangers = all.iter().filter(|c| c.forward && c.table != TABLE);
    for told in strangers {
        let rules = rules(socket, told)?;
        let mut of_chain = rules.iter().filter(|r| r.chain == told.name);
        if !told.drops && !of_chain.next_back().is_some_and(|r| r.ends_all) {
            continue;
        }
        let same = |c: &&Told| c.family == told.family && c.table == told.table;
        walls.push(Wall {
            family: told.family,
            table: told.table.clone(),
            chain: told.name.clone(),
            others: all.iter().filter(same).map(|c| c.name.clone()).collect(),
            values: rules.into_iter().flat_map(|r| r.values).collect(),
        });
    }
    Ok(walls)
}

/// What is looked at in a rule.
struct Rule {
    chain: String,
    /// Whether it drops or rejects every packet.
    ends_all: bool,
    values: Vec<Vec<u8>>,
}

/// The rules of a chain's table.
fn rules(socket: &Socket, of: &Told) -> Result<Vec<Rule>, Error> {
    let what = format!("list rules of table `{}`", of.table);
    let answers = list(socket, kind::GET_RULE, of.family, &what, |m| {
        m.attr_text(1, &of.table);
    })?;
    let mut rules = vec![];
    for answer in &answers {
        let mut rule = Rule {
            chain: String::new(),
            ends_all: false,
            values: vec![],
        };
        for (kind, value) in Attributes::new(answer.body.get(4..).unwrap_or(&[])) {
            match kind {
                2 => rule.chain = text(value),
                4 => read_rule(value, &mut rule),
                _ => {}
            }
        }
        rules.push(rule);
    }
    Ok(rules)
}

fn read_rule(expressions: &[u8], rule: &mut Rule) {
    let mut conditions = false;
    let mut end = false;
    for (_, expression) in Attributes::new(expressions) {
        let (mut name, mut data) = (String::new(), &[][..]);
        for (kind, value) in Attributes::new(expression) {
            match kind {
                1 => name = text(value),
                2 => data = value,
                _ => {}
            }
        }
        match name.as_str() {
            "counter" | "log" => {}
            "reject" => end = true,
            "immediate" => end = drops(data),
            "cmp" => {
                conditions = true;
                let nested = Attributes::new(data).find(|(k, _)| *k == 3);
                let value = nested.and_then(|(_, v)| Attributes::new(v).find(|(k, _)| *k == 1));
                rule.values.extend(value.map(|(_, v)| v.to_vec()));
            }
            _ => conditions = true,
        }
    }
    rule.ends_all = end && !conditions;
}

/// Whether an immediate verdict is to drop.
fn drops(data: &[u8]) -> bool {
    let verdict = Attributes::new(data)
        .find(|(k, _)| *k == 2)
        .and_then(|(_, d)| Attributes::new(d).find(|(k, _)| *k == 2))
        .and_then(|(_, v)| Attributes::new(v).find(|(k, _)| *k == 1));
    verdict.and_then(|(_, code)| number(code)) == Some(0)
}
