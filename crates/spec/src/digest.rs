//! Content digests: `algorithm:hex`, checked as text before any use in a path or URL.

use crate::codec::{Reader, Record};
use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Which hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, 64 hex digits; the store's own.
    Sha256,
    /// SHA-512, 128 hex digits; allowed by OCI, used by ACI.
    Sha512,
}

impl Algorithm {
    /// The name in a digest string.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// A checked digest. Its hex part is safe as a file name.
///
/// Source: OCI image-spec, descriptor.md, "Digests".
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

impl Digest {
    /// Checks an `algorithm:hex` string.
    ///
    /// # Errors
    /// When the algorithm is unknown or the hex part has another length or upper case.
    pub fn new(text: &str) -> Result<Self, Error> {
        let bad = || {
            Error::new(
                "digest",
                text,
                "needs `sha256:` and 64, or `sha512:` and 128, lower-case hex digits",
            )
        };
        let (algorithm, hex) = text.split_once(':').ok_or_else(bad)?;
        let algorithm = match algorithm {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(bad()),
        };
        let ok = hex.len() == algorithm.hex_len()
            && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if ok {
            Ok(Self {
                algorithm,
                hex: hex.to_owned(),
            })
        } else {
            Err(bad())
        }
    }

    /// A SHA-256 digest of 32 raw bytes.
    pub fn sha256(raw: &[u8; 32]) -> Self {
        Self {
            algorithm: Algorithm::Sha256,
            hex: hex(raw),
        }
    }

    /// A SHA-512 digest of 64 raw bytes.
    pub fn sha512(raw: &[u8; 64]) -> Self {
        Self {
            algorithm: Algorithm::Sha512,
            hex: hex(raw),
        }
    }

    /// Which hash it is.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hex part.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The first twelve hex digits, as tables print them.
    pub fn short(&self) -> &str {
        self.hex.get(..12).unwrap_or(&self.hex)
    }
}

/// Bytes as lower-case hex digits.
pub fn hex(raw: &[u8]) -> String {
    let mut text = String::with_capacity(raw.len() * 2);
    for b in raw {
        for nibble in [b >> 4, b & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    text
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.as_str(), self.hex)
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        Self::new(&text)
    }
}

impl std::str::FromStr for Digest {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl From<Digest> for String {
    fn from(d: Digest) -> String {
        d.to_string()
    }
}

impl Record for Digest {
    fn put(&self, out: &mut Vec<u8>) {
        self.to_string().put(out);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Error> {
        Self::new(&String::take(from)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lower_case_digests_pass() {
        let good = format!("sha256:{}", "a".repeat(64));
        assert_eq!(Digest::new(&good).unwrap().to_string(), good);
        for bad in [
            "",
            "sha256:",
            "sha256:../../etc/passwd",
            "md5:00",
            &good.to_uppercase(),
            &good[..70],
        ] {
            assert!(Digest::new(bad).is_err(), "{bad}");
        }
        assert_eq!(Digest::sha256(&[0xab; 32]).short(), "abababababab");
    }
}
