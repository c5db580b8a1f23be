//! One name at one place: the registry itself, or a mirror of it.
//!
//! Everything is checked while it flows: sizes, digests, types. Broken transfers go on where they
//! broke (`Range`), within the caller's patience; refusals come back in the place's own words.

use super::Login;
use super::address::{Address, Scheme, is_loopback};
use super::auth::Auth;
use super::http::{self, Answer, Ask, Http};
use super::refusal;
use super::tries::{Failure, Tries};
use crate::blob::{self, SMALL};
use crate::error::{Doing, Error, Kind, Result};
use crate::event::Events;
use crate::manifest::{DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use crate::options::Network;
use crate::reference::{HUB, RegistryName};
use crate::registries::Place;
use rkt_spec::Digest;
use rkt_spec::digest::Algorithm;
use std::io;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use ureq::http::Method;

/// One name at one place, for one fetch.
pub(super) struct Endpoint<'a> {
    pub(super) name: RegistryName,
    pub(super) http: Http,
    auth: Auth,
    /// Where it answered; known after the first answer.
    base: Mutex<Option<Address>>,
    /// Whether it ever answered: before that, nothing is tried twice.
    met: AtomicBool,
    pub(super) events: Events<'a>,
}

/// A manifest as it came.
pub(super) struct Fetched {
    pub(super) bytes: Vec<u8>,
    pub(super) content_type: Option<String>,
    pub(super) digest: Digest,
}

impl<'a> Endpoint<'a> {
    pub(super) fn new(place: Place, network: &Network, events: Events<'a>) -> Self {
        let Place { name, insecure } = place;
        Self {
            http: Http::of_place(network, host(&name), insecure),
            auth: Auth::new(&name),
            name,
            base: Mutex::default(),
            met: AtomicBool::new(false),
            events,
        }
    }

    /// The digest that the name has now, by a request that costs no pull at the Hub; by the
    /// manifest itself where that does not say it.
    ///
    /// # Errors
    /// As of any request; also when the name is gone.
    pub(super) fn current(&self) -> Result<Digest> {
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
        let said = match answer.status {
            200 => answer
                .header("docker-content-digest")
                .and_then(|d| Digest::new(d).ok()),
            _ => None,
        };
        match said {
            Some(digest) => Ok(digest),
            None => Ok(self.manifest(&self.name.wanted(), None)?.digest),
        }
    }

    /// Asks for nothing but to be let in.
    pub(super) fn log_in(&self) -> Result<Login> {
        let mut tries = Tries::new(&self.http, self.events);
        let answer = loop {
            match self.exchange("/v2/", &Ask::default()) {
                Ok(answer) => break answer,
                Err(failure) => tries.again(failure)?,
            }
        };
        match answer.status {
            200 if self.auth.has_shown() => Ok(Login::Taken),
            200 => Ok(Login::NotAsked),
            404 => Err(Error::new(
                Kind::Refused,
                format!("`{}` is no registry (it has no `/v2/`)", self.name.registry),
            )),
            _ => match self.refusal(answer) {
                Failure::Final(error) | Failure::Again { error, .. } => Err(error),
            },
        }
    }

    fn manifest_path(&self, wanted: &str) -> String {
        format!("/v2/{}/manifests/{wanted}", self.name.repository)
    }

    /// Fetches a manifest by tag or digest, with its digest proved or computed.
    pub(super) fn manifest(&self, wanted: &str, expected: Option<&Digest>) -> Result<Fetched> {
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
        let bytes =
            http::read_document(answer.body, SMALL, self.http.network().patience).map_err(|e| {
                match e.downcast::<Error>() {
                    Ok(error) => Failure::Final(error),
                    Err(e) => Failure::again(http::explain_io(&e, &self.name.registry)),
                }
            })?;
        Ok((bytes, content_type, claimed))
    }

    /// One request with whatever the registry wants to be shown.
    pub(super) fn exchange(&self, path: &str, ask: &Ask) -> Result<Answer, Failure> {
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
        self.healthy(answer)
    }

    /// Refuses an answer after which it is worth asking again.
    pub(super) fn healthy(&self, answer: Answer) -> Result<Answer, Failure> {
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
        let host = host(&self.name);
        let name_only = Address::new(Scheme::Https, host, "/")?;
        let order: &[Scheme] = if is_loopback(&name_only.host) {
            &[Scheme::Http, Scheme::Https]
        } else if self.http.allows_http(&name_only) {
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

    pub(super) fn refusal(&self, answer: Answer) -> Failure {
        Failure::Final(refusal::explain(
            answer,
            &self.name.registry,
            &self.name.repository,
        ))
    }
}

/// The host that is asked for a name.
fn host(name: &RegistryName) -> &str {
    match name.registry.as_str() {
        HUB => "registry-1.docker.io",
        other => other,
    }
}

fn accept() -> String {
    [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST].join(", ")
}
