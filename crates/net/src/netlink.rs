//! Messages to the kernel and its answers (`netlink(7)`): a batch is sent at once, and every
//! message of it is answered.
//!
//! Numbers are in host order but where the kernel says otherwise ([`Message::attr_be`]). What the
//! kernel answers is read with every length checked.

use crate::error::{Error, Kind};
use rkt_sys::netlink::{self as socket, Family};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use std::net::IpAddr;

/// `NLM_F_*`, as `netlink(7)` has them.
pub mod flag {
    /// To the kernel.
    pub const REQUEST: u16 = 1;
    /// Answer with success too.
    pub const ACK: u16 = 4;
    /// Fail when it is there.
    pub const EXCL: u16 = 0x200;
    /// Make it when it is not there.
    pub const CREATE: u16 = 0x400;
    /// Change what is there.
    pub const REPLACE: u16 = 0x100;
    /// After the others.
    pub const APPEND: u16 = 0x800;
    /// All of them.
    pub const DUMP: u16 = 0x300;
}

const HEADER: usize = 16;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// A bit of an attribute's kind: it holds attributes.
const NESTED: u16 = 0x8000;
/// A flag of an answer: words follow.
const ACK_TLVS: u16 = 0x200;
/// A flag of an answer: what was asked is not repeated.
const CAPPED: u16 = 0x100;
/// The kernel's longest buffer of answers is 32 KiB (`netlink_dump`).
const ANSWER: usize = 64 << 10;

/// Messages that are sent together, in order.
///
/// The kernel takes each by itself: after one that fails it goes on with the next.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// What each message is for, for errors.
    what: Vec<String>,
    /// Where the last message begins.
    last: usize,
    /// Number of the message whose answer ends the waiting of [`Socket::transact`], from 1.
    ends: usize,
}

impl Batch {
    /// One without a message.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.what.is_empty()
    }

    /// Begins a message of `kind`; `flags` beside REQUEST and ACK; `what` is what it does.
    pub fn message(&mut self, kind: u16, flags: u16, what: impl Into<String>) -> Message<'_> {
        self.unanswered(kind, flags | flag::ACK, what)
    }

    /// Begins a message that is answered only when it is refused: see [`Socket::transact`].
    pub(crate) fn unanswered(
        &mut self,
        kind: u16,
        flags: u16,
        what: impl Into<String>,
    ) -> Message<'_> {
        self.what.push(what.into());
        let start = self.bytes.len();
        self.last = start;
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        let flags = flags | flag::REQUEST;
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        let number = u32::try_from(self.what.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&number.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        let mut message = Message {
            bytes: &mut self.bytes,
            start,
        };
        message.close();
        message
    }
}

impl Batch {
    /// Asks for an answer to the last message in any case.
    pub(crate) fn answer_last(&mut self) {
        self.ends = self.what.len();
        if let Some(flags) = self.bytes.get_mut(self.last + 6..self.last + 8) {
            let set = flags.first_chunk().map_or(0, |b| u16::from_ne_bytes(*b)) | flag::ACK;
            flags.copy_from_slice(&set.to_ne_bytes());
        }
    }
}

/// A message that is being written; complete at every moment.
#[derive(Debug)]
pub struct Message<'a> {
    bytes: &'a mut Vec<u8>,
    start: usize,
}

impl Message<'_> {
    /// Appends what follows the header: a struct of the kernel's, or part of one.
    pub fn body(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self.close()
    }

    /// Appends an attribute.
    pub fn attr(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(value.len().saturating_add(4)).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.close()
    }

    /// A number in host order.
    pub fn attr_u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// A number in network order, as nf_tables has all of its own.
    pub fn attr_be(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_be_bytes())
    }

    /// Text with a NUL at its end.
    pub fn attr_text(&mut self, kind: u16, text: &str) -> &mut Self {
        let mut value = text.as_bytes().to_vec();
        value.push(0);
        self.attr(kind, &value)
    }

    /// An address of four or sixteen bytes.
    pub fn attr_ip(&mut self, kind: u16, address: IpAddr) -> &mut Self {
        match address {
            IpAddr::V4(a) => self.attr(kind, &a.octets()),
            IpAddr::V6(a) => self.attr(kind, &a.octets()),
        }
    }

    /// An attribute that holds what `inner` appends.
    pub fn nest(&mut self, kind: u16, inner: impl FnOnce(&mut Self)) -> &mut Self {
        let at = self.bytes.len();
        self.attr(kind | NESTED, &[]);
        inner(self);
        let length = u16::try_from(self.bytes.len() - at).unwrap_or(u16::MAX);
        if let Some(place) = self.bytes.get_mut(at..at + 2) {
            place.copy_from_slice(&length.to_ne_bytes());
        }
        self
    }

    /// Pads to four bytes and writes the length.
    fn close(&mut self) -> &mut Self {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        let length = u32::try_from(self.bytes.len() - self.start).unwrap_or(u32::MAX);
        if let Some(place) = self.bytes.get_mut(self.start..self.start + 4) {
            place.copy_from_slice(&length.to_ne_bytes());
        }
        self
    }
}

/// What the kernel said beside yes and no: one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its kind.
    pub kind: u16,
    /// All behind the header.
    pub body: Vec<u8>,
}

/// A socket to the kernel.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
}

impl Socket {
    /// Opens one in the calling process's network namespace.
    ///
    /// # Errors
    /// [`Kind::Host`] when the kernel has no such family.
    pub fn open(family: Family) -> Result<Self, Error> {
        let fd = socket::open(family).map_err(|e| {
            Error::from(e)
                .as_kind(Kind::Host)
                .while_doing("open a netlink socket")
        })?;
        Ok(Self { fd })
    }

    /// One that was opened elsewhere, in the namespace of whoever opened it.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Its descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Sends every message and waits for every answer.
    ///
    /// # Errors
    /// The first refusal, with what that message was for; what came after it was tried too.
    pub fn run(&self, batch: &Batch) -> Result<Vec<Answer>, Error> {
        let each: Result<Vec<_>, Error> = self.each(batch)?.into_iter().collect();
        Ok(each?.into_iter().flatten().collect())
    }

    /// As [`Socket::run`], with what became of each message.
    ///
    /// # Errors
    /// When the kernel cannot be talked to.
    pub fn each(&self, batch: &Batch) -> Result<Vec<Result<Vec<Answer>, Error>>, Error> {
        let mut all: Vec<Result<Vec<Answer>, Error>> =
            batch.what.iter().map(|_| Ok(vec![])).collect();
        if batch.is_empty() {
            return Ok(all);
        }
        socket::send(self.fd(), &batch.bytes)?;
        let mut left = all.len();
        let mut buffer = vec![0u8; ANSWER];
        while left > 0 {
            let n = socket::receive(self.fd(), &mut buffer)?;
            for message in Messages::new(buffer.get(..n).unwrap_or(&[])) {
                let message = message?;
                let Some(at) = (message.number as usize).checked_sub(1) else {
                    continue;
                };
                let (Some(one), Some(what)) = (all.get_mut(at), batch.what.get(at)) else {
                    continue;
                };
                match message.kind {
                    ERROR => {
                        left -= 1;
                        if let Err(error) = verdict(&message) {
                            *one = Err(error.while_doing(what.clone()));
                        }
                    }
                    DONE => left -= 1,
                    kind => {
                        if let Ok(answers) = one {
                            answers.push(Answer {
                                kind,
                                body: message.body.to_vec(),
                            });
                        }
                    }
                }
            }
        }
        Ok(all)
    }
}

impl Socket {
    /// Sends a transaction: messages that the kernel takes together or not at all, the first of
    /// which begins it. Waits for the answer that [`Batch::answer_last`] asked for.
    ///
    /// # Errors
    /// The first refusal, with what that message was for.
    pub(crate) fn transact(&self, batch: &Batch) -> Result<(), Error> {
        socket::send(self.fd(), &batch.bytes)?;
        let mut first: Option<(usize, Error)> = None;
        let mut buffer = vec![0u8; ANSWER];
        let mut ended = false;
        while !ended {
            let n = socket::receive(self.fd(), &mut buffer)?;
            for message in Messages::new(buffer.get(..n).unwrap_or(&[])) {
                let message = message?;
                if message.kind != ERROR {
                    continue;
                }
                let number = message.number as usize;
                if let Err(error) = verdict(&message)
                    && first.as_ref().is_none_or(|(at, _)| number < *at)
                {
                    first = Some((number, error));
                }
                // A word about the beginning is about all of it, and the only one.
                ended |= number == batch.ends || number == 1;
            }
        }
        match first {
            None => Ok(()),
            Some((at, error)) => {
                let what = batch.what.get(at.saturating_sub(1)).cloned();
                Err(error.while_doing(what.unwrap_or_default()))
            }
        }
    }
}

/// Reads a yes or no (`struct nlmsgerr`, and words when there are some).
fn verdict(message: &Raw<'_>) -> Result<(), Error> {
    let code = message
        .body
        .first_chunk::<4>()
        .map(|b| i32::from_ne_bytes(*b))
        .ok_or_else(cut)?;
    if code == 0 {
        return Ok(());
    }
    let error = Error::from(Errno::from_raw_os_error(code.saturating_neg()));
    let words = words(message).filter(|w| !w.is_empty());
    // What was said last is printed last: the kernel's own words are the innermost reason.
    Err(match words {
        Some(words) => {
            let doing = error.doing().to_owned();
            error.reworded(format!("{doing}: {words}"))
        }
        None => error,
    })
}

/// The kernel's own words (`NLMSGERR_ATTR_MSG`).
fn words(message: &Raw<'_>) -> Option<String> {
    const MSG: u16 = 1;
    if message.flags & ACK_TLVS == 0 {
        return None;
    }
    let asked = message.body.get(4..8)?.first_chunk::<4>()?;
    let skip = match message.flags & CAPPED {
        0 => 4 + (u32::from_ne_bytes(*asked) as usize).next_multiple_of(4),
        _ => 4 + HEADER,
    };
    let (_, text) = Attributes::new(message.body.get(skip..)?).find(|(kind, _)| *kind == MSG)?;
    let text = text.split(|b| *b == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

fn cut() -> Error {
    Error::new(Kind::System, "the kernel's answer is cut short")
}

struct Raw<'a> {
    kind: u16,
    flags: u16,
    number: u32,
    body: &'a [u8],
}

struct Messages<'a>(&'a [u8]);

impl<'a> Messages<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self) -> Option<Raw<'a>> {
        let length = u32::from_ne_bytes(*self.0.first_chunk()?) as usize;
        let all = self.0.get(..length)?;
        let raw = Raw {
            kind: u16::from_ne_bytes(*all.get(4..)?.first_chunk()?),
            flags: u16::from_ne_bytes(*all.get(6..)?.first_chunk()?),
            number: u32::from_ne_bytes(*all.get(8..)?.first_chunk()?),
            body: all.get(HEADER..)?,
        };
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(raw)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Raw<'a>, Error>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let raw = self.take();
        if raw.is_none() {
            self.0 = &[];
        }
        Some(raw.ok_or_else(cut))
    }
}

/// Attributes of an answer: kind without its flags, and value. Ends at the first wrong length.
#[derive(Debug, Clone)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// Reads them from here on.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);
    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16::from_ne_bytes(*self.0.first_chunk()?));
        let kind = u16::from_ne_bytes(*self.0.get(2..)?.first_chunk()?);
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind & 0x3fff, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_complete_at_every_moment() {
        let mut batch = Batch::new();
        batch
            .message(16, flag::CREATE, "a")
            .body(&[1, 2, 3, 4])
            .attr_text(3, "eth0")
            .nest(18, |m| {
                m.attr_text(1, "veth").nest(2, |m| {
                    m.attr(1, &[7]);
                });
            });
        batch.message(18, 0, "b");
        let all: Vec<_> = Messages::new(&batch.bytes).map(Result::unwrap).collect();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].kind, all[0].number), (16, 1));
        assert_eq!(all[0].flags, flag::CREATE | flag::REQUEST | flag::ACK);
        assert_eq!((all[1].kind, all[1].number, all[1].body.len()), (18, 2, 0));
        let attributes: Vec<_> = Attributes::new(&all[0].body[4..]).collect();
        assert_eq!(attributes[0], (3, &b"eth0\0"[..]));
        let nested: Vec<_> = Attributes::new(attributes[1].1).collect();
        assert_eq!(nested[0], (1, &b"veth\0"[..]));
        assert_eq!(Attributes::new(nested[1].1).next(), Some((1, &[7u8][..])));
    }

    #[test]
    fn answers_that_are_cut_are_errors_not_panics() {
        let mut batch = Batch::new();
        batch.message(16, 0, "a").attr_text(3, "eth0");
        for n in 1..batch.bytes.len() {
            assert!(Messages::new(&batch.bytes[..n]).any(|m| m.is_err()), "{n}");
        }
        let mut endless = batch.bytes.clone();
        endless[..4].copy_from_slice(&0u32.to_ne_bytes());
        assert!(Messages::new(&endless).any(|m| m.is_err()));
        for bytes in [&[0u8, 0, 1, 0][..], &[9, 0, 1, 0], &[3, 0, 1, 0], &[4]] {
            assert_eq!(Attributes::new(bytes).count(), 0);
        }
    }

    #[test]
    fn a_refusal_tells_what_was_asked_and_the_kernels_words() {
        let socket = Socket::open(Family::Route).unwrap();
        let mut batch = Batch::new();
        // RTM_GETLINK of a name that is too long, and of the one that is always there.
        let mut body = [0u8; 16];
        batch
            .message(18, 0, "look at `lo`")
            .body(&body)
            .attr_text(3, "lo");
        body[4..8].copy_from_slice(&i32::MAX.to_ne_bytes());
        batch.message(18, 0, "look at `none`").body(&body);
        let error = socket.run(&batch).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::NODEV));
        assert_eq!(error.doing(), "look at `none`");
        let mut good = Batch::new();
        good.message(18, 0, "look at `lo`")
            .body(&[0; 16])
            .attr_text(3, "lo");
        let answers = socket.run(&good).unwrap();
        assert_eq!((answers.len(), answers[0].kind), (1, 16));
    }
}
