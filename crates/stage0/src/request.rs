//! What the user typed, as data: the input of stage0. Pure.

use crate::error::Error;

/// Checks that the user asked to leave out (`--insecure-options`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InsecureOptions(u32);

impl InsecureOptions {
    /// No signature of an image is asked for.
    pub const IMAGE: Self = Self(1);
    /// Certificates of servers are not checked.
    pub const TLS: Self = Self(1 << 1);
    /// Accepted and without effect, as in the original.
    pub const ONDISK: Self = Self(1 << 2);
    /// Plain HTTP is allowed.
    pub const HTTP: Self = Self(1 << 3);
    /// Keys may be fetched by plain HTTP.
    pub const PUBKEY: Self = Self(1 << 4);
    /// Apps get every capability (in their own user namespace).
    pub const CAPABILITIES: Self = Self(1 << 5);
    /// Nothing of /proc and /sys is masked or read-only.
    pub const PATHS: Self = Self(1 << 6);
    /// No seccomp filter.
    pub const SECCOMP: Self = Self(1 << 7);
    /// A Landlock that the kernel lacks is no reason to refuse.
    pub const LANDLOCK: Self = Self(1 << 8);

    const NAMES: [(&'static str, u32); 13] = [
        ("none", 0),
        ("image", 1),
        ("tls", 1 << 1),
        ("ondisk", 1 << 2),
        ("http", 1 << 3),
        ("pubkey", 1 << 4),
        ("capabilities", 1 << 5),
        ("paths", 1 << 6),
        ("seccomp", 1 << 7),
        ("landlock", 1 << 8),
        ("all-fetch", 0b1_1011),
        ("all-run", 0b1110_0000),
        ("all", 0b1111_1111),
    ];

    /// Reads a comma list of names.
    ///
    /// # Errors
    /// Names the word that is none of them.
    pub fn parse(list: &str) -> Result<Self, rkt_spec::Error> {
        let mut bits = 0;
        for word in list.split(',') {
            let (_, value) = Self::NAMES
                .iter()
                .find(|(name, _)| *name == word)
                .ok_or_else(|| {
                    rkt_spec::Error::new(
                        "insecure option",
                        word,
                        "needs one of none, image, tls, ondisk, http, pubkey, capabilities, paths, seccomp, landlock, all-fetch, all-run, all",
                    )
                })?;
            bits |= value;
        }
        Ok(Self(bits))
    }

    /// Whether every option of `other` was given.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::str::FromStr for InsecureOptions {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text).map_err(|e| Error::usage(e.to_string()))
    }
}
