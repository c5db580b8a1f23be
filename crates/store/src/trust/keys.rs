//! Directories of trusted keys: who may sign images of which names.
//!
//! ```text
//! <config>/trustedkeys/root.d/FINGERPRINT              for every name
//! <config>/trustedkeys/prefix.d/example.com/FINGERPRINT   for example.com and all below it
//! ```
//!
//! `/usr/lib/rkt` is the system's, `/etc/rkt` the administrator's. A later directory overrides an
//! earlier one, and an empty file there takes a key away. Source: rkt 1.30, "trust".

use super::openpgp::{Key, MAX_KEY};
use crate::aci::words;
use crate::disk;
use crate::error::{Doing, Error, Kind, Result};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Deepest prefix that is looked at.
const DEEPEST: usize = 32;
/// Most entries of all directories together.
const MOST: usize = 10_000;

/// Configuration directories with `trustedkeys` in them, the system's first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDirs(pub Vec<PathBuf>);

impl Default for KeyDirs {
    fn default() -> Self {
        Self(vec![
            PathBuf::from("/usr/lib/rkt"),
            PathBuf::from("/etc/rkt"),
        ])
    }
}

/// For which names a key is trusted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// For every name.
    Root,
    /// For this name and all below it.
    Prefix(String),
}

/// A file of a trusted key, or of one that was taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    /// 40 or 64 lower-case hex digits: its file name.
    pub fingerprint: String,
    /// For which names.
    pub reach: Reach,
    /// The file that counts.
    pub path: PathBuf,
    /// Whether it is empty: the key is not trusted.
    pub masked: bool,
}

impl Reach {
    /// A prefix as a user types it.
    ///
    /// # Errors
    /// `BadReference` when it is no AC Identifier.
    pub fn prefix(text: &str) -> Result<Self> {
        words::identifier(text)
            .map_err(|e| Error::new(Kind::BadReference, e.because().to_owned()))?;
        Ok(Self::Prefix(text.to_owned()))
    }

    /// Whether a name is in it: whole parts of the name count.
    pub fn covers(&self, name: &str) -> bool {
        match self {
            Self::Root => true,
            Self::Prefix(prefix) => name
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        }
    }

    fn dir(&self, config: &Path) -> PathBuf {
        let keys = config.join("trustedkeys");
        match self {
            Self::Root => keys.join("root.d"),
            Self::Prefix(prefix) => keys.join("prefix.d").join(prefix),
        }
    }
}

impl KeyDirs {
    /// Every key file that counts, masked ones too, by reach and fingerprint.
    ///
    /// # Errors
    /// When a directory that is there cannot be read.
    pub fn list(&self) -> Result<Vec<KeyFile>> {
        let mut found = BTreeMap::new();
        for config in &self.0 {
            let mut left = MOST;
            let keys = config.join("trustedkeys");
            walk(&keys.join("root.d"), &Reach::Root, 0, &mut left, &mut found)?;
            let prefixes = keys.join("prefix.d");
            for (name, path) in entries(&prefixes)? {
                if path.is_dir() {
                    walk(&path, &Reach::Prefix(name), 1, &mut left, &mut found)?;
                }
            }
        }
        Ok(found.into_values().collect())
    }

    /// The keys that may sign images of this name, or of any name at all.
    ///
    /// # Errors
    /// When a file cannot be read, or holds another key than its name says.
    pub(crate) fn keys(&self, name: Option<&str>) -> Result<Vec<Key>> {
        let mut keys: Vec<Key> = Vec::new();
        for file in self.files(name)? {
            if keys.iter().any(|k| k.fingerprint() == file.fingerprint) {
                continue;
            }
            let doing = || format!("read trusted key `{}`", file.path.display());
            let bytes =
                disk::read_limited(File::open(&file.path).doing(doing)?, MAX_KEY).doing(doing)?;
            let key = Key::read(&bytes)
                .doing(doing)?
                .into_iter()
                .find(|k| k.fingerprint() == file.fingerprint)
                .ok_or_else(|| Error::new(Kind::Corrupt, "it holds another key than its name says"))
                .doing(doing)?;
            keys.push(key);
        }
        Ok(keys)
    }

    /// Whether this key may sign images of this name. One that has expired meanwhile may have
    /// signed before; one that was revoked counts for nothing.
    pub(crate) fn trusts(&self, fingerprint: &str, name: &str) -> Result<bool> {
        let keys = self.keys(Some(name))?;
        let key = keys.iter().find(|k| k.fingerprint() == fingerprint);
        Ok(key.is_some_and(|k| !k.is_revoked()))
    }

    fn files(&self, name: Option<&str>) -> Result<Vec<KeyFile>> {
        let mut files = self.list()?;
        files.retain(|f| !f.masked && name.is_none_or(|name| f.reach.covers(name)));
        Ok(files)
    }

    /// Trusts a key from now on, in the last of the directories; gives its file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&self, key: &Key, reach: &Reach) -> Result<PathBuf> {
        let path = self.own(reach)?.join(key.fingerprint());
        write(&path, &key.armored()?).doing(|| format!("write `{}`", path.display()))?;
        Ok(path)
    }

    /// Trusts a key no more: removes its file, and puts an empty one over the system's.
    ///
    /// # Errors
    /// `NotFound` when it is not trusted there; when the file cannot be removed or written.
    pub fn remove(&self, fingerprint: &str, reach: &Reach) -> Result<PathBuf> {
        let own = self.own(reach)?.join(fingerprint);
        let there = |f: &KeyFile| f.fingerprint == fingerprint && f.reach == *reach && !f.masked;
        if !self.list()?.iter().any(there) {
            return Err(Error::new(
                Kind::NotFound,
                format!("the key `{fingerprint}` is not trusted there"),
            )
            .hint("`rkt trust list` shows what is"));
        }
        let doing = || format!("remove `{}`", own.display());
        match fs::remove_file(&own) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).doing(doing),
            _ => {}
        }
        if self.list()?.iter().any(there) {
            write(&own, b"").doing(doing)?;
        }
        Ok(own)
    }

    fn own(&self, reach: &Reach) -> Result<PathBuf> {
        let config = self
            .0
            .last()
            .ok_or_else(|| Error::new(Kind::System, "there is no configuration directory"))?;
        Ok(reach.dir(config))
    }
}

/// Names and paths of a directory, in order; none when it is not there.
fn entries(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let doing = || format!("read directory `{}`", dir.display());
    let list = match fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.doing(doing)?,
    };
    let mut found = Vec::new();
    for entry in list {
        let entry = entry.doing(doing)?;
        if let Ok(name) = entry.file_name().into_string() {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a file name is a fingerprint; other files are nobody's business.
pub fn is_fingerprint(name: &str) -> bool {
    matches!(name.len(), 40 | 64) && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn walk(
    dir: &Path,
    reach: &Reach,
    depth: usize,
    left: &mut usize,
    found: &mut BTreeMap<(Reach, String), KeyFile>,
) -> Result<()> {
    for (name, path) in entries(dir)? {
        *left = left.checked_sub(1).ok_or_else(|| {
            Error::new(
                Kind::TooLarge,
                format!("there are more than {MOST} files of keys"),
            )
        })?;
        // A key may be a link to where a package keeps it.
        let Ok(metadata) = fs::metadata(&path) else {
            continue;
        };
        match reach {
            Reach::Prefix(prefix) if metadata.is_dir() && depth < DEEPEST => {
                let below = Reach::Prefix(format!("{prefix}/{name}"));
                walk(&path, &below, depth + 1, left, found)?;
            }
            _ if metadata.is_file() && is_fingerprint(&name) => {
                let file = KeyFile {
                    fingerprint: name.clone(),
                    reach: reach.clone(),
                    path,
                    masked: metadata.len() == 0,
                };
                found.insert((reach.clone(), name), file);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Writes beside and renames; readable by all, as configuration is.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let dir = path.parent().unwrap_or(path);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(dir)?;
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(&beside)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_data())
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    Ok(written?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_parts_of_a_name_count() {
        let reach = Reach::prefix("example.com/a").unwrap();
        for (name, want) in [
            ("example.com/a", true),
            ("example.com/a/b", true),
            ("example.com/ab", false),
            ("example.com", false),
            ("example.com.evil/a", false),
        ] {
            assert_eq!(reach.covers(name), want, "{name}");
        }
        assert!(Reach::Root.covers("anything"));
        assert!(Reach::prefix("../x").is_err());
        assert!(is_fingerprint(&"a".repeat(40)));
        assert!(!is_fingerprint(&"A".repeat(40)));
        assert!(!is_fingerprint("README"));
    }
}
