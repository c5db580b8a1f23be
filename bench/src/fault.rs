//! What went wrong, as one line that grows a "doing" at each layer.

use std::fmt;

/// A failure told top-down.
#[derive(Debug, Clone)]
pub(crate) struct Fault(String);

/// What everything here returns.
pub(crate) type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    /// A failure with this text and no cause below it.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Says what was being done when something failed.
pub(crate) trait Doing<T> {
    /// Puts `what` before the cause.
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: fmt::Display> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|cause| Fault(format!("{}: {cause}", what())))
    }
}
