//! The texts of flags that are about walls: `--seccomp`, `--rlimit`, `--device` and the like. Pure.

use super::table::Refusal;
use rkt_isolate::plan::{clean_path, rlimit_number};
use rkt_isolate::seccomp::families;
use rkt_spec::capability::CapSet;
use rkt_spec::manifest::{Asker, Isolator, SeccompSet, UserNamespace};
use rkt_spec::{errno, quantity};
use rkt_stage0::request::{AppRequest, RunRequest};
use std::collections::BTreeMap;

fn hinted(error: rkt_isolate::Error) -> Refusal {
    match error.hint() {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    }
}

/// `CAP_CHOWN,kill` or `all`.
pub(super) fn capabilities(list: &str) -> Result<Vec<String>, Refusal> {
    let mut set = CapSet::EMPTY;
    for name in list.split(',').filter(|n| !n.is_empty()) {
        set = set.union(if name.eq_ignore_ascii_case("all") {
            CapSet::ALL
        } else {
            CapSet::parse_one(name).map_err(|e| e.to_string())?
        });
    }
    Ok(set.names().map(|n| format!("CAP_{n}")).collect())
}

/// `mode=retain|remove[,errno=NAME],NAME,..` (the original's), `unconfined`, or a file with a
/// profile in docker's JSON. The last one counts.
pub(super) fn seccomp(app: &mut AppRequest, text: &str) -> Result<(), Refusal> {
    let both = app.isolators.iter().any(|i| match i {
        Isolator::SeccompRetain(_) => text.starts_with("mode=remove"),
        Isolator::SeccompRemove(_) => text.starts_with("mode=retain"),
        _ => false,
    });
    if both {
        return Err("does not go with the other mode, which was given before".to_owned());
    }
    app.seccomp_file = None;
    app.isolators.retain(|i| {
        !matches!(
            i,
            Isolator::SeccompRetain(_) | Isolator::SeccompRemove(_) | Isolator::SeccompUnconfined
        )
    });
    if text == "unconfined" {
        app.isolators.push(Isolator::SeccompUnconfined);
        return Ok(());
    }
    if !text.starts_with("mode=") {
        if text.is_empty() || text.contains(',') || text.contains('=') {
            return Err("needs mode=retain|remove[,errno=NAME],CALL,.. or a file with a JSON profile or `unconfined`".to_owned());
        }
        app.seccomp_file = Some(text.to_owned());
        return Ok(());
    }
    let mut mode = None;
    let mut set = SeccompSet {
        by: Asker::User,
        ..SeccompSet::default()
    };
    for word in text.split(',').filter(|w| !w.is_empty()) {
        match word.split_once('=') {
            Some(("mode", value)) if mode.replace(value).is_some() => {
                return Err("says `mode` twice".to_owned());
            }
            Some(("mode", _)) => {}
            Some(("errno", name)) if set.errno.is_empty() => {
                errno::parse(name).map_err(|e| e.to_string())?;
                name.clone_into(&mut set.errno);
            }
            Some(("errno", _)) => return Err("says `errno` twice".to_owned()),
            Some((key, _)) => return Err(format!("`{key}` is none of mode, errno")),
            None => set.set.push(word.to_owned()),
        }
    }
    if set.set.is_empty() {
        return Err("names no system call; `@appc.io/empty` is the empty set".to_owned());
    }
    app.isolators.push(match mode {
        Some("retain") => Isolator::SeccompRetain(set),
        Some("remove") => Isolator::SeccompRemove(set),
        _ => return Err("`mode` is `retain` or `remove`".to_owned()),
    });
    Ok(())
}

/// `NAME=SOFT[:HARD]`; sizes may have units, `unlimited` and -1 are none.
pub(super) fn rlimit(app: &mut AppRequest, text: &str) -> Result<(), Refusal> {
    let (name, value) = text
        .split_once('=')
        .ok_or("needs NAME=SOFT[:HARD], such as nofile=1024:4096")?;
    let number = rlimit_number(name).map_err(hinted)?;
    let one = |text: &str| match text {
        "unlimited" | "infinity" | "-1" => Ok(None),
        n => quantity::bytes(n).map(Some).map_err(|e| e.to_string()),
    };
    let (soft, hard) = match value.split_once(':') {
        Some((soft, hard)) => (one(soft)?, one(hard)?),
        None => (one(value)?, one(value)?),
    };
    if soft.unwrap_or(u64::MAX) > hard.unwrap_or(u64::MAX) {
        return Err("has a soft limit above the hard one".to_owned());
    }
    let same = |i: &Isolator| matches!(i, Isolator::Rlimit { name, .. } if rlimit_number(name).is_ok_and(|n| n == number));
    app.isolators.retain(|i| !same(i));
    app.isolators.push(Isolator::Rlimit {
        name: name.to_owned(),
        soft,
        hard,
    });
    Ok(())
}

/// `NAME=VALUE`, collected in the pod's one isolator.
pub(super) fn sysctl(request: &mut RunRequest, text: &str) -> Result<(), Refusal> {
    let (name, value) = text.split_once('=').ok_or("needs NAME=VALUE")?;
    let map = request.isolators.iter_mut().find_map(|i| match i {
        Isolator::Sysctl(map) => Some(map),
        _ => None,
    });
    let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
    match map {
        Some(map) => {
            if map.insert(name.clone(), value).is_some() {
                return Err(format!("`{name}` is set twice"));
            }
        }
        None => request
            .isolators
            .push(Isolator::Sysctl(BTreeMap::from([(name, value)]))),
    }
    Ok(())
}

/// Which list of [`Isolator::Paths`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cover {
    Mask,
    Unmask,
    ReadOnly,
}

/// Absolute paths with commas (or docker's colons); `all` for unmask.
pub(super) fn paths(app: &mut AppRequest, which: Cover, text: &str) -> Result<(), Refusal> {
    let mut list = Vec::new();
    for word in text.split([',', ':']).filter(|w| !w.is_empty()) {
        if which == Cover::Unmask && word.eq_ignore_ascii_case("all") {
            list.extend(["/proc".to_owned(), "/sys".to_owned()]);
        } else {
            list.push(clean_path(word).map_err(hinted)?.to_owned());
        }
    }
    if list.is_empty() {
        return Err("needs an absolute path".to_owned());
    }
    let found = app
        .isolators
        .iter()
        .position(|i| matches!(i, Isolator::Paths { .. }));
    let at = found.unwrap_or_else(|| {
        app.isolators.push(Isolator::Paths {
            mask: Vec::new(),
            unmask: Vec::new(),
            read_only: Vec::new(),
        });
        app.isolators.len() - 1
    });
    if let Some(Isolator::Paths {
        mask,
        unmask,
        read_only,
    }) = app.isolators.get_mut(at)
    {
        match which {
            Cover::Mask => mask,
            Cover::Unmask => unmask,
            Cover::ReadOnly => read_only,
        }
        .extend(list);
    }
    Ok(())
}

/// `+AF_VSOCK,-AF_INET6`.
pub(super) fn families(text: &str) -> Result<Isolator, Refusal> {
    let (mut add, mut remove) = (Vec::new(), Vec::new());
    for word in text.split(',').filter(|w| !w.is_empty()) {
        let list = match word.chars().next() {
            Some('+') => &mut add,
            Some('-') => &mut remove,
            _ => {
                return Err(format!(
                    "needs `+` or `-` before `{word}`: +AF_VSOCK,-AF_INET6"
                ));
            }
        };
        let name = word.get(1..).unwrap_or("");
        families::parse(name).map_err(hinted)?;
        list.push(name.to_ascii_uppercase());
    }
    families::chosen(&add, &remove).map_err(hinted)?;
    Ok(Isolator::SocketFamilies { add, remove })
}

/// `app` or `pod`.
pub(super) fn userns(text: &str) -> Result<Isolator, Refusal> {
    Ok(Isolator::UserNamespace(match text {
        "app" | "auto" | "private" => UserNamespace::App,
        "pod" => UserNamespace::Pod,
        "host" => {
            return Err(
                "an app never lives in the host's user namespace; there are `app` and `pod`"
                    .to_owned(),
            );
        }
        _ => return Err("needs `app` or `pod`".to_owned()),
    }))
}

/// `/dev/X[:/dev/Y][:rw]`.
pub(super) fn device(app: &mut AppRequest, text: &str) -> Result<(), Refusal> {
    let mut parts = text.split(':');
    let source = parts.next().unwrap_or("").to_owned();
    let (mut target, mut access) = (source.clone(), "rw".to_owned());
    match (parts.next(), parts.next(), parts.next()) {
        (None, ..) => {}
        (Some(one), None, _) if one.starts_with('/') => one.clone_into(&mut target),
        (Some(one), None, _) => one.clone_into(&mut access),
        (Some(one), Some(two), None) => {
            one.clone_into(&mut target);
            two.clone_into(&mut access);
        }
        _ => return Err("needs /dev/X[:/dev/Y][:rw]".to_owned()),
    }
    for path in [&source, &target] {
        clean_path(path).map_err(hinted)?;
    }
    app.isolators.push(Isolator::Device {
        source,
        target,
        access,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(set: impl Fn(&mut AppRequest) -> Result<(), Refusal>) -> Vec<Isolator> {
        let mut app = AppRequest::default();
        set(&mut app).unwrap();
        app.isolators
    }

    #[test]
    fn seccomp_in_the_originals_words() {
        let list = app(|a| seccomp(a, "mode=retain,errno=EPERM,read,@appc.io/empty"));
        let [Isolator::SeccompRetain(set)] = list.as_slice() else {
            panic!("{list:?}")
        };
        assert_eq!((set.set.len(), set.errno.as_str()), (2, "EPERM"));
        let mut both = AppRequest::default();
        seccomp(&mut both, "mode=remove,read").unwrap();
        assert!(seccomp(&mut both, "mode=retain,read").is_err());
        let mut twice = AppRequest::default();
        seccomp(&mut twice, "mode=remove,read").unwrap();
        seccomp(&mut twice, "./profile.json").unwrap();
        assert!(twice.isolators.is_empty());
        assert_eq!(twice.seccomp_file.as_deref(), Some("./profile.json"));
        for (text, word) in [
            ("", "needs mode"),
            ("mode=keep,read", "retain"),
            ("mode=retain", "names no system call"),
            ("mode=retain,errno=ENOPE,read", "ENOPE"),
            ("mode=retain,mode=remove,read", "twice"),
            ("mode=retain,colour=red", "none of mode"),
            ("retain,read", "needs mode"),
        ] {
            let why = seccomp(&mut AppRequest::default(), text).unwrap_err();
            assert!(why.contains(word), "{text}: {why}");
        }
    }

    #[test]
    fn limits_and_devices_in_dockers_words() {
        let list = app(|a| {
            rlimit(a, "nofile=1024:4096")?;
            rlimit(a, "RLIMIT_NOFILE=7")?;
            rlimit(a, "memlock=64Mi:unlimited")
        });
        assert_eq!(list.len(), 2);
        assert!(matches!(
            &list[1],
            Isolator::Rlimit {
                soft: Some(67_108_864),
                hard: None,
                ..
            }
        ));
        for bad in ["nofile", "nofile=x", "files=1", "nofile=2:1"] {
            assert!(rlimit(&mut AppRequest::default(), bad).is_err(), "{bad}");
        }
        for (text, want) in [
            ("/dev/kvm", ("/dev/kvm", "/dev/kvm", "rw")),
            ("/dev/kvm:r", ("/dev/kvm", "/dev/kvm", "r")),
            ("/dev/a:/dev/b", ("/dev/a", "/dev/b", "rw")),
            ("/dev/a:/dev/b:rwm", ("/dev/a", "/dev/b", "rwm")),
        ] {
            let list = app(|a| device(a, text));
            let (source, target, access) = want;
            let want = Isolator::Device {
                source: source.into(),
                target: target.into(),
                access: access.into(),
            };
            assert_eq!(list, [want], "{text}");
        }
        assert!(device(&mut AppRequest::default(), "kvm").is_err());
        assert!(device(&mut AppRequest::default(), "/dev/a:/dev/b:r:w").is_err());
    }

    #[test]
    fn paths_families_and_user_namespaces() {
        let list = app(|a| {
            paths(a, Cover::Mask, "/a,/b/")?;
            paths(a, Cover::Unmask, "ALL")?;
            paths(a, Cover::ReadOnly, "/c")
        });
        let Isolator::Paths { mask, unmask, .. } = &list[0] else {
            panic!("{list:?}")
        };
        assert_eq!((mask.len(), list.len()), (2, 1));
        assert_eq!(unmask, &["/proc", "/sys"]);
        assert!(paths(&mut AppRequest::default(), Cover::Mask, "a").is_err());
        assert!(families("+AF_VSOCK,-inet6").is_ok());
        for bad in ["AF_VSOCK", "+AF_NO", "+vsock,-AF_VSOCK"] {
            assert!(families(bad).is_err(), "{bad}");
        }
        assert!(userns("pod").is_ok() && userns("host").is_err() && userns("x").is_err());
    }
}
