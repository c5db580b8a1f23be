//! One archive through the unprivileged reader, with its progress told.

use super::manifest::Manifest;
use super::source::{Flow, Place};
use crate::blob;
use crate::error::{Doing, Error, Kind, Result};
use crate::event::{Event, Events};
use crate::layer::Writer;
use crate::options::FetchOptions;
use crate::trust::Proof;
use rkt_spec::Digest;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// An archive that is in the store as a layer, with what its manifest says.
#[derive(Debug)]
pub(crate) struct Archive {
    /// SHA-512 of the uncompressed archive: the image's id.
    pub(crate) id: Digest,
    pub(crate) manifest: Manifest,
    /// Its manifest as it stands.
    pub(crate) bytes: Vec<u8>,
    /// Bytes of the archive as it is distributed.
    pub(crate) file_bytes: u64,
    pub(crate) proof: Proof,
    /// Whether it was found without asking for a version.
    pub(crate) latest: bool,
}

/// Time between two events.
const PACE: Duration = Duration::from_millis(100);

/// Reads an archive to its end, checks it as far as it can be checked alone, and keeps it.
pub(crate) fn archive(
    store: &Path,
    place: &Place,
    flow: Flow,
    options: &FetchOptions,
    events: Events<'_>,
    stopped: &AtomicBool,
) -> Result<Archive> {
    if !options.network.insecure.image {
        return Err(Error::new(
            Kind::Untrusted,
            "there is no key to check its signature with",
        )
        .hint("`--insecure-options=image` takes it without"));
    }
    if flow
        .length
        .is_some_and(|length| length > options.limits.bytes)
    {
        return Err(Error::new(
            Kind::TooLarge,
            format!("it has {} bytes even compressed", flow.length.unwrap_or(0)),
        ));
    }
    let writer = Writer::start_aci(store, &options.layer_program, &options.limits)?;
    // What it is nobody knows before its end: until then its progress goes by its place.
    let stand_in = blob::sha256(place.to_string().as_bytes());
    events(Event::LayerStart {
        layer: &stand_in,
        bytes: flow.length,
    });
    let mut tee = Tee {
        from: flow.body,
        to: writer,
        bytes: 0,
        told: Instant::now(),
        stand_in: &stand_in,
        events,
        stopped,
    };
    io::copy(&mut tee, &mut io::sink())?;
    if flow.length.is_some_and(|length| length != tee.bytes) {
        return Err(Error::new(
            Kind::Corrupt,
            format!(
                "it should have {} bytes and has {}",
                flow.length.unwrap_or(0),
                tee.bytes
            ),
        ));
    }
    let file_bytes = tee.bytes;
    let (info, bytes) = tee.to.finish_aci()?;
    let manifest = Manifest::read(&bytes).doing(|| "read its manifest".into())?;
    events(Event::LayerDone { layer: &stand_in });
    Ok(Archive {
        id: info.diff_id,
        manifest,
        bytes,
        file_bytes,
        proof: Proof::Unchecked,
        latest: false,
    })
}

/// Hands on what it reads, and gives it to the reader of layers on the way.
struct Tee<'a> {
    from: Box<dyn Read + Send>,
    to: Writer,
    bytes: u64,
    told: Instant,
    stand_in: &'a Digest,
    events: Events<'a>,
    stopped: &'a AtomicBool,
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(Error::new(Kind::Interrupted, "the fetch was stopped").into());
        }
        let n = self.from.read(buffer)?;
        self.to.write_all(buffer.get(..n).unwrap_or(&[]))?;
        self.bytes += n as u64;
        if self.told.elapsed() >= PACE {
            self.told = Instant::now();
            (self.events)(Event::LayerProgress {
                layer: self.stand_in,
                bytes: self.bytes,
            });
        }
        Ok(n)
    }
}
