//! Refused system calls of a pod: a file of its directory, written by the supervisor, read by
//! `rkt why`.

use crate::Result;
use crate::file;
use rkt_spec::codec::{Reader, Record};
use rkt_spec::name::AppName;
use std::os::fd::BorrowedFd;

/// Name of the file.
pub const FILE: &str = "denials";
/// Most kinds of denials that are kept of a pod.
pub const MOST: usize = 256;
/// Longest file, bytes.
const LIMIT: usize = 1 << 20;

rkt_spec::record! {
    /// A kind of refused call, and how often it was made.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Denial {
        /// By which app.
        pub app: AppName,
        /// Number of the call, of the host's architecture.
        pub number: u32,
        /// The error it got.
        pub errno: u16,
        /// The argument that tells it from others of its number.
        pub arg: Option<u64>,
        /// How often.
        pub count: u64,
        /// Name of the process that made the last one; chosen by the app.
        pub program: String,
    }
}

/// Writes all there is; `more` counts calls of kinds beyond [`MOST`].
///
/// # Errors
/// When it cannot be written.
pub fn write(pod: BorrowedFd<'_>, list: &[Denial], more: u64) -> Result<()> {
    let mut bytes = Vec::new();
    more.put(&mut bytes);
    list.to_vec().put(&mut bytes);
    file::replace(pod, FILE, &bytes)
}

/// Reads it; `None` when nothing was ever noted.
///
/// # Errors
/// When it cannot be read or is damaged.
pub fn read(pod: BorrowedFd<'_>) -> Result<Option<(Vec<Denial>, u64)>> {
    let Some(bytes) = file::read(pod, FILE, LIMIT)? else {
        return Ok(None);
    };
    let mut from = Reader::new(&bytes);
    let more = u64::take(&mut from)?;
    let list = Vec::<Denial>::take(&mut from)?;
    from.finish()?;
    Ok(Some((list, more)))
}
