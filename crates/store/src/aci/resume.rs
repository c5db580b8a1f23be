//! A download of an archive that goes on where an earlier one broke.
//!
//! The bytes that have come lie in `partial/`, as those of a registry's layers do, under a digest of
//! the address and of the strong ETag that they came with: another state of the file is another
//! name, so two states are never mixed. A server that gives no such tag is asked for all of it.

use super::source::Flow;
use crate::blob;
use crate::error::{Error, Result};
use crate::fetch::partial::Partial;
use crate::registry::web::{From, Web};
use rkt_spec::Digest;
use std::io::{self, Read};
use std::path::Path;

/// Name of the bytes of an address in one state of it.
pub(super) fn name(url: &str, etag: &str) -> Digest {
    blob::sha256(format!("{url}\n{etag}").as_bytes())
}

/// Puts what an earlier fetch has left before what the server sends, and keeps what comes now.
///
/// `flow` is the answer to a request for all of it. It is given up when there is something to go
/// on from: the server then is asked for the rest alone.
pub(super) fn resume(
    store: &Path,
    web: &Web,
    url: &str,
    etag: &str,
    mut flow: Flow,
) -> Result<Flow> {
    let Some(size) = flow.length else {
        return Ok(flow);
    };
    let name = name(url, etag);
    let Some(mut partial) = Partial::open(store, &name, size) else {
        return Ok(flow);
    };
    let mut old = partial.bytes();
    if old > 0 && old < size {
        let from = From {
            byte: old,
            of: Some(etag),
            unless: None,
        };
        // Whatever it answers but the rest of the same: what has begun to come will do.
        match web.get(url, &from) {
            Ok(rest) if rest.status == 206 && rest.whole.is_none_or(|whole| whole == size) => {
                flow.body = rest.body;
            }
            Err(e) if e.kind() == crate::error::Kind::Interrupted => return Err(e),
            _ => old = 0,
        }
    } else if old == size {
        flow.body = Box::new(io::empty());
    }
    if old == 0 && !partial.restart() {
        partial.remove();
        return Ok(flow);
    }
    partial.seek_end().map_err(Error::from)?;
    flow.resumed = old;
    flow.partial = Some(name);
    flow.body = Box::new(Keeping {
        partial: Some(partial),
        old,
        read: 0,
        from: flow.body,
    });
    Ok(flow)
}

/// Old bytes, then new ones, which are kept as they pass.
struct Keeping {
    /// Until the disk takes no more.
    partial: Option<Partial>,
    /// Bytes that were there before.
    old: u64,
    read: u64,
    from: Box<dyn Read + Send>,
}

impl Read for Keeping {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.old.saturating_sub(self.read);
        if let Some(partial) = self.partial.as_ref().filter(|_| left > 0) {
            let most = usize::try_from(left).map_or(buffer.len(), |l| l.min(buffer.len()));
            let n = partial.read_at(self.read, buffer.get_mut(..most).unwrap_or(&mut []))?;
            self.read += n as u64;
            if n == 0 && most > 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            return Ok(n);
        }
        let n = self.from.read(buffer)?;
        self.read += n as u64;
        if let Some(partial) = &mut self.partial
            && !partial.append(buffer.get(..n).unwrap_or(&[]))
            && let Some(partial) = self.partial.take()
        {
            partial.remove();
        }
        Ok(n)
    }
}
