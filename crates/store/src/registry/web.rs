//! Plain files of the web, by the same rules as registries: TLS, redirects, proxies, patience.

use super::address::{Address, Scheme};
use super::headers::{Part, max_age};
use super::http::{Ask, Http, explain_io};
use crate::error::{Error, Kind, Result};
use crate::options::{Network, WebSecret};
use std::io::{self, Read};

/// Connections for files.
#[derive(Debug)]
pub(crate) struct Web(Http);

/// What came for an address.
pub(crate) struct WebAnswer {
    pub(crate) status: u16,
    pub(crate) etag: Option<String>,
    /// Seconds for which the answer may be kept; 0 when the server says to ask each time.
    pub(crate) max_age: Option<u64>,
    /// Bytes of the body, when the server says.
    pub(crate) length: Option<u64>,
    /// Bytes of all of it, when the body is a part.
    pub(crate) whole: Option<u64>,
    pub(crate) body: Box<dyn Read + Send>,
}

/// Where to begin a file, and what it has to be still.
#[derive(Debug, Clone, Default)]
pub(crate) struct From<'a> {
    /// First byte; 0 for all of it.
    pub(crate) byte: u64,
    /// A part only of this state, else all of what is there now.
    pub(crate) of: Option<&'a str>,
    /// Answer 304 when it is this.
    pub(crate) unless: Option<&'a str>,
}

impl Web {
    pub(crate) fn new(network: &Network) -> Self {
        Self(Http::new(network))
    }

    /// Breaks all connections. From another thread.
    pub(crate) fn interrupt(&self) {
        self.0.shut_down();
    }

    /// What the user's configuration lets us show to a host: over TLS, and to it alone.
    fn authorization(&self, to: &Address) -> Result<Option<String>> {
        if to.scheme != Scheme::Https {
            return Ok(None);
        }
        let web = &self.0.network().credentials.web;
        web.get(&to.authority()).map(WebSecret::header).transpose()
    }

    /// Asks for a file. Any status but a redirect comes back.
    ///
    /// # Errors
    /// `Refused` for addresses that may not be asked, `Unreachable`, `Untrusted`.
    pub(crate) fn get(&self, url: &str, from: &From<'_>) -> Result<WebAnswer> {
        let address = Address::parse(url)?;
        let host = address.authority();
        let ask = Ask {
            range: (from.byte != 0).then_some((from.byte, None)),
            part_of: from.of.map(str::to_owned),
            unless: from.unless.map(str::to_owned),
            authorization: self.authorization(&address)?,
            ..Ask::default()
        };
        let answer = self.0.send(&address, &ask)?;
        let mut whole = None;
        if from.byte != 0 && answer.status == 206 {
            let part = answer.header("content-range").and_then(Part::parse);
            whole = part.and_then(|p| p.whole);
            if !part.is_some_and(|p| p.goes_on(from.byte, None)) {
                return Err(Error::new(
                    Kind::Refused,
                    format!("`{host}` sends another part than it was asked for"),
                ));
            }
        }
        Ok(WebAnswer {
            status: answer.status,
            etag: answer
                .header("etag")
                .filter(|e| e.len() <= 512 && !e.starts_with("W/"))
                .map(str::to_owned),
            max_age: answer.header("cache-control").and_then(max_age),
            length: answer.header("content-length").and_then(|l| l.parse().ok()),
            whole,
            body: Box::new(Explained {
                body: answer.body,
                host,
            }),
        })
    }
}

/// `host[:port]` of a configuration as [`Address::authority`] writes it for HTTPS.
pub(crate) fn authority(text: &str) -> Option<String> {
    let address = Address::new(Scheme::Https, text, "/").ok()?;
    (!text.contains(['/', '?', '#'])).then(|| address.authority())
}

/// A body whose failures are told in our words.
struct Explained {
    body: Box<dyn Read + Send>,
    host: String,
}

impl Read for Explained {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.body.read(buffer).map_err(|e| match e.kind() {
            io::ErrorKind::Interrupted => e,
            _ => explain_io(&e, &self.host).into(),
        })
    }
}
