//! What a caller may decide about a fetch. Libraries read no environment: all of it comes in here.

use crate::layer::Limits;
use crate::platform::Platform;
use crate::registries::Registries;
use crate::trust::{KeyDirs, Policies};
use rkt_spec::image::ImageConfig;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// When the source is asked and when the store will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PullPolicy {
    /// The store if it has the name, else the source. rkt's default for `run`.
    #[default]
    New,
    /// The store only.
    Never,
    /// The source every time; what the store has already is not fetched again.
    Update,
}

/// Which protections of the way are taken off, each by its own word of `--insecure-options`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Insecure {
    /// Plain HTTP to registries that are not on loopback, when HTTPS does not answer.
    pub http: bool,
    /// No check of certificates.
    pub tls: bool,
    /// No check of signatures.
    pub image: bool,
}

/// A user's name and secret for one registry. Never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// `Basic`, and for the token service of a `Bearer` challenge.
    Password {
        /// Name of the user.
        user: String,
        /// Password or access key.
        password: String,
    },
    /// An OAuth2 refresh token: `identitytoken` of docker's configuration.
    Identity(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What a server of App Container Images is shown. Never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub enum WebSecret {
    /// A name and a password.
    Basic {
        /// Name of the user.
        user: String,
        /// Password.
        password: String,
    },
    /// A token, shown as `Bearer`.
    Token(String),
    /// A kind that rkt knows by name only; asking its host is an error.
    Unknown(String),
}

impl fmt::Debug for WebSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebSecret(..)")
    }
}

/// Secrets by `host[:port]`; the Hub is `docker.io`.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// Files in docker's format (`{"auths": {...}}`), read when a registry asks for the first
    /// time; earlier ones win. A missing file is no error.
    pub docker_config: Vec<PathBuf>,
    /// Given directly; these win over files.
    pub by_host: BTreeMap<String, Secret>,
    /// For App Container Images and their signatures, by `host[:port]`: over TLS only.
    pub web: BTreeMap<String, WebSecret>,
}

/// The caller's proxy variables, as text.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// `http_proxy`: for plain HTTP.
    pub http: Option<String>,
    /// `https_proxy`: for HTTPS, by CONNECT.
    pub https: Option<String>,
    /// `no_proxy`: hosts, `.suffixes` and addresses to reach directly, with commas; `*` is all.
    pub none: Option<String>,
}

/// How long to wait. Defaults suit slow but living networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a connection, TLS included; default 15 s.
    pub connect: Duration,
    /// For the whole head of an answer; default 60 s. Silences in it end at `stall`.
    pub answer: Duration,
    /// For the next bytes of a running transfer; default 30 s.
    pub stall: Duration,
    /// Tries of one transfer that break without any new byte before giving up; default 5.
    pub tries: u32,
    /// Pause before the second try; doubles each time up to 30 s, default 500 ms.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            answer: Duration::from_secs(60),
            stall: Duration::from_secs(30),
            tries: 5,
            pause: Duration::from_millis(500),
        }
    }
}

/// How registries are reached.
#[derive(Debug, Clone)]
pub struct Network {
    /// Protections taken off.
    pub insecure: Insecure,
    /// Names and secrets.
    pub credentials: Credentials,
    /// Proxies.
    pub proxies: Proxies,
    /// Directories like `/etc/docker/certs.d`: `HOST[:PORT]/*.crt` are further roots for that host.
    pub cert_dirs: Vec<PathBuf>,
    /// PEM files of roots instead of the system's; empty for the system's.
    pub roots: Vec<PathBuf>,
    /// Mirrors, and what else the user has decided by registry.
    pub registries: Registries,
    /// Time limits.
    pub patience: Patience,
    /// `resolv.conf` to follow.
    pub resolv_conf: PathBuf,
    /// `hosts` to read first.
    pub hosts: PathBuf,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            insecure: Insecure::default(),
            credentials: Credentials::default(),
            proxies: Proxies::default(),
            cert_dirs: vec![
                PathBuf::from("/etc/rkt/certs.d"),
                PathBuf::from("/etc/docker/certs.d"),
                PathBuf::from("/etc/containers/certs.d"),
            ],
            roots: Vec::new(),
            registries: Registries::default(),
            patience: Patience::default(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            hosts: PathBuf::from("/etc/hosts"),
        }
    }
}

/// The program that reads a layer in a child without privileges.
#[derive(Debug, Clone, Default)]
pub struct LayerProgram {
    /// The program: `rkt` itself, by its absolute path.
    pub path: PathBuf,
    /// Its words before the layer's own; the last of them is the hidden verb.
    pub args: Vec<OsString>,
}

/// One image that is part of the program, such as `builtin:probe`.
#[derive(Debug, Clone)]
pub struct Builtin {
    /// The word after `builtin:`.
    pub name: &'static str,
    /// Changes whenever the files or the configuration change; a digest made at build time.
    pub revision: String,
    /// Absolute path, mode and bytes of every regular file; directories come by themselves.
    pub files: Vec<(&'static str, u32, &'static [u8])>,
    /// Run-time defaults.
    pub config: ImageConfig,
}

/// Everything a fetch needs to know besides the name.
#[derive(Debug, Clone)]
pub struct FetchOptions {
    /// Store or source.
    pub policy: PullPolicy,
    /// What the image must be made for.
    pub platform: Platform,
    /// How registries are reached.
    pub network: Network,
    /// Who reads layers.
    pub layer_program: LayerProgram,
    /// Images that come with the program.
    pub builtins: Vec<Builtin>,
    /// How much one layer may ask for.
    pub limits: Limits,
    /// Signals, such as SIGINT and SIGTERM, that end a fetch with [`crate::Kind::Interrupted`]
    /// and nothing half done. Blocked while layers flow, and in their children; the calling
    /// thread should be the only one then. Default none: they end the process as ever, and the
    /// next gc takes what was growing.
    pub stop_signals: Vec<i32>,
    /// Layers at a time, 1..=16; default 4.
    pub parallel: usize,
    /// Keys that may sign App Container Images.
    pub keys: KeyDirs,
    /// A file of this host with the signature of the image, instead of the one beside it.
    pub signature: Option<PathBuf>,
    /// What images of registries and files have to show.
    pub policies: Policies,
    /// Where keys that a page offers over HTTPS are kept and trusted without a look, when nobody
    /// is trusted for the name yet; `None` is never.
    pub keys_from_https: Option<KeyDirs>,
}

impl FetchOptions {
    /// The defaults: policy `New`, this host's platform, no proxies and no credentials.
    pub fn new(layer_program: LayerProgram) -> Self {
        Self {
            policy: PullPolicy::New,
            platform: Platform::host(),
            network: Network::default(),
            layer_program,
            builtins: Vec::new(),
            limits: Limits::default(),
            stop_signals: Vec::new(),
            parallel: 4,
            keys: KeyDirs::default(),
            signature: None,
            policies: Policies::default(),
            keys_from_https: None,
        }
    }
}
