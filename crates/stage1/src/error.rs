//! A failure told the way a person would tell it, and the exit status that goes with it.

use rkt_spec::codec::Record;
use std::fmt;
use std::io;

/// Exit status when rkt itself could not do its part.
pub(crate) const EXIT_RKT: u8 = 125;
/// Exit status when a program is there but cannot be executed.
pub(crate) const EXIT_CANNOT_EXECUTE: u8 = 126;
/// Exit status when a program is not there.
pub(crate) const EXIT_NOT_FOUND: u8 = 127;

rkt_spec::record! {
    /// What was being done, why it stopped, what to try.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Failure {
        /// Exit status of the pod.
        pub exit: u8,
        /// What was being done.
        pub doing: String,
        /// Why it stopped, outermost first.
        pub because: Vec<String>,
        /// What to try; empty when nothing is sure.
        pub hint: String,
    }
}

impl Failure {
    /// A failure of rkt's own part.
    pub(crate) fn new(doing: impl Into<String>, because: impl Into<String>) -> Self {
        Self {
            exit: EXIT_RKT,
            doing: doing.into(),
            because: vec![because.into()],
            hint: String::new(),
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    pub(crate) fn exit(mut self, exit: u8) -> Self {
        self.exit = exit;
        self
    }

    /// Puts an outer step in front: what was `doing` becomes the first reason.
    pub(crate) fn within(mut self, doing: impl Into<String>) -> Self {
        let inner = std::mem::replace(&mut self.doing, doing.into());
        self.because.insert(0, inner);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rkt: {}", clean(&self.doing))?;
        for line in &self.because {
            write!(f, "\n  because: {}", clean(line))?;
        }
        if !self.hint.is_empty() {
            write!(f, "\n  hint: {}", clean(&self.hint))?;
        }
        Ok(())
    }
}

/// Text of an image or a pod must not drive the operator's terminal.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() {
                c.escape_default().to_string()
            } else {
                c.to_string()
            }
        })
        .collect()
}

/// Adds what was being done to any failure; the closure runs only on the sad path.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(what(), error.to_string()))
    }
}

impl<T> Doing<T> for rustix::io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(what(), io::Error::from(error).to_string()))
    }
}

impl<T> Doing<T> for Result<T, rkt_isolate::Error> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::from(error).within(what()))
    }
}

impl<T> Doing<T> for Result<T, rkt_pod::Error> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::from(error).within(what()))
    }
}

impl<T> Doing<T> for Result<T, Failure> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|failure| failure.within(what()))
    }
}

impl From<rkt_isolate::Error> for Failure {
    fn from(error: rkt_isolate::Error) -> Self {
        Self {
            exit: EXIT_RKT,
            doing: error.doing().to_owned(),
            because: error.because().map(str::to_owned).collect(),
            hint: error.hint().unwrap_or_default().to_owned(),
        }
    }
}

impl From<rkt_net::Error> for Failure {
    fn from(error: rkt_net::Error) -> Self {
        Self {
            exit: EXIT_RKT,
            doing: error.doing().to_owned(),
            because: error.because().map(str::to_owned).collect(),
            hint: error.hint().unwrap_or_default().to_owned(),
        }
    }
}

impl From<rkt_pod::Error> for Failure {
    fn from(error: rkt_pod::Error) -> Self {
        Self {
            exit: EXIT_RKT,
            doing: error.doing().to_owned(),
            because: error.because().map(str::to_owned).collect(),
            hint: error.hint().unwrap_or_default().to_owned(),
        }
    }
}

/// The last word of a set-up child: one byte when all is well, else a failure.
pub(crate) fn encode_outcome(outcome: &Result<(), Failure>) -> Vec<u8> {
    match outcome {
        Ok(()) => vec![1],
        Err(failure) => {
            let mut out = vec![0];
            failure.put(&mut out);
            out
        }
    }
}

/// Reads what [`encode_outcome`] wrote.
pub(crate) fn decode_outcome(bytes: &[u8]) -> Result<(), Failure> {
    match bytes.split_first() {
        Some((1, _)) => Ok(()),
        Some((0, rest)) => Err(Failure::from_bytes(rest)
            .unwrap_or_else(|e| Failure::new("set up the pod", e.to_string()))),
        _ => Err(
            Failure::new("set up the pod", "a set-up child ended without a word")
                .hint("it may have been killed; `dmesg` may tell more"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_survive_the_wire_and_print_top_down() {
        let failure = Failure::new("mount the root of `web`", "no space").hint("free some");
        let outer = failure.within("start app `web`");
        assert_eq!(
            decode_outcome(&encode_outcome(&Err(outer.clone()))),
            Err(outer.clone())
        );
        assert_eq!(decode_outcome(&encode_outcome(&Ok(()))), Ok(()));
        assert!(decode_outcome(&[]).is_err());
        assert_eq!(
            outer.to_string(),
            "rkt: start app `web`\n  because: mount the root of `web`\n  because: no space\n  hint: free some"
        );
        assert!(Failure::new("\x1b[2J", "x").to_string().contains("\\u{1b}"));
    }
}
