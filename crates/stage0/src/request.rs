//! What the user typed, as data: the input of stage0. Pure.

use crate::error::Error;
use rkt_isolate::plan::Denials;
use rkt_net::files::Hosts;
use rkt_net::ports::PortRequest;
use rkt_net::request::NetRequest;
use rkt_net::resolv::Dns;
use rkt_spec::manifest::{Isolator, Mount, Pair, Volume};
use rkt_spec::{AppName, PodName};
use rkt_store::mounts::Way;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A pod to run, in the user's words: checked one by one, not yet against any image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRequest {
    /// Directories and the cgroup to work in.
    pub place: Place,
    /// The apps, in the order typed; at least one.
    pub apps: Vec<AppRequest>,
    /// `--pod-name`.
    pub pod_name: Option<PodName>,
    /// `--hostname`; `None` is `rkt-UUID`.
    pub hostname: Option<String>,
    /// `--net`; `None` when it was not said: then it is `default`.
    pub net: Option<NetRequest>,
    /// `--port`, in order.
    pub ports: Vec<PortRequest>,
    /// `--dns` and its like.
    pub dns: Dns,
    /// `--hosts-entry`.
    pub hosts: Hosts,
    /// Directories of the configuration; networks of a later one override those of an earlier one.
    pub configs: Vec<PathBuf>,
    /// Where the standard descriptors lead.
    pub stdin: Stdin,
    /// Whether `rkt run` returns as soon as every app runs.
    pub detach: bool,
    /// Whether a detached pod is stopped when the thread that started it ends, however it ends.
    pub owned: bool,
    /// Whether the pod's directory goes when the pod ends.
    pub remove: bool,
    /// `--set-env`, in order; a value of `None` is taken from `caller_env`.
    pub set_env: Vec<(String, Option<String>)>,
    /// `--set-env-file`, in order.
    pub env_files: Vec<PathBuf>,
    /// Whether apps get what `caller_env` has and their image lacks.
    pub inherit_env: bool,
    /// The environment of rkt itself; filled only when something above asks for it.
    pub caller_env: Vec<(String, String)>,
    /// Isolators of the pod, at most one of a kind.
    pub isolators: Vec<Isolator>,
    /// Volumes of the pod.
    pub volumes: Vec<Volume>,
    /// Mounts for every app.
    pub mounts: Vec<Mount>,
    /// `--user-label` and `--user-annotation` before the first image: the pod's.
    pub notes_of_user: Notes,
    /// File that gets the pod's UUID before it starts.
    pub uuid_file: Option<PathBuf>,
    /// When to ask the registry.
    pub pull: Pull,
    /// Platform to choose from an index: Go's names; `None` is the host's.
    pub os: Option<String>,
    /// As `os`.
    pub arch: Option<String>,
    /// Checks left out.
    pub insecure: InsecureOptions,
    /// Whether apps live in a Landlock domain; `false` only by `--landlock=off`.
    pub landlock: bool,
    /// Whether to tell every step on stderr.
    pub debug: bool,
    /// Whether to leave out notes and progress.
    pub quiet: bool,
    /// How layers become mounts; the best way of this host unless a test says otherwise.
    pub layers: Way,
    /// Defences taken away (`rkt_spec::plan::weaken`); always 0 in a release build.
    pub weaken: u64,
    /// Things to say once before the start, such as an old spelling.
    pub notes: Vec<String>,
}

impl RunRequest {
    /// A request for no app, with every default, in `place`.
    pub fn new(place: Place) -> Self {
        Self {
            place,
            apps: Vec::new(),
            pod_name: None,
            hostname: None,
            net: None,
            ports: Vec::new(),
            dns: Dns::default(),
            hosts: Hosts::default(),
            configs: Vec::new(),
            stdin: Stdin::Null,
            detach: false,
            owned: false,
            remove: false,
            set_env: Vec::new(),
            env_files: Vec::new(),
            inherit_env: false,
            caller_env: Vec::new(),
            isolators: Vec::new(),
            volumes: Vec::new(),
            mounts: Vec::new(),
            notes_of_user: Notes::default(),
            uuid_file: None,
            pull: Pull::New,
            os: None,
            arch: None,
            insecure: InsecureOptions::default(),
            landlock: true,
            debug: false,
            quiet: false,
            layers: Way::Best,
            weaken: 0,
            notes: Vec::new(),
        }
    }
}

impl RunRequest {
    /// The networks: what was said, or `default` when nothing was.
    pub fn network(&self) -> NetRequest {
        let said = self.net.clone();
        said.unwrap_or_else(|| NetRequest::default_network().unwrap_or(NetRequest::None))
    }
}

/// Cgroup below which all pods are where no systemd gives them scopes.
pub const CGROUP_PARENT: &str = "rkt";

/// Where rkt works on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Images and pods, normally `/var/lib/rkt`.
    pub dir: PathBuf,
    /// Pinned namespaces and locks, normally `/run/rkt`.
    pub run_dir: PathBuf,
    /// Cgroup below which the pod's cgroups are made; `None` is a systemd scope of the pod's own
    /// where systemd runs on cgroup v2, and [`CGROUP_PARENT`] elsewhere.
    pub cgroup_parent: Option<String>,
}

/// One app of the request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppRequest {
    /// The image as typed.
    pub image: String,
    /// `--signature`: a file with the signature of the image, instead of the one beside it.
    pub signature: Option<PathBuf>,
    /// Words after `--`; `None` when there was no `--`.
    pub args: Option<Vec<String>>,
    /// `--name`; `None` takes the image's last component.
    pub name: Option<AppName>,
    /// `--exec`: replaces the image's entrypoint.
    pub exec: Option<String>,
    /// `--working-dir`.
    pub working_dir: Option<String>,
    /// `--user`, may be `user:group`.
    pub user: Option<String>,
    /// `--group`.
    pub group: Option<String>,
    /// `--supplementary-gids`, added to the user's own.
    pub groups: Vec<u32>,
    /// `--environment`, in order.
    pub environment: Vec<(String, String)>,
    /// Whether `/` is read-only.
    pub read_only: bool,
    /// `--root-size`: what the app may write to `/`, bytes; `None` is no bound.
    pub root_bytes: Option<u64>,
    /// Mounts of this app.
    pub mounts: Vec<Mount>,
    /// Isolators, at most one of a kind, limits of processes and devices apart.
    pub isolators: Vec<Isolator>,
    /// Whether refused system calls are told (`--trace-denials`).
    pub denials: Denials,
    /// `--seccomp=FILE`, not read yet.
    pub seccomp_file: Option<String>,
    /// `--stop-signal`, already checked.
    pub stop_signal: Option<String>,
    /// `--stop-timeout`, milliseconds.
    pub stop_timeout_ms: Option<u32>,
    /// `--annotation`.
    pub annotations: Vec<Pair>,
    /// `--user-label` and `--user-annotation` after the image.
    pub notes_of_user: Notes,
    /// Size after which a log is rotated, bytes; `None` is 10 MiB.
    pub log_max_bytes: Option<u64>,
    /// Log files kept, 1..=100; `None` is 3.
    pub log_files: Option<u32>,
    /// Size of /dev/shm, bytes; `None` is 64 MiB.
    pub shm_bytes: Option<u64>,
}

/// What the user says of a pod or an app for other programs; rkt keeps it and shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// `--user-label`, by name.
    pub labels: BTreeMap<String, String>,
    /// `--user-annotation`, by name.
    pub annotations: BTreeMap<String, String>,
}

/// What the app's standard input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdin {
    /// Nothing: /dev/null.
    Null,
    /// rkt's own standard input by a pipe.
    Stream,
    /// A pty of the pod.
    Tty,
    /// A pty when rkt's own standard input is a terminal, else a pipe.
    Auto,
}

/// When a registry is asked for an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pull {
    /// When the store does not have the image.
    #[default]
    New,
    /// Never.
    Never,
    /// Always.
    Update,
}

impl std::str::FromStr for Pull {
    type Err = rkt_spec::Error;
    /// rkt's words and docker's: `new`/`missing`, `never`, `update`/`always`.
    fn from_str(text: &str) -> Result<Self, rkt_spec::Error> {
        match text {
            "new" | "missing" => Ok(Self::New),
            "never" => Ok(Self::Never),
            "update" | "always" => Ok(Self::Update),
            _ => Err(rkt_spec::Error::new(
                "pull policy",
                text,
                "needs one of new, never, update",
            )),
        }
    }
}

/// Checks that the user asked to leave out (`--insecure-options`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InsecureOptions(u32);

impl InsecureOptions {
    /// No signature of an image is asked for.
    pub const IMAGE: Self = Self(1);
    /// Certificates of servers are not checked.
    pub const TLS: Self = Self(1 << 1);
    /// Accepted and without effect, as in the original.
    pub const ONDISK: Self = Self(1 << 2);
    /// Plain HTTP is allowed.
    pub const HTTP: Self = Self(1 << 3);
    /// Keys may be fetched by plain HTTP.
    pub const PUBKEY: Self = Self(1 << 4);
    /// Apps get every capability (in their own user namespace).
    pub const CAPABILITIES: Self = Self(1 << 5);
    /// Nothing of /proc and /sys is masked or read-only.
    pub const PATHS: Self = Self(1 << 6);
    /// No seccomp filter.
    pub const SECCOMP: Self = Self(1 << 7);
    /// A Landlock that the kernel lacks is no reason to refuse.
    pub const LANDLOCK: Self = Self(1 << 8);

    const NAMES: [(&'static str, u32); 13] = [
        ("none", 0),
        ("image", 1),
        ("tls", 1 << 1),
        ("ondisk", 1 << 2),
        ("http", 1 << 3),
        ("pubkey", 1 << 4),
        ("capabilities", 1 << 5),
        ("paths", 1 << 6),
        ("seccomp", 1 << 7),
        ("landlock", 1 << 8),
        ("all-fetch", 0b1_1011),
        ("all-run", 0b1110_0000),
        ("all", 0b1111_1111),
    ];

    /// Reads a comma list of names.
    ///
    /// # Errors
    /// Names the word that is none of them.
    pub fn parse(list: &str) -> Result<Self, rkt_spec::Error> {
        let mut bits = 0;
        for word in list.split(',') {
            let (_, value) = Self::NAMES
                .iter()
                .find(|(name, _)| *name == word)
                .ok_or_else(|| {
                    rkt_spec::Error::new(
                        "insecure option",
                        word,
                        "needs one of none, image, tls, ondisk, http, pubkey, capabilities, paths, seccomp, landlock, all-fetch, all-run, all",
                    )
                })?;
            bits |= value;
        }
        Ok(Self(bits))
    }

    /// Whether every option of `other` was given.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::str::FromStr for InsecureOptions {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text).map_err(|e| Error::usage(e.to_string()))
    }
}
