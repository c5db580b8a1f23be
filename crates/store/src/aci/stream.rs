//! One archive through the unprivileged reader, with its progress told.

use super::manifest::Manifest;
use super::source::{Flow, Place, Signed};
use crate::blob;
use crate::disk;
use crate::error::{Doing, Error, Kind, Result};
use crate::event::{Event, Events};
use crate::fetch::partial::Partial;
use crate::layer::Writer;
use crate::options::FetchOptions;
use crate::registry::web::Web;
use crate::trust::Proof;
use crate::trust::openpgp::Signature;
use rkt_spec::Digest;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
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

/// What a stream needs to know besides its place.
pub(crate) struct Stream<'a> {
    pub(crate) store: &'a Path,
    pub(crate) web: &'a Web,
    pub(crate) options: &'a FetchOptions,
    pub(crate) events: Events<'a>,
    pub(crate) stopped: &'a AtomicBool,
    /// The file that is to prove it, instead of the one beside it.
    pub(crate) signature: Option<&'a Path>,
}

impl Stream<'_> {
    /// Reads an archive to its end, proves its signature on the way, and keeps it. `expected` is
    /// the image's name, where it is known before.
    pub(crate) fn archive(
        &self,
        place: &Place,
        flow: Flow,
        expected: Option<&str>,
    ) -> Result<Archive> {
        let kept = flow.partial.clone();
        let result = self.checked(place, flow, expected);
        // Kept only for what a later fetch may bring to its end.
        if let Some(kept) = kept
            && result.as_ref().map_or_else(
                |e| {
                    matches!(
                        e.kind(),
                        Kind::Corrupt | Kind::Unsupported | Kind::TooLarge | Kind::Untrusted
                    )
                },
                |_| true,
            )
        {
            Partial::forget(self.store, &kept);
        }
        result
    }

    fn checked(&self, place: &Place, mut flow: Flow, expected: Option<&str>) -> Result<Archive> {
        if flow
            .length
            .is_some_and(|length| length > self.options.limits.bytes)
        {
            return Err(Error::new(
                Kind::TooLarge,
                format!("it has {} bytes even compressed", flow.length.unwrap_or(0)),
            ));
        }
        if self.options.network.insecure.image {
            return self.read(place, flow, |tee| {
                io::copy(tee, &mut io::sink())?;
                Ok(Proof::Unchecked)
            });
        }
        // Who says to have signed is asked before the first byte of the image is read.
        let keys = self.options.keys.keys(expected)?;
        let bytes = match without(place.signed(self.web, self.signature))? {
            Signed::By(bytes) => bytes,
            Signed::Deferred => {
                (self.events)(Event::Message(
                    "server requested deferring the signature download",
                ));
                flow.body = Box::new(self.spool(flow.body)?);
                match without(place.signed(self.web, self.signature))? {
                    Signed::By(bytes) => bytes,
                    Signed::Deferred => {
                        return Err(Error::new(
                            Kind::Refused,
                            "the server has no signature after the image either",
                        ));
                    }
                }
            }
        };
        let signature = Signature::read(&bytes).doing(|| "read its signature".into())?;
        let claim = signature.signer(&keys, disk::now()).map_err(|e| {
            e.hint("`rkt trust add` trusts a key; `rkt trust list` shows which are")
        })?;
        let archive = self.read(place, flow, |tee| {
            Ok(Proof::Signed {
                by: claim.prove(tee)?,
            })
        })?;
        if let Proof::Signed { by } = &archive.proof
            && !self.options.keys.trusts(by, &archive.manifest.name)?
        {
            return Err(Error::new(
                Kind::Untrusted,
                format!(
                    "the key `{by}` that signed it is not trusted for `{}`",
                    archive.manifest.name
                ),
            )
            .hint("`rkt trust list` shows for which names it is"));
        }
        Ok(archive)
    }

    /// Keeps an image whose signature comes later, in a file without a name.
    fn spool(&self, mut body: Box<dyn Read + Send>) -> Result<File> {
        let mut file = disk::Growing::new(self.store)?.into_nameless()?;
        let mut buffer = vec![0; 256 << 10];
        let mut bytes = 0;
        loop {
            if self.stopped.load(Ordering::Relaxed) {
                return Err(Error::new(Kind::Interrupted, "the fetch was stopped"));
            }
            let n = body.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            bytes += n as u64;
            if bytes > self.options.limits.bytes {
                return Err(Error::new(
                    Kind::TooLarge,
                    "it is larger than an image may be",
                ));
            }
            file.write_all(buffer.get(..n).unwrap_or(&[]))?;
        }
        file.rewind()?;
        Ok(file)
    }

    fn read(
        &self,
        place: &Place,
        flow: Flow,
        prove: impl FnOnce(&mut Tee<'_>) -> Result<Proof>,
    ) -> Result<Archive> {
        let options = self.options;
        let writer = Writer::start_aci(self.store, &options.layer_program, &options.limits)?;
        // What it is nobody knows before its end: until then its progress goes by its place.
        let stand_in = blob::sha256(place.to_string().as_bytes());
        (self.events)(Event::LayerStart {
            layer: &stand_in,
            bytes: flow.length,
        });
        if flow.resumed > 0 {
            (self.events)(Event::LayerResumed {
                layer: &stand_in,
                from: flow.resumed,
            });
        }
        let mut tee = Tee {
            from: flow.body,
            to: writer,
            bytes: 0,
            ended: false,
            failure: None,
            told: Instant::now(),
            stand_in: &stand_in,
            events: self.events,
            stopped: self.stopped,
        };
        let proof = prove(&mut tee);
        if let Some(failure) = tee.failure.take() {
            return Err(failure);
        }
        let proof = proof?;
        if !tee.ended || flow.length.is_some_and(|length| length != tee.bytes) {
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
        (self.events)(Event::LayerDone { layer: &stand_in });
        Ok(Archive {
            id: info.diff_id,
            manifest,
            bytes,
            file_bytes,
            proof,
            latest: false,
        })
    }
}

/// The remedy of a missing signature.
fn without<T>(result: Result<T>) -> Result<T> {
    result.map_err(|e| e.hint("`--insecure-options=image` takes an image without a signature"))
}

/// Hands on what it reads, and gives it to the reader of layers on the way.
struct Tee<'a> {
    from: Box<dyn Read + Send>,
    to: Writer,
    bytes: u64,
    /// Whether the end was seen.
    ended: bool,
    failure: Option<Error>,
    told: Instant,
    stand_in: &'a Digest,
    events: Events<'a>,
    stopped: &'a AtomicBool,
}

impl Tee<'_> {
    fn next(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(Error::new(Kind::Interrupted, "the fetch was stopped").into());
        }
        let n = self.from.read(buffer)?;
        self.ended |= n == 0 && !buffer.is_empty();
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

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.next(buffer) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // Whoever reads may tell it in words of his own; the cause is kept here.
                Err(e) => {
                    self.failure.get_or_insert_with(|| e.into());
                    return Err(io::ErrorKind::Other.into());
                }
                ok => return ok,
            }
        }
    }
}
