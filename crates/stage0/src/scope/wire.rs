//! D-Bus messages, little endian: the few types that a call of systemd needs.
//!
//! D-Bus Specification, "Marshaling (Wire Format)" and "Message Protocol".

use crate::error::Error;

/// Longest message that is read, bytes; systemd's answers have some hundred.
const MAX: usize = 1 << 20;
/// Bytes of the fixed part: endianness, kind, flags, version, length of the body, serial, and
/// the length of the header's fields.
pub(super) const FIXED: usize = 16;

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    Return,
    Error,
    Signal,
}

/// Writes values, each aligned as its type wants.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.align(8);
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn string(&mut self, text: &str) {
        self.u32(len(text.len()));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    pub(super) fn signature(&mut self, text: &str) {
        self.0.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    /// An array of elements with this alignment; the padding before the first does not count.
    pub(super) fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Self)) {
        self.u32(0);
        let at = self.0.len();
        self.align(alignment);
        let start = self.0.len();
        elements(self);
        let length = len(self.0.len().saturating_sub(start)).to_le_bytes();
        if let Some(field) = at.checked_sub(4).and_then(|n| self.0.get_mut(n..at)) {
            field.copy_from_slice(&length);
        }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

fn len(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// A whole method call.
pub(super) fn call(
    serial: u32,
    to: (&str, &str),
    (interface, member): (&str, &str),
    signature: &str,
    body: &[u8],
) -> Vec<u8> {
    let (destination, path) = to;
    let mut out = Writer::default();
    out.0.extend([b'l', 1, 0, 1]);
    out.u32(len(body.len()));
    out.u32(serial);
    out.array(8, |fields| {
        let mut field = |code: u8, kind: &str, text: &str| {
            if text.is_empty() {
                return;
            }
            fields.align(8);
            fields.0.push(code);
            fields.signature(kind);
            if kind == "g" {
                fields.signature(text);
            } else {
                fields.string(text);
            }
        };
        field(1, "o", path);
        field(2, "s", interface);
        field(3, "s", member);
        field(6, "s", destination);
        field(8, "g", signature);
    });
    out.align(8);
    out.0.extend(body);
    out.into_bytes()
}

/// A message as far as we look at it.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) kind: Kind,
    /// Serial of the call that this answers; 0 for none.
    pub(super) answers: u32,
    pub(super) member: String,
    pub(super) error: String,
    body: Vec<u8>,
}

impl Message {
    /// How many bytes follow the fixed part.
    ///
    /// # Errors
    /// When it is no message of version 1 in our byte order, or longer than 1 MiB.
    pub(super) fn rest(fixed: &[u8; FIXED]) -> Result<usize, Error> {
        let mut reader = Reader {
            bytes: fixed,
            at: 4,
        };
        let (body, _serial, fields) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let known = fixed.first() == Some(&b'l') && fixed.get(3) == Some(&1);
        let rest = (fields as usize)
            .checked_next_multiple_of(8)
            .and_then(|n| n.checked_add(body as usize))
            .filter(|n| known && *n <= MAX);
        rest.ok_or_else(strange)
    }

    /// Reads a whole message, fixed part included.
    ///
    /// # Errors
    /// When a length or a type is not what it should be.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Error> {
        let kind = match bytes.get(1) {
            Some(1) => Kind::Call,
            Some(2) => Kind::Return,
            Some(3) => Kind::Error,
            Some(4) => Kind::Signal,
            _ => return Err(strange()),
        };
        let mut reader = Reader { bytes, at: 12 };
        let end = (reader.u32()? as usize)
            .checked_add(FIXED)
            .filter(|n| *n <= bytes.len())
            .ok_or_else(strange)?;
        let mut message = Self {
            kind,
            answers: 0,
            member: String::new(),
            error: String::new(),
            body: bytes
                .get(end.next_multiple_of(8)..)
                .ok_or_else(strange)?
                .to_vec(),
        };
        while reader.at < end {
            reader.align(8);
            let code = reader.u8()?;
            let text = match reader.signature()?.as_str() {
                "s" | "o" => reader.string()?,
                "g" => reader.signature()?,
                "u" => {
                    let value = reader.u32()?;
                    if code == 5 {
                        message.answers = value;
                    }
                    continue;
                }
                _ => return Err(strange()),
            };
            match code {
                3 => message.member = text,
                4 => message.error = text,
                _ => {}
            }
        }
        Ok(message)
    }

    /// The body's first text, empty when it has none.
    pub(super) fn text(&self) -> String {
        self.values().string().unwrap_or_default()
    }

    /// The body's values, in order.
    pub(super) fn values(&self) -> Reader<'_> {
        Reader {
            bytes: &self.body,
            at: 0,
        }
    }
}

/// Reads values; nothing behind the end.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, n: usize) -> Result<&[u8], Error> {
        let end = self.at.checked_add(n).ok_or_else(strange)?;
        let taken = self.bytes.get(self.at..end).ok_or_else(strange)?;
        self.at = end;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, Error> {
        self.take(1)?.first().copied().ok_or_else(strange)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Error> {
        self.align(4);
        let bytes = self.take(4)?.try_into().map_err(|_| strange())?;
        Ok(u32::from_le_bytes(bytes))
    }

    pub(super) fn string(&mut self) -> Result<String, Error> {
        let length = self.u32()? as usize;
        self.terminated(length)
    }

    fn signature(&mut self) -> Result<String, Error> {
        let length = self.u8()?;
        self.terminated(length.into())
    }

    fn terminated(&mut self, length: usize) -> Result<String, Error> {
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| strange())?;
        let text = text.to_owned();
        if self.u8()? != 0 {
            return Err(strange());
        }
        Ok(text)
    }
}

fn strange() -> Error {
    Error::new("the answer is no D-Bus message that rkt can read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_reads_back() {
        let mut body = Writer::default();
        body.string("é");
        body.array(8, |list| list.u64(7));
        let bytes = call(3, ("a.b", "/a"), ("c.d", "E"), "sat", &body.into_bytes());
        let fixed = bytes.first_chunk().unwrap();
        assert_eq!(Message::rest(fixed).unwrap(), bytes.len() - FIXED);
        let message = Message::read(&bytes).unwrap();
        assert_eq!((message.kind, message.member.as_str()), (Kind::Call, "E"));
        let mut values = message.values();
        assert_eq!(values.string().unwrap(), "é");
        // The length does not count the padding before the first element.
        assert_eq!(values.u32().unwrap(), 8);
    }

    #[test]
    fn no_byte_that_is_wrong_or_missing_makes_it_panic() {
        let bytes = call(3, ("a.b", "/a"), ("c.d", "E"), "s", &[1, 0, 0, 0, b'x', 0]);
        for n in 0..bytes.len() {
            let _ = Message::read(bytes.get(..n).unwrap());
            for wrong in [0, 1, 0x7f, 0xff] {
                let mut bytes = bytes.clone();
                *bytes.get_mut(n).unwrap() = wrong;
                let _ = Message::rest(bytes.first_chunk().unwrap());
                if let Ok(message) = Message::read(&bytes) {
                    let _ = message.text();
                }
            }
        }
    }
}
