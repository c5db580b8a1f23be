//! The error of this crate: what was being done, why it stopped, what to try.

use std::fmt;

/// Exit status of a failure of rkt itself.
pub const RKT: u8 = 125;
/// Exit status of a wrong use: a bad word, a state that forbids the verb.
pub const USAGE: u8 = 254;

/// A failure to prepare a pod.
#[derive(Debug)]
pub struct Error {
    doing: String,
    because: Option<Box<dyn std::error::Error + Send + Sync>>,
    hint: Option<String>,
    status: u8,
}

impl Error {
    /// A failure of rkt itself while `doing`.
    pub fn new(doing: impl Into<String>) -> Self {
        Self {
            doing: doing.into(),
            because: None,
            hint: None,
            status: RKT,
        }
    }

    /// A wrong use: exit status 254.
    pub fn usage(doing: impl Into<String>) -> Self {
        Self {
            status: USAGE,
            ..Self::new(doing)
        }
    }

    /// Adds the cause: an error, or text.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.because = Some(cause.into());
        self
    }

    /// Adds a remedy; only one that is surely right.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What to try, when that is sure.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Exit status that the failure ends with: 125 or 254.
    pub fn status(&self) -> u8 {
        self.status
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.doing)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.because
            .as_deref()
            .map(|cause| cause as &(dyn std::error::Error + 'static))
    }
}

/// Adds "while doing" to any failure; the text is only made on the sad path.
pub trait Doing<T> {
    /// Names what was being done.
    ///
    /// # Errors
    /// The failure it was called on, with one line more.
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T, E> Doing<T> for Result<T, E>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|cause| Error::new(what()).because(cause))
    }
}
