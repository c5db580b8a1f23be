//! The one error of this crate: what was being done, why it stopped, what to try.

use rustix::io::Errno;
use std::fmt;

/// What a caller may decide on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The request contradicts itself or names something unknown.
    Request,
    /// Somebody else has the address, the name or the port.
    Taken,
    /// Nothing is left to give out.
    Full,
    /// This host cannot give what was asked for.
    Host,
    /// A plugin or program of others said so.
    Foreign,
    /// A system call failed.
    System,
}

/// A failure told as a person would: layers add a line on top, nobody reformats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
    /// Innermost first, so that a layer only pushes.
    lines: Vec<String>,
    hint: Option<String>,
    errno: Option<i32>,
}

impl Error {
    /// A failure that is no system call's.
    pub fn new(kind: Kind, because: impl Into<String>) -> Self {
        Self {
            kind,
            lines: vec![because.into()],
            hint: None,
            errno: None,
        }
    }

    /// Adds what was being done, on top.
    #[must_use]
    pub fn while_doing(mut self, doing: impl Into<String>) -> Self {
        self.lines.push(doing.into());
        self
    }

    /// Says what to try; only when it is surely right.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same as another kind.
    #[must_use]
    pub fn as_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// The same with other words for the innermost reason.
    #[must_use]
    pub(crate) fn reworded(mut self, because: String) -> Self {
        if let Some(line) = self.lines.first_mut() {
            *line = because;
        }
        self
    }

    /// What a caller may decide on.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What was being done, or the whole message when nobody said.
    pub fn doing(&self) -> &str {
        self.lines.last().map_or("", String::as_str)
    }

    /// Why it stopped, outermost first; may be empty.
    pub fn because(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().rev().skip(1).map(String::as_str)
    }

    /// What to try.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The failed system call's error, or the kernel's answer to a message.
    pub fn errno(&self) -> Option<Errno> {
        self.errno.map(Errno::from_raw_os_error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, line) in self.lines.iter().rev().enumerate() {
            if i > 0 {
                f.write_str(": ")?;
            }
            f.write_str(line)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Self {
            kind: Kind::System,
            lines: vec![errno.to_string()],
            hint: None,
            errno: Some(errno.raw_os_error()),
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(errno) => errno.into(),
            None => Self::new(Kind::System, error.to_string()),
        }
    }
}

impl From<rkt_spec::Error> for Error {
    fn from(error: rkt_spec::Error) -> Self {
        Self::new(Kind::Request, error.to_string())
    }
}

/// Adds "while doing X" to any failure; the closure runs only on the sad path.
pub trait Doing<T> {
    /// Adds a line on top of the error.
    ///
    /// # Errors
    /// The same failure, with one line more.
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T, E: Into<Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|e| e.into().while_doing(what()))
    }
}
