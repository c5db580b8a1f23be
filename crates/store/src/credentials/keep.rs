//! Writing logins where docker, podman and skopeo find them too.
//!
//! The file is replaced in one step, 0600, with all that is not ours left as it was: docker keeps
//! its whole configuration in it.

use super::{File, base64_encode, plain_key, program, server};
use crate::disk;
use crate::error::{Doing, Error, Kind, Result};
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde_json::{Map, Value, json};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Where a login is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// In this file, readable by its owner and by nobody else, but not encrypted.
    File(PathBuf),
    /// With the credential program `docker-credential-NAME`.
    Program(String),
}

/// Keeps a login, with the program that the file names for the registry, else in the file.
///
/// # Errors
/// `Corrupt` for a file that is not in docker's format; those of the system.
pub(crate) fn keep(file: &Path, registry: &str, user: &str, password: &str) -> Result<Kept> {
    let key = server(registry);
    if let Some(program) = keeper(&read(file)?, registry)? {
        program::store(&program, &key, user, password)?;
        return Ok(Kept::Program(program));
    }
    let auth = base64_encode(format!("{user}:{password}").as_bytes());
    change(file, |all| {
        let auths = auths(all)?;
        auths.retain(|name, _| plain_key(name) != registry);
        auths.insert(key, json!({ "auth": auth }));
        Ok(true)
    })?;
    Ok(Kept::File(file.to_owned()))
}

/// Forgets a login wherever this file, or the program that it names, has it.
///
/// # Errors
/// As [`keep`].
pub(crate) fn forget(file: &Path, registry: &str) -> Result<Option<Kept>> {
    let all = read(file)?;
    if let Some(program) = keeper(&all, registry)?
        && program::erase(&program, &server(registry))?
    {
        return Ok(Some(Kept::Program(program)));
    }
    if all.is_empty() {
        return Ok(None);
    }
    let changed = change(file, |all| {
        let auths = auths(all)?;
        let before = auths.len();
        auths.retain(|name, _| plain_key(name) != registry);
        Ok(auths.len() != before)
    })?;
    Ok(changed.then(|| Kept::File(file.to_owned())))
}

/// Whether a file has something for a registry, itself or with a program.
pub(crate) fn knows(file: &Path, registry: &str) -> bool {
    let Ok(all) = read(file) else {
        return false;
    };
    let named = |key: &str| {
        all.get(key)
            .and_then(Value::as_object)
            .is_some_and(|map| map.keys().any(|name| plain_key(name) == registry))
    };
    named("auths") || named("credHelpers")
}

fn keeper(all: &Map<String, Value>, registry: &str) -> Result<Option<String>> {
    let file: File = serde_json::from_value(Value::Object(all.clone()))
        .map_err(|e| Error::new(Kind::Corrupt, e.to_string()))?;
    let program = file.helper(registry).map(str::to_owned);
    Ok(program.or(file.creds_store).filter(|p| !p.is_empty()))
}

fn auths(all: &mut Map<String, Value>) -> Result<&mut Map<String, Value>> {
    let auths = all.entry("auths").or_insert_with(|| json!({}));
    if auths.is_null() {
        *auths = json!({});
    }
    auths
        .as_object_mut()
        .ok_or_else(|| Error::new(Kind::Corrupt, "its `auths` is no object"))
}

/// The whole file; a missing or empty one is an empty object.
fn read(path: &Path) -> Result<Map<String, Value>> {
    let what = || format!("read `{}`", path.display());
    let file = match std::fs::File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Map::new()),
        other => other.doing(what)?,
    };
    let bytes = disk::read_limited(file, super::LIMIT).doing(what)?;
    if bytes.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_slice(&bytes)
        .map_err(|e| Error::new(Kind::Corrupt, e.to_string()))
        .doing(what)
}

/// Reads, changes and replaces the file under a lock of its directory; whether `edit` changed it.
fn change(path: &Path, edit: impl FnOnce(&mut Map<String, Value>) -> Result<bool>) -> Result<bool> {
    // Some people have it as a symlink into their dot files.
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let what = || format!("write `{}`", path.display());
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .doing(|| format!("make directory `{}`", dir.display()))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let lock = rustix::fs::open(dir, flags, Mode::empty()).doing(what)?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).doing(what)?;
    let mut all = read(path)?;
    if !edit(&mut all)? {
        return Ok(false);
    }
    let mut bytes = serde_json::to_vec_pretty(&all)
        .map_err(|e| Error::new(Kind::System, format!("make JSON: {e}")))?;
    bytes.push(b'\n');
    let new = dir.join(format!(".rkt-auth-{}", std::process::id()));
    let _ = std::fs::remove_file(&new);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let result = rustix::fs::open(&new, flags, Mode::RUSR | Mode::WUSR)
        .map_err(Error::from)
        .and_then(|fd| {
            let mut file = std::fs::File::from(fd);
            // `sudo rkt auth login` must not take a user's file away from them.
            if let Ok(old) = std::fs::metadata(path) {
                let _ = std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()));
            }
            file.write_all(&bytes)?;
            file.sync_all()?;
            Ok(std::fs::rename(&new, path)?)
        });
    if result.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    result.doing(what).map(|()| true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::HUB;

    #[test]
    fn logins_are_kept_and_forgotten_and_nothing_else_is_touched() {
        let dir = std::env::temp_dir().join(format!("rkt-keep-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let real = dir.join("real.json");
        let path = dir.join("config.json");
        std::os::unix::fs::symlink(&real, &path).unwrap();
        std::fs::write(
            &real,
            r#"{"psFormat": "x", "auths": {"http://old.example/v2/": {"auth": "eDp5"}, "quay.io": {}}}"#,
        )
        .unwrap();
        let value = || serde_json::from_slice::<Value>(&std::fs::read(&real).unwrap()).unwrap();
        keep(&path, HUB, "me", "p:w").unwrap();
        keep(&path, "old.example", "me", "2").unwrap();
        assert_eq!(
            value(),
            json!({"psFormat": "x", "auths": {
                "https://index.docker.io/v1/": {"auth": base64_encode(b"me:p:w")},
                "old.example": {"auth": base64_encode(b"me:2")},
                "quay.io": {},
            }})
        );
        assert_eq!(std::fs::metadata(&real).unwrap().mode() & 0o777, 0o600);
        assert!(path.is_symlink(), "the symlink stays one");
        assert!(forget(&path, HUB).unwrap().is_some());
        assert_eq!(forget(&path, HUB).unwrap(), None);
        assert!(
            value()["auths"]
                .get("https://index.docker.io/v1/")
                .is_none()
        );
        assert_eq!(forget(&dir.join("none/x.json"), HUB).unwrap(), None);
        keep(&dir.join("new/config.json"), "a.example", "u", "p").unwrap();
        assert_eq!(
            std::fs::metadata(dir.join("new")).unwrap().mode() & 0o777,
            0o700
        );
        std::fs::write(&real, r#"{"auths": []}"#).unwrap();
        assert_eq!(
            keep(&path, HUB, "a", "b").unwrap_err().kind(),
            Kind::Corrupt
        );
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
