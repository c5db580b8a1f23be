//! The mount table and what is open, beside the plan. Pure.

use super::compare::{Finding, Findings, Group};
use super::facts::{Facts, Mount};
use rkt_spec::network::PortWay;
use rkt_spec::plan::{AppPlan, Plan, VolumeKind};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// Bit of SYS_CHROOT: who has it may have another root.
const SYS_CHROOT: u64 = 1 << 18;
const INERT: &[&str] = &["nosuid", "nodev", "noexec"];
const INERT_RO: &[&str] = &["ro", "nosuid", "nodev", "noexec"];
/// Covers made of `/dev/null` are device nodes, so they are not nodev.
const COVER: &[&str] = &["ro", "nosuid", "noexec"];

/// A mount that the plan wants.
struct Want<'a> {
    path: &'a str,
    /// The mount that lies there, where a path of the image had to be followed to tell.
    id: Option<u64>,
    kinds: &'a [&'a str],
    flags: Vec<&'a str>,
    /// Word for findings.
    what: &'a str,
    /// Whether it must be there.
    must: bool,
    /// Whether mounts below it came along.
    below: bool,
}

impl<'a> Want<'a> {
    fn new(path: &'a str, kinds: &'a [&'a str], flags: &[&'a str]) -> Self {
        Self {
            path,
            id: None,
            kinds,
            flags: flags.to_vec(),
            what: "mount",
            must: true,
            below: false,
        }
    }

    fn lies_at(&self, mount: &Mount) -> bool {
        self.id.map_or(self.path == mount.path, |id| id == mount.id)
    }

    /// What of it a mount lacks.
    fn lacks(&self, mount: &Mount) -> Option<(String, String)> {
        if !self.kinds.is_empty() && !self.kinds.contains(&mount.kind.as_str()) {
            return Some((self.kinds.join(" or "), mount.kind.clone()));
        }
        flags(mount, &self.flags)
    }
}

fn flags(mount: &Mount, wanted: &[&str]) -> Option<(String, String)> {
    let has = |flag: &&str| mount.options.iter().any(|o| o == flag);
    let missing = wanted.iter().any(|flag| !has(flag));
    missing.then(|| (wanted.join(","), mount.options.join(",")))
}

/// init has one empty read-only mount and nothing open that is a path.
pub(super) fn init(out: &mut Findings, facts: &Facts) {
    match facts.mounts.as_slice() {
        [root] if root.path == "/" && root.kind == "tmpfs" => {
            if let Some((wanted, found)) = flags(root, INERT_RO) {
                out.add(Group::Mounts, "mount /", wanted, found);
            }
        }
        other => {
            let found = format!("{} mounts", other.len());
            out.add(Group::Mounts, "mounts", "one, an empty tmpfs", found);
        }
    }
    if facts.root_entries > 0 {
        out.add(Group::Mounts, "root", "empty", "not empty");
    }
    for open in &facts.descriptors {
        let own = open.name.parse::<u32>().is_ok();
        if own && (open.mount.is_some() || is_namespace(&open.link)) {
            let field = format!("descriptor {}", open.name);
            out.add(Group::Descriptors, field, "no path", &open.link);
        }
    }
}

/// Paths of an app that have to be looked up in its root: what is to be hidden or read-only, and
/// where its volumes lie.
pub fn paths(app: &AppPlan) -> (Vec<&str>, Vec<&str>) {
    let walls = &app.walls;
    let covered = walls.masked.iter().chain(&walls.read_only_paths);
    (
        covered.map(String::as_str).collect(),
        app.mounts.iter().map(|m| m.target.as_str()).collect(),
    )
}

/// Compares the mounts and descriptors of a process of an app.
pub(super) fn app(out: &mut Findings, plan: &Plan, app: &AppPlan, facts: &Facts, first: &Facts) {
    let own_root = facts.root == "/";
    let may_chroot = app.walls.bounding.0 & SYS_CHROOT != 0;
    if own_root {
        table(out, plan, app, facts);
    } else if !may_chroot {
        out.add(Group::Mounts, "root", "/", &facts.root);
    }
    // Who changed its root sees fewer mounts than it has, who is in another namespace others.
    let all = if first.root == "/" { first } else { facts };
    descriptors(out, facts, &all.mounts);
    sockets(out, plan, app, facts);
}

fn system<'a>(plan: &'a Plan, app: &'a AppPlan) -> Vec<Want<'a>> {
    let walls = &app.walls;
    let mut root = vec!["nodev"];
    if walls.no_new_privs {
        root.push("nosuid");
    }
    if app.read_only {
        root.push("ro");
    }
    let mut all = vec![
        Want::new("/", &["overlay"], &root),
        Want::new("/proc", &["proc"], INERT),
        Want::new("/dev", &["tmpfs"], COVER),
        Want::new("/dev/pts", &["devpts"], &["nosuid", "noexec"]),
        Want::new("/dev/shm", &["tmpfs"], INERT),
        Want::new("/sys", &["sysfs"], INERT_RO),
    ];
    let groups = Want::new("/sys/fs/cgroup", &["cgroup2", "tmpfs"], INERT_RO);
    let queues = Want::new("/dev/mqueue", &["mqueue"], INERT);
    // Kernels may lack these.
    all.extend([groups, queues].map(|want| Want {
        must: false,
        ..want
    }));
    let files = [
        ("/etc/hostname", true),
        ("/etc/hosts", plan.hosts.is_some()),
        (
            "/etc/resolv.conf",
            plan.resolv_conf.is_some() || plan.resolver.is_some(),
        ),
    ];
    let made = files.into_iter().filter(|(_, made)| *made);
    // A link of the image may have led elsewhere, and a volume may have taken the place.
    all.extend(made.map(|(path, _)| Want {
        must: false,
        ..Want::new(path, &["tmpfs"], INERT_RO)
    }));
    all
}

fn covers<'a>(app: &'a AppPlan, facts: &Facts) -> Vec<Want<'a>> {
    let there = |path: &&String| facts.present.contains(*path);
    let masked = app.walls.masked.iter().filter(there);
    let read_only = app.walls.read_only_paths.iter().filter(there);
    let hide = |path: &'a String| Want {
        what: "mask",
        ..Want::new(path, &["tmpfs"], COVER)
    };
    let keep = |path: &'a String| Want {
        what: "read-only path",
        ..Want::new(path, &[], &["ro"])
    };
    masked.map(hide).chain(read_only.map(keep)).collect()
}

fn volumes<'a>(plan: &'a Plan, app: &'a AppPlan, facts: &Facts) -> Vec<Want<'a>> {
    let want = |mount: &'a rkt_spec::plan::MountPlan| {
        let volume = plan.volumes.get(mount.volume as usize)?;
        let mut flags = vec!["nosuid", "nodev"];
        if volume.read_only || mount.read_only {
            flags.push("ro");
        }
        let kinds: &[&str] = match volume.kind {
            VolumeKind::Image => &["overlay"],
            VolumeKind::Empty if volume.bytes > 0 => &["tmpfs"],
            _ => &[],
        };
        Some(Want {
            id: facts.places.get(&mount.target).copied(),
            what: "volume",
            below: volume.kind == VolumeKind::Host && volume.recursive,
            ..Want::new(&mount.target, kinds, &flags)
        })
    };
    app.mounts.iter().filter_map(want).collect()
}

fn table(out: &mut Findings, plan: &Plan, app: &AppPlan, facts: &Facts) {
    let mut wants = system(plan, app);
    wants.extend(covers(app, facts));
    wants.extend(volumes(plan, app, facts));
    for want in &wants {
        let mut there = facts.mounts.iter().filter(|m| want.lies_at(m)).peekable();
        if there.peek().is_none() {
            if want.must {
                let field = format!("{} {}", want.what, want.path);
                out.add(Group::Mounts, field, "mounted", "missing");
            }
            continue;
        }
        // Something of the plan may lie on something else of it: one must be as wanted.
        let lacks: Vec<_> = there.map(|m| want.lacks(m)).collect();
        if let Some(Some((wanted, found))) = lacks.iter().min_by_key(|l| l.is_some()) {
            let field = format!("{} {}", want.what, want.path);
            out.add(Group::Mounts, field, wanted, found);
        }
    }
    for mount in &facts.mounts {
        unplanned(out, &wants, facts, mount);
        if mount.propagates {
            let field = format!("mount {}", mount.path);
            out.add(Group::Mounts, field, "private", "propagates");
        }
    }
    let shows_all = |m: &Mount| {
        let hides = |o: &String| o == "hidepid=ptraceable" || o == "hidepid=4";
        m.path == "/proc" && !m.super_options.iter().any(hides)
    };
    if plan.hide_siblings && facts.mounts.iter().any(shows_all) {
        let wanted = "hidepid=ptraceable";
        out.add(Group::Mounts, "mount /proc", wanted, "shows siblings");
    }
}

fn unplanned(out: &mut Findings, wants: &[Want<'_>], facts: &Facts, mount: &Mount) {
    if wants.iter().any(|w| w.lies_at(mount)) {
        return;
    }
    // What came along with a volume of the host has the volume's flags.
    let carries = |want: &&Want<'_>| {
        let mut tops = facts.mounts.iter().filter(|m| want.lies_at(m));
        let beneath = |top: &str| {
            let rest = mount.path.strip_prefix(top.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.starts_with('/'))
        };
        want.below && tops.any(|top| beneath(&top.path))
    };
    let field = format!("mount {}", mount.path);
    match wants.iter().find(carries) {
        Some(want) => {
            if let Some((wanted, found)) = flags(mount, &want.flags) {
                out.add(Group::Mounts, field, wanted, found);
            }
        }
        None => {
            let found = format!("{} of {} ({})", mount.root, mount.device, mount.kind);
            out.add(Group::Mounts, field, "none, no volume names it", found);
        }
    }
}

fn descriptors(out: &mut Findings, facts: &Facts, mounts: &[Mount]) {
    let ids: BTreeSet<u64> = mounts.iter().map(|m| m.id).collect();
    let queues: BTreeSet<&str> = mounts
        .iter()
        .filter(|m| m.kind == "mqueue")
        .map(|m| m.device.as_str())
        .collect();
    for open in &facts.descriptors {
        let field = match open.name.parse::<u32>() {
            Ok(number) => format!("descriptor {number}"),
            Err(_) => open.name.clone(),
        };
        if is_namespace(&open.link) && !is_own(facts, &open.link) {
            let wanted = "no namespace but its own";
            out.add(Group::Descriptors, field, wanted, &open.link);
            continue;
        }
        let Some(mount) = open.mount else {
            continue;
        };
        // Memory without a name and queues lie in mounts of the kernel's own.
        let memory = open.link.starts_with("/memfd:") && open.link.ends_with(" (deleted)");
        if !ids.contains(&mount) && !memory && !queues.contains(open.device.as_str()) {
            let wanted = "in the app's mounts";
            out.add(Group::Descriptors, field, wanted, &open.link);
        }
    }
    if facts.too_many_descriptors {
        let found = "more than are looked at";
        out.add(Group::Descriptors, "descriptors", "at most 65536", found);
    }
}

/// A socket of another network reaches past the pod's own. Those that the app was to be given, and
/// what is accepted from them, have the address of their port.
fn sockets(out: &mut Findings, plan: &Plan, app: &AppPlan, facts: &Facts) {
    let given = |address: SocketAddr| {
        plan.ports.iter().any(|port| {
            port.way == PortWay::Socket
                && port.app.as_ref() == Some(&app.name)
                && port.host_port == address.port()
                && (port.host == address.ip() || port.host.is_unspecified())
        })
    };
    for open in &facts.descriptors {
        let Some(socket) = open.socket else { continue };
        let own = facts.namespaces.get("net") == Some(&socket.network);
        if !own && !socket.address.is_some_and(given) {
            let field = format!("descriptor {}", open.name);
            let wanted = "no socket of another network";
            let found = match socket.address {
                Some(address) => format!("{} of net:[{}] at {address}", open.link, socket.network),
                None => format!("{} of net:[{}]", open.link, socket.network),
            };
            out.add(Group::Descriptors, field, wanted, found);
        }
    }
}

fn parts(link: &str) -> Option<(&str, u64)> {
    let (kind, rest) = link.split_once(":[")?;
    Some((kind, rest.strip_suffix(']')?.parse().ok()?))
}

fn is_namespace(link: &str) -> bool {
    let kinds = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"];
    parts(link).is_some_and(|(kind, _)| kinds.contains(&kind))
}

fn is_own(facts: &Facts, link: &str) -> bool {
    parts(link).is_some_and(|(kind, inode)| facts.namespaces.get(kind) == Some(&inode))
}

/// Whether two findings are about the same thing.
pub(super) fn alike(a: &Finding, b: &Finding) -> bool {
    (a.group, &a.field) == (b.group, &b.field)
}
