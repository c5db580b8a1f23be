//! One file of TOML, checked.

use super::{Mirror, Pull, Rule, bad};
use crate::error::Result;
use crate::reference::check_place;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Raw {
    default_registry: Option<String>,
    #[serde(default)]
    registry: Vec<RawRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawRule {
    prefix: Option<String>,
    location: Option<String>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    foreign_layers: bool,
    #[serde(default)]
    mirror: Vec<RawMirror>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawMirror {
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: Pull,
}

/// What one file says.
pub(super) struct File {
    pub(super) default: Option<String>,
    pub(super) rules: Vec<(String, Rule)>,
}

impl File {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let raw: Raw = toml::from_str(text).map_err(|e| {
            let line = e
                .span()
                .and_then(|s| text.get(..s.start))
                .map_or(1, |before| before.matches('\n').count() + 1);
            bad(format!("line {line}: {}", e.message()))
        })?;
        let default = raw.default_registry.map(|d| host(&d)).transpose()?;
        let rules = raw.registry.into_iter().map(rule).collect::<Result<_>>()?;
        Ok(Self { default, rules })
    }
}

fn host(text: &str) -> Result<String> {
    match place(text)? {
        host if host.contains('/') => Err(bad(format!("`{text}` is a host and a path"))),
        host => Ok(host),
    }
}

/// `host[:port][/path]` in its one form.
fn place(text: &str) -> Result<String> {
    check_place(text).map_err(|e| bad(format!("`{}`: {}", text.escape_debug(), e.because())))
}

fn rule(raw: RawRule) -> Result<(String, Rule)> {
    let location = raw.location.as_deref().map(place).transpose()?;
    let prefix = match (&raw.prefix, &location) {
        (Some(prefix), _) => match prefix.strip_prefix("*.") {
            Some(domain) => format!("*.{}", host(domain)?),
            None => place(prefix)?,
        },
        (None, Some(location)) => location.clone(),
        (None, None) => return Err(bad("a `[[registry]]` has neither `prefix` nor `location`")),
    };
    let mirrors = raw
        .mirror
        .into_iter()
        .map(|m| {
            Ok(Mirror {
                location: place(&m.location)?,
                insecure: m.insecure,
                pull: m.pull_from_mirror,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    if prefix.starts_with("*.") && (location.is_some() || !mirrors.is_empty()) {
        return Err(bad(format!(
            "`{prefix}` stands for many hosts, which cannot all have one `location` or mirror"
        )));
    }
    let rule = Rule {
        location: location.filter(|l| *l != prefix),
        insecure: raw.insecure,
        blocked: raw.blocked,
        foreign_layers: raw.foreign_layers,
        mirrors,
    };
    Ok((prefix, rule))
}
