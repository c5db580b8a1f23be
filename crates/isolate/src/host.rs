//! What this host can hold, as cheap facts: a few reads and system calls, no child.
//!
//! The slow and sure way, trying each thing in a throw-away child, is [`crate::doctor`]'s.

use crate::cgroup::Layout;
use rkt_spec::plan::Rlimit;
use rustix::process::{Resource, getrlimit};
use rustix::thread::CapabilitySet;

/// Facts that decide which walls can stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Version of the kernel, major and minor; (0, 0) when it does not say.
    pub kernel: (u32, u32),
    /// Landlock ABI; 0 is none.
    pub landlock_abi: u32,
    /// Whether system calls can be refused by a filter.
    pub seccomp: bool,
    /// User namespaces that may be made; 0 is none (`user.max_user_namespaces`).
    pub user_namespaces: u32,
    /// Whether hard limits may be raised and the OOM score lowered (CAP_SYS_RESOURCE).
    pub resource_privilege: ResourcePrivilege,
    /// Limits of the caller, for each resource of [`crate::defaults::RLIMIT_NAMES`].
    pub rlimits: Vec<Rlimit>,
    /// Highest hard limit of open files that the kernel takes from anybody (`fs.nr_open`).
    pub nr_open: u64,
    /// `oom_score_adj` of the caller.
    pub oom_score_adj: i32,
    /// CPUs that have a `thermal_throttle` directory to mask; 0 where there is none.
    pub throttled_cpus: u32,
    /// The cgroup trees.
    pub cgroups: Layout,
}

/// Whether the caller holds CAP_SYS_RESOURCE over the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourcePrivilege {
    /// It does.
    Held,
    /// It does not: limits can only be lowered, the OOM score only raised.
    Missing,
}

/// Looks. Never fails: what cannot be found out counts as missing.
pub fn probe() -> Host {
    let number =
        |path: &str| -> Option<i64> { std::fs::read_to_string(path).ok()?.trim().parse().ok() };
    let unsigned = |path: &str| number(path).and_then(|n| u64::try_from(n).ok());
    let limit = |resource: u32, kind: Resource| {
        let now = getrlimit(kind);
        Rlimit {
            resource,
            soft: now.current.unwrap_or(u64::MAX),
            hard: now.maximum.unwrap_or(u64::MAX),
        }
    };
    let held = rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_RESOURCE));
    Host {
        kernel: version(&rustix::system::uname().release().to_string_lossy()),
        landlock_abi: rkt_sys::landlock::abi().unwrap_or(0),
        seccomp: rkt_sys::seccomp::available(),
        user_namespaces: unsigned("/proc/sys/user/max_user_namespaces")
            .map_or(0, |n| u32::try_from(n).unwrap_or(u32::MAX)),
        resource_privilege: if held {
            ResourcePrivilege::Held
        } else {
            ResourcePrivilege::Missing
        },
        rlimits: (0..)
            .zip(RESOURCES)
            .map(|(number, kind)| limit(number, kind))
            .collect(),
        nr_open: unsigned("/proc/sys/fs/nr_open").unwrap_or(1 << 20),
        oom_score_adj: number("/proc/self/oom_score_adj")
            .and_then(|n| i32::try_from(n).ok())
            .unwrap_or(0),
        throttled_cpus: throttled_cpus(),
        cgroups: Layout::detect(),
    }
}

/// By number (`asm-generic/resource.h`).
const RESOURCES: [Resource; 16] = [
    Resource::Cpu,
    Resource::Fsize,
    Resource::Data,
    Resource::Stack,
    Resource::Core,
    Resource::Rss,
    Resource::Nproc,
    Resource::Nofile,
    Resource::Memlock,
    Resource::As,
    Resource::Locks,
    Resource::Sigpending,
    Resource::Msgqueue,
    Resource::Nice,
    Resource::Rtprio,
    Resource::Rttime,
];

fn throttled_cpus() -> u32 {
    let cpus = std::path::Path::new("/sys/devices/system/cpu");
    if !cpus.join("cpu0/thermal_throttle").exists() {
        return 0;
    }
    let possible = std::fs::read_to_string(cpus.join("possible")).unwrap_or_default();
    let last = possible.trim().rsplit(['-', ',']).next();
    last.and_then(|n| n.parse::<u32>().ok())
        .map_or(0, |n| n.saturating_add(1))
}

/// `6.18.44-x` is (6, 18).
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().and_then(|n| n.parse().ok()).unwrap_or(0);
    (next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_distributions() {
        assert_eq!(version("6.18.44-fc-v669"), (6, 18));
        assert_eq!(version("6.1.0-13-amd64"), (6, 1));
        assert_eq!(version("7.0-rc1"), (7, 0));
        assert_eq!(version("linux"), (0, 0));
    }

    #[test]
    fn this_host_answers() {
        let host = probe();
        assert!(host.kernel >= (5, 10));
        assert_eq!(host.rlimits.len(), crate::defaults::RLIMIT_NAMES.len());
    }
}
