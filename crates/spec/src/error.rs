//! The one error of this crate: a word that breaks its rule.

use std::fmt;

/// A text or record that is not what it claims to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    what: &'static str,
    value: String,
    rule: String,
}

impl Error {
    /// `what` names the kind of word, `value` is the offender, `rule` says what would be right.
    pub fn new(what: &'static str, value: impl Into<String>, rule: impl Into<String>) -> Self {
        Self {
            what,
            value: value.into(),
            rule: rule.into(),
        }
    }

    /// The kind of word that was refused, such as `app name`.
    pub fn what(&self) -> &'static str {
        self.what
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} `{}`: {}",
            self.what,
            self.value.escape_debug(),
            self.rule
        )
    }
}

impl std::error::Error for Error {}
