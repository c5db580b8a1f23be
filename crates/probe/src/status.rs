//! `/proc/self/status`, read once.

use rustix::thread::CapabilitySet;
use std::fs;

/// The lines of a status file.
pub(crate) struct Status(String);

impl Status {
    /// Of this process; every field is missing where there is no /proc.
    pub(crate) fn own() -> Self {
        Self(fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    /// One field's text.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.0
            .lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    }

    /// One capability set, such as `CapEff`, as bits.
    pub(crate) fn capabilities(&self, name: &str) -> Option<u64> {
        u64::from_str_radix(self.field(name)?, 16).ok()
    }
}

/// Names of the capabilities in a set, without `CAP_`.
pub(crate) fn capability_names(bits: u64) -> Vec<String> {
    (0..64)
        .filter(|n| bits >> n & 1 == 1)
        .map(|n| {
            CapabilitySet::from_bits_retain(1 << n)
                .iter_names()
                .next()
                .map_or_else(|| format!("{n}"), |(name, _)| name.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_by_name() {
        let s = Status("Umask:\t0022\nCapEff:\t0000000000200001\n".to_owned());
        assert_eq!(s.field("Umask"), Some("0022"));
        assert_eq!(s.field("Cap"), None);
        let bits = s.capabilities("CapEff").unwrap();
        assert_eq!(capability_names(bits), ["CHOWN", "SYS_ADMIN"]);
    }
}
