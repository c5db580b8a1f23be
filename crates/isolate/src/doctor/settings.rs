//! Settings of the host that make a pod weaker or stronger, read and not changed.

use super::Finding;
use crate::defaults::{OOM_SCORE_ADJ_RAISED, RLIMITS};
use crate::host::{Host, ResourcePrivilege};
use rustix::thread::CapabilitySet;

fn read(name: &str) -> Option<String> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    Some(std::fs::read_to_string(path).ok()?.trim().to_owned())
}

/// Whether the caller may try at all.
pub(super) fn privilege() -> Finding {
    const NAME: &str = "privilege";
    let held = rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN));
    if rustix::process::geteuid().is_root() && held {
        Finding::ok(NAME, "root with CAP_SYS_ADMIN")
    } else {
        Finding::missing(
            NAME,
            "not root: what is refused below may be there for root",
        )
        .remedy("run it as root")
    }
}

pub(super) fn examine(host: &Host) -> Vec<Finding> {
    let mut findings = vec![resource_privilege(host), core_pattern(), unprivileged()];
    findings.extend(SYSCTLS.iter().filter_map(sysctl));
    findings
}

fn resource_privilege(host: &Host) -> Finding {
    const NAME: &str = "CAP_SYS_RESOURCE";
    if host.resource_privilege == ResourcePrivilege::Held {
        return Finding::ok(
            NAME,
            "limits can be raised and init protected from the OOM killer",
        );
    }
    let clamped = RLIMITS.iter().filter_map(|wanted| {
        let now = host
            .rlimits
            .iter()
            .find(|l| l.resource == wanted.resource)?;
        (now.hard < wanted.hard).then(|| {
            format!(
                "{} stays at {} instead of {}",
                wanted.name, now.hard, wanted.hard
            )
        })
    });
    let mut told: Vec<String> = clamped.collect();
    told.push(format!(
        "apps get oom_score_adj +{OOM_SCORE_ADJ_RAISED}, because init's cannot be lowered"
    ));
    Finding::degraded(NAME, format!("not held: {}", told.join("; ")))
        .remedy("run rkt with the capability, or raise the hard limits before it starts")
}

fn core_pattern() -> Finding {
    const NAME: &str = "core dumps";
    let pattern = read("kernel.core_pattern").unwrap_or_default();
    if let Some(program) = pattern.strip_prefix('|') {
        // The kernel ignores the core limit of 0 for a pipe (core(5)).
        let program = program.split_ascii_whitespace().next().unwrap_or(program);
        return Finding::degraded(
            NAME,
            format!("the crash of an app runs the host's `{program}` as root on its memory"),
        )
        .remedy("set the sysctl `kernel.core_pattern` to `core`");
    }
    Finding::ok(NAME, "to a file; apps have a limit of 0")
}

/// What other users of the host may do; rkt as root needs none of it.
fn unprivileged() -> Finding {
    const NAME: &str = "rootless";
    let off = |name: &str, value: &str| read(name).is_some_and(|v| v == value);
    let why = if off("user.max_user_namespaces", "0") {
        "user.max_user_namespaces is 0"
    } else if off("kernel.unprivileged_userns_clone", "0") {
        "kernel.unprivileged_userns_clone is 0"
    } else if off("kernel.apparmor_restrict_unprivileged_userns", "1") {
        "kernel.apparmor_restrict_unprivileged_userns is 1"
    } else {
        return Finding::ok(NAME, "plain users may make user namespaces");
    };
    Finding::ok(
        NAME,
        format!("plain users may not make user namespaces ({why})"),
    )
}

/// A setting that hardens the host against its pods.
struct Sysctl {
    finding: &'static str,
    name: &'static str,
    /// Values that are strong enough.
    good: &'static [&'static str],
    risk: &'static str,
}

const SYSCTLS: &[Sysctl] = &[
    Sysctl {
        finding: "kernel log",
        name: "kernel.dmesg_restrict",
        good: &["1"],
        risk: "any user reads the kernel's log",
    },
    Sysctl {
        finding: "kernel addresses",
        name: "kernel.kptr_restrict",
        good: &["1", "2"],
        risk: "kernel addresses show in /proc and /sys",
    },
    Sysctl {
        finding: "unprivileged bpf",
        name: "kernel.unprivileged_bpf_disabled",
        good: &["1", "2"],
        risk: "any user loads BPF programs",
    },
    Sysctl {
        finding: "perf events",
        name: "kernel.perf_event_paranoid",
        good: &["2", "3", "4"],
        risk: "any user measures the kernel",
    },
    Sysctl {
        finding: "protected links",
        name: "fs.protected_symlinks",
        good: &["1"],
        risk: "links in sticky directories of shared volumes are followed across owners",
    },
    Sysctl {
        finding: "protected hard links",
        name: "fs.protected_hardlinks",
        good: &["1"],
        risk: "files of others can be hard-linked in shared volumes",
    },
];

fn sysctl(wanted: &Sysctl) -> Option<Finding> {
    // A kernel without the setting was built without the thing itself.
    let value = read(wanted.name)?;
    let detail = format!("{} is {value}", wanted.name);
    Some(if wanted.good.contains(&value.as_str()) {
        Finding::ok(wanted.finding, detail)
    } else {
        let good = wanted.good.first().copied().unwrap_or("1");
        Finding::degraded(wanted.finding, format!("{detail}: {}", wanted.risk))
            .remedy(format!("`sysctl -w {}={good}`", wanted.name))
    })
}
