//! The pod's scope under systemd: asked for by the process that becomes the supervisor.
//!
//! systemd is the one writer of its cgroup tree; what lies below a unit with `Delegate=yes` is
//! ours (systemd's `CGROUP_DELEGATION` document). A scope ends when its last process has ended.

mod bus;
mod wire;

use crate::error::{Doing, Error};
use bus::Bus;
use rkt_isolate::cgroup::{Layout, scope};
use rkt_spec::Uuid;
use rustix::fs::{Mode, OFlags};
use std::path::Path;
use std::time::{Duration, Instant};
use wire::Writer;

/// How long systemd may take; a busy machine that boots has been seen to need seconds.
const PATIENCE: Duration = Duration::from_secs(20);
/// The leaf of the scope that the supervisor is in: a cgroup that hands controllers down may hold
/// no process itself.
const LEAF: &str = "supervisor";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// A scope to be made.
#[derive(Debug, Clone)]
pub(crate) struct SystemdScope {
    /// Identity of the pod.
    pub(crate) uuid: Uuid,
}

impl SystemdScope {
    /// Puts this process into a new scope of its own, in the leaf `supervisor`.
    ///
    /// # Errors
    /// When systemd cannot be reached within 20 s or refuses.
    pub(crate) fn enter(&self) -> Result<(), Error> {
        let unit = scope::unit(&self.uuid);
        self.try_enter(&unit).map_err(|error| {
            error
                .while_doing(format!("get the scope `{unit}` of systemd"))
                .hint("`--cgroup-parent=rkt` keeps the pod's cgroups beside systemd's")
        })
    }

    fn try_enter(&self, unit: &str) -> Result<(), Error> {
        let mut bus = Bus::connect(Instant::now() + PATIENCE)?;
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let body = start_transient(unit, u32::try_from(pid).unwrap_or_default(), &self.uuid);
        let job = bus.call(MANAGER, "StartTransientUnit", "ssa(sv)a(sa(sv))", &body)?;
        let result = bus.job_removed(job.text())?;
        if result != "done" {
            return Err(Error::new(format!("its start ended with `{result}`")));
        }
        let parent = scope::parent(&self.uuid);
        let now = std::fs::read_to_string("/proc/self/cgroup")
            .doing(|| "read `/proc/self/cgroup`".to_owned())?;
        if !now.lines().any(|line| line == format!("0::/{parent}")) {
            return Err(Error::new(format!(
                "systemd says that it is started, but this process is in `{}`",
                now.trim_end()
            )));
        }
        into_leaf(&parent)
    }
}

/// Moves this process one below the scope itself.
fn into_leaf(parent: &str) -> Result<(), Error> {
    let layout = Layout::detect();
    let Some(root) = layout.v2 else {
        return Err(Error::new("the host has no cgroup v2 tree"));
    };
    let leaf = root.join(parent).join(LEAF);
    let doing = || format!("move into the cgroup `{}`", leaf.display());
    std::fs::create_dir(&leaf).doing(doing)?;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let procs = rustix::fs::open(leaf.join(Path::new("cgroup.procs")), flags, Mode::empty())
        .doing(doing)?;
    rustix::io::write(&procs, b"0").doing(doing)?;
    Ok(())
}

/// Name, mode, properties and no auxiliary units.
fn start_transient(unit: &str, pid: u32, uuid: &Uuid) -> Vec<u8> {
    let mut body = Writer::default();
    body.string(unit);
    body.string("fail");
    body.array(8, |list| {
        let mut property = |name: &str, signature: &str, value: &dyn Fn(&mut Writer)| {
            list.align(8);
            list.string(name);
            list.signature(signature);
            value(list);
        };
        property("Description", "s", &|w| {
            w.string(&format!("rkt pod {uuid}"));
        });
        property("Slice", "s", &|w| w.string(scope::SLICE));
        property("Delegate", "b", &|w| w.u32(1));
        // The pod's own limits hold; systemd's default is a share of the machine's tasks.
        property("TasksMax", "t", &|w| w.u64(u64::MAX));
        // Also a scope that failed is forgotten when it is empty.
        property("CollectMode", "s", &|w| w.string("inactive-or-failed"));
        property("PIDs", "au", &|w| w.array(4, |pids| pids.u32(pid)));
    });
    body.array(8, |_| {});
    body.into_bytes()
}
