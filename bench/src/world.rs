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
    /// As `Host`, in a network of its own: engines that make networks change it, not the host's.
    HostNet,
    /// As `V1`, in a network of its own.
    V1Net,
    /// As `V2`, in a network of its own.
    V2Net,
}

impl World {
    /// The shell words that make this view in a private mount namespace; none for the host's own.
    pub(crate) fn way_in(self) -> Result<Option<String>> {
        let unified = unified()?;
        let pure = unified.as_os_str() == "/sys/fs/cgroup";
        let lo = "ip link set lo up";
        match self {
            Self::Host => Ok(None),
            Self::V2 if pure => Ok(None),
            Self::V1 | Self::V1Net if pure => Err(Fault::new("this host has no v1 controllers")),
            Self::V2 => Ok(Some("mount -t cgroup2 none /sys/fs/cgroup".to_owned())),
            Self::V1 => Ok(Some(format!("umount {}", unified.display()))),
            Self::HostNet => Ok(Some(lo.to_owned())),
            Self::V2Net if pure => Ok(Some(lo.to_owned())),
            Self::V2Net => Ok(Some(format!("mount -t cgroup2 none /sys/fs/cgroup; {lo}"))),
            Self::V1Net => Ok(Some(format!("umount {}; {lo}", unified.display()))),
        }
    }

    /// The same view in a network of its own.
    pub(crate) fn with_network(self) -> Self {
        match self {
            Self::Host | Self::HostNet => Self::HostNet,
            Self::V1 | Self::V1Net => Self::V1Net,
            Self::V2 | Self::V2Net => Self::V2Net,
        }
    }

    /// Whether it has a network of its own.
    pub(crate) fn has_network(self) -> bool {
        self == self.with_network()
    }

    /// A name for messages and for the agent that serves it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::HostNet => "host, network",
            Self::V1Net => "v1, network",
            Self::V2Net => "v2, network",
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
