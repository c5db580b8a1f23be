//! A network's configuration as its plugins need it: a list, or one of the original's `.conf`.

use super::capability;
use super::record::Refusal;
use serde_json::{Map, Value};
use std::path::PathBuf;

/// The newest version of the specification that is spoken here.
const NEWEST: Version = Version(1, 1);

/// A version of the specification; what comes third makes no difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub(super) u32, pub(super) u32);

impl Version {
    /// Reads `1.0.0`; an empty text is 0.1.0, as the first plugins had it.
    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(0, 1));
        }
        let mut words = text.split('.').map(|w| w.parse().ok());
        Some(Self(words.next()??, words.next()??))
    }
}

/// One plugin of a list.
#[derive(Debug, Clone)]
pub(super) struct Plugin {
    /// Name of its program.
    pub(super) name: String,
    /// Its configuration, as it stands in the list.
    pub(super) config: Map<String, Value>,
    /// Its configuration byte by byte, when the file has that and nothing else.
    pub(super) raw: Option<Vec<u8>>,
}

/// The plugins of a network, in order, and what is said of all.
#[derive(Debug, Clone)]
pub struct List {
    /// Name of the network.
    pub(super) name: String,
    /// As the file has it; empty when it has none.
    pub(super) version_text: String,
    pub(super) version: Version,
    pub(super) disable_check: bool,
    pub(super) disable_gc: bool,
    pub(super) plugins: Vec<Plugin>,
}

impl List {
    /// Reads a configuration: `{"plugins": [...]}`, or that of a single plugin.
    ///
    /// # Errors
    /// When it is no such thing, has no plugin, or is of a version that is not spoken here.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let wrong = |why: String| Refusal::new("read the configuration of the network", why);
        let value: Value = serde_json::from_slice(bytes).map_err(|e| wrong(e.to_string()))?;
        let Value::Object(top) = value else {
            return Err(wrong("it is no JSON object".to_owned()));
        };
        let text = |map: &Map<String, Value>, key: &str| {
            let value = map.get(key).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        let (version_text, version) = version(&top).map_err(wrong)?;
        let flag = |key: &str| match top.get(key) {
            Some(Value::Bool(yes)) => *yes,
            // libcni takes both spellings.
            Some(Value::String(word)) => word.eq_ignore_ascii_case("true"),
            _ => false,
        };
        let plugins = match top.get("plugins") {
            Some(Value::Array(all)) => all
                .iter()
                .map(|one| match one {
                    Value::Object(config) => Ok(Plugin {
                        name: text(config, "type"),
                        config: config.clone(),
                        raw: None,
                    }),
                    _ => Err(wrong("an entry of `plugins` is no object".to_owned())),
                })
                .collect::<Result<Vec<_>, _>>()?,
            Some(_) => return Err(wrong("`plugins` is no list".to_owned())),
            None => vec![Plugin {
                name: text(&top, "type"),
                config: top.clone(),
                raw: Some(bytes.to_vec()),
            }],
        };
        if plugins.is_empty() {
            return Err(wrong("it has no plugin".to_owned()));
        }
        let list = Self {
            name: text(&top, "name"),
            version_text,
            version,
            disable_check: flag("disableCheck"),
            disable_gc: flag("disableGC"),
            plugins,
        };
        for name in list.names() {
            if !is_program(&name) {
                let name = name.escape_debug();
                return Err(wrong(format!("`{name}` cannot be the name of a plugin")));
            }
        }
        Ok(list)
    }

    /// Why CHECK does nothing for it; `None` when its plugins are asked.
    pub fn unchecked(&self) -> Option<&'static str> {
        match self.version >= Version(0, 4) {
            false => Some("its version of CNI has no CHECK; 0.4.0 is the first"),
            true if self.disable_check => Some("its file says disableCheck"),
            true => None,
        }
    }

    /// Whether a plugin of it maps ports.
    pub fn maps_ports(&self) -> bool {
        let mut all = self.plugins.iter();
        all.any(|p| capability::wants(&p.config, capability::PORTS))
    }

    /// Names of the programs it needs: its plugins, and those they call for addresses.
    pub fn names(&self) -> Vec<String> {
        let mut all = Vec::new();
        for plugin in &self.plugins {
            all.push(plugin.name.clone());
            let ipam = plugin.config.get("ipam").and_then(|i| i.get("type"));
            all.extend(ipam.and_then(Value::as_str).map(str::to_owned));
        }
        all.retain(|name| !name.is_empty() || self.plugins.iter().any(|p| p.name.is_empty()));
        all
    }
}

/// A plain file name: a plugin is looked for in the directories and nowhere else.
fn is_program(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    !name.is_empty() && name.len() <= 128 && !name.starts_with('.') && name.bytes().all(plain)
}

/// The version a list is to be run by: `cniVersion`, or the newest of `cniVersions` we know.
fn version(top: &Map<String, Value>) -> Result<(String, Version), String> {
    let all: Vec<&str> = match (top.get("cniVersions"), top.get("cniVersion")) {
        (Some(Value::Array(list)), _) => list.iter().filter_map(Value::as_str).collect(),
        (Some(_), _) => return Err("`cniVersions` is no list".to_owned()),
        (None, Some(Value::String(one))) => vec![one],
        (None, None) => vec![""],
        (None, Some(_)) => return Err("`cniVersion` is no text".to_owned()),
    };
    let known = all
        .iter()
        .filter_map(|text| Some((*text, Version::parse(text)?)))
        .filter(|(_, version)| *version <= NEWEST)
        .max_by_key(|(_, version)| *version);
    match known {
        Some((text, version)) => Ok((text.to_owned(), version)),
        None => Err(format!(
            "its cniVersion `{}` is none of 0.1.0 to 1.1.0",
            all.join(", ").escape_debug()
        )),
    }
}

/// The program of each name, in the first directory that has it.
///
/// # Errors
/// Names the first that is missing, and where it was looked for.
pub fn programs(names: &[String], directories: &[String]) -> Result<Vec<PathBuf>, Refusal> {
    let one = |name: &String| {
        let found = directories.iter().map(|dir| PathBuf::from(dir).join(name));
        let mut found = found.filter(|path| path.is_file());
        found.next().ok_or_else(|| Refusal {
            doing: format!("find the network plugin `{name}`"),
            because: format!("it is in none of {}", directories.join(", ")),
            hint: "Debian has the usual ones in the package `containernetworking-plugins`".into(),
        })
    };
    names.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        List::parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn lists_and_single_plugins_are_read() {
        let text = r#"{"cniVersion":"0.4.0","name":"n","disableCheck":true,
            "plugins":[{"type":"bridge","ipam":{"type":"host-local"}},{"type":"portmap"}]}"#;
        let list = List::parse(text.as_bytes()).unwrap();
        assert_eq!(list.names(), ["bridge", "host-local", "portmap"]);
        assert!(list.disable_check && !list.disable_gc);
        assert_eq!(list.version, Version(0, 4));
        assert!(list.plugins[0].raw.is_none());
        let text = r#"{ "name": "old", "type": "ptp" }"#;
        let list = List::parse(text.as_bytes()).unwrap();
        assert_eq!(list.version, Version(0, 1));
        assert_eq!(list.plugins[0].raw.as_deref(), Some(text.as_bytes()));
    }

    #[test]
    fn the_newest_version_that_is_known_is_taken() {
        let text = r#"{"cniVersion":"9.0.0","cniVersions":["0.3.1","1.1.0","2.0.0"],"name":"n",
            "plugins":[{"type":"x"}]}"#;
        let list = List::parse(text.as_bytes()).unwrap();
        assert_eq!(
            (list.version_text.as_str(), list.version),
            ("1.1.0", Version(1, 1))
        );
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        for (text, why) in [
            ("", "EOF"),
            ("[]", "no JSON object"),
            (r#"{"plugins":[]}"#, "no plugin"),
            (r#"{"plugins":{}}"#, "no list"),
            (r#"{"plugins":[1]}"#, "no object"),
            (
                r#"{"plugins":[{"type":"../../bin/sh"}]}"#,
                "cannot be the name",
            ),
            (
                r#"{"plugins":[{"type":"a","ipam":{"type":"/b"}}]}"#,
                "cannot be the name",
            ),
            (r#"{"plugins":[{}]}"#, "cannot be the name"),
            (r#"{"type":".."}"#, "cannot be the name"),
            (
                r#"{"type":"x","cniVersion":"2.0.0"}"#,
                "none of 0.1.0 to 1.1.0",
            ),
            (
                r#"{"type":"x","cniVersion":"new"}"#,
                "none of 0.1.0 to 1.1.0",
            ),
        ] {
            assert!(refused(text).contains(why), "{text}: {}", refused(text));
        }
    }
}
