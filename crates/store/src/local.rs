//! Sources on this host, and how to see that they are what they were.

use crate::archive::{self, DockerArchive};
use crate::error::{Doing, Result};
use crate::event::Events;
use crate::oci::{Directory, Layout};
use crate::reference::{LocalName, Reference};
use crate::source::Source;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What a file is now: another content has another stamp, so an archive that was read once is
/// not read again. The change time cannot be set back by its owner.
pub(crate) fn stamp(reference: &Reference) -> Result<Option<String>> {
    let path = match reference {
        Reference::Layout(name) => name.path.join("index.json"),
        Reference::OciArchive(name) | Reference::DockerArchive(name) => name.path.clone(),
        _ => return Ok(None),
    };
    let m = std::fs::metadata(&path).doing(|| format!("look at `{}`", path.display()))?;
    Ok(Some(stamp_of(&m)))
}

/// The stamp of a file that was looked at.
pub(crate) fn stamp_of(m: &std::fs::Metadata) -> String {
    format!(
        "{}:{}:{}:{}.{}:{}.{}",
        m.dev(),
        m.ino(),
        m.size(),
        m.mtime(),
        m.mtime_nsec(),
        m.ctime(),
        m.ctime_nsec()
    )
}

/// The layout in a directory.
pub(crate) fn layout(name: &LocalName, stamp: String) -> Result<Box<dyn Source>> {
    Ok(Box::new(Layout {
        files: Directory::open(&name.path)?,
        tag: name.tag.clone(),
        stamp,
    }))
}

/// The layout in a tar.
pub(crate) fn oci_archive(
    name: &LocalName,
    stamp: String,
    scratch: &Path,
    events: Events<'_>,
) -> Result<Box<dyn Source>> {
    Ok(Box::new(Layout {
        files: archive::open(&name.path, scratch, events)?,
        tag: name.tag.clone(),
        stamp,
    }))
}

/// What `docker save` wrote.
pub(crate) fn docker_archive(
    name: &LocalName,
    stamp: String,
    scratch: &Path,
    events: Events<'_>,
) -> Result<Box<dyn Source>> {
    Ok(Box::new(DockerArchive {
        tar: archive::open(&name.path, scratch, events)?,
        tag: name.tag.clone(),
        stamp,
    }))
}
