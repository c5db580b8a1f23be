//! Small images, byte by byte.

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::io::Write;

pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const GZIP_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub const ZSTD_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

pub fn digest(bytes: &[u8]) -> String {
    rkt_spec::Digest::sha256(&Sha256::digest(bytes).into()).to_string()
}

/// One entry of a ustar.
pub fn entry(name: &str, kind: u8, mode: u32, data: &[u8], link: &str) -> Vec<u8> {
    let mut h = vec![0_u8; 512];
    h[..name.len()].copy_from_slice(name.as_bytes());
    h[100..107].copy_from_slice(format!("{mode:07o}").as_bytes());
    h[108..115].copy_from_slice(b"0000000");
    h[116..123].copy_from_slice(b"0000000");
    h[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
    h[136..147].copy_from_slice(b"14000000000");
    h[156] = kind;
    h[157..157 + link.len()].copy_from_slice(link.as_bytes());
    h[257..265].copy_from_slice(b"ustar\x0000");
    h[148..156].fill(b' ');
    let sum: u64 = h.iter().map(|b| u64::from(*b)).sum();
    h[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    h.extend_from_slice(data);
    h.resize(h.len().next_multiple_of(512), 0);
    h
}

/// A tar of regular files, their directories before them.
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut dirs = std::collections::BTreeSet::new();
    for (name, data) in files {
        for (i, _) in name.match_indices('/') {
            if dirs.insert(name[..=i].to_owned()) {
                out.extend(entry(&name[..=i], b'5', 0o755, b"", ""));
            }
        }
        out.extend(entry(name, b'0', 0o644, data, ""));
    }
    out.resize(out.len() + 1024, 0);
    out
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Bytes that do not compress, the same each time.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(length);
    out
}

/// One image: its documents and its layers as they travel.
#[derive(Clone)]
pub struct Made {
    pub config: Vec<u8>,
    pub manifest: Vec<u8>,
    pub layers: Vec<Vec<u8>>,
    pub tars: Vec<Vec<u8>>,
}

impl Made {
    pub fn id(&self) -> String {
        digest(&self.config)
    }
}

/// Options of [`image_with`].
pub struct Recipe {
    pub architecture: &'static str,
    pub media_type: &'static str,
    /// Replaces the diff ids.
    pub diff_ids: Option<Vec<String>>,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            architecture: "amd64",
            media_type: GZIP_LAYER,
            diff_ids: None,
        }
    }
}

pub fn image(tars: &[Vec<u8>]) -> Made {
    image_with(tars, &Recipe::default())
}

pub fn image_with(tars: &[Vec<u8>], recipe: &Recipe) -> Made {
    let diff_ids = recipe
        .diff_ids
        .clone()
        .unwrap_or_else(|| tars.iter().map(|t| digest(t)).collect());
    let config = json!({
        "architecture": recipe.architecture, "os": "linux",
        "config": {"Cmd": ["/bin/app"], "Env": ["PATH=/bin"], "User": "app", "Labels": {"made": "here"}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
    .to_string()
    .into_bytes();
    let layers: Vec<Vec<u8>> = tars
        .iter()
        .map(|t| match recipe.media_type {
            ZSTD_LAYER => zstd::encode_all(t.as_slice(), 1).unwrap(),
            _ => gzip(t),
        })
        .collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": digest(&config), "size": config.len()},
        "layers": layers.iter().map(|l| json!({"mediaType": recipe.media_type, "digest": digest(l), "size": l.len()})).collect::<Vec<Value>>(),
    })
    .to_string()
    .into_bytes();
    Made {
        config,
        manifest,
        layers,
        tars: tars.to_vec(),
    }
}

/// An index of images by `os/architecture`.
pub fn index(entries: &[(&str, &Made)]) -> Vec<u8> {
    let list: Vec<Value> = entries
        .iter()
        .map(|(platform, made)| {
            let (os, architecture) = platform.split_once('/').unwrap();
            json!({"mediaType": OCI_MANIFEST, "digest": digest(&made.manifest), "size": made.manifest.len(),
                   "platform": {"os": os, "architecture": architecture}})
        })
        .collect();
    json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list})
        .to_string()
        .into_bytes()
}

/// Three layers: a base with users, one of noise, one with a whiteout.
pub fn three_layers() -> Made {
    image(&[
        tar(&[
            ("etc/passwd", b"root:x:0:0::/:/bin/sh\napp:x:100:101::/:\n"),
            ("etc/group", b"app:x:101:\n"),
            ("bin/app", b"#!/bin/sh\n"),
        ]),
        tar(&[("data/noise", &noise(3 << 20, 7))]),
        tar(&[("data/.wh.noise", b""), ("data/new", b"new\n")]),
    ])
}
