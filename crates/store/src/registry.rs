//! Images from registries: the pull half of the distribution spec.
//!
//! One [`Registry`] serves one fetch of one name. Everything is checked while it flows: sizes,
//! digests, types. Broken transfers go on where they broke (`Range`), within the caller's
//! patience; refusals of a registry come back in its own words.

mod address;
mod auth;
mod challenge;
mod dns;
mod http;
mod proxy;
mod refusal;
mod secrets;
mod signatures;
mod tls;
mod tries;
pub(crate) mod web;

use crate::blob::{self, SMALL};
use crate::error::{Doing, Error, Kind, Result};
use crate::event::Events;
use crate::manifest::{Blob, DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use crate::options::Network;
use crate::platform::Platform;
use crate::reference::{HUB, RegistryName};
use crate::source::{self, Candidate, Documents, Layer, Source};
use address::{Address, Scheme, is_loopback};
use auth::Auth;
use http::{Answer, Ask, Http};
use rkt_spec::Digest;
use rkt_spec::digest::Algorithm;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use tries::{Failure, Tries};
use ureq::http::Method;

/// One name in one registry, for one fetch.
pub(crate) struct Registry<'a> {
    name: &'a RegistryName,
    http: Http,
    auth: Auth,
    /// Where it answered; known after the first answer.
    base: Mutex<Option<Address>>,
    /// Whether it ever answered: before that, nothing is tried twice.
    met: AtomicBool,
    events: Events<'a>,
}

/// A manifest as it came.
struct Fetched {
    bytes: Vec<u8>,
    content_type: Option<String>,
    digest: Digest,
}

impl<'a> Registry<'a> {
    pub(crate) fn new(name: &'a RegistryName, network: &Network, events: Events<'a>) -> Self {
        Self {
            name,
            http: Http::new(network),
            auth: Auth::new(name),
            base: Mutex::default(),
            met: AtomicBool::new(false),
            events,
        }
    }

    /// The digest that the name has now, by a request that costs no pull at the Hub. `None`
    /// when the registry does not say.
    pub(crate) fn current(&self) -> Result<Option<Digest>> {
        let mut tries = Tries::new(&self.http, self.events);
        let ask = Ask {
            method: Method::HEAD,
            accept: Some(accept()),
            ..Ask::default()
        };
        let path = self.manifest_path(&self.name.wanted());
        let answer = loop {
            match self.exchange(&path, &ask) {
                Ok(answer) => break answer,
                Err(failure) => tries.again(failure)?,
            }
        };
        Ok(match answer.status {
            200 => answer
                .header("docker-content-digest")
                .and_then(|d| Digest::new(d).ok()),
            _ => None,
        })
    }

    fn manifest_path(&self, wanted: &str) -> String {
        format!("/v2/{}/manifests/{wanted}", self.name.repository)
    }

    /// Fetches a manifest by tag or digest, with its digest proved or computed.
    fn fetch_manifest(&self, wanted: &str, expected: Option<&Digest>) -> Result<Fetched> {
        let ask = Ask {
            accept: Some(accept()),
            ..Ask::default()
        };
        let path = self.manifest_path(wanted);
        let (bytes, content_type, claimed) = self.small(&path, &ask)?;
        if let Some(expected) = expected {
            blob::check(expected, &bytes)?;
        }
        let digest = match expected {
            Some(digest) => digest.clone(),
            None => blob::sha256(&bytes),
        };
        if let Some(claimed) = claimed.and_then(|d| Digest::new(&d).ok())
            && claimed.algorithm() == Algorithm::Sha256
        {
            blob::check(&claimed, &bytes).doing(|| "compare the registry's own digest".into())?;
        }
        Ok(Fetched {
            bytes,
            content_type,
            digest,
        })
    }

    /// Reads a small answer whole: its bytes, its type, its claimed digest.
    #[allow(clippy::type_complexity)]
    fn small(&self, path: &str, ask: &Ask) -> Result<(Vec<u8>, Option<String>, Option<String>)> {
        let mut tries = Tries::new(&self.http, self.events);
        loop {
            match self.small_once(path, ask) {
                Ok(found) => return Ok(found),
                Err(failure) => tries.again(failure)?,
            }
        }
    }

    #[allow(clippy::type_complexity)]
    fn small_once(
        &self,
        path: &str,
        ask: &Ask,
    ) -> Result<(Vec<u8>, Option<String>, Option<String>), Failure> {
        let answer = self.exchange(path, ask)?;
        if answer.status != 200 {
            return Err(self.refusal(answer));
        }
        let content_type = answer.content_type();
        let claimed = answer.header("docker-content-digest").map(str::to_owned);
        let mut bytes = Vec::new();
        answer
            .body
            .take(SMALL + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| Failure::again(http::explain_io(&e, &self.name.registry)))?;
        if u64::try_from(bytes.len()).is_ok_and(|n| n > SMALL) {
            return Err(Failure::Final(Error::new(
                Kind::TooLarge,
                format!("the answer is larger than {SMALL} bytes"),
            )));
        }
        Ok((bytes, content_type, claimed))
    }

    /// Streams a blob into `sink`, going on where it broke.
    fn blob(&self, digest: &Digest, size: u64, sink: &mut dyn Write) -> Result<()> {
        let mut tries = Tries::new(&self.http, self.events);
        let mut offset = 0;
        let mut buffer = vec![0_u8; 128 << 10];
        loop {
            let before = offset;
            match self.blob_part(digest, size, &mut offset, &mut buffer, sink) {
                Ok(()) => return Ok(()),
                Err(failure) => {
                    if offset > before {
                        tries.reset();
                    }
                    tries.again(failure)?;
                }
            }
        }
    }

    fn blob_part(
        &self,
        digest: &Digest,
        size: u64,
        offset: &mut u64,
        buffer: &mut [u8],
        sink: &mut dyn Write,
    ) -> Result<(), Failure> {
        let path = format!("/v2/{}/blobs/{digest}", self.name.repository);
        let ask = Ask {
            // Some registries refuse an open range, so the end is named.
            range: (*offset > 0).then(|| (*offset, size.checked_sub(1))),
            ..Ask::default()
        };
        let mut answer = self.exchange(&path, &ask)?;
        let mut skip = 0;
        match answer.status {
            200 => {
                skip = *offset;
                let length = answer
                    .header("content-length")
                    .and_then(|l| l.parse::<u64>().ok());
                if length.is_some_and(|l| l != size) {
                    return Err(wrong_size(size, &format!("{}", length.unwrap_or(0))));
                }
            }
            206 if *offset > 0 => {
                let range = answer.header("content-range").unwrap_or("");
                if !range
                    .trim()
                    .strip_prefix("bytes ")
                    .is_some_and(|r| r.starts_with(&format!("{offset}-")))
                {
                    return Err(Failure::Final(Error::new(
                        Kind::Refused,
                        format!(
                            "`{}` sends another part than it was asked for",
                            self.name.registry
                        ),
                    )));
                }
            }
            416 => return Err(wrong_size(size, "fewer")),
            _ => return Err(self.refusal(answer)),
        }
        loop {
            let n = match answer.body.read(buffer) {
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Failure::again(http::explain_io(&e, &self.name.registry))),
            };
            if n == 0 {
                break;
            }
            let bytes = buffer.get(..n).unwrap_or(&[]);
            // The server began anew: these bytes were seen and hashed before.
            let old = usize::try_from(skip).unwrap_or(usize::MAX).min(n);
            skip -= u64::try_from(old).unwrap_or(0);
            let fresh = bytes.get(old..).unwrap_or(&[]);
            let after = *offset + u64::try_from(fresh.len()).unwrap_or(0);
            if after > size {
                return Err(wrong_size(size, "more"));
            }
            sink.write_all(fresh)
                .map_err(|e| Failure::Final(e.into()))?;
            *offset = after;
        }
        if *offset == size {
            return Ok(());
        }
        Err(Failure::again(Error::new(
            Kind::Unreachable,
            format!(
                "the connection to `{}` ended after {offset} of {size} bytes",
                self.name.registry
            ),
        )))
    }

    /// One request with whatever the registry wants to be shown.
    fn exchange(&self, path: &str, ask: &Ask) -> Result<Answer, Failure> {
        let known = self
            .base
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let result = match known {
            Some(base) => self.exchange_at(&base, path, ask),
            None => self.meet(path, ask),
        };
        let answer = match result {
            Ok(answer) => answer,
            Err(error) if error.kind() == Kind::Unreachable && self.met.load(Ordering::Relaxed) => {
                return Err(Failure::again(error));
            }
            Err(error) => return Err(Failure::Final(error)),
        };
        self.met.store(true, Ordering::Relaxed);
        match answer.status {
            429 | 500 | 502..=504 => {
                let wait = answer.retry_after();
                let error = refusal::explain(answer, &self.name.registry, &self.name.repository);
                Err(Failure::Again { error, wait })
            }
            _ => Ok(answer),
        }
    }

    fn exchange_at(&self, base: &Address, path: &str, ask: &Ask) -> Result<Answer> {
        let mut address = base.clone();
        address.path = path.to_owned();
        // Nobody, then with a pass, then with a fresh one in place of one that ended.
        for _ in 0..3 {
            let shown = self.auth.show(&self.http, base)?;
            let ask = Ask {
                authorization: shown.header.clone(),
                ..ask.clone()
            };
            let mut answer = self.http.send(&address, &ask)?;
            if answer.status != 401 {
                return Ok(answer);
            }
            // Read to its end, a short answer lets the connection be used again.
            let _ = io::copy(&mut (&mut answer.body).take(64 << 10), &mut io::sink());
            self.auth.answer(&self.http, base, &shown, &answer)?;
        }
        Err(self.auth.denied())
    }

    /// The first request: finds out whether the registry speaks TLS.
    ///
    /// Loopback is asked in plain HTTP first, as most registries there want it; others always
    /// over TLS, and in plain HTTP only when the user allowed that and TLS does not answer.
    fn meet(&self, path: &str, ask: &Ask) -> Result<Answer> {
        let host = match self.name.registry.as_str() {
            HUB => "registry-1.docker.io",
            other => other,
        };
        let name_only = Address::new(Scheme::Https, host, "/")?;
        let order: &[Scheme] = if is_loopback(&name_only.host) {
            &[Scheme::Http, Scheme::Https]
        } else if self.http.network().insecure.http {
            &[Scheme::Https, Scheme::Http]
        } else {
            &[Scheme::Https]
        };
        let mut first: Option<Result<Answer>> = None;
        for scheme in order {
            let base = Address::new(*scheme, host, "/")?;
            let result = self.exchange_at(&base, path, ask);
            let speaks = match &result {
                // What a TLS server answers to plain HTTP.
                Ok(answer) => !(*scheme == Scheme::Http && answer.status == 400),
                Err(error) => error.kind() != Kind::Unreachable,
            };
            if speaks {
                *self.base.lock().unwrap_or_else(PoisonError::into_inner) = Some(base);
                return result;
            }
            first.get_or_insert(result);
        }
        first.unwrap_or_else(|| self.exchange_at(&name_only, path, ask))
    }

    fn refusal(&self, answer: Answer) -> Failure {
        Failure::Final(refusal::explain(
            answer,
            &self.name.registry,
            &self.name.repository,
        ))
    }
}

fn accept() -> String {
    [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST].join(", ")
}

fn wrong_size(size: u64, has: &str) -> Failure {
    Failure::Final(Error::new(
        Kind::Corrupt,
        format!("it should have {size} bytes and has {has}"),
    ))
}

impl Documents for Registry<'_> {
    fn manifest(&self, blob: &Blob) -> Result<Vec<u8>> {
        source::check_small(blob)?;
        let fetched = self.fetch_manifest(&blob.digest.to_string(), Some(&blob.digest))?;
        source::check_document(blob, &fetched.bytes)?;
        Ok(fetched.bytes)
    }

    fn config(&self, blob: &Blob) -> Result<Vec<u8>> {
        source::check_small(blob)?;
        let mut bytes = Vec::new();
        self.blob(&blob.digest, blob.size, &mut bytes)?;
        source::check_document(blob, &bytes)?;
        Ok(bytes)
    }
}

impl Source for Registry<'_> {
    fn candidate(&self, platform: &Platform) -> Result<Candidate> {
        let wanted = self.name.wanted();
        let fetched = self
            .fetch_manifest(&wanted, self.name.digest.as_ref())
            .doing(|| format!("ask `{}` for `{wanted}`", self.name.registry))?;
        let stamp = fetched.digest.to_string();
        let chosen = source::choose(
            self,
            fetched.bytes,
            fetched.content_type.as_deref(),
            fetched.digest,
            platform,
        )?;
        source::assemble(self, chosen, stamp, platform)
    }

    fn interrupt(&self) {
        self.http.shut_down();
    }

    fn stream(&self, layer: &Layer, sink: &mut dyn Write) -> Result<()> {
        match (&layer.blob, layer.size) {
            (Some(digest), Some(size)) => self.blob(digest, size, sink),
            _ => Err(Error::new(Kind::Corrupt, "the layer has no digest")),
        }
    }
}
