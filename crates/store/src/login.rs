//! Logging in to a registry, and out again.

use crate::credentials;
use crate::error::{Doing, Result};
use crate::event::Events;
use crate::options::{Network, Secret};
use crate::reference::check_place;
use std::path::Path;

pub use crate::credentials::Kept;
pub use crate::registry::Login;

/// Reads the name of a registry, `host[:port]`, in its one form.
///
/// # Errors
/// `BadReference` for anything else.
pub fn registry(text: &str) -> Result<String> {
    let what = || format!("read registry name `{}`", text.escape_debug());
    let bare = ["https://", "http://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme))
        .unwrap_or(text);
    let bare = bare.trim_end_matches('/');
    let bare = bare
        .strip_suffix("/v1")
        .or_else(|| bare.strip_suffix("/v2"))
        .unwrap_or(bare);
    let place = check_place(bare).doing(what)?;
    match place.split_once('/') {
        None => Ok(place),
        Some(_) => Err(crate::Error::new(
            crate::Kind::BadReference,
            "a login is for a whole registry: `host[:port]`",
        ))
        .doing(what),
    }
}

/// Shows name and password to a registry. Nothing is kept.
///
/// # Errors
/// `Unauthorized` when it does not take them; `Unreachable`, `Untrusted` and others as of a fetch.
pub fn try_login(
    registry: &str,
    user: &str,
    password: &str,
    network: &Network,
    events: Events<'_>,
) -> Result<Login> {
    let mut network = network.clone();
    network.credentials.docker_config.clear();
    network.credentials.by_host.insert(
        registry.to_owned(),
        Secret::Password {
            user: user.to_owned(),
            password: password.to_owned(),
        },
    );
    crate::registry::log_in(registry, &network, events)
        .doing(|| format!("log in to `{registry}` as `{user}`"))
}

/// The file to keep a login in: the first that has one for this registry, for it would win over
/// a later one; else `default`.
pub fn place<'a>(files: &'a [std::path::PathBuf], registry: &str, default: &'a Path) -> &'a Path {
    files
        .iter()
        .find(|file| credentials::knows(file, registry))
        .map_or(default, |file| file.as_path())
}

/// Keeps a login in a file in docker's format, or where that file says.
///
/// # Errors
/// When the file is not what it should be, or cannot be written.
pub fn keep(file: &Path, registry: &str, user: &str, password: &str) -> Result<Kept> {
    credentials::keep(file, registry, user, password)
        .doing(|| format!("keep the login for `{registry}`"))
}

/// Forgets what a file, or the program that it names, has for a registry; `None` when nothing.
///
/// # Errors
/// As [`keep`].
pub fn forget(file: &Path, registry: &str) -> Result<Option<Kept>> {
    credentials::forget(file, registry).doing(|| format!("forget the login for `{registry}`"))
}
