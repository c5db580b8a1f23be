//! The one error of this crate: what was done, why it stopped, what to try.

use std::fmt;
use std::io;

/// What kind of failure it was; the part of an [`Error`] that a caller may match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The image, tag, blob or file does not exist.
    NotFound,
    /// A prefix or a name fits several images.
    Ambiguous,
    /// The registry wants other credentials, or none that we have.
    Unauthorized,
    /// The image exists, but not for this platform.
    WrongPlatform,
    /// Bytes are not what their digest, size or format says.
    Corrupt,
    /// The registry does not answer, or the connection breaks again and again.
    Unreachable,
    /// The certificate of the registry is not believed.
    Untrusted,
    /// The registry answers, with a refusal or with nonsense.
    Refused,
    /// The text is no image reference.
    BadReference,
    /// The image uses something that rkt does not read.
    Unsupported,
    /// Larger than the limit for its kind.
    TooLarge,
    /// The file system of the store is full.
    NoSpace,
    /// The caller may not read or write the store.
    Denied,
    /// A signal asked to stop.
    Interrupted,
    /// Another rkt holds the store.
    Busy,
    /// Any other failure of the system.
    System,
}

/// A failure told the way a person would tell it.
///
/// Layers add a line of what they were doing; nobody reformats. Printed by crate `rkt` as
/// `doing`, then one `because` line each, then the `hint`.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    /// Innermost first.
    doing: Vec<String>,
    because: String,
    hint: Option<String>,
    signal: Option<u8>,
}

impl Error {
    /// `because` is the cause, in words that name the thing.
    pub fn new(kind: Kind, because: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            doing: Vec::new(),
            because: because.into(),
            hint: None,
            signal: None,
        }))
    }

    /// The end of a work that a signal stopped.
    pub(crate) fn stopped_by(signal: u8, because: impl Into<String>) -> Self {
        let mut error = Self::new(Kind::Interrupted, because);
        error.0.signal = Some(signal);
        error
    }

    /// The signal that asked to stop; its sender expects status 128 and its number.
    pub fn signal(&self) -> Option<u8> {
        self.0.signal
    }

    /// Adds what the caller was doing; call it from the inside out.
    #[must_use]
    pub fn while_doing(mut self, what: impl Into<String>) -> Self {
        self.0.doing.push(what.into());
        self
    }

    /// Says what to try. Only when it is surely right; the innermost hint stays.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// What kind of failure it was.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What was being done, the widest view first; empty when nobody said.
    pub fn doing(&self) -> impl Iterator<Item = &str> {
        self.0.doing.iter().rev().map(String::as_str)
    }

    /// The first cause.
    pub fn because(&self) -> &str {
        &self.0.because
    }

    /// What to try, when that is sure.
    pub fn remedy(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for doing in self.doing() {
            write!(f, "{doing}: ")?;
        }
        f.write_str(&self.0.because)
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        // Errors of ours travel through `Read` and `Write` as the source of an `io::Error`.
        let error = match error.downcast::<Self>() {
            Ok(ours) => return ours,
            Err(other) => other,
        };
        let kind = match error.kind() {
            io::ErrorKind::NotFound => Kind::NotFound,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Kind::Denied,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::NoSpace,
            _ => Kind::System,
        };
        let error = Self::new(kind, error.to_string());
        match kind {
            Kind::NoSpace => error.hint("free some space, or give another place with `--dir`"),
            _ => error,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::other(error)
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(errno: rustix::io::Errno) -> Self {
        io::Error::from(errno).into()
    }
}

impl From<rkt_spec::Error> for Error {
    fn from(error: rkt_spec::Error) -> Self {
        Self::new(Kind::Corrupt, error.to_string())
    }
}

/// Adds "while doing X" to any failure. The closure runs only on the sad path.
pub trait Doing<T> {
    /// Names what was tried, such as ``read image record `sha256:...` ``.
    ///
    /// # Errors
    /// The one it was called on, with one line more.
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T, E: Into<Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|error| error.into().while_doing(what()))
    }
}

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_from_the_widest_view_to_the_cause() {
        let error = Err::<(), _>(io::Error::from(io::ErrorKind::StorageFull))
            .doing(|| "write layer `abc`".into())
            .doing(|| "fetch `redis`".into())
            .unwrap_err();
        assert_eq!(error.kind(), Kind::NoSpace);
        assert_eq!(
            error.doing().collect::<Vec<_>>(),
            ["fetch `redis`", "write layer `abc`"]
        );
        assert!(
            error
                .to_string()
                .starts_with("fetch `redis`: write layer `abc`: ")
        );
        assert!(error.remedy().is_some());
    }
}
