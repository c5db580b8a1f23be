//! What an image says about how it wants to be run: one model for every image format.

use crate::manifest::{Isolator, MountPoint};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The run-time defaults of an image, whatever its format.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageConfig {
    /// `linux`, or what the image says.
    pub os: String,
    /// Go's name of the architecture: `amd64`, `arm64`, ...
    pub architecture: String,
    /// Variant of the architecture, such as `v8`; empty when the image has none.
    pub variant: String,
    /// First words of the command.
    pub entrypoint: Vec<String>,
    /// Default arguments; replaced by arguments of the user.
    pub cmd: Vec<String>,
    /// `NAME=value`, in order; entries without `=` were dropped.
    pub env: Vec<String>,
    /// `user`, `user:group`, numbers or names; empty is root.
    pub user: String,
    /// Absolute, or empty for `/`.
    pub working_dir: String,
    /// Absolute paths that want storage of their own.
    pub volumes: Vec<String>,
    /// Ports the image listens on.
    pub ports: Vec<Port>,
    /// Labels; inert data, never options of the engine.
    pub labels: BTreeMap<String, String>,
    /// Signal that asks the app to end; `None` is SIGTERM.
    pub stop_signal: Option<String>,
    /// More groups, by number; an App Container Image says them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<u32>,
    /// Paths that want a volume, by the volume's name; an App Container Image says them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mount_points: Vec<MountPoint>,
    /// Restrictions and limits that the image asks for, at most one of a kind.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub isolators: Vec<Isolator>,
    /// What the image asks for and rkt does not do: reasons not to run it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unmet: Vec<Unmet>,
    /// Notes of the image; inert data.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A wish of an image that rkt does not fulfil.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unmet {
    /// What it asks for, such as `isolator \`os/linux/selinux-context\``.
    pub wish: String,
    /// Why it is not done.
    pub why: String,
    /// The word of `--insecure-options` that lets the image run without it; empty when none does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub insecure: String,
}

/// A port an app listens on inside its pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// AC Name, such as `80-tcp` or `http`.
    pub name: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// 1..=65535.
    pub port: u16,
}

/// `/etc/passwd` and `/etc/group` of a merged root file system, at most 1 MiB each.
///
/// Names of users are resolved from these, so a start never opens a file of the image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts {
    /// Bytes of `/etc/passwd`; empty when there is none.
    pub passwd: Vec<u8>,
    /// Bytes of `/etc/group`; empty when there is none.
    pub group: Vec<u8>,
}
