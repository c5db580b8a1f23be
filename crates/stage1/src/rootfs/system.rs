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

/// Name on the stage of the directory that [`places`] makes.
pub(super) const PLACES: &str = "below";

/// The places of the system's own mounts, as a layer below the image's: what an image lacks of
/// them is there without being written to the app's upper on disk at every start.
pub(super) fn places(maker: &Maker<'_>, stage: &OwnedFd) -> Result<OwnedFd, Failure> {
    let doing = || "make the places of the system's mounts".to_owned();
    let uid0 = maker.uid0();
    let make = |dir: &OwnedFd, name: &str| {
        rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(dir, name, flags, Mode::empty())?;
        chown(made.as_fd(), uid0, uid0).map(|()| made)
    };
    let top = make(stage, PLACES).doing(doing)?;
    for name in ["proc", "sys", "dev"] {
        make(&top, name).doing(doing)?;
    }
    let etc = make(&top, "etc").doing(doing)?;
    for (name, _) in files(maker) {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&etc, name, flags, Mode::from_raw_mode(0o644));
        chown(file.doing(doing)?.as_fd(), uid0, uid0).doing(doing)?;
    }
    Ok(top)
}

/// Mounts /proc, and /dev with what belongs below it: what needs nothing of the pod but its
/// processes.
pub(super) fn mount_own(maker: &Maker<'_>, tree: &Tree<'_>) -> Result<(), Failure> {
    proc(maker, tree).doing(|| "mount `/proc`".into())?;
    dev(maker, tree).doing(|| "mount `/dev`".into())
}

/// Mounts the pod's shared memory, /sys and the message queues, which show the calling process's
/// network and IPC, then masks as the walls say.
pub(super) fn mount_shared(maker: &Maker<'_>, tree: &Tree<'_>) -> Result<(), Failure> {
    memory(maker, tree).doing(|| "mount `/dev/shm`".into())?;
    sys(maker, tree).doing(|| "mount `/sys`".into())?;
    queues(tree).doing(|| "mount `/dev/mqueue`".into())?;
    if maker.weak(weaken::MASKS) {
        return Ok(());
    }
    read_only(maker, tree)?;
    mask(maker, tree)
}

fn proc(maker: &Maker<'_>, tree: &Tree<'_>) -> io::Result<()> {
    let fs = NewFs::open(c"proc")?;
    // Fails before 6.17; the set-up child is then in the pod's PID namespace itself.
    let _ = fs.set_fd(c"pidns", maker.pids);
    if maker.plan.hide_siblings && !maker.weak(weaken::HIDEPID) {
        fs.set(c"hidepid", "ptraceable")?;
    }
    tree.put(fs.mount(inert())?, tree.own_dir("proc")?)
}

/// The calling process is in the pod's network namespace, whose devices sysfs shows.
fn sys(maker: &Maker<'_>, tree: &Tree<'_>) -> io::Result<()> {
    let sys = NewFs::open(c"sysfs")?.mount(inert() | Attr::MOUNT_ATTR_RDONLY)?;
    tree.put(sys, tree.own_dir("sys")?)?;
    let place = match own(tree, "sys/fs/cgroup") {
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
/// CVE-2026-41579).
fn dev(maker: &Maker<'_>, tree: &Tree<'_>) -> io::Result<()> {
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
    for device in &maker.app.walls.devices {
        node(&dev, device)?;
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
    let pts = NewFs::open(c"devpts")?;
    pts.set(c"ptmxmode", "0666")?
        .set(c"mode", "0620")?
        .set(c"max", &defaults::DEVPTS_MAX.to_string())?;
    pts.set(c"gid", &uid0.saturating_add(5).to_string())?;
    tree.put(
        pts.mount(Attr::MOUNT_ATTR_NOSUID | Attr::MOUNT_ATTR_NOEXEC)?,
        open_in(dev.as_fd(), "pts", OFlags::PATH, ResolveFlags::NO_SYMLINKS)?,
    )
}

/// A device that was asked for. It belongs to the host's root, who is nobody in the app: what
/// others may do is what the app may do, whatever its capabilities.
fn node(dev: &OwnedFd, device: &rkt_spec::plan::Device) -> io::Result<()> {
    let mut names: Vec<&str> = device.name.split('/').collect();
    let Some(last) = names.pop() else {
        return Ok(());
    };
    let parent = super::tree::make_dirs(dev.as_fd(), &names, 0o755)?;
    let kind = if device.block {
        FileType::BlockDevice
    } else {
        FileType::CharacterDevice
    };
    let number = rustix::fs::makedev(device.major, device.minor) as Dev;
    let mode = Mode::from_raw_mode(device.access & 0o6);
    Ok(rustix::fs::mknodat(&parent, last, kind, mode, number)?)
}

fn memory(maker: &Maker<'_>, tree: &Tree<'_>) -> io::Result<()> {
    tree.put(shared_memory(maker)?, own(tree, "dev/shm")?)
}

fn queues(tree: &Tree<'_>) -> io::Result<()> {
    match NewFs::open(c"mqueue").and_then(|fs| fs.mount(inert())) {
        Ok(queue) => tree.put(queue, own(tree, "dev/mqueue")?),
        // A kernel without POSIX message queues.
        Err(e) if e.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A path of a mount of ours in the tree.
fn own(tree: &Tree<'_>, path: &str) -> rustix::io::Result<OwnedFd> {
    open_in(tree.root(), path, OFlags::PATH, ResolveFlags::NO_SYMLINKS)
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
fn system_path(tree: &Tree<'_>, path: &str) -> Result<Option<OwnedFd>, Failure> {
    match own(tree, path) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(Failure::new(format!("open `{path}`"), error.to_string())),
    }
}

/// The paths of a list that rkt covers by itself: those that this kernel lacks are skipped.
fn usual<'a>(maker: &Maker<'a>, list: &'a [String]) -> impl Iterator<Item = &'a String> {
    let asked = &maker.app.walls.asked_paths;
    list.iter().filter(|path| !asked.contains(path))
}

fn read_only(maker: &Maker<'_>, tree: &Tree<'_>) -> Result<(), Failure> {
    for path in usual(maker, &maker.app.walls.read_only_paths) {
        let doing = || format!("make `{path}` read-only");
        let Some(place) = system_path(tree, path)? else {
            continue;
        };
        let copy = tree.copy(&place).doing(doing)?;
        make_read_only(tree, copy, place).doing(doing)?;
    }
    Ok(())
}

fn make_read_only(tree: &Tree<'_>, copy: OwnedFd, place: OwnedFd) -> io::Result<()> {
    let change = Change {
        set: attr::RDONLY,
        private: true,
        recursive: true,
        ..Change::default()
    };
    mount::set_attr(copy.as_fd(), &change)?;
    tree.put(copy, place)
}

fn mask(maker: &Maker<'_>, tree: &Tree<'_>) -> Result<(), Failure> {
    let cover = Cover::new(tree, "e")?;
    for path in usual(maker, &maker.app.walls.masked) {
        if let Some(place) = system_path(tree, path)? {
            cover.put(tree, path, place)?;
        }
    }
    Ok(())
}

/// Covers what was asked for by name, last of all, so that volumes are covered too. What is
/// missing could be made by the app later: it refuses the start, and so does a link.
pub(super) fn cover_asked(maker: &Maker<'_>, tree: &Tree<'_>) -> Result<(), Failure> {
    let walls = &maker.app.walls;
    if walls.asked_paths.is_empty() || maker.weak(weaken::MASKS) {
        return Ok(());
    }
    let cover = Cover::new(tree, "a")?;
    for path in &walls.asked_paths {
        let doing = || format!("cover `{path}`");
        let place = own(tree, path).doing(doing).map_err(|f| {
            f.hint("it has to be there when the app starts, and no part of it a symbolic link")
        })?;
        if walls.masked.contains(path) {
            cover.put(tree, path, place)?;
        } else {
            let copy = tree.copy_all(&place).doing(doing)?;
            make_read_only(tree, copy, place).doing(doing)?;
        }
    }
    Ok(())
}

/// What hides things: the app's null device for files, an empty directory for directories.
struct Cover {
    null: OwnedFd,
    empty: OwnedFd,
}

impl Cover {
    fn new(tree: &Tree<'_>, name: &str) -> Result<Self, Failure> {
        let null = own(tree, "dev/null").doing(|| "open the app's `/dev/null`".into())?;
        let doing = || "make an empty directory for masks".to_owned();
        let empty = empty(Attr::MOUNT_ATTR_RDONLY).doing(doing)?;
        let place = super::tree::stage_dir(tree.stage(), name).doing(doing)?;
        mount::attach(&empty, place).doing(doing)?;
        Ok(Self { null, empty })
    }

    fn put(&self, tree: &Tree<'_>, path: &str, place: OwnedFd) -> Result<(), Failure> {
        let doing = || format!("mask `{path}`");
        let kind = rustix::fs::fstat(&place).doing(doing)?.st_mode;
        let cover = if FileType::from_raw_mode(kind).is_dir() {
            mount::clone_tree(&self.empty, false).doing(doing)?
        } else {
            tree.copy(&self.null).doing(doing)?
        };
        tree.put(cover, place).doing(doing)
    }
}

/// The generated files below /etc. A volume of the user at this very place wins.
fn files(maker: &Maker<'_>) -> Vec<(&'static str, Vec<u8>)> {
    let plan = maker.plan;
    let given = |bytes: &Option<rkt_spec::codec::Bytes>| bytes.as_ref().map(|b| b.0.clone());
    let all = [
        (
            "hostname",
            Some(format!("{}\n", plan.hostname).into_bytes()),
        ),
        ("hosts", given(&plan.hosts)),
        ("resolv.conf", given(&plan.resolv_conf)),
    ];
    let taken = |name: &str| {
        let target = format!("/etc/{name}");
        maker.app.mounts.iter().any(|m| m.target == target)
    };
    all.into_iter()
        .filter_map(|(name, content)| Some((name, content?)))
        .filter(|(name, _)| !taken(name))
        .collect()
}

/// Whether the image has more than an empty file there (many have one to mount on).
fn has_content(place: &OwnedFd) -> rustix::io::Result<bool> {
    Ok(rustix::fs::fstat(place)?.st_size > 0)
}

/// Mounts the generated files, read-only, from a file system of their own. Gives the hosts file,
/// open for writing, when lines are to be added to it: in place, since a mount shows one inode.
pub(super) fn mount_files(maker: &Maker<'_>, tree: &Tree<'_>) -> Result<Option<OwnedFd>, Failure> {
    let mut hosts = None;
    for (name, content) in files(maker) {
        let target = format!("/etc/{name}");
        let doing = || format!("write `{target}`");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(tree.stage(), name, flags, Mode::from_raw_mode(0o644));
        let file = file.doing(doing)?;
        write_at(&file, &content, 0).doing(doing)?;
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
        if name == "hosts" && maker.plan.keep_hosts && has_content(&place).doing(doing)? {
            continue;
        }
        tree.put(copy, place).doing(doing)?;
        if name == "hosts" && maker.plan.grow_hosts {
            hosts = Some(file);
        }
    }
    Ok(hosts)
}

/// Writes all of it.
pub(crate) fn write_at(file: &OwnedFd, bytes: &[u8], mut at: u64) -> rustix::io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let n = rustix::io::pwrite(file, rest, at)?;
        rest = rest.get(n..).unwrap_or(&[]);
        at += n as u64;
    }
    Ok(())
}
