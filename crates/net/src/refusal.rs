//! Why words of a user, or a file of the configuration, were refused.

use std::fmt;

/// A wish that cannot be what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    because: String,
    hint: Option<String>,
}

impl Refusal {
    /// Refused for this reason.
    pub fn new(because: impl Into<String>) -> Self {
        Self {
            because: because.into(),
            hint: None,
        }
    }

    /// Says what would do; only what surely would.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What would do.
    pub fn remedy(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.because)
    }
}

impl std::error::Error for Refusal {}

impl From<rkt_spec::Error> for Refusal {
    fn from(error: rkt_spec::Error) -> Self {
        Self::new(error.to_string())
    }
}
