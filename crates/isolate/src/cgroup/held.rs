//! Limits as the kernel has them, beside what was asked for: for the audit.

use super::dir;
use super::knobs::{Must, knob};
use super::layout::{Layout, Version};
use crate::error::{Doing, Error};
use rkt_spec::Uuid;
use rkt_spec::plan::{Knob as Name, Limit};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::path::Path;

/// A file of a cgroup that bounds less than was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looser {
    /// Its name.
    pub file: &'static str,
    /// What was written.
    pub wanted: String,
    /// What is there.
    pub found: String,
}

/// Compares the limits of a pod's directory (`leaf` of an app, or the pod's own) with their files.
///
/// # Errors
/// When a directory or file cannot be read; one that is gone is no error, for a pod may be ending.
pub fn looser(
    layout: &Layout,
    parent: &str,
    uuid: &Uuid,
    leaf: Option<&str>,
    limits: &[Limit],
) -> Result<Vec<Looser>, Error> {
    let mut all = Vec::new();
    for limit in limits.iter().filter(|l| l.value > 0) {
        let Some(knob) = knob(limit.knob) else {
            continue;
        };
        let Some(version) = layout.version_of(knob.controller) else {
            continue;
        };
        let root = match version {
            Version::V1 => layout.v1_root(knob.controller),
            Version::V2 => layout.v2.as_deref(),
        };
        let Some(root) = root else { continue };
        let Some(at) = find(root, parent, uuid, leaf)? else {
            continue;
        };
        for write in knob.files(version) {
            // On v1 an app's launcher is in its groups too.
            let extra = version == Version::V1 && leaf.is_some() && limit.knob == Name::Pids;
            let wanted = (write.encode)(limit.value.saturating_add(extra.into()));
            let found = match dir::read(&at, write.file) {
                Ok(text) => text.trim().to_owned(),
                Err(Errno::NOENT) if write.must == Must::IfPresent => continue,
                Err(Errno::NODEV | Errno::NOENT) => continue,
                Err(e) => return Err(e).doing(|| format!("read `{}`", write.file)),
            };
            if is_looser(write.file, &wanted, &found) {
                all.push(Looser {
                    file: write.file,
                    wanted,
                    found,
                });
            }
        }
    }
    Ok(all)
}

fn find(
    root: &Path,
    parent: &str,
    uuid: &Uuid,
    leaf: Option<&str>,
) -> Result<Option<OwnedFd>, Error> {
    let mut at = dir::open_root(root)?;
    let uuid = uuid.to_string();
    let parts = dir::parts(parent)?;
    for name in parts.into_iter().chain([uuid.as_str()]).chain(leaf) {
        at = match dir::open(&at, name) {
            Ok(next) => next,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(e).doing(|| format!("open the cgroup `{name}`")),
        };
    }
    Ok(Some(at))
}

/// Bounds may be tighter (the kernel rounds memory down to pages); other values are as written.
fn is_looser(file: &str, wanted: &str, found: &str) -> bool {
    let bound = ["max", "limit_in_bytes", "quota_us"]
        .iter()
        .any(|w| file.ends_with(w));
    match (wanted.parse::<u64>(), found.parse::<u64>()) {
        (Ok(wanted), Ok(found)) if bound => found > wanted,
        _ => wanted != found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_looser_and_less_is_not() {
        for (file, wanted, found, looser) in [
            ("pids.max", "100", "100", false),
            ("pids.max", "100", "90", false),
            ("pids.max", "100", "101", true),
            ("pids.max", "100", "max", true),
            ("memory.limit_in_bytes", "5000", "4096", false),
            ("cpu.cfs_quota_us", "50000", "-1", true),
            ("cpu.max", "50000 100000", "max 100000", true),
            ("memory.oom.group", "1", "0", true),
            ("cpu.shares", "512", "1024", true),
        ] {
            assert_eq!(is_looser(file, wanted, found), looser, "{file} {found}");
        }
    }
}
