//! What this host can give, each thing tried in a throw-away child, with the remedy.
//!
//! Slow and sure: some fifteen forks. The start of a pod looks at [`crate::host`] instead. It
//! changes nothing that outlives it: its files, mounts and cgroups are gone when it returns.

mod mounts;
mod processes;
mod settings;

use crate::host::{self, Host};
use std::path::Path;

/// How good a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// As rkt wants it.
    Ok,
    /// Pods run, with less speed, less of a wall, or a limit missing; the detail says which.
    Degraded,
    /// Pods do not run without it.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What, in a few words; stable, scripts may look for it.
    pub name: &'static str,
    /// How good.
    pub state: State,
    /// What was found, one line.
    pub detail: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Finding {
    pub(crate) fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            name,
            state: State::Ok,
            detail: detail.into(),
            remedy: None,
        }
    }

    pub(crate) fn degraded(name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            state: State::Degraded,
            ..Self::ok(name, detail)
        }
    }

    pub(crate) fn missing(name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            state: State::Missing,
            ..Self::ok(name, detail)
        }
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// Tries everything. Forks, so the caller must be single-threaded; needs root for a useful
/// answer (without it each finding says what was refused).
///
/// `data_dir` is where layers and uppers are: its file system is what is tried. Nothing is
/// tried on it when it does not exist.
pub fn examine(data_dir: &Path) -> Vec<Finding> {
    let host = host::probe();
    let mut findings = vec![kernel(&host), settings::privilege()];
    findings.extend(processes::examine(&host));
    findings.extend(mounts::examine(data_dir));
    findings.extend(settings::examine(&host));
    findings
}

fn kernel(host: &Host) -> Finding {
    const NAME: &str = "kernel";
    let (major, minor) = host.kernel;
    let detail = format!("Linux {major}.{minor}");
    if host.kernel >= (6, 12) {
        Finding::ok(NAME, detail)
    } else if host.kernel >= (5, 10) {
        Finding::degraded(
            NAME,
            format!("{detail}; 6.12 or later has all that rkt uses"),
        )
        .remedy("install a kernel of your distribution's newer release")
    } else {
        Finding::missing(NAME, format!("{detail} is older than 5.10"))
            .remedy("install a kernel of your distribution's newer release")
    }
}
