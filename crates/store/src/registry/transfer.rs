//! A blob as a stream that goes on where it broke, and that may not take for ever.

use super::address::Address;
use super::endpoint::Endpoint;
use super::headers::Part;
use super::http::{self, Ask};
use super::tries::{Failure, Tries};
use crate::error::{Error, Kind, Result};
use rkt_spec::Digest;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

/// New bytes that make up for a broken try; a server that drips may not go on for ever.
const AMENDS: u64 = 64 << 10;

/// Fewest bytes in the time of [`Pace`].
const SLOWEST: u64 = 4 << 10;

/// A blob under way: what of it has gone into the sink.
pub(super) struct Transfer<'a> {
    pub(super) digest: &'a Digest,
    pub(super) size: u64,
    /// Bytes that are in the sink.
    pub(super) offset: u64,
    pub(super) sink: &'a mut dyn Write,
    /// Whether it was the sink that failed: no other place helps then.
    pub(super) sink_failed: bool,
    /// Whether the place takes our ranges.
    pub(super) ranges: bool,
}

/// Where a blob is asked for.
pub(super) enum From<'a> {
    /// The registry, under the digest.
    Registry,
    /// Somewhere else; nothing of us is shown there.
    Address(&'a Address),
}

/// Ends transfers that live, and no more than that.
struct Pace {
    since: Instant,
    bytes: u64,
    window: Duration,
}

impl Pace {
    /// Counts; `false` when too little came in twice the time that a silence may take.
    fn keeps(&mut self, bytes: u64) -> bool {
        self.bytes += bytes;
        if self.bytes >= SLOWEST {
            self.bytes = 0;
            self.since = Instant::now();
        }
        self.since.elapsed() < self.window
    }
}

impl Endpoint<'_> {
    /// Streams what is left of a blob, going on where it breaks.
    pub(super) fn transfer(&self, from: &From<'_>, transfer: &mut Transfer<'_>) -> Result<()> {
        let mut tries = Tries::new(&self.http, self.events);
        let mut buffer = vec![0_u8; 128 << 10];
        while transfer.offset < transfer.size {
            let before = transfer.offset;
            if let Err(failure) = self.part(from, transfer, &mut buffer) {
                if transfer.offset - before >= AMENDS {
                    tries.reset();
                }
                tries.again(failure)?;
            }
        }
        Ok(())
    }

    fn part(
        &self,
        from: &From<'_>,
        transfer: &mut Transfer<'_>,
        buffer: &mut [u8],
    ) -> Result<(), Failure> {
        let asked = transfer.offset > 0 && transfer.ranges;
        let ask = Ask {
            // Some registries refuse an open range, so the end is named.
            range: asked.then(|| (transfer.offset, transfer.size.checked_sub(1))),
            ..Ask::default()
        };
        let answer = match from {
            From::Registry => {
                let path = format!("/v2/{}/blobs/{}", self.name.repository, transfer.digest);
                self.exchange(&path, &ask)?
            }
            From::Address(address) => self
                .http
                .send(address, &ask)
                .map_err(|error| match error.kind() {
                    Kind::Unreachable => Failure::again(error),
                    _ => Failure::Final(error),
                })
                .and_then(|answer| self.healthy(answer))?,
        };
        let skip = match answer.status {
            // It begins anew: what was seen and hashed before is passed over.
            200 => {
                let length = answer
                    .header("content-length")
                    .and_then(|l| l.parse::<u64>().ok());
                if let Some(length) = length.filter(|l| *l != transfer.size) {
                    return Err(wrong_size(transfer.size, &length.to_string()));
                }
                transfer.offset
            }
            206 if asked
                && answer
                    .header("content-range")
                    .and_then(Part::parse)
                    .is_some_and(|p| p.goes_on(transfer.offset, Some(transfer.size))) =>
            {
                0
            }
            // A registry that has its own idea of ranges is asked for the whole.
            206 | 416 if asked => {
                transfer.ranges = false;
                return Ok(());
            }
            _ => return Err(self.refusal(answer)),
        };
        self.pour(answer.body, skip, transfer, buffer)
    }

    /// Reads an answer to its end, without its first `skip` bytes.
    fn pour(
        &self,
        mut body: impl Read,
        mut skip: u64,
        transfer: &mut Transfer<'_>,
        buffer: &mut [u8],
    ) -> Result<(), Failure> {
        let mut pace = Pace {
            since: Instant::now(),
            bytes: 0,
            window: self.http.network().patience.stall * 2,
        };
        let broke = |because: String| Failure::again(Error::new(Kind::Unreachable, because));
        let registry = &self.name.registry;
        loop {
            let n = match body.read(buffer) {
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Failure::again(http::explain_io(&e, registry))),
            };
            if n == 0 {
                break;
            }
            let bytes = buffer.get(..n).unwrap_or(&[]);
            let old = usize::try_from(skip).unwrap_or(usize::MAX).min(n);
            skip -= old as u64;
            let fresh = bytes.get(old..).unwrap_or(&[]);
            let after = transfer.offset + fresh.len() as u64;
            if after > transfer.size {
                return Err(wrong_size(transfer.size, "more"));
            }
            if let Err(e) = transfer.sink.write_all(fresh) {
                transfer.sink_failed = true;
                return Err(Failure::Final(e.into()));
            }
            transfer.offset = after;
            if !pace.keeps(n as u64) {
                return Err(broke(format!(
                    "`{registry}` sends hardly anything any more"
                )));
            }
        }
        if transfer.offset == transfer.size {
            return Ok(());
        }
        Err(broke(format!(
            "the connection to `{registry}` ended after {} of {} bytes",
            transfer.offset, transfer.size
        )))
    }
}

fn wrong_size(size: u64, has: &str) -> Failure {
    Failure::Final(Error::new(
        Kind::Corrupt,
        format!("it should have {size} bytes and has {has}"),
    ))
}
