//! Images in an OCI layout: a directory, or a tar of one.
//!
//! Source: OCI image-spec, image-layout.md. Files are opened below the directory and nowhere
//! else; blobs are believed by their digest only.

use crate::blob::{self, SMALL};
use crate::disk;
use crate::error::{Doing, Error, Kind, Result};
use crate::manifest::{self, Blob, Document, Entry};
use crate::platform::Platform;
use crate::source::{self, Candidate, Documents, Layer, Source};
use rkt_spec::Digest;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

/// A place with files by name: a directory or a tar.
pub(crate) trait Files: Sync {
    /// Opens a regular file and says how long it is; `NotFound` when there is none.
    fn open(&self, path: &str) -> Result<(Box<dyn Read + '_>, u64)>;
}

/// A directory, held open.
pub(crate) struct Directory(OwnedFd);

impl Directory {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let fd = rustix::fs::open(
            path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .doing(|| format!("open layout `{}`", path.display()))?;
        Ok(Self(fd))
    }
}

impl Files for Directory {
    fn open(&self, path: &str) -> Result<(Box<dyn Read + '_>, u64)> {
        let fd = rkt_sys::fd::open(
            &self.0,
            path,
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
        )
        .map_err(|errno| match errno {
            rustix::io::Errno::XDEV => Error::new(Kind::Corrupt, "it leads out of the layout"),
            other => other.into(),
        })
        .doing(|| format!("open `{path}`"))?;
        let file = File::from(fd);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(Error::new(
                Kind::Corrupt,
                format!("`{path}` is not a regular file"),
            ));
        }
        Ok((Box::new(file), metadata.len()))
    }
}

/// A layout in some place, and which of its images.
pub(crate) struct Layout<F> {
    pub(crate) files: F,
    pub(crate) tag: Option<String>,
    /// What the place is now; see [`crate::local::stamp`].
    pub(crate) stamp: String,
}

/// The name that an entry of `index.json` has.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The whole name, as containerd and newer dockers write it.
const IMAGE_NAME: &str = "io.containerd.image.name";

impl<F: Files> Layout<F> {
    fn small(&self, path: &str) -> Result<Vec<u8>> {
        let (file, size) = self.files.open(path)?;
        if size > SMALL {
            return Err(Error::new(
                Kind::TooLarge,
                format!("`{path}` is larger than {SMALL} bytes"),
            ));
        }
        disk::read_limited(file, SMALL).doing(|| format!("read `{path}`"))
    }

    fn document(&self, blob: &Blob) -> Result<Vec<u8>> {
        source::check_small(blob)?;
        let bytes = self.small(&blob_path(&blob.digest))?;
        source::check_document(blob, &bytes)?;
        Ok(bytes)
    }

    fn check_version(&self) -> Result<()> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Marker {
            image_layout_version: String,
        }
        let bytes = match self.small("oci-layout") {
            Err(e) if e.kind() == Kind::NotFound => {
                return Err(Error::new(
                    Kind::Corrupt,
                    "it has no file `oci-layout`, so it is no image layout",
                ));
            }
            other => other?,
        };
        let marker: Marker = serde_json::from_slice(&bytes)
            .map_err(|e| Error::new(Kind::Corrupt, format!("`oci-layout` is not readable: {e}")))?;
        if marker.image_layout_version.starts_with("1.") {
            return Ok(());
        }
        Err(Error::new(
            Kind::Unsupported,
            format!(
                "the layout is of version `{}`",
                marker.image_layout_version.escape_debug()
            ),
        ))
    }

    /// The entries that the tag means; all of them mean one image, for several platforms.
    fn entries(&self, all: Vec<Entry>) -> Result<Vec<Entry>> {
        let Some(tag) = &self.tag else {
            let names: BTreeSet<&str> = all.iter().filter_map(own_name).collect();
            if names.len() > 1 {
                return Err(Error::new(
                    Kind::Ambiguous,
                    format!("there are several images: {}", quoted(names)),
                )
                .hint("add `:` and one of these names"));
            }
            return Ok(all);
        };
        let chosen: Vec<Entry> = all
            .iter()
            .filter(|entry| {
                [REF_NAME, IMAGE_NAME]
                    .iter()
                    .filter_map(|key| entry.annotations.get(*key))
                    .any(|name| name == tag || name.rsplit_once(':').is_some_and(|(_, t)| t == tag))
            })
            .cloned()
            .collect();
        if chosen.is_empty() {
            let names: BTreeSet<&str> = all.iter().filter_map(own_name).collect();
            return Err(Error::new(
                Kind::NotFound,
                if names.is_empty() {
                    format!("there is no image `{tag}`; those that are there have no name")
                } else {
                    format!("there is no image `{tag}`, but {}", quoted(names))
                },
            ));
        }
        Ok(chosen)
    }
}

fn own_name(entry: &Entry) -> Option<&str> {
    entry
        .annotations
        .get(REF_NAME)
        .or_else(|| entry.annotations.get(IMAGE_NAME))
        .map(String::as_str)
}

/// Names of strangers, in back-ticks, not too many.
pub(crate) fn quoted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let list: Vec<String> = names
        .into_iter()
        .take(16)
        .map(|n| format!("`{}`", n.escape_debug()))
        .collect();
    list.join(", ")
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

impl<F: Files> Documents for Layout<F> {
    fn manifest(&self, blob: &Blob) -> Result<Vec<u8>> {
        self.document(blob)
    }

    fn config(&self, blob: &Blob) -> Result<Vec<u8>> {
        self.document(blob)
    }
}

impl<F: Files> Source for Layout<F> {
    fn candidate(&self, platform: &Platform) -> Result<Candidate> {
        self.check_version()?;
        let bytes = self.small("index.json")?;
        let entries = match manifest::read(&bytes, None).doing(|| "read `index.json`".into())? {
            Document::Index(entries) => self.entries(entries)?,
            Document::Image(_) => {
                return Err(Error::new(Kind::Corrupt, "`index.json` is no index"));
            }
        };
        let chosen = match entries.as_slice() {
            // A lone entry is what the user means, whatever it says about itself; what is wrong
            // with it is said when it is read.
            [lone] => {
                let bytes = self
                    .document(&lone.blob)
                    .doing(|| format!("read manifest `{}`", lone.blob.digest.short()))?;
                let content_type =
                    (!lone.blob.media_type.is_empty()).then_some(lone.blob.media_type.as_str());
                source::choose(
                    self,
                    bytes,
                    content_type,
                    lone.blob.digest.clone(),
                    platform,
                )?
            }
            several => source::choose_entry(self, several, platform)?,
        };
        source::assemble(self, chosen, self.stamp.clone(), platform)
    }

    fn stream(&self, layer: &Layer, sink: &mut dyn Write) -> Result<()> {
        let digest = layer
            .blob
            .as_ref()
            .ok_or_else(|| Error::new(Kind::Corrupt, "the layer has no digest"))?;
        let (file, size) = self.files.open(&blob_path(digest))?;
        if layer.size.is_some_and(|want| want != size) {
            return Err(Error::new(
                Kind::Corrupt,
                format!(
                    "it should have {} bytes and has {size}",
                    layer.size.unwrap_or(0)
                ),
            ));
        }
        copy(file, sink)
    }
}

/// Copies to the end with a large buffer.
pub(crate) fn copy(mut from: impl Read, sink: &mut dyn Write) -> Result<()> {
    let mut buffer = vec![0_u8; 256 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => sink.write_all(buffer.get(..n).unwrap_or(&[]))?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Checks that text found in an archive is the digest of some bytes, when it looks like one.
pub(crate) fn check_named(path: &str, bytes: &[u8]) -> Result<()> {
    let stem = path.rsplit('/').next().unwrap_or(path);
    let hex = stem.strip_suffix(".json").unwrap_or(stem);
    match Digest::new(&format!("sha256:{hex}")) {
        Ok(digest) => blob::check(&digest, bytes),
        Err(_) => Ok(()),
    }
}
