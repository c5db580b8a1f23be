//! What flags, environment and files of the user say about fetching.

use crate::args::Configs;
use crate::embedded;
use rkt_stage0::request::InsecureOptions;
use rkt_store::{FetchOptions, Insecure, KeyDirs, LayerProgram, Platform, Policies};
use std::env;
use std::path::PathBuf;

/// The hidden verb that reads a layer in a child without privileges.
pub(crate) const LAYER_VERB: &str = rkt_store::layer::CHILD_VERB;

/// The program that reads layers: this one.
pub(crate) fn layer_program() -> LayerProgram {
    LayerProgram {
        // Not the path: an upgrade in between must not mix two versions.
        path: PathBuf::from("/proc/self/exe"),
        args: vec![LAYER_VERB.into()],
    }
}

/// The options of a fetch, with policy `New`.
pub(crate) fn options(
    insecure: InsecureOptions,
    configs: &Configs,
) -> rkt_store::Result<FetchOptions> {
    let mut options = FetchOptions::new(layer_program());
    options.builtins = embedded::images();
    // SIGHUP, SIGINT and SIGTERM end a fetch with nothing half done.
    options.stop_signals = vec![1, 2, 15];
    options.network.insecure = Insecure {
        http: insecure.has(InsecureOptions::HTTP),
        tls: insecure.has(InsecureOptions::TLS),
        image: insecure.has(InsecureOptions::IMAGE),
    };
    options.network.proxies.http = variable(&["http_proxy"]);
    options.network.proxies.https = variable(&["https_proxy", "HTTPS_PROXY"]);
    options.network.proxies.none = variable(&["no_proxy", "NO_PROXY"]);
    options.network.roots = env::var_os("SSL_CERT_FILE")
        .map(PathBuf::from)
        .into_iter()
        .collect();
    options.network.credentials.docker_config = credentials();
    options.keys = KeyDirs(configs.dirs());
    options.policies = Policies::read(&configs.dirs())?;
    Ok(options)
}

/// The platform of `--os` and `--arch`, over the host's.
pub(crate) fn platform(os: Option<&str>, arch: Option<&str>) -> rkt_store::Result<Platform> {
    let host = Platform::host();
    match (os, arch) {
        (None, None) => Ok(host),
        _ => {
            let os = os.unwrap_or(&host.os);
            let arch = arch.unwrap_or(&host.architecture);
            Platform::parse(&format!("{os}/{arch}"))
        }
    }
}

/// The first of these variables that is there and not empty.
fn variable(names: &[&str]) -> Option<String> {
    names
        .iter()
        .filter_map(|name| env::var(name).ok())
        .find(|value| !value.is_empty())
}

/// Files with credentials in docker's format; earlier ones win.
fn credentials() -> Vec<PathBuf> {
    let dir = |name: &str| env::var_os(name).map(PathBuf::from);
    let home = dir("HOME");
    let docker = dir("DOCKER_CONFIG").or_else(|| home.as_ref().map(|h| h.join(".docker")));
    [
        dir("REGISTRY_AUTH_FILE"),
        dir("XDG_RUNTIME_DIR").map(|d| d.join("containers/auth.json")),
        home.as_ref()
            .map(|h| h.join(".config/containers/auth.json")),
        docker.map(|d| d.join("config.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
}
