//! The views of the cgroup tree that peers need: some refuse the hybrid one.
//!
//! Each view is made in a mount namespace of its own; the host's mounts stay as they are.

use std::{fs, path::PathBuf};

use crate::fault::{Doing, Fault, Result};

/// What a command sees at `/sys/fs/cgroup`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum World {
    /// What the host has.
    Host,
    /// The v1 controllers only.
    V1,
    /// The unified tree only; on a hybrid host it has hardly any controllers.
    V2,
}

impl World {
    /// The shell words that make this view in a private mount namespace; none for the host's own.
    pub(crate) fn way_in(self) -> Result<Option<String>> {
        let unified = unified()?;
        let pure = unified.as_os_str() == "/sys/fs/cgroup";
        match self {
            Self::Host => Ok(None),
            Self::V2 if pure => Ok(None),
            Self::V1 if pure => Err(Fault::new("this host has no v1 controllers")),
            Self::V2 => Ok(Some("mount -t cgroup2 none /sys/fs/cgroup".to_owned())),
            Self::V1 => Ok(Some(format!("umount {}", unified.display()))),
        }
    }

    /// The tree for podman: its device program fails on v2 where limits may not be raised, so v1
    /// where there is one.
    pub(crate) fn of_podman() -> Self {
        if Self::V1.way_in().is_ok() {
            Self::V1
        } else {
            Self::V2
        }
    }
}

/// Where the unified tree is mounted.
pub(crate) fn unified() -> Result<PathBuf> {
    let mounts = mounts_of("cgroup2")?;
    mounts
        .into_iter()
        .next()
        .ok_or_else(|| Fault::new("no unified cgroup tree is mounted"))
}

/// Every mount point of cgroup trees, v1 and v2.
pub(crate) fn trees() -> Result<Vec<PathBuf>> {
    let mut all = mounts_of("cgroup2")?;
    all.extend(mounts_of("cgroup")?);
    Ok(all)
}

fn mounts_of(kind: &str) -> Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mounts").doing(|| "read the mounts".to_owned())?;
    let rows = table
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>());
    Ok(rows
        .filter(|row| row.get(2) == Some(&kind))
        .map(|row| PathBuf::from(row[1]))
        .collect())
}
