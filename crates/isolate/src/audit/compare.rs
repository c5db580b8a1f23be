//! Facts of a process beside its plan. Pure.
//!
//! What a process may do by itself is no drift: to give up a capability, to load one more filter,
//! to lower a limit. To have more than the plan is.

use super::facts::{Facts, NAMESPACES, SETS, Task};
use super::mounts;
use crate::blocks::BLOCK_IDS;
use crate::idmap::{self, Extent};
use rkt_spec::capability::CapSet;
use rkt_spec::name::AppName;
use rkt_spec::plan::{AppPlan, INIT_ID, Net, Plan, SLOT_IDS, UserSpace};
use std::collections::BTreeMap;

/// Bit of SETPCAP, by which a process may make its bounding set smaller.
const SETPCAP: u64 = 1 << 8;

/// What belongs together in a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// What it is and whose.
    Program,
    /// The five sets.
    Capabilities,
    /// no_new_privs and seccomp.
    Privileges,
    /// Ids and their maps.
    Ids,
    /// Namespaces.
    Namespaces,
    /// Cgroups.
    Cgroups,
    /// Resource limits.
    Limits,
    /// The mount table.
    Mounts,
    /// Open files, root and working directory.
    Descriptors,
}

impl Group {
    /// All, in the order of a report.
    pub const ALL: [Self; 9] = [
        Self::Program,
        Self::Capabilities,
        Self::Privileges,
        Self::Ids,
        Self::Namespaces,
        Self::Cgroups,
        Self::Limits,
        Self::Mounts,
        Self::Descriptors,
    ];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Capabilities => "capabilities",
            Self::Privileges => "privileges",
            Self::Ids => "ids",
            Self::Namespaces => "namespaces",
            Self::Cgroups => "cgroups",
            Self::Limits => "limits",
            Self::Mounts => "mounts",
            Self::Descriptors => "descriptors",
        }
    }
}

/// One thing that is not as planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where it belongs.
    pub group: Group,
    /// Which field.
    pub field: String,
    /// What the plan says.
    pub wanted: String,
    /// What is.
    pub found: String,
}

/// What is wanted of every process of a pod.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// The pod's plan.
    pub plan: &'a Plan,
    /// The host's namespaces.
    pub host: &'a BTreeMap<&'static str, u64>,
    /// Filters that the supervisor was started with and its children inherit.
    pub inherited_filters: u32,
    /// Whether the host has a v2 tree.
    pub v2: bool,
    /// Names of the v1 controllers that the host has.
    pub v1: &'a [&'static str],
}

/// What has been found so far.
#[derive(Debug, Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    pub(super) fn add(
        &mut self,
        group: Group,
        field: impl Into<String>,
        wanted: impl Into<String>,
        found: impl Into<String>,
    ) {
        self.0.push(Finding {
            group,
            field: field.into(),
            wanted: wanted.into(),
            found: found.into(),
        });
    }
}

impl Wanted<'_> {
    fn cgroup(&self, leaf: &str) -> String {
        let parent = self.plan.cgroup_parent.trim_matches('/');
        let slash = if parent.is_empty() { "" } else { "/" };
        format!("{slash}{parent}/{}/{leaf}", self.plan.uuid)
    }

    /// The directory of the pod's cgroup that a path lies in, such as `init` or `app-web`.
    pub fn leaf<'p>(&self, path: &'p str) -> Option<&'p str> {
        let rest = path.strip_prefix(&self.cgroup(""))?;
        rest.split('/').next().filter(|leaf| !leaf.is_empty())
    }

    /// The app that a process belongs to: by its cgroup, else by its ids.
    pub fn app_of(&self, facts: &Facts, base: u32) -> Option<&AppPlan> {
        let named = |leaf: &str| {
            let mut apps = self.plan.apps.iter();
            apps.find(|a| crate::cgroup::app_dir_name(&a.name) == leaf)
        };
        let by_path = |(_, path): &(String, String)| self.leaf(path).and_then(named);
        facts.cgroups.iter().rev().find_map(by_path).or_else(|| {
            let mut apps = self.plan.apps.iter();
            apps.find(|a| facts.uid_map == idmap::app(base, a.slot))
        })
    }
}

/// Compares the pod's PID 1.
pub fn init(wanted: &Wanted<'_>, facts: &Facts) -> Vec<Finding> {
    let mut out = Findings::default();
    if facts.inner_pid != 1 {
        let found = format!("pid {}", facts.inner_pid);
        out.add(Group::Program, "pid in the pod", "pid 1", found);
    }
    let program = facts.program_path.trim_end_matches(" (deleted)");
    if !program.ends_with("/rkt-stage1") {
        out.add(Group::Program, "program", "rkt-stage1", program);
    }
    for task in &facts.tasks {
        for (set, (_, name)) in task.sets.iter().zip(SETS) {
            if *set != 0 {
                out.add(Group::Capabilities, name, "none", CapSet(*set).to_string());
            }
        }
        privileges(&mut out, wanted, task, true, true);
    }
    let base = facts.uid_map.first().map_or(0, |e| e.outside);
    let whole = idmap::pod(base, wanted.plan.slots);
    let end = u64::from(base) + u64::from(wanted.plan.slots) * u64::from(SLOT_IDS);
    if base < BLOCK_IDS / 2 || !base.is_multiple_of(SLOT_IDS) || end > 1 << 31 {
        let wanted = "a block from 524288 up, below 2^31";
        out.add(Group::Ids, "uid_map", wanted, extents(&facts.uid_map));
    }
    maps(&mut out, facts, &whole);
    let own = base.saturating_add(INIT_ID);
    for task in &facts.tasks {
        let mut all = task.uids.iter().chain(&task.gids);
        if all.any(|id| *id != own) {
            let found = format!("uids {:?}, gids {:?}", task.uids, task.gids);
            out.add(Group::Ids, "ids", format!("{own} of slot 0"), found);
        }
        if !task.groups.is_empty() {
            out.add(Group::Ids, "groups", "none", format!("{:?}", task.groups));
        }
    }
    if facts.proc_owner != base {
        out.add(Group::Ids, "dumpable", "no", "yes");
    }
    for name in NAMESPACES {
        let host = name == "net" && wanted.plan.net == Net::Host;
        not_the_hosts(&mut out, wanted, facts, name, host);
    }
    if wanted.v2 {
        path(
            &mut out,
            "cgroup v2",
            &wanted.cgroup("init"),
            facts.cgroup(""),
        );
    }
    mounts::init(&mut out, facts);
    out.0
}

/// Compares a process of an app with the plan, with init, with the first process of the same app,
/// and with the first ones of the others.
pub fn app(
    wanted: &Wanted<'_>,
    app: &AppPlan,
    facts: &Facts,
    init: &Facts,
    first: &Facts,
    others: &[(&AppName, &Facts)],
) -> Vec<Finding> {
    let mut out = Findings::default();
    let walls = &app.walls;
    if facts.program == init.program {
        let found = "rkt's set-up child, which is too old for one";
        out.add(Group::Program, "program", "the app's", found);
    }
    for task in &facts.tasks {
        capabilities(&mut out, app, init, task);
        let filtered = !walls.seccomp.0.is_empty();
        privileges(&mut out, wanted, task, walls.no_new_privs, filtered);
    }
    let others = |own: bool| {
        let alone = move |name: &AppName| {
            let app = wanted.plan.apps.iter().find(|a| a.name == *name);
            app.is_none_or(|a| a.walls.user_space == UserSpace::Own)
        };
        let kept = others.iter().filter(move |(name, _)| !own || alone(name));
        kept.copied().collect::<Vec<_>>()
    };
    let own_user = walls.user_space == UserSpace::Own;
    ids(&mut out, wanted.plan, app, facts, init, &others(true));
    let others = others(false);
    if !own_user {
        same(&mut out, "user", facts, init, "the pod's");
    }
    for name in NAMESPACES {
        let host = name == "net" && wanted.plan.net == Net::Host;
        not_the_hosts(&mut out, wanted, facts, name, host);
    }
    for name in ["net", "ipc", "uts", "pid"] {
        same(&mut out, name, facts, init, "the pod's");
    }
    for name in ["user", "mnt", "cgroup"] {
        same(
            &mut out,
            name,
            facts,
            first,
            "that of the app's first process",
        );
        if name == "user" && !own_user {
            continue;
        }
        let of = |other: &Facts| other.namespaces.get(name) == facts.namespaces.get(name);
        if of(init) {
            out.add(Group::Namespaces, name, "its own", "init's");
        }
        if let Some((other, _)) = others.iter().find(|(_, other)| of(other)) {
            out.add(Group::Namespaces, name, "its own", format!("app {other}'s"));
        }
    }
    cgroups(&mut out, wanted, app, facts);
    for limit in &walls.rlimits {
        let Some((soft, hard)) = facts.limits.get(limit.resource as usize) else {
            continue;
        };
        if *hard > limit.hard || *soft > limit.hard {
            let name = crate::defaults::RLIMIT_NAMES
                .get(limit.resource as usize)
                .map_or_else(|| limit.resource.to_string(), |name| (*name).to_owned());
            let wanted = format!("at most {}", limit.hard);
            out.add(Group::Limits, name, wanted, format!("{soft}:{hard}"));
        }
    }
    // It may raise its own, and so that of its children.
    if let Some(score) = facts.oom_score_adj.filter(|n| *n < walls.oom_score_adj) {
        let wanted = format!("at least {}", walls.oom_score_adj);
        out.add(Group::Limits, "oom_score_adj", wanted, score.to_string());
    }
    mounts::app(&mut out, wanted.plan, app, facts, first);
    out.0
}

fn capabilities(out: &mut Findings, app: &AppPlan, init: &Facts, task: &Task) {
    let walls = &app.walls;
    let bounding = walls.bounding.0;
    // `enter` may add a process of root to an app of another user, and without no_new_privs a
    // setuid program makes one; both stay below the bounding set.
    let base = init.uid_map.first().map_or(0, |e| e.outside);
    let root = idmap::slot_base(base, app.slot);
    let most = if !walls.no_new_privs {
        bounding
    } else if app.process.uid == 0 || task.uids.contains(&root) {
        walls.permitted.0 | walls.ambient.0
    } else {
        walls.ambient.0
    };
    for (found, (name, word)) in task.sets.iter().zip(SETS) {
        let limit = match name {
            "CapBnd" | "CapInh" => bounding,
            _ => most,
        };
        let less = name == "CapBnd" && *found != bounding && bounding & SETPCAP == 0;
        if found & !limit != 0 || less {
            let most = if name == "CapBnd" { "" } else { "at most " };
            let wanted = format!("{most}{}", CapSet(limit));
            out.add(
                Group::Capabilities,
                word,
                wanted,
                CapSet(*found).to_string(),
            );
        }
    }
}

fn privileges(out: &mut Findings, wanted: &Wanted<'_>, task: &Task, fixed: bool, filter: bool) {
    if fixed && !task.no_new_privs {
        out.add(Group::Privileges, "no_new_privs", "on", "off");
    }
    if !filter {
        return;
    }
    if task.seccomp != 2 {
        let found = format!("mode {}", task.seccomp);
        out.add(Group::Privileges, "seccomp", "mode 2 (filter)", found);
        return;
    }
    let least = wanted.inherited_filters.saturating_add(1);
    if let Some(filters) = task.filters.filter(|n| *n < least) {
        let wanted = format!("{least} or more");
        let found = filters.to_string();
        out.add(Group::Privileges, "seccomp filters", wanted, found);
    }
}

fn ids(
    out: &mut Findings,
    plan: &Plan,
    app: &AppPlan,
    facts: &Facts,
    init: &Facts,
    others: &[(&AppName, &Facts)],
) {
    let base = init.uid_map.first().map_or(0, |e| e.outside);
    let own = app.walls.user_space == UserSpace::Own;
    let map = match own {
        true => idmap::app(base, app.slot),
        false => idmap::pod(base, plan.slots),
    };
    maps(out, facts, &map);
    let overlap = |a: &Extent, b: &Extent| {
        let end = |e: &Extent| u64::from(e.outside) + u64::from(e.count);
        u64::from(a.outside) < end(b) && u64::from(b.outside) < end(a)
    };
    for (name, other) in others.iter().filter(|_| own) {
        let pairs = [
            (&facts.uid_map, &other.uid_map),
            (&facts.gid_map, &other.gid_map),
        ];
        let shared = pairs
            .iter()
            .any(|(a, b)| a.iter().any(|a| b.iter().any(|b| overlap(a, b))));
        if shared {
            let found = format!("ids of app {name} too");
            out.add(Group::Ids, "range", "ids of its own", found);
        }
    }
    let low = idmap::slot_base(base, app.slot);
    let count = match own {
        true => SLOT_IDS,
        // Root of the pod's namespace can be every id of the block.
        false => plan.slots.saturating_mul(SLOT_IDS),
    };
    let range = low..low.saturating_add(count);
    for task in &facts.tasks {
        let all = task.uids.iter().chain(&task.gids).chain(&task.groups);
        if let Some(id) = all.copied().find(|id| !range.contains(id)) {
            let wanted = format!("{}..{}", range.start, range.end);
            out.add(Group::Ids, "ids", wanted, id.to_string());
        }
    }
}

fn maps(out: &mut Findings, facts: &Facts, wanted: &[Extent]) {
    for (name, map) in [("uid_map", &facts.uid_map), ("gid_map", &facts.gid_map)] {
        if map != wanted {
            out.add(Group::Ids, name, extents(wanted), extents(map));
        }
    }
}

fn extents(map: &[Extent]) -> String {
    idmap::text(map).trim_end().replace('\n', ", ")
}

fn not_the_hosts(out: &mut Findings, wanted: &Wanted<'_>, facts: &Facts, name: &str, host: bool) {
    let is = facts.namespaces.get(name) == wanted.host.get(name);
    match (is, host) {
        (true, false) => out.add(Group::Namespaces, name, "not the host's", "the host's"),
        (false, true) => out.add(Group::Namespaces, name, "the host's", "another"),
        _ => {}
    }
}

fn same(out: &mut Findings, name: &str, facts: &Facts, other: &Facts, whose: &str) {
    if facts.namespaces.get(name) != other.namespaces.get(name) {
        out.add(Group::Namespaces, name, whose, "another");
    }
}

fn cgroups(out: &mut Findings, wanted: &Wanted<'_>, app: &AppPlan, facts: &Facts) {
    let own = wanted.cgroup(&crate::cgroup::app_dir_name(&app.name));
    if wanted.v2 {
        path(out, "cgroup v2", &own, facts.cgroup(""));
    }
    let mut needed: Vec<&str> = app
        .limits
        .iter()
        .chain(&wanted.plan.limits)
        .filter_map(|l| crate::cgroup::knob(l.knob))
        .map(|k| k.controller.name())
        .filter(|name| wanted.v1.contains(name))
        .collect();
    needed.sort_unstable();
    needed.dedup();
    for name in needed {
        path(out, &format!("cgroup {name}"), &own, facts.cgroup(name));
    }
}

fn path(out: &mut Findings, field: &str, wanted: &str, found: Option<&str>) {
    let inside = |p: &str| {
        p.strip_prefix(wanted)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if !found.is_some_and(inside) {
        out.add(Group::Cgroups, field, wanted, found.unwrap_or("none"));
    }
}
