//! The rules themselves: what rkt's tables say, the same for every pod.
//!
//! Rules are static; a pod is elements of sets (`elements.rs`). Table `inet rkt` decides about what
//! the host routes; table `bridge rkt`, made only when a pod stands on a bridge, about what a
//! bridge passes on. `docs/design/firewall.md` draws the way of a packet.

mod arrive;

use super::expression::{Base, Expression as E, Ip, Meta, Tracked, Verdict};
use super::transaction::{Chain, Family, Hook, Leads, Set, Transaction};
use std::net::IpAddr;

/// Types as `nft` numbers them (`enum datatypes`), with bytes.
const IP4: (u32, u32) = (7, 4);
const IP6: (u32, u32) = (8, 16);
const ETHER: (u32, u32) = (9, 6);
const PROTOCOL: (u32, u32) = (12, 1);
const SERVICE: (u32, u32) = (13, 2);
const DEVICE: (u32, u32) = (41, 16);

/// `NF_IP_PRI_RAW`: before connections are tracked, so that a forgery makes no entry.
const RAW: i32 = -300;
/// `NF_IP_PRI_NAT_DST`.
const DNAT: i32 = -100;
/// `NF_IP_PRI_FILTER`.
pub(super) const FILTER: i32 = 0;
/// `NF_IP_PRI_NAT_SRC`.
const SNAT: i32 = 100;

/// Numbers of ICMPv6 (RFC 4861, RFC 3810) and ICMP.
const ICMP6: u8 = 58;
const NEIGHBOR_SOLICITATION: u8 = 135;
const NEIGHBOR_ADVERTISEMENT: u8 = 136;

/// Where clouds keep the secrets of a host, at a link-local address of everybody's.
const METADATA: [u8; 4] = [169, 254, 169, 254];
/// The same by IPv6 (`fd00:ec2::254`).
const METADATA6: [u8; 16] = [
    0xfd, 0, 0x0e, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x54,
];

/// Names of a set in both families of addresses.
pub(super) fn of(ip: Ip, names: [&'static str; 2]) -> &'static str {
    match (ip, names) {
        (Ip::V4, [name, _]) | (Ip::V6, [_, name]) => name,
    }
}

/// The sets that a pod is elements of. Where there are two, for IPv4 and IPv6.
pub(super) mod set {
    /// Devices of the host that lead to one pod each.
    pub(in super::super) const LINKS: &str = "links";
    /// Device, hardware address, address: what may come from there.
    pub(in super::super) const SOURCE: [&str; 2] = ["source4", "source6"];
    /// Addresses that may speak to the metadata address.
    pub(in super::super) const METADATA: [&str; 2] = ["metadata4", "metadata6"];
    /// Bridges of which the host sends from its loopback.
    pub(in super::super) const LOCALNET: &str = "localnet";
    /// Addresses of pods.
    pub(in super::super) const PODS: [&str; 2] = ["pods4", "pods6"];
    /// Pods that are kept from others of their network.
    pub(in super::super) const ALONE: [&str; 2] = ["alone4", "alone6"];
    /// A pod's address and its subnet.
    pub(in super::super) const HOME: [&str; 2] = ["home4", "home6"];
    /// What a pod may begin.
    pub(in super::super) const FROM: [&str; 2] = ["from4", "from6"];
    /// What may be begun to a pod.
    pub(in super::super) const TO: [&str; 2] = ["to4", "to6"];
    /// Pods from which the host is out of reach.
    pub(in super::super) const CLOSED: [&str; 2] = ["closed4", "closed6"];
    /// A pod's address and an address of the host that it may reach all the same.
    pub(in super::super) const GATES: [&str; 2] = ["gates4", "gates6"];
    /// Pods whose address is not for the outside.
    pub(in super::super) const MASQUERADE: [&str; 2] = ["masquerade4", "masquerade6"];
    /// Sender, pod: who meets a published port on a way that does not lead back by the host.
    pub(in super::super) const HAIRPIN: [&str; 2] = ["hairpin4", "hairpin6"];
    /// Address, protocol, port of the host; address and port in a pod.
    pub(in super::super) const PORTS: [&str; 2] = ["ports4", "ports6"];
    /// The same on every address of the host.
    pub(in super::super) const ANY: [&str; 2] = ["any4", "any6"];
}

/// Chains that elements lead to.
pub(super) mod chain {
    /// A pod without limits.
    pub(in super::super) const OPEN: &str = "from_open";
    /// A pod that is kept from the others of its network.
    pub(in super::super) const ALONE: &str = "from_alone";
    /// A pod that is kept in its network.
    pub(in super::super) const CLOSED: &str = "from_closed";
    /// A pod that is kept from all.
    pub(in super::super) const NOWHERE: &str = "from_nowhere";
    /// A pod to which nothing is begun from outside but through a published port.
    pub(in super::super) const HIDDEN: &str = "to_hidden";
}

const MEET: &str = "meet";
const HOST: &str = "host";
const LEAVE: &str = "leave";

pub(super) const BOTH: [Ip; 2] = [Ip::V4, Ip::V6];

fn address(ip: Ip) -> (u32, u32) {
    match ip {
        Ip::V4 => IP4,
        Ip::V6 => IP6,
    }
}

fn plain(name: &'static str, key: &[(u32, u32)]) -> Set {
    Set {
        name,
        key: key.to_vec(),
        leads: Leads::Nowhere,
        ranges: false,
    }
}

fn verdicts(name: &'static str, key: &[(u32, u32)]) -> Set {
    Set {
        leads: Leads::Verdict,
        ..plain(name, key)
    }
}

/// Sets of both tables.
fn shared_sets() -> Vec<Set> {
    let mut list = vec![plain(set::LINKS, &[DEVICE])];
    for ip in BOTH {
        list.push(plain(of(ip, set::SOURCE), &[DEVICE, ETHER, address(ip)]));
        list.push(plain(of(ip, set::METADATA), &[address(ip)]));
    }
    list
}

fn inet_sets() -> Vec<Set> {
    let mut list = shared_sets();
    list.push(plain(set::LOCALNET, &[DEVICE]));
    for ip in BOTH {
        let a = address(ip);
        let to = Leads::Data(a.0 << 6 | SERVICE.0, a.1 + 4);
        for names in [set::PODS, set::ALONE, set::CLOSED, set::MASQUERADE] {
            list.push(plain(of(ip, names), &[a]));
        }
        for names in [set::FROM, set::TO] {
            list.push(verdicts(of(ip, names), &[a]));
        }
        for names in [set::HOME, set::HAIRPIN] {
            list.push(Set {
                ranges: true,
                ..plain(of(ip, names), &[a, a])
            });
        }
        list.push(plain(of(ip, set::GATES), &[a, a]));
        list.push(Set {
            leads: to,
            ..plain(of(ip, set::PORTS), &[a, PROTOCOL, SERVICE])
        });
        list.push(Set {
            leads: to,
            ..plain(of(ip, set::ANY), &[PROTOCOL, SERVICE])
        });
    }
    list
}

/// Goes on for packets of this family only.
pub(super) fn is_ip(family: Family, ip: Ip) -> Vec<E> {
    match family {
        Family::Bridge => is_ether(match ip {
            Ip::V4 => [0x08, 0x00],
            Ip::V6 => [0x86, 0xdd],
        }),
        _ => vec![E::Meta(Meta::Family, 0), E::Is(0, vec![ip.number()])],
    }
}

fn is_ether(protocol: [u8; 2]) -> Vec<E> {
    vec![E::Meta(Meta::Protocol, 0), E::Is(0, protocol.to_vec())]
}

fn source(ip: Ip, to: u8) -> E {
    let at = match ip {
        Ip::V4 => 12,
        Ip::V6 => 8,
    };
    E::Load(Base::Network, at, ip.bytes(), to)
}

pub(super) fn destination(ip: Ip, to: u8) -> E {
    let at = match ip {
        Ip::V4 => 16,
        Ip::V6 => 24,
    };
    E::Load(Base::Network, at, ip.bytes(), to)
}

/// Goes on for messages of this protocol whose byte `at` of the transport header is this.
fn is_message(protocol: u8, at: u32, is: &[u8]) -> Vec<E> {
    let length = u32::try_from(is.len()).unwrap_or(0);
    vec![
        E::Meta(Meta::Transport, 0),
        E::Is(0, vec![protocol]),
        E::Load(Base::Transport, at, length, 0),
        E::Is(0, is.to_vec()),
    ]
}

fn to_loopback() -> Vec<E> {
    vec![
        destination(Ip::V4, 0),
        E::Mask(0, vec![255, 0, 0, 0]),
        E::Is(0, vec![127, 0, 0, 0]),
    ]
}

fn state(of: Tracked, bits: u32) -> Vec<E> {
    vec![
        E::Tracked(of, 0),
        E::Mask(0, bits.to_ne_bytes().to_vec()),
        E::IsNot(0, 0u32.to_ne_bytes().to_vec()),
    ]
}

/// Connections that were let in when they began, and what belongs to them.
fn known() -> Vec<E> {
    const ESTABLISHED: u32 = 2;
    const RELATED: u32 = 4;
    state(Tracked::State, ESTABLISHED | RELATED)
}

/// Connections that were sent to a pod by a published port.
fn published() -> Vec<E> {
    const DESTINATION_CHANGED: u32 = 1 << 5;
    state(Tracked::Status, DESTINATION_CHANGED)
}

pub(super) fn drop_counted() -> Vec<E> {
    vec![E::Count, E::Then(Verdict::Drop)]
}

/// Writes rules of one table.
struct Writer<'a> {
    to: &'a mut Transaction,
    family: Family,
    chain: &'static str,
}

impl Writer<'_> {
    /// Goes on with another chain.
    fn chain(&mut self, chain: &'static str) -> &mut Self {
        self.chain = chain;
        self
    }

    fn rule(&mut self, parts: &[&[E]]) -> &mut Self {
        let rule: Vec<E> = parts.concat();
        self.to.rule(self.family, self.chain, &rule, None);
        self
    }

    fn refuse(&mut self, words: &str, parts: &[&[E]]) -> &mut Self {
        let mut rule: Vec<E> = parts.concat();
        rule.extend(drop_counted());
        self.to.rule(self.family, self.chain, &rule, Some(words));
        self
    }

    /// What the host passes on: to pods, from pods, between them.
    fn forward(&mut self) {
        let accept = [E::Then(Verdict::Accept)];
        self.chain("forward").rule(&[&known(), &accept]);
        for ip in BOTH {
            let ask = [source(ip, 0), E::Ask(of(ip, set::FROM), 0)];
            self.rule(&[&is_ip(Family::Inet, ip), &ask]);
        }
        for ip in BOTH {
            let ask = [destination(ip, 0), E::Ask(of(ip, set::TO), 0)];
            self.rule(&[&is_ip(Family::Inet, ip), &ask]);
        }
        self.chain(chain::OPEN).rule(&[&published(), &accept]);
        self.homewards();
        self.no_pods("pod of another network")
            .rule(&[&accept])
            .chain(chain::ALONE)
            .rule(&[&published(), &accept])
            .no_pods("pod on a network of the isolated")
            .rule(&[&accept])
            .chain(chain::CLOSED);
        self.homewards();
        self.refuse("out of a restricted network", &[])
            .chain(chain::NOWHERE)
            .refuse("out of a restricted network", &[])
            .chain(MEET);
        for ip in BOTH {
            let alone = [destination(ip, 0), E::In(of(ip, set::ALONE), 0)];
            self.refuse("isolated pod", &[&is_ip(Family::Inet, ip), &alone]);
        }
        self.rule(&[&accept]);
        self.chain(chain::HIDDEN).rule(&[&published(), &accept]);
        for ip in BOTH {
            let pair = [destination(ip, 0), source(ip, ip.registers())];
            let home = [E::In(of(ip, set::HOME), 0)];
            self.rule(&[&is_ip(Family::Inet, ip), &pair, &home, &accept]);
        }
        self.refuse("port that is not published", &[]);
    }

    /// To what is of the sender's own subnet.
    fn homewards(&mut self) {
        for ip in BOTH {
            let pair = [source(ip, 0), destination(ip, ip.registers())];
            let home = [E::In(of(ip, set::HOME), 0), E::Then(Verdict::Goto(MEET))];
            self.rule(&[&is_ip(Family::Inet, ip), &pair, &home]);
        }
    }

    fn no_pods(&mut self, words: &str) -> &mut Self {
        for ip in BOTH {
            let pod = [destination(ip, 0), E::In(of(ip, set::PODS), 0)];
            self.refuse(words, &[&is_ip(Family::Inet, ip), &pod]);
        }
        self
    }

    /// What a restricted pod may say to the host itself.
    fn input(&mut self) {
        let accept = [E::Then(Verdict::Accept)];
        self.chain("input").rule(&[&known(), &accept]);
        for ip in BOTH {
            let closed = [
                source(ip, 0),
                E::In(of(ip, set::CLOSED), 0),
                E::Then(Verdict::Goto(HOST)),
            ];
            self.rule(&[&is_ip(Family::Inet, ip), &closed]);
        }
        self.chain(HOST);
        for ip in BOTH {
            let pair = [source(ip, 0), destination(ip, ip.registers())];
            let gate = [E::In(of(ip, set::GATES), 0)];
            self.rule(&[&is_ip(Family::Inet, ip), &pair, &gate, &accept]);
        }
        for kind in [NEIGHBOR_SOLICITATION, NEIGHBOR_ADVERTISEMENT] {
            let neighbor = is_message(ICMP6, 0, &[kind]);
            self.rule(&[&is_ip(Family::Inet, Ip::V6), &neighbor, &accept]);
        }
        self.refuse("host from a restricted network", &[]);
    }

    /// Published ports: of one address, then of every address of the host.
    fn ports(&mut self) {
        const LOCAL: u32 = 2;
        for ip in BOTH {
            let n = ip.registers();
            let key = [
                destination(ip, 0),
                E::Meta(Meta::Transport, n),
                E::Load(Base::Transport, 2, 2, n + 1),
            ];
            let send = [
                E::Look(of(ip, set::PORTS), 0, 8),
                E::Destination(ip, 8, 8 + n),
            ];
            self.rule(&[&is_ip(Family::Inet, ip), &key, &send]);
        }
        for ip in BOTH {
            let n = ip.registers();
            let here = [
                E::DestinationType(0),
                E::Is(0, LOCAL.to_ne_bytes().to_vec()),
            ];
            let key = [
                E::Meta(Meta::Transport, 0),
                E::Load(Base::Transport, 2, 2, 1),
            ];
            let send = [
                E::Look(of(ip, set::ANY), 0, 8),
                E::Destination(ip, 8, 8 + n),
            ];
            self.rule(&[&is_ip(Family::Inet, ip), &here, &key, &send]);
        }
    }

    /// Whose source address is changed: pods that meet themselves or a neighbour on their bridge, the host's own loopback, and
    /// pods that leave for the outside.
    fn postrouting(&mut self) {
        let accept = [E::Then(Verdict::Accept)];
        self.chain("postrouting");
        for ip in BOTH {
            let way = [
                source(ip, 0),
                destination(ip, ip.registers()),
                E::In(of(ip, set::HAIRPIN), 0),
                E::Masquerade,
            ];
            self.rule(&[&is_ip(Family::Inet, ip), &published(), &way]);
        }
        let mut one = vec![0; 15];
        one.push(1);
        let mine4 = [
            source(Ip::V4, 0),
            E::Mask(0, vec![255, 0, 0, 0]),
            E::Is(0, vec![127, 0, 0, 0]),
        ];
        let mine6 = [source(Ip::V6, 0), E::Is(0, one)];
        for (ip, mine) in [(Ip::V4, mine4.as_slice()), (Ip::V6, mine6.as_slice())] {
            let pod = [
                destination(ip, 0),
                E::In(of(ip, set::PODS), 0),
                E::Masquerade,
            ];
            self.rule(&[&is_ip(Family::Inet, ip), &published(), mine, &pod]);
        }
        for ip in BOTH {
            let leaves = [
                source(ip, 0),
                E::In(of(ip, set::MASQUERADE), 0),
                E::Then(Verdict::Goto(LEAVE)),
            ];
            self.rule(&[&is_ip(Family::Inet, ip), &leaves]);
        }
        self.chain(LEAVE);
        for ip in BOTH {
            let pair = [source(ip, 0), destination(ip, ip.registers())];
            let home = [E::In(of(ip, set::HOME), 0)];
            self.rule(&[&is_ip(Family::Inet, ip), &pair, &home, &accept]);
            let groups = match ip {
                Ip::V4 => [
                    destination(ip, 0),
                    E::Mask(0, vec![0xf0, 0, 0, 0]),
                    E::Is(0, vec![0xe0, 0, 0, 0]),
                ],
                Ip::V6 => [
                    E::Load(Base::Network, 24, 1, 0),
                    E::Mask(0, vec![0xff]),
                    E::Is(0, vec![0xff]),
                ],
            };
            self.rule(&[&is_ip(Family::Inet, ip), &groups, &accept]);
        }
        self.rule(&[&[E::Masquerade]]);
    }
}

/// The metadata addresses.
pub(super) fn metadata() -> [IpAddr; 2] {
    [METADATA.into(), METADATA6.into()]
}

/// The sets of a table.
pub(super) fn sets(family: Family) -> Vec<Set> {
    match family {
        Family::Bridge => shared_sets(),
        _ => inet_sets(),
    }
}

/// Writes a whole table.
pub(super) fn make(family: Family, to: &mut Transaction) {
    to.table(family);
    for set in &sets(family) {
        to.set(family, set);
    }
    let base = |name, of, hook, priority| Chain {
        name,
        base: Some((of, hook, priority)),
    };
    let mut chains = vec![base("prerouting", "filter", Hook::Prerouting, RAW)];
    let mut inner = arrive::CHAINS.to_vec();
    if family != Family::Bridge {
        chains.extend([
            base("input", "filter", Hook::Input, FILTER),
            base("forward", "filter", Hook::Forward, FILTER),
            base("publish", "nat", Hook::Prerouting, DNAT),
            base("output", "nat", Hook::Output, DNAT),
            base("postrouting", "nat", Hook::Postrouting, SNAT),
        ]);
        inner.extend([MEET, HOST, LEAVE]);
        inner.extend([chain::OPEN, chain::ALONE, chain::CLOSED]);
        inner.extend([chain::NOWHERE, chain::HIDDEN]);
    }
    chains.extend(inner.into_iter().map(|name| Chain { name, base: None }));
    for chain in chains {
        to.chain(family, chain);
    }
    let mut writer = Writer {
        to,
        family,
        chain: "",
    };
    writer.prerouting();
    if family != Family::Bridge {
        writer.forward();
        writer.input();
        writer.chain("publish");
        // The loopback of the host is published to the host alone (chain `output`).
        let accept = [E::Then(Verdict::Accept)];
        writer.rule(&[&is_ip(family, Ip::V4), &to_loopback(), &accept]);
        writer.ports();
        writer.chain("output");
        writer.ports();
        writer.postrouting();
    }
}
