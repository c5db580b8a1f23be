//! The pod manifest: what the user wants, complete and serialisable.
//!
//! appc's PodManifest (0.8.11) in camelCase JSON, with a few keys of our own. It is
//! written into the pod's directory for people and tools; stage1 never reads it (it
//! gets the binary [`crate::plan::Plan`]).

use crate::image::Port;
use crate::name::{AppName, PodName, VolumeName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What a pod is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodManifest {
    /// appc version the document follows: `0.8.11`.
    pub ac_version: String,
    /// `PodManifest`.
    pub ac_kind: String,
    /// Name given by `--pod-name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<PodName>,
    /// The apps, started in this order.
    pub apps: Vec<RuntimeApp>,
    /// Storage that apps mount by name.
    #[serde(default)]
    pub volumes: Vec<Volume>,
    /// Bounds on the whole pod.
    #[serde(default)]
    pub isolators: Vec<Isolator>,
    /// Free notes, `name` and `value`.
    #[serde(default)]
    pub annotations: Vec<Pair>,
    /// Host name of the pod.
    #[serde(default)]
    pub hostname: String,
    /// Networks as asked for: `none`, `host`, or names with their arguments.
    #[serde(default)]
    pub net: String,
    /// Ports of the host that lead into the pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ExposedPort>,
    /// Labels of the user.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub user_labels: BTreeMap<String, String>,
    /// Annotations of the user.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub user_annotations: BTreeMap<String, String>,
}

/// An app of a pod, with its image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeApp {
    /// Unique in the pod.
    pub name: AppName,
    /// Which image.
    pub image: RuntimeImage,
    /// How it runs: the image's wishes with the user's over them.
    pub app: App,
    /// Whether `/` is read-only; volumes stay as they are.
    #[serde(default, rename = "readOnlyRootFS")]
    pub read_only_root_fs: bool,
    /// Bytes that the app may write to `/` at most; they are kept in memory then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_size: Option<u64>,
    /// Volumes by path.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Free notes.
    #[serde(default)]
    pub annotations: Vec<Pair>,
}

/// The image of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeImage {
    /// `sha256:...`: digest of the image's configuration.
    pub id: String,
    /// The reference as the user typed it.
    pub name: String,
    /// `os`, `arch`, `version`.
    #[serde(default)]
    pub labels: Vec<Pair>,
}

/// A port of the host that leads into the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExposedPort {
    /// Name of the image's port, or the words of the option.
    pub name: String,
    /// Port of the host, 1..=65535.
    pub host_port: u16,
    /// Address of the host; unspecified is all of that family.
    #[serde(rename = "hostIP")]
    pub host_ip: IpAddr,
    /// Where it leads.
    pub pod_port: Port,
    /// The app whose port it is, when that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// How it leads there.
    #[serde(default)]
    pub via: Via,
}

/// How a port of the host leads into the pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// The kernel rewrites the destination.
    #[default]
    Nat,
    /// The app gets the listening socket.
    Socket,
}

/// `name` and `value`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

/// How an app runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct App {
    /// The command, no expansion.
    pub exec: Vec<String>,
    /// User: a number or a name of the image.
    pub user: String,
    /// Group: a number or a name of the image; empty is the user's own.
    pub group: String,
    /// More groups, by number.
    #[serde(default, rename = "supplementaryGIDs")]
    pub supplementary_gids: Vec<u32>,
    /// Absolute path.
    #[serde(default)]
    pub working_directory: String,
    /// Environment, in order.
    #[serde(default)]
    pub environment: Vec<Pair>,
    /// Paths of the image that want a volume.
    #[serde(default)]
    pub mount_points: Vec<MountPoint>,
    /// Ports of the app.
    #[serde(default)]
    pub ports: Vec<Port>,
    /// Restrictions and limits.
    #[serde(default)]
    pub isolators: Vec<Isolator>,
    /// Signal that asks the app to end.
    #[serde(default)]
    pub stop_signal: String,
    /// Milliseconds between that signal and SIGKILL.
    #[serde(default)]
    pub stop_timeout_ms: u32,
    /// Labels of the user.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub user_labels: BTreeMap<String, String>,
    /// Annotations of the user.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub user_annotations: BTreeMap<String, String>,
}

/// A path of an image that wants a volume of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MountPoint {
    /// Name of the volume.
    pub name: VolumeName,
    /// Absolute path in the app.
    pub path: String,
    /// Whether the app only reads it.
    #[serde(default)]
    pub read_only: bool,
}

/// A volume at a path of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Which volume of the pod.
    pub volume: VolumeName,
    /// Absolute path in the app.
    pub path: String,
    /// Overrides the volume's own setting when it is stricter.
    #[serde(default)]
    pub read_only: bool,
}

/// Storage of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// Unique in the pod.
    pub name: VolumeName,
    /// Where the bytes are.
    pub kind: VolumeKind,
    /// Host path, for `host`; absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Read-only for every app, with everything mounted below it.
    #[serde(default)]
    pub read_only: bool,
    /// Whether file systems mounted below a host source come along (default true).
    #[serde(default = "yes")]
    pub recursive: bool,
    /// Permission bits of an empty volume's top directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// Owner of an empty volume's top directory, as the apps see it.
    #[serde(default)]
    pub uid: u32,
    /// Group of an empty volume's top directory, as the apps see it.
    #[serde(default)]
    pub gid: u32,
    /// Whose files a host volume's are, as the app sees them.
    #[serde(default)]
    pub owner: VolumeOwner,
    /// Bytes that an empty volume holds at most; it is kept in memory then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

fn yes() -> bool {
    true
}

/// Where a volume's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VolumeKind {
    /// A file or directory of the host.
    Host,
    /// A new directory that lives as long as the pod; shared by the apps that mount it.
    Empty,
    /// A new directory over the image's own content at the mount's path; of one app.
    Image,
}

/// Whose files a host volume's are, as the app sees them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeOwner {
    /// An idmapped mount: the owner of the source appears as the app's user.
    #[default]
    App,
    /// Host ids are host ids: nearly all show as 65534.
    Host,
    /// Host ids 0..=65535 appear as the same numbers. The app's root can then make
    /// setuid-root files on the host: said aloud, audited, never a default.
    HostRoot,
}

/// A named restriction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", content = "value")]
pub enum Isolator {
    /// Bytes of memory; `limit` is an appc quantity.
    #[serde(rename = "resource/memory")]
    Memory {
        /// Such as `64Mi`.
        limit: String,
    },
    /// Cores; `500m` is half of one.
    #[serde(rename = "resource/cpu")]
    Cpu {
        /// Such as `500m`.
        limit: String,
    },
    /// Weight of the app beside the others of the pod, 2..=262144; 1024 is the usual one.
    #[serde(rename = "os/linux/cpu-shares")]
    CpuShares(u64),
    /// Tasks (processes and threads); 0 is no limit.
    #[serde(rename = "resource/pids")]
    Pids {
        /// How many.
        limit: u64,
    },
    /// Exactly these capabilities.
    #[serde(rename = "os/linux/capabilities-retain-set")]
    CapabilitiesRetain {
        /// `CAP_...` names.
        set: Vec<String>,
    },
    /// The default set without these.
    #[serde(rename = "os/linux/capabilities-remove-set")]
    CapabilitiesRemove {
        /// `CAP_...` names.
        set: Vec<String>,
    },
    /// Whether execve may raise privileges; default true (it may not).
    #[serde(rename = "os/linux/no-new-privileges")]
    NoNewPrivileges(bool),
    /// -1000..=1000.
    #[serde(rename = "os/linux/oom-score-adj")]
    OomScoreAdj(i32),
    /// These system calls and no others.
    #[serde(rename = "os/linux/seccomp-retain-set")]
    SeccompRetain(SeccompSet),
    /// Every system call but these, and but what rkt always refuses.
    #[serde(rename = "os/linux/seccomp-remove-set")]
    SeccompRemove(SeccompSet),
    /// A profile in docker's JSON.
    #[serde(rename = "rkt/seccomp-profile")]
    SeccompProfile {
        /// Path of the file it was read from.
        source: String,
        /// Its text.
        profile: String,
    },
    /// No filter at all.
    #[serde(rename = "rkt/seccomp-unconfined")]
    SeccompUnconfined,
    /// Socket families, added to the usual ones or taken from them.
    #[serde(rename = "rkt/socket-families")]
    SocketFamilies {
        /// Names such as `AF_VSOCK`.
        add: Vec<String>,
        /// Names such as `AF_INET6`.
        remove: Vec<String>,
    },
    /// How many user namespaces the app may nest; default none.
    #[serde(rename = "rkt/nested-user-namespaces")]
    NestedUserNamespaces(u32),
    /// Settings of the pod's own namespaces, by name; a pod's, not an app's.
    #[serde(rename = "os/unix/sysctl")]
    Sysctl(BTreeMap<String, String>),
    /// A limit of `setrlimit(2)`; `None` is unlimited.
    #[serde(rename = "rkt/rlimit")]
    Rlimit {
        /// Name as in `ulimit`: `nofile`, `memlock`, ...
        name: String,
        /// Soft limit.
        soft: Option<u64>,
        /// Hard limit.
        hard: Option<u64>,
    },
    /// Paths hidden, shown or made read-only beyond the default.
    #[serde(rename = "rkt/paths")]
    Paths {
        /// Absolute paths to hide.
        #[serde(default)]
        mask: Vec<String>,
        /// Absolute paths, with all below them, that are not hidden and not read-only.
        #[serde(default)]
        unmask: Vec<String>,
        /// Absolute paths to make read-only.
        #[serde(default)]
        read_only: Vec<String>,
    },
    /// A device node of the host.
    #[serde(rename = "rkt/device")]
    Device {
        /// Absolute path on the host.
        source: String,
        /// Absolute path in the app, below /dev.
        target: String,
        /// Of `r` and `w`.
        access: String,
    },
    /// Which user namespace the app lives in; default its own.
    #[serde(rename = "rkt/user-namespace")]
    UserNamespace(UserNamespace),
}

/// System calls by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeccompSet {
    /// Names, and sets of names such as `@docker/default-whitelist`.
    pub set: Vec<String>,
    /// Name of the error that a refused call gets; empty ends the process (SIGSYS).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub errno: String,
    /// Who asks: an image's list cannot go beyond rkt's default one.
    #[serde(default, skip_serializing_if = "Asker::is_user")]
    pub by: Asker,
}

/// Who asks for something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Asker {
    /// The user.
    #[default]
    User,
    /// The image.
    Image,
}

impl Asker {
    fn is_user(&self) -> bool {
        *self == Self::User
    }
}

/// Which user namespace an app lives in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserNamespace {
    /// One of its own: its capabilities govern what is the app's.
    #[default]
    App,
    /// The pod's: its capabilities govern the pod's network, IPC and host name too.
    Pod,
}
