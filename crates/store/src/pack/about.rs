//! The manifest of an App Container Image that rkt makes: appc 0.8.11, "Image Manifest Schema".

use crate::aci::words;
use crate::error::{Error, Kind, Result};
use rkt_spec::manifest::{App, Isolator, Pair};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Isolators that appc knows, as far as rkt has them; the rest is said when a pod is started.
const ISOLATORS: [&str; 8] = [
    "resource/memory",
    "resource/cpu",
    "os/linux/capabilities-retain-set",
    "os/linux/capabilities-remove-set",
    "os/linux/no-new-privileges",
    "os/linux/oom-score-adj",
    "os/linux/seccomp-retain-set",
    "os/linux/seccomp-remove-set",
];

/// Variables that whoever runs the app sets anew.
const OURS: [&str; 3] = ["AC_APP_NAME", "AC_METADATA_URL", "container"];

/// What the manifest is made of.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The image's name, as people type it: `docker://host/redis:7`, `example.com/app:1.0`.
    pub title: &'a str,
    /// `linux`.
    pub os: &'a str,
    /// Go's architecture.
    pub architecture: &'a str,
    /// Its variant, or nothing.
    pub variant: &'a str,
    /// How it runs.
    pub app: &'a App,
}

/// Makes the manifest, and tells what of the app it cannot say, a line each.
///
/// # Errors
/// When JSON cannot be made.
pub fn manifest(about: &About<'_>) -> Result<(Vec<u8>, Vec<String>)> {
    let mut notes = Vec::new();
    let (name, version) = name_of(about.title);
    let arch = words::appc_architecture(about.architecture, about.variant);
    let mut labels = Vec::new();
    for (name, value) in [
        ("arch", arch.as_str()),
        ("os", about.os),
        ("version", version.as_deref().unwrap_or("")),
    ] {
        if !value.is_empty() {
            labels.push(json!({ "name": name, "value": value }));
        }
    }
    let value = json!({
        "acKind": "ImageManifest",
        "acVersion": "0.8.11",
        "name": name,
        "labels": labels,
        "app": app(about.app, &mut notes)?,
    });
    Ok((serde_json::to_vec(&value).map_err(broken)?, notes))
}

fn broken(error: serde_json::Error) -> Error {
    Error::new(Kind::System, format!("make JSON: {error}"))
}

fn app(app: &App, notes: &mut Vec<String>) -> Result<Value> {
    let ports: Vec<Value> = app
        .ports
        .iter()
        .map(|p| {
            json!({ "name": p.name, "protocol": p.protocol, "port": p.port,
                    "count": 1, "socketActivated": false })
        })
        .collect();
    Ok(json!({
        "exec": app.exec,
        "user": app.user,
        "group": app.group,
        "supplementaryGIDs": app.supplementary_gids,
        "workingDirectory": app.working_directory,
        "environment": environment(&app.environment, notes),
        "mountPoints": app.mount_points,
        "ports": ports,
        "isolators": isolators(&app.isolators, notes)?,
    }))
}

fn environment<'a>(all: &'a [Pair], notes: &mut Vec<String>) -> Vec<&'a Pair> {
    let mut seen = BTreeSet::new();
    let mut list: Vec<&Pair> = Vec::new();
    // The last one of a name counts.
    for pair in all.iter().rev() {
        if OURS.contains(&pair.name.as_str()) || !seen.insert(&pair.name) {
            continue;
        }
        if words::is_variable(&pair.name) {
            list.push(pair);
        } else {
            notes.push(format!(
                "variable `{}` has a name that appc does not allow",
                words::show(&pair.name)
            ));
        }
    }
    list.reverse();
    list
}

fn isolators(all: &[Isolator], notes: &mut Vec<String>) -> Result<Vec<Value>> {
    let mut list = Vec::new();
    for isolator in all {
        let value = serde_json::to_value(isolator).map_err(broken)?;
        let name = value.get("name").and_then(Value::as_str).unwrap_or("");
        if ISOLATORS.contains(&name) {
            list.push(value);
        } else {
            notes.push(format!(
                "isolator `{name}` is no image's to say: give it again when you run the image"
            ));
        }
    }
    Ok(list)
}

/// An AC Identifier and a version from what an image was called.
fn name_of(title: &str) -> (String, Option<String>) {
    const KINDS: [&str; 8] = [
        "docker-archive:",
        "oci-archive:",
        "docker:",
        "oci:",
        "builtin:",
        "aci:",
        "file:",
        "https:",
    ];
    let bare = KINDS
        .iter()
        .find_map(|kind| title.strip_prefix(kind))
        .unwrap_or(title);
    let bare = bare.split(['@', ',']).next().unwrap_or(bare);
    let start = bare.rfind('/').map_or(0, |at| at + 1);
    let (name, version) = match bare.get(start..).and_then(|last| last.split_once(':')) {
        Some((last, tag)) => {
            let name = format!("{}{last}", bare.get(..start).unwrap_or(""));
            (name, Some(tag.to_owned()).filter(|t| !t.is_empty()))
        }
        None => (bare.to_owned(), None),
    };
    let edge = |c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit();
    let parts: Vec<String> = name
        .to_lowercase()
        .split('/')
        .map(|part| {
            part.chars()
                .map(|c| match c {
                    'a'..='z' | '0'..='9' | '-' | '.' | '_' | '~' => c,
                    _ => '_',
                })
                .collect::<String>()
        })
        .map(|part| part.trim_matches(edge).to_owned())
        .filter(|part| !part.is_empty())
        .collect();
    let name = match parts.is_empty() {
        true => "image".to_owned(),
        false => parts.join("/"),
    };
    (
        name.chars()
            .take(512)
            .collect::<String>()
            .trim_matches(edge)
            .to_owned(),
        version,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_identifiers() {
        let version = |v: &str| Some(v.to_owned());
        for (title, name, tag) in [
            (
                "docker://docker.io/library/redis:7",
                "docker.io/library/redis",
                version("7"),
            ),
            (
                "docker://127.0.0.1:5000/Team/app:v1",
                "127.0.0.1_5000/team/app",
                version("v1"),
            ),
            ("docker://h/a@sha256:00ff", "h/a", None),
            (
                "oci:/srv/My Layout:latest",
                "srv/my_layout",
                version("latest"),
            ),
            ("oci-archive:/tmp/x.tar", "tmp/x.tar", None),
            ("builtin:probe", "probe", None),
            (
                "example.com/app:1.0,os=linux",
                "example.com/app",
                version("1.0"),
            ),
            ("../..//.", "image", None),
        ] {
            assert_eq!(name_of(title), (name.to_owned(), tag), "{title}");
            words::identifier(name).unwrap();
        }
    }
}
