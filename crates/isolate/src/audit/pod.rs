//! All processes of a pod, each read and compared.

use super::compare::{self, Finding, Group, Wanted};
use super::facts::Facts;
use super::filters::{self, Look};
use super::read::{self, Paths};
use super::{insides, locks, mounts};
use crate::cgroup::{Controller, Layout, Looser, Version, app_dir_name, looser, processes};
use crate::error::{Error, Kind};
use crate::seccomp;
use rkt_spec::name::AppName;
use rkt_spec::plan::{AppPlan, Limit, Plan};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Of a thread that has filters, in its `status`.
const MODE_FILTER: u32 = 2;
/// How long a set-up child may live, milliseconds: see `docs/design/sandbox.md`.
const SETUP_MS: u64 = 5_000;
/// How long what was found has to stay before it is told: processes change themselves in steps.
const SETTLE: Duration = Duration::from_millis(20);

/// The pod to look at.
#[derive(Debug, Clone)]
pub struct Pod<'a> {
    /// What it was started by.
    pub plan: &'a Plan,
    /// Host pid of its init.
    pub init: i32,
    /// Host pid of its supervisor.
    pub supervisor: i32,
    /// Host pids of the apps' first processes, as far as they run.
    pub first: BTreeMap<AppName, i32>,
    /// What the launchers of the apps, inside their domains, got for an open of the host's `/`: an
    /// errno, 0 for success. Apps that are missing were not asked.
    pub opened: BTreeMap<AppName, i32>,
}

/// A process that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The app; `None` for init and for what belongs to none.
    pub app: Option<AppName>,
    /// Whether it is the pod's PID 1.
    pub init: bool,
    /// Host pid.
    pub pid: i32,
    /// Its program, as it sees it.
    pub program: String,
    /// What is not as planned.
    pub findings: Vec<Finding>,
}

/// What was seen of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// init first, then by app and pid.
    pub processes: Vec<Process>,
    /// rkt's own set-up children, which are not the pod's yet.
    pub setting_up: usize,
    /// What could not be seen, by the pid of the process and why.
    pub unseen: Vec<(i32, String)>,
}

impl Audit {
    /// Whether nothing but what was planned was found.
    pub fn is_clean(&self) -> bool {
        self.processes.iter().all(|p| p.findings.is_empty())
    }

    /// Of a process without any filter the other fields tell already.
    fn filter(
        &mut self,
        facts: &Facts,
        programs: &[&[u8]],
        inherited: u32,
        any_call: bool,
    ) -> Option<Finding> {
        if facts.first()?.seccomp != MODE_FILTER {
            return None;
        }
        match filters::look(facts, programs, inherited.saturating_add(1), any_call) {
            Look::Fine => None,
            Look::Drift(finding) => Some(finding),
            Look::Unseen(why) => {
                self.unseen.push((facts.pid, why));
                None
            }
        }
    }
}

/// Reads every process of a running pod and compares it with the plan. Changes nothing.
///
/// Found are the processes of the pod's cgroups and of its PID namespace. Needs root, on the host.
///
/// # Errors
/// When init cannot be read (the pod has ended, then), or the kernel refuses to tell.
pub fn audit(pod: &Pod<'_>) -> Result<Audit, Error> {
    let layout = Layout::detect();
    let host = read::own_namespaces()?;
    let v1: Vec<&'static str> = Controller::ALL
        .into_iter()
        .filter(|c| layout.version_of(*c) == Some(Version::V1))
        .map(Controller::name)
        .collect();
    let wanted = Wanted {
        plan: pod.plan,
        host: &host,
        inherited_filters: read::filters(pod.supervisor),
        v2: layout.v2.is_some(),
        v1: &v1,
    };
    let init = read::process(pod.init, &Paths::default())?.ok_or_else(|| {
        let because = format!("its init, process {}, is gone", pod.init);
        Error::new(Kind::Host, because)
    })?;
    if init.parent != pod.supervisor {
        let because = format!("process {} is not its init", pod.init);
        return Err(Error::new(Kind::Host, because));
    }
    let mut pids: BTreeSet<i32> = processes(&layout, &pod.plan.cgroup_parent, &pod.plan.uuid)?
        .into_iter()
        .collect();
    if let Some(inode) = init.namespaces.get("pid") {
        pids.extend(read::in_pid_namespace(*inode)?);
    }
    pids.remove(&pod.init);
    let seen = Seen { pod, wanted, init };
    seen.look(&pids)
}

struct Seen<'a> {
    pod: &'a Pod<'a>,
    wanted: Wanted<'a>,
    init: Facts,
}

impl<'a> Seen<'a> {
    fn base(&self) -> u32 {
        self.init.uid_map.first().map_or(0, |e| e.outside)
    }

    fn read(&self, pid: i32) -> Result<Option<(Facts, Option<&'a AppPlan>)>, Error> {
        let Some(bare) = read::process(pid, &Paths::default())? else {
            return Ok(None);
        };
        let plan: &'a Plan = self.pod.plan;
        let name = self.wanted.app_of(&bare, self.base()).map(|a| &a.name);
        let app = plan.apps.iter().find(|a| Some(&a.name) == name);
        let Some(app) = app else {
            return Ok(Some((bare, None)));
        };
        let (covered, places) = mounts::paths(app);
        let full = read::process(pid, &Paths { covered, places })?;
        Ok(full.map(|facts| (facts, Some(app))))
    }

    /// Whether a process is the pod's at all: its number may be somebody else's by now.
    fn is_of_pod(&self, facts: &Facts) -> bool {
        let inside = |(_, path): &(String, String)| self.wanted.leaf(path).is_some();
        facts.namespaces.get("pid") == self.init.namespaces.get("pid")
            || facts.cgroups.iter().any(inside)
    }

    /// On v1 launchers are in the apps' cgroups, though outside the pod.
    fn is_launcher(&self, facts: &Facts) -> bool {
        facts.parent == self.pod.supervisor
            && facts.program == self.init.program
            && facts.namespaces == *self.wanted.host
            && facts
                .cgroup("")
                .is_none_or(|p| self.wanted.leaf(p).is_none())
    }

    fn is_set_up(&self, facts: &Facts) -> bool {
        facts.program == self.init.program && facts.age_ms < SETUP_MS
    }

    fn look(&self, pids: &BTreeSet<i32>) -> Result<Audit, Error> {
        let mut audit = Audit::default();
        let mut found: Vec<(Facts, Option<&'a AppPlan>)> = Vec::new();
        for pid in pids {
            let Some((facts, app)) = self.read(*pid)? else {
                continue;
            };
            if !self.is_of_pod(&facts) || self.is_launcher(&facts) {
                continue;
            }
            if self.is_set_up(&facts) {
                audit.setting_up += 1;
                continue;
            }
            found.push((facts, app));
        }
        let mut firsts: BTreeMap<&AppName, Facts> = BTreeMap::new();
        for (facts, app) in &found {
            let Some(app) = app else { continue };
            let named = self.pod.first.get(&app.name) == Some(&facts.pid);
            if named || !firsts.contains_key(&app.name) {
                firsts.insert(&app.name, facts.clone());
            }
        }
        let init = self.settled(compare::init(&self.wanted, &self.init), || {
            let again = read::process(self.pod.init, &Paths::default())?;
            Ok(again.map(|facts| compare::init(&self.wanted, &facts)))
        })?;
        let mut init = init.unwrap_or_default();
        init.extend(self.looser(None, &self.pod.plan.limits)?);
        let own = seccomp::init_program();
        // It goes on waiting by itself, whatever its wait returns.
        let inherited = self.wanted.inherited_filters;
        init.extend(audit.filter(&self.init, &[&own], inherited, true));
        audit.processes.push(process(&self.init, None, true, init));
        for (facts, app) in &found {
            let findings = self.settled(self.judge(facts, *app, &firsts), || {
                let again = self.read(facts.pid)?.filter(|(f, _)| self.is_of_pod(f));
                let again = again.filter(|(f, _)| !self.is_set_up(f));
                Ok(again.map(|(facts, app)| self.judge(&facts, app, &firsts)))
            })?;
            let Some(mut findings) = findings else {
                continue;
            };
            // Every process of an app has its mounts, or was told of above.
            let first = app.and_then(|a| firsts.get(&a.name));
            if first.is_some_and(|first| first.pid == facts.pid) && facts.root == "/" {
                findings.extend(locks::tried(facts)?);
            }
            if let (Some(app), Some(first)) = (app, first)
                && first.pid == facts.pid
            {
                findings.extend(insides::read(facts, self.pod.plan, app)?);
                findings.extend(self.domain(app));
                let walls = &app.walls;
                // A traced app has the asking program, what `enter` adds the plain one.
                let programs: Vec<&[u8]> = [&walls.seccomp, &walls.traced]
                    .into_iter()
                    .map(|p| p.0.as_slice())
                    .filter(|p| !p.is_empty())
                    .collect();
                if !walls.seccomp.0.is_empty() {
                    findings.extend(audit.filter(facts, &programs, inherited, false));
                }
                let leaf = app_dir_name(&app.name);
                findings.extend(self.looser(Some(&leaf), &app.limits)?);
            }
            let name = app.map(|a| a.name.clone());
            audit.processes.push(process(facts, name, false, findings));
        }
        audit.processes.sort_by(|a, b| {
            let key = |p: &Process| (!p.init, p.app.clone(), p.pid);
            key(a).cmp(&key(b))
        });
        Ok(audit)
    }

    /// Domains are inherited and never left: that of its launcher is every process's.
    fn domain(&self, app: &AppPlan) -> Option<Finding> {
        let got = self
            .pod
            .opened
            .get(&app.name)
            .filter(|_| app.walls.landlock)?;
        (*got == 0).then(|| Finding {
            group: Group::Privileges,
            field: "landlock".into(),
            wanted: "no open outside the app".into(),
            found: "its launcher opens the host's /".into(),
        })
    }

    /// Limits that bound less than was asked for.
    fn looser(&self, leaf: Option<&str>, limits: &[Limit]) -> Result<Vec<Finding>, Error> {
        let (layout, plan) = (Layout::detect(), self.pod.plan);
        let all = looser(&layout, &plan.cgroup_parent, &plan.uuid, leaf, limits)?;
        let finding = |l: Looser| Finding {
            group: Group::Cgroups,
            field: format!("limit {}", l.file),
            wanted: l.wanted,
            found: l.found,
        };
        Ok(all.into_iter().map(finding).collect())
    }

    /// Findings that are still there after a while; `None` when the process is gone by then.
    fn settled(
        &self,
        findings: Vec<Finding>,
        again: impl Fn() -> Result<Option<Vec<Finding>>, Error>,
    ) -> Result<Option<Vec<Finding>>, Error> {
        if findings.is_empty() {
            return Ok(Some(findings));
        }
        std::thread::sleep(SETTLE);
        let now = again()?;
        Ok(now.map(|now| {
            let still = |f: &Finding| findings.iter().any(|old| mounts::alike(old, f));
            now.into_iter().filter(still).collect()
        }))
    }

    fn judge(
        &self,
        facts: &Facts,
        app: Option<&AppPlan>,
        firsts: &BTreeMap<&AppName, Facts>,
    ) -> Vec<Finding> {
        let Some(app) = app else {
            return vec![Finding {
                group: Group::Program,
                field: "app".into(),
                wanted: "a process of an app".into(),
                found: facts.program_path.clone(),
            }];
        };
        let others: Vec<(&AppName, &Facts)> = firsts
            .iter()
            .filter(|(name, _)| **name != &app.name)
            .map(|(name, facts)| (*name, facts))
            .collect();
        let first = firsts.get(&app.name).unwrap_or(facts);
        compare::app(&self.wanted, app, facts, &self.init, first, &others)
    }
}

fn process(facts: &Facts, app: Option<AppName>, init: bool, findings: Vec<Finding>) -> Process {
    Process {
        app,
        init,
        pid: facts.pid,
        program: facts.program_path.clone(),
        findings,
    }
}
