//! `registries.toml`: the default registry, mirrors, and which registries need no TLS.
//!
//! The words are those of containers' `registries.conf`, so that its tables can be copied. A word
//! that is not known is an error: a misspelt `blocked` must not let through.
//! `docs/reference/registries.md` is the user's side of it.

mod file;

use crate::disk;
use crate::error::{Doing, Error, Kind, Result};
use crate::reference::{HUB, RegistryName};
use file::File;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Largest file that is read.
const LIMIT: u64 = 1 << 20;

/// What the user has decided by registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registries {
    default: Option<String>,
    /// By prefix: `host[:port][/path]`, or `*.domain`.
    rules: BTreeMap<String, Rule>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Rule {
    location: Option<String>,
    insecure: bool,
    blocked: bool,
    foreign_layers: bool,
    mirrors: Vec<Mirror>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mirror {
    location: String,
    insecure: bool,
    pull: Pull,
}

/// Which requests a mirror gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Pull {
    #[default]
    All,
    DigestOnly,
    TagOnly,
}

/// Whom to ask for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The name there.
    pub(crate) name: RegistryName,
    /// Whether its host may do without TLS or without a good certificate, for this name.
    pub(crate) insecure: bool,
}

impl Registries {
    /// Reads `registries.toml` and `registries.d/*.toml` of these directories; a later directory
    /// overrides an earlier one prefix by prefix. What is missing is empty.
    ///
    /// # Errors
    /// `Corrupt` with file and line; also when two files of one directory speak of one prefix.
    pub fn read(dirs: &[PathBuf]) -> Result<Self> {
        let mut all = Self::default();
        for dir in dirs {
            let mut here = Self::default();
            for path in files(dir)? {
                let what = || format!("read `{}`", path.display());
                let Some(text) = read(&path).doing(what)? else {
                    continue;
                };
                here.add(&text).doing(what)?;
            }
            all.default = here.default.or(all.default);
            all.rules.extend(here.rules);
        }
        Ok(all)
    }

    fn add(&mut self, text: &str) -> Result<()> {
        let file = File::parse(text)?;
        if let Some(default) = file.default {
            if self.default.is_some() {
                return Err(bad("another file beside it has a `default-registry` too"));
            }
            self.default = Some(default);
        }
        for (prefix, rule) in file.rules {
            if self.rules.contains_key(&prefix) {
                return Err(bad(format!("prefix `{prefix}` stands here twice")));
            }
            self.rules.insert(prefix, rule);
        }
        Ok(())
    }

    /// Where names without a registry lead: `default-registry`, else [`HUB`].
    pub fn default_registry(&self) -> &str {
        self.default.as_deref().unwrap_or(HUB)
    }

    /// The rule with the longest prefix that fits.
    fn rule(&self, name: &RegistryName) -> Option<(&str, &Rule)> {
        self.best(&name.place())
    }

    fn best(&self, place: &str) -> Option<(&str, &Rule)> {
        self.rules
            .iter()
            .filter(|(prefix, _)| fits(prefix, place))
            .max_by_key(|(prefix, _)| (!prefix.starts_with("*."), prefix.len()))
            .map(|(prefix, rule)| (prefix.as_str(), rule))
    }

    /// Whom to ask for a name, in order; the registry itself is the last.
    pub(crate) fn places(&self, name: &RegistryName) -> Result<Vec<Place>> {
        let Some((prefix, rule)) = self.rule(name) else {
            return Ok(vec![Place {
                name: name.clone(),
                insecure: false,
            }]);
        };
        if rule.blocked {
            return Err(Error::new(
                Kind::Refused,
                format!("`{prefix}` is blocked in registries.toml"),
            ));
        }
        let mut places = Vec::new();
        for mirror in &rule.mirrors {
            let asked = match mirror.pull {
                Pull::All => true,
                Pull::DigestOnly => name.digest.is_some(),
                Pull::TagOnly => name.digest.is_none(),
            };
            if asked {
                places.push(Place {
                    name: moved(name, prefix, &mirror.location)?,
                    insecure: mirror.insecure,
                });
            }
        }
        places.push(Place {
            name: match &rule.location {
                Some(location) => moved(name, prefix, location)?,
                None => name.clone(),
            },
            insecure: rule.insecure,
        });
        Ok(places)
    }

    /// Whether a host (`host[:port]`) that a registry leads to may do without TLS or without a
    /// good certificate: as its own rule says, else as the one that names it whole as a place.
    ///
    /// A rule with a path is for names below it and says nothing about others at that host.
    pub(crate) fn is_insecure(&self, host: &str) -> bool {
        let own = self.best(host).filter(|(_, rule)| rule.location.is_none());
        if let Some((_, rule)) = own {
            return rule.insecure;
        }
        self.rules.values().any(|rule| {
            (rule.insecure && rule.location.as_deref() == Some(host))
                || rule
                    .mirrors
                    .iter()
                    .any(|m| m.insecure && m.location == host)
        })
    }

    /// Whether layers that are kept elsewhere (`urls`) may be fetched for a name.
    pub(crate) fn allows_foreign(&self, name: &RegistryName) -> bool {
        self.rule(name).is_some_and(|(_, rule)| rule.foreign_layers)
    }
}

fn bad(because: impl Into<String>) -> Error {
    Error::new(Kind::Corrupt, because)
}

fn host_of(location: &str) -> &str {
    location.split('/').next().unwrap_or(location)
}

/// Whether a place lies below a prefix, by whole parts of the path.
fn fits(prefix: &str, place: &str) -> bool {
    if let Some(domain) = prefix.strip_prefix("*.") {
        let host = host_of(place);
        let host = host.rsplit_once(':').map_or(host, |(name, _)| name);
        return host
            .strip_suffix(domain)
            .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'));
    }
    place
        .strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The same image with `prefix` of its place replaced.
fn moved(name: &RegistryName, prefix: &str, location: &str) -> Result<RegistryName> {
    let place = name.place();
    let rest = place.strip_prefix(prefix).unwrap_or("");
    let whole = format!("{location}{rest}");
    let (registry, repository) = whole
        .split_once('/')
        .ok_or_else(|| bad(format!("`{location}` leaves no name to ask for")))?;
    Ok(RegistryName {
        registry: registry.to_owned(),
        repository: repository.to_owned(),
        ..name.clone()
    })
}

/// The files of one directory, in order.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut list = vec![dir.join("registries.toml")];
    let more = dir.join("registries.d");
    match std::fs::read_dir(&more) {
        Ok(entries) => {
            for entry in entries {
                let path = entry.doing(|| format!("list `{}`", more.display()))?.path();
                if path.extension().is_some_and(|e| e == "toml") {
                    list.push(path);
                }
            }
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(Error::from(e).while_doing(format!("list `{}`", more.display()))),
    }
    list.sort();
    Ok(list)
}

fn read(path: &Path) -> Result<Option<String>> {
    let file = match std::fs::File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let bytes = disk::read_limited(file, LIMIT)?;
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| bad("it is not UTF-8"))
}

#[cfg(test)]
mod tests;
