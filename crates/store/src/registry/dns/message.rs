//! DNS messages (RFC 1035): one question, and the addresses in its answer.
//!
//! Bytes come from anybody who can send us a datagram: every length is checked, pointers in
//! names only go back, and an answer must repeat our question.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    A,
    Aaaa,
}

impl Kind {
    fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
        }
    }
}

/// What a server says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Addresses, perhaps none: the name exists but has no record of the kind.
    Addresses(Vec<IpAddr>),
    /// NXDOMAIN.
    NoSuchName,
    /// Does not fit into a datagram.
    Truncated,
    /// Refused, failed, or not to be read.
    Unusable,
}

const CNAME: u16 = 5;

/// One question with recursion wanted. `None` when the name is no name.
pub(super) fn query(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(name.len() + 18);
    for word in [id, 0x0100, 1, 0, 0, 0] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    if name.len() > 253 {
        return None;
    }
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 {
            return None;
        }
        out.push(u8::try_from(label.len()).ok()?);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out.extend_from_slice(&kind.number().to_be_bytes());
    out.extend_from_slice(&1_u16.to_be_bytes());
    Some(out)
}

/// Reads an answer; `None` when it is not one to this question.
pub(super) fn answer(bytes: &[u8], id: u16, name: &str, kind: Kind) -> Option<Answer> {
    let mut at = Cursor { bytes, place: 0 };
    let (their_id, flags) = (at.u16()?, at.u16()?);
    let (questions, answers) = (at.u16()?, at.u16()?);
    at.skip(4)?;
    if their_id != id || flags & 0x8000 == 0 || questions != 1 {
        return None;
    }
    let question = at.name()?;
    if !question.eq_ignore_ascii_case(name) || at.u16()? != kind.number() || at.u16()? != 1 {
        return None;
    }
    if flags & 0x0200 != 0 {
        return Some(Answer::Truncated);
    }
    match flags & 0x000f {
        0 => {}
        3 => return Some(Answer::NoSuchName),
        _ => return Some(Answer::Unusable),
    }
    Some(addresses(&mut at, answers, question, kind).map_or(Answer::Unusable, Answer::Addresses))
}

/// Follows aliases in the order of the answer and takes the addresses of the last name.
fn addresses(
    at: &mut Cursor<'_>,
    count: u16,
    mut owner: String,
    kind: Kind,
) -> Option<Vec<IpAddr>> {
    let mut list = Vec::new();
    for _ in 0..count {
        let name = at.name()?;
        let (record, class) = (at.u16()?, at.u16()?);
        at.skip(4)?;
        let length = usize::from(at.u16()?);
        let end = at.place.checked_add(length)?;
        if name.eq_ignore_ascii_case(&owner) && class == 1 {
            if record == CNAME {
                owner = at.name()?;
            } else if record == kind.number() {
                let data = at.bytes.get(at.place..end)?;
                list.push(match kind {
                    Kind::A => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?)),
                    Kind::Aaaa => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?)),
                });
            }
        }
        at.place = end;
    }
    Some(list)
}

struct Cursor<'a> {
    bytes: &'a [u8],
    place: usize,
}

impl Cursor<'_> {
    fn u16(&mut self) -> Option<u16> {
        let raw = self.bytes.get(self.place..self.place.checked_add(2)?)?;
        self.place += 2;
        Some(u16::from_be_bytes(raw.try_into().ok()?))
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.place = self.place.checked_add(count)?;
        (self.place <= self.bytes.len()).then_some(())
    }

    /// A name, its pointers followed. Each pointer must go further back than the last one, so
    /// the walk ends.
    fn name(&mut self) -> Option<String> {
        let mut text = String::new();
        let mut place = self.place;
        let mut lowest = self.place;
        let mut after = None;
        loop {
            let length = *self.bytes.get(place)?;
            place += 1;
            match length {
                0 => break,
                1..=63 => {
                    let label = self.bytes.get(place..place + usize::from(length))?;
                    place += usize::from(length);
                    if !text.is_empty() {
                        text.push('.');
                    }
                    text.extend(label.iter().map(|b| char::from(*b)));
                    if text.len() > 512 {
                        return None;
                    }
                }
                0xc0..=0xff => {
                    let low = *self.bytes.get(place)?;
                    after.get_or_insert(place + 1);
                    let target = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                    if target >= lowest {
                        return None;
                    }
                    lowest = target;
                    place = target;
                }
                _ => return None,
            }
        }
        self.place = after.unwrap_or(place);
        Some(text)
    }
}
