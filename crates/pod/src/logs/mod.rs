//! Logs: one file per app, `logs/APP.log`, older ones `.1`, `.2`...
//!
//! A line is a record in Kubernetes' CRI format, so that every log collector reads it:
//!
//! ```text
//! 2026-11-23T21:10:00.123456789Z stdout F hello
//! ```
//! `F` ends a line, `P` does not: the next record of the stream goes on where it stops. The
//! head has a fixed width, so a reader finds its way backwards without parsing.

pub mod escape;
mod reader;
mod record;
mod tail;
mod watch;
mod writer;

pub use reader::{Entry, LogReader};
pub use record::Stream;
pub use watch::LogWatch;
pub use writer::LogWriter;

use rkt_spec::AppName;

/// Directory of the logs in the pod's.
pub const DIR: &str = "logs";

/// Longest text of one record, bytes; a longer line is several records.
pub const MAX_TEXT: usize = 16 * 1024;

/// Name of the `n`th oldest file; 0 is the one that is being written.
fn file_name(app: &AppName, n: u32) -> String {
    match n {
        0 => format!("{app}.log"),
        n => format!("{app}.log.{n}"),
    }
}

#[cfg(test)]
mod tests;
