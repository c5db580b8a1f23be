//! The manifest and the facts of this host, put together: the plan. Pure.
//!
//! Numbers of descriptors are put in by [`crate::launch`], which owns them.

use crate::devices;
use crate::error::{Doing, Error};
use crate::filter_cache;
use crate::filters;
use crate::names;
use crate::networks::{self, Forwards};
use crate::ports;
use crate::request::{AppRequest, CGROUP_PARENT, InsecureOptions, RunRequest, Stdin};
use crate::scope::SystemdScope;
use crate::sources::{self, Source};
use crate::sysctls;
use crate::volumes;
use rkt_isolate::defaults::CAPABILITIES;
use rkt_isolate::host::Host;
use rkt_isolate::plan::{
    Compiler, Insecure, Landlock, OVERRULED, Report, Scope, WallsRequest, limits, walls,
};
use rkt_isolate::seccomp::{List, Special};
use rkt_net::choice::Network;
use rkt_spec::capability::CapSet;
use rkt_spec::codec::Bytes;
use rkt_spec::manifest::{Isolator, PodManifest, RuntimeApp, Volume, VolumeKind as Kind};
use rkt_spec::plan::{
    AppPlan, BLOCK_SLOTS, Limit, MountPlan, Net, Plan, Process, Stdio, UserSpace, VolumeKind,
    VolumePlan,
};
use rkt_spec::{Uuid, signal};

/// A log file is rotated when it grows past this, bytes.
pub const LOG_MAX_BYTES: u64 = 10 << 20;
/// Log files kept, the current one counted.
pub const LOG_FILES: u32 = 3;
/// Permission bits of a new volume.
pub const VOLUME_MODE: u32 = 0o755;

/// What was looked up on this host for the plan.
#[derive(Debug)]
pub struct Facts {
    /// What walls can stand here.
    pub host: Host,
    /// The host's `/etc/hosts`, where it may be wanted.
    pub hosts: Option<Vec<u8>>,
    /// The host's `/etc/resolv.conf`, where it may be wanted.
    pub resolv_conf: Option<Vec<u8>>,
    /// Lowest port that needs no privilege, for `--net=host`.
    pub low_port: u16,
    /// Families of addresses that the host passes on.
    pub forwards: Forwards,
    /// Whether rkt's own standard input is a terminal.
    pub terminal: bool,
    /// Every network of the configuration: those of files before the built-in ones.
    pub networks: Vec<Network>,
    /// Whether systemd is to give the pod a scope, when no other cgroup is asked for.
    pub systemd: bool,
}

/// A plan, and what there is to say about it.
#[derive(Debug)]
pub struct Planned {
    /// For stage1; layers and sources have no descriptors yet.
    pub plan: Plan,
    /// What was wanted and what is held: for each app, in order.
    pub reports: Vec<Report>,
    /// The same for the pod's own limits.
    pub pod_report: Report,
    /// The networks of the plan, with what is known of them beside it.
    pub networks: Vec<Network>,
    /// Things to say once before the start.
    pub notes: Vec<String>,
    /// The scope that the supervisor has to ask systemd for.
    pub(crate) scope: Option<SystemdScope>,
}

/// Decides everything that is left to decide; `opened` has one entry a volume.
///
/// # Errors
/// When this host cannot hold a wall or limit that was asked for.
pub fn build(
    request: &RunRequest,
    manifest: &PodManifest,
    uuid: Uuid,
    opened: &[Option<Source>],
    facts: &Facts,
) -> Result<Planned, Error> {
    if manifest.apps.len() > 1 && request.stdin != Stdin::Null {
        return Err(Error::usage(
            "interactive option does not work with more than one app",
        ));
    }
    let mut notes = request.notes.clone();
    let net = request.network().net();
    let networks = networks::chosen(request, facts)?;
    notes.extend(networks::forwarding(&networks, facts));
    let names = names::decide(request, &manifest.hostname, &networks, facts);
    let ports = ports::plans(&manifest.ports, networks.iter().map(|n| &n.plan))?;
    notes.extend(names.notes);
    notes.extend(ports.iter().map(ports::note));
    let mut apps = Vec::with_capacity(manifest.apps.len());
    let mut reports = Vec::with_capacity(manifest.apps.len());
    for (slot, (app, asked)) in (1..).zip(manifest.apps.iter().zip(&request.apps)) {
        let wish = Wish {
            request,
            manifest,
            facts,
            net,
        };
        let (plan, report) = app_plan(&wish, slot, app, asked, &mut notes)
            .doing(|| format!("prepare app `{}`", app.name))?;
        if net == Net::Host {
            notes.extend(low_ports(app, facts.low_port));
        }
        apps.push(plan);
        reports.push(report);
    }
    for isolator in &manifest.isolators {
        of_pod(isolator)?;
    }
    let sysctls = sysctls::settings(&manifest.isolators, net)?;
    let (pod_limits, pod_report) = limits(&pod_isolators(manifest), Scope::Pod, &facts.host)?;
    notes.extend(shortfalls(&reports, &pod_report));
    let mounts = manifest.apps.iter().flat_map(|app| &app.mounts);
    notes.extend(
        volumes::unused(&manifest.volumes, mounts)
            .map(|name| format!("no app mounts the volume `{name}`")),
    );
    let needed = u32::try_from(apps.len())
        .unwrap_or(u32::MAX)
        .saturating_add(1);
    let scope = match &request.place.cgroup_parent {
        None if facts.systemd => Some(SystemdScope { uuid }),
        _ => None,
    };
    let cgroup_parent = match (&scope, &request.place.cgroup_parent) {
        (Some(_), _) => rkt_isolate::cgroup::scope::parent(&uuid),
        (None, Some(given)) => given.clone(),
        (None, None) => CGROUP_PARENT.to_owned(),
    };
    let plan = Plan {
        uuid,
        pod_name: manifest.name.clone(),
        hostname: manifest.hostname.clone(),
        net,
        networks: networks.iter().map(|n| n.plan.clone()).collect(),
        ports,
        run_dir: text(&request.place.run_dir)?,
        cgroup_parent,
        slots: needed.max(BLOCK_SLOTS),
        hide_siblings: apps.len() > 1,
        hosts: names.hosts,
        keep_hosts: names.keep_hosts,
        grow_hosts: names.grow_hosts,
        resolv_conf: names.resolv_conf,
        resolver: names.resolver,
        volumes: volume_plans(manifest, opened),
        sysctls,
        apps,
        limits: pod_limits,
        rkt_fd: None,
        plugin_directories: plugin_directories(request)?,
        lock_fd: -1,
        ready_fd: None,
        owner: None,
        foreground: !request.detach,
        remove: request.remove,
        debug: request.debug,
        weaken: request.weaken,
    };
    Ok(Planned {
        plan,
        reports,
        pod_report,
        networks,
        notes,
        scope,
    })
}

/// Where plugins may lie beside the networks that name them, as in the original; the latest
/// directory first.
fn plugin_directories(request: &RunRequest) -> Result<Vec<String>, Error> {
    let all = request.configs.iter().rev();
    all.map(|dir| text(&dir.join(networks::DIRECTORY)))
        .collect()
}

/// What is the same for all apps of a pod.
struct Wish<'a> {
    request: &'a RunRequest,
    manifest: &'a PodManifest,
    facts: &'a Facts,
    net: Net,
}

/// What a pod can have; the rest is apps'.
fn of_pod(isolator: &Isolator) -> Result<(), Error> {
    match isolator {
        Isolator::Memory { .. }
        | Isolator::Cpu { .. }
        | Isolator::Pids { .. }
        | Isolator::CapabilitiesRetain { .. }
        | Isolator::Sysctl(_) => Ok(()),
        other => Err(
            Error::new(format!("a pod cannot have the isolator {other:?}"))
                .hint("give it to each app"),
        ),
    }
}

/// Capabilities that the pod leaves its apps; `None` when it says nothing of them.
fn pod_caps(manifest: &PodManifest) -> Result<Option<CapSet>, Error> {
    let mut found = None;
    for isolator in &manifest.isolators {
        if let Isolator::CapabilitiesRetain { set } = isolator {
            let mut all = CapSet::EMPTY;
            for name in set {
                all = all.union(CapSet::parse_one(name)?);
            }
            found = Some(all);
        }
    }
    Ok(found)
}

/// The app's isolators, within what the pod leaves it: a grant beyond it is refused, rkt's default
/// is cut down to it.
fn within_pod(app: &RuntimeApp, pod: Option<CapSet>) -> Result<Vec<Isolator>, Error> {
    let mut list = app.app.isolators.clone();
    let Some(pod) = pod else {
        return Ok(list);
    };
    let mut wanted = CAPABILITIES;
    for isolator in &list {
        let mut set = CapSet::EMPTY;
        if let Isolator::CapabilitiesRetain { set: names }
        | Isolator::CapabilitiesRemove { set: names } = isolator
        {
            for name in names {
                set = set.union(CapSet::parse_one(name)?);
            }
        }
        match isolator {
            Isolator::CapabilitiesRetain { .. } if !pod.contains(set) => {
                return Err(Error::usage(format!(
                    "it is granted {}, which the pod does not leave its apps",
                    set.without(pod)
                ))
                .hint("`--pod-caps-retain` says what apps of the pod may be granted"));
            }
            Isolator::CapabilitiesRetain { .. } => return Ok(list),
            Isolator::CapabilitiesRemove { .. } => wanted = wanted.without(set),
            _ => {}
        }
    }
    let rest = wanted.without(wanted.without(pod));
    list.retain(|i| !matches!(i, Isolator::CapabilitiesRemove { .. }));
    list.push(if wanted == rest && rest == CAPABILITIES {
        return Ok(list);
    } else {
        let gone = CAPABILITIES.without(rest);
        Isolator::CapabilitiesRemove {
            set: gone.names().map(|n| format!("CAP_{n}")).collect(),
        }
    });
    Ok(list)
}

/// The flags that decide on an app's capabilities in a pod with a bound of its own.
fn caps_flags(app: &RuntimeApp) -> &'static str {
    let all = &app.app.isolators;
    let has = |kind: fn(&Isolator) -> bool| all.iter().any(kind);
    if has(|i| matches!(i, Isolator::CapabilitiesRetain { .. })) {
        "--caps-retain, --pod-caps-retain"
    } else if has(|i| matches!(i, Isolator::CapabilitiesRemove { .. })) {
        "--caps-remove, --pod-caps-retain"
    } else {
        "--pod-caps-retain"
    }
}

/// Reads the app's profile of system calls, if it has one.
fn profile(
    isolators: &[Isolator],
    facts: &Facts,
    notes: &mut Vec<String>,
    app: &RuntimeApp,
) -> Result<Option<List>, Error> {
    let found = isolators.iter().find_map(|i| match i {
        Isolator::SeccompProfile { source, profile } => Some((source, profile)),
        _ => None,
    });
    let Some((source, text)) = found else {
        return Ok(None);
    };
    let here = filters::Here {
        caps: bounding(isolators)?,
        kernel: facts.host.kernel,
    };
    let read = filters::read(source, text, here)?;
    let named = read.notes.into_iter();
    notes.extend(named.map(|note| format!("app `{}`: {note}", app.name)));
    Ok(Some(read.list))
}

/// The bounding set that isolators ask for, which a profile's conditions look at.
fn bounding(isolators: &[Isolator]) -> Result<CapSet, Error> {
    let mut wanted = CAPABILITIES;
    for isolator in isolators {
        let parse = |names: &[String]| -> Result<CapSet, Error> {
            let mut set = CapSet::EMPTY;
            for name in names {
                set = set.union(CapSet::parse_one(name)?);
            }
            Ok(set)
        };
        match isolator {
            Isolator::CapabilitiesRetain { set } => wanted = parse(set)?,
            Isolator::CapabilitiesRemove { set } => wanted = wanted.without(parse(set)?),
            _ => {}
        }
    }
    Ok(wanted)
}

fn app_plan(
    Wish {
        request,
        manifest,
        facts,
        net,
    }: &Wish<'_>,
    slot: u32,
    app: &RuntimeApp,
    asked: &AppRequest,
    notes: &mut Vec<String>,
) -> Result<(AppPlan, Report), Error> {
    let uid = id(&app.app.user)?;
    let pod_caps = pod_caps(manifest)?;
    let isolators = within_pod(app, pod_caps)?;
    let profile = profile(&isolators, facts, notes, app)?;
    let devices = devices::look_up(&isolators)?;
    let compiler = |special: &Special<'_>| filter_cache::program(&request.place.dir, special);
    let wish = WallsRequest {
        insecure: insecure(request.insecure),
        landlock: if request.landlock {
            Landlock::Required
        } else {
            Landlock::Off
        },
        shm_bytes: asked.shm_bytes,
        net: *net,
        profile: profile.as_ref(),
        devices: &devices,
        caps_flag: pod_caps.map(|_| caps_flags(app)),
        denials: asked.denials,
        compiler: Compiler(&compiler),
        ..WallsRequest::new(&isolators, uid)
    };
    let (walls, mut report) = walls(&wish, &facts.host)?;
    let (limits, more): (Vec<Limit>, Report) = limits(&app.app.isolators, Scope::App, &facts.host)?;
    report.rows.extend(more.rows);
    let stays = report.rows.iter().find(|row| row.what == OVERRULED);
    notes.extend(stays.map(|row| {
        format!(
            "app `{}`: its list allows {}, and rkt refuses them all the same ({} open them)",
            app.name, row.wanted, row.flag
        )
    }));
    let plan = AppPlan {
        name: app.name.clone(),
        slot: match walls.user_space {
            UserSpace::Own => slot,
            UserSpace::Pod => 0,
        },
        layers: Vec::new(),
        read_only: app.read_only_root_fs,
        root_bytes: app.root_size.unwrap_or(0),
        process: Process {
            argv: app.app.exec.iter().map(|w| bytes(w)).collect(),
            env: app
                .app
                .environment
                .iter()
                .map(|p| bytes(&format!("{}={}", p.name, p.value)))
                .collect(),
            uid,
            gid: id(&app.app.group)?,
            groups: app.app.supplementary_gids.clone(),
            cwd: app.app.working_directory.clone(),
            make_cwd: true,
            umask: rkt_isolate::defaults::UMASK,
        },
        stdio: match request.stdin {
            Stdin::Null => Stdio::Log,
            Stdin::Stream => Stdio::Stream,
            Stdin::Tty => Stdio::Tty,
            Stdin::Auto if facts.terminal => Stdio::Tty,
            Stdin::Auto => Stdio::Stream,
        },
        mounts: mounts(manifest, app)?,
        walls,
        limits,
        stop_signal: signal::parse(&app.app.stop_signal)?,
        stop_timeout_ms: app.app.stop_timeout_ms,
        log_max_bytes: asked.log_max_bytes.unwrap_or(LOG_MAX_BYTES),
        log_files: asked.log_files.unwrap_or(LOG_FILES),
        image_name: app.image.name.clone(),
        image_id: app.image.id.clone(),
    };
    Ok((plan, report))
}

fn mounts(manifest: &PodManifest, app: &RuntimeApp) -> Result<Vec<MountPlan>, Error> {
    let mut list = Vec::with_capacity(app.mounts.len());
    for mount in &app.mounts {
        let at = manifest
            .volumes
            .iter()
            .position(|v| v.name == mount.volume)
            .and_then(|at| u32::try_from(at).ok())
            .ok_or_else(|| Error::new(format!("could not find volume `{}`", mount.volume)))?;
        list.push(MountPlan {
            volume: at,
            target: mount.path.clone(),
            read_only: mount.read_only,
        });
    }
    Ok(list)
}

fn volume_plans(manifest: &PodManifest, opened: &[Option<Source>]) -> Vec<VolumePlan> {
    let none = std::iter::repeat(&None);
    manifest
        .volumes
        .iter()
        .zip(opened.iter().chain(none))
        .map(|(volume, source)| one_volume(volume, source.as_ref()))
        .collect()
}

fn one_volume(volume: &Volume, source: Option<&Source>) -> VolumePlan {
    VolumePlan {
        name: volume.name.clone(),
        kind: match volume.kind {
            Kind::Host => VolumeKind::Host,
            Kind::Empty => VolumeKind::Empty,
            Kind::Image => VolumeKind::Image,
        },
        source: -1,
        source_path: volume.source.clone().unwrap_or_default(),
        directory: source.is_none_or(|s| s.directory),
        recursive: volume.recursive,
        read_only: volume.read_only,
        owner: sources::owner(volume.owner),
        mode: volume.mode.unwrap_or(VOLUME_MODE),
        uid: volume.uid,
        gid: volume.gid,
        bytes: volume.size.unwrap_or(0),
    }
}

/// The pod's own bound of tasks would be a surprise where every app's was taken away.
fn pod_isolators(manifest: &PodManifest) -> Vec<Isolator> {
    let unbounded = |app: &RuntimeApp| {
        app.app
            .isolators
            .iter()
            .any(|i| matches!(i, Isolator::Pids { limit: 0 }))
    };
    let mut list: Vec<Isolator> = manifest
        .isolators
        .iter()
        .filter(|i| !matches!(i, Isolator::Sysctl(_) | Isolator::CapabilitiesRetain { .. }))
        .cloned()
        .collect();
    if manifest.apps.iter().all(unbounded)
        && !list.iter().any(|i| matches!(i, Isolator::Pids { .. }))
    {
        list.push(Isolator::Pids { limit: 0 });
    }
    list
}

fn insecure(options: InsecureOptions) -> Insecure {
    [
        (InsecureOptions::CAPABILITIES, Insecure::CAPABILITIES),
        (InsecureOptions::PATHS, Insecure::PATHS),
        (InsecureOptions::SECCOMP, Insecure::SECCOMP),
        (InsecureOptions::LANDLOCK, Insecure::LANDLOCK),
    ]
    .into_iter()
    .filter(|(option, _)| options.has(*option))
    .fold(Insecure::NONE, |all, (_, wall)| all.with(wall))
}

/// Ports of the image that an app without privilege over the host's network cannot open.
fn low_ports(app: &RuntimeApp, low_port: u16) -> Option<String> {
    let port = app
        .app
        .ports
        .iter()
        .map(|p| p.port)
        .find(|p| *p < low_port)?;
    Some(format!(
        "app `{}` wants port {port}, and below {low_port} the host's network is closed to it: \
         let it listen higher, or set the sysctl net.ipv4.ip_unprivileged_port_start={port}",
        app.name
    ))
}

/// One line that names what this host lacks; limits of the caller are told by --explain only.
fn shortfalls(reports: &[Report], pod: &Report) -> Option<String> {
    let mut names: Vec<&str> = Vec::new();
    for row in reports.iter().chain([pod]).flat_map(Report::shortfalls) {
        let name = row.what.as_str();
        if row.by != "the user"
            && name != OVERRULED
            && !name.starts_with("limit ")
            && !names.contains(&name)
        {
            names.push(name);
        }
    }
    if names.is_empty() {
        return None;
    }
    Some(format!(
        "this host holds less than is wanted of: {} (--explain tells more)",
        names.join(", ")
    ))
}

fn bytes(text: &str) -> Bytes {
    Bytes(text.as_bytes().to_vec())
}

fn id(text: &str) -> Result<u32, Error> {
    text.parse()
        .map_err(|_| Error::new(format!("`{text}` is no id")))
}

fn text(path: &std::path::Path) -> Result<String, Error> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| Error::usage(format!("the path `{}` is not UTF-8", path.display())))
}
