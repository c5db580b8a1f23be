//! What the system puts into every app's root: /proc, /sys, /dev and a few generated files.

use super::Maker;
use super::tree::{Kind, Tree, chown};
use crate::error::{Doing, Failure};
use crate::host::open_in;
use crate::sandbox::SHM;
use rkt_isolate::defaults;
use rkt_spec::plan::weaken;
use rkt_sys::mount::{self, Attr, Change, NewFs, attr};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Dev, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::io;

/// The usual flags of a file system that holds no programs.
fn inert() -> Attr {
    Attr::MOUNT_ATTR_NOSUID | Attr::MOUNT_ATTR_NODEV | Attr::MOUNT_ATTR_NOEXEC
}

/// Whether procfs can be told which PID namespace to show (Linux 6.17).
pub(super) fn proc_takes_pidns(pids: BorrowedFd<'_>) -> bool {
    NewFs::open(c"proc")
        .and_then(|fs| fs.set_fd(c"pidns", pids).map(drop))
        .is_ok()
}

/// Mounts /proc, /sys and /dev with what belongs below them, masked as the walls say.
pub(super) fn mount_all(maker: &Maker<'_>, tree: &Tree) -> Result<(), Failure> {
    let at = |name: &'static str| move || format!("mount `/{name}`");
    proc(maker, tree).doing(at("proc"))?;
    sys(maker, tree).doing(at("sys"))?;
    let null = dev(maker, tree).doing(at("dev"))?;
    if maker.weak(weaken::MASKS) {
        return Ok(());
    }
    read_only(maker, tree)?;
    mask(maker, tree, &null)
}

fn proc(maker: &Maker<'_>, tree: &Tree) -> io::Result<()> {
    let fs = NewFs::open(c"proc")?;
    // Fails before 6.17; the set-up child is then in the pod's PID namespace itself.
    let _ = fs.set_fd(c"pidns", maker.sandbox.pids.as_fd());
    if maker.plan.hide_siblings && !maker.weak(weaken::HIDEPID) {
        fs.set(c"hidepid", "ptraceable")?;
    }
    tree.put(fs.mount(inert())?, tree.own_dir("proc")?)
}

/// The calling process is in the pod's network namespace, whose devices sysfs shows.
fn sys(maker: &Maker<'_>, tree: &Tree) -> io::Result<()> {
    let sys = NewFs::open(c"sysfs")?.mount(inert() | Attr::MOUNT_ATTR_RDONLY)?;
    tree.put(sys, tree.own_dir("sys")?)?;
    let place = match open_in(
        tree.root(),
        "sys/fs/cgroup",
        OFlags::PATH,
        ResolveFlags::NO_SYMLINKS,
    ) {
        Ok(place) => place,
        // A kernel without cgroups.
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if maker.weak(weaken::CGROUP_VIEW) {
        let host = NewFs::open(c"cgroup").and_then(|fs| {
            fs.set(c"freezer", "").or_else(|_| fs.flag(c"freezer"))?;
            fs.mount(inert())
        });
        return tree.put(
            host.or_else(|_| NewFs::open(c"cgroup2")?.mount(inert()))?,
            place,
        );
    }
    let view = if maker.cgroup_view {
        // Born in its leaf, in a cgroup namespace of its own: the leaf is the root of this mount.
        NewFs::open(c"cgroup2")?.mount(inert() | Attr::MOUNT_ATTR_RDONLY)?
    } else {
        empty(Attr::MOUNT_ATTR_RDONLY)?
    };
    tree.put(view, place)
}

/// An empty tmpfs that can hold nothing.
fn empty(more: Attr) -> io::Result<OwnedFd> {
    let fs = NewFs::open(c"tmpfs")?;
    fs.set(c"size", "4k")?
        .set(c"nr_inodes", "1")?
        .set(c"mode", "0555")?;
    fs.mount(inert() | more)
}

/// A tmpfs of our own with nodes of our own: never the image's /dev (CVE-2025-31133,
/// CVE-2026-41579). Gives the null device, for masks.
fn dev(maker: &Maker<'_>, tree: &Tree) -> io::Result<OwnedFd> {
    let uid0 = maker.uid0();
    let fs = NewFs::open(c"tmpfs")?;
    fs.set(c"size", &defaults::DEV_BYTES.to_string())?
        .set(c"nr_inodes", "64")?
        .set(c"mode", "0755")?;
    let dev = fs.mount(Attr::MOUNT_ATTR_NOSUID | Attr::MOUNT_ATTR_NOEXEC)?;
    chown(dev.as_fd(), uid0, uid0)?;
    for node in defaults::DEVICES {
        let number = rustix::fs::makedev(node.major, node.minor) as Dev;
        let mode = Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(&dev, node.name, FileType::CharacterDevice, mode, number)?;
    }
    for (name, target) in defaults::DEVICE_LINKS {
        rustix::fs::symlinkat(*target, &dev, *name)?;
    }
    for name in ["pts", "shm", "mqueue"] {
        rustix::fs::mkdirat(&dev, name, Mode::from_raw_mode(0o755))?;
    }
    // A mount inside a detached tree takes no new flags, so this comes before it is attached.
    let change = Change {
        set: attr::RDONLY,
        ..Change::default()
    };
    mount::set_attr(dev.as_fd(), &change)?;
    tree.put(&dev, tree.own_dir("dev")?)?;
    let place = |name: &str| open_in(dev.as_fd(), name, OFlags::PATH, ResolveFlags::NO_SYMLINKS);
    let pts = NewFs::open(c"devpts")?;
    pts.set(c"ptmxmode", "0666")?
        .set(c"mode", "0620")?
        .set(c"max", &defaults::DEVPTS_MAX.to_string())?;
    pts.set(c"gid", &uid0.saturating_add(5).to_string())?;
    tree.put(
        pts.mount(Attr::MOUNT_ATTR_NOSUID | Attr::MOUNT_ATTR_NOEXEC)?,
        place("pts")?,
    )?;
    tree.put(shared_memory(maker)?, place("shm")?)?;
    match NewFs::open(c"mqueue").and_then(|fs| fs.mount(inert())) {
        Ok(queue) => tree.put(queue, place("mqueue")?)?,
        // A kernel without POSIX message queues.
        Err(e) if e.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => {}
        Err(error) => return Err(error),
    }
    let null = open_in(dev.as_fd(), "null", OFlags::PATH, ResolveFlags::NO_SYMLINKS)?;
    Ok(null)
}

/// The pod's one shared memory: what an app leaves there has ids no other app can be.
fn shared_memory(maker: &Maker<'_>) -> io::Result<OwnedFd> {
    if maker.weak(weaken::PIVOT) {
        return empty(Attr::empty());
    }
    let path = format!("/{SHM}");
    mount::clone_tree(
        rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?,
        false,
    )
}

/// A path of our own mounts below /proc or /sys; `None` when this kernel does not have it.
fn system_path(tree: &Tree, path: &str) -> Result<Option<OwnedFd>, Failure> {
    match open_in(tree.root(), path, OFlags::PATH, ResolveFlags::NO_SYMLINKS) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(Failure::new(format!("open `{path}`"), error.to_string())),
    }
}

fn read_only(maker: &Maker<'_>, tree: &Tree) -> Result<(), Failure> {
    for path in &maker.app.walls.read_only_paths {
        let doing = || format!("make `{path}` read-only");
        let Some(place) = system_path(tree, path)? else {
            continue;
        };
        let copy = tree.copy(&place).doing(doing)?;
        let change = Change {
            set: attr::RDONLY,
            private: true,
            ..Change::default()
        };
        mount::set_attr(copy.as_fd(), &change).doing(doing)?;
        tree.put(copy, place).doing(doing)?;
    }
    Ok(())
}

fn mask(maker: &Maker<'_>, tree: &Tree, null: &OwnedFd) -> Result<(), Failure> {
    let doing = || "make an empty directory for masks".to_owned();
    let hidden = empty(Attr::MOUNT_ATTR_RDONLY).doing(doing)?;
    let place = super::tree::stage_dir(tree.stage(), "e").doing(doing)?;
    mount::attach(&hidden, place).doing(doing)?;
    for path in &maker.app.walls.masked {
        let doing = || format!("mask `{path}`");
        let Some(place) = system_path(tree, path)? else {
            continue;
        };
        let kind = rustix::fs::fstat(&place).doing(doing)?.st_mode;
        let cover = if FileType::from_raw_mode(kind).is_dir() {
            mount::clone_tree(&hidden, false).doing(doing)?
        } else {
            tree.copy(null).doing(doing)?
        };
        tree.put(cover, place).doing(doing)?;
    }
    Ok(())
}

/// Generated /etc files, read-only, from a file system of their own.
pub(super) fn mount_files(maker: &Maker<'_>, tree: &Tree) -> Result<(), Failure> {
    let hostname = format!("{}\n", maker.plan.hostname).into_bytes();
    let files = [
        ("hostname", Some(hostname.as_slice())),
        ("hosts", maker.plan.hosts.as_ref().map(|b| b.0.as_slice())),
        (
            "resolv.conf",
            maker.plan.resolv_conf.as_ref().map(|b| b.0.as_slice()),
        ),
    ];
    for (name, content) in files {
        let Some(content) = content else { continue };
        let target = format!("/etc/{name}");
        // A volume of the user at this very place wins.
        if maker.app.mounts.iter().any(|m| m.target == target) {
            continue;
        }
        let doing = || format!("write `{target}`");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(tree.stage(), name, flags, Mode::from_raw_mode(0o644));
        let file = file.doing(doing)?;
        rustix::io::write(&file, content).doing(doing)?;
        chown(file.as_fd(), maker.uid0(), maker.uid0()).doing(doing)?;
        let source = rustix::fs::openat(
            tree.stage(),
            name,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let copy = mount::clone_tree(source.doing(doing)?, false).doing(doing)?;
        let set = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;
        mount::set_attr(
            copy.as_fd(),
            &Change {
                set,
                ..Change::default()
            },
        )
        .doing(doing)?;
        let place = tree.place(&target, Kind::File).doing(doing)?;
        tree.put(copy, place).doing(doing)?;
    }
    Ok(())
}
