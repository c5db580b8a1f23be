//! Operating system, architecture and variant, in Go's words, as images use them.

use crate::error::{Error, Kind, Result};
use std::fmt;

/// What an image must be made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, `arm`, `riscv64`, ...
    pub architecture: String,
    /// `v8`, `v7`, `v3`, ...; empty is the baseline of the architecture.
    pub variant: String,
}

impl Platform {
    /// The platform this binary was compiled for.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "x86" => ("386", ""),
            "aarch64" => ("arm64", "v8"),
            "arm" => ("arm", "v7"),
            "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", ""),
            "loongarch64" => ("loong64", ""),
            other => (other, ""),
        };
        Self {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: variant.into(),
        }
    }

    /// Reads `os/architecture[/variant]`; a lone word is the architecture.
    ///
    /// # Errors
    /// `BadReference` when a part is empty, there are too many, or one has strange letters.
    pub fn parse(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts.as_slice() {
            [architecture] => ("linux", *architecture, ""),
            [os, architecture] => (*os, *architecture, ""),
            [os, architecture, variant] => (*os, *architecture, *variant),
            _ => ("", "", ""),
        };
        let word = |t: &str| {
            t.len() <= 32
                && t.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        if os.is_empty()
            || architecture.is_empty()
            || (parts.len() == 3 && variant.is_empty())
            || ![os, architecture, variant].into_iter().all(word)
        {
            return Err(Error::new(
                Kind::BadReference,
                format!(
                    "`{}` is no platform: needs `os/architecture[/variant]`, such as `linux/arm64`",
                    text.escape_debug()
                ),
            ));
        }
        let architecture = match architecture {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Ok(Self {
            os: os.into(),
            architecture: architecture.into(),
            variant: variant.into(),
        })
    }

    /// How well an image for `other` runs here: `None` not at all, else smaller is better.
    ///
    /// amd64: the highest `vN` that is not above ours. arm64: absent means `v8`. arm: ours, then
    /// each older one down to `v5`; absent means `v7`, as registries use it.
    pub(crate) fn distance(&self, other: &Platform) -> Option<u32> {
        if self.os != other.os || self.architecture != other.architecture {
            return None;
        }
        let default = match self.architecture.as_str() {
            "amd64" => 1,
            "arm64" => 8,
            "arm" => 7,
            _ => 0,
        };
        let level = |text: &str| match text {
            "" => Some(default),
            _ => text.strip_prefix('v')?.parse::<u32>().ok(),
        };
        match (level(&self.variant), level(&other.variant)) {
            (Some(ours), Some(theirs)) => ours.checked_sub(theirs),
            _ => (self.variant == other.variant).then_some(0),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_by_distance() {
        for (ours, theirs, want) in [
            ("linux/amd64", "linux/amd64", Some(0)),
            ("linux/amd64/v3", "linux/amd64", Some(2)),
            ("linux/amd64", "linux/amd64/v3", None),
            ("linux/arm64/v8", "linux/arm64", Some(0)),
            ("linux/arm/v7", "linux/arm/v6", Some(1)),
            ("linux/arm/v6", "linux/arm/v7", None),
            ("linux/amd64", "linux/arm64", None),
            ("linux/amd64", "windows/amd64", None),
        ] {
            let (a, b) = (
                Platform::parse(ours).unwrap(),
                Platform::parse(theirs).unwrap(),
            );
            assert_eq!(a.distance(&b), want, "{ours} {theirs}");
        }
        for bad in [
            "",
            "/",
            "a/b/c/d",
            "linux/",
            "linux/amd64/",
            "LINUX/amd64",
            "linux/../x",
        ] {
            assert!(Platform::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            Platform::parse("aarch64").unwrap().to_string(),
            "linux/arm64"
        );
    }
}
