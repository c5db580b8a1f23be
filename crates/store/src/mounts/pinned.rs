//! The namespace itself: finding it, making it, going there and back.

use crate::error::{Doing, Error, Kind, Result};
use rkt_sys::mount::{self, Attr, Change, NewFs, attr};
use rkt_sys::ns;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::thread::CpuSet;
use sha2::{Digest as _, Sha256};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// File system type of namespace files.
const NSFS: u64 = 0x6e73_6673;

fn open(path: impl rustix::path::Arg, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
}

/// Whether this process may change its mount namespace.
pub(super) fn single_threaded() -> Result<bool> {
    // Two links and one a thread.
    let stat = rustix::fs::stat("/proc/self/task").doing(|| "count own threads".into())?;
    Ok(stat.st_nlink == 3)
}

/// The name of the pin: one a store, told by its place and not by how it is written.
pub(super) fn name(store: &Path) -> Result<String> {
    let stat = rustix::fs::stat(store).doing(|| format!("look at store `{}`", store.display()))?;
    let hash: [u8; 32] = Sha256::digest(format!("{} {}", stat.st_dev, stat.st_ino)).into();
    let short = hash.get(..8).unwrap_or(&hash);
    Ok(format!("layers-{}", rkt_spec::digest::hex(short)))
}

/// Looks for the pin here, and where the host's own mounts are: a mount namespace that was made
/// after the pin has a plain file in its place, because the kernel does not copy such mounts.
pub(super) fn find(run_dir: &Path, name: &str) -> Result<Option<OwnedFd>> {
    let here = run_dir.join(name);
    let host = here
        .strip_prefix("/")
        .map(|rest| Path::new("/proc/1/root").join(rest))
        .ok();
    for path in [Some(here), host].into_iter().flatten() {
        if let Some(pin) = open_pin(&path)? {
            return Ok(Some(pin));
        }
    }
    Ok(None)
}

/// A namespace file; `None` for anything else, which is stale.
fn open_pin(path: &Path) -> Result<Option<OwnedFd>> {
    match open(path, OFlags::RDONLY | OFlags::NOFOLLOW) {
        Ok(fd) if rustix::fs::fstatfs(&fd)?.f_type.cast_unsigned() == NSFS => Ok(Some(fd)),
        _ => Ok(None),
    }
}

/// Holds off others who would make the namespace or mount in it.
pub(super) fn lock(run_dir: &Path, name: &str) -> Result<OwnedFd> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(run_dir)
        .doing(|| format!("create `{}`", run_dir.display()))?;
    let path = run_dir.join(format!("{name}.lock"));
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)
        .doing(|| format!("open `{}`", path.display()))?;
    loop {
        match rustix::fs::flock(&lock, FlockOperation::LockExclusive) {
            Err(rustix::io::Errno::INTR) => {}
            other => {
                other.doing(|| format!("lock `{}`", path.display()))?;
                return Ok(lock);
            }
        }
    }
}

/// Where a process was before it went somewhere else.
struct Home {
    namespace: OwnedFd,
    root: OwnedFd,
    cwd: OwnedFd,
}

impl Home {
    fn here() -> Result<Self> {
        let place = OFlags::PATH | OFlags::DIRECTORY;
        Ok(Self {
            namespace: open("/proc/self/ns/mnt", OFlags::RDONLY)?,
            root: open("/", place)?,
            cwd: open(".", place)?,
        })
    }

    /// Entering a namespace moves root and working directory to its root.
    fn back(&self) -> Result<()> {
        ns::enter(self.namespace.as_fd(), ns::kind::MOUNT)?;
        rustix::process::fchdir(&self.root)?;
        rustix::process::chroot(".")?;
        rustix::process::fchdir(&self.cwd)?;
        Ok(())
    }
}

/// Does something in another mount namespace, and comes back whatever it gives.
pub(super) fn inside<T>(pin: &OwnedFd, body: impl FnOnce() -> Result<T>) -> Result<T> {
    let home = Home::here()?;
    ns::enter(pin.as_fd(), ns::kind::MOUNT).doing(|| "enter the namespace of layers".into())?;
    let result = body();
    home.back()
        .doing(|| "come back from the namespace of layers".into())?;
    result
}

/// Makes the namespace and pins it. The caller holds the lock.
pub(super) fn make(store: &Path, run_dir: &Path, name: &str) -> Result<OwnedFd> {
    make_private(run_dir)?;
    let pin = run_dir.join(name);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(&pin, flags, Mode::RUSR).doing(|| format!("create `{}`", pin.display()))?;
    // The kernel binds a namespace only into an older one, and numbers them in batches a CPU:
    // from a namespace that is new itself it may say no until both were made on one CPU.
    let cpus = rustix::thread::sched_getaffinity(None)?;
    let result = make_on_some_cpu(store, run_dir, &pin, &cpus);
    rustix::thread::sched_setaffinity(None, &cpus)?;
    result
}

fn make_on_some_cpu(store: &Path, run_dir: &Path, pin: &Path, cpus: &CpuSet) -> Result<OwnedFd> {
    for cpu in (0..CpuSet::MAX_CPU).filter(|cpu| cpus.is_set(*cpu)) {
        let mut one = CpuSet::new();
        one.set(cpu);
        rustix::thread::sched_setaffinity(None, &one)?;
        let namespace = furnish(store, run_dir)?;
        let path = format!("/proc/self/fd/{}", namespace.as_raw_fd());
        match rustix::mount::mount_bind(path, pin) {
            Err(rustix::io::Errno::INVAL) => {}
            other => {
                other.doing(|| format!("pin the namespace at `{}`", pin.display()))?;
                return Ok(namespace);
            }
        }
    }
    Err(Error::new(
        Kind::System,
        "the kernel refuses to pin a new mount namespace in this one",
    )
    .hint("start rkt from the host's own mount namespace once"))
}

/// A new namespace with nothing in it but a tmpfs and a clone of the store's mount.
fn furnish(store: &Path, run_dir: &Path) -> Result<OwnedFd> {
    let home = Home::here()?;
    ns::unshare(ns::kind::MOUNT).doing(|| "make a mount namespace".into())?;
    let result = furnish_inside(store, run_dir);
    home.back()
        .doing(|| "come back from the new namespace".into())?;
    result
}

fn furnish_inside(store: &Path, run_dir: &Path) -> Result<OwnedFd> {
    mount::make_all_private()?;
    let root = NewFs::open(c"tmpfs")?;
    root.set(c"size", "1m")?.set(c"mode", "0700")?;
    let root =
        root.mount(Attr::MOUNT_ATTR_NOSUID | Attr::MOUNT_ATTR_NODEV | Attr::MOUNT_ATTR_NOEXEC)?;
    for dir in [super::inside::STORE, super::inside::LAYERS] {
        rustix::fs::mkdirat(&root, dir.trim_start_matches('/'), Mode::RWXU)?;
    }
    let place = OFlags::PATH | OFlags::DIRECTORY;
    let tree = mount::clone_tree(open(store, place)?, false)?;
    mount::attach(&root, open(run_dir, place)?)?;
    rustix::process::fchdir(&root)?;
    mount::attach(&tree, open("store", place)?)?;
    mount::set_attr(
        tree.as_fd(),
        &Change {
            set: attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC,
            private: true,
            ..Change::default()
        },
    )?;
    mount::pivot_to_cwd()?;
    Ok(open_own_namespace()?)
}

fn open_own_namespace() -> rustix::io::Result<OwnedFd> {
    // The old root with its /proc is gone; a new procfs needs no place in the tree.
    let proc = rustix::mount::fsopen("proc", rustix::mount::FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(&proc)?;
    let proc = rustix::mount::fsmount(
        &proc,
        rustix::mount::FsMountFlags::FSMOUNT_CLOEXEC,
        Attr::empty(),
    )?;
    rustix::fs::openat(
        &proc,
        "self/ns/mnt",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Makes the run directory a mount point of its own, out of all propagation: in a shared one the
/// kernel refuses to pin.
fn make_private(run_dir: &Path) -> Result<()> {
    let doing = || format!("make `{}` a private mount", run_dir.display());
    if !is_private_mount(run_dir).doing(doing)? {
        rustix::mount::mount_bind(run_dir, run_dir).doing(doing)?;
        rustix::mount::mount_change(run_dir, MountPropagationFlags::PRIVATE).doing(doing)?;
    }
    Ok(())
}

fn is_private_mount(dir: &Path) -> Result<bool> {
    let stat = rustix::fs::statx(
        CWD,
        dir,
        rustix::fs::AtFlags::NO_AUTOMOUNT,
        StatxFlags::MNT_ID,
    )?;
    if !stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return Ok(false);
    }
    let id = format!("{} ", stat.stx_mnt_id);
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let line = table.lines().find(|l| l.starts_with(&id)).unwrap_or("");
    let options = line.split(" - ").next().unwrap_or("");
    Ok(!options.contains(" shared:"))
}

/// Removes the pin from the run directory, as far as it is in this mount namespace.
pub(super) fn drop_pin(run_dir: &Path, name: &str) -> Result<()> {
    let pin: PathBuf = run_dir.join(name);
    while open_pin(&pin)?.is_some() {
        rustix::mount::unmount(&pin, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            .doing(|| format!("unpin `{}`", pin.display()))?;
    }
    match std::fs::remove_file(&pin) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
        _ => Ok(()),
    }
}
