//! The error of this crate: what was being done, why it stopped, what to try.

use std::fmt;

/// Exit status of a failure of rkt itself.
pub const RKT: u8 = 125;
/// Exit status of a wrong use: a bad word, a state that forbids the verb.
pub const USAGE: u8 = 254;

/// A failure to prepare a pod, told the way a person would; layers add a line on top.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    /// Innermost first, so that a layer only pushes.
    lines: Vec<String>,
    hint: Option<String>,
    status: u8,
    signal: Option<u8>,
}

impl Error {
    /// A failure of rkt itself, because of `because`.
    pub fn new(because: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            lines: vec![because.into()],
            hint: None,
            status: RKT,
            signal: None,
        }))
    }

    /// A wrong use: exit status 254.
    pub fn usage(because: impl Into<String>) -> Self {
        let mut error = Self::new(because);
        error.0.status = USAGE;
        error
    }

    /// Adds what was being done, on top.
    #[must_use]
    pub fn while_doing(mut self, doing: impl Into<String>) -> Self {
        self.0.lines.push(doing.into());
        self
    }

    /// Says what to try; only what is surely right. The innermost hint stays.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// The same failure with its hint taken off, because a better one is known.
    #[must_use]
    pub fn without_hint(mut self) -> Self {
        self.0.hint = None;
        self
    }

    /// What was being done, or the whole message when nobody said.
    pub fn doing(&self) -> &str {
        self.0.lines.last().map_or("", String::as_str)
    }

    /// Why it stopped, outermost first; may be empty.
    pub fn because(&self) -> impl Iterator<Item = &str> {
        self.0.lines.iter().rev().skip(1).map(String::as_str)
    }

    /// What to try, when that is sure.
    pub fn remedy(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Exit status that the failure ends with: [`RKT`], [`USAGE`], or 128 and a signal.
    pub fn status(&self) -> u8 {
        self.0.status
    }

    /// The signal that asked to stop, when that was the cause.
    pub fn signal(&self) -> Option<u8> {
        self.0.signal
    }

    fn told<'a>(
        doing: impl Iterator<Item = &'a str>,
        because: impl Into<String>,
        hint: Option<&str>,
    ) -> Self {
        let mut lines: Vec<String> = vec![because.into()];
        let mut above: Vec<String> = doing.map(str::to_owned).collect();
        above.reverse();
        lines.extend(above);
        Self(Box::new(Inner {
            lines,
            hint: hint.map(str::to_owned),
            status: RKT,
            signal: None,
        }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.doing())?;
        for line in self.because() {
            write!(f, ": {line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<rkt_store::Error> for Error {
    fn from(error: rkt_store::Error) -> Self {
        let mut told = Self::told(error.doing(), error.because(), error.remedy());
        if let Some(signal) = error.signal() {
            told.0.status = 128_u8.saturating_add(signal);
            told.0.signal = Some(signal);
        }
        told
    }
}

impl From<rkt_pod::Error> for Error {
    fn from(error: rkt_pod::Error) -> Self {
        let mut lines: Vec<&str> = std::iter::once(error.doing())
            .chain(error.because())
            .collect();
        let last = lines.pop().unwrap_or("").to_owned();
        Self::told(lines.into_iter(), last, error.hint())
    }
}

impl From<rkt_isolate::Error> for Error {
    fn from(error: rkt_isolate::Error) -> Self {
        let mut lines: Vec<&str> = std::iter::once(error.doing())
            .chain(error.because())
            .collect();
        let last = lines.pop().unwrap_or("").to_owned();
        Self::told(lines.into_iter(), last, error.hint())
    }
}

impl From<rkt_net::Refusal> for Error {
    /// A wrong use: words that cannot be what they say.
    fn from(refusal: rkt_net::Refusal) -> Self {
        let error = Self::usage(refusal.to_string());
        match refusal.remedy() {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

impl From<rkt_spec::Error> for Error {
    fn from(error: rkt_spec::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::new(errno.to_string())
    }
}

/// Adds "while doing X" to any failure; the text is only made on the sad path.
pub trait Doing<T> {
    /// Names what was being done.
    ///
    /// # Errors
    /// The failure it was called on, with one line more.
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T, E: Into<Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|cause| cause.into().while_doing(what()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_another_crate_keeps_its_order_and_hint() {
        let inner = rkt_store::Error::new(rkt_store::Kind::NotFound, "cause")
            .while_doing("inner")
            .while_doing("outer")
            .hint("try");
        let error = Err::<(), _>(inner).doing(|| "top".into()).unwrap_err();
        assert_eq!(error.to_string(), "top: outer: inner: cause");
        assert_eq!(error.remedy(), Some("try"));
        assert_eq!(error.status(), 125);
    }
}
