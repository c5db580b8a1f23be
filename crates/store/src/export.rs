//! An image as one tar file: an OCI layout, or what `docker save` writes.
//!
//! The configuration goes out as it came, so the image keeps its id. Layers are written as the
//! uncompressed tars that the store has, hashed on the way: damage never leaves the store
//! unnoticed. The same image gives the same bytes, whenever and wherever.

use crate::blob::{self, Hasher};
use crate::error::{Doing, Error, Kind, Result};
use crate::image::Image;
use crate::layer;
use crate::manifest::OCI_MANIFEST;
use crate::reference::Reference;
use crate::store::Store;
use crate::ustar;
use rkt_spec::Digest;
use serde_json::json;
use std::collections::BTreeSet;
use std::io::{Read, Write};

const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An OCI layout in a tar: `oci-archive:` of skopeo, podman and rkt.
    Oci,
    /// `docker save`: what `docker load` and `docker-archive:` read.
    Docker,
    /// An App Container Image as it came, uncompressed; for those only.
    Aci,
}

impl Store {
    /// Writes an image, under the names that it has in the store, and gives the bytes written.
    /// Reads all of its layers.
    ///
    /// # Errors
    /// `Corrupt` when a stored byte is not what its digest says: what was written by then is to
    /// be thrown away. `NotFound` when a layer or the configuration is gone.
    pub fn export(&self, image: &Image, form: Form, to: &mut dyn Write) -> Result<u64> {
        let mut archive = Archive {
            store: self,
            to,
            written: 0,
        };
        if image.aci.is_some() != (form == Form::Aci) {
            let why = match form {
                Form::Aci => "it is no App Container Image",
                _ => "it is an App Container Image, and images are not converted",
            };
            return Err(Error::new(Kind::Unsupported, why))
                .doing(|| format!("write image `{}`", image.title()));
        }
        if form == Form::Aci {
            archive
                .whole(&image.id)
                .doing(|| format!("write image `{}`", image.title()))?;
            return Ok(archive.written);
        }
        let config = self.config_json(&image.id)?;
        match form {
            Form::Oci => archive.oci(image, &config),
            Form::Docker | Form::Aci => archive.docker(image, &config),
        }
        .doing(|| format!("write image `{}`", image.id))?;
        Ok(archive.written)
    }
}

struct Archive<'a> {
    store: &'a Store,
    to: &'a mut dyn Write,
    written: u64,
}

impl Archive<'_> {
    /// The archive of an App Container Image, byte for byte.
    fn whole(&mut self, id: &Digest) -> Result<()> {
        let size = self.layer_bytes(id)?;
        if self.copy(id, size)?.0 == *id {
            return Ok(());
        }
        Err(Error::new(
            Kind::Corrupt,
            "its stored bytes are not what its id says",
        ))
    }

    fn oci(&mut self, image: &Image, config: &[u8]) -> Result<()> {
        let mut layers = Vec::new();
        for diff in &image.layers {
            let size = self.layer_bytes(diff)?;
            layers.push(json!({ "mediaType": OCI_LAYER, "digest": diff, "size": size }));
        }
        let manifest = text(&json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": { "mediaType": OCI_CONFIG, "digest": image.id, "size": config.len() },
            "layers": layers,
        }));
        let digest = blob::sha256(&manifest);
        let entry = |annotations: serde_json::Value| {
            json!({
                "mediaType": OCI_MANIFEST,
                "digest": digest,
                "size": manifest.len(),
                "annotations": annotations,
                "platform": { "architecture": image.config.architecture, "os": image.config.os },
            })
        };
        let mut entries: Vec<_> = names(image)
            .map(|(name, tag)| {
                entry(json!({
                    "io.containerd.image.name": name,
                    "org.opencontainers.image.ref.name": tag,
                }))
            })
            .collect();
        if entries.is_empty() {
            entries.push(entry(json!({})));
        }
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries });
        self.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        self.file("index.json", &text(&index))?;
        self.directory("blobs/")?;
        self.directory("blobs/sha256/")?;
        self.file(&format!("blobs/sha256/{}", digest.hex()), &manifest)?;
        self.file(&format!("blobs/sha256/{}", image.id.hex()), config)?;
        self.layers(image, |diff| format!("blobs/sha256/{}", diff.hex()))?;
        self.end()
    }

    fn docker(&mut self, image: &Image, config: &[u8]) -> Result<()> {
        let config_name = format!("{}.json", image.id.hex());
        let file = |diff: &Digest| format!("{}.tar", diff.hex());
        let tags: Vec<String> = names(image).map(|(name, _)| name).collect();
        let manifest = json!([{
            "Config": config_name,
            "RepoTags": tags,
            "Layers": image.layers.iter().map(file).collect::<Vec<_>>(),
        }]);
        self.file("manifest.json", &text(&manifest))?;
        self.file(&config_name, config)?;
        self.layers(image, file)?;
        self.end()
    }

    /// Each layer once, however often the image has it.
    fn layers(&mut self, image: &Image, name: impl Fn(&Digest) -> String) -> Result<()> {
        let mut seen = BTreeSet::new();
        for diff in image.layers.iter().filter(|diff| seen.insert(*diff)) {
            self.layer(diff, &name(diff))
                .doing(|| format!("write layer `{diff}`"))?;
        }
        Ok(())
    }

    fn layer_bytes(&self, diff: &Digest) -> Result<u64> {
        match layer::has_layer(self.store.dir(), diff)? {
            Some(info) => Ok(info.tar_bytes),
            None => Err(Error::new(
                Kind::NotFound,
                format!("layer `{diff}` is not in the store"),
            )),
        }
    }

    /// Copies a kept tar; gives the digest of what came, and how many bytes did not.
    fn copy(&mut self, diff: &Digest, size: u64) -> Result<(Digest, u64)> {
        let mut tar = layer::open_tar(self.store.dir(), diff)?.take(size);
        let mut hasher = Hasher::new(diff.algorithm());
        let mut buffer = vec![0; 256 << 10];
        loop {
            let n = tar.read(&mut buffer)?;
            if n == 0 {
                return Ok((hasher.finish(), tar.limit()));
            }
            let bytes = buffer.get(..n).unwrap_or(&[]);
            hasher.update(bytes);
            self.put(bytes)?;
        }
    }

    fn layer(&mut self, diff: &Digest, name: &str) -> Result<()> {
        let size = self.layer_bytes(diff)?;
        self.put(&ustar::header(name, 0o444, b'0', size))?;
        let (have, missing) = self.copy(diff, size)?;
        if missing != 0 || have != *diff {
            return Err(
                Error::new(Kind::Corrupt, format!("its bytes have digest `{have}`"))
                    .hint("`rkt image verify` tells what is damaged"),
            );
        }
        self.pad(size)
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let size = bytes.len() as u64;
        self.put(&ustar::header(name, 0o444, b'0', size))?;
        self.put(bytes)?;
        self.pad(size)
    }

    fn directory(&mut self, name: &str) -> Result<()> {
        self.put(&ustar::header(name, 0o755, b'5', 0))
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        let rest = (size.next_multiple_of(512) - size) as usize;
        self.put([0; 512].get(..rest).unwrap_or(&[]))
    }

    fn end(&mut self) -> Result<()> {
        self.put(&[0; 1024])?;
        Ok(self.to.flush()?)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.to.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

fn text(value: &serde_json::Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// The names of an image that have meaning elsewhere, `host/name:tag`, each with its tag.
fn names(image: &Image) -> impl Iterator<Item = (String, String)> + '_ {
    image.names.iter().filter_map(|name| {
        match Reference::parse(name, crate::reference::HUB).ok()? {
            Reference::Registry(name) => {
                let tag = name.tag.clone()?;
                Some((format!("{}:{tag}", name.place()), tag))
            }
            _ => None,
        }
    })
}
