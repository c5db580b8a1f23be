//! One request and its answer, with redirects followed by our own rules.
//!
//! `Authorization` goes to the address it was made for and nowhere else; a redirect never leads
//! from HTTPS to HTTP; plain HTTP leaves this host only when the user said so.

use super::address::{Address, Scheme};
use super::dns::{Dns, Failure};
use super::{headers, proxy, tls};
use crate::error::{Error, Kind, Result};
use crate::options::{Network, Patience};
use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use ureq::http::{HeaderMap, Method, Request};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Proxy};

/// Most redirects of one request.
const MOST_REDIRECTS: usize = 10;

/// Connections to everybody that one fetch talks to.
#[derive(Debug)]
pub(super) struct Http {
    network: Network,
    /// The host that all of this is for, and whether TLS matters there.
    place: Option<(String, bool)>,
    agents: Mutex<HashMap<(Scheme, String, u16), Agent>>,
    stopped: AtomicBool,
}

/// What to ask for, besides the address.
#[derive(Debug, Clone, Default)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) accept: Option<String>,
    pub(super) authorization: Option<String>,
    /// First byte, and the last one when it is known.
    pub(super) range: Option<(u64, Option<u64>)>,
    /// The ETag of what `range` is a part of: another state is sent whole.
    pub(super) part_of: Option<String>,
    /// The ETag that is known already: an answer 304 says that it is the same still.
    pub(super) unless: Option<String>,
    /// A form to post.
    pub(super) form: Option<String>,
}

/// An answer: any status but a redirect.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Box<dyn Read + Send>,
}

impl Answer {
    /// A header as text; absent when it is no text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// The content type without its parameters, in lower case.
    pub(super) fn content_type(&self) -> Option<String> {
        let whole = self.header("content-type")?;
        Some(whole.split(';').next()?.trim().to_ascii_lowercase())
    }

    /// The pause of `Retry-After`.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        headers::retry_after(self.header("retry-after")?, SystemTime::now())
    }
}

impl Http {
    pub(super) fn new(network: &Network) -> Self {
        Self {
            network: network.clone(),
            place: None,
            agents: Mutex::default(),
            stopped: AtomicBool::new(false),
        }
    }

    /// Connections for one name at `host` (`host[:port]`) and to where that leads.
    pub(super) fn of_place(network: &Network, host: &str, insecure: bool) -> Self {
        Self {
            place: Some((host.to_owned(), insecure)),
            ..Self::new(network)
        }
    }

    /// Breaks all connections; there will be no new ones.
    pub(super) fn shut_down(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        let agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        agents.values().cloned().for_each(Agent::shutdown);
    }

    /// Whether [`Http::shut_down`] was called.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    /// Whether plain HTTP will do for a host: loopback, or the user said so.
    pub(super) fn allows_http(&self, to: &Address) -> bool {
        to.is_loopback() || self.network.insecure.http || self.is_insecure(to)
    }

    /// What the user's files say about a host: for its own place, by the rule of the name that is
    /// asked for there.
    fn is_insecure(&self, to: &Address) -> bool {
        if let Some((host, insecure)) = &self.place
            && Address::new(to.scheme, host, "/")
                .is_ok_and(|own| own.host == to.host && own.port == to.port)
        {
            return *insecure;
        }
        self.network.registries.is_insecure(&to.authority())
    }

    /// Asks, follows redirects, and gives what comes at their end.
    pub(super) fn send(&self, address: &Address, ask: &Ask) -> Result<Answer> {
        let mut at = address.clone();
        let mut ask = ask.clone();
        for _ in 0..=MOST_REDIRECTS {
            let answer = self.send_once(&at, &ask)?;
            if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let location = answer.header("location").ok_or_else(|| {
                Error::new(
                    Kind::Refused,
                    format!("`{}` redirects to nowhere", at.authority()),
                )
            })?;
            let next = at.join(location)?;
            if at.scheme == Scheme::Https && next.scheme == Scheme::Http {
                return Err(Error::new(
                    Kind::Refused,
                    format!(
                        "`{}` redirects from HTTPS to plain HTTP at `{}`",
                        at.authority(),
                        next.authority()
                    ),
                ));
            }
            if !at.same_origin(&next) {
                ask.authorization = None;
            }
            if ask.form.is_some() {
                return Err(Error::new(
                    Kind::Refused,
                    format!(
                        "`{}` redirects a request with a secret in it",
                        at.authority()
                    ),
                ));
            }
            at = next;
        }
        Err(Error::new(
            Kind::Refused,
            format!(
                "`{}` redirects more than {MOST_REDIRECTS} times",
                address.authority()
            ),
        ))
    }

    fn send_once(&self, to: &Address, ask: &Ask) -> Result<Answer> {
        if to.scheme == Scheme::Http && !self.allows_http(to) {
            return Err(Error::new(
                Kind::Refused,
                format!(
                    "`{}` wants plain HTTP, which anybody on the way can change",
                    to.authority()
                ),
            )
            .hint("`--insecure-options=http` allows it, or `insecure = true` for that host in registries.toml"));
        }
        let agent = self.agent(to)?;
        let mut request = Request::builder().method(&ask.method).uri(to.to_string());
        for (name, value) in [
            ("accept", &ask.accept),
            ("authorization", &ask.authorization),
            ("if-none-match", &ask.unless),
            ("if-range", &ask.part_of),
        ] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        if let Some((first, last)) = ask.range {
            let last = last.map(|l| l.to_string()).unwrap_or_default();
            request = request.header("range", format!("bytes={first}-{last}"));
        }
        let sent = match &ask.form {
            Some(form) => request
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form.clone())
                .map_err(ureq::Error::from)
                .and_then(|r| agent.run(r)),
            None => request
                .body(())
                .map_err(ureq::Error::from)
                .and_then(|r| agent.run(r)),
        };
        let response = sent.map_err(|e| explain(e, to, agent.config().proxy()))?;
        let (parts, body) = response.into_parts();
        Ok(Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: Box::new(body.into_reader()),
        })
    }

    /// One agent a host: it keeps connections, and its own roots.
    fn agent(&self, to: &Address) -> Result<Agent> {
        let key = (to.scheme, to.host.clone(), to.port);
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_stopped() {
            return Err(Error::new(Kind::Interrupted, "the fetch was stopped"));
        }
        if let Some(agent) = agents.get(&key) {
            return Ok(agent.clone());
        }
        let patience = self.network.patience;
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("rkt/", env!("CARGO_PKG_VERSION")))
            // Bytes are hashed as they are kept: no encoding on top.
            .accept_encoding("identity")
            .proxy(proxy::proxy_for(&self.network.proxies, to)?)
            .max_response_header_size(64 << 10)
            .max_idle_connections(16)
            .max_idle_connections_per_host(16)
            .timeout_resolve(Some(patience.connect))
            .timeout_connect(Some(patience.connect))
            .timeout_recv_response(Some(patience.answer))
            .timeout_per_read(Some(patience.stall))
            .timeout_per_write(Some(patience.stall));
        if to.scheme == Scheme::Https {
            config = config.tls_config(tls::config(&self.network, to, self.is_insecure(to))?);
        }
        let resolver = Dns {
            hosts: self.network.hosts.clone(),
            resolv_conf: self.network.resolv_conf.clone(),
        };
        let agent = Agent::with_parts(config.build(), DefaultConnector::default(), resolver);
        agents.insert(key, agent.clone());
        Ok(agent)
    }
}

/// Reads a small answer whole, within the time for an answer.
///
/// # Errors
/// Of the connection; `TooLarge` of this crate when there is more than `limit`.
pub(super) fn read_document(
    mut from: impl Read,
    limit: u64,
    patience: Patience,
) -> io::Result<Vec<u8>> {
    let end = Instant::now() + patience.answer;
    let mut bytes = Vec::new();
    let mut buffer = [0_u8; 16 << 10];
    loop {
        let n = match from.read(&mut buffer) {
            Ok(0) => return Ok(bytes),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        bytes.extend_from_slice(buffer.get(..n).unwrap_or(&[]));
        if u64::try_from(bytes.len()).is_ok_and(|n| n > limit) {
            let because = format!("the answer is larger than {limit} bytes");
            return Err(Error::new(Kind::TooLarge, because).into());
        }
        if Instant::now() > end {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

/// A failed exchange in our words.
fn explain(error: ureq::Error, to: &Address, proxy: Option<&Proxy>) -> Error {
    let host = to.authority();
    if let Some(error) = proxy.and_then(|proxy| proxy::explain(&error, &host, proxy)) {
        return error;
    }
    match error {
        ureq::Error::Timeout(_) => Error::new(
            Kind::Unreachable,
            format!("`{host}` does not answer in time"),
        ),
        ureq::Error::Io(e) => explain_io(&e, &host),
        ureq::Error::Rustls(e) => explain_tls(&e, &host),
        ureq::Error::ConnectionFailed | ureq::Error::ConnectProxyFailed(_) => Error::new(
            Kind::Unreachable,
            format!("there is no way to `{host}`: {error}"),
        ),
        other => Error::new(
            Kind::Unreachable,
            format!("`{host}` does not speak HTTP as it should: {other}"),
        ),
    }
}

/// A failed read of a body, which the caller may repeat.
pub(super) fn explain_io(error: &io::Error, host: &str) -> Error {
    let inner = error.get_ref();
    if let Some(tls) = inner.and_then(|e| e.downcast_ref::<rustls::Error>()) {
        return explain_tls(tls, host);
    }
    if let Some(dns) = inner.and_then(|e| e.downcast_ref::<Failure>()) {
        return Error::new(
            Kind::Unreachable,
            format!("the name `{host}` leads nowhere: {dns}"),
        );
    }
    if let Some(inner) = inner.and_then(|e| e.downcast_ref::<ureq::Error>()) {
        return match inner {
            ureq::Error::Timeout(_) => {
                Error::new(Kind::Unreachable, format!("`{host}` has stopped to send"))
            }
            other => Error::new(
                Kind::Unreachable,
                format!("the connection to `{host}` broke: {other}"),
            ),
        };
    }
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Error::new(
            Kind::Unreachable,
            format!("`{host}` does not answer in time"),
        ),
        io::ErrorKind::ConnectionRefused => {
            Error::new(Kind::Unreachable, format!("nobody listens at `{host}`"))
        }
        _ => Error::new(
            Kind::Unreachable,
            format!("the connection to `{host}` broke: {error}"),
        ),
    }
}

fn explain_tls(error: &rustls::Error, host: &str) -> Error {
    match error {
        rustls::Error::InvalidCertificate(_) => Error::new(
            Kind::Untrusted,
            format!("the certificate of `{host}` is not believed: {error}"),
        )
        .hint(format!(
            "put its root into `/etc/rkt/certs.d/{host}/ca.crt`, or take the check off with `--insecure-options=tls`"
        )),
        rustls::Error::InvalidMessage(_) => Error::new(
            Kind::Unreachable,
            format!("`{host}` does not speak TLS"),
        )
        .hint("`--insecure-options=http` allows plain HTTP"),
        _ => Error::new(Kind::Unreachable, format!("no TLS with `{host}`: {error}")),
    }
}
