//! A failure as a person reads it, and the exit status it ends with.

use std::fmt;
use std::io::Write;

/// Exit status of usage and state errors, as in the original rkt.
pub(crate) const USAGE: u8 = 254;
/// Exit status of `run` and `enter` when rkt itself fails (their other statuses are the app's).
pub(crate) const RKT: u8 = 125;

/// What rkt was doing, why it stopped, and what to try.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Exit status of the process.
    pub(crate) status: u8,
    doing: String,
    because: Vec<String>,
    hint: Option<String>,
    /// The signal that was the cause: whoever sent it expects us to end by it.
    signal: Option<u8>,
}

impl Failure {
    /// A failure of `doing` that ends with `status`; `doing` alone is the whole message so far.
    pub(crate) fn new(status: u8, doing: impl Into<String>) -> Self {
        Self {
            status,
            doing: doing.into(),
            because: Vec::new(),
            hint: None,
            signal: None,
        }
    }

    /// A usage error.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::new(USAGE, text)
    }

    /// An end with `status` about which all has been said already.
    pub(crate) fn silent(status: u8) -> Self {
        Self::new(status, "")
    }

    /// The same failure with one more line of cause.
    pub(crate) fn because(mut self, cause: impl Into<String>) -> Self {
        self.because.push(cause.into());
        self
    }

    /// The same failure with a remedy; only when it is surely right.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Why it stopped, outermost first.
    pub(crate) fn causes(&self) -> &[String] {
        &self.because
    }

    /// For verbs other than `run`.
    pub(crate) fn outside_run(error: rkt_stage0::Error) -> Self {
        let status = match error.signal() {
            Some(_) => error.status(),
            None => USAGE,
        };
        Self {
            status,
            ..error.into()
        }
    }

    /// Ends the process by the signal that was the cause, if one was: a shell that waits for us
    /// then knows that its own user wanted to stop.
    pub(crate) fn end_by_signal(&self) {
        use rustix::process::{Signal, getpid, kill_process};
        if let Some(signal) = self
            .signal
            .and_then(|n| Signal::from_named_raw(i32::from(n)))
        {
            let _ = kill_process(getpid(), signal);
        }
    }

    /// Writes the failure on stderr.
    pub(crate) fn print(&self) {
        // A closed stderr is no reason to fail twice.
        let _ = write!(std::io::stderr().lock(), "{self}");
    }
}

impl From<rkt_stage0::Error> for Failure {
    fn from(error: rkt_stage0::Error) -> Self {
        Self {
            status: error.status(),
            doing: error.doing().to_owned(),
            because: error.because().map(str::to_owned).collect(),
            hint: error.remedy().map(str::to_owned),
            signal: error.signal(),
        }
    }
}

impl From<rkt_store::Error> for Failure {
    /// For verbs other than `run`.
    fn from(error: rkt_store::Error) -> Self {
        Self::outside_run(error.into())
    }
}

impl From<rkt_pod::Error> for Failure {
    /// For verbs other than `run`.
    fn from(error: rkt_pod::Error) -> Self {
        Self::outside_run(error.into())
    }
}

impl From<rkt_net::Error> for Failure {
    /// For verbs other than `run`.
    fn from(error: rkt_net::Error) -> Self {
        Self {
            status: USAGE,
            doing: error.doing().to_owned(),
            because: error.because().map(str::to_owned).collect(),
            hint: error.hint().map(str::to_owned),
            signal: None,
        }
    }
}

impl From<rkt_isolate::Error> for Failure {
    /// For verbs other than `run`.
    fn from(error: rkt_isolate::Error) -> Self {
        Self::outside_run(error.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.doing.is_empty() {
            return Ok(());
        }
        writeln!(f, "rkt: {}", printable(&self.doing))?;
        for line in &self.because {
            writeln!(f, "  because: {}", printable(line))?;
        }
        if let Some(hint) = &self.hint {
            writeln!(f, "  hint: {}", printable(hint))?;
        }
        Ok(())
    }
}

/// Text of strangers without control characters: no escape sequence reaches the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.trim_end()
        .chars()
        .map(|c| {
            if c.is_control() && c != '\n' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_reads_top_down_and_cannot_drive_the_terminal() {
        let f = Failure::new(RKT, "start app `web`")
            .because("No such file or directory (os error 2)")
            .because("evil \x1b[2J")
            .hint("mount it");
        assert_eq!(
            f.to_string(),
            "rkt: start app `web`\n  because: No such file or directory (os error 2)\n  \
             because: evil \u{fffd}[2J\n  hint: mount it\n"
        );
    }
}
