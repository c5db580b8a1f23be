//! A pod that runs, and how the host sees it.

use crate::command::Done;
use crate::eyes::{self, Process};
use crate::host;
use crate::rkt::Rkt;
use std::ffi::OsStr;
use std::path::PathBuf;

/// A detached pod of a test.
pub struct Pod<'a> {
    rkt: &'a Rkt,
    /// Its UUID.
    pub uuid: String,
}

impl<'a> Pod<'a> {
    /// The pod of this UUID.
    pub fn new(rkt: &'a Rkt, uuid: String) -> Self {
        assert_eq!(uuid.len(), 36, "`{uuid}` is no UUID");
        Self { rkt, uuid }
    }

    /// `rkt enter`, to the end.
    #[track_caller]
    pub fn enter<S: AsRef<OsStr>>(&self, app: Option<&str>, words: &[S]) -> Done {
        let app = app.map(|a| format!("--app={a}"));
        let mut all: Vec<&OsStr> = vec![OsStr::new("enter")];
        all.extend(app.as_deref().map(OsStr::new));
        all.push(OsStr::new(&self.uuid));
        all.extend(words.iter().map(AsRef::as_ref));
        self.rkt.rkt(&all)
    }

    /// Facts of `rkt status --format=json`.
    #[track_caller]
    pub fn status(&self) -> serde_json::Value {
        self.rkt
            .rkt(&["status", &self.uuid, "--format=json"])
            .json()
    }

    /// `state` of the status.
    #[track_caller]
    pub fn state(&self) -> String {
        self.status()["state"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Waits until it has ended.
    #[track_caller]
    pub fn wait_for_end(&self) {
        crate::wait_for("the end of the pod", 20, || self.state() != "running");
    }

    /// What an app has written.
    #[track_caller]
    pub fn logs(&self, app: &str) -> String {
        self.rkt
            .rkt(&["logs", &format!("{}:{app}", self.uuid)])
            .ok()
    }

    /// Waits until an app has written these words.
    #[track_caller]
    pub fn wait_for_log(&self, app: &str, words: &str) {
        crate::wait_for(&format!("`{words}` in the log of {app}"), 15, || {
            self.logs(app).contains(words)
        });
    }

    /// Stops it with the apps' stop signals.
    #[track_caller]
    pub fn stop(&self) -> Done {
        self.rkt.rkt(&["stop", &self.uuid])
    }

    /// Kills it.
    #[track_caller]
    pub fn kill(&self) -> Done {
        self.rkt.rkt(&["stop", "--force", &self.uuid])
    }

    /// Its cgroup in version 2, in which every process of it is on every kind of host.
    pub fn cgroup(&self) -> PathBuf {
        host::v2_root().join(&self.rkt.cgroup).join(&self.uuid)
    }

    /// Its directory.
    pub fn dir(&self) -> PathBuf {
        let found = self
            .rkt
            .pod_dirs()
            .into_iter()
            .find(|d| d.ends_with(&self.uuid));
        found.unwrap_or_else(|| panic!("pod {} has no directory", self.uuid))
    }

    /// Every process in the pod: init and the apps', no zombies.
    pub fn processes(&self) -> Vec<Process> {
        host::cgroup_processes(&self.cgroup())
            .into_iter()
            .filter_map(Process::read)
            .filter(|p| !p.is_zombie())
            .collect()
    }

    /// Processes of the pod that have ended and that nobody has waited for. No cgroup names
    /// them: they are found by their parent.
    pub fn zombies(&self) -> Vec<Process> {
        let parents: Vec<i32> = self.processes().iter().map(|p| p.pid).collect();
        eyes::all_pids()
            .into_iter()
            .filter_map(Process::read)
            .filter(|p| p.is_zombie() && parents.contains(&p.parent()))
            .collect()
    }

    /// Processes of one app.
    pub fn app_processes(&self, app: &str) -> Vec<Process> {
        host::cgroup_processes(&self.cgroup().join(format!("app-{app}")))
            .into_iter()
            .filter_map(Process::read)
            .filter(|p| !p.is_zombie())
            .collect()
    }

    /// The first process of an app: the one that the supervisor has for a child.
    #[track_caller]
    pub fn app(&self, app: &str) -> Process {
        let supervisor = self.supervisor();
        let all = self.app_processes(app);
        let first = all.iter().find(|p| p.parent() == supervisor);
        first
            .unwrap_or_else(|| panic!("app {app} has no process of {supervisor}: {all:?}"))
            .clone()
    }

    /// PID 1 of the pod.
    #[track_caller]
    pub fn init(&self) -> Process {
        let found: Vec<Process> = host::cgroup_processes(&self.cgroup().join("init"))
            .into_iter()
            .filter_map(Process::read)
            .collect();
        assert_eq!(found.len(), 1, "processes beside init: {found:?}");
        assert_eq!(found[0].inner_pid(), 1);
        found[0].clone()
    }

    /// Host pid of the supervisor: the parent of init.
    #[track_caller]
    pub fn supervisor(&self) -> i32 {
        self.init().parent()
    }

    /// Launchers: children of the supervisor that are in no cgroup of the pod.
    #[track_caller]
    pub fn launchers(&self) -> Vec<Process> {
        let inside = host::cgroup_processes(&self.cgroup());
        eyes::children(self.supervisor())
            .into_iter()
            .filter(|pid| !inside.contains(pid))
            .filter_map(Process::read)
            .filter(|p| !p.is_zombie())
            .collect()
    }
}
