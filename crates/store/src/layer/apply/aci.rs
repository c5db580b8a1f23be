//! Entries of an App Container Image: `manifest`, `rootfs`, and nothing else at the top.
//!
//! Source: appc 0.8.11, "Image Archives". There are no whiteouts, no path stands twice, and a
//! name never goes through a link of a lower image: what an image has replaces what is below it.

use super::{Apply, corrupt};
use crate::blob::SMALL;
use crate::error::{Error, Kind, Result};
use crate::layer::entry::{Entry, What, components};
use crate::layer::tree::ROOT;

impl Apply<'_> {
    /// Takes one more entry of an App Container Image.
    pub(super) fn take_aci(&mut self, entry: &Entry) -> Result<()> {
        let parts = components(&entry.path)?;
        match parts.as_slice() {
            // `tar c .` begins with the directory that holds both.
            [] if entry.what == What::Directory => Ok(()),
            [] => Err(corrupt("the top of the archive is no directory")),
            [name] if *name == b"manifest" => self.manifest(entry),
            [name] if *name == b"rootfs" => {
                if entry.what != What::Directory {
                    return Err(corrupt("`rootfs` is no directory"));
                }
                if self.tree.inode(ROOT)?.explicit {
                    return Err(twice());
                }
                self.root(entry)
            }
            [top, rest @ ..] if *top == b"rootfs" => self.place(rest, entry),
            _ => Err(corrupt(
                "an App Container Image has `manifest` and `rootfs` at its top and nothing else",
            )),
        }
    }

    fn manifest(&mut self, entry: &Entry) -> Result<()> {
        if entry.what != What::File || entry.segments.is_some() {
            return Err(corrupt("`manifest` is no regular file"));
        }
        if self.manifest.is_some() {
            return Err(twice());
        }
        if entry.size > SMALL {
            return Err(Error::new(
                Kind::TooLarge,
                format!(
                    "the manifest has {} bytes; manifests end at {SMALL}",
                    entry.size
                ),
            ));
        }
        self.manifest = Some((entry.data, entry.size));
        Ok(())
    }

    fn place(&mut self, parts: &[&[u8]], entry: &Entry) -> Result<()> {
        let Some((last, parents)) = parts.split_last() else {
            return Ok(());
        };
        let Some(dir) = self.walk(parents)? else {
            return Err(corrupt("its parent cannot be made"));
        };
        if let Some(ino) = self.tree.child(dir, last) {
            let old = self.tree.inode(ino)?;
            // A directory that was only on the way so far gets its own entry now.
            if !old.is_directory() || old.explicit || entry.what != What::Directory {
                return Err(twice());
            }
        }
        self.entries += 1;
        if entry.what != What::HardLink {
            return self.put(dir, last, entry);
        }
        let target = components(&entry.link)?;
        match target.split_first() {
            Some((top, rest)) if *top == b"rootfs" && !rest.is_empty() => {
                let link = rest.join(&b'/');
                self.put(
                    dir,
                    last,
                    &Entry {
                        link,
                        ..entry.clone()
                    },
                )
            }
            _ => Err(corrupt("its target is not in `rootfs`")),
        }
    }

    /// Where the manifest lies in the tar, once all entries were seen: position and bytes.
    ///
    /// # Errors
    /// `Corrupt` when there is none, or no root file system.
    pub(in crate::layer) fn manifest_place(&self) -> Result<(u64, u64)> {
        if !self.tree.inode(ROOT)?.explicit {
            return Err(corrupt(
                "it has no `rootfs` directory, so it is no App Container Image",
            ));
        }
        self.manifest
            .ok_or_else(|| corrupt("it has no `manifest`, so it is no App Container Image"))
    }
}

fn twice() -> Error {
    corrupt("it stands in the archive twice")
}
