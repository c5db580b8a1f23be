//! Making a pod: everything up to its apps standing ready behind their walls.
//!
//! Independent steps overlap (`docs/design/start.md`): init is cloned first, launchers join cgroups
//! while user namespaces are mapped, roots are begun while init makes the namespaces they show.

use crate::app::App;
use crate::error::{Doing, Failure};
use crate::host::Host;
use crate::launcher::{Home, Launcher, Parts};
use crate::network::{Network, Networks, Place};
use crate::plugins;
use crate::rootfs::{self, IdMaps, Maker, Making};
use crate::sandbox::{Sandbox, Shared};
use crate::users::{Holder, Mapped};
use rkt_isolate::blocks::{self, Block};
use rkt_isolate::cgroup::{self, Controller, Layout, Version};
use rkt_isolate::{idmap, landlock};
use rkt_net::names::{Card, Names};
use rkt_net::netlink::Socket;
use rkt_spec::network::{Driver, PortPlan, PortWay, Wired};
use rkt_spec::plan::{AppPlan, Knob, Limit, Plan, UserSpace, weaken};
use rkt_sys::{process, signal};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// Where id blocks are reserved, for every data directory of the host.
const IDS_DIR: &str = "/run/rkt";

/// Descriptors that stage0 handed over, in the plan's order.
#[derive(Debug)]
pub(crate) struct Inherited {
    /// The pod's locked directory.
    pub(crate) pod: OwnedFd,
    /// Layers by app.
    pub(crate) layers: Vec<Vec<OwnedFd>>,
    /// Sources by volume.
    pub(crate) sources: Vec<Option<OwnedFd>>,
    /// Sockets that hold ports of the host, by port.
    pub(crate) ports: Vec<Option<OwnedFd>>,
    /// rkt's own program, when there are networks of foreign plugins.
    pub(crate) rkt: Option<OwnedFd>,
}

/// What exists of a pod; grows while it is made, so that a failure half-way can be undone.
#[derive(Debug, Default)]
pub(crate) struct Pod {
    /// The reserved ids; free again when this is dropped.
    block: Option<Block>,
    pub(crate) cgroups: Option<cgroup::Pod>,
    pub(crate) sandbox: Option<Sandbox>,
    shared: Option<Shared>,
    /// A mount namespace that is not needed any more; closing it waits for a grace period.
    spent: Option<OwnedFd>,
    pub(crate) networks: Networks,
    /// The pod's place among those on its networks.
    pub(crate) names: Option<Names>,
    /// What became of the plan's networks.
    pub(crate) wired: Vec<Wired>,
    pub(crate) apps: Vec<App>,
}

impl Pod {
    /// Nothing yet, and the ports that will lead into it.
    pub(crate) fn with_ports(held: Vec<(PortPlan, Option<OwnedFd>)>) -> Self {
        Self {
            networks: Networks::with_ports(held),
            ..Self::default()
        }
    }

    /// Makes everything up to running launchers.
    pub(crate) fn make(
        &mut self,
        host: &Host,
        plan: &Plan,
        inherited: &Inherited,
    ) -> Result<(), Failure> {
        let layout = Layout::detect();
        // It is everybody's, whatever run directory this rkt was told.
        match rustix::fs::mkdir(IDS_DIR, rustix::fs::Mode::from_raw_mode(0o711)) {
            Err(error) if error != rustix::io::Errno::EXIST => {
                return Err(error).doing(|| format!("make `{IDS_DIR}`"));
            }
            _ => {}
        }
        let block = blocks::reserve(Path::new(IDS_DIR), plan.slots)
            .doing(|| "reserve ids for the pod".into())?;
        let base = block.base;
        self.block = Some(block);
        let cgroups = cgroup::Pod::create(&layout, &plan.cgroup_parent, &plan.uuid, &plan.limits)?;
        let cgroups = self.cgroups.insert(cgroups);
        let sandbox = Sandbox::begin(host, plan, base, cgroups.init())?;
        let sandbox = &*self.sandbox.insert(sandbox);
        // Plugins may bring name servers, which the roots show. They may also take minutes, for
        // which no set-up child is to wait.
        let mut early = None;
        let mut renamed = None;
        if plan.networks.iter().any(|n| n.driver == Driver::Cni) {
            let opened = open(&mut self.shared, &mut self.spent, sandbox, host, plan)?;
            let pod = opened.place(sandbox, host, plan, inherited);
            self.wired = self.networks.own.join(&pod)?;
            sandbox.wait_ready()?;
            self.wired.extend(self.networks.join_foreign(&pod)?);
            renamed = plugins::resolv_conf(plan, &self.wired).map(|text| Plan {
                resolv_conf: Some(text),
                ..plan.clone()
            });
            early = Some(opened);
        }
        let plan = renamed.as_ref().unwrap_or(plan);
        let mut groups = Vec::new();
        let mut launchers = Vec::new();
        let mut holders = Vec::new();
        for app in &plan.apps {
            holders.push(hold(host, plan, app, base)?);
            let group = cgroups.app(&app.name, &with_launcher(&layout, &app.limits))?;
            launchers.push(Launcher::start(&parts(host, plan, app, &group))?);
            groups.push(group);
        }
        let mut users = Vec::new();
        for (app, holder) in plan.apps.iter().zip(holders) {
            rootfs::make_directories(inherited.pod.as_fd(), plan, app)?;
            let map = idmap::app(base, app.slot);
            users.push(holder.map(|h| h.mapped(host, &map, &map)).transpose()?);
        }
        let makings = make_roots(host, plan, sandbox, inherited, &users, &groups, &layout)?;
        let is_late = early.is_none();
        let opened = match early {
            Some(opened) => opened,
            None => open(&mut self.shared, &mut self.spent, sandbox, host, plan)?,
        };
        let shared = opened.shared;
        for making in &makings {
            making.share(shared, opened.template)?;
        }
        let pod = opened.place(sandbox, host, plan, inherited);
        if is_late {
            // While the roots are made.
            self.wired = self.networks.own.join(&pod)?;
        }
        let abi = rkt_sys::landlock::abi().unwrap_or(0);
        let rest = makings.into_iter().zip(users).zip(groups).zip(launchers);
        for (app, (((making, mut user), cgroup), launcher)) in plan.apps.iter().zip(rest) {
            let made = making.finish(host, plan.weaken)?;
            user.as_mut().map(Mapped::ended).transpose()?;
            let walled = app.walls.landlock && plan.weaken & weaken::LANDLOCK == 0;
            let ruleset = if walled {
                let rules = landlock::ruleset(made.root.as_fd(), abi)?;
                if app.walls.user_space == UserSpace::Own {
                    landlock::allow_queues(rules.as_fd(), made.root.as_fd(), abi)?;
                }
                Some(rules)
            } else {
                None
            };
            let app = App {
                plan: app.clone(),
                uid0: idmap::slot_base(base, app.slot),
                user: match app.walls.user_space {
                    UserSpace::Own => user.map(|u| u.namespace),
                    UserSpace::Pod => shared.user.as_ref().map(copy).transpose()?,
                },
                sockets: sockets(plan, app, inherited)?,
                root: made.root,
                hosts: made.hosts,
                mounts: made.namespace,
                ruleset,
                cgroup,
                launcher,
            };
            hand_over(&app, &app.launcher, sandbox, shared)?;
            self.apps.push(app);
        }
        if is_late {
            sandbox.wait_ready()?;
        }
        self.wired.extend(self.networks.pasta.join(&pod)?);
        let at = |w: &Wired| {
            plan.networks
                .iter()
                .position(|n| n.interface == w.interface)
        };
        self.wired.sort_by_key(at);
        self.join_names(plan)
    }

    /// Tells the others on its networks what the pod is called.
    fn join_names(&mut self, plan: &Plan) -> Result<(), Failure> {
        let told = |w: &&Wired| plan.networks.iter().any(|n| n.names && n.name == w.name);
        let addresses = |w: &Wired| w.addresses.iter().map(|p| p.address).collect();
        let rooms = self.wired.iter().filter(told);
        let networks: Vec<_> = rooms.map(|w| (&w.name, addresses(w))).collect();
        if networks.is_empty() {
            return Ok(());
        }
        let name = plan.pod_name.as_ref().map(|n| n.as_str());
        let card = Card {
            uuid: plan.uuid,
            names: [Some(plan.hostname.as_str()), name]
                .into_iter()
                .flatten()
                .collect(),
            networks,
        };
        let hosts = plan.hosts.as_ref().map_or(&[][..], |h| &h.0);
        self.names = Some(Names::join(Path::new(&plan.run_dir), &card, hosts)?);
        Ok(())
    }

    /// Lets go of what only the making needed. Takes a fifth of a millisecond: best while the apps
    /// run.
    pub(crate) fn settle(&mut self) {
        self.spent = None;
    }

    /// Puts a new launcher in the place of one that died.
    pub(crate) fn relaunch(&mut self, host: &Host, plan: &Plan, at: usize) -> Result<(), Failure> {
        let (Some(app), Some(sandbox), Some(shared)) =
            (self.apps.get_mut(at), &self.sandbox, &self.shared)
        else {
            return Ok(());
        };
        let launcher = Launcher::start(&parts(host, plan, &app.plan, &app.cgroup))?;
        hand_over(app, &launcher, sandbox, shared)?;
        app.launcher = launcher;
        Ok(())
    }

    /// Ends every process of the pod and of its making, and removes the cgroups. Safe at every
    /// stage of the making.
    pub(crate) fn end(&mut self) -> Result<(), Failure> {
        if let Some(sandbox) = &self.sandbox {
            // The death of PID 1 is the death of every process in the namespace.
            let _ = signal::send(sandbox.init.as_fd(), 9);
        }
        // With them go their launchers.
        self.apps.clear();
        let unbound = self.networks.pasta.leave();
        // init can end only after each process born of a launcher has been reaped, here.
        while process::wait_any().is_some() {}
        self.sandbox = None;
        self.shared = None;
        self.names = None;
        let left = self.networks.leave();
        let removed = match self.cgroups.take() {
            Some(mut cgroups) => cgroups
                .remove(Duration::from_secs(2))
                .doing(|| "remove the pod's cgroups".into()),
            None => Ok(()),
        };
        unbound.and(left).and(removed)
    }
}

/// The namespaces that init has made, and the socket in the pod's network.
struct Opened<'a> {
    shared: &'a Shared,
    template: &'a OwnedFd,
    wire: Option<Socket>,
}

impl Opened<'_> {
    fn place<'a>(
        &'a self,
        sandbox: &Sandbox,
        host: &'a Host,
        plan: &'a Plan,
        inherited: &'a Inherited,
    ) -> Place<'a> {
        Place {
            host,
            plan,
            init: sandbox.pid,
            base: sandbox.base,
            net: self.shared.net.as_ref().map(OwnedFd::as_fd),
            wire: self.wire.as_ref(),
            inherited,
        }
    }
}

/// Waits for what init makes, and keeps it for the pod's life, but for what is spent soon.
fn open<'a>(
    shared: &'a mut Option<Shared>,
    spent: &'a mut Option<OwnedFd>,
    sandbox: &Sandbox,
    host: &Host,
    plan: &Plan,
) -> Result<Opened<'a>, Failure> {
    let made = sandbox.shared(host, plan)?;
    Ok(Opened {
        shared: shared.insert(made.shared),
        template: spent.insert(made.template),
        wire: made.wire,
    })
}

fn hold(host: &Host, plan: &Plan, app: &AppPlan, base: u32) -> Result<Option<Holder>, Failure> {
    if plan.weaken & weaken::USERNS != 0 {
        return Ok(None);
    }
    // For an app of the pod's own namespace it only maps the ids of mounts: nobody lives there.
    let owner = idmap::slot_base(base, app.slot);
    Holder::start(host, owner, Some(app.walls.max_user_namespaces))
        .map(Some)
        .doing(|| format!("make the user namespace of app `{}`", app.name))
}

fn copy(fd: &OwnedFd) -> Result<OwnedFd, Failure> {
    fd.try_clone()
        .doing(|| "hold the pod's user namespace".into())
}

/// On v1 the launcher is in the app's own groups: it must not take one of the app's tasks.
fn with_launcher(layout: &Layout, limits: &[Limit]) -> Vec<Limit> {
    let v1 = layout.version_of(Controller::Pids) == Some(Version::V1);
    limits
        .iter()
        .map(|limit| match limit.knob {
            Knob::Pids if v1 && limit.value > 0 => Limit {
                value: limit.value.saturating_add(1),
                ..*limit
            },
            _ => *limit,
        })
        .collect()
}

/// Shows a launcher where its app lives.
fn hand_over(
    app: &App,
    launcher: &Launcher,
    sandbox: &Sandbox,
    shared: &Shared,
) -> Result<(), Failure> {
    let home = Home {
        mounts: app.mounts.as_fd(),
        pids: sandbox.pids.as_fd(),
        shared,
        user: app.user.as_ref().map(AsFd::as_fd),
        ruleset: app.ruleset.as_ref().map(AsFd::as_fd),
        sockets: &app.sockets,
    };
    launcher
        .setup(&home)
        .doing(|| format!("set up the launcher of app `{}`", app.plan.name))
}

/// Ports whose listening sockets an app's program gets, with their places in the plan.
fn listened<'a>(plan: &'a Plan, app: &'a AppPlan) -> impl Iterator<Item = (usize, &'a PortPlan)> {
    let of_app = |p: &PortPlan| p.way == PortWay::Socket && p.app.as_ref() == Some(&app.name);
    plan.ports
        .iter()
        .enumerate()
        .filter(move |(_, p)| of_app(p))
}

fn sockets(plan: &Plan, app: &AppPlan, inherited: &Inherited) -> Result<Vec<OwnedFd>, Failure> {
    let doing = |p: &PortPlan| format!("hold the socket of port `{}`", p.name);
    let one = |(at, port): (usize, &PortPlan)| {
        let socket = inherited.ports.get(at).and_then(Option::as_ref);
        let socket = socket.ok_or_else(|| Failure::new(doing(port), "it was not handed over"))?;
        socket.try_clone().doing(|| doing(port))
    };
    listened(plan, app).map(one).collect()
}

fn parts<'a>(host: &'a Host, plan: &Plan, app: &'a AppPlan, group: &'a cgroup::App) -> Parts<'a> {
    Parts {
        host,
        app,
        cgroup: group.v2(),
        cgroup_v1: group.v1_tasks().collect::<Vec<BorrowedFd<'_>>>(),
        listen: listened(plan, app).map(|(_, p)| p.listen_name()).collect(),
        weaken: plan.weaken,
    }
}

fn make_roots(
    host: &Host,
    plan: &Plan,
    sandbox: &Sandbox,
    inherited: &Inherited,
    users: &[Option<Mapped>],
    groups: &[cgroup::App],
    layout: &Layout,
) -> Result<Vec<Making>, Failure> {
    let mut makings = Vec::new();
    let none = Vec::new();
    for (n, ((app, user), group)) in plan.apps.iter().zip(users).zip(groups).enumerate() {
        let volumes = IdMaps::make(host, plan, app, sandbox.base, &inherited.sources)?;
        let maker = Maker {
            host,
            plan,
            app,
            pids: sandbox.pids.as_fd(),
            base: sandbox.base,
            user: user.as_ref().map(|u| u.namespace.as_fd()),
            pod: inherited.pod.as_fd(),
            cgroup: group.v2(),
            cgroup_view: layout.version_of(Controller::Memory) == Some(Version::V2),
            volumes: &volumes,
            layers: inherited.layers.get(n).unwrap_or(&none),
            sources: &inherited.sources,
        };
        makings.push(
            maker
                .start()
                .doing(|| format!("make the root of app `{}`", app.name))?,
        );
    }
    Ok(makings)
}
