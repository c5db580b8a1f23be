//! The decision: isolators, defaults and this host become [`Walls`] and limits, and a report
//! of what was wanted and what is held. Pure; nothing is ever silently ignored.
//!
//! A wall that cannot stand refuses the start and names the option that would allow it without. A
//! default bound that cannot be held is dropped and reported; one that the user asked for refuses.

mod caps;
mod limits;
mod report;

pub use limits::{Scope, limits};
pub use report::{Report, Row};

use crate::defaults;
use crate::defences::id;
use crate::error::{Error, Kind};
use crate::host::{Host, ResourcePrivilege};
use crate::landlock::{MIN_ABI, SCOPES_ABI};
use crate::seccomp;
use rkt_spec::capability::CapSet;
use rkt_spec::codec::Bytes;
use rkt_spec::manifest::Isolator;
use rkt_spec::plan::{Rlimit, SLOT_IDS, Walls};

/// Walls that the user takes down (`--insecure-options`), bit by bit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Insecure(u8);

impl Insecure {
    /// Nothing is taken down.
    pub const NONE: Self = Self(0);
    /// Every capability, inside the app's own user namespace.
    pub const CAPABILITIES: Self = Self(1);
    /// Nothing of /proc and /sys is masked or read-only.
    pub const PATHS: Self = Self(1 << 1);
    /// No seccomp filter.
    pub const SECCOMP: Self = Self(1 << 2);
    /// A Landlock that the kernel lacks is no reason to refuse.
    pub const LANDLOCK: Self = Self(1 << 3);

    /// Both together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is taken down.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Whether an app lives in a Landlock domain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Landlock {
    /// It must.
    #[default]
    Required,
    /// The user said `--landlock=off`.
    Off,
}

/// What decides the walls of one app.
#[derive(Debug, Clone)]
pub struct WallsRequest<'a> {
    /// The app's isolators, the image's with the user's over them.
    pub isolators: &'a [Isolator],
    /// Uid that the app starts as, inside.
    pub uid: u32,
    /// Walls taken down.
    pub insecure: Insecure,
    /// Its Landlock domain.
    pub landlock: Landlock,
    /// Size of /dev/shm in bytes; `None` is the default.
    pub shm_bytes: Option<u64>,
}

impl<'a> WallsRequest<'a> {
    /// An app of `uid` with these isolators and all else by default.
    pub fn new(isolators: &'a [Isolator], uid: u32) -> Self {
        Self {
            isolators,
            uid,
            insecure: Insecure::NONE,
            landlock: Landlock::Required,
            shm_bytes: None,
        }
    }
}

/// Decides the walls of one app.
///
/// # Errors
/// When isolators contradict each other or name what does not exist, and when this host cannot
/// hold a wall that nobody took down.
pub fn walls(request: &WallsRequest<'_>, host: &Host) -> Result<(Walls, Report), Error> {
    decide(request, host).map_err(|e| e.while_doing("decide the walls of the app"))
}

fn decide(request: &WallsRequest<'_>, host: &Host) -> Result<(Walls, Report), Error> {
    let mut report = Report::default();
    if request.uid >= SLOT_IDS {
        return Err(Error::new(
            Kind::Request,
            format!("uid {} is not in 0..={}", request.uid, SLOT_IDS - 1),
        ));
    }
    user_namespace(host, &mut report)?;
    let granted = caps::decide(request, &mut report)?;
    let no_new_privs = no_new_privs(request.isolators);
    report.held(
        id::NO_NEW_PRIVS,
        "no_new_privs",
        on(no_new_privs),
        "execve",
        "",
    );
    let seccomp = filter(request, granted.bounding, host, &mut report)?;
    let landlock = landlock(request, host, &mut report)?;
    let (masked, read_only_paths) = paths(request, host, &mut report);
    let shm_bytes = request.shm_bytes.unwrap_or(defaults::SHM_BYTES);
    report.held(
        id::DEVICES,
        "/dev/shm",
        format!("{shm_bytes} bytes"),
        "tmpfs size",
        "",
    );
    Ok((
        Walls {
            bounding: granted.bounding,
            permitted: granted.permitted,
            ambient: granted.ambient,
            no_new_privs,
            seccomp,
            landlock,
            max_user_namespaces: defaults::MAX_USER_NAMESPACES,
            masked,
            read_only_paths,
            rlimits: rlimits(host, &mut report),
            oom_score_adj: oom_score_adj(request.isolators, host, &mut report)?,
            shm_bytes,
        },
        report,
    ))
}

fn on(state: bool) -> &'static str {
    if state { "on" } else { "off" }
}

fn user_namespace(host: &Host, report: &mut Report) -> Result<(), Error> {
    if host.user_namespaces == 0 {
        return Err(Error::new(
            Kind::Host,
            "this kernel gives no user namespaces, and an app without one of its own is not offered",
        )
        .with_hint("set the sysctl `user.max_user_namespaces` to 10000 or more"));
    }
    let ids = format!("its own, {SLOT_IDS} ids");
    report.held(id::USER, "user namespace", ids, "clone", "");
    let nested = defaults::MAX_USER_NAMESPACES.to_string();
    report.held(
        id::NESTED,
        "nested user namespaces",
        nested,
        "user.max_user_namespaces",
        "",
    );
    Ok(())
}

/// Of several, any that asks for it wins, as in the original.
fn no_new_privs(isolators: &[Isolator]) -> bool {
    let mut asked = isolators.iter().filter_map(|i| match i {
        Isolator::NoNewPrivileges(state) => Some(*state),
        _ => None,
    });
    asked
        .next()
        .is_none_or(|first| first || asked.any(|state| state))
}

fn filter(
    request: &WallsRequest<'_>,
    bounding: CapSet,
    host: &Host,
    report: &mut Report,
) -> Result<Bytes, Error> {
    const FLAG: &str = "--insecure-options=seccomp";
    if request.insecure.has(Insecure::SECCOMP) {
        report.lost(
            id::SECCOMP,
            "system calls",
            "the default profile",
            "all allowed",
            "the user",
            FLAG,
        );
        let families = "UNIX INET INET6, four protocols of NETLINK";
        report.lost(
            id::FAMILIES,
            "socket families",
            families,
            "all",
            "the user",
            FLAG,
        );
        return Ok(Bytes(Vec::new()));
    }
    if !host.seccomp {
        return Err(Error::new(
            Kind::Host,
            "this kernel cannot filter system calls (seccomp)",
        )
        .with_hint(format!("`{FLAG}` starts it without")));
    }
    let program = seccomp::default_program(bounding)?;
    let size = program.len() / rkt_sys::seccomp::INSTRUCTION;
    let by = format!("seccomp, {size} instructions");
    report.held(id::SECCOMP, "system calls", "the default profile", by, FLAG);
    let families = "UNIX INET INET6, four protocols of NETLINK";
    report.held(id::FAMILIES, "socket families", families, "seccomp", FLAG);
    Ok(Bytes(program.into_owned()))
}

fn landlock(request: &WallsRequest<'_>, host: &Host, report: &mut Report) -> Result<bool, Error> {
    const FILES: &str = "files below its own / only";
    const SCOPE: &str = "no signal or abstract socket out";
    const OFF: &str = "--landlock=off";
    let by = format!("Landlock ABI {}", host.landlock_abi);
    let rows = [(id::DOMAIN, "domain", FILES), (id::SCOPES, "scope", SCOPE)];
    if request.landlock == Landlock::Off {
        for (id, what, wanted) in rows {
            report.lost(id, what, wanted, "none", "the user", OFF);
        }
        return Ok(false);
    }
    if host.landlock_abi < MIN_ABI {
        if request.insecure.has(Insecure::LANDLOCK) {
            for (id, what, wanted) in rows {
                let flag = "--insecure-options=landlock";
                report.lost(id, what, wanted, "none", by.clone(), flag);
            }
            return Ok(false);
        }
        return Err(Error::new(
            Kind::Host,
            format!(
                "this kernel has Landlock ABI {}, and {MIN_ABI} is needed",
                host.landlock_abi
            ),
        )
        .with_hint("`--insecure-options=landlock` starts it without"));
    }
    report.held(id::DOMAIN, "domain", FILES, by.clone(), OFF);
    if host.landlock_abi < SCOPES_ABI {
        let held = "signals are held by ids alone";
        report.lost(id::SCOPES, "scope", SCOPE, held, by, OFF);
    } else {
        report.held(id::SCOPES, "scope", SCOPE, by, OFF);
    }
    Ok(true)
}

fn paths(
    request: &WallsRequest<'_>,
    host: &Host,
    report: &mut Report,
) -> (Vec<String>, Vec<String>) {
    const FLAG: &str = "--insecure-options=paths";
    let mut masked: Vec<String> = defaults::MASKED.iter().map(|&p| p.to_owned()).collect();
    masked.extend(
        (0..host.throttled_cpus)
            .map(|n| format!("/sys/devices/system/cpu/cpu{n}/thermal_throttle")),
    );
    let read_only: Vec<String> = defaults::READ_ONLY.iter().map(|&p| p.to_owned()).collect();
    let told = [
        (id::MASKS, "hidden paths", masked.join(" ")),
        (
            id::READ_ONLY,
            "read-only paths",
            format!("{} /sys", read_only.join(" ")),
        ),
    ];
    let down = request.insecure.has(Insecure::PATHS);
    for (id, what, wanted) in told {
        if down {
            report.lost(id, what, wanted, "none", "the user", FLAG);
        } else {
            report.held(id, what, wanted, "locked mounts", FLAG);
        }
    }
    if down {
        (Vec::new(), Vec::new())
    } else {
        (masked, read_only)
    }
}

fn rlimits(host: &Host, report: &mut Report) -> Vec<Rlimit> {
    let mut out = Vec::with_capacity(defaults::RLIMITS.len());
    for wanted in defaults::RLIMITS {
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
        let what = format!("limit {}", wanted.name);
        let text = |soft: u64, hard: u64| format!("{soft}:{hard}");
        let asked = text(wanted.soft, wanted.hard);
        if (held.soft, held.hard) == (wanted.soft, wanted.hard) {
            report.held(id::RLIMITS, what, asked, "setrlimit", "");
        } else {
            let by = match host.resource_privilege {
                ResourcePrivilege::Held => "fs.nr_open of the host",
                ResourcePrivilege::Missing => "the caller's hard limit, without CAP_SYS_RESOURCE",
            };
            report.lost(id::RLIMITS, what, asked, text(held.soft, held.hard), by, "");
        }
        out.push(held);
    }
    out
}

fn oom_score_adj(isolators: &[Isolator], host: &Host, report: &mut Report) -> Result<i32, Error> {
    const FLAG: &str = "--oom-score-adj";
    let mut asked = isolators.iter().filter_map(|i| match i {
        Isolator::OomScoreAdj(value) => Some(*value),
        _ => None,
    });
    let first = asked.next();
    if asked.next().is_some() {
        return Err(Error::new(
            Kind::Request,
            "`os/linux/oom-score-adj` is given twice",
        ));
    }
    let Some(value) = first else {
        let value = match host.resource_privilege {
            ResourcePrivilege::Held => defaults::OOM_SCORE_ADJ,
            ResourcePrivilege::Missing => {
                (host.oom_score_adj.max(0) + defaults::OOM_SCORE_ADJ_RAISED).min(1000)
            }
        };
        report.held(
            id::OOM,
            "oom_score_adj",
            value.to_string(),
            "/proc/PID/oom_score_adj",
            FLAG,
        );
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
    report.held(
        id::OOM,
        "oom_score_adj",
        value.to_string(),
        "/proc/PID/oom_score_adj",
        FLAG,
    );
    Ok(value)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::host as sample_host;
