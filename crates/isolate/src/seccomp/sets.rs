//! The original's lists: `retain` and `remove` sets with their wildcards, as [`List`]s.
//!
//! Source: appc 0.8.11, `os/linux/seccomp-retain-set` and `-remove-set`; rkt 1.30's wildcards.
//! docker's and rkt's white list are rkt's own default here, which follows docker's.

use super::NATIVE;
use super::list::{Effect, List, ListRule, Return};
use super::profile::{Action, DEFAULT};
use crate::error::{Error, Kind};
use rkt_spec::errno;
use rkt_spec::manifest::SeccompSet;
use std::collections::BTreeSet;

/// Wildcards that are understood.
pub const WILDCARDS: &[&str] = &[
    "@appc.io/all",
    "@appc.io/empty",
    "@docker/default-whitelist",
    "@docker/default-blacklist",
    "@rkt/default-whitelist",
    "@rkt/default-blacklist",
];

/// Calls without which no program starts or ends: a retain set has them, said or not.
pub const NEEDED: &[&str] = &["execve", "exit", "exit_group", "rt_sigreturn", "write"];

/// Which of the two sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// These and no others.
    Retain,
    /// All but these.
    Remove,
}

fn refuse(because: String) -> Error {
    Error::new(Kind::Request, because)
}

/// Reads a set.
///
/// # Errors
/// Names the word that is no system call, no wildcard and no error.
pub fn list(mode: Mode, set: &SeccompSet) -> Result<List, Error> {
    let refused = match set.errno.as_str() {
        "" => Return::KillProcess,
        name => Return::Errno(errno::parse(name)?),
    };
    let mut named: Vec<String> = Vec::new();
    let mut as_default: Vec<String> = Vec::new();
    let mut everything = false;
    for word in &set.set {
        match word.as_str() {
            "@appc.io/all" => everything = true,
            "@appc.io/empty" => {}
            "@docker/default-whitelist" | "@rkt/default-whitelist" => {
                as_default.extend(white().into_iter().map(str::to_owned));
            }
            "@docker/default-blacklist" | "@rkt/default-blacklist" => named.extend(black()),
            name if name.starts_with('@') => {
                return Err(refuse(format!(
                    "`{}` is no set that rkt knows",
                    name.escape_debug()
                ))
                .with_hint(format!("the sets are {}", WILDCARDS.join(", "))));
            }
            name => named.push(known(name)?.to_owned()),
        }
    }
    let rule = |names: Vec<String>, effect| ListRule {
        names,
        effect,
        args: Vec::new(),
    };
    let allow = Effect::Return(Return::Allow);
    Ok(match mode {
        Mode::Retain if everything => List {
            default: Return::Allow,
            rules: Vec::new(),
        },
        Mode::Retain => {
            named.extend(NEEDED.iter().map(|n| (*n).to_owned()));
            as_default.retain(|n| !named.contains(n));
            List {
                default: refused,
                rules: vec![rule(named, allow), rule(as_default, Effect::AsDefault)],
            }
        }
        Mode::Remove => {
            // As in the original: nothing removed is not everything allowed, but the default.
            if named.is_empty() && as_default.is_empty() && !everything {
                let names = white().into_iter().map(str::to_owned).collect();
                return Ok(List {
                    default: Return::Errno(super::profile::EPERM),
                    rules: vec![rule(names, Effect::AsDefault)],
                });
            }
            named.extend(as_default);
            let default = if everything { refused } else { Return::Allow };
            List {
                default,
                rules: vec![rule(named, Effect::Return(refused))],
            }
        }
    })
}

/// Calls that a set names itself and that rkt's default refuses; for lists of images.
///
/// # Errors
/// As [`list`].
pub fn beyond_default(mode: Mode, set: &SeccompSet) -> Result<Vec<String>, Error> {
    list(mode, set)?;
    if mode == Mode::Remove {
        return Ok(Vec::new());
    }
    let white = white();
    let names = set.set.iter().filter(|n| !n.starts_with('@'));
    Ok(names
        .filter(|n| !white.contains(n.as_str()))
        .cloned()
        .collect())
}

fn known(name: &str) -> Result<&str, Error> {
    let archs = [super::Arch::X86_64, super::Arch::Aarch64];
    let found = archs
        .iter()
        .any(|a| a.numbers().iter().any(|(n, _)| *n == name));
    if found {
        return Ok(name);
    }
    Err(refuse(format!(
        "there is no system call `{}`",
        name.escape_debug()
    )))
}

/// What the default lets pass, whatever is granted; some of it with tests of arguments.
fn white() -> BTreeSet<&'static str> {
    let passing = |r: &&super::Rule| r.needs == 0 && !matches!(r.action, Action::Errno(_));
    let rules = DEFAULT.rules.iter().filter(passing);
    rules.flat_map(|r| r.names).copied().collect()
}

/// What it does not.
fn black() -> Vec<String> {
    let white = white();
    let names = NATIVE.numbers().iter().map(|(name, _)| *name);
    names
        .filter(|n| !white.contains(n))
        .map(str::to_owned)
        .collect()
}
