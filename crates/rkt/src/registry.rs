//! What flags, environment and files of the user say about fetching.

use crate::args::Configs;
use crate::embedded;
use rkt_stage0::request::InsecureOptions;
use rkt_store::{
    FetchOptions, Insecure, KeyDirs, LayerProgram, Platform, Policies, Registries, read_auth,
};
use std::env;
use std::path::PathBuf;

/// The hidden verb that reads a layer in a child without privileges.
pub(crate) const LAYER_VERB: &str = rkt_store::layer::CHILD_VERB;

/// What the user has decided by registry.
pub(crate) fn registries(configs: &Configs) -> rkt_store::Result<Registries> {
    Registries::read(&configs.dirs())
}

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
    // SIGHUP, SIGINT and SIGTERM end a fetch with nothing half done; `nohup` is respected.
    options.stop_signals = [1, 2, 15]
        .into_iter()
        .filter(|n| !rkt_sys::signal::is_ignored(*n))
        .collect();
    options.network.registries = registries(configs)?;
    options.network.insecure = Insecure {
        http: insecure.has(InsecureOptions::HTTP),
        tls: insecure.has(InsecureOptions::TLS),
        image: insecure.has(InsecureOptions::IMAGE),
    };
    // `HTTP_PROXY` is what a CGI script's caller may set (httpoxy), so it is not read.
    options.network.proxies.http = variable(&["http_proxy", "all_proxy", "ALL_PROXY"]);
    options.network.proxies.https =
        variable(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]);
    options.network.proxies.none = variable(&["no_proxy", "NO_PROXY"]);
    options.network.roots = env::var_os("SSL_CERT_FILE")
        .map(PathBuf::from)
        .into_iter()
        .collect();
    options.network.credentials.docker_config = credentials();
    read_auth(&configs.dirs(), &mut options.network.credentials)?;
    for dir in configs.dirs() {
        let certs = dir.join("certs.d");
        if !options.network.cert_dirs.contains(&certs) {
            options.network.cert_dirs.push(certs);
        }
    }
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

/// The file that a new login goes to: docker's own, unless the user has named another.
pub(crate) fn login_file() -> Option<PathBuf> {
    let named = env::var_os("REGISTRY_AUTH_FILE").map(PathBuf::from);
    named.or_else(|| docker_dir().map(|d| d.join("config.json")))
}

fn docker_dir() -> Option<PathBuf> {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
    env::var_os("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(home)
}

/// Files with credentials in docker's format; earlier ones win.
pub(crate) fn credentials() -> Vec<PathBuf> {
    let dir = |name: &str| env::var_os(name).map(PathBuf::from);
    let home = dir("HOME");
    [
        dir("REGISTRY_AUTH_FILE"),
        dir("XDG_RUNTIME_DIR").map(|d| d.join("containers/auth.json")),
        home.as_ref()
            .map(|h| h.join(".config/containers/auth.json")),
        docker_dir().map(|d| d.join("config.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
}
