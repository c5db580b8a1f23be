//! Limits that cgroups hold.

use super::report::Report;
use crate::cgroup::{self, Version};
use crate::defaults::{APP_PIDS, POD_PIDS};
use crate::defences::id;
use crate::error::{Error, Kind};
use crate::host::Host;
use rkt_spec::manifest::Isolator;
use rkt_spec::plan::{Knob, Limit};
use rkt_spec::quantity;

/// Below this many bytes no program can start, so that a limit is a mistake in its unit.
const MEMORY_MIN: u64 = 512 << 10;
/// The smallest part of a core that the kernel can hold, thousandths.
const CPU_MIN: u64 = 10;

/// Whose limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One app's: by default 1024 tasks.
    App,
    /// The whole pod's, above its apps': by default 4096 tasks.
    Pod,
}

/// Decides limits from isolators; a limit of 0 asks for none.
///
/// # Errors
/// When a quantity is malformed or given twice, and when the host has no controller for a limit
/// that was asked for. A default one is left out then, and reported.
pub fn limits(
    isolators: &[Isolator],
    scope: Scope,
    host: &Host,
) -> Result<(Vec<Limit>, Report), Error> {
    decide(isolators, scope, host).map_err(|e| {
        e.while_doing(match scope {
            Scope::App => "decide the limits of the app",
            Scope::Pod => "decide the limits of the pod",
        })
    })
}

fn decide(
    isolators: &[Isolator],
    scope: Scope,
    host: &Host,
) -> Result<(Vec<Limit>, Report), Error> {
    let mut asked: Vec<Limit> = Vec::new();
    for isolator in isolators {
        let limit = match isolator {
            Isolator::Memory { limit } => Limit {
                knob: Knob::Memory,
                value: at_least("memory", limit, quantity::bytes(limit)?, MEMORY_MIN)?,
            },
            Isolator::Cpu { limit } => Limit {
                knob: Knob::Cpu,
                value: at_least("cpu", limit, quantity::milli(limit)?, CPU_MIN)?,
            },
            Isolator::CpuShares(shares) if !(2..=262_144).contains(shares) => {
                let why = format!("{shares} shares of a processor are not from 2 to 262144");
                return Err(Error::new(Kind::Request, why));
            }
            Isolator::CpuShares(shares) => Limit {
                knob: Knob::CpuShares,
                value: *shares,
            },
            Isolator::Pids { limit } => Limit {
                knob: Knob::Pids,
                value: *limit,
            },
            // Walls, not limits.
            _ => continue,
        };
        if asked.iter().any(|l| l.knob == limit.knob) {
            return Err(Error::new(
                Kind::Request,
                format!("the limit of {} is given twice", title(limit.knob)),
            ));
        }
        asked.push(limit);
    }
    let default = Limit {
        knob: Knob::Pids,
        value: match scope {
            Scope::App => APP_PIDS,
            Scope::Pod => POD_PIDS,
        },
    };
    let mut out = Vec::new();
    let mut report = Report::default();
    let implied = (!asked.iter().any(|l| l.knob == default.knob)).then_some(default);
    for limit in asked.iter().copied().chain(implied) {
        let Some(row) = cgroup::knob(limit.knob) else {
            continue;
        };
        let wanted = limit.value.to_string();
        let flag = match scope {
            Scope::App => row.flag.to_owned(),
            Scope::Pod => row.flag.replacen("--", "--pod-", 1),
        };
        let flag = flag.as_str();
        if limit.value == 0 {
            report.held(id::LIMITS, row.title, "no limit", "the user", flag);
            continue;
        }
        match host.cgroups.version_of(row.controller) {
            Some(version) => {
                let by = match version {
                    Version::V1 => "cgroup v1",
                    Version::V2 => "cgroup v2",
                };
                report.held(id::LIMITS, row.title, wanted, by, flag);
                out.push(limit);
            }
            None if asked.contains(&limit) => {
                return Err(Error::new(
                    Kind::Host,
                    format!(
                        "this host has no cgroup controller `{}` mounted, which a limit of {} needs",
                        row.controller.name(),
                        row.title
                    ),
                ));
            }
            None => {
                let by = format!(
                    "no cgroup controller `{}` on this host",
                    row.controller.name()
                );
                report.lost(id::LIMITS, row.title, wanted, "no limit", by, flag);
            }
        }
    }
    Ok((out, report))
}

fn title(knob: Knob) -> &'static str {
    cgroup::knob(knob).map_or("a resource", |k| k.title)
}

fn at_least(what: &str, text: &str, value: u64, least: u64) -> Result<u64, Error> {
    if value != 0 && value < least {
        return Err(Error::new(
            Kind::Request,
            format!("{what} `{text}` is too little for any program"),
        ));
    }
    Ok(value)
}
