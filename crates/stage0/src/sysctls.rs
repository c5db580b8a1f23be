//! `--sysctl`: settings of the pod's own namespaces, by an allowlist. Pure.
//!
//! A setting that no namespace of the pod holds would be the host's: it is refused by name. One
//! setting is one item; nothing here is joined or split (CVE-2022-0811).

use crate::error::Error;
use rkt_spec::manifest::Isolator;
use rkt_spec::plan::{Net, Setting};
use std::collections::BTreeMap;

/// Settings of an IPC namespace (`ipc_namespaces(7)`).
const IPC: &[&str] = &[
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

/// The settings of a pod, in the order of their names.
///
/// # Errors
/// For one that is not the pod's, with the reason.
pub(crate) fn settings(isolators: &[Isolator], net: Net) -> Result<Vec<Setting>, Error> {
    let mut all = BTreeMap::new();
    for isolator in isolators {
        let Isolator::Sysctl(map) = isolator else {
            continue;
        };
        for (name, value) in map {
            let path = path(name, net)?;
            check_value(name, value)?;
            if all.insert(path, value.clone()).is_some() {
                return Err(Error::usage(format!("the sysctl `{name}` is set twice")));
            }
        }
    }
    let pairs = all.into_iter();
    Ok(pairs.map(|(path, value)| Setting { path, value }).collect())
}

/// Reads `net.core.somaxconn` or `net/core/somaxconn`; in the second form names may have dots, as
/// in sysctl(8).
fn path(name: &str, net: Net) -> Result<String, Error> {
    let shown = name.escape_debug();
    let slashes = name
        .find('/')
        .is_some_and(|at| name.find('.').is_none_or(|dot| at < dot));
    let path = if slashes {
        name.to_owned()
    } else {
        name.replace('.', "/")
    };
    let plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-.@:".contains(&b))
    };
    if path.len() > 255 || !path.contains('/') || !path.split('/').all(plain) {
        return Err(Error::usage(format!("`{shown}` is no name of a sysctl")));
    }
    if path.starts_with("net/") {
        return match net {
            Net::None | Net::Private => Ok(path),
            Net::Host => Err(Error::usage(format!(
                "the sysctl `{shown}` would be the host's: with --net=host the pod has no network of its own"
            ))
            .hint("leave out `--net=host`, or set it on the host")),
        };
    }
    if IPC.contains(&path.as_str()) || path.starts_with("fs/mqueue/") {
        return Ok(path);
    }
    let error = Error::usage(format!(
        "the sysctl `{shown}` is no setting of a pod's namespaces: it would change the whole host"
    ));
    Err(match path.as_str() {
        "kernel/hostname" => error.hint("`--hostname` sets the pod's"),
        "user/max_user_namespaces" => error.hint("`--userns-nested=N` sets an app's"),
        _ => error.hint(
            "net.* (with a network of the pod's own), kernel.shm*, kernel.msg*, kernel.sem and fs.mqueue.* can be set",
        ),
    })
}

fn check_value(name: &str, value: &str) -> Result<(), Error> {
    let plain = |c: char| c == '\t' || !c.is_control();
    if value.is_empty() || value.len() > 1024 || !value.chars().all(plain) {
        return Err(Error::usage(format!(
            "the value of the sysctl `{}` is empty, too long or has a control character",
            name.escape_debug()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str, net: Net) -> Result<Vec<Setting>, Error> {
        let map = [(name.to_owned(), value.to_owned())].into();
        settings(&[Isolator::Sysctl(map)], net)
    }

    #[test]
    fn what_a_pod_has_of_its_own_can_be_set() {
        for (name, path) in [
            ("net.core.somaxconn", "net/core/somaxconn"),
            (
                "net/ipv4/conf/eth0.1/rp_filter",
                "net/ipv4/conf/eth0.1/rp_filter",
            ),
            ("kernel.shmmax", "kernel/shmmax"),
            ("fs.mqueue.msg_max", "fs/mqueue/msg_max"),
        ] {
            assert_eq!(one(name, "1", Net::None).unwrap()[0].path, path);
        }
        assert!(one("kernel.sem", "250 32000 32 128", Net::Host).is_ok());
    }

    #[test]
    fn what_is_the_hosts_is_refused_with_the_reason() {
        for (name, value, net, word) in [
            ("net.core.somaxconn", "1", Net::Host, "--net=host"),
            ("kernel.core_pattern", "|/x", Net::None, "whole host"),
            ("vm.overcommit_memory", "1", Net::None, "whole host"),
            ("kernel.hostname", "x", Net::None, "whole host"),
            ("net.../kernel", "1", Net::None, "no name"),
            ("net/../kernel/core_pattern", "x", Net::None, "no name"),
            ("net", "1", Net::None, "no name"),
            (
                "kernel.shmmax+kernel.core_pattern",
                "1",
                Net::None,
                "no name",
            ),
            ("kernel.shmmax", "1\nx", Net::None, "control"),
            ("kernel.shmmax", "", Net::None, "empty"),
        ] {
            let error = one(name, value, net).unwrap_err().to_string();
            assert!(error.contains(word), "{name}: {error}");
        }
        let map: BTreeMap<_, _> = [
            ("net.a.b".into(), "1".into()),
            ("net/a/b".into(), "2".into()),
        ]
        .into();
        assert!(settings(&[Isolator::Sysctl(map)], Net::None).is_err());
    }
}
