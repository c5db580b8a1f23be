//! What each process starts with: limits, OOM score, no_new_privs.

use super::kernel::only;
use super::report::Report;
use crate::defaults::{self, RLIMIT_NAMES};
use crate::defences::id;
use crate::error::{Error, Kind};
use crate::host::{Host, ResourcePrivilege};
use rkt_spec::manifest::Isolator;
use rkt_spec::plan::Rlimit;

/// Of several, any that asks for it wins, as in the original.
pub(super) fn no_new_privs(isolators: &[Isolator], report: &mut Report) -> bool {
    const FLAG: &str = "--no-new-privs";
    let mut asked = isolators.iter().filter_map(|i| match i {
        Isolator::NoNewPrivileges(state) => Some(*state),
        _ => None,
    });
    let on = asked
        .next()
        .is_none_or(|first| first || asked.any(|state| state));
    if on {
        report.held(id::NO_NEW_PRIVS, "no_new_privs", "on", "prctl", FLAG);
    } else {
        let held = "off: setuid programs and file capabilities of the image gain what the bounding set has";
        report.lost(
            id::NO_NEW_PRIVS,
            "no_new_privs",
            "on",
            held,
            "the user",
            FLAG,
        );
    }
    on
}

/// Number of a limit by its name.
///
/// # Errors
/// When `setrlimit(2)` has none of this name.
pub fn rlimit_number(name: &str) -> Result<u32, Error> {
    let lower = name.to_ascii_lowercase();
    let bare = lower.strip_prefix("rlimit_").unwrap_or(&lower);
    let at = RLIMIT_NAMES.iter().position(|n| *n == bare);
    at.and_then(|n| u32::try_from(n).ok()).ok_or_else(|| {
        let why = format!("there is no limit `{}`", name.escape_debug());
        Error::new(Kind::Request, why).with_hint(format!("there are {}", RLIMIT_NAMES.join(", ")))
    })
}

struct Wanted {
    resource: u32,
    name: &'static str,
    soft: u64,
    hard: u64,
    asked: bool,
}

fn wanted(isolators: &[Isolator]) -> Result<Vec<Wanted>, Error> {
    let mut all: Vec<Wanted> = Vec::new();
    for isolator in isolators {
        let Isolator::Rlimit { name, soft, hard } = isolator else {
            continue;
        };
        let resource = rlimit_number(name)?;
        if all.iter().any(|w| w.resource == resource) {
            let why = format!("the limit `{name}` is given twice");
            return Err(Error::new(Kind::Request, why));
        }
        let (soft, hard) = (soft.unwrap_or(u64::MAX), hard.unwrap_or(u64::MAX));
        if soft > hard {
            let why = format!("the soft limit of `{name}` is above the hard one");
            return Err(Error::new(Kind::Request, why));
        }
        all.push(Wanted {
            resource,
            name: RLIMIT_NAMES.get(resource as usize).copied().unwrap_or("?"),
            soft,
            hard,
            asked: true,
        });
    }
    for usual in defaults::RLIMITS {
        if !all.iter().any(|w| w.resource == usual.resource) {
            all.push(Wanted {
                resource: usual.resource,
                name: usual.name,
                soft: usual.soft,
                hard: usual.hard,
                asked: false,
            });
        }
    }
    all.sort_by_key(|w| (!w.asked, w.resource != defaults::RLIMIT_NOFILE, w.resource));
    Ok(all)
}

/// The limits, clamped to what this host lets us set.
pub(super) fn rlimits(
    isolators: &[Isolator],
    host: &Host,
    report: &mut Report,
) -> Result<Vec<Rlimit>, Error> {
    const FLAG: &str = "--rlimit";
    let mut out = Vec::new();
    for wanted in wanted(isolators)? {
        let ceiling = match host.resource_privilege {
            ResourcePrivilege::Held if wanted.resource == defaults::RLIMIT_NOFILE => host.nr_open,
            ResourcePrivilege::Held => u64::MAX,
            ResourcePrivilege::Missing => {
                let now = host.rlimits.iter().find(|l| l.resource == wanted.resource);
                now.map_or(u64::MAX, |l| l.hard)
            }
        };
        let held = Rlimit {
            resource: wanted.resource,
            soft: wanted.soft.min(ceiling),
            hard: wanted.hard.min(ceiling),
        };
        // One that was asked for and is less is told at every start.
        let word = if wanted.asked { "rlimit" } else { "limit" };
        let what = format!("{word} {}", wanted.name);
        let asked = text(wanted.soft, wanted.hard);
        if (held.soft, held.hard) == (wanted.soft, wanted.hard) {
            report.held(id::RLIMITS, what, asked, "setrlimit", FLAG);
        } else {
            let by = match host.resource_privilege {
                ResourcePrivilege::Held => "fs.nr_open of the host",
                ResourcePrivilege::Missing => "the caller's hard limit, without CAP_SYS_RESOURCE",
            };
            report.lost(
                id::RLIMITS,
                what,
                asked,
                text(held.soft, held.hard),
                by,
                FLAG,
            );
        }
        out.push(held);
    }
    Ok(out)
}

fn text(soft: u64, hard: u64) -> String {
    let one = |n: u64| match n {
        u64::MAX => "unlimited".to_owned(),
        n => n.to_string(),
    };
    format!("{}:{}", one(soft), one(hard))
}

/// The score that the kernel goes by when memory is short.
pub(super) fn oom_score_adj(
    isolators: &[Isolator],
    host: &Host,
    report: &mut Report,
) -> Result<i32, Error> {
    const FLAG: &str = "--oom-score-adj";
    const BY: &str = "/proc/PID/oom_score_adj";
    let asked = only(isolators, "`os/linux/oom-score-adj`", |i| match i {
        Isolator::OomScoreAdj(value) => Some(*value),
        _ => None,
    })?;
    let Some(value) = asked else {
        let value = match host.resource_privilege {
            ResourcePrivilege::Held => defaults::OOM_SCORE_ADJ,
            ResourcePrivilege::Missing => {
                (host.oom_score_adj.max(0) + defaults::OOM_SCORE_ADJ_RAISED).min(1000)
            }
        };
        report.held(id::OOM, "oom_score_adj", value.to_string(), BY, FLAG);
        return Ok(value);
    };
    if !(-1000..=1000).contains(&value) {
        return Err(Error::new(
            Kind::Request,
            format!("oom-score-adj {value} is not in -1000..=1000"),
        ));
    }
    if value < host.oom_score_adj && host.resource_privilege == ResourcePrivilege::Missing {
        return Err(Error::new(
            Kind::Host,
            format!(
                "oom-score-adj {value} is below the {} of this process, and lowering it needs CAP_SYS_RESOURCE",
                host.oom_score_adj
            ),
        )
        .with_hint(format!("`{FLAG}={}` is the lowest possible here", host.oom_score_adj)));
    }
    report.held(id::OOM, "oom_score_adj", value.to_string(), BY, FLAG);
    Ok(value)
}
