//! Making a pod: everything up to its apps standing ready behind their walls.
//!
//! Independent steps overlap (`docs/design/start.md`): init is cloned first, launchers join cgroups
//! while user namespaces are mapped, roots are begun while init makes the namespaces they show.

use crate::app::App;
use crate::error::{Doing, Failure};
use crate::host::Host;
use crate::launcher::{Home, Launcher, Parts};
use crate::pasta::{self, Pasta};
use crate::plugins::{self, Plugins};
use crate::rootfs::{self, IdMaps, Maker, Making};
use crate::sandbox::{Sandbox, Shared};
use crate::users::{Holder, Mapped};
use rkt_isolate::blocks::{self, Block};
use rkt_isolate::cgroup::{self, Controller, Layout, Version};
use rkt_isolate::{idmap, landlock};
use rkt_net::names::{Card, Names};
use rkt_net::netlink::Socket;
use rkt_net::wire::{Site, Wires};
use rkt_spec::network::{Driver, NetworkPlan, PortPlan, PortWay, Wired};
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
    /// Ports of the host that are to lead into the pod, with the sockets that hold them.
    held: Vec<(PortPlan, Option<OwnedFd>)>,
    pub(crate) wires: Wires,
    plugins: Option<Plugins>,
    pub(crate) pasta: Option<Pasta>,
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
            held,
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
            let made = sandbox.shared(host, plan)?;
            let shared = &*self.shared.insert(made.shared);
            let template = &*self.spent.insert(made.template);
            self.wired = wire(
                &mut self.wires,
                host,
                plan,
                shared,
                made.wire,
                &mut self.held,
            )?;
            sandbox.wait_ready()?;
            let (rkt, pod) = (inherited.rkt.as_ref(), inherited.pod.as_fd());
            let net = shared.net.as_ref();
            self.plugins = net.map_or(Ok(None), |net| Plugins::of(plan, rkt, pod, net.as_fd()))?;
            if let Some(plugins) = &self.plugins {
                let made = plugins.add_all()?;
                self.wires
                    .admit(Path::new(&plan.run_dir), plan.uuid, &made)?;
                self.wired.extend(made);
            }
            renamed = plugins::resolv_conf(plan, &self.wired).map(|text| Plan {
                resolv_conf: Some(text),
                ..plan.clone()
            });
            early = Some((shared, template));
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
        let (shared, template, to_wire) = match early {
            Some((shared, template)) => (shared, template, None),
            None => {
                let made = sandbox.shared(host, plan)?;
                let shared = &*self.shared.insert(made.shared);
                (shared, &*self.spent.insert(made.template), Some(made.wire))
            }
        };
        for making in &makings {
            making.share(shared, template)?;
        }
        let is_ready = to_wire.is_none();
        if let Some(socket) = to_wire {
            // While the roots are made.
            self.wired = wire(&mut self.wires, host, plan, shared, socket, &mut self.held)?;
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
        if !is_ready {
            sandbox.wait_ready()?;
        }
        self.join_pasta(host, plan)?;
        let place = |w: &Wired| {
            plan.networks
                .iter()
                .position(|n| n.interface == w.interface)
        };
        self.wired.sort_by_key(place);
        self.join_names(plan)
    }

    /// Has the program of this name carry the pod's packets, when that was asked for.
    fn join_pasta(&mut self, host: &Host, plan: &Plan) -> Result<(), Failure> {
        let (Some(sandbox), Some(shared)) = (&self.sandbox, &self.shared) else {
            return Ok(());
        };
        let Some(net) = &shared.net else {
            return Ok(());
        };
        if let Some((pasta, wired)) =
            pasta::start(host, plan, sandbox.pid, sandbox.base, net.as_fd())?
        {
            self.pasta = Some(pasta);
            self.wired.push(wired);
        }
        Ok(())
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
        self.pasta = None;
        // init can end only after each process born of a launcher has been reaped, here.
        while process::wait_any().is_some() {}
        self.sandbox = None;
        self.shared = None;
        self.names = None;
        let unplugged = self.plugins.take().map_or(Ok(()), |p| p.del_all());
        let unwired = self.wires.end().map_err(Failure::from);
        let removed = match self.cgroups.take() {
            Some(mut cgroups) => cgroups
                .remove(Duration::from_secs(2))
                .doing(|| "remove the pod's cgroups".into()),
            None => Ok(()),
        };
        unplugged.and(unwired).and(removed)
    }
}

/// Makes the networks that rkt's own drivers make. Without one, the ports stay `held` by the pod.
fn wire(
    wires: &mut Wires,
    host: &Host,
    plan: &Plan,
    shared: &Shared,
    socket: Option<Socket>,
    held: &mut Vec<(PortPlan, Option<OwnedFd>)>,
) -> Result<Vec<Wired>, Failure> {
    let own = |n: &&NetworkPlan| !matches!(n.driver, Driver::Cni | Driver::Pasta);
    let own: Vec<NetworkPlan> = plan.networks.iter().filter(own).cloned().collect();
    let (Some(netns), Some(socket), false) = (&shared.net, &socket, own.is_empty()) else {
        return Ok(Vec::new());
    };
    let site = Site {
        uuid: plan.uuid,
        run_dir: Path::new(&plan.run_dir),
        proc: host.proc.as_fd(),
        netns: netns.as_fd(),
        pod: socket,
    };
    // Those that plugins lead stay held until the pod ends.
    let ours = match plan.leads_ports() {
        true => std::mem::take(held),
        false => Vec::new(),
    };
    Ok(wires.make(&site, &own, ours)?)
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
