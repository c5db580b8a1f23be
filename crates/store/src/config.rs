//! The configuration of an OCI or docker image, in the words of `rkt_spec::image`.
//!
//! Source: OCI image-spec, config.md; the odd corners (ranges of ports, relative directories,
//! variables without `=`) as docker treats them.

use crate::error::{Error, Kind, Result};
use rkt_spec::Digest;
use rkt_spec::image::{ImageConfig, Port};
use rkt_spec::{name, signal};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The whole file; every part may be absent or null.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct ConfigFile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    architecture: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    os: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config: Option<RunConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rootfs: Option<RootFs>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RunConfig {
    user: Option<String>,
    exposed_ports: Option<BTreeMap<String, Anything>>,
    env: Option<Vec<String>>,
    entrypoint: Option<Words>,
    cmd: Option<Words>,
    volumes: Option<BTreeMap<String, Anything>>,
    working_dir: Option<String>,
    labels: Option<BTreeMap<String, Option<String>>>,
    stop_signal: Option<String>,
}

/// `{}` by the spec; whatever it is, it says nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "serde::de::IgnoredAny")]
struct Anything;

impl From<serde::de::IgnoredAny> for Anything {
    fn from(_: serde::de::IgnoredAny) -> Self {
        Self
    }
}

impl Serialize for Anything {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_unit_struct("")
    }
}

/// A command; very old images have it as one string, for the shell.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Words {
    Many(Vec<String>),
    One(String),
}

impl Words {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::Many(words) => words,
            Self::One(line) => vec!["/bin/sh".into(), "-c".into(), line],
        }
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct RootFs {
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(default)]
    diff_ids: Option<Vec<String>>,
}

/// What a configuration says.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) config: ImageConfig,
    pub(crate) diff_ids: Vec<Digest>,
    /// What was passed over, for the user; one line each.
    pub(crate) notes: Vec<String>,
}

/// Reads a configuration.
pub(crate) fn read(bytes: &[u8]) -> Result<Read> {
    let file: ConfigFile = serde_json::from_slice(bytes).map_err(|e| {
        Error::new(
            Kind::Corrupt,
            format!("the configuration is not readable: {e}"),
        )
    })?;
    let mut notes = Notes::default();
    let rootfs = file.rootfs.unwrap_or_default();
    if rootfs.kind.as_deref().is_some_and(|k| k != "layers") {
        return Err(Error::new(
            Kind::Unsupported,
            "the image is not made of layers",
        ));
    }
    let diff_ids = rootfs
        .diff_ids
        .unwrap_or_default()
        .iter()
        .map(|text| Ok(Digest::new(text)?))
        .collect::<Result<Vec<_>>>()?;
    let run = file.config.unwrap_or_default();
    let config = ImageConfig {
        os: file.os.unwrap_or_default(),
        architecture: file.architecture.unwrap_or_default(),
        variant: file.variant.unwrap_or_default(),
        entrypoint: run.entrypoint.map(Words::into_vec).unwrap_or_default(),
        cmd: run.cmd.map(Words::into_vec).unwrap_or_default(),
        env: env(run.env.unwrap_or_default()),
        user: run.user.unwrap_or_default(),
        working_dir: absolute(&run.working_dir.unwrap_or_default()),
        volumes: volumes(run.volumes.unwrap_or_default().into_keys(), &mut notes),
        ports: ports(
            run.exposed_ports.unwrap_or_default().into_keys(),
            &mut notes,
        ),
        labels: run
            .labels
            .unwrap_or_default()
            .into_iter()
            .map(|(k, v)| (k, v.unwrap_or_default()))
            .collect(),
        groups: Vec::new(),
        mount_points: Vec::new(),
        isolators: Vec::new(),
        unmet: Vec::new(),
        annotations: BTreeMap::new(),
        stop_signal: run.stop_signal.filter(|s| !s.is_empty()).and_then(|s| {
            if signal::parse(&s).is_ok() {
                return Some(s);
            }
            notes.push(format!(
                "the image's stop signal `{}` is not known; SIGTERM is used",
                s.escape_debug()
            ));
            None
        }),
    };
    refuse_nul(&config)?;
    Ok(Read {
        config,
        diff_ids,
        notes: notes.into_lines(),
    })
}

/// Most lines about one image; a stranger could write a million.
const MOST_NOTES: usize = 16;

/// What was passed over.
#[derive(Default)]
struct Notes {
    lines: Vec<String>,
    more: usize,
}

impl Notes {
    fn push(&mut self, line: String) {
        match self.lines.len() < MOST_NOTES {
            true => self.lines.push(line),
            false => self.more += 1,
        }
    }

    fn into_lines(mut self) -> Vec<String> {
        if self.more > 0 {
            self.lines
                .push(format!("and {} more of this kind", self.more));
        }
        self.lines
    }
}

/// A NUL would cut a word short between our check and the kernel's reading.
fn refuse_nul(config: &ImageConfig) -> Result<()> {
    let words = [
        &config.entrypoint,
        &config.cmd,
        &config.env,
        &config.volumes,
    ];
    let lone = [
        &config.user,
        &config.working_dir,
        &config.os,
        &config.architecture,
        &config.variant,
    ];
    if words
        .into_iter()
        .flatten()
        .chain(lone)
        .any(|t| t.contains('\0'))
    {
        return Err(Error::new(
            Kind::Corrupt,
            "the configuration has a NUL inside a word",
        ));
    }
    Ok(())
}

/// Entries without a name or `=` dropped; of the same name the last value wins, in the first place.
fn env(list: Vec<String>) -> Vec<String> {
    let mut place: BTreeMap<String, usize> = BTreeMap::new();
    let mut out: Vec<String> = Vec::new();
    for entry in list {
        let Some((name, _)) = entry.split_once('=') else {
            continue;
        };
        if name.is_empty() {
            continue;
        }
        match place.get(name).and_then(|i| out.get_mut(*i)) {
            Some(old) => *old = entry,
            None => {
                place.insert(name.to_owned(), out.len());
                out.push(entry);
            }
        }
    }
    out
}

/// Lexically clean and absolute; `..` ends at the root, as in a file system. Empty stays empty.
fn absolute(path: &str) -> String {
    if path.is_empty() {
        return String::new();
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    format!("/{}", parts.join("/"))
}

fn volumes(keys: impl Iterator<Item = String>, notes: &mut Notes) -> Vec<String> {
    let mut list: Vec<String> = Vec::new();
    for key in keys {
        let path = absolute(&key);
        if path.len() > 1 && path.len() < 4096 {
            list.push(path);
        } else {
            notes.push(format!(
                "the image's volume `{}` is no path inside it and is passed over",
                key.escape_debug()
            ));
        }
    }
    list.sort();
    list.dedup();
    list
}

/// Most ports of one image; a range may name 65535.
const MOST_PORTS: usize = 4096;

fn ports(keys: impl Iterator<Item = String>, notes: &mut Notes) -> Vec<Port> {
    let mut list = Vec::new();
    for key in keys {
        match port_range(&key) {
            Some((low, high, protocol)) if list.len() + usize::from(high - low) < MOST_PORTS => {
                for port in low..=high {
                    // One port keeps the key as docker2aci made it; a range has a name for each.
                    let text = if low == high {
                        key.clone()
                    } else {
                        format!("{port}-{protocol}")
                    };
                    let Ok(name) = name::sanitise(&text) else {
                        continue;
                    };
                    list.push(Port {
                        name,
                        protocol: protocol.clone(),
                        port,
                    });
                }
            }
            _ => notes.push(format!(
                "the image's port `{}` is no port and is passed over",
                key.escape_debug()
            )),
        }
    }
    list.sort_by(|a, b| a.name.cmp(&b.name));
    list.dedup();
    list
}

/// `80`, `80/tcp`, `8000-8010/udp`.
fn port_range(key: &str) -> Option<(u16, u16, String)> {
    let (numbers, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return None;
    }
    let (low, high) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let (low, high): (u16, u16) = (low.parse().ok()?, high.parse().ok()?);
    (low > 0 && low <= high).then_some((low, high, protocol))
}

/// One step in the making of an image, in its maker's words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct History {
    /// RFC 3339, as it stands there.
    pub created: Option<String>,
    /// The command.
    pub created_by: Option<String>,
    /// Who.
    pub author: Option<String>,
    /// Anything.
    pub comment: Option<String>,
    /// Whether it made no layer.
    #[serde(rename = "empty_layer")]
    pub empty: bool,
    /// The layer that it made.
    #[serde(skip)]
    pub layer: Option<Digest>,
    /// Bytes of that layer's tar.
    #[serde(skip)]
    pub bytes: u64,
}

/// The steps that a configuration tells of, oldest first.
pub(crate) fn history(bytes: &[u8]) -> Result<Vec<History>> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct File {
        history: Option<Vec<History>>,
    }
    let file: File = serde_json::from_slice(bytes).map_err(|e| {
        Error::new(
            Kind::Corrupt,
            format!("the history in the configuration is not readable: {e}"),
        )
    })?;
    Ok(file.history.unwrap_or_default())
}

/// The configuration file of an image that we make ourselves.
pub(crate) fn write(config: &ImageConfig, diff_ids: &[Digest]) -> Result<Vec<u8>> {
    let none_if_empty = |t: &String| (!t.is_empty()).then(|| t.clone());
    let file = ConfigFile {
        architecture: Some(config.architecture.clone()),
        os: Some(config.os.clone()),
        variant: none_if_empty(&config.variant),
        config: Some(RunConfig {
            user: none_if_empty(&config.user),
            exposed_ports: Some(
                config
                    .ports
                    .iter()
                    .map(|p| (format!("{}/{}", p.port, p.protocol), Anything))
                    .collect(),
            ),
            env: Some(config.env.clone()),
            entrypoint: Some(Words::Many(config.entrypoint.clone())),
            cmd: Some(Words::Many(config.cmd.clone())),
            volumes: Some(
                config
                    .volumes
                    .iter()
                    .map(|v| (v.clone(), Anything))
                    .collect(),
            ),
            working_dir: none_if_empty(&config.working_dir),
            labels: Some(
                config
                    .labels
                    .iter()
                    .map(|(k, v)| (k.clone(), Some(v.clone())))
                    .collect(),
            ),
            stop_signal: config.stop_signal.clone(),
        }),
        rootfs: Some(RootFs {
            kind: Some("layers".into()),
            diff_ids: Some(diff_ids.iter().map(ToString::to_string).collect()),
        }),
    };
    serde_json::to_vec(&file).map_err(|e| Error::new(Kind::System, format!("make JSON: {e}")))
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
