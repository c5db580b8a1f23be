//! Where the bytes of an App Container Image come from: a file, or an address of the web.

use super::resume;
use crate::discovery;
use crate::disk::read_limited;
use crate::error::{Doing, Error, Kind, Result};
use crate::local;
use crate::reference::Reference;
use crate::registry::web::{From, Web, WebAnswer};
use crate::trust::openpgp::MAX_SIGNATURE;
use rkt_spec::Digest;
use rustix::fs::{Mode, OFlags};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A place that an image can be read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    File(PathBuf),
    Url(String),
    /// An address that a page gave, with that of its signature.
    Found(discovery::Found),
}

/// An image that begins to flow.
pub(crate) struct Flow {
    pub(crate) body: Box<dyn Read + Send>,
    /// Bytes to come, when the place says.
    pub(crate) length: Option<u64>,
    /// What this state of the place is called; see [`Stamp`].
    pub(crate) stamp: String,
    /// Bytes of it that came with an earlier fetch.
    pub(crate) resumed: u64,
    /// Where the bytes are kept that come, for a later fetch.
    pub(crate) partial: Option<Digest>,
}

/// What a place has for us.
pub(crate) enum Found {
    Flow(Flow),
    /// It is what it was; the stamp is new.
    Unchanged(String),
}

/// How a state of an address is remembered: until when it may be kept, and its ETag.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Seconds since 1970.
    pub(crate) fresh_until: u64,
    /// Empty when the server gave none.
    pub(crate) etag: String,
    pub(crate) url: String,
}

impl Stamp {
    /// What [`fmt::Display`] wrote; anything else is a stamp of nothing.
    pub(crate) fn parse(text: &str) -> Self {
        let mut lines = text.split('\n');
        let mut next = || lines.next().unwrap_or("");
        Self {
            fresh_until: next().parse().unwrap_or(0),
            etag: next().to_owned(),
            url: next().to_owned(),
        }
    }

    fn of(url: &str, answer: &WebAnswer, before: Option<&Self>) -> Self {
        let etag = answer
            .etag
            .clone()
            .or_else(|| before.map(|b| b.etag.clone()));
        Self {
            fresh_until: answer.max_age.map_or(0, |age| {
                crate::disk::now().saturating_add(age.min(365 * 86_400))
            }),
            etag: etag.unwrap_or_default(),
            url: url.to_owned(),
        }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}", self.fresh_until, self.etag, self.url)
    }
}

impl Place {
    /// The place that a reference names by itself.
    pub(crate) fn of(reference: &Reference) -> Option<Self> {
        match reference {
            Reference::AciFile(path) => Some(Self::File(path.clone())),
            Reference::AciUrl(url) => Some(Self::Url(url.clone())),
            _ => None,
        }
    }

    /// Begins to read. `known` is the state that the store has.
    ///
    /// # Errors
    /// `NotFound`, `Refused`, `Unreachable` and others of the web; those of the file.
    pub(crate) fn open(&self, store: &Path, web: &Web, known: Option<&Stamp>) -> Result<Found> {
        match self {
            Self::File(path) => {
                let doing = || format!("open `{}`", path.display());
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                let file = rustix::fs::open(path, flags, Mode::empty())
                    .map(File::from)
                    .doing(doing)?;
                let metadata = file.metadata().doing(doing)?;
                if !metadata.is_file() {
                    return Err(Error::new(Kind::Corrupt, "it is not a regular file")).doing(doing);
                }
                Ok(Found::Flow(Flow {
                    stamp: local::stamp_of(&metadata),
                    length: Some(metadata.len()),
                    body: Box::new(file),
                    resumed: 0,
                    partial: None,
                }))
            }
            Self::Url(url) | Self::Found(discovery::Found { image: url, .. }) => {
                let known = known.filter(|k| k.url == *url && !k.etag.is_empty());
                let from = From {
                    unless: known.map(|k| k.etag.as_str()),
                    ..From::default()
                };
                let answer = web.get(url, &from).doing(|| format!("fetch `{url}`"))?;
                let stamp = Stamp::of(url, &answer, known).to_string();
                match answer.status {
                    200 => {
                        let flow = Flow {
                            body: answer.body,
                            length: answer.length,
                            stamp,
                            resumed: 0,
                            partial: None,
                        };
                        Ok(Found::Flow(match answer.etag {
                            Some(etag) => resume::resume(store, web, url, &etag, flow)?,
                            None => flow,
                        }))
                    }
                    304 if known.is_some() => Ok(Found::Unchanged(stamp)),
                    status => Err(refused(status)).doing(|| format!("fetch `{url}`")),
                }
            }
        }
    }
}

/// What a place says about the signature of its image.
pub(crate) enum Signed {
    /// The signature's bytes.
    By(Vec<u8>),
    /// It comes when the image was fetched (status 202).
    Deferred,
}

impl Place {
    /// Where the signature lies: beside the image, with `.asc` behind its name.
    fn signature(&self) -> Self {
        match self {
            Self::File(path) => {
                let mut name = path.clone().into_os_string();
                name.push(".asc");
                Self::File(name.into())
            }
            Self::Url(url) => match url.split_once('?') {
                Some((path, query)) => Self::Url(format!("{path}.asc?{query}")),
                None => Self::Url(format!("{url}.asc")),
            },
            Self::Found(found) => Self::Url(found.signature.clone()),
        }
    }

    /// Fetches the signature of the image that is here, or the file that was given instead.
    ///
    /// # Errors
    /// In the original's words, when there is none.
    pub(crate) fn signed(&self, web: &Web, given: Option<&Path>) -> Result<Signed> {
        let place = given.map_or_else(|| self.signature(), |path| Self::File(path.to_owned()));
        match &place {
            Self::File(path) => {
                let doing = || format!("error opening signature file `{place}`");
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                let file = rustix::fs::open(path, flags, Mode::empty())
                    .map(File::from)
                    .doing(doing)?;
                Ok(Signed::By(read_limited(file, MAX_SIGNATURE).doing(doing)?))
            }
            Self::Url(url) | Self::Found(discovery::Found { signature: url, .. }) => {
                let doing = || format!("error downloading the signature file `{url}`");
                let answer = web.get(url, &From::default()).doing(doing)?;
                match answer.status {
                    200 => Ok(Signed::By(
                        read_limited(answer.body, MAX_SIGNATURE).doing(doing)?,
                    )),
                    202 => Ok(Signed::Deferred),
                    status => Err(refused(status)).doing(doing),
                }
            }
        }
    }
}

/// A status that brings nothing, in words.
pub(crate) fn refused(status: u16) -> Error {
    let (kind, why) = match status {
        404 | 410 => (Kind::NotFound, "it is not there"),
        401 | 403 => (
            Kind::Unauthorized,
            "the server wants credentials, or nobody",
        ),
        _ => (Kind::Refused, "the server does not give it"),
    };
    Error::new(kind, format!("{why} (status {status})"))
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url) | Self::Found(discovery::Found { image: url, .. }) => f.write_str(url),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_read_as_they_were_written() {
        let stamp = Stamp {
            fresh_until: 7,
            etag: "\"abc\"".into(),
            url: "https://a/x.aci".into(),
        };
        assert_eq!(Stamp::parse(&stamp.to_string()), stamp);
        assert_eq!(Stamp::parse("1:2:3").fresh_until, 0);
    }
}
