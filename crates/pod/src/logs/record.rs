//! The head of a record: time, stream, tag; 40 bytes.

use crate::time::{RFC3339_LEN, parse, rfc3339};

/// Bytes before the text.
pub(super) const HEAD: usize = RFC3339_LEN + 10;

/// Which descriptor of the app it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Descriptor 1, or the pty.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

impl Stream {
    /// `stdout` or `stderr`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Appends a record. `text` has no line end and at most [`super::MAX_TEXT`] bytes.
pub(super) fn put(out: &mut Vec<u8>, now: u64, stream: Stream, full: bool, text: &[u8]) {
    out.extend_from_slice(&rfc3339(now));
    out.push(b' ');
    out.extend_from_slice(stream.as_str().as_bytes());
    out.extend_from_slice(if full { b" F " } else { b" P " });
    out.extend_from_slice(text);
    out.push(b'\n');
}

/// Whether the record that begins here ends a line; `None` when no record begins here.
pub(super) fn is_full(head: &[u8]) -> Option<bool> {
    match head.get(RFC3339_LEN + 7..HEAD) {
        Some(b" F ") => Some(true),
        Some(b" P ") => Some(false),
        _ => None,
    }
}

/// Takes a record apart (without its line end): time, stream, whether it ends a line, text.
pub(super) fn split(line: &[u8]) -> Option<(u64, Stream, bool, &[u8])> {
    let full = is_full(line)?;
    let time = parse(std::str::from_utf8(line.get(..RFC3339_LEN)?).ok()?)?;
    let stream = match line.get(RFC3339_LEN..RFC3339_LEN + 7)? {
        b" stdout" => Stream::Stdout,
        b" stderr" => Stream::Stderr,
        _ => return None,
    };
    Some((time, stream, full, line.get(HEAD..)?))
}
