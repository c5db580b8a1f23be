//! Names and passwords, from files in docker's format and from the programs that these name.

mod auth_d;
mod keep;
mod program;

pub use auth_d::read_auth;
pub use keep::Kept;
pub(crate) use keep::{forget, keep, knows};

use crate::disk;
use crate::error::{Doing, Error, Kind, Result};
use crate::options::{Credentials, Secret};
use crate::reference::{HUB, RegistryName};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

const LIMIT: u64 = 4 << 20;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct File {
    auths: Option<BTreeMap<String, Auth>>,
    cred_helpers: Option<BTreeMap<String, String>>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase", default)]
struct Auth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

/// What is known for a registry.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) secret: Option<Secret>,
    /// Why a credential program gave nothing; the registry may still take us as anybody.
    pub(crate) trouble: Option<String>,
}

/// Looks for the secret of an image's registry. Keys may name a part of it (`quay.io/team`):
/// the longest that fits wins, as with podman.
pub(crate) fn find(credentials: &Credentials, name: &RegistryName) -> Result<Found> {
    let mut found = Found::default();
    if let Some(secret) = credentials.by_host.get(&name.registry) {
        found.secret = Some(secret.clone());
        return Ok(found);
    }
    for path in &credentials.docker_config {
        let what = || format!("read credentials `{}`", path.display());
        let Some(file) = read(path).doing(what)? else {
            continue;
        };
        if let Some(program) = file.helper(&name.registry) {
            found.ask(program, &name.registry);
        }
        if found.secret.is_some() {
            return Ok(found);
        }
        let place = name.place();
        let mut fitting: Vec<(String, &Auth)> = file
            .auths
            .iter()
            .flatten()
            .map(|(key, auth)| (plain_key(key), auth))
            .filter(|(key, _)| {
                place
                    .strip_prefix(key.as_str())
                    .is_some_and(|rest| rest.starts_with('/'))
            })
            .collect();
        fitting.sort_by_key(|(key, _)| std::cmp::Reverse(key.len()));
        for (_, auth) in fitting {
            if let Some(secret) = secret(auth).doing(what)? {
                found.secret = Some(secret);
                return Ok(found);
            }
        }
        if let Some(program) = &file.creds_store {
            found.ask(program, &name.registry);
        }
        if found.secret.is_some() {
            return Ok(found);
        }
    }
    Ok(found)
}

impl Found {
    fn ask(&mut self, program: &str, registry: &str) {
        match program::get(program, &server(registry)) {
            Ok(secret) => self.secret = secret,
            Err(error) => self.trouble = Some(error.because().to_owned()),
        }
    }
}

impl File {
    /// The program that keeps the secrets of one registry.
    fn helper(&self, registry: &str) -> Option<&str> {
        self.cred_helpers
            .iter()
            .flatten()
            .find(|(key, _)| plain_key(key) == registry)
            .map(|(_, program)| program.as_str())
    }
}

/// The name under which docker keeps a registry.
fn server(registry: &str) -> String {
    match registry {
        HUB => "https://index.docker.io/v1/".to_owned(),
        other => other.to_owned(),
    }
}

fn read(path: &Path) -> Result<Option<File>> {
    let file = match std::fs::File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let bytes = disk::read_limited(file, LIMIT)?;
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|e| Error::new(Kind::Corrupt, e.to_string()))
}

/// `https://index.docker.io/v1/`, `quay.io/team`, `host:5000/v2/` in one form.
fn plain_key(key: &str) -> String {
    let bare = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key)
        .trim_end_matches('/');
    let bare = bare
        .strip_suffix("/v1")
        .or_else(|| bare.strip_suffix("/v2"))
        .unwrap_or(bare);
    let (host, rest) = bare.split_once('/').map_or((bare, ""), |(h, r)| (h, r));
    let host = match host.to_ascii_lowercase().as_str() {
        "index.docker.io" | "registry-1.docker.io" | "docker.io" => HUB.to_owned(),
        other => other.to_owned(),
    };
    if rest.is_empty() {
        host
    } else {
        format!("{host}/{rest}")
    }
}

fn secret(auth: &Auth) -> Result<Option<Secret>> {
    if let Some(token) = auth.identitytoken.as_deref().filter(|t| !t.is_empty()) {
        return Ok(Some(Secret::Identity(token.to_owned())));
    }
    let bad = || Error::new(Kind::Corrupt, "an `auth` is not base64 of `user:password`");
    if let Some(text) = auth.auth.as_deref().filter(|t| !t.is_empty()) {
        let raw = base64_decode(text.trim()).ok_or_else(bad)?;
        let text = String::from_utf8(raw).map_err(|_| bad())?;
        let (user, password) = text
            .trim_end_matches('\0')
            .split_once(':')
            .ok_or_else(bad)?;
        return Ok(Some(Secret::Password {
            user: user.to_owned(),
            password: password.to_owned(),
        }));
    }
    Ok(match (&auth.username, &auth.password) {
        (Some(user), Some(password)) if !user.is_empty() => Some(Secret::Password {
            user: user.clone(),
            password: password.clone(),
        }),
        _ => None,
    })
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// RFC 4648, with padding.
pub(crate) fn base64_encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0_u8; 3];
        for (to, from) in group.iter_mut().zip(chunk) {
            *to = *from;
        }
        let bits = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
        for i in 0..4 {
            let index = usize::try_from(bits >> (18 - 6 * i) & 63).unwrap_or(0);
            out.push(if i <= chunk.len() {
                char::from(ALPHABET[index])
            } else {
                '='
            });
        }
    }
    out
}

/// RFC 4648, padding optional; `None` for anything else.
pub(crate) fn base64_decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for b in text.bytes() {
        let value = ALPHABET.iter().position(|a| *a == b)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    (text.len() % 4 != 1).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::Reference;

    #[test]
    fn base64_goes_both_ways() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("user:pä", "dXNlcjpww6Q="),
        ] {
            assert_eq!(base64_encode(plain.as_bytes()), coded);
            assert_eq!(base64_decode(coded).unwrap(), plain.as_bytes());
        }
        for bad in ["A", "Zm9v!", "Zm 9v", "ü"] {
            assert!(base64_decode(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_longest_key_that_fits_wins() {
        let dir = std::env::temp_dir().join(format!("rkt-secrets-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("config.json");
        let auth = |text: &str| base64_encode(text.as_bytes());
        let json = serde_json::json!({"auths": {
            "https://index.docker.io/v1/": {"auth": auth("hub:h")},
            "quay.io": {"auth": auth("quay:q")},
            "quay.io/team": {"username": "team", "password": "t"},
            "empty.example": {},
            "id.example": {"identitytoken": "tok"},
        }, "credHelpers": {"gcr.io": "no-such-program"}});
        std::fs::write(&path, json.to_string()).unwrap();
        let credentials = Credentials {
            docker_config: vec![dir.join("none.json"), path.clone()],
            ..Credentials::default()
        };
        // PATH has no such program, which is told and not fatal.
        let user = |text: &str| {
            let Reference::Registry(name) = Reference::parse(text, HUB).unwrap() else {
                panic!()
            };
            let found = find(&credentials, &name).unwrap();
            (
                found.secret.map(|s| match s {
                    Secret::Password { user, .. } => user,
                    Secret::Identity(t) => t,
                }),
                found.trouble.is_some(),
            )
        };
        assert_eq!(user("redis"), (Some("hub".into()), false));
        assert_eq!(user("quay.io/x/y"), (Some("quay".into()), false));
        assert_eq!(user("quay.io/team/y"), (Some("team".into()), false));
        assert_eq!(user("quay.io/teams/y"), (Some("quay".into()), false));
        assert_eq!(user("id.example/x"), (Some("tok".into()), false));
        assert_eq!(user("empty.example/x"), (None, false));
        assert_eq!(user("gcr.io/x"), (None, true));
        std::fs::write(&path, "{").unwrap();
        let Reference::Registry(name) = Reference::parse("redis", HUB).unwrap() else {
            panic!()
        };
        assert_eq!(find(&credentials, &name).unwrap_err().kind(), Kind::Corrupt);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
