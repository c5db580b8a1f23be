//! rkt's own files of secrets: `auth.d/*.json` of the configuration directories.
//!
//! Kinds `auth` (hosts of App Container Images: `basic`, `oauth`) and `dockerAuth` (registries),
//! version `v1`. Source: rkt 1.30, Documentation/configuration.md. Within a directory a host stands
//! once; a later directory overrides an earlier one.

use super::plain_key;
use crate::disk;
use crate::error::{Doing, Error, Kind, Result};
use crate::options::{Credentials, Secret, WebSecret};
use crate::registry::web::authority;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Largest file, bytes.
const MAX_FILE: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    rkt_kind: String,
    rkt_version: String,
}

#[derive(Deserialize)]
struct Auth {
    domains: Vec<String>,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    credentials: Words,
}

#[derive(Deserialize)]
struct DockerAuth {
    registries: Vec<String>,
    #[serde(default)]
    credentials: Words,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Words {
    user: String,
    password: String,
    token: String,
}

/// Reads `auth.d/*.json` of configuration directories, the system's first, into `credentials`.
///
/// # Errors
/// `Corrupt` for a file that is none, of a kind or version that is not known, or that names a host
/// once more.
pub fn read_auth(dirs: &[PathBuf], credentials: &mut Credentials) -> Result<()> {
    for dir in dirs {
        let mut web = BTreeMap::new();
        let mut registries = BTreeMap::new();
        for path in files(&dir.join("auth.d"))? {
            one(&path, &mut web, &mut registries)
                .doing(|| format!("read credentials `{}`", path.display()))?;
        }
        credentials.web.extend(web);
        credentials.by_host.extend(registries);
    }
    Ok(())
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let doing = || format!("read directory `{}`", dir.display());
    let list = match fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.doing(doing)?,
    };
    let mut found = Vec::new();
    for entry in list {
        let path = entry.doing(doing)?.path();
        if path.extension().is_some_and(|e| e == "json") && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn one(
    path: &Path,
    web: &mut BTreeMap<String, WebSecret>,
    registries: &mut BTreeMap<String, Secret>,
) -> Result<()> {
    let bad = |why: String| Error::new(Kind::Corrupt, why);
    let bytes = disk::read_limited(File::open(path)?, MAX_FILE)?;
    // serde's words may repeat a value, and values are secrets: only the place is told.
    let json = |e: &serde_json::Error| {
        bad(format!(
            "it is not as it should be at line {}, column {}",
            e.line(),
            e.column()
        ))
    };
    let head: Head = serde_json::from_slice(&bytes).map_err(|e| json(&e))?;
    if head.rkt_version != "v1" {
        let version = head.rkt_version.escape_debug();
        return Err(bad(format!("its `rktVersion` is `{version}`, not `v1`")));
    }
    match head.rkt_kind.as_str() {
        "auth" => {
            let auth: Auth = serde_json::from_slice(&bytes).map_err(|e| json(&e))?;
            let secret = web_secret(&auth)?;
            for domain in &auth.domains {
                let host = authority(domain)
                    .ok_or_else(|| bad(format!("`{}` is no host", domain.escape_debug())))?;
                if web.insert(host, secret.clone()).is_some() {
                    return Err(bad(format!("`{domain}` stands twice in this directory")));
                }
            }
        }
        "dockerAuth" => {
            let auth: DockerAuth = serde_json::from_slice(&bytes).map_err(|e| json(&e))?;
            if auth.credentials.user.is_empty() || auth.credentials.password.is_empty() {
                return Err(bad("it has no `user` and `password`".to_owned()));
            }
            for registry in &auth.registries {
                let secret = Secret::Password {
                    user: auth.credentials.user.clone(),
                    password: auth.credentials.password.clone(),
                };
                if registries.insert(plain_key(registry), secret).is_some() {
                    return Err(bad(format!(
                        "`{}` stands twice in this directory",
                        registry.escape_debug()
                    )));
                }
            }
        }
        other => {
            let kind = other.escape_debug();
            return Err(bad(format!(
                "its `rktKind` is `{kind}`, not `auth` or `dockerAuth`"
            )));
        }
    }
    Ok(())
}

fn web_secret(auth: &Auth) -> Result<WebSecret> {
    let words = &auth.credentials;
    let missing = |what: &str| Err(Error::new(Kind::Corrupt, format!("it has no {what}")));
    match auth.kind.as_str() {
        "basic" if words.user.is_empty() => missing("`user`"),
        "basic" if words.password.is_empty() => missing("`password`"),
        "basic" if words.user.contains(':') => missing("`user` without a colon"),
        "basic" => Ok(WebSecret::Basic {
            user: words.user.clone(),
            password: words.password.clone(),
        }),
        // A token becomes a header: nothing may follow it there.
        "oauth" if !words.token.bytes().all(|b| b.is_ascii_graphic()) || words.token.is_empty() => {
            missing("`token`, a word without spaces")
        }
        "oauth" => Ok(WebSecret::Token(words.token.clone())),
        other => Ok(WebSecret::Unknown(other.to_owned())),
    }
}

impl WebSecret {
    /// The value of `Authorization`.
    ///
    /// # Errors
    /// `Unsupported` for a kind that rkt does not know.
    pub(crate) fn header(&self) -> Result<String> {
        match self {
            Self::Basic { user, password } => {
                let both = format!("{user}:{password}");
                Ok(format!("Basic {}", super::base64_encode(both.as_bytes())))
            }
            Self::Token(token) => Ok(format!("Bearer {token}")),
            Self::Unknown(kind) => Err(Error::new(
                Kind::Unsupported,
                format!(
                    "its credentials in auth.d are of type `{}`; rkt knows `basic` and `oauth`",
                    kind.escape_debug()
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Result<Credentials> {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let top = std::env::temp_dir().join(format!("rkt-auth-{}-{number}", std::process::id()));
        let mut dirs = Vec::new();
        for (n, text) in texts.iter().enumerate() {
            // Files of one directory are parted by `---`.
            let dir = top.join(n.to_string());
            fs::create_dir_all(dir.join("auth.d")).unwrap();
            for (m, text) in text.split("---").enumerate() {
                fs::write(dir.join(format!("auth.d/{m}.json")), text).unwrap();
            }
            fs::write(dir.join("auth.d/README"), "no credentials").unwrap();
            dirs.push(dir);
        }
        let mut found = Credentials::default();
        let result = read_auth(&dirs, &mut found);
        fs::remove_dir_all(&top).unwrap();
        result.map(|()| found)
    }

    fn basic(domain: &str, password: &str) -> String {
        format!(
            r#"{{"rktKind":"auth","rktVersion":"v1","domains":["{domain}"],"type":"basic","credentials":{{"user":"u","password":"{password}"}}}}"#
        )
    }

    #[test]
    fn a_later_directory_overrides_host_by_host() {
        let two = format!(
            "{}---{}",
            basic("A.example", "1"),
            basic("b.example:443", "2")
        );
        let found = read(&[&two, &basic("a.example", "3")]).unwrap();
        let header = |host: &str| found.web[host].header().unwrap();
        assert_eq!(header("a.example"), "Basic dToz");
        assert_eq!(header("b.example"), "Basic dToy");
        assert_eq!(found.web.len(), 2);
        assert!(!format!("{found:?}").contains("dToz") && !format!("{found:?}").contains('3'));
        let found = read(&[r#"{"rktKind":"dockerAuth","rktVersion":"v1","registries":["index.docker.io","quay.io"],"credentials":{"user":"u","password":"p"}}"#]).unwrap();
        assert!(found.by_host.contains_key("docker.io") && found.by_host.contains_key("quay.io"));
        let found = read(&[r#"{"rktKind":"auth","rktVersion":"v1","domains":["x"],"type":"oauth","credentials":{"token":"t"}}---{"rktKind":"auth","rktVersion":"v1","domains":["y"],"type":"aws","credentials":{"accessKeyID":"k"}}"#]).unwrap();
        assert_eq!(found.web["x"].header().unwrap(), "Bearer t");
        assert_eq!(
            found.web["y"].header().unwrap_err().kind(),
            Kind::Unsupported
        );
    }

    #[test]
    fn wrong_files_are_refused_without_their_secrets() {
        let twice = format!("{}---{}", basic("a", "sesame"), basic("a", "sesame"));
        for text in [
            twice.as_str(),
            r#"{"rktKind":"auth","rktVersion":"v2"}"#,
            r#"{"rktKind":"paths","rktVersion":"v1"}"#,
            r#"{"rktKind":"auth","rktVersion":"v1","domains":["a b"],"type":"oauth","credentials":{"token":"t"}}"#,
            r#"{"rktKind":"auth","rktVersion":"v1","domains":["a"],"type":"oauth","credentials":{"token":"t\r\nX: y"}}"#,
            r#"{"rktKind":"auth","rktVersion":"v1","domains":["a"],"type":"basic","credentials":{"user":"u"}}"#,
            r#"{"rktKind":"auth","rktVersion":"v1","domains":["a"],"type":"basic","credentials":"sesame"}"#,
            r#"{"rktKind":"auth","rktVersion":"v1","domains":"sesame","type":"basic"}"#,
            "[]",
        ] {
            let error = read(&[text]).unwrap_err();
            assert_eq!(error.kind(), Kind::Corrupt, "{text}");
            assert!(!error.to_string().contains("sesame"), "{error}");
        }
    }
}
