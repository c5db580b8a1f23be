//! The table of knobs: what a limit is called in each interface and how its value is written.
//!
//! Sources: `Documentation/admin-guide/cgroup-v2.rst`, `cgroup-v1/{memory,pids}.rst`,
//! `scheduler/sched-bwc.rst`.

use super::layout::{Controller, Version};
use rkt_spec::plan::Knob as Name;

/// Whether a file has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Must {
    /// Without it the limit does not hold.
    Exist,
    /// It makes the limit tighter where the kernel has it.
    IfPresent,
}

/// One file to write.
#[derive(Debug, Clone, Copy)]
pub struct Write {
    /// Its name in the cgroup's directory.
    pub file: &'static str,
    /// The limit's value as this file takes it.
    pub encode: fn(u64) -> String,
    /// Whether it has to be there.
    pub must: Must,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Knob {
    /// Which limit.
    pub name: Name,
    /// The flag that asks for it.
    pub flag: &'static str,
    /// What it is called in reports.
    pub title: &'static str,
    /// The controller it needs.
    pub controller: Controller,
    /// Files of the v2 interface, in the order to write them.
    pub v2: &'static [Write],
    /// Files of the v1 interface.
    pub v1: &'static [Write],
}

impl Knob {
    /// The files of one interface.
    pub fn files(&self, version: Version) -> &'static [Write] {
        match version {
            Version::V1 => self.v1,
            Version::V2 => self.v2,
        }
    }
}

const fn must(file: &'static str, encode: fn(u64) -> String) -> Write {
    Write {
        file,
        encode,
        must: Must::Exist,
    }
}

const fn may(file: &'static str, encode: fn(u64) -> String) -> Write {
    Write {
        file,
        encode,
        must: Must::IfPresent,
    }
}

/// The period over which processor time is counted, microseconds.
const CPU_PERIOD: u64 = 100_000;
/// The smallest quota that the kernel takes, microseconds.
const CPU_QUOTA_MIN: u64 = 1000;

fn plain(value: u64) -> String {
    value.to_string()
}

fn zero(_: u64) -> String {
    "0".to_owned()
}

fn one(_: u64) -> String {
    "1".to_owned()
}

/// Microseconds in a period of so many thousandths of a core.
fn quota(milli: u64) -> u64 {
    milli.saturating_mul(CPU_PERIOD / 1000).max(CPU_QUOTA_MIN)
}

/// v1's shares 2..=262144 as v2's weight 1..=10000, the mapping that systemd and the OCI
/// runtimes agree on.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// Every knob.
pub const KNOBS: &[Knob] = &[
    Knob {
        name: Name::Memory,
        flag: "--memory",
        title: "memory",
        controller: Controller::Memory,
        v2: &[
            must("memory.max", plain),
            // A limit that swap goes around would be none; the app dies as a whole.
            may("memory.swap.max", zero),
            may("memory.oom.group", one),
        ],
        v1: &[
            must("memory.limit_in_bytes", plain),
            may("memory.memsw.limit_in_bytes", plain),
        ],
    },
    Knob {
        name: Name::Pids,
        flag: "--pids",
        title: "tasks",
        controller: Controller::Pids,
        v2: &[must("pids.max", plain)],
        v1: &[must("pids.max", plain)],
    },
    Knob {
        name: Name::Cpu,
        flag: "--cpu",
        title: "cpu",
        controller: Controller::Cpu,
        v2: &[must("cpu.max", |milli| {
            format!("{} {CPU_PERIOD}", quota(milli))
        })],
        v1: &[
            must("cpu.cfs_period_us", |_| CPU_PERIOD.to_string()),
            must("cpu.cfs_quota_us", |milli| quota(milli).to_string()),
        ],
    },
    Knob {
        name: Name::CpuShares,
        flag: "--cpu-shares",
        title: "cpu shares",
        controller: Controller::Cpu,
        v2: &[must("cpu.weight", |shares| weight(shares).to_string())],
        v1: &[must("cpu.shares", plain)],
    },
];

/// The row of a knob.
pub fn knob(name: Name) -> Option<&'static Knob> {
    KNOBS.iter().find(|k| k.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_knob_has_a_row_and_both_columns() {
        for name in [Name::Memory, Name::Pids, Name::Cpu, Name::CpuShares] {
            let row = knob(name).unwrap();
            for version in [Version::V1, Version::V2] {
                assert!(row.files(version).iter().any(|w| w.must == Must::Exist));
            }
        }
    }

    #[test]
    fn values_are_written_in_each_interfaces_unit() {
        let written = |name, version, value| -> Vec<String> {
            let row = knob(name).unwrap();
            let files = row.files(version).iter();
            files
                .map(|w| format!("{}={}", w.file, (w.encode)(value)))
                .collect()
        };
        assert_eq!(
            written(Name::Cpu, Version::V2, 500),
            ["cpu.max=50000 100000"]
        );
        assert_eq!(
            written(Name::Cpu, Version::V1, 1),
            ["cpu.cfs_period_us=100000", "cpu.cfs_quota_us=1000"]
        );
        assert_eq!(written(Name::CpuShares, Version::V2, 2), ["cpu.weight=1"]);
        assert_eq!(
            written(Name::CpuShares, Version::V2, 262_144),
            ["cpu.weight=10000"]
        );
        assert_eq!(written(Name::Pids, Version::V1, 7), ["pids.max=7"]);
        assert_eq!(
            written(Name::Memory, Version::V2, 4096),
            ["memory.max=4096", "memory.swap.max=0", "memory.oom.group=1"]
        );
    }
}
