//! App Container Images made by hand: right ones, and wrong ones.

use crate::command::run;
use crate::tar::{self, Entry};
use serde_json::{Value, json};
use sha2::{Digest, Sha512};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Squeeze {
    /// Not at all.
    Plain,
    /// By gzip.
    Gzip,
    /// By the program `bzip2`.
    Bzip2,
    /// By the program `xz`.
    Xz,
}

/// An image to be written; every field may be made wrong before it is.
#[derive(Debug, Clone)]
pub struct Aci {
    /// The manifest.
    pub manifest: Value,
    /// What is in its `rootfs`; paths without that.
    pub entries: Vec<Entry>,
    /// How it is compressed.
    pub squeeze: Squeeze,
}

impl Aci {
    /// An image of this name with these files and an app that is the probe, if there is one.
    pub fn new(name: &str, entries: &[Entry]) -> Self {
        Self {
            manifest: json!({
                "acKind": "ImageManifest", "acVersion": "0.8.11", "name": name,
                "labels": [
                    { "name": "version", "value": "1.0" },
                    { "name": "os", "value": "linux" },
                    { "name": "arch", "value": "amd64" },
                ],
                "app": { "exec": ["/rkt-probe"], "user": "0", "group": "0" },
            }),
            entries: entries.to_vec(),
            squeeze: Squeeze::Gzip,
        }
    }

    /// The same with the probe as `/rkt-probe` in it.
    pub fn with_probe(name: &str, entries: &[Entry]) -> Self {
        let mut aci = Self::new(name, entries);
        let binary = crate::need::binary().expect("the binary was needed");
        let probe = fs::read(binary.with_file_name("rkt-probe")).unwrap();
        aci.entries
            .insert(0, Entry::file("rkt-probe", probe).mode(0o755));
        aci
    }

    /// Sets a key of the manifest's `app`.
    #[must_use]
    pub fn app(mut self, key: &str, value: Value) -> Self {
        self.manifest["app"][key] = value;
        self
    }

    /// Sets a key of the manifest.
    #[must_use]
    pub fn set(mut self, key: &str, value: Value) -> Self {
        self.manifest[key] = value;
        self
    }

    /// Sets how it is compressed.
    #[must_use]
    pub fn squeeze(mut self, squeeze: Squeeze) -> Self {
        self.squeeze = squeeze;
        self
    }

    /// The uncompressed archive, `manifest` last as actool writes it.
    pub fn tar(&self) -> Vec<u8> {
        let mut all = vec![Entry::dir("rootfs")];
        for entry in &self.entries {
            let mut entry = entry.clone();
            entry.path = [b"rootfs/", &entry.path[..]].concat();
            if entry.kind == tar::Kind::Hard {
                entry.link = [b"rootfs/", &entry.link[..]].concat();
            }
            all.push(entry);
        }
        all.push(Entry::file("manifest", self.manifest.to_string()));
        tar::archive(&all)
    }

    /// Its id, `sha512-` and 128 digits.
    pub fn id(&self) -> String {
        let hash = Sha512::digest(self.tar());
        let hex: String = hash.iter().map(|b| format!("{b:02x}")).collect();
        format!("sha512-{hex}")
    }

    /// Writes it and gives its path.
    pub fn write(&self, path: &Path) -> PathBuf {
        write(path, &self.tar(), self.squeeze)
    }
}

/// Writes any archive.
pub fn write(path: &Path, tar: &[u8], squeeze: Squeeze) -> PathBuf {
    let outside = |program: &str| {
        fs::write(path.with_extension("tar"), tar).unwrap();
        let mut command = Command::new(program);
        command
            .args(["--keep", "--force"])
            .arg(path.with_extension("tar"));
        run(command, None).ok();
        let suffix = if program == "xz" { "tar.xz" } else { "tar.bz2" };
        fs::read(path.with_extension(suffix)).unwrap()
    };
    let bytes = match squeeze {
        Squeeze::Plain => tar.to_vec(),
        Squeeze::Gzip => crate::layout::gzip(tar),
        Squeeze::Bzip2 => outside("bzip2"),
        Squeeze::Xz => outside("xz"),
    };
    fs::write(path, bytes).unwrap();
    path.to_owned()
}
