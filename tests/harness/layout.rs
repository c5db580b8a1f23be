//! OCI layouts made by hand: small images for one test, and wrong ones.

use crate::tar::{self, Entry};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// `sha256:...` of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    format!("sha256:{hex}")
}

/// How a layer's blob is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pack {
    /// Not at all.
    Plain,
    /// By gzip.
    Gzip,
}

/// An image to be written; every field may be made wrong before it is.
#[derive(Debug, Clone)]
pub struct Image {
    /// Layers as tar archives, lowest first.
    pub layers: Vec<Vec<u8>>,
    /// How they are packed.
    pub pack: Pack,
    /// The configuration; `rootfs` is filled in.
    pub config: Value,
}

impl Image {
    /// Of layers of entries.
    pub fn new(layers: &[&[Entry]]) -> Self {
        Self {
            layers: layers.iter().map(|entries| tar::archive(entries)).collect(),
            pack: Pack::Gzip,
            config: json!({
                "architecture": "amd64", "os": "linux",
                "config": { "Env": ["PATH=/bin:/usr/bin"], "Entrypoint": ["/rkt-probe"], "WorkingDir": "/" },
            }),
        }
    }

    /// One layer: the probe as `/rkt-probe`, and these.
    pub fn with_probe(entries: &[Entry]) -> Self {
        let binary = crate::need::binary().expect("the binary was needed");
        let probe = fs::read(binary.with_file_name("rkt-probe")).unwrap();
        let mut all = vec![Entry::file("rkt-probe", probe).mode(0o755)];
        all.extend_from_slice(entries);
        Self::new(&[&all])
    }

    /// Sets a key of the configuration's `config`.
    #[must_use]
    pub fn set(mut self, key: &str, value: Value) -> Self {
        self.config["config"][key] = value;
        self
    }

    /// Writes a layout with this one image, tagged `latest`.
    pub fn write(&self, dir: &Path) -> Layout {
        let mut layout = Layout::create(dir);
        let mut ids = Vec::new();
        let mut layers = Vec::new();
        for tar in &self.layers {
            ids.push(digest(tar));
            let (blob, kind) = match self.pack {
                Pack::Plain => (tar.clone(), "application/vnd.oci.image.layer.v1.tar"),
                Pack::Gzip => (gzip(tar), "application/vnd.oci.image.layer.v1.tar+gzip"),
            };
            layers.push(layout.blob(&blob, kind));
        }
        let mut config = self.config.clone();
        config["rootfs"] = json!({ "type": "layers", "diff_ids": ids });
        let config = layout.blob(
            config.to_string().as_bytes(),
            "application/vnd.oci.image.config.v1+json",
        );
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": layers,
        });
        layout.tag(&manifest, "latest");
        layout
    }
}

/// Packs by gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}

/// An OCI layout on disk.
#[derive(Debug)]
pub struct Layout {
    /// Its directory.
    pub dir: PathBuf,
    manifests: Vec<Value>,
}

impl Layout {
    /// An empty one.
    pub fn create(dir: &Path) -> Self {
        fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self {
            dir: dir.to_owned(),
            manifests: Vec::new(),
        }
    }

    /// Writes a blob and returns its descriptor.
    pub fn blob(&mut self, bytes: &[u8], media_type: &str) -> Value {
        let name = digest(bytes);
        fs::write(self.blob_path(&name), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": name, "size": bytes.len() })
    }

    /// Where a blob lies.
    pub fn blob_path(&self, digest: &str) -> PathBuf {
        self.dir
            .join("blobs/sha256")
            .join(digest.trim_start_matches("sha256:"))
    }

    /// Writes a manifest and puts it into the index under a tag.
    pub fn tag(&mut self, manifest: &Value, tag: &str) {
        let mut entry = self.blob(
            manifest.to_string().as_bytes(),
            "application/vnd.oci.image.manifest.v1+json",
        );
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        self.manifests.push(entry);
        self.write_index(&json!({ "schemaVersion": 2, "manifests": self.manifests }));
    }

    /// Writes any index.
    pub fn write_index(&self, index: &Value) {
        fs::write(self.dir.join("index.json"), index.to_string()).unwrap();
    }

    /// The one manifest's digest.
    pub fn manifest_digest(&self) -> String {
        self.manifests[0]["digest"].as_str().unwrap().to_owned()
    }

    /// The one manifest.
    pub fn manifest(&self) -> Value {
        serde_json::from_slice(&fs::read(self.blob_path(&self.manifest_digest())).unwrap()).unwrap()
    }

    /// As rkt takes it: `oci:DIR`.
    pub fn reference(&self) -> String {
        format!("oci:{}", self.dir.display())
    }
}
