//! Names that were checked once; holding one is the proof.

use crate::codec::{Reader, Record};
use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::fmt;

fn ac_name(what: &'static str, text: &str) -> Result<(), Error> {
    let ok = !text.is_empty()
        && text.len() <= 63
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if ok {
        Ok(())
    } else {
        Err(Error::new(
            what,
            text,
            "needs 1 to 63 of `a-z`, `0-9` and inner `-`",
        ))
    }
}

fn pod_name(what: &'static str, text: &str) -> Result<(), Error> {
    let ok = !text.is_empty()
        && text.len() <= 63
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.')
        && text
            .as_bytes()
            .first()
            .is_some_and(u8::is_ascii_alphanumeric)
        && text
            .as_bytes()
            .last()
            .is_some_and(u8::is_ascii_alphanumeric);
    if ok {
        Ok(())
    } else {
        Err(Error::new(
            what,
            text,
            "needs 1 to 63 of letters, digits and inner `-`, `_`, `.`",
        ))
    }
}

macro_rules! name {
    ($(#[$m:meta])* $t:ident, $what:literal, $check:ident) => {
        $(#[$m])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $t(String);

        impl $t {
            /// Checks `text` against the rule of this kind of name.
            ///
            /// # Errors
            /// Names the rule that `text` breaks.
            pub fn new(text: impl Into<String>) -> Result<Self, Error> {
                let text = text.into();
                $check($what, &text)?;
                Ok(Self(text))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $t {
            type Error = Error;
            fn try_from(text: String) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl std::str::FromStr for $t {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl From<$t> for String {
            fn from(name: $t) -> String {
                name.0
            }
        }

        impl AsRef<str> for $t {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Record for $t {
            fn put(&self, out: &mut Vec<u8>) {
                self.0.put(out);
            }
            fn take(from: &mut Reader<'_>) -> Result<Self, Error> {
                Self::new(String::take(from)?)
            }
        }
    };
}

name!(
    /// Name of an app inside its pod: `[a-z0-9]` with inner dashes, 1 to 63 bytes (appc's AC Name).
    ///
    /// Safe as a directory name, a host name and a cgroup name.
    AppName, "app name", ac_name
);
name!(
    /// Name of a pod, chosen by `--pod-name`: letters, digits and inner `-_.`, 1 to 63 bytes.
    PodName, "pod name", pod_name
);
name!(
    /// Name of a volume inside its pod: as an app name.
    VolumeName, "volume name", ac_name
);
name!(
    /// Name of a network in `net.d` and of `--net`: letters, digits and inner `-_.`, 1 to 63 bytes
    /// (CNI's rule, and safe as a file name).
    NetworkName, "network name", pod_name
);

/// Makes an AC Name of any text: lower case, every bad byte a `-`, no `-` at the edges.
///
/// # Errors
/// When nothing is left.
pub fn sanitise(text: &str) -> Result<String, Error> {
    let name: String = text
        .to_ascii_lowercase()
        .chars()
        .map(|c| {
            if c.is_ascii_lowercase() || c.is_ascii_digit() {
                c
            } else {
                '-'
            }
        })
        .take(63)
        .collect();
    let name = name.trim_matches('-').to_owned();
    ac_name("name", &name).map_err(|_| Error::new("name", text, "has no letter or digit"))?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_names_follow_appc() {
        for good in ["a", "web", "a-b", "a--b", "0"] {
            assert!(AppName::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a_b",
            "a/b",
            "..",
            "a\n",
            &"a".repeat(64),
        ] {
            assert!(AppName::new(bad).is_err(), "{bad}");
        }
        assert_eq!(sanitise("Redis_7.2").unwrap(), "redis-7-2");
        assert!(sanitise("___").is_err());
    }

    #[test]
    fn pod_names_cannot_leave_a_directory() {
        for bad in ["..", ".", "a/b", "", "\x1b[2J", "a."] {
            assert!(PodName::new(bad).is_err(), "{bad}");
        }
        assert!(PodName::new("Front_end.1").is_ok());
    }
}
