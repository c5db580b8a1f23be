//! Names to images: ask the store, fetch what is missing, read accounts where a user needs them.

use crate::error::{Doing, Error};
use crate::merge::{ImageFacts, needs_accounts};
use crate::request::{AppRequest, Pull, RunRequest};
use rkt_store::{Events, FetchOptions, Image, Kind, PullPolicy, Reference, Store, Trusted};

/// An app's image, found.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// As the store has it, accepted by the user's policy.
    pub image: Trusted<Image>,
    /// What the manifest needs of it.
    pub facts: ImageFacts,
}

/// Finds the image of every app, in order; what the store lacks is fetched as `options` say.
///
/// # Errors
/// When a reference cannot be read, found or fetched. A word that no image has and that
/// follows an image gets the hint that a program's words come after `--`.
pub fn images(
    store: &Store,
    request: &RunRequest,
    options: &FetchOptions,
    events: Events<'_>,
) -> Result<Vec<Resolved>, Error> {
    let mut found: Vec<Resolved> = Vec::with_capacity(request.apps.len());
    for (at, app) in request.apps.iter().enumerate() {
        let before = request.apps.get(..at).unwrap_or(&[]);
        let same = before
            .iter()
            .position(|b| b.image == app.image && b.signature == app.signature);
        let mut one = match same.and_then(|i| found.get(i)) {
            Some(known) => known.clone(),
            None => fetch(store, app, options, events)
                .map_err(|(kind, e)| hinted(e, kind, app, before.last()))?,
        };
        if one.facts.accounts.is_none() && needs_accounts(app, &one.facts.config) {
            let accounts = store
                .accounts(&one.image)
                .doing(|| format!("read the users of image `{}`", app.image))?;
            one.facts.accounts = Some(accounts);
        }
        found.push(one);
    }
    Ok(found)
}

/// The store's policy for a request's.
pub fn policy(pull: Pull) -> PullPolicy {
    match pull {
        Pull::New => PullPolicy::New,
        Pull::Never => PullPolicy::Never,
        Pull::Update => PullPolicy::Update,
    }
}

fn fetch(
    store: &Store,
    app: &AppRequest,
    options: &FetchOptions,
    events: Events<'_>,
) -> Result<Resolved, (Kind, Error)> {
    let plain = |e: rkt_store::Error| (e.kind(), e.into());
    let default = options.network.registries.default_registry();
    let reference = Reference::parse(&app.image, default).map_err(plain)?;
    let own;
    let options = match &app.signature {
        None => options,
        Some(file) => {
            own = FetchOptions {
                signature: Some(file.clone()),
                ..options.clone()
            };
            &own
        }
    };
    let image = store.resolve(&reference, options, events).map_err(plain)?;
    let facts = ImageFacts {
        id: image.public_id(),
        short_name: image
            .short_name()
            .or_else(|| reference.short_name())
            .map(str::to_owned),
        chains: image.chains.iter().map(ToString::to_string).collect(),
        config: image.config.clone(),
        accounts: None,
    };
    Ok(Resolved { image, facts })
}

/// docker's `run alpine sh`: here `sh` is another image.
fn hinted(error: Error, kind: Kind, app: &AppRequest, before: Option<&AppRequest>) -> Error {
    let Some(before) = before else {
        return error;
    };
    let missing = matches!(
        kind,
        Kind::NotFound
            | Kind::BadReference
            | Kind::Unauthorized
            | Kind::Refused
            | Kind::Unreachable
    );
    if !missing || looks_like_image(&app.image) || before.args.is_some() {
        return error;
    }
    let word = &app.image;
    error
        .without_hint()
        .while_doing(format!("find `{word}`, which was read as another image"))
        .hint(format!(
            "for a program in `{}` put its words after `--`: rkt run {} -- {word}",
            before.image, before.image
        ))
}

fn looks_like_image(word: &str) -> bool {
    word.contains("://")
        || [
            "oci:",
            "oci-archive:",
            "docker-archive:",
            "builtin:",
            "sha256",
            "sha512-",
            "aci:",
            "file:",
        ]
        .iter()
        .any(|scheme| word.starts_with(scheme))
        || word.ends_with(".aci")
        || (word.contains('/') && !word.starts_with(['/', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_word_after_an_image_is_told_from_an_image() {
        for word in ["docker://x", "oci:d", "quay.io/a/b", "builtin:probe"] {
            assert!(looks_like_image(word), "{word}");
        }
        for word in ["sh", "/bin/sh", "./x", "ls"] {
            assert!(!looks_like_image(word), "{word}");
        }
        let app = |image: &str| AppRequest {
            image: image.into(),
            ..AppRequest::default()
        };
        let error = hinted(
            Error::new("no"),
            Kind::NotFound,
            &app("sh"),
            Some(&app("alpine")),
        );
        assert!(error.remedy().unwrap().ends_with("rkt run alpine -- sh"));
        let error = hinted(Error::new("no"), Kind::NotFound, &app("sh"), None);
        assert_eq!(error.remedy(), None);
    }
}
