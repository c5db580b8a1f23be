//! Images from registries: the pull half of the distribution spec.
//!
//! One [`Registry`] serves one fetch of one name, from the places that the user's configuration
//! gives for it: mirrors in their order, then the registry itself.

mod address;
mod auth;
mod challenge;
mod dns;
mod endpoint;
mod headers;
mod http;
mod proxy;
mod refusal;
mod signatures;
mod tls;
mod transfer;
mod tries;
pub(crate) mod web;

use crate::error::{Doing, Error, Kind, Result};
use crate::event::{Event, Events};
use crate::manifest::Blob;
use crate::options::Network;
use crate::platform::Platform;
use crate::reference::{Assumed, RegistryName};
use crate::registries::Place;
use crate::source::{self, Candidate, Documents, Layer, Source};
use address::Address;
use endpoint::{Endpoint, Fetched};
use rkt_spec::Digest;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use transfer::{From, Transfer};

/// Shows a secret to a registry and tells what it thinks of it.
///
/// # Errors
/// `Unauthorized` when it does not take it; others as of any request.
pub(crate) fn log_in(registry: &str, network: &Network, events: Events<'_>) -> Result<Login> {
    let name = RegistryName {
        registry: registry.to_owned(),
        repository: String::new(),
        tag: None,
        digest: None,
        assumed: Assumed::default(),
    };
    // A login goes to the registry itself.
    let place = network.registries.places(&name)?.pop();
    let insecure = place.is_some_and(|place| place.insecure);
    Endpoint::new(Place { name, insecure }, network, events).log_in()
}

/// What a registry said to a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// It has looked at name and password, and takes them.
    Taken,
    /// It lets in anybody, and has not looked.
    NotAsked,
}

/// One name, for one fetch.
pub(crate) struct Registry<'a> {
    name: &'a RegistryName,
    /// At least one, the registry itself last.
    places: Vec<Endpoint<'a>>,
    /// The place that answered last.
    at: AtomicUsize,
    /// Whether layers may come from addresses outside the registry.
    foreign: bool,
    events: Events<'a>,
}

/// Most addresses of one layer that are tried.
const MOST_URLS: usize = 8;

impl<'a> Registry<'a> {
    /// # Errors
    /// When the user's configuration forbids the registry.
    pub(crate) fn new(
        name: &'a RegistryName,
        network: &Network,
        events: Events<'a>,
    ) -> Result<Self> {
        let places = network.registries.places(name)?;
        Ok(Self {
            name,
            places: places
                .into_iter()
                .map(|place| Endpoint::new(place, network, events))
                .collect(),
            at: AtomicUsize::new(0),
            foreign: network.registries.allows_foreign(name),
            events,
        })
    }

    /// The digest that the name has now.
    pub(crate) fn current(&self) -> Result<Digest> {
        self.somewhere(|place| {
            place.current().doing(|| {
                format!(
                    "ask `{}` for `{}`",
                    place.name.registry,
                    place.name.wanted()
                )
            })
        })
    }

    /// A manifest by tag, from the first place that has it.
    fn fetch_manifest(&self, wanted: &str, expected: Option<&Digest>) -> Result<Fetched> {
        self.somewhere(|place| place.manifest(wanted, expected))
    }

    /// Asks one place after the other, beginning with the one that answered last. The error is
    /// that of the registry itself.
    fn somewhere<T>(&self, ask: impl FnMut(&Endpoint<'a>) -> Result<T>) -> Result<T> {
        self.anywhere(ask, |_| true)
    }

    fn anywhere<T>(
        &self,
        mut ask: impl FnMut(&Endpoint<'a>) -> Result<T>,
        elsewhere: impl Fn(&Error) -> bool,
    ) -> Result<T> {
        let first = self.at.load(Ordering::Relaxed);
        let mut failure = None;
        for (index, place) in self.places.iter().enumerate().skip(first) {
            match ask(place) {
                Ok(found) => {
                    self.at.fetch_max(index, Ordering::Relaxed);
                    return Ok(found);
                }
                Err(error) => {
                    let last = index + 1 == self.places.len();
                    if last || error.kind() == Kind::Interrupted || !elsewhere(&error) {
                        return Err(error);
                    }
                    (self.events)(Event::Message(&format!(
                        "mirror `{}`: {}; trying the next place",
                        place.name.registry,
                        error.because()
                    )));
                    failure = Some(error);
                }
            }
        }
        Err(failure.unwrap_or_else(|| Error::new(Kind::System, "there is no place to ask")))
    }

    /// Fetches a layer that the registry may not keep, from the addresses of its manifest.
    fn foreign(
        &self,
        layer: &Layer,
        digest: &Digest,
        size: u64,
        from: u64,
        sink: &mut dyn Write,
    ) -> Result<()> {
        let (Some(place), Some(first)) = (self.places.last(), layer.urls.first()) else {
            return Err(Error::new(Kind::NotFound, "there is no place to ask"));
        };
        if !self.foreign {
            return Err(Error::new(
                Kind::NotFound,
                format!(
                    "the registry does not have it; it is said to be at `{}`",
                    first.escape_debug()
                ),
            )
            .hint(format!(
                "`foreign-layers = true` for `{}` in registries.toml lets rkt ask there",
                self.name.registry
            )));
        }
        let mut transfer = Transfer {
            digest,
            size,
            offset: from,
            sink,
            sink_failed: false,
            ranges: true,
        };
        let mut failure = None;
        for url in layer.urls.iter().take(MOST_URLS) {
            transfer.ranges = true;
            let result = Address::parse(url)
                .and_then(|address| place.transfer(&From::Address(&address), &mut transfer))
                .doing(|| format!("ask `{}`", url.escape_debug()));
            match result {
                Ok(()) => return Ok(()),
                Err(error) if transfer.sink_failed => return Err(error),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| Error::new(Kind::NotFound, "there is no place to ask")))
    }

    fn blob(&self, digest: &Digest, size: u64, from: u64, sink: &mut dyn Write) -> Result<()> {
        let mut transfer = Transfer {
            digest,
            size,
            offset: from,
            sink,
            sink_failed: false,
            ranges: true,
        };
        let failed = std::cell::Cell::new(false);
        self.anywhere(
            |place| {
                transfer.ranges = true;
                let result = place.transfer(&From::Registry, &mut transfer);
                failed.set(transfer.sink_failed);
                result
            },
            |_| !failed.get(),
        )
    }
}

impl Documents for Registry<'_> {
    fn manifest(&self, blob: &Blob) -> Result<Vec<u8>> {
        source::check_small(blob)?;
        self.somewhere(|place| {
            let fetched = place.manifest(&blob.digest.to_string(), Some(&blob.digest))?;
            source::check_document(blob, &fetched.bytes)?;
            Ok(fetched.bytes)
        })
    }

    fn config(&self, blob: &Blob) -> Result<Vec<u8>> {
        source::check_small(blob)?;
        let mut bytes = Vec::new();
        self.blob(&blob.digest, blob.size, 0, &mut bytes)?;
        source::check_document(blob, &bytes)?;
        Ok(bytes)
    }
}

impl Source for Registry<'_> {
    fn candidate(&self, platform: &Platform) -> Result<Candidate> {
        let wanted = self.name.wanted();
        let fetched = self.somewhere(|place| {
            place
                .manifest(&wanted, self.name.digest.as_ref())
                .doing(|| format!("ask `{}` for `{wanted}`", place.name.registry))
        })?;
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
        self.places.iter().for_each(|place| place.http.shut_down());
    }

    fn stream(&self, layer: &Layer, sink: &mut dyn Write) -> Result<()> {
        self.stream_from(layer, 0, sink)
    }

    fn resumes(&self) -> bool {
        true
    }

    fn stream_from(&self, layer: &Layer, from: u64, sink: &mut dyn Write) -> Result<()> {
        let (Some(digest), Some(size)) = (&layer.blob, layer.size) else {
            return Err(Error::new(Kind::Corrupt, "the layer has no digest"));
        };
        match self.blob(digest, size, from, sink) {
            Err(error) if error.kind() == Kind::NotFound && !layer.urls.is_empty() => {
                self.foreign(layer, digest, size, from, sink)
            }
            other => other,
        }
    }

    fn distrust(&self) -> bool {
        let now = self.at.load(Ordering::Relaxed);
        now + 1 < self.places.len()
            && self
                .at
                .compare_exchange(now, now + 1, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}
