//! The half of a copy that is in the app: a child with the app's mounts and its user.
//!
//! It enters the app's mount namespace, Landlock domain and user namespace as the app's user, with
//! the four capabilities there that files need, and none over the host. It runs no program. Whatever an
//! app makes of its files meanwhile, the child can reach what the app can reach and no more; and the
//! app has no pid for it.

use super::place::Place;
use super::say;
use super::trouble::{Report, Trouble};
use crate::failure::Failure;
use rkt_isolate::landlock;
use rkt_pod::{AppState, Pod, PodStatus, State};
use rkt_spec::plan::{AppPlan, Plan};
use rkt_sys::process::{self, Ended};
use rkt_sys::{cred, fd, ns};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
use rustix::pipe::{PipeFlags, pipe_with};
use std::fs::File;
use std::io;

/// CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER.
const CAPS: u64 = 0b1111;
/// Longest report of a child, bytes.
const REPORT: usize = 64 << 10;

/// An app that runs.
#[derive(Debug)]
pub(super) struct App {
    mounts: OwnedFd,
    users: OwnedFd,
    plan: AppPlan,
}

/// Finds the app that is meant, by its first process.
///
/// # Errors
/// When it does not run: then its files are layers and a directory that nobody has put together.
pub(super) fn find(pod: &Pod, named: Option<&str>) -> Result<App, Failure> {
    let uuid = pod.uuid();
    let doing = || Failure::usage(format!("find the files of pod `{uuid}`"));
    let bytes = pod
        .plan()?
        .ok_or_else(|| doing().because("it has no plan"))?;
    let plan = Plan::decode(&bytes).map_err(|e| doing().because(e.to_string()))?;
    let names: Vec<&str> = plan.apps.iter().map(|a| a.name.as_str()).collect();
    let app = match (named, plan.apps.as_slice()) {
        (None, [one]) => one,
        (None, _) => {
            return Err(doing()
                .because(format!("its apps are: {}", names.join(", ")))
                .hint("say which: POD:APP:PATH"));
        }
        (Some(name), apps) => apps
            .iter()
            .find(|a| a.name.as_str() == name)
            .ok_or_else(|| {
                doing()
                    .because(format!("it has no app `{}`", name.escape_debug()))
                    .hint(format!("its apps are: {}", names.join(", ")))
            })?,
    };
    if pod.state() != State::Running {
        return Err(doing()
            .because(format!("it is {}", pod.state().as_str()))
            .because("the files of an app are put together while its pod runs"));
    }
    let not = || {
        doing().because(format!(
            "app `{}` does not run, and files are reached by way of its first process",
            app.name
        ))
    };
    let pid = running(pod, app).ok_or_else(not)?;
    let (mounts, users) = namespaces(pid.0).map_err(|e| not().because(e.to_string()))?;
    // Still the app's after its namespaces were opened.
    if running(pod, app) != Some(pid) {
        return Err(not());
    }
    let init = namespace(pid.1, "pid").and_then(|fd| inode(&fd));
    let own = namespace(pid.0, "pid").and_then(|fd| inode(&fd));
    let host = namespace_of_ours("pid").and_then(|fd| inode(&fd));
    let ours = namespace_of_ours("user").and_then(|fd| inode(&fd));
    let owner = ns::owner(mounts.as_fd()).and_then(|fd| inode(&fd));
    let same =
        |a: &io::Result<u64>, b: &io::Result<u64>| matches!((a, b), (Ok(a), Ok(b)) if a == b);
    if !same(&init, &own) || same(&own, &host) {
        return Err(not());
    }
    if !same(&owner, &ours) {
        return Err(doing().because(format!(
            "the first process of app `{}` has left the mounts that rkt made for it",
            app.name
        )));
    }
    Ok(App {
        mounts,
        users,
        plan: app.clone(),
    })
}

/// Pids of the app's first process and of init.
fn running(pod: &Pod, app: &AppPlan) -> Option<(u32, u32)> {
    let status = PodStatus::read(pod.as_fd()).ok()??;
    let said = status.apps.iter().find(|a| a.name == app.name)?;
    let runs = said.state == AppState::Running && said.pid > 0 && status.pid > 0;
    (runs && pod.is_locked().ok()?).then_some((said.pid, status.pid))
}

fn inode(fd: &OwnedFd) -> io::Result<u64> {
    Ok(fstat(fd)?.st_ino)
}

fn open_namespace(path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

fn namespace(pid: u32, name: &str) -> io::Result<OwnedFd> {
    open_namespace(&format!("/proc/{pid}/ns/{name}"))
}

fn namespace_of_ours(name: &str) -> io::Result<OwnedFd> {
    open_namespace(&format!("/proc/self/ns/{name}"))
}

fn namespaces(pid: u32) -> io::Result<(OwnedFd, OwnedFd)> {
    Ok((namespace(pid, "mnt")?, namespace(pid, "user")?))
}

impl App {
    /// Runs `body` in a child that is in the app and keeps this descriptor.
    ///
    /// # Errors
    /// When it cannot be forked.
    pub(super) fn fork(
        &self,
        data: BorrowedFd<'_>,
        body: impl FnOnce(&Place) -> Report,
    ) -> Result<Worker, Failure> {
        let failed =
            |e: io::Error| Failure::usage("start the process that copies").because(e.to_string());
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
        let (_, pidfd) = process::fork_with(0, || {
            let to = File::from(writer);
            let report = match self.enter(data, to.as_fd()) {
                Ok(place) => body(&place),
                Err(e) => {
                    Report::default().ended(Err(Trouble::new("enter the app to copy its files", e)))
                }
            };
            say(&to, &serde_json::to_vec(&report).unwrap_or_default());
            0
        })
        .map_err(failed)?;
        Ok(Worker { pidfd, reader })
    }

    /// The child's part.
    fn enter(&self, data: BorrowedFd<'_>, report: BorrowedFd<'_>) -> io::Result<Place> {
        cred::die_with_parent()?;
        let mut keep = [
            data.as_raw_fd(),
            report.as_raw_fd(),
            self.mounts.as_raw_fd(),
            self.users.as_raw_fd(),
        ];
        fd::close_all_but(3, &mut keep)?;
        ns::enter(self.mounts.as_fd(), ns::kind::MOUNT)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, "/", flags, Mode::empty())?;
        cred::no_new_privs()?;
        let known = rkt_sys::landlock::abi().unwrap_or(0);
        if self.plan.walls.landlock && known >= landlock::MIN_ABI {
            let rules = landlock::ruleset(root.as_fd(), known).map_err(io::Error::other)?;
            rkt_sys::landlock::restrict_self(rules.as_fd())?;
        }
        ns::enter(self.users.as_fd(), ns::kind::USER)?;
        let process = &self.plan.process;
        cred::keep_caps(true)?;
        cred::become_ids(process.uid, process.gid, &[])?;
        cred::capset(CAPS, CAPS, 0)?;
        cred::die_with_parent()?;
        rustix::process::umask(Mode::empty());
        Ok(Place::below(root))
    }
}

/// The child.
#[derive(Debug)]
pub(super) struct Worker {
    pidfd: OwnedFd,
    reader: OwnedFd,
}

impl Worker {
    /// Waits for its end and takes its report.
    ///
    /// # Errors
    /// When it ended without one.
    pub(super) fn finish(self) -> Result<Report, Failure> {
        let failed = |because: String| Failure::usage("copy the files of the app").because(because);
        let bytes = fd::read_all(self.reader.as_fd(), REPORT);
        let ended = process::wait_pidfd(self.pidfd.as_fd());
        if let Ok(Ended::Killed(signal)) = ended {
            let name = rkt_spec::signal::name(signal);
            return Err(failed(format!(
                "the process that copies was killed by {name}"
            )));
        }
        let bytes = bytes.map_err(|e| failed(e.to_string()))?;
        serde_json::from_slice(&bytes).map_err(|e| failed(e.to_string()))
    }
}
