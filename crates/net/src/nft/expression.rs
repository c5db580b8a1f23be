//! Rules of nf_tables as the kernel takes them: a list of small expressions over registers.
//!
//! A rule is written down once as [`Expression`]s; [`put`] makes the attributes of
//! `NFTA_RULE_EXPRESSIONS` (`include/uapi/linux/netfilter/nf_tables.h`). All numbers of nf_tables
//! itself are in network order; what is compared with the host's own state (marks, states) is in
//! host order.

use crate::netlink::Message;

/// A register of four bytes, 0..=15; a longer value fills those behind it.
pub(super) type Register = u8;

/// `NFT_REG32_00`.
const FIRST: u32 = 8;

/// Where bytes of a packet are counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    Link = 0,
    Network = 1,
    Transport = 2,
}

/// What nf_tables knows about a packet beside its bytes (`NFT_META_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meta {
    /// Ethernet protocol, two bytes in network order.
    Protocol = 1,
    /// Name of the device it came in by, 16 bytes.
    InName = 6,
    /// `NFPROTO_*`, one byte.
    Family = 15,
    /// Transport protocol, one byte.
    Transport = 16,
}

/// What connection tracking knows (`NFT_CT_*`), four bytes in host order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tracked {
    State = 0,
    Status = 2,
}

/// Where a rule ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Drop,
    Accept,
    Jump(&'static str),
    Goto(&'static str),
    Return,
}

impl Verdict {
    fn code(self) -> i32 {
        match self {
            Self::Drop => 0,
            Self::Accept => 1,
            Self::Jump(_) => -3,
            Self::Goto(_) => -4,
            Self::Return => -5,
        }
    }

    /// Writes it as `NFTA_DATA_VERDICT`.
    pub(super) fn put(self, into: &mut Message<'_>) {
        into.nest(2, |m| {
            m.attr(1, &self.code().to_be_bytes());
            if let Self::Jump(chain) | Self::Goto(chain) = self {
                m.attr_text(2, chain);
            }
        });
    }
}

/// One step of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expression {
    /// Loads bytes of the packet.
    Load(Base, u32, u32, Register),
    /// Loads what is known about it.
    Meta(Meta, Register),
    /// Loads what connection tracking knows.
    Tracked(Tracked, Register),
    /// Loads the type of the destination (`RTN_*`) by a look at the routes, host order.
    DestinationType(Register),
    /// Clears all bits but these.
    Mask(Register, Vec<u8>),
    /// Goes on only when the register begins so.
    Is(Register, Vec<u8>),
    /// Goes on only when it does not.
    IsNot(Register, Vec<u8>),
    /// Goes on only when the set has it.
    In(&'static str, Register),
    /// Goes on only when the set does not have it.
    NotIn(&'static str, Register),
    /// Does what the map says for it; goes on when it says nothing.
    Ask(&'static str, Register),
    /// Loads what the map has for it; goes on only when it has something.
    Look(&'static str, Register, Register),
    /// Counts.
    Count,
    /// Sends it elsewhere: address and port are in registers; `true` for IPv6.
    Destination(Ip, Register, Register),
    /// Gives it the address of the device it leaves by.
    Masquerade,
    /// Ends.
    Then(Verdict),
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Ip {
    V4,
    V6,
}

impl Ip {
    /// `NFPROTO_IPV4`, `NFPROTO_IPV6`.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::V4 => 2,
            Self::V6 => 10,
        }
    }

    /// Bytes of an address.
    pub(super) fn bytes(self) -> u32 {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }

    /// Registers that an address fills.
    pub(super) fn registers(self) -> u8 {
        match self {
            Self::V4 => 1,
            Self::V6 => 4,
        }
    }
}

fn register(into: &mut Message<'_>, attribute: u16, register: Register) {
    into.attr_be(attribute, FIRST + u32::from(register));
}

fn value(into: &mut Message<'_>, attribute: u16, bytes: &[u8]) {
    into.nest(attribute, |m| {
        m.attr(1, bytes);
    });
}

impl Expression {
    fn name(&self) -> &'static str {
        match self {
            Self::Load(..) => "payload",
            Self::Meta(..) => "meta",
            Self::Tracked(..) => "ct",
            Self::DestinationType(_) => "fib",
            Self::Mask(..) => "bitwise",
            Self::Is(..) | Self::IsNot(..) => "cmp",
            Self::In(..) | Self::NotIn(..) | Self::Ask(..) | Self::Look(..) => "lookup",
            Self::Count => "counter",
            Self::Destination(..) => "nat",
            Self::Masquerade => "masq",
            Self::Then(_) => "immediate",
        }
    }

    fn data(&self, m: &mut Message<'_>) {
        match self {
            Self::Load(base, offset, length, to) => {
                register(m, 1, *to);
                m.attr_be(2, *base as u32)
                    .attr_be(3, *offset)
                    .attr_be(4, *length);
            }
            Self::Meta(key, to) => {
                register(m, 1, *to);
                m.attr_be(2, *key as u32);
            }
            Self::Tracked(key, to) => {
                register(m, 1, *to);
                m.attr_be(2, *key as u32);
            }
            Self::DestinationType(to) => {
                const ADDRESS_TYPE: u32 = 3;
                const DESTINATION: u32 = 2;
                register(m, 1, *to);
                m.attr_be(2, ADDRESS_TYPE).attr_be(3, DESTINATION);
            }
            Self::Mask(at, mask) => {
                register(m, 1, *at);
                register(m, 2, *at);
                m.attr_be(3, u32::try_from(mask.len()).unwrap_or(0));
                value(m, 4, mask);
                value(m, 5, &vec![0; mask.len()]);
            }
            Self::Is(from, bytes) | Self::IsNot(from, bytes) => {
                register(m, 1, *from);
                m.attr_be(2, u32::from(matches!(self, Self::IsNot(..))));
                value(m, 3, bytes);
            }
            Self::In(set, from) => {
                m.attr_text(1, set);
                register(m, 2, *from);
            }
            Self::NotIn(set, from) => {
                m.attr_text(1, set);
                register(m, 2, *from);
                m.attr_be(5, 1);
            }
            Self::Ask(map, from) => {
                m.attr_text(1, map);
                register(m, 2, *from);
                // Register 0 is the verdict.
                m.attr_be(3, 0);
            }
            Self::Look(map, from, to) => {
                m.attr_text(1, map);
                register(m, 2, *from);
                register(m, 3, *to);
            }
            Self::Count => {
                m.attr(1, &[0; 8]).attr(2, &[0; 8]);
            }
            Self::Destination(ip, address, port) => {
                const DESTINATION: u32 = 1;
                m.attr_be(1, DESTINATION).attr_be(2, ip.number().into());
                register(m, 3, *address);
                register(m, 5, *port);
            }
            Self::Masquerade => {}
            Self::Then(verdict) => {
                m.attr_be(1, 0).nest(2, |m| verdict.put(m));
            }
        }
    }
}

/// Writes a rule's expressions as `NFTA_RULE_EXPRESSIONS`.
pub(super) fn put(rule: &[Expression], into: &mut Message<'_>) {
    into.nest(4, |m| {
        for expression in rule {
            m.nest(1, |m| {
                m.attr_text(1, expression.name());
                m.nest(2, |m| expression.data(m));
            });
        }
    });
}
