//! Transactions of nf_tables: all of it or nothing, in one message to the kernel.
//!
//! The kernel applies a batch between `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END` under its own
//! mutex, and nobody ever sees half of it. Every refused message is answered, and the last that
//! asks for it is answered in any case: that answer ends the waiting.

use super::expression::{self, Expression, Verdict};
use crate::error::Error;
use crate::netlink::{Answer, Batch, Message, Socket, flag};

/// Name of rkt's tables.
pub(super) const TABLE: &str = "rkt";

/// A family of tables (`NFPROTO_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Family {
    Any = 0,
    Inet = 1,
    Ip = 2,
    Bridge = 7,
    Ip6 = 10,
}

impl Family {
    /// The word of `nft`.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Inet => "inet",
            Self::Ip => "ip",
            Self::Bridge => "bridge",
            Self::Ip6 => "ip6",
        }
    }

    pub(super) fn of(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Inet,
            2 => Self::Ip,
            7 => Self::Bridge,
            10 => Self::Ip6,
            _ => return None,
        })
    }
}

/// Kinds of messages (`NFT_MSG_*`).
pub(super) mod kind {
    /// `NFNL_SUBSYS_NFTABLES`.
    const TABLES: u16 = 10 << 8;
    pub(in super::super) const NEW_TABLE: u16 = TABLES;
    pub(in super::super) const GET_TABLE: u16 = TABLES | 1;
    pub(in super::super) const DELETE_TABLE: u16 = TABLES | 2;
    pub(in super::super) const NEW_CHAIN: u16 = TABLES | 3;
    pub(in super::super) const GET_CHAIN: u16 = TABLES | 4;
    pub(in super::super) const NEW_RULE: u16 = TABLES | 6;
    pub(in super::super) const GET_RULE: u16 = TABLES | 7;
    pub(in super::super) const NEW_SET: u16 = TABLES | 9;
    pub(in super::super) const NEW_ELEMENT: u16 = TABLES | 12;
    pub(in super::super) const GET_ELEMENT: u16 = TABLES | 13;
    pub(in super::super) const DELETE_ELEMENT: u16 = TABLES | 14;
    pub(in super::super) const GET_GENERATION: u16 = TABLES | 16;
    pub(super) const BEGIN: u16 = 0x10;
    pub(super) const END: u16 = 0x11;
}

/// Where a chain stands in a packet's way (`NF_INET_*`, `NF_BR_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    Prerouting = 0,
    Input = 1,
    Forward = 2,
    Output = 3,
    Postrouting = 4,
}

/// A chain of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    /// Kind (`filter`, `nat`), hook and priority; `None` for one that rules jump to.
    pub(super) base: Option<(&'static str, Hook, i32)>,
}

/// What a map leads to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Leads {
    /// It is a set.
    Nowhere,
    Verdict,
    /// Type as `nft` numbers it, and bytes.
    Data(u32, u32),
}

/// A set or map.
#[derive(Debug, Clone)]
pub(super) struct Set {
    pub(super) name: &'static str,
    /// Type of each field as `nft` numbers it, and its bytes.
    pub(super) key: Vec<(u32, u32)>,
    pub(super) leads: Leads,
    /// Whether elements are ranges.
    pub(super) ranges: bool,
}

/// A member of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) family: Family,
    pub(super) set: &'static str,
    /// Fields, each padded to four bytes.
    pub(super) key: Vec<u8>,
    /// Last of a range.
    pub(super) end: Option<Vec<u8>>,
    pub(super) leads: Option<Target>,
    /// What it is, for errors.
    pub(super) what: String,
}

impl Element {
    /// Whether both cannot be there: one key of one set.
    pub(super) fn is_at(&self, other: &Self) -> bool {
        (self.family, self.set, &self.key) == (other.family, other.set, &other.key)
    }
}

/// What an element of a map leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Verdict(Verdict),
    Data(Vec<u8>),
}

/// `struct nfgenmsg`.
fn header(family: Family, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family as u8, 0, high, low]
}

/// A record of user data (`NFTNL_UDATA_*_COMMENT`): what `nft` prints as a comment.
fn comment(text: &str) -> Vec<u8> {
    let mut bytes = vec![0, u8::try_from(text.len() + 1).unwrap_or(u8::MAX)];
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    bytes
}

/// Reads what [`comment`] wrote.
pub(super) fn read_comment(bytes: &[u8]) -> Option<&str> {
    let (head, rest) = bytes.split_at_checked(2)?;
    let text = rest.get(..usize::from(*head.get(1)?).checked_sub(1)?)?;
    (head.first() == Some(&0)).then_some(())?;
    std::str::from_utf8(text).ok()
}

/// A transaction that is being written.
#[derive(Debug)]
pub(super) struct Transaction {
    batch: Batch,
    sets: u32,
}

impl Transaction {
    /// Begins one; with a `generation` it is refused (`ERESTART`) when anything of nf_tables has
    /// changed since.
    pub(super) fn begin(generation: Option<u32>) -> Self {
        const TABLES: u16 = 10;
        const GENERATION: u16 = 1;
        let mut batch = Batch::new();
        let mut begin = batch.unanswered(kind::BEGIN, 0, "begin a transaction");
        begin.body(&header(Family::Any, TABLES));
        if let Some(generation) = generation {
            begin.attr_be(GENERATION, generation);
        }
        Self { batch, sets: 0 }
    }

    fn add(&mut self, kind: u16, flags: u16, family: Family, what: String) -> Message<'_> {
        let mut message = self.batch.unanswered(kind, flags, what);
        message.body(&header(family, 0));
        message
    }

    /// Makes a table that must not be there.
    pub(super) fn table(&mut self, family: Family) {
        let what = format!("make table `{} {TABLE}`", family.word());
        self.add(kind::NEW_TABLE, flag::CREATE | flag::EXCL, family, what)
            .attr_text(1, TABLE)
            .attr_be(2, 0);
    }

    /// Deletes a table with all that is in it.
    pub(super) fn delete_table(&mut self, family: Family) {
        let what = format!("delete table `{} {TABLE}`", family.word());
        self.add(kind::DELETE_TABLE, 0, family, what)
            .attr_text(1, TABLE);
    }

    pub(super) fn chain(&mut self, family: Family, chain: Chain) {
        let what = format!("make chain `{}`", chain.name);
        let mut m = self.add(kind::NEW_CHAIN, flag::CREATE, family, what);
        m.attr_text(1, TABLE).attr_text(3, chain.name);
        if let Some((of, hook, priority)) = chain.base {
            m.nest(4, |m| {
                m.attr_be(1, hook as u32).attr(2, &priority.to_be_bytes());
            });
            m.attr_be(5, 1).attr_text(7, of);
        }
    }

    pub(super) fn set(&mut self, family: Family, set: &Set) {
        const INTERVAL: u32 = 4;
        const MAP: u32 = 8;
        const CONCATENATION: u32 = 0x80;
        /// How `nft` says several types in one number.
        const TYPE_BITS: u32 = 6;
        const VERDICT: u32 = 0xffff_ff00;
        const DEVICE_NAME: u32 = 41;
        let mut flags = 0;
        if set.ranges {
            flags |= INTERVAL;
        }
        if set.key.len() > 1 {
            flags |= CONCATENATION;
        }
        if !matches!(set.leads, Leads::Nowhere) {
            flags |= MAP;
        }
        self.sets += 1;
        let number = self.sets;
        let of = set.key.iter().fold(0, |all, (t, _)| all << TYPE_BITS | t);
        let length: u32 = set.key.iter().map(|(_, n)| n.next_multiple_of(4)).sum();
        let length = match set.key.as_slice() {
            [(_, bytes)] => *bytes,
            _ => length,
        };
        let what = format!("make set `{}`", set.name);
        let mut m = self.add(kind::NEW_SET, flag::CREATE, family, what);
        m.attr_text(1, TABLE)
            .attr_text(2, set.name)
            .attr_be(3, flags)
            .attr_be(4, of)
            .attr_be(5, length);
        match set.leads {
            Leads::Nowhere => {}
            Leads::Verdict => {
                m.attr_be(6, VERDICT).attr_be(7, 0);
            }
            Leads::Data(of, length) => {
                m.attr_be(6, of).attr_be(7, length);
            }
        }
        m.attr_be(10, number);
        if matches!(set.key.as_slice(), [(DEVICE_NAME, _)]) {
            // `nft` prints the names the wrong way round unless it is told (its own user data,
            // `NFTNL_UDATA_SET_KEYBYTEORDER`, `BYTEORDER_HOST_ENDIAN`).
            let [a, b, c, d] = 1u32.to_ne_bytes();
            m.attr(13, &[0, 4, a, b, c, d]);
        }
        if set.key.len() > 1 {
            m.nest(9, |m| {
                m.nest(2, |m| {
                    for (_, bytes) in &set.key {
                        m.nest(1, |m| {
                            m.attr_be(1, *bytes);
                        });
                    }
                });
            });
        }
    }

    pub(super) fn rule(
        &mut self,
        family: Family,
        chain: &str,
        rule: &[Expression],
        words: Option<&str>,
    ) {
        let what = format!("add a rule to chain `{chain}`");
        let flags = flag::CREATE | flag::APPEND;
        let mut m = self.add(kind::NEW_RULE, flags, family, what);
        m.attr_text(1, TABLE).attr_text(2, chain);
        expression::put(rule, &mut m);
        if let Some(words) = words {
            m.attr(7, &comment(words));
        }
    }

    /// Adds an element that must not be there, with the name of who owns it.
    pub(super) fn element(&mut self, element: &Element, owner: &str) {
        let what = element.what.clone();
        let flags = flag::CREATE | flag::EXCL;
        let mut m = self.add(kind::NEW_ELEMENT, flags, element.family, what);
        m.attr_text(1, TABLE).attr_text(2, element.set);
        m.nest(3, |m| {
            m.nest(1, |m| {
                put_key(m, element);
                match &element.leads {
                    None => {}
                    Some(Target::Verdict(verdict)) => {
                        m.nest(2, |m| verdict.put(m));
                    }
                    Some(Target::Data(bytes)) => {
                        m.nest(2, |m| {
                            m.attr(1, bytes);
                        });
                    }
                }
                m.attr(6, &comment(owner));
            });
        });
    }

    /// Deletes an element that must be there.
    pub(super) fn delete_element(&mut self, element: &Element) {
        let what = format!("take back: {}", element.what);
        let mut m = self.add(kind::DELETE_ELEMENT, 0, element.family, what);
        m.attr_text(1, TABLE).attr_text(2, element.set);
        m.nest(3, |m| {
            m.nest(1, |m| put_key(m, element));
        });
    }

    /// Ends it and has the kernel do it.
    ///
    /// # Errors
    /// The first refusal, with what that message was for; nothing has changed then.
    pub(super) fn commit(mut self, socket: &Socket) -> Result<(), Error> {
        const TABLES: u16 = 10;
        self.batch.answer_last();
        self.batch
            .unanswered(kind::END, 0, "end a transaction")
            .body(&header(Family::Any, TABLES));
        socket.transact(&self.batch)
    }
}

fn put_key(m: &mut Message<'_>, element: &Element) {
    m.nest(1, |m| {
        m.attr(1, &element.key);
    });
    if let Some(end) = &element.end {
        m.nest(10, |m| {
            m.attr(1, end);
        });
    }
}

/// Asks for a list.
///
/// # Errors
/// The kernel's.
pub(super) fn list(
    socket: &Socket,
    kind: u16,
    family: Family,
    what: &str,
    narrow: impl FnOnce(&mut Message<'_>),
) -> Result<Vec<Answer>, Error> {
    let mut batch = Batch::new();
    let mut message = batch.message(kind, flag::DUMP, what);
    message.body(&header(family, 0));
    narrow(&mut message);
    socket.run(&batch)
}

/// Asks for one thing.
///
/// # Errors
/// The kernel's: `ENOENT`.
pub(super) fn get(
    socket: &Socket,
    kind: u16,
    family: Family,
    what: &str,
    which: impl FnOnce(&mut Message<'_>),
) -> Result<Vec<Answer>, Error> {
    let mut batch = Batch::new();
    let mut message = batch.message(kind, 0, what);
    message.body(&header(family, 0));
    which(&mut message);
    socket.run(&batch)
}
