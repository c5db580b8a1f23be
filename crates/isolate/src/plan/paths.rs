//! Paths that are hidden or read-only.

use super::report::Report;
use super::{Insecure, WallsRequest};
use crate::defaults;
use crate::defences::id;
use crate::error::{Error, Kind};
use crate::host::Host;
use rkt_spec::manifest::Isolator;

/// What is covered, and how.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Covers {
    pub(super) masked: Vec<String>,
    pub(super) read_only: Vec<String>,
    /// Those that were asked for by name.
    pub(super) asked: Vec<String>,
}

/// Places that cannot be covered: an app does not start without them.
const KEPT: &[&str] = &[
    "/",
    "/proc",
    "/sys",
    "/dev",
    "/dev/null",
    "/proc/self",
    "/dev/pts",
];

fn refuse(because: String) -> Error {
    Error::new(Kind::Request, because)
}

/// Reads a path to cover: absolute and clean.
///
/// # Errors
/// Says what is wrong with it.
pub fn clean(path: &str) -> Result<&str, Error> {
    let shown = path.escape_debug();
    let bare = match path.strip_suffix('/') {
        Some("") | None => path,
        Some(bare) => bare,
    };
    let names = || bare.split('/').skip(1);
    if !bare.starts_with('/') {
        Err(refuse(format!("the path `{shown}` is not absolute")))
    } else if bare.len() > 4095 || bare.chars().any(char::is_control) {
        Err(refuse(format!(
            "the path `{shown}` is too long or has a control character"
        )))
    } else if bare != "/" && names().any(|n| n.is_empty() || n == "." || n == "..") {
        Err(refuse(format!(
            "the path `{shown}` has `.`, `..` or an empty name"
        )))
    } else {
        Ok(bare)
    }
}

fn covered_by(path: &str, above: &str) -> bool {
    above == "/"
        || path
            .strip_prefix(above)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(super) fn decide(
    request: &WallsRequest<'_>,
    host: &Host,
    report: &mut Report,
) -> Result<Covers, Error> {
    let mut usual = Covers {
        masked: defaults::MASKED.iter().map(|&p| p.to_owned()).collect(),
        read_only: defaults::READ_ONLY.iter().map(|&p| p.to_owned()).collect(),
        asked: Vec::new(),
    };
    usual.masked.extend(
        (0..host.throttled_cpus)
            .map(|n| format!("/sys/devices/system/cpu/cpu{n}/thermal_throttle")),
    );
    let wanted = (usual.masked.join(" "), usual.read_only.join(" "));
    let down = request.insecure.has(Insecure::PATHS);
    let mut covers = if down { Covers::default() } else { usual };
    let mut opened = false;
    for isolator in request.isolators {
        let Isolator::Paths {
            mask,
            unmask,
            read_only,
        } = isolator
        else {
            continue;
        };
        for path in unmask {
            open(&mut covers, clean(path)?, down)?;
            opened = true;
        }
        for (path, what) in mask
            .iter()
            .map(|p| (p, true))
            .chain(read_only.iter().map(|p| (p, false)))
        {
            cover(&mut covers, clean(path)?, what)?;
        }
    }
    let flag = if down {
        "--insecure-options=paths"
    } else {
        "--mask, --unmask"
    };
    let tell = |list: &[String], more: &str| match list {
        [] => "none".to_owned(),
        some => format!("{}{more}", some.join(" ")),
    };
    let sys = if down { "" } else { " /sys" };
    let rows = [
        (
            id::MASKS,
            "hidden paths",
            wanted.0,
            tell(&covers.masked, ""),
            flag,
        ),
        (
            id::READ_ONLY,
            "read-only paths",
            format!("{} /sys", wanted.1),
            tell(&covers.read_only, sys),
            if down {
                flag
            } else {
                "--readonly-paths, --unmask"
            },
        ),
    ];
    for (id, what, wanted, held, flag) in rows {
        if down || opened && wanted != held {
            report.lost(id, what, wanted, held, "the user", flag);
        } else {
            report.held(id, what, held, "locked mounts", flag);
        }
    }
    Ok(covers)
}

/// Takes covers away from a path and all below it.
fn open(covers: &mut Covers, path: &str, down: bool) -> Result<(), Error> {
    let all = || covers.masked.iter().chain(&covers.read_only);
    if !all().any(|p| covered_by(p, path)) {
        if let Some(above) = all().find(|p| covered_by(path, p)) {
            return Err(refuse(format!(
                "`{path}` lies below `{above}`, which is covered whole"
            ))
            .with_hint(format!("--unmask={above}")));
        }
        let why = format!("nothing covers `{path}`, so there is nothing to uncover");
        let error = refuse(why);
        return Err(if down {
            error.with_hint("`--insecure-options=paths` has uncovered all already")
        } else {
            error.with_hint("`rkt run --explain` lists what is hidden and read-only")
        });
    }
    covers.masked.retain(|p| !covered_by(p, path));
    covers.read_only.retain(|p| !covered_by(p, path));
    Ok(())
}

fn cover(covers: &mut Covers, path: &str, mask: bool) -> Result<(), Error> {
    if KEPT.contains(&path) || path == "/sys" && mask {
        let error = refuse(format!("`{path}` cannot be covered: apps need it"));
        return Err(match path {
            "/" => error.with_hint("`--readonly-rootfs` makes `/` read-only"),
            _ => error,
        });
    }
    if covers.masked.iter().any(|p| covered_by(path, p)) {
        return Ok(());
    }
    let list = if mask {
        &mut covers.masked
    } else {
        &mut covers.read_only
    };
    if !list.iter().any(|p| p == path) {
        list.push(path.to_owned());
        covers.asked.push(path.to_owned());
    }
    Ok(())
}
