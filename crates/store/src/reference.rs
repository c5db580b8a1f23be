//! Names of images, as people type them, checked and made canonical.
//!
//! Pure text: nothing here looks at a disk or a network, and no input makes it panic.

mod app;
mod grammar;

pub(crate) use grammar::check_place;

use crate::error::Result;
use rkt_spec::Digest;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub use app::AppImageName;

/// The Hub's name in canonical references, and the usual default registry.
pub const HUB: &str = "docker.io";

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    /// `docker://host/name:tag`: an image in a registry.
    Registry(RegistryName),
    /// `oci:DIR[:TAG]`: an OCI layout directory.
    Layout(LocalName),
    /// `oci-archive:FILE[:TAG]`: a tar of an OCI layout.
    OciArchive(LocalName),
    /// `docker-archive:FILE[:TAG]`: what `docker save` writes.
    DockerArchive(LocalName),
    /// `builtin:NAME`: an image that is part of rkt.
    Builtin(String),
    /// An image already in the store, by its id or a prefix of it: 2 to 64 hex digits.
    Id(String),
    /// `./x.aci`, `file:///x.aci`: an App Container Image in a file of this host.
    AciFile(PathBuf),
    /// `https://host/x.aci`: an App Container Image at an address.
    AciUrl(String),
    /// `aci:example.com/app:1.0,arch=amd64`: an App Container Image by its name, which leads to it.
    App(AppImageName),
    /// An App Container Image in the store: 2 to 128 hex digits of its id, `sha512-...`.
    AciId(String),
}

/// Name of an image in a registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RegistryName {
    /// `host[:port]`; `docker.io` for the Hub, whatever alias was typed.
    pub registry: String,
    /// Path inside the registry, such as `library/redis`.
    pub repository: String,
    /// Tag; `None` only when there is a digest.
    pub tag: Option<String>,
    /// Digest of the manifest; wins over the tag.
    pub digest: Option<Digest>,
    /// What was filled in because it was not typed.
    pub assumed: Assumed,
}

/// Parts of a name that the user did not type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Assumed {
    /// Neither `docker://` nor a host was typed: the name went to the default registry.
    pub registry: bool,
    /// No tag and no digest was typed: `latest`.
    pub tag: bool,
}

/// A file or directory on this host, and which of its images.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LocalName {
    /// As typed; relative to the working directory.
    pub path: PathBuf,
    /// Which image, when there are several.
    pub tag: Option<String>,
}

impl Reference {
    /// Reads a reference; bare names go to `default_registry`, such as [`HUB`].
    ///
    /// `docker://[host[:port]/]name[:tag|@digest]`, `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`,
    /// `docker-archive:FILE[:TAG]`, `builtin:NAME`, `sha256:HEX` or `sha256-HEX` (2 to 64
    /// digits), 12 to 64 bare hex digits, or a bare `[host[:port]/]name[:tag|@digest]`.
    ///
    /// App Container Images: any path that ends in `.aci`, `file://` and `http(s)://` addresses
    /// that do, `sha512-HEX`, `aci:name[:version][,label=value]`, and the last without `aci:`
    /// when there is a label, which no name in a registry has.
    /// A path ends at its first `:`, as skopeo's do.
    ///
    /// # Errors
    /// `BadReference`, saying which rule the text breaks; `Unsupported` for kinds of sources
    /// that other programs have.
    pub fn parse(text: &str, default_registry: &str) -> Result<Self> {
        grammar::parse(text, default_registry)
            .map_err(|e| e.while_doing(format!("read image name `{}`", text.escape_debug())))
    }

    /// The whole name with nothing left out, as records and messages show it.
    ///
    /// Reading it again gives the same reference, whatever the default registry.
    pub fn canonical(&self) -> String {
        self.to_string()
    }

    /// The canonical name as one safe file name of at most 200 bytes.
    ///
    /// Bytes outside `A-Za-z0-9._-` are `%XX`; the tail of a longer name is its SHA-256.
    pub fn file_name(&self) -> String {
        let mut bytes = Vec::new();
        match self {
            Self::Layout(n) | Self::OciArchive(n) | Self::DockerArchive(n) => {
                bytes.extend_from_slice(self.scheme().as_bytes());
                bytes.extend_from_slice(n.path.as_os_str().as_bytes());
                if let Some(tag) = &n.tag {
                    bytes.push(b':');
                    bytes.extend_from_slice(tag.as_bytes());
                }
            }
            Self::AciFile(path) => {
                bytes.extend_from_slice(self.scheme().as_bytes());
                bytes.extend_from_slice(path.as_os_str().as_bytes());
            }
            _ => bytes.extend_from_slice(self.to_string().as_bytes()),
        }
        grammar::escape(&bytes)
    }

    /// The word that names the image to a person: `redis` of `docker://docker.io/library/redis:7`.
    ///
    /// `None` for ids and for paths without a name.
    pub fn short_name(&self) -> Option<&str> {
        match self {
            Self::Registry(n) => n.repository.rsplit('/').next(),
            Self::Builtin(name) => Some(name),
            Self::Id(_) | Self::AciId(_) => None,
            Self::AciFile(path) => path.file_stem()?.to_str(),
            Self::AciUrl(url) => url.rsplit('/').next()?.split(".aci").next(),
            Self::App(name) => name.name().rsplit('/').next(),
            Self::Layout(n) | Self::OciArchive(n) | Self::DockerArchive(n) => n.short_name(),
        }
    }

    /// What was filled in because it was not typed; the caller says it aloud.
    pub fn assumed(&self) -> Assumed {
        match self {
            Self::Registry(n) => n.assumed,
            _ => Assumed::default(),
        }
    }

    /// The same reference with an absolute path, so that a record of it means one place.
    ///
    /// # Errors
    /// When the working directory is gone.
    pub(crate) fn absolute(&self) -> Result<Self> {
        let make = |n: &LocalName| -> Result<LocalName> {
            Ok(LocalName {
                path: std::path::absolute(&n.path)?,
                tag: n.tag.clone(),
            })
        };
        Ok(match self {
            Self::Layout(n) => Self::Layout(make(n)?),
            Self::OciArchive(n) => Self::OciArchive(make(n)?),
            Self::DockerArchive(n) => Self::DockerArchive(make(n)?),
            Self::AciFile(path) => Self::AciFile(std::path::absolute(path)?),
            other => other.clone(),
        })
    }

    fn scheme(&self) -> &'static str {
        match self {
            Self::Registry(_) => "docker://",
            Self::Layout(_) => "oci:",
            Self::OciArchive(_) => "oci-archive:",
            Self::DockerArchive(_) => "docker-archive:",
            Self::Builtin(_) => "builtin:",
            Self::Id(_) => "sha256:",
            Self::AciFile(_) => "file://",
            Self::AciUrl(_) => "",
            Self::App(_) => "aci:",
            Self::AciId(_) => "sha512-",
        }
    }
}

impl RegistryName {
    /// What the registry is asked for: the digest, else the tag.
    pub fn wanted(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// `host[:port]/name`, without tag and digest.
    pub fn place(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

impl LocalName {
    fn short_name(&self) -> Option<&str> {
        if let Some(tag) = &self.tag {
            let last = tag.rsplit('/').next().unwrap_or(tag);
            let stem = last.split([':', '@']).next().unwrap_or(last);
            // `oci:DIR:7.2`: a version does not name the image, the directory does.
            if stem.starts_with(|c: char| c.is_ascii_alphabetic()) && stem != "latest" {
                return Some(stem);
            }
        }
        Path::new(self.path.file_name()?).file_stem()?.to_str()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `file:` addresses are absolute; a relative path stays as it was typed.
        if let Self::AciFile(path) = self
            && path.is_relative()
        {
            return path.display().fmt(f);
        }
        f.write_str(self.scheme())?;
        match self {
            Self::Registry(n) => n.fmt(f),
            Self::Layout(n) | Self::OciArchive(n) | Self::DockerArchive(n) => {
                write!(f, "{}", n.path.display())?;
                match &n.tag {
                    Some(tag) => write!(f, ":{tag}"),
                    None => Ok(()),
                }
            }
            Self::AciFile(path) => path.display().fmt(f),
            Self::App(name) => name.fmt(f),
            Self::Builtin(text) | Self::Id(text) | Self::AciUrl(text) | Self::AciId(text) => {
                f.write_str(text)
            }
        }
    }
}

impl fmt::Display for RegistryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
