//! The manifest of an App Container Image, read and checked.
//!
//! Source: appc 0.8.11, "Image Manifest Schema". Unknown keys are passed over, `null` is the same
//! as nothing, and every word that is used is checked here once.

use super::words::{bad, identifier, is_date, is_variable, show, version};
use crate::error::{Doing, Result};
use rkt_spec::VolumeName;
use rkt_spec::manifest::Pair;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// Most dependencies of one image; real ones have a few.
const MAX_DEPENDENCIES: usize = 64;

/// A checked image manifest.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Manifest {
    /// AC Identifier: the image's name.
    pub(crate) name: String,
    /// Without doubles, as they stand.
    pub(crate) labels: Vec<Pair>,
    pub(crate) app: Option<App>,
    pub(crate) annotations: Vec<Pair>,
    /// In order: a later one lies over an earlier one.
    pub(crate) dependencies: Vec<Dependency>,
    /// Absolute, clean paths; empty shows all.
    pub(crate) whitelist: Vec<String>,
}

/// What an image says about running it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct App {
    pub(crate) exec: Vec<String>,
    pub(crate) user: String,
    pub(crate) group: String,
    pub(crate) groups: Vec<u32>,
    pub(crate) working_dir: String,
    pub(crate) environment: Vec<Pair>,
    pub(crate) mount_points: Vec<MountPoint>,
    pub(crate) ports: Vec<Port>,
    /// Name and value, not yet understood.
    pub(crate) isolators: Vec<(String, Value)>,
    /// Names of its event handlers.
    pub(crate) handlers: Vec<String>,
}

/// A path that wants a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountPoint {
    pub(crate) name: VolumeName,
    pub(crate) path: String,
    pub(crate) read_only: bool,
}

/// Ports that an app listens on: `count` of them from `port` on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) protocol: String,
    pub(crate) port: u16,
    pub(crate) count: u16,
    pub(crate) socket_activated: bool,
}

/// An image below this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// Hex digits after `sha512-`, lower case.
    pub(crate) id: Option<String>,
    pub(crate) labels: Vec<Pair>,
    /// Bytes of the file as it is distributed.
    pub(crate) size: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawManifest {
    ac_kind: String,
    ac_version: String,
    name: String,
    labels: Option<Vec<Pair>>,
    app: Option<RawApp>,
    annotations: Option<Vec<Pair>>,
    dependencies: Option<Vec<RawDependency>>,
    path_whitelist: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawApp {
    exec: Option<Vec<String>>,
    #[serde(default)]
    user: String,
    #[serde(default)]
    group: String,
    // The example of the specification writes the second.
    #[serde(rename = "supplementaryGIDs", alias = "supplementaryGids")]
    groups: Option<Vec<u32>>,
    event_handlers: Option<Vec<RawHandler>>,
    working_directory: Option<String>,
    environment: Option<Vec<Pair>>,
    mount_points: Option<Vec<RawMountPoint>>,
    ports: Option<Vec<RawPort>>,
    isolators: Option<Vec<RawIsolator>>,
}

#[derive(Deserialize)]
struct RawHandler {
    name: String,
    exec: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMountPoint {
    name: String,
    path: String,
    read_only: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPort {
    name: String,
    protocol: String,
    port: u16,
    count: Option<u16>,
    socket_activated: Option<bool>,
}

#[derive(Deserialize)]
struct RawIsolator {
    name: String,
    value: Option<Value>,
}

#[derive(Deserialize)]
struct RawDependency {
    #[serde(rename = "imageName")]
    name: String,
    #[serde(rename = "imageID")]
    id: Option<String>,
    labels: Option<Vec<Pair>>,
    size: Option<u64>,
}

impl Manifest {
    /// Reads and checks the bytes of a manifest.
    ///
    /// # Errors
    /// `Corrupt` for what is no manifest, `Unsupported` for one of another appc.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        let raw: RawManifest =
            serde_json::from_slice(bytes).map_err(|e| bad(format!("it is not readable: {e}")))?;
        if raw.ac_kind != "ImageManifest" {
            return Err(bad(format!(
                "it is of kind `{}`, not `ImageManifest`",
                show(&raw.ac_kind)
            )));
        }
        version(&raw.ac_version)?;
        identifier(&raw.name).doing(|| "read its name".into())?;
        let dependencies = raw.dependencies.unwrap_or_default();
        if dependencies.len() > MAX_DEPENDENCIES {
            return Err(bad(format!(
                "it has more than {MAX_DEPENDENCIES} dependencies"
            )));
        }
        Ok(Self {
            labels: labels(raw.labels.unwrap_or_default()).doing(|| "read its labels".into())?,
            app: raw
                .app
                .map(app)
                .transpose()
                .doing(|| "read its app".into())?,
            annotations: annotations(raw.annotations.unwrap_or_default())
                .doing(|| "read its annotations".into())?,
            dependencies: dependencies
                .into_iter()
                .map(dependency)
                .collect::<Result<_>>()
                .doing(|| "read its dependencies".into())?,
            whitelist: whitelist(raw.path_whitelist.unwrap_or_default())?,
            name: raw.name,
        })
    }

    /// The value of a label.
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        let found = self.labels.iter().find(|l| l.name == name)?;
        Some(&found.value)
    }
}

/// Refuses doubles.
fn unique<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(bad(format!("{what} `{}` is there twice", show(name))));
        }
    }
    Ok(())
}

fn labels(list: Vec<Pair>) -> Result<Vec<Pair>> {
    for label in &list {
        identifier(&label.name)?;
        if label.name == "name" {
            return Err(bad("`name` is no label"));
        }
    }
    unique("label", list.iter().map(|l| l.name.as_str()))?;
    Ok(list)
}

fn annotations(list: Vec<Pair>) -> Result<Vec<Pair>> {
    for note in &list {
        identifier(&note.name)?;
        let good = match note.name.as_str() {
            "created" => is_date(&note.value),
            "homepage" | "documentation" => {
                note.value.starts_with("http://") || note.value.starts_with("https://")
            }
            _ => true,
        };
        if !good {
            return Err(bad(format!("`{}` is `{}`", note.name, show(&note.value))));
        }
    }
    unique("annotation", list.iter().map(|n| n.name.as_str()))?;
    Ok(list)
}

fn app(raw: RawApp) -> Result<App> {
    for (what, value) in [("user", &raw.user), ("group", &raw.group)] {
        if value.is_empty() {
            return Err(bad(format!("it names no {what}")));
        }
    }
    let working_dir = raw.working_directory.unwrap_or_default();
    if !working_dir.is_empty() && !working_dir.starts_with('/') {
        return Err(bad(format!(
            "working directory `{}` is not absolute",
            show(&working_dir)
        )));
    }
    let environment = raw.environment.unwrap_or_default();
    if let Some(odd) = environment.iter().find(|v| !is_variable(&v.name)) {
        return Err(bad(format!("`{}` names no variable", show(&odd.name))));
    }
    unique("variable", environment.iter().map(|v| v.name.as_str()))?;
    let handlers: Vec<String> = raw
        .event_handlers
        .unwrap_or_default()
        .into_iter()
        .map(|handler| match handler.name.as_str() {
            "pre-start" | "post-stop" if handler.exec.is_some() => Ok(handler.name),
            _ => Err(bad(format!(
                "event handler `{}` is none of appc",
                show(&handler.name)
            ))),
        })
        .collect::<Result<_>>()?;
    unique("event handler", handlers.iter().map(String::as_str))?;
    let isolators: Vec<(String, Value)> = raw
        .isolators
        .unwrap_or_default()
        .into_iter()
        .map(|i| identifier(&i.name).map(|()| (i.name, i.value.unwrap_or(Value::Null))))
        .collect::<Result<_>>()?;
    Ok(App {
        exec: raw.exec.unwrap_or_default(),
        user: raw.user,
        group: raw.group,
        groups: raw.groups.unwrap_or_default(),
        working_dir,
        environment,
        mount_points: mount_points(raw.mount_points.unwrap_or_default())?,
        ports: ports(raw.ports.unwrap_or_default())?,
        isolators,
        handlers,
    })
}

fn mount_points(list: Vec<RawMountPoint>) -> Result<Vec<MountPoint>> {
    let points: Vec<MountPoint> = list
        .into_iter()
        .map(|raw| {
            if !raw.path.starts_with('/') {
                return Err(bad(format!(
                    "mount point `{}` is not absolute",
                    show(&raw.path)
                )));
            }
            Ok(MountPoint {
                name: VolumeName::new(raw.name)?,
                path: raw.path,
                read_only: raw.read_only.unwrap_or(false),
            })
        })
        .collect::<Result<_>>()?;
    unique("mount point", points.iter().map(|p| p.name.as_str()))?;
    Ok(points)
}

fn ports(list: Vec<RawPort>) -> Result<Vec<Port>> {
    let ports: Vec<Port> = list
        .into_iter()
        .map(|raw| {
            VolumeName::new(raw.name.clone())
                .map_err(|_| bad(format!("port `{}` has no AC Name", show(&raw.name))))?;
            let count = raw.count.unwrap_or(1).max(1);
            let last = u32::from(raw.port) + u32::from(count);
            if raw.port == 0 || last > 65_536 {
                return Err(bad(format!("port `{}` is out of range", raw.name)));
            }
            if !matches!(raw.protocol.as_str(), "tcp" | "udp" | "sctp") {
                return Err(bad(format!(
                    "protocol `{}` is unknown",
                    show(&raw.protocol)
                )));
            }
            Ok(Port {
                name: raw.name,
                protocol: raw.protocol,
                port: raw.port,
                count,
                socket_activated: raw.socket_activated.unwrap_or(false),
            })
        })
        .collect::<Result<_>>()?;
    unique("port", ports.iter().map(|p| p.name.as_str()))?;
    Ok(ports)
}

fn dependency(raw: RawDependency) -> Result<Dependency> {
    identifier(&raw.name)?;
    let id = match raw.id.filter(|id| !id.is_empty()) {
        None => None,
        Some(id) => {
            let hex = id.strip_prefix("sha512-").filter(|hex| {
                (2..=128).contains(&hex.len())
                    && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            });
            let hex = hex.ok_or_else(|| bad(format!("`{}` is no image id", show(&id))))?;
            Some(hex.to_owned())
        }
    };
    Ok(Dependency {
        name: raw.name,
        id,
        labels: labels(raw.labels.unwrap_or_default())?,
        size: raw.size.filter(|size| *size != 0),
    })
}

/// Paths in one form: absolute, without empty parts, without `.` and `..`.
fn whitelist(list: Vec<String>) -> Result<Vec<String>> {
    list.into_iter()
        .map(|path| {
            let parts: Vec<&str> = path
                .split('/')
                .filter(|p| !p.is_empty() && *p != ".")
                .collect();
            if !path.starts_with('/') || parts.contains(&"..") || path.contains('\0') {
                return Err(bad(format!(
                    "whitelist entry `{}` is no clean path",
                    show(&path)
                )));
            }
            Ok(format!("/{}", parts.join("/")))
        })
        .collect()
}

#[cfg(test)]
mod tests;
