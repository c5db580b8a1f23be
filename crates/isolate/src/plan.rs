//! The decision: isolators, defaults and this host become [`Walls`] and limits, and a report
//! of what was wanted and what is held. Pure; nothing is ever silently ignored.
//!
//! A wall that cannot stand refuses the start and names the option that would allow it without. A
//! default bound that cannot be held is dropped and reported; one that the user asked for refuses.

mod caps;
mod kernel;
mod limits;
mod paths;
mod process;
mod report;

pub use kernel::OVERRULED;
pub use limits::{Scope, limits};
pub use paths::clean as clean_path;
pub use process::rlimit_number;
pub use report::{Report, Row};

use crate::defaults;
use crate::defences::id;
use crate::error::{Error, Kind};
use crate::host::Host;
use crate::seccomp::{List, Special};
use rkt_spec::manifest::Isolator;
use rkt_spec::plan::{Device, Net, SLOT_IDS, Walls};
use std::fmt;

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
    /// The flags that decide on its capabilities, when the pod has a say in them too; `None` is the
    /// app's own flag.
    pub caps_flag: Option<&'static str>,
    /// Walls taken down.
    pub insecure: Insecure,
    /// Its Landlock domain.
    pub landlock: Landlock,
    /// Size of /dev/shm in bytes; `None` is the default.
    pub shm_bytes: Option<u64>,
    /// The pod's network.
    pub net: Net,
    /// What [`Isolator::SeccompProfile`] says, read.
    pub profile: Option<&'a List>,
    /// Device nodes, looked up.
    pub devices: &'a [Device],
    /// Whether refused system calls are to be told.
    pub denials: Denials,
    /// Where compiled filters come from.
    pub compiler: Compiler<'a>,
}

/// What becomes of refused system calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Denials {
    /// The app gets its error, and nobody hears of it.
    #[default]
    Silent,
    /// The supervisor notes each before the app gets its error (`--trace-denials`).
    Told,
}

/// Where a compiled filter comes from: a cache, or the compiler itself.
#[derive(Clone, Copy)]
pub struct Compiler<'a>(pub &'a dyn Fn(&Special<'_>) -> Result<Vec<u8>, Error>);

impl fmt::Debug for Compiler<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compiler")
    }
}

impl<'a> WallsRequest<'a> {
    /// An app of `uid` with these isolators and all else by default.
    pub fn new(isolators: &'a [Isolator], uid: u32) -> Self {
        Self {
            isolators,
            uid,
            caps_flag: None,
            insecure: Insecure::NONE,
            landlock: Landlock::Required,
            shm_bytes: None,
            net: Net::None,
            profile: None,
            devices: &[],
            denials: Denials::Silent,
            compiler: Compiler(&|special| special.compile()),
        }
    }

    fn compile(&self, special: &Special<'_>) -> Result<Vec<u8>, Error> {
        (self.compiler.0)(special)
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
    if request
        .isolators
        .iter()
        .any(|i| matches!(i, Isolator::Sysctl(_)))
    {
        let why = "`os/unix/sysctl` is a pod's, not an app's: apps share the namespaces it sets";
        return Err(
            Error::new(Kind::Request, why).with_hint("`--sysctl=NAME=VALUE` is for the pod")
        );
    }
    let (user_space, nested) = kernel::user_namespace(request, host, &mut report)?;
    let granted = caps::decide(request, user_space, &mut report)?;
    let no_new_privs = process::no_new_privs(request.isolators, &mut report);
    let nests = nested > 0;
    let seccomp = kernel::filter(
        request,
        granted.bounding,
        nests,
        no_new_privs,
        host,
        &mut report,
    )?;
    let landlock = kernel::landlock(request, host, &mut report)?;
    let covers = paths::decide(request, host, &mut report)?;
    devices(request.devices, &mut report);
    let shm_bytes = request.shm_bytes.unwrap_or(defaults::SHM_BYTES);
    report.held(
        id::DEVICES,
        "/dev/shm",
        format!("{shm_bytes} bytes"),
        "tmpfs size",
        "--shm-size",
    );
    Ok((
        Walls {
            user_space,
            bounding: granted.bounding,
            permitted: granted.permitted,
            ambient: granted.ambient,
            no_new_privs,
            traced: kernel::traced(request, &seccomp, &mut report)?,
            seccomp,
            landlock,
            max_user_namespaces: nested,
            masked: covers.masked,
            read_only_paths: covers.read_only,
            asked_paths: covers.asked,
            devices: request.devices.to_vec(),
            rlimits: process::rlimits(request.isolators, host, &mut report)?,
            oom_score_adj: process::oom_score_adj(request.isolators, host, &mut report)?,
            shm_bytes,
        },
        report,
    ))
}

fn devices(list: &[Device], report: &mut Report) {
    const FLAG: &str = "--device";
    let usual: Vec<&str> = defaults::DEVICES.iter().map(|d| d.name).collect();
    let usual = usual.join(" ");
    if list.is_empty() {
        report.held(id::DEVICES, "devices", usual, "nodes of rkt's own", FLAG);
        return;
    }
    let more: Vec<String> = list
        .iter()
        .map(|d| {
            let read = if d.access & 4 != 0 { "r" } else { "" };
            let write = if d.access & 2 != 0 { "w" } else { "" };
            format!("{} ({read}{write})", d.name)
        })
        .collect();
    let held = format!("{usual} {}", more.join(" "));
    report.lost(id::DEVICES, "devices", usual, held, "the user", FLAG);
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::host as sample_host;
