//! Files of `net.d`: the original's `.conf` and CNI's `.conflist`, read. Pure, and foreign bytes.
//!
//! What rkt's own drivers can do exactly as a file says, they do; every other file goes to plugins
//! as its bytes are, with the reasons kept. A field that neither would obey is refused by name:
//! plugins skip what they do not know, and a typo must not open a network.

mod fields;
mod json;
mod native;
#[cfg(test)]
mod tests;
mod write;

pub use write::{Draft, draft};

use crate::choice::{Network, Origin};
use crate::refusal::Refusal;
use crate::resolv::Resolver;
use json::Object;
use rkt_spec::NetworkName;
use rkt_spec::codec::Bytes;
use rkt_spec::network::{Driver, MacvlanMode, NetworkPlan};
use serde_json::Value;
use std::path::Path;

/// Longest file that is read, bytes.
pub const MAX_FILE: usize = 1 << 20;

/// Versions of CNI with lists of plugins.
const VERSIONS: &[&str] = &["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
/// Versions of files of one plugin, which the original had; no version at all is the oldest.
const OLD_VERSIONS: &[&str] = &["", "0.1.0", "0.2.0"];
/// Names that `--net` has another meaning for.
const TAKEN: &[&str] = &["none", "host", "all", "pasta"];

/// The two forms of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// One plugin.
    One,
    /// A list of plugins.
    List,
}

/// Whether a file of this name is read at all.
pub fn is_network(path: &Path) -> bool {
    form(path).is_some()
}

fn form(path: &Path) -> Option<Form> {
    match path.extension()?.to_str()? {
        "conf" => Some(Form::One),
        "conflist" => Some(Form::List),
        _ => None,
    }
}

/// Reads a file; `path` tells its form and is kept for messages.
///
/// # Errors
/// When it is no JSON, lacks what a network needs, or says what neither rkt nor its plugins obey.
pub fn read(path: &Path, bytes: &[u8]) -> Result<Network, Refusal> {
    let form = form(path).ok_or_else(|| Refusal::new("it is no .conf and no .conflist"))?;
    if bytes.len() > MAX_FILE {
        return Err(Refusal::new(format!("it is larger than {MAX_FILE} bytes")));
    }
    let value: Value =
        serde_json::from_slice(bytes).map_err(|e| Refusal::new(format!("it is no JSON: {e}")))?;
    let whole = Object::of(&value, "the file")?;
    let name = whole
        .text("name")?
        .ok_or_else(|| Refusal::new("it has no `name`"))?;
    let name = NetworkName::new(name)?;
    if TAKEN.contains(&name.as_str()) {
        return Err(Refusal::new(format!(
            "its name `{name}` means something else to --net"
        )));
    }
    let plugins = plugins(&whole, form)?;
    let version = version(&whole, form)?;
    for plugin in &plugins {
        fields::check(plugin)?;
    }
    let own = Own::read(&whole)?;
    let built = native::build(&name, &plugins, version, own)?;
    let mut plan = built.plan;
    if !built.why.is_empty() {
        if own.walls() {
            return Err(Refusal::new(format!(
                "`rkt` asks for what plugins cannot do, and plugins are needed: {}",
                built.why.join("; ")
            )));
        }
        plan = native::plain(name, Driver::Cni);
        plan.config = Bytes(bytes.to_vec());
    }
    plan.names = own.names.unwrap_or_else(|| meet(&plan));
    Ok(Network {
        plan,
        dns: built.dns,
        origin: Origin::File(path.to_owned()),
        plugins: plugins.iter().map(|p| p.kind.to_owned()).collect(),
        why: built.why,
    })
}

/// Whether pods on it reach each other, as far as rkt knows.
fn meet(plan: &NetworkPlan) -> bool {
    let apart = matches!(plan.macvlan, MacvlanMode::Private | MacvlanMode::Passthru);
    let unseen = plan.driver == Driver::Macvlan && apart;
    !plan.isolated && !unseen
}

/// One plugin of a file.
#[derive(Debug, Clone, Copy)]
struct Plugin<'a> {
    /// `type`: name of the program.
    kind: &'a str,
    object: Object<'a>,
}

fn plugins<'a>(whole: &Object<'a>, form: Form) -> Result<Vec<Plugin<'a>>, Refusal> {
    let list = whole.get("plugins");
    let objects: Vec<Object<'a>> = match (form, list) {
        (Form::One, None) => vec![*whole],
        (Form::One, Some(_)) => {
            return Err(Refusal::new(
                "a list of `plugins` belongs in a file *.conflist",
            ));
        }
        (Form::List, Some(Value::Array(list))) if !list.is_empty() => {
            for (field, _) in whole.fields() {
                if !fields::LIST.contains(&field) {
                    return Err(fields::unknown(field, "of a list of plugins"));
                }
            }
            let one = |value: &'a Value| Object::of(value, "each of `plugins`");
            list.iter().map(one).collect::<Result<_, _>>()?
        }
        (Form::List, _) => {
            return Err(Refusal::new("it has no list of `plugins`")
                .hint("a file of one plugin is named *.conf"));
        }
    };
    objects
        .into_iter()
        .map(|object| {
            let kind = object.text("type")?.unwrap_or_default();
            let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            match !kind.is_empty() && !kind.starts_with('.') && kind.bytes().all(ok) {
                true => Ok(Plugin { kind, object }),
                false => Err(Refusal::new(format!(
                    "a plugin's `type` is \"{}\", which names no program",
                    kind.escape_debug()
                ))),
            }
        })
        .collect()
}

/// The version of CNI that the file speaks; of several (`cniVersions`) the newest that is known.
fn version<'a>(whole: &Object<'a>, form: Form) -> Result<&'a str, Refusal> {
    let said = whole.text("cniVersion")?.unwrap_or_default();
    let known = |v: &&str| VERSIONS.contains(v) || form == Form::One && OLD_VERSIONS.contains(v);
    let offered = whole.texts("cniVersions")?;
    let newest = VERSIONS.iter().rev().find(|v| offered.contains(v));
    match newest {
        Some(version) => Ok(version),
        None if known(&said) => Ok(said),
        None => Err(Refusal::new(format!(
            "rkt does not know the version of CNI \"{}\"",
            said.escape_debug()
        ))
        .hint(format!("it knows {}", VERSIONS.join(", ")))),
    }
}

/// What no plugin knows: the field `rkt`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Own {
    /// The host is out of reach.
    restricted: bool,
    /// Pods are kept from each other.
    isolated: bool,
    /// Whether pods find each other by name; `None` when they do where they reach each other.
    names: Option<bool>,
}

impl Own {
    /// Whether it asks for what rkt's own drivers alone do.
    const fn walls(self) -> bool {
        self.restricted || self.isolated
    }

    fn read(whole: &Object<'_>) -> Result<Self, Refusal> {
        let Some(value) = whole.get("rkt") else {
            return Ok(Self::default());
        };
        let object = Object::of(value, "`rkt`")?;
        for (field, _) in object.fields() {
            if !["restricted", "isolated", "names"].contains(&field) {
                return Err(fields::unknown(field, "of `rkt`"));
            }
        }
        Ok(Self {
            restricted: object.flag("restricted")?,
            isolated: object.flag("isolated")?,
            names: match object.get("names") {
                Some(_) => Some(object.flag("names")?),
                None => None,
            },
        })
    }
}

/// The resolver of a plugin's `dns`.
fn resolver(plugin: &Object<'_>) -> Result<Resolver, Refusal> {
    let Some(value) = plugin.get("dns") else {
        return Ok(Resolver::default());
    };
    let dns = Object::of(value, "`dns`")?;
    for (field, _) in dns.fields() {
        if !["nameservers", "domain", "search", "options"].contains(&field) {
            return Err(fields::unknown(field, "of `dns`"));
        }
    }
    let servers = dns.texts("nameservers")?;
    let server = |word: &&str| {
        word.parse().map_err(|_| {
            Refusal::new(format!(
                "`{}` is no address of a name server",
                word.escape_debug()
            ))
        })
    };
    let domain = dns.text("domain")?.filter(|d| !d.is_empty());
    Ok(Resolver {
        nameservers: servers.iter().map(server).collect::<Result<_, _>>()?,
        domain: domain
            .map(crate::resolv::domain)
            .transpose()?
            .unwrap_or_default(),
        search: dns
            .texts("search")?
            .into_iter()
            .map(crate::resolv::domain)
            .collect::<Result<_, _>>()?,
        options: dns
            .texts("options")?
            .into_iter()
            .map(crate::resolv::option)
            .collect::<Result<_, _>>()?,
    })
}
