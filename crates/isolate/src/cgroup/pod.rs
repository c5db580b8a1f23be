//! A pod's cgroups: one directory for the pod in each tree that is needed, one below for each
//! app and for init.

use super::counters::{Counters, field};
use super::dir;
use super::kill;
use super::knobs::{Must, knob};
use super::layout::{Controller, Layout, Version, controllers};
use crate::error::{Doing, Error, Kind};
use rkt_spec::name::AppName;
use rkt_spec::plan::Limit;
use rkt_spec::uuid::Uuid;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use std::time::{Duration, Instant};

/// Directory of init.
const INIT: &str = "init";
/// How long the kill without `cgroup.kill` goes on.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// Directory of an app: never the name of a file that the kernel puts there (`tasks` on v1).
pub fn app_dir_name(name: &AppName) -> String {
    format!("app-{name}")
}

/// The pod's directory in one tree.
#[derive(Debug)]
struct Tree {
    version: Version,
    /// v1: the one controller of this tree.
    controller: Option<Controller>,
    /// From the root of the tree to the pod's directory, that one last.
    chain: Vec<OwnedFd>,
}

impl Tree {
    fn make(
        root: &std::path::Path,
        version: Version,
        controller: Option<Controller>,
        parent: &str,
        uuid: &str,
    ) -> Result<Self, Error> {
        let mut chain = vec![dir::open_root(root)?];
        for part in dir::parts(parent)?.into_iter().chain([uuid]) {
            let next = match chain.last() {
                Some(last) => dir::make(last, part)?,
                None => break,
            };
            chain.push(next);
        }
        Ok(Self {
            version,
            controller,
            chain,
        })
    }

    fn pod(&self) -> Result<BorrowedFd<'_>, Error> {
        let last = self.chain.last().map(AsFd::as_fd);
        last.ok_or_else(|| Error::new(Kind::System, "the pod has no cgroup"))
    }

    /// Hands a v2 controller down from the root to the pod's directory's children.
    fn enable(&self, controller: Controller) -> Result<(), Error> {
        for level in &self.chain {
            let now = dir::read(level, "cgroup.subtree_control")
                .doing(|| "read `cgroup.subtree_control`".into())?;
            if !controllers(&now).contains(&controller) {
                let word = format!("+{}", controller.name());
                dir::write(level, "cgroup.subtree_control", &word)
                    .doing(|| format!("enable the cgroup controller `{}`", controller.name()))?;
            }
        }
        Ok(())
    }
}

/// The cgroups of one pod. Dropping it removes nothing; see [`Pod::remove`].
#[derive(Debug)]
pub struct Pod {
    layout: Layout,
    parent: String,
    uuid: String,
    v2: Option<Tree>,
    init: Option<OwnedFd>,
    v1: Vec<Tree>,
    /// Controllers that hold a limit of the whole pod: every app must be below them.
    shared: Vec<Controller>,
    apps: Vec<AppName>,
}

impl Pod {
    /// Makes the pod's directories and writes the pod's limits: on v2 `parent/uuid` and the leaf
    /// `init`, on v1 `parent/uuid` in each hierarchy that a limit needs.
    ///
    /// `parent` is relative to the root of each tree; on a host with systemd it is the delegated
    /// scope's. Needs write access there.
    ///
    /// # Errors
    /// When a controller of a limit is missing, or a system call fails. What was made is removed.
    pub fn create(
        layout: &Layout,
        parent: &str,
        uuid: &Uuid,
        limits: &[Limit],
    ) -> Result<Self, Error> {
        let uuid = uuid.to_string();
        let doing = || format!("make the cgroups of pod `{uuid}`");
        let v2 = match &layout.v2 {
            Some(root) => Some(Tree::make(root, Version::V2, None, parent, &uuid).doing(doing)?),
            None => None,
        };
        let mut pod = Self {
            layout: layout.clone(),
            parent: parent.to_owned(),
            uuid: uuid.clone(),
            v2,
            init: None,
            v1: Vec::new(),
            shared: Vec::new(),
            apps: Vec::new(),
        };
        match pod.fill(limits) {
            Ok(()) => Ok(pod),
            Err(e) => {
                // The first failure is the one to tell.
                let _ = pod.remove(Duration::ZERO);
                Err(e.while_doing(doing()))
            }
        }
    }

    fn fill(&mut self, limits: &[Limit]) -> Result<(), Error> {
        if let Some(tree) = &self.v2 {
            self.init = Some(dir::make(tree.pod()?, INIT)?);
        }
        for limit in limits {
            let controller = controller_of(*limit)?;
            self.hold(controller)?;
            self.shared.push(controller);
            let tree = self.tree(controller)?;
            write_limit(tree.pod()?, tree.version, *limit)?;
        }
        Ok(())
    }

    /// Makes sure that the controller reaches the pod's children.
    fn hold(&mut self, controller: Controller) -> Result<(), Error> {
        match self.layout.version_of(controller) {
            None => Err(missing(controller)),
            Some(Version::V2) => match &self.v2 {
                Some(tree) => tree.enable(controller),
                None => Err(missing(controller)),
            },
            Some(Version::V1) => {
                if !self.v1.iter().any(|t| t.controller == Some(controller)) {
                    let root = self
                        .layout
                        .v1_root(controller)
                        .ok_or_else(|| missing(controller))?;
                    let tree = Tree::make(
                        root,
                        Version::V1,
                        Some(controller),
                        &self.parent,
                        &self.uuid,
                    )?;
                    self.v1.push(tree);
                }
                Ok(())
            }
        }
    }

    /// The tree that holds a controller's limits.
    fn tree(&self, controller: Controller) -> Result<&Tree, Error> {
        let v1 = self.v1.iter().find(|t| t.controller == Some(controller));
        v1.or(self.v2.as_ref()).ok_or_else(|| missing(controller))
    }

    /// The v2 directory that init is born in, for `CLONE_INTO_CGROUP`; `None` without a v2 tree.
    pub fn init(&self) -> Option<BorrowedFd<'_>> {
        self.init.as_ref().map(AsFd::as_fd)
    }

    /// The pod's own v2 directory.
    pub fn v2(&self) -> Option<BorrowedFd<'_>> {
        self.v2.as_ref().and_then(|t| t.pod().ok())
    }

    /// Makes the directories of an app, with its limits written before anything is in them. Also
    /// for an app that is added to a running pod.
    ///
    /// # Errors
    /// As [`Pod::create`].
    pub fn app(&mut self, name: &AppName, limits: &[Limit]) -> Result<App, Error> {
        let made = self.make_app(name, limits);
        if made.is_err() {
            // The first failure is the one to tell.
            let _ = self.remove_app(name, Duration::ZERO);
        }
        made.doing(|| format!("make the cgroups of app `{name}`"))
    }

    fn make_app(&mut self, name: &AppName, limits: &[Limit]) -> Result<App, Error> {
        let mut needed = self.shared.clone();
        for limit in limits {
            needed.push(controller_of(*limit)?);
        }
        needed.sort_unstable();
        needed.dedup();
        for controller in &needed {
            self.hold(*controller)?;
        }
        if !self.apps.contains(name) {
            self.apps.push(name.clone());
        }
        let leaf = app_dir_name(name);
        let mut app = App {
            v2: match &self.v2 {
                Some(tree) => Some(dir::make(tree.pod()?, &leaf)?),
                None => None,
            },
            v1: Vec::new(),
            v2_controllers: Vec::new(),
        };
        for controller in needed {
            let tree = self.tree(controller)?;
            if tree.version == Version::V2 {
                app.v2_controllers.push(controller);
                continue;
            }
            let at = dir::make(tree.pod()?, &leaf)?;
            let tasks = dir::open_write(&at, "tasks").doing(|| "open `tasks`".into())?;
            app.v1.push(V1 {
                controller,
                dir: at,
                tasks,
            });
        }
        for limit in limits {
            app.set(*limit)?;
        }
        Ok(app)
    }

    /// Kills every process of the pod, init included, without waiting for their end. Nothing can
    /// be started in the pod's cgroups after it.
    ///
    /// # Errors
    /// When the host has no tree to find them by, or some outlive 5 s of signals (only without
    /// `cgroup.kill`).
    pub fn kill(&self) -> Result<(), Error> {
        let doing = || format!("kill pod `{}`", self.uuid);
        let v1 = self.v1.iter().find_map(|t| t.pod().ok());
        let dir = listing(self.v2(), v1).doing(doing)?;
        match kill::for_good(dir) {
            Ok(()) => Ok(()),
            Err(_) => kill::one_by_one(dir, Instant::now() + KILL_PATIENCE).doing(doing),
        }
    }

    /// Removes the directories of an app that has ended, waiting at most `patience`.
    ///
    /// # Errors
    /// `EBUSY` when a process of it is still alive by then.
    pub fn remove_app(&mut self, name: &AppName, patience: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + patience;
        let leaf = app_dir_name(name);
        for tree in self.v1.iter().chain(&self.v2) {
            dir::remove(tree.pod()?, &leaf, deadline)
                .doing(|| format!("remove the cgroups of app `{name}`"))?;
        }
        self.apps.retain(|n| n != name);
        Ok(())
    }

    /// Removes all directories of the pod, the leaves first, waiting at most `patience` for
    /// processes that are just dying. The parent stays, other pods are in it.
    ///
    /// # Errors
    /// `EBUSY` when a process of it is still alive by then; then the rest has been removed.
    pub fn remove(&mut self, patience: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + patience;
        let mut result = Ok(());
        for tree in self.v1.iter().chain(&self.v2) {
            let Some([.., above, _]) = tree.chain.get(..) else {
                continue;
            };
            // The usual case in as few calls as there are directories; what is left after that is
            // found and waited for.
            if let Ok(pod) = tree.pod() {
                let apps = self.apps.iter().map(app_dir_name);
                for leaf in apps.chain([INIT.to_owned()]) {
                    let _ = rustix::fs::unlinkat(pod, leaf, rustix::fs::AtFlags::REMOVEDIR);
                }
            }
            let removed = dir::remove(above.as_fd(), &self.uuid, deadline)
                .doing(|| format!("remove the cgroups of pod `{}`", self.uuid));
            result = result.and(removed);
        }
        result
    }
}

#[derive(Debug)]
struct V1 {
    controller: Controller,
    dir: OwnedFd,
    tasks: OwnedFd,
}

/// The cgroups of one app.
#[derive(Debug)]
pub struct App {
    v2: Option<OwnedFd>,
    v1: Vec<V1>,
    v2_controllers: Vec<Controller>,
}

impl App {
    /// The v2 leaf that the app's processes are born in, for `CLONE_INTO_CGROUP` and for the
    /// app's own read-only view; `None` without a v2 tree.
    pub fn v2(&self) -> Option<BorrowedFd<'_>> {
        self.v2.as_ref().map(AsFd::as_fd)
    }

    /// `tasks` of each v1 hierarchy that holds a limit, open for writing: a process of one thread
    /// joins by writing `0`, before it makes its cgroup namespace.
    ///
    /// Not `cgroup.procs`: that takes the kernel's lock of all thread groups, which after a pause
    /// waits 6 to 15 ms for an RCU grace period. A thread that moves itself needs no lock (Linux
    /// 5.4; `cgroup_procs_write_start` in `kernel/cgroup/cgroup.c`).
    pub fn v1_tasks(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.v1.iter().map(|leaf| leaf.tasks.as_fd())
    }

    /// Writes a limit, also a new value for a running app.
    ///
    /// # Errors
    /// When the app was made without the controller, or the kernel refuses the value.
    pub fn set(&self, limit: Limit) -> Result<(), Error> {
        let controller = controller_of(limit)?;
        if let Some(leaf) = self.v1.iter().find(|l| l.controller == controller) {
            return write_limit(leaf.dir.as_fd(), Version::V1, limit);
        }
        match &self.v2 {
            Some(dir) if self.v2_controllers.contains(&controller) => {
                write_limit(dir.as_fd(), Version::V2, limit)
            }
            _ => Err(missing(controller)),
        }
    }

    /// Kills every process of the app and waits until the cgroup is empty; it can be started again
    /// in the same one. (Not by `cgroup.kill`: see the module's `kill::for_good`.)
    ///
    /// # Errors
    /// When the host has no tree to find them by, or some outlive 5 s of signals.
    pub fn kill(&self) -> Result<(), Error> {
        let v1 = self.v1.first().map(|leaf| leaf.dir.as_fd());
        listing(self.v2(), v1)
            .and_then(|dir| kill::one_by_one(dir, Instant::now() + KILL_PATIENCE))
            .doing(|| "kill the app's processes".into())
    }

    /// Whether a process of the app is alive; `None` when no tree can tell.
    pub fn populated(&self) -> Option<bool> {
        if let Some(dir) = &self.v2 {
            let events = dir::read(dir, "cgroup.events").ok()?;
            return field(&events, "populated").map(|n| n != 0);
        }
        let leaf = self.v1.first()?;
        let members = kill::members(leaf.dir.as_fd(), 1).ok()?;
        Some(!members.is_empty())
    }

    /// What has been counted so far.
    pub fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        if let Some(dir) = &self.v2 {
            for controller in &self.v2_controllers {
                counters.read(dir.as_fd(), *controller, Version::V2);
            }
        }
        for leaf in &self.v1 {
            counters.read(leaf.dir.as_fd(), leaf.controller, Version::V1);
        }
        counters
    }
}

/// Kills what is left of a dead pod and removes its cgroups from every tree, for gc. Returns
/// whether there was anything.
///
/// # Errors
/// When a process survives `patience`, or a directory cannot be removed.
pub fn sweep(
    layout: &Layout,
    parent: &str,
    uuid: &Uuid,
    patience: Duration,
) -> Result<bool, Error> {
    let uuid = uuid.to_string();
    let doing = || format!("sweep the cgroups of pod `{uuid}`");
    let deadline = Instant::now() + patience;
    let mut found = Vec::new();
    for root in layout.v1.iter().map(|(_, path)| path).chain(&layout.v2) {
        let Some(above) = descend(root, parent).doing(doing)? else {
            continue;
        };
        match dir::open(&above, &uuid) {
            Ok(pod) => found.push((above, pod)),
            Err(Errno::NOENT) => {}
            Err(e) => return Err(Error::from(e).while_doing(doing())),
        }
    }
    // v2 was opened last and is killed first: there one write takes all processes of the pod.
    for (_, pod) in found.iter().rev() {
        if kill::for_good(pod.as_fd()).is_err() {
            kill::one_by_one(pod.as_fd(), deadline).doing(doing)?;
        }
    }
    for (above, _) in &found {
        dir::remove(above.as_fd(), &uuid, deadline).doing(doing)?;
    }
    Ok(!found.is_empty())
}

/// Host pids of all processes in a pod's cgroups: of the v2 tree where there is one, which has
/// every process; else of every v1 hierarchy, where launchers are listed too. Empty for a pod
/// without cgroups.
///
/// # Errors
/// When a directory cannot be read.
pub fn processes(layout: &Layout, parent: &str, uuid: &Uuid) -> Result<Vec<i32>, Error> {
    let uuid = uuid.to_string();
    let doing = || format!("list the processes of pod `{uuid}`");
    let mut found = Vec::new();
    let v1 = layout.v1.iter().map(|(_, path)| path);
    for root in layout.v2.iter().chain(v1.filter(|_| layout.v2.is_none())) {
        let Some(above) = descend(root, parent).doing(doing)? else {
            continue;
        };
        let members = match dir::open(&above, &uuid) {
            Ok(pod) => kill::members(pod.as_fd(), kill::DEPTH),
            Err(e) => Err(e),
        };
        match members {
            Ok(pids) => found.extend(pids.iter().map(|p| p.as_raw_nonzero().get())),
            // The pod ended meanwhile.
            Err(Errno::NOENT) => {}
            Err(e) => return Err(e).doing(doing),
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The parent directory in a tree; `None` when it was never made.
fn descend(root: &std::path::Path, parent: &str) -> Result<Option<OwnedFd>, Error> {
    let mut at = dir::open_root(root)?;
    for part in dir::parts(parent)? {
        at = match dir::open(&at, part) {
            Ok(next) => next,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
    }
    Ok(Some(at))
}

/// The directory by which all processes are found: v2 has every one, v1 those with a limit.
fn listing<'a>(
    v2: Option<BorrowedFd<'a>>,
    v1: Option<BorrowedFd<'a>>,
) -> Result<BorrowedFd<'a>, Error> {
    v2.or(v1).ok_or_else(|| {
        Error::new(
            Kind::Host,
            "no cgroup tree of this host knows the processes",
        )
    })
}

fn controller_of(limit: Limit) -> Result<Controller, Error> {
    let row = knob(limit.knob);
    row.map(|k| k.controller)
        .ok_or_else(|| Error::new(Kind::Request, "a limit has no knob in the cgroup table"))
}

fn missing(controller: Controller) -> Error {
    Error::new(
        Kind::Host,
        format!("this host has no cgroup controller `{}`", controller.name()),
    )
}

fn write_limit(dir: BorrowedFd<'_>, version: Version, limit: Limit) -> Result<(), Error> {
    let row = knob(limit.knob);
    for file in row.map_or(&[][..], |k| k.files(version)) {
        let value = (file.encode)(limit.value);
        match dir::write(dir, file.file, &value) {
            Ok(()) => {}
            Err(Errno::NOENT | Errno::ACCESS) if file.must == Must::IfPresent => {}
            Err(e) => {
                let doing = format!("write `{value}` to `{}`", file.file);
                return Err(Error::from(e).while_doing(doing));
            }
        }
    }
    Ok(())
}
