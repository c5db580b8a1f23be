//! Images made here, the same bytes every time: a small one of busybox, and a large one to pull.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use crate::fault::{Doing, Result};

/// Layers of the large image, files of each, and bytes of a file on average: 19 600 files, 339 MiB.
const LAYERS: u64 = 10;
const FILES: u64 = 1960;
const MEAN_BYTES: u64 = 17_600;

/// Files of the image of many, and bytes of a file on average.
const MANY_FILES: u64 = 13_000;
const MANY_MEAN_BYTES: u64 = 3_400;

/// Names of busybox that the benches use.
const APPLETS: [&str; 4] = ["true", "sleep", "sh", "cat"];

/// Writes the small image as an OCI layout at `layout` and its tree at `root`.
pub(crate) fn small(layout: &Path, root: &Path) -> Result<()> {
    let busybox = fs::read("/bin/busybox").doing(|| "read `/bin/busybox`".to_owned())?;
    let mut layer = Builder::new(Vec::new());
    for dir in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        let path = root.join(dir);
        fs::create_dir_all(&path).doing(|| format!("create `{}`", path.display()))?;
        entry(&mut layer, dir, EntryType::Directory, 0o755, b"")?;
    }
    let program = root.join("bin/busybox");
    fs::copy("/bin/busybox", &program).doing(|| format!("write `{}`", program.display()))?;
    entry(
        &mut layer,
        "bin/busybox",
        EntryType::Regular,
        0o755,
        &busybox,
    )?;
    for name in APPLETS {
        let link = root.join("bin").join(name);
        std::os::unix::fs::symlink("busybox", &link)
            .doing(|| format!("make `{}`", link.display()))?;
        let mut header = header(EntryType::Symlink, 0o777, 0);
        layer
            .append_link(&mut header, format!("bin/{name}"), "busybox")
            .doing(|| "write a layer".to_owned())?;
    }
    let tar = layer.into_inner().doing(|| "write a layer".to_owned())?;
    write_layout(layout, std::iter::once(Ok(tar.clone())))?;
    // The same below nine more, of a file each.
    let more = (1..LAYERS).map(|nth| {
        let mut layer = Builder::new(Vec::new());
        let path = format!("tmp/file{nth}");
        entry(
            &mut layer,
            &path,
            EntryType::Regular,
            0o644,
            path.as_bytes(),
        )?;
        layer.into_inner().doing(|| "write a layer".to_owned())
    });
    write_layout(&tall(layout), std::iter::once(Ok(tar)).chain(more))
}

/// Where [`small`] puts its image of ten layers.
pub(crate) fn tall(layout: &Path) -> PathBuf {
    layout.with_extension("tall")
}

/// Writes the large image as an OCI layout at `layout`.
pub(crate) fn large(layout: &Path) -> Result<()> {
    write_layout(layout, (0..LAYERS).map(large_layer))
}

/// Writes an image of many small files, as package managers make them, as an OCI layout.
pub(crate) fn many(layout: &Path) -> Result<()> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut layer = Builder::new(Vec::new());
    let mut content = Vec::new();
    for file in 0..MANY_FILES {
        let dir = format!("usr/lib/modules/package{}", file / 13);
        if file % 13 == 0 {
            entry(&mut layer, &dir, EntryType::Directory, 0o755, b"")?;
        }
        let size = random.next() % (2 * MANY_MEAN_BYTES);
        random.fill(&mut content, size);
        let path = format!("{dir}/file{file}");
        entry(&mut layer, &path, EntryType::Regular, 0o644, &content)?;
    }
    let tar = layer.into_inner().doing(|| "write a layer".to_owned())?;
    write_layout(layout, std::iter::once(Ok(tar)))
}

/// One layer: directories of 70 files, sizes from nothing to twice the mean and a few large ones.
fn large_layer(nth: u64) -> Result<Vec<u8>> {
    let mut random = Random(nth.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut layer = Builder::new(Vec::new());
    let mut content = Vec::new();
    for file in 0..FILES {
        let dir = format!("srv/layer{nth}/dir{}", file / 70);
        if file % 70 == 0 {
            entry(&mut layer, &dir, EntryType::Directory, 0o755, b"")?;
        }
        let size = if file % 98 == 0 {
            20 * MEAN_BYTES
        } else {
            random.next() % (MEAN_BYTES * 8 / 5)
        };
        random.fill(&mut content, size);
        entry(
            &mut layer,
            &format!("{dir}/file{file}"),
            EntryType::Regular,
            0o644,
            &content,
        )?;
    }
    layer.into_inner().doing(|| "write a layer".to_owned())
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn entry(
    to: &mut Builder<Vec<u8>>,
    path: &str,
    kind: EntryType,
    mode: u32,
    body: &[u8],
) -> Result<()> {
    let mut header = header(kind, mode, body.len() as u64);
    to.append_data(&mut header, path, body)
        .doing(|| format!("write `{path}` into a layer"))
}

/// Writes layers, configuration, manifest and index; layers are compressed by gzip.
fn write_layout(layout: &Path, layers: impl Iterator<Item = Result<Vec<u8>>>) -> Result<()> {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).doing(|| format!("create `{}`", blobs.display()))?;
    let (mut rows, mut diff_ids) = (Vec::new(), Vec::new());
    for tar in layers {
        let tar = tar?;
        diff_ids.push(format!("sha256:{}", hex(&tar)));
        let mut gzip = GzEncoder::new(Vec::new(), Compression::new(6));
        gzip.write_all(&tar)
            .doing(|| "compress a layer".to_owned())?;
        let gzip = gzip.finish().doing(|| "compress a layer".to_owned())?;
        rows.push(blob(
            &blobs,
            "application/vnd.oci.image.layer.v1.tar+gzip",
            &gzip,
        )?);
    }
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "config": { "Cmd": ["/bin/true"], "Env": ["PATH=/bin"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let kind = "application/vnd.oci.image.config.v1+json";
    let config = blob(&blobs, kind, config.to_string().as_bytes())?;
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": kind, "config": config, "layers": rows });
    let mut manifest = blob(&blobs, kind, manifest.to_string().as_bytes())?;
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    write(&layout.join("index.json"), index.to_string().as_bytes())?;
    write(
        &layout.join("oci-layout"),
        br#"{"imageLayoutVersion":"1.0.0"}"#,
    )
}

/// Writes a blob and answers its descriptor.
fn blob(blobs: &Path, kind: &str, bytes: &[u8]) -> Result<Value> {
    let digest = hex(bytes);
    write(&blobs.join(&digest), bytes)?;
    Ok(json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": bytes.len() }))
}

fn write(path: &PathBuf, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).doing(|| format!("write `{}`", path.display()))
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// xorshift64: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// `size` bytes that gzip makes about a third of: words of a fixed text and raw numbers.
    fn fill(&mut self, to: &mut Vec<u8>, size: u64) {
        const TEXT: &[u8] = b"the pod keeps what the image gave it, and nobody inside may change the walls around; ";
        to.clear();
        let size = usize::try_from(size).unwrap_or(0);
        while to.len() < size {
            let number = self.next();
            if number & 3 == 0 {
                to.extend_from_slice(&number.to_le_bytes());
                to.extend_from_slice(&self.next().to_le_bytes());
            } else {
                let at = usize::try_from((number >> 8) % 64).unwrap_or(0);
                let length = usize::try_from((number >> 16) % 32).unwrap_or(0);
                to.extend_from_slice(&TEXT[at..at + length.min(TEXT.len() - at)]);
            }
        }
        to.truncate(size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_layer_is_the_same_twice_and_compresses_to_a_third() {
        let layer = large_layer(3).unwrap();
        assert_eq!(hex(&layer), hex(&large_layer(3).unwrap()));
        let mut gzip = GzEncoder::new(Vec::new(), Compression::new(6));
        gzip.write_all(&layer).unwrap();
        let part = gzip.finish().unwrap().len() * 100 / layer.len();
        assert!((28..=42).contains(&part), "{part} %");
        let mib = layer.len() >> 20;
        assert!((31..=37).contains(&mib), "{mib} MiB");
    }
}
