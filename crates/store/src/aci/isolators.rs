//! Isolators of an image: understood, or named as what rkt does not do. Never passed over.
//!
//! Source: appc 0.8.11, "Isolators". What an image asks for beyond rkt's defaults is for stage0
//! to refuse, which knows the user's own words.

use super::words::{bad, quantity, show};
use crate::error::{Doing, Result};
use rkt_spec::capability::CapSet;
use rkt_spec::image::Unmet;
use rkt_spec::manifest::{Asker, Isolator, SeccompSet};
use serde_json::Value;

/// What the isolators of an image mean to rkt.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Understood {
    /// At most one of a kind.
    pub(crate) isolators: Vec<Isolator>,
    pub(crate) unmet: Vec<Unmet>,
    /// Wishes that are no promise, such as a reservation; one line each.
    pub(crate) notes: Vec<String>,
}

/// Sorts out the isolators of an app.
///
/// # Errors
/// `Corrupt` for a value that appc does not allow.
pub(crate) fn understand(list: &[(String, Value)]) -> Result<Understood> {
    let mut out = Understood::default();
    let mut retain = CapSet::EMPTY;
    let mut remove = CapSet::EMPTY;
    let mut seen: Vec<&str> = Vec::new();
    for (name, value) in list {
        let doing = || format!("read isolator `{name}`");
        let many = matches!(
            name.as_str(),
            "os/linux/capabilities-retain-set"
                | "os/linux/capabilities-remove-set"
                | "os/linux/no-new-privileges"
        );
        if !many && seen.contains(&name.as_str()) {
            return Err(bad("it is there twice")).doing(doing);
        }
        seen.push(name);
        match name.as_str() {
            "os/linux/capabilities-retain-set" => {
                retain = retain.union(capabilities(value).doing(doing)?);
            }
            "os/linux/capabilities-remove-set" => {
                remove = remove.union(capabilities(value).doing(doing)?);
            }
            _ => one(name, value, &mut out).doing(doing)?,
        }
    }
    let names = |set: CapSet| set.names().map(|n| format!("CAP_{n}")).collect();
    match (retain.is_empty(), remove.is_empty()) {
        (false, false) => {
            return Err(bad(
                "capabilities are given both as the set to retain and as the set to remove",
            ));
        }
        (false, true) => out
            .isolators
            .push(Isolator::CapabilitiesRetain { set: names(retain) }),
        (true, false) => out
            .isolators
            .push(Isolator::CapabilitiesRemove { set: names(remove) }),
        (true, true) => {}
    }
    Ok(out)
}

fn one(name: &str, value: &Value, out: &mut Understood) -> Result<()> {
    match name {
        "os/linux/no-new-privileges" => match value.as_bool() {
            // `false` is appc's default and no wish; rkt's own default stays.
            Some(false) => {}
            Some(true) => {
                let wish = Isolator::NoNewPrivileges(true);
                if !out.isolators.contains(&wish) {
                    out.isolators.push(wish);
                }
            }
            None => return Err(bad("it is neither `true` nor `false`")),
        },
        "os/linux/oom-score-adj" => {
            let score = value
                .as_i64()
                .and_then(|n| i32::try_from(n).ok())
                .filter(|n| (-1000..=1000).contains(n))
                .ok_or_else(|| bad("it is no number from -1000 to 1000"))?;
            out.isolators.push(Isolator::OomScoreAdj(score));
        }
        "resource/memory" => {
            if let Some(thousandths) = limit(name, value, out)? {
                let limit = thousandths.div_ceil(1000).to_string();
                out.isolators.push(Isolator::Memory { limit });
            }
        }
        "resource/cpu" => {
            if let Some(thousandths) = limit(name, value, out)? {
                let limit = format!("{thousandths}m");
                out.isolators.push(Isolator::Cpu { limit });
            }
        }
        "os/linux/seccomp-retain-set" => {
            one_list(out)?;
            out.isolators.push(Isolator::SeccompRetain(seccomp(value)?));
        }
        "os/linux/seccomp-remove-set" => {
            one_list(out)?;
            out.isolators.push(Isolator::SeccompRemove(seccomp(value)?));
        }
        "os/linux/selinux-context" | "os/linux/apparmor-profile" => {
            out.unmet
                .push(unmet(name, "rkt sets no labels of security modules", ""));
        }
        "os/linux/cpu-shares" => {
            let shares = value.as_u64().filter(|n| (2..=262_144).contains(n));
            let shares = shares.ok_or_else(|| bad("it is no number from 2 to 262144"))?;
            out.isolators.push(Isolator::CpuShares(shares));
        }
        "resource/block-bandwidth" | "resource/block-iops" | "resource/network-bandwidth" => {
            out.unmet.push(unmet(name, "rkt does not limit this", ""));
        }
        "os/unix/sysctl" => out.unmet.push(unmet(
            name,
            "it is for pods, not for images (`--sysctl`)",
            "",
        )),
        _ => out.unmet.push(unmet(name, "rkt does not know it", "")),
    }
    Ok(())
}

fn one_list(out: &Understood) -> Result<()> {
    let is_list =
        |i: &Isolator| matches!(i, Isolator::SeccompRetain(_) | Isolator::SeccompRemove(_));
    match out.isolators.iter().any(is_list) {
        true => Err(bad("there are two lists of system calls")),
        false => Ok(()),
    }
}

/// `{"set": [...], "errno": "EPERM"}`; names are judged where the list is compiled.
fn seccomp(value: &Value) -> Result<SeccompSet> {
    let set = value
        .get("set")
        .and_then(Value::as_array)
        .ok_or_else(|| bad("it has no `set`"))?;
    let names: Option<Vec<String>> = set.iter().map(|n| n.as_str().map(str::to_owned)).collect();
    let errno = match value.get("errno") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(name)) => name.clone(),
        Some(_) => return Err(bad("its `errno` is no text")),
    };
    Ok(SeccompSet {
        set: names.ok_or_else(|| bad("a system call is no text"))?,
        errno,
        by: Asker::Image,
    })
}

fn unmet(name: &str, why: &str, insecure: &str) -> Unmet {
    Unmet {
        wish: format!("isolator `{}`", show(name)),
        why: why.to_owned(),
        insecure: insecure.to_owned(),
    }
}

/// The limit of a resource in thousandths; a reservation is only noted.
fn limit(name: &str, value: &Value, out: &mut Understood) -> Result<Option<u64>> {
    let object = value
        .as_object()
        .ok_or_else(|| bad("its value is no object"))?;
    if object.get("default").and_then(Value::as_bool) == Some(true) {
        return Err(bad("`default` is not for it"));
    }
    let get = |key: &str| {
        let value = object.get(key).filter(|v| !v.is_null());
        value.map(quantity).transpose()
    };
    if get("request")?.is_some() {
        out.notes.push(format!(
            "the image asks for `{name}` to be reserved; rkt reserves nothing and holds the limit only"
        ));
    }
    get("limit")
}

fn capabilities(value: &Value) -> Result<CapSet> {
    let set = value
        .get("set")
        .and_then(Value::as_array)
        .filter(|set| !set.is_empty())
        .ok_or_else(|| bad("its `set` is empty"))?;
    let mut all = CapSet::EMPTY;
    for name in set {
        let name = name
            .as_str()
            .ok_or_else(|| bad("a capability is no text"))?;
        all = all.union(CapSet::parse_one(name)?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(list: &[(&str, Value)]) -> Result<Understood> {
        let list: Vec<_> = list
            .iter()
            .map(|(n, v)| ((*n).to_owned(), v.clone()))
            .collect();
        understand(&list)
    }

    #[test]
    fn what_rkt_holds_becomes_its_own_isolators() {
        let got = read(&[
            ("resource/memory", json!({ "request": "1G", "limit": "1G" })),
            ("resource/cpu", json!({ "limit": "500m" })),
            ("os/linux/no-new-privileges", json!(false)),
            ("os/linux/no-new-privileges", json!(true)),
            ("os/linux/oom-score-adj", json!(100)),
            ("os/linux/cpu-shares", json!(512)),
            (
                "os/linux/capabilities-retain-set",
                json!({ "set": ["CAP_KILL"] }),
            ),
            (
                "os/linux/capabilities-retain-set",
                json!({ "set": ["CAP_CHOWN"] }),
            ),
            (
                "os/linux/seccomp-remove-set",
                json!({ "set": ["chmod"], "errno": "EPERM" }),
            ),
        ])
        .unwrap();
        assert_eq!(got.notes.len(), 1);
        assert!(got.unmet.is_empty());
        for wanted in [
            Isolator::Memory {
                limit: "1000000000".into(),
            },
            Isolator::Cpu {
                limit: "500m".into(),
            },
            Isolator::NoNewPrivileges(true),
            Isolator::OomScoreAdj(100),
            Isolator::CpuShares(512),
            Isolator::SeccompRemove(SeccompSet {
                set: vec!["chmod".into()],
                errno: "EPERM".into(),
                by: Asker::Image,
            }),
            Isolator::CapabilitiesRetain {
                set: vec!["CAP_CHOWN".into(), "CAP_KILL".into()],
            },
        ] {
            assert!(
                got.isolators.contains(&wanted),
                "{wanted:?} not in {:?}",
                got.isolators
            );
        }
        assert_eq!(got.isolators.len(), 7);
    }

    #[test]
    fn nothing_is_passed_over() {
        for name in [
            "os/linux/selinux-context",
            "os/unix/sysctl",
            "resource/network-bandwidth",
            "example.com/strange",
        ] {
            let got = read(&[(name, json!({}))]).unwrap();
            assert!(got.unmet[0].wish.contains(name), "{name}");
        }
    }

    #[test]
    fn values_that_appc_does_not_allow_are_refused() {
        for list in [
            vec![("resource/memory", json!("1G"))],
            vec![("resource/memory", json!({ "limit": "1K" }))],
            vec![("resource/cpu", json!({ "limit": "1", "default": true }))],
            vec![("os/linux/seccomp-retain-set", json!({ "errno": "EPERM" }))],
            vec![("os/linux/seccomp-retain-set", json!({ "set": [7] }))],
            vec![
                ("os/linux/seccomp-retain-set", json!({ "set": ["read"] })),
                ("os/linux/seccomp-remove-set", json!({ "set": ["write"] })),
            ],
            vec![("os/linux/oom-score-adj", json!(5000))],
            vec![("os/linux/cpu-shares", json!(1))],
            vec![("os/linux/cpu-shares", json!("512"))],
            vec![
                ("os/linux/oom-score-adj", json!(1)),
                ("os/linux/oom-score-adj", json!(1)),
            ],
            vec![("os/linux/capabilities-retain-set", json!({ "set": [] }))],
            vec![(
                "os/linux/capabilities-retain-set",
                json!({ "set": ["CAP_ROOT"] }),
            )],
            vec![
                (
                    "os/linux/capabilities-retain-set",
                    json!({ "set": ["CAP_KILL"] }),
                ),
                (
                    "os/linux/capabilities-remove-set",
                    json!({ "set": ["CAP_KILL"] }),
                ),
            ],
        ] {
            assert!(read(&list).is_err(), "{list:?}");
        }
    }
}
