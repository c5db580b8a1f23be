//! The rules behind [`Reference::parse`](super::Reference::parse).
//!
//! Source: the distribution spec's grammar of names and tags (`images.md` 8.3) and docker's
//! rule for what is a host: it holds a `.` or `:`, or is `localhost`.

use super::app::AppImageName;
use super::{Assumed, HUB, LocalName, Reference, RegistryName};
use crate::error::{Error, Kind, Result};
use rkt_spec::Digest;
use rkt_spec::digest::hex;
use sha2::{Digest as _, Sha256};
use std::path::PathBuf;

/// Longest text that is looked at; longer ones are no names.
const LONGEST: usize = 4096 + 512;

fn bad(rule: impl Into<String>) -> Error {
    Error::new(Kind::BadReference, rule)
}

pub(super) fn parse(text: &str, default_registry: &str) -> Result<Reference> {
    if text.is_empty() {
        return Err(bad("the name is empty"));
    }
    if text.len() > LONGEST {
        return Err(bad("the name is too long"));
    }
    if let Some(c) = text.chars().find(|c| c.is_control()) {
        return Err(bad(format!(
            "the name holds the control character `{}`",
            c.escape_debug()
        )));
    }
    if let Some(rest) = text.strip_prefix("docker://") {
        return registry(rest, default_registry, Typed::Scheme).map(Reference::Registry);
    }
    if let Some((scheme, rest)) = text.split_once(':') {
        match scheme {
            "oci" => return local(rest, Reference::Layout),
            "oci-archive" => return local(rest, Reference::OciArchive),
            "docker-archive" => return local(rest, Reference::DockerArchive),
            "builtin" => return builtin(rest),
            "sha256" => return id(rest),
            "docker" => {
                return Err(bad("`docker:` lacks its `//`").hint(format!(
                    "write `docker://{rest}`, or `docker://docker:{rest}` for the image called `docker`"
                )));
            }
            "docker-daemon" | "containers-storage" | "dir" => {
                return Err(Error::new(
                    Kind::Unsupported,
                    format!("rkt does not read images from `{scheme}:`"),
                )
                .hint("`skopeo copy` can write an `oci:` directory or a `docker-archive:` file"));
            }
            "aci" => return AppImageName::parse(rest).map(Reference::App),
            "file" => return aci_file(rest),
            "http" | "https" => return aci_url(text),
            _ => {}
        }
    }
    if let Some(rest) = text.strip_prefix("sha256-") {
        return id(rest);
    }
    if let Some(hex) = text.strip_prefix("sha512-") {
        return match (2..=128).contains(&hex.len()) && is_hex(hex) {
            true => Ok(Reference::AciId(hex.to_owned())),
            false => Err(bad(
                "an image id has 2 to 128 lower-case hex digits after `sha512-`",
            )),
        };
    }
    if (12..=64).contains(&text.len()) && is_hex(text) {
        return id(text);
    }
    if text.ends_with(".aci") {
        return Ok(Reference::AciFile(PathBuf::from(text)));
    }
    if text.starts_with(['/', '.', '~']) {
        return Err(bad("a path needs its kind in front, but for files that end in `.aci`").hint(format!(
            "write `oci:{text}` for a layout directory, `docker-archive:{text}` or `oci-archive:{text}` for a file"
        )));
    }
    // No name in a registry holds these, and every label does.
    if text.contains(',') && text.contains('=') {
        return AppImageName::parse(text).map(Reference::App);
    }
    registry(text, default_registry, Typed::Bare).map(Reference::Registry)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Typed {
    Scheme,
    Bare,
}

fn registry(text: &str, default_registry: &str, typed: Typed) -> Result<RegistryName> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (
            rest,
            Some(Digest::new(digest).map_err(|e| bad(e.to_string()))?),
        ),
        None => (text, None),
    };
    let first = rest.split('/').next().unwrap_or(rest);
    let has_host = rest.len() > first.len() && (first.contains(['.', ':']) || first == "localhost");
    let (host, path) = match rest.split_once('/') {
        Some((host, path)) if has_host => (host, path),
        _ if default_registry.contains(['.', ':']) || default_registry == "localhost" => {
            (default_registry, rest)
        }
        _ => {
            return Err(bad(format!(
                "the default registry `{default_registry}` is no host: needs a `.`, a port, or `localhost`"
            )));
        }
    };
    let host = canonical_host(host)?;
    let (path, tag) = match path.split_once(':') {
        Some((path, tag)) => (path, Some(check_tag(tag)?)),
        None => (path, None),
    };
    check_repository(path)?;
    let repository = if host == HUB && !path.contains('/') {
        format!("library/{path}")
    } else {
        path.to_owned()
    };
    let assumed = Assumed {
        registry: !has_host && typed == Typed::Bare,
        tag: tag.is_none() && digest.is_none(),
    };
    Ok(RegistryName {
        registry: host,
        repository,
        tag: tag.or_else(|| assumed.tag.then(|| "latest".to_owned())),
        digest,
        assumed,
    })
}

/// `host[:port][/path]` of a configuration, in its one form.
pub(crate) fn check_place(text: &str) -> Result<String> {
    let (host, path) = match text.split_once('/') {
        Some((host, path)) => (host, Some(path)),
        None => (text, None),
    };
    let host = canonical_host(host)?;
    match path {
        None => Ok(host),
        Some(path) => {
            check_repository(path)?;
            Ok(format!("{host}/{path}"))
        }
    }
}

/// `host[:port]` in lower case, the Hub's three names as one.
fn canonical_host(text: &str) -> Result<String> {
    let lower = text.to_ascii_lowercase();
    let (host, port) = match lower.strip_prefix('[') {
        Some(rest) => {
            let (inside, after) = rest
                .split_once(']')
                .ok_or_else(|| bad(format!("registry `{text}` lacks its `]`")))?;
            inside
                .parse::<std::net::Ipv6Addr>()
                .map_err(|_| bad(format!("`{inside}` is no IPv6 address")))?;
            let port = match after {
                "" => None,
                _ => Some(after.strip_prefix(':').ok_or_else(|| {
                    bad(format!("registry `{text}` has more than a port after `]`"))
                })?),
            };
            (None, port)
        }
        None => match lower.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(lower.as_str()), None),
        },
    };
    if let Some(host) = host {
        let labels_ok = host.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        });
        if host.len() > 253 || !labels_ok {
            return Err(bad(format!("`{text}` is no host name")));
        }
    }
    if let Some(port) = port
        && !port.parse::<u16>().is_ok_and(|p| p != 0)
    {
        return Err(bad(format!("`{port}` is no port: needs 1 to 65535")));
    }
    Ok(match lower.as_str() {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => HUB.to_owned(),
        _ => lower,
    })
}

fn check_repository(path: &str) -> Result<()> {
    if path.is_empty() {
        return Err(bad("there is no name after the registry"));
    }
    if path.len() > 255 {
        return Err(bad("the name in the registry is longer than 255 bytes"));
    }
    for part in path.split('/') {
        if !is_component(part) {
            let error = bad(format!(
                "`{part}` is no part of an image name: needs `a-z`, `0-9` and single inner `.`, `_`, `__` or dashes"
            ));
            return Err(if part.bytes().any(|b| b.is_ascii_uppercase()) {
                error.hint("names in registries are lower case")
            } else {
                error
            });
        }
    }
    Ok(())
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(part: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    if !bytes.first().copied().is_some_and(word) || !bytes.last().copied().is_some_and(word) {
        return false;
    }
    bytes.split(|b| word(*b)).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-')
    })
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
fn check_tag(tag: &str) -> Result<String> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let ok = tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-');
    if ok {
        Ok(tag.to_owned())
    } else {
        Err(bad(format!(
            "`{}` is no tag: needs 1 to 128 letters, digits, `_` and inner `.`, `-`",
            tag.escape_debug()
        )))
    }
}

fn local(rest: &str, make: fn(LocalName) -> Reference) -> Result<Reference> {
    let (path, tag) = match rest.split_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (rest, None),
    };
    if path.is_empty() {
        return Err(bad("there is no path after the kind"));
    }
    if path.len() > 4095 {
        return Err(bad("the path is longer than 4095 bytes"));
    }
    // Names in an index are free text by the spec; what comes out goes to terminals and files.
    let tag = match tag {
        Some("") => return Err(bad("the tag after `:` is empty")),
        Some(tag) if tag.len() > 255 => {
            return Err(bad("the tag is longer than 255 bytes"));
        }
        Some(tag) => Some(tag.to_owned()),
        None => None,
    };
    Ok(make(LocalName {
        path: PathBuf::from(path),
        tag,
    }))
}

/// What stands behind `file:`.
fn aci_file(rest: &str) -> Result<Reference> {
    let path = rest
        .strip_prefix("//")
        .map(|r| r.strip_prefix("localhost").unwrap_or(r))
        .filter(|p| p.starts_with('/'))
        .ok_or_else(|| bad("a `file:` address is `file:///absolute/path.aci`"))?;
    if !path.ends_with(".aci") {
        return Err(bad("a `file:` address has to end in `.aci`"));
    }
    Ok(Reference::AciFile(PathBuf::from(path)))
}

fn aci_url(text: &str) -> Result<Reference> {
    let path = text.split(['?', '#']).next().unwrap_or(text);
    if !text.bytes().all(|b| b.is_ascii_graphic()) || !path.ends_with(".aci") || text.contains('#')
    {
        return Err(bad(
            "an address of an App Container Image has to end in `.aci`; registries are `docker://`",
        ));
    }
    Ok(Reference::AciUrl(text.to_owned()))
}

fn builtin(name: &str) -> Result<Reference> {
    if name.len() <= 63 && is_component(name) {
        Ok(Reference::Builtin(name.to_owned()))
    } else {
        Err(bad(format!(
            "`{name}` is no name of a built-in image, such as `builtin:probe`"
        )))
    }
}

fn id(digits: &str) -> Result<Reference> {
    if (2..=64).contains(&digits.len()) && is_hex(digits) {
        Ok(Reference::Id(digits.to_owned()))
    } else {
        Err(bad("an image id has 2 to 64 lower-case hex digits"))
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Longest file name made by [`escape`]; file systems end at 255.
const LONGEST_FILE_NAME: usize = 200;

/// One safe file name for any bytes, the same for the same bytes only.
pub(super) fn escape(bytes: &[u8]) -> String {
    let mut name = String::with_capacity(bytes.len() + 16);
    for b in bytes {
        if b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-') {
            name.push(char::from(*b));
        } else {
            name.push('%');
            name.push_str(&hex(&[*b]));
        }
    }
    if name.len() > LONGEST_FILE_NAME {
        // `%%` cannot come from the loop above, so a short name never equals a cut one.
        name.truncate(LONGEST_FILE_NAME - 66);
        name.push_str("%%");
        name.push_str(&hex(&Sha256::digest(bytes)));
    }
    name
}
