//! The root file system of an app, and the mount namespace that holds it.
//!
//! A set-up child with the supervisor's credentials builds it: in a copy of init's empty
//! namespace, owned by the supervisor's user namespace. The app enters its own user namespace
//! last, so nothing in it can ever change a mount made here (`docs/design/mounts.md`).

mod overlay;
mod system;
mod tree;
mod volume;

use crate::error::{Doing, Failure, encode_outcome};
use crate::host::{Host, MAKE_DEADLINE, wait_readable};
use crate::sandbox::{self, Shared};
use rkt_isolate::idmap;
use rkt_spec::plan::{AppPlan, Plan, weaken};
use rkt_sys::mount::{self, Change, attr};
use rkt_sys::process::{self, Cloned};
use rkt_sys::{cred, ns, signal, socket};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use std::time::Instant;
pub(crate) use system::write_at;
use tree::Tree;
pub(crate) use volume::IdMaps;

/// Directory of the host that a root without pivot is staged on, in a private namespace; for test
/// builds only.
const PLACE_WITHOUT_PIVOT: &str = "/mnt";

/// What an app's root is made from.
#[derive(Debug)]
pub(crate) struct Maker<'a> {
    pub(crate) host: &'a Host,
    pub(crate) plan: &'a Plan,
    pub(crate) app: &'a AppPlan,
    /// The pod's processes.
    pub(crate) pids: BorrowedFd<'a>,
    /// First id of the pod's block.
    pub(crate) base: u32,
    /// The app's user namespace; `None` only when a test took this wall away.
    pub(crate) user: Option<BorrowedFd<'a>>,
    /// The pod's directory.
    pub(crate) pod: BorrowedFd<'a>,
    /// The app's leaf in the v2 tree, to be born in.
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
    /// Whether that tree carries the limits, and so is worth showing.
    pub(crate) cgroup_view: bool,
    /// User namespaces that map the ids of host volumes.
    pub(crate) volumes: &'a IdMaps,
    /// The inherited layer mounts.
    pub(crate) layers: &'a [OwnedFd],
    /// The inherited volume sources, by volume.
    pub(crate) sources: &'a [Option<OwnedFd>],
}

/// An app's root being made by a child, which is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Making {
    pid: u32,
    pidfd: OwnedFd,
    talk: OwnedFd,
}

impl Drop for Making {
    fn drop(&mut self) {
        // Nothing happens to one that was waited for: a pidfd is never another process's.
        let _ = signal::send(self.pidfd.as_fd(), 9);
    }
}

/// An app's root, held open.
#[derive(Debug)]
pub(crate) struct Made {
    /// The app's mount namespace.
    pub(crate) namespace: OwnedFd,
    /// The app's `/`, `O_PATH`.
    pub(crate) root: OwnedFd,
    /// The app's generated `/etc/hosts`, for writing; `None` when nothing is ever added to it.
    pub(crate) hosts: Option<OwnedFd>,
}

impl Making {
    /// Gives the child the pod's namespaces that it needs to finish.
    pub(crate) fn share(&self, shared: &Shared, template: &OwnedFd) -> Result<(), Failure> {
        let mut fds = vec![template.as_fd(), shared.ipc.as_fd()];
        fds.extend(shared.net.as_ref().map(AsFd::as_fd));
        socket::send(&self.talk, &[1], &fds).doing(|| "talk to a set-up child".into())
    }

    /// Waits for the child and takes its namespace.
    pub(crate) fn finish(self, host: &Host, weak: u64) -> Result<Made, Failure> {
        let made = sandbox::hear(&self.talk).and_then(|brought| {
            let namespace = host.namespace(self.pid, "mnt")?;
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            let root = if weak & weaken::PIVOT != 0 {
                &format!("root{}", rkt_stage2::ROOT_WITHOUT_PIVOT)
            } else {
                "root"
            };
            let root = host
                .open_pid(self.pid, root, flags)
                .doing(|| "open the app's root".into())?;
            Ok(Made {
                namespace,
                root,
                hosts: brought.into_iter().next(),
            })
        });
        if made.is_err() {
            let _ = signal::send(self.pidfd.as_fd(), 9);
        }
        // A word, not end of file: children forked later hold copies of our end.
        let _ = socket::send(&self.talk, &[1], &[]);
        if !wait_readable(&self.pidfd, Instant::now() + MAKE_DEADLINE) {
            let _ = signal::send(self.pidfd.as_fd(), 9);
        }
        let _ = process::wait_pidfd(self.pidfd.as_fd());
        made
    }
}

/// Makes what is kept of an app on disk: `apps/NAME/{upper,work}` in the pod's directory, and its
/// volumes.
pub(crate) fn make_directories(
    pod: BorrowedFd<'_>,
    plan: &Plan,
    app: &AppPlan,
) -> Result<(), Failure> {
    let doing = || format!("make the directories of app `{}`", app.name);
    let dir = tree::make_dirs(pod, &["apps", app.name.as_str()], 0o700).doing(doing)?;
    if app.root_bytes == 0 {
        overlay::upper_dirs(dir.as_fd()).doing(doing)?;
    }
    volume::make_empty(pod, plan, app).doing(doing)
}

impl Maker<'_> {
    /// First id of the app's slot: its root, as the host sees it.
    fn uid0(&self) -> u32 {
        idmap::slot_base(self.base, self.app.slot)
    }

    fn weak(&self, switch: u64) -> bool {
        self.plan.weaken & switch != 0
    }

    /// Starts the child. The directories must be there.
    pub(crate) fn start(&self) -> Result<Making, Failure> {
        let (ours, theirs) = socket::pair().doing(|| "make a socket pair".into())?;
        let needs_pidns = !system::proc_takes_pidns(self.pids);
        let clone = if needs_pidns {
            born_in(self.pids, self.cgroup)
        } else {
            process::clone3(0, self.cgroup)
        };
        match clone.doing(|| format!("make the root of app `{}`", self.app.name))? {
            Cloned::Parent { pid, pidfd } => Ok(Making {
                pid,
                pidfd,
                talk: ours,
            }),
            Cloned::Child => {
                drop(ours);
                let (outcome, hosts) = match self.build(needs_pidns, &theirs) {
                    Ok(hosts) => (Ok(()), hosts),
                    Err(failure) => (Err(failure), None),
                };
                let brought: Vec<BorrowedFd<'_>> = hosts.iter().map(AsFd::as_fd).collect();
                let _ = socket::send(&theirs, &encode_outcome(&outcome), &brought);
                // The supervisor opens our namespace, then lets us go.
                let _ = socket::recv(&theirs, &mut [0u8]);
                process::exit(0)
            }
        }
    }

    fn build(&self, in_pidns: bool, talk: &OwnedFd) -> Result<Option<OwnedFd>, Failure> {
        cred::die_with_parent().doing(|| "ask to die with the supervisor".into())?;
        // In the pod's PID namespace our parent shows as 0, whoever it is; init's death ends us.
        if !in_pidns && !self.host.is_parent() {
            process::exit(1);
        }
        // Names made here are the app's business: no mask of the operator's shell.
        rustix::process::umask(Mode::empty());
        let upper = match self.app.root_bytes {
            0 => overlay::Upper::open(self.pod, &["apps", self.app.name.as_str()])?,
            bytes => overlay::Upper::in_memory(bytes)?,
        };
        self.shift_layers()?;
        let volumes = volume::open_all(self)?;
        let stage = tree::stage()?;
        let layers: Vec<BorrowedFd<'_>> = self.layers.iter().map(AsFd::as_fd).collect();
        // Before the mount: an overlay remembers the owner of its top directory from then.
        overlay::copy_top(&layers, &upper, self.uid0())?;
        let places = system::places(self, &stage)?;
        let below = Some((system::PLACES, places.as_fd()));
        let doing = || format!("mount the root of app `{}`", self.app.name);
        // What the kernel lets us mount detached is done while init makes the pod's namespaces.
        let early = match overlay::detached(&layers, below, &upper).doing(doing)? {
            Some(root) => {
                let tree = Tree::new(root, stage.as_fd(), self.uid0());
                let own = system::mount_own(self, &tree);
                Some((tree, own.is_ok()))
            }
            None => None,
        };
        self.enter_shared(talk)?;
        tree::put_stage(&stage, self.stage_place())?;
        let (tree, done) = match early {
            Some(early) => early,
            None => {
                let root = overlay::staged(&layers, below, &upper, stage.as_fd(), "root");
                (
                    Tree::new(root.doing(doing)?, stage.as_fd(), self.uid0()),
                    false,
                )
            }
        };
        if !done {
            system::mount_own(self, &tree)?;
        }
        system::mount_shared(self, &tree)?;
        volume::attach_all(self, &tree, &volumes)?;
        let hosts = system::mount_files(self, &tree)?;
        system::cover_asked(self, &tree)?;
        if self.app.process.make_cwd {
            tree.make_dir(&self.app.process.cwd)
                .doing(|| format!("make the working directory `{}`", self.app.process.cwd))?;
        }
        self.seal(&tree)?;
        Ok(hosts)
    }

    /// Gives the layers the app's ids. The mounts are ours alone: nobody has seen them yet.
    fn shift_layers(&self) -> Result<(), Failure> {
        let change = Change {
            set: attr::RDONLY | attr::NODEV,
            private: true,
            idmap: self.user,
            ..Change::default()
        };
        for layer in self.layers {
            mount::set_attr(layer.as_fd(), &change)
                .doing(|| "give a layer of the image the app's ids".into())
                .map_err(|f| {
                    f.hint("the file system of the data directory must allow idmapped mounts; see `rkt doctor`")
                })?;
        }
        Ok(())
    }

    /// Waits for the pod's namespaces and enters those that an app's mounts live in or show.
    fn enter_shared(&self, talk: &OwnedFd) -> Result<(), Failure> {
        let doing = || "enter the pod's namespaces".to_owned();
        let (n, fds) = socket::recv(talk, &mut [0u8]).doing(doing)?;
        let mut fds = fds.into_iter();
        let (1, Some(template), Some(ipc)) = (n, fds.next(), fds.next()) else {
            // No word: the supervisor has given the pod up.
            process::exit(1)
        };
        if let Some(net) = fds.next() {
            ns::enter(net.as_fd(), ns::kind::NET).doing(doing)?;
        }
        ns::enter(ipc.as_fd(), ns::kind::IPC).doing(doing)?;
        let copied = ns::kind::MOUNT | ns::kind::CGROUP;
        if self.weak(weaken::PIVOT) {
            ns::unshare(copied).doing(doing)?;
            return mount::make_all_private().doing(doing);
        }
        ns::enter(template.as_fd(), ns::kind::MOUNT).doing(doing)?;
        // The copy is made with the supervisor's credentials: it belongs to no one in the pod.
        ns::unshare(copied).doing(doing)
    }

    /// Where the stage is mounted: in init's empty root, or (a defence taken away) on the host's.
    fn stage_place(&self) -> &'static str {
        if self.weak(weaken::PIVOT) {
            PLACE_WITHOUT_PIVOT
        } else {
            sandbox::STAGE
        }
    }

    /// Last flags of the root, then the root becomes `/` and everything else is forgotten.
    fn seal(&self, tree: &Tree<'_>) -> Result<(), Failure> {
        let doing = || format!("close the root of app `{}`", self.app.name);
        let mut set = attr::NODEV;
        if self.app.walls.no_new_privs && !self.weak(weaken::NO_NEW_PRIVS) {
            set |= attr::NOSUID;
        }
        if self.app.read_only {
            set |= attr::RDONLY;
        }
        let change = Change {
            set,
            private: true,
            ..Change::default()
        };
        mount::set_attr(tree.root(), &change).doing(doing)?;
        if let Some(user) = self.user.filter(|_| self.weak(weaken::LOCKS)) {
            // Mounts attached in a namespace that the app's own user namespace owns carry no locks.
            ns::enter(user, ns::kind::USER).doing(doing)?;
            ns::unshare(ns::kind::MOUNT).doing(doing)?;
        }
        if self.weak(weaken::PIVOT) {
            return tree.put_on_stage().doing(doing);
        }
        tree.become_root().doing(doing)
    }
}

/// A child born in a PID namespace other than ours, for kernels whose procfs shows the mounter's
/// own: an intermediate child enters the namespace and clones our child's child as ours.
fn born_in(pids: BorrowedFd<'_>, cgroup: Option<BorrowedFd<'_>>) -> std::io::Result<Cloned> {
    let (ours, theirs) = socket::pair()?;
    match process::clone3(0, None)? {
        Cloned::Child => {
            drop(ours);
            let cloned = ns::enter(pids, ns::kind::PID)
                .and_then(|()| process::clone3(process::flags::PARENT, cgroup));
            match cloned {
                Ok(Cloned::Child) => Ok(Cloned::Child),
                Ok(Cloned::Parent { pid, pidfd }) => {
                    let sent = socket::send(&theirs, &pid.to_le_bytes(), &[pidfd.as_fd()]);
                    process::exit(i32::from(sent.is_err()))
                }
                Err(_) => process::exit(1),
            }
        }
        Cloned::Parent { pidfd: middle, .. } => {
            drop(theirs);
            let mut bytes = [0u8; 4];
            let got = socket::recv(&ours, &mut bytes);
            let _ = process::wait_pidfd(middle.as_fd());
            match got {
                // The number is the child's in our own PID namespace: CLONE_PARENT answers for
                // the caller, which never left it.
                Ok((4, fds)) => {
                    let pid = u32::from_le_bytes(bytes);
                    let pidfd = fds.into_iter().next();
                    let pidfd =
                        pidfd.ok_or_else(|| std::io::Error::from_raw_os_error(libc_echild()))?;
                    Ok(Cloned::Parent { pid, pidfd })
                }
                _ => Err(std::io::Error::from_raw_os_error(libc_echild())),
            }
        }
    }
}

fn libc_echild() -> i32 {
    rustix::io::Errno::CHILD.raw_os_error()
}

/// Opens a directory below `dir` one name at a time, never following a link.
fn open_dir(dir: BorrowedFd<'_>, names: &[&str]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = rustix::fs::openat(
        dir,
        ".",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    for name in names {
        at = rustix::fs::openat(&at, *name, flags, Mode::empty())?;
    }
    Ok(at)
}
