//! Pod identifiers: RFC 4122 UUIDs, version 4.

use crate::codec::{Reader, Record};
use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The identity of a pod. Printed lower-case as 8-4-4-4-12.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Uuid([u8; 16]);

impl Uuid {
    /// A version-4 UUID of 16 random bytes; the caller brings the randomness.
    pub fn from_random(mut bytes: [u8; 16]) -> Self {
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }

    /// Reads 32 hex digits; dashes anywhere are ignored, as appc has it.
    ///
    /// # Errors
    /// When there are not exactly 32 hex digits, or all are zero.
    pub fn new(text: &str) -> Result<Self, Error> {
        let bad = || Error::new("UUID", text, "needs 32 hex digits, not all zero");
        let mut bytes = [0u8; 16];
        let mut n = 0usize;
        for c in text.chars().filter(|c| *c != '-') {
            let digit = u8::try_from(c.to_digit(16).ok_or_else(bad)?).map_err(|_| bad())?;
            let slot = bytes.get_mut(n / 2).ok_or_else(bad)?;
            *slot = *slot << 4 | digit;
            n += 1;
        }
        if n == 32 && bytes != [0; 16] {
            Ok(Self(bytes))
        } else {
            Err(bad())
        }
    }

    /// The sixteen bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The first eight digits, as tables print them.
    pub fn short(&self) -> String {
        crate::digest::hex(self.0.get(..4).unwrap_or(&[]))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, b) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{b:02x}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Uuid {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        Self::new(&text)
    }
}

impl std::str::FromStr for Uuid {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl From<Uuid> for String {
    fn from(u: Uuid) -> String {
        u.to_string()
    }
}

impl Record for Uuid {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Error> {
        let raw = from.bytes(16, "uuid")?;
        Ok(Self(
            raw.try_into()
                .map_err(|_| Error::new("UUID", "", "needs 16 bytes"))?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_print_in_canonical_form() {
        let u = Uuid::from_random([0xff; 16]);
        assert_eq!(u.to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(
            Uuid::new(&u.to_string().replace('-', "").to_uppercase()).unwrap(),
            u
        );
        assert!(Uuid::new("0000").is_err());
        assert!(Uuid::new(&"0".repeat(32)).is_err());
        assert_eq!(u.short(), "ffffffff");
    }
}
