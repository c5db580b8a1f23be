//! The one device every network namespace has.

use std::io;

/// Brings `lo` up in the calling process's network namespace.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN over that namespace.
pub fn up() -> io::Result<()> {
    rkt_sys::netdev::bring_up(c"lo")
}
