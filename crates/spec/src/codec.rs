//! Length-checked binary records: the wire form of the plan and of control frames.
//!
//! Little-endian integers, `u32` lengths, no padding, no self-description. A record
//! starts with a magic and a version where it is stored or sent (see [`crate::plan`]).
//! Reading never allocates more than the bytes that are there, and a record with bytes
//! left over is refused.

use crate::error::Error;

/// Why a record could not be read.
fn short(what: &'static str) -> Error {
    Error::new(
        "record",
        what,
        "the bytes end too early or a length is wrong",
    )
}

/// Bytes still to be read.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Takes exactly `n` bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn bytes(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], Error> {
        if n > self.0.len() {
            return Err(short(what));
        }
        let (head, tail) = self.0.split_at(n);
        self.0 = tail;
        Ok(head)
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.0.len()
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// When bytes are left over.
    pub fn finish(self) -> Result<(), Error> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(short("trailing bytes"))
        }
    }
}

/// A value with a binary form.
pub trait Record: Sized {
    /// Appends the binary form.
    fn put(&self, out: &mut Vec<u8>);
    /// Reads the binary form.
    ///
    /// # Errors
    /// When the bytes are too few or hold a value out of range.
    fn take(from: &mut Reader<'_>) -> Result<Self, Error>;

    /// The binary form as bytes of its own.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.put(&mut out);
        out
    }

    /// Reads a value that fills `bytes` exactly.
    ///
    /// # Errors
    /// As [`Record::take`], and when bytes are left over.
    fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let value = Self::take(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }
}

macro_rules! integer {
    ($($t:ty),*) => {$(
        impl Record for $t {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn take(from: &mut Reader<'_>) -> Result<Self, Error> {
                let raw = from.bytes(size_of::<$t>(), stringify!($t))?;
                Ok(<$t>::from_le_bytes(raw.try_into().map_err(|_| short(stringify!($t)))?))
            }
        }
    )*};
}
integer!(u8, u16, u32, u64, i32, i64);

impl Record for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Error> {
        match u8::take(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(short("bool")),
        }
    }
}

/// A byte string; unlike `Vec<u8>` it is copied in one piece.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

fn put_len(n: usize, out: &mut Vec<u8>) {
    u32::try_from(n).unwrap_or(u32::MAX).put(out);
}

impl Record for Bytes {
    fn put(&self, out: &mut Vec<u8>) {
        put_len(self.0.len(), out);
        out.extend_from_slice(&self.0);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Error> {
        let n = u32::take(from)? as usize;
        Ok(Self(from.bytes(n, "bytes")?.to_vec()))
    }
}

impl Record for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_len(self.len(), out);
        out.extend_from_slice(self.as_bytes());
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Error> {
        let n = u32::take(from)? as usize;
        let raw = from.bytes(n, "text")?;
        String::from_utf8(raw.to_vec()).map_err(|_| short("text is not UTF-8"))
    }
}

impl<T: Record> Record for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(v) = self {
            v.put(out);
        }
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(if bool::take(from)? {
            Some(T::take(from)?)
        } else {
            None
        })
    }
}

impl<T: Record> Record for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_len(self.len(), out);
        for v in self {
            v.put(out);
        }
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Error> {
        let n = u32::take(from)? as usize;
        // Every element is at least one byte, so a lying length cannot make us reserve memory.
        if n > from.left() {
            return Err(short("list"));
        }
        let mut list = Vec::new();
        for _ in 0..n {
            list.push(T::take(from)?);
        }
        Ok(list)
    }
}

/// Gives a struct its binary form: the fields in the order written.
///
/// Adding, removing or reordering fields changes the format: raise the version of the
/// record that holds them.
#[macro_export]
macro_rules! record {
    ($(#[$m:meta])* pub struct $name:ident { $($(#[$fm:meta])* pub $f:ident : $t:ty),* $(,)? }) => {
        $(#[$m])*
        pub struct $name { $($(#[$fm])* pub $f: $t),* }
        impl $crate::codec::Record for $name {
            fn put(&self, out: &mut Vec<u8>) { $($crate::codec::Record::put(&self.$f, out);)* }
            fn take(from: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::error::Error> {
                Ok(Self { $($f: $crate::codec::Record::take(from)?),* })
            }
        }
    };
}

/// Gives a field-less enum its binary form: one byte, the discriminant.
#[macro_export]
macro_rules! record_enum {
    ($(#[$m:meta])* pub enum $name:ident { $($(#[$vm:meta])* $v:ident = $n:literal),* $(,)? }) => {
        $(#[$m])*
        #[repr(u8)]
        pub enum $name { $($(#[$vm])* $v = $n),* }
        impl $crate::codec::Record for $name {
            fn put(&self, out: &mut Vec<u8>) {
                out.push(match self { $(Self::$v => $n),* });
            }
            fn take(from: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::error::Error> {
                match <u8 as $crate::codec::Record>::take(from)? {
                    $($n => Ok(Self::$v),)*
                    _ => Err($crate::error::Error::new("record", stringify!($name), "unknown variant")),
                }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip_and_refuse_leftovers() {
        let value: (Vec<String>, Option<u32>) = (vec!["a".into(), String::new()], Some(7));
        let mut bytes = value.0.to_bytes();
        value.1.put(&mut bytes);
        let mut r = Reader::new(&bytes);
        assert_eq!(Vec::<String>::take(&mut r).unwrap(), value.0);
        assert_eq!(<Option<u32> as Record>::take(&mut r).unwrap(), value.1);
        r.finish().unwrap();
        assert!(u8::from_bytes(&[1, 2]).is_err());
    }

    #[test]
    fn a_lying_length_is_refused_before_memory_is_taken() {
        assert!(Vec::<String>::from_bytes(&[255, 255, 255, 255]).is_err());
        assert!(String::from_bytes(&[255, 255, 255, 127, 0]).is_err());
        assert!(bool::from_bytes(&[2]).is_err());
    }
}
