//! What the apps of a pod share: its namespaces, held open by a PID 1 without any power.
//!
//! Order (`docs/design/sandbox.md`): the PID and mount namespaces are made first, in the
//! supervisor's user namespace, so that nobody in the pod can ever mount the pod's procfs or
//! change init's mounts; then the pod's user namespace, which owns network, IPC and host name.

use crate::error::{Doing, Failure, decode_outcome, encode_outcome};
use crate::host::{Host, MAKE_DEADLINE, wait_readable};
use crate::users;
use rkt_isolate::defaults::OOM_SCORE_ADJ_INIT;
use rkt_isolate::idmap;
use rkt_net::netlink::Socket;
use rkt_net::nft::metadata;
use rkt_spec::plan::{
    AppPlan, INIT_ID, Net, Plan, SLOT_IDS, Setting, UserSpace, VolumeKind, VolumePlan, weaken,
};
use rkt_sys::mount::{self, NewFs, attr};
use rkt_sys::netlink::Family;
use rkt_sys::process::{self, CStrings, Cloned, flags};
use rkt_sys::{cred, fd, ns, signal, socket};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use std::time::Instant;

/// Name of the empty directory in init's root on which an app's root is staged.
pub(crate) const STAGE: &str = "t";
/// Name of the pod's shared memory in init's root.
pub(crate) const SHM: &str = "s";
/// Bytes of a file system in memory for each file that it may have.
const BYTES_PER_FILE: u64 = 4096;
const PLACE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Name in init's root of the volume with this number, when it is kept in memory.
pub(crate) fn volume_place(n: usize) -> String {
    format!("v{n}")
}

/// The pod's PID 1, running or on its way.
#[derive(Debug)]
pub(crate) struct Sandbox {
    /// init's pid on the host.
    pub(crate) pid: u32,
    /// init.
    pub(crate) init: OwnedFd,
    /// The pod's processes.
    pub(crate) pids: OwnedFd,
    /// First id of the pod's block.
    pub(crate) base: u32,
    ready: OwnedFd,
    talk: OwnedFd,
}

/// The namespaces that the pod's user namespace owns.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The pod's network; `None` when it is the host's.
    pub(crate) net: Option<OwnedFd>,
    /// The pod's IPC.
    pub(crate) ipc: OwnedFd,
    /// The pod's host name.
    pub(crate) uts: OwnedFd,
    /// The pod's ids, for apps that live there.
    pub(crate) user: Option<OwnedFd>,
}

/// What init has made for the supervisor.
#[derive(Debug)]
pub(crate) struct Namespaces {
    /// What the apps share.
    pub(crate) shared: Shared,
    /// An almost empty mount namespace, the template of every app's.
    pub(crate) template: OwnedFd,
    /// A netlink socket in the pod's network, when it is to have devices: the supervisor never
    /// enters that network itself.
    pub(crate) wire: Option<Socket>,
}

impl Sandbox {
    /// Clones init. While it makes the namespaces ([`Sandbox::shared`] waits for them), roots can
    /// be begun.
    pub(crate) fn begin(
        host: &Host,
        plan: &Plan,
        base: u32,
        cgroup: Option<BorrowedFd<'_>>,
    ) -> Result<Self, Failure> {
        let (ours, theirs) = socket::pair().doing(|| "make a socket pair".into())?;
        let (ready, ready_theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .doing(|| "make a pipe".into())?;
        let clone = process::clone3(flags::NEWPID | flags::NEWNS, cgroup)
            .doing(|| "make the pod's PID 1".into())?;
        let (pid, init) = match clone {
            Cloned::Parent { pid, pidfd } => (pid, pidfd),
            Cloned::Child => {
                drop(ours);
                let child = InitChild {
                    host,
                    plan,
                    base,
                    talk: theirs,
                    ready: ready_theirs,
                };
                let failure = child.become_init();
                let _ = socket::send(&child.talk, &encode_outcome(&Err(failure)), &[]);
                process::exit(1)
            }
        };
        // Where the host allows it; `rkt doctor` tells where it does not.
        let _ = host.write_pid(pid, "oom_score_adj", &OOM_SCORE_ADJ_INIT.to_string());
        match host.namespace(pid, "pid") {
            Ok(pids) => Ok(Self {
                pid,
                init,
                pids,
                base,
                ready,
                talk: ours,
            }),
            Err(failure) => {
                let _ = signal::send(init.as_fd(), 9);
                let _ = process::wait_pidfd(init.as_fd());
                Err(failure)
            }
        }
    }

    /// Waits for the namespaces that the apps share, and maps the pod's ids. init goes on to
    /// reduce itself; [`Sandbox::wait_ready`] waits for that.
    pub(crate) fn shared(&self, host: &Host, plan: &Plan) -> Result<Namespaces, Failure> {
        let mut brought = hear(&self.talk)?.into_iter();
        let template = brought.next();
        let template = template
            .ok_or_else(|| Failure::new("make the pod's namespaces", "no template came"))?;
        let wire = brought.next().map(Socket::from_fd);
        let map = idmap::pod(self.base, plan.slots);
        users::write_maps(host, self.pid, &map, &map)?;
        let net = match plan.net {
            Net::None | Net::Private => Some(host.namespace(self.pid, "net")?),
            Net::Host => None,
        };
        let shared = Shared {
            net,
            ipc: host.namespace(self.pid, "ipc")?,
            uts: host.namespace(self.pid, "uts")?,
            user: apps_in_pod(plan)
                .then(|| host.namespace(self.pid, "user"))
                .transpose()?,
        };
        socket::send(&self.talk, &[1], &[]).doing(|| "talk to the pod's PID 1".into())?;
        Ok(Namespaces {
            shared,
            template,
            wire,
        })
    }

    /// Waits until init stands behind all its walls.
    pub(crate) fn wait_ready(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + MAKE_DEADLINE;
        let mut byte = [0u8];
        if wait_readable(&self.ready, deadline) && rustix::io::read(&self.ready, &mut byte) == Ok(1)
        {
            return Ok(());
        }
        let mut bytes = [0u8; 4096];
        let (n, _) = socket::recv(&self.talk, &mut bytes).unwrap_or_default();
        decode_outcome(bytes.get(..n).unwrap_or(&[]))
            .and_then(|()| Err(Failure::new("wait", "it did not become ready in time")))
            .doing(|| "start the pod's PID 1".into())
    }
}

/// Whether some app lives in the pod's own user namespace.
fn apps_in_pod(plan: &Plan) -> bool {
    let lives = |a: &AppPlan| a.walls.user_space == UserSpace::Pod;
    plan.apps.iter().any(lives)
}

/// Waits for one outcome of a set-up child, with the descriptors it brings.
pub(crate) fn hear(talk: &OwnedFd) -> Result<Vec<OwnedFd>, Failure> {
    if !wait_readable(talk, Instant::now() + MAKE_DEADLINE) {
        return Err(Failure::new(
            "set up the pod",
            "a set-up child did not answer in time",
        ));
    }
    let mut bytes = vec![0u8; 16 * 1024];
    let (n, fds) = socket::recv(talk, &mut bytes).doing(|| "hear from a set-up child".into())?;
    decode_outcome(bytes.get(..n).unwrap_or(&[])).map(|()| fds)
}

/// The child that becomes PID 1.
struct InitChild<'a> {
    host: &'a Host,
    plan: &'a Plan,
    base: u32,
    talk: OwnedFd,
    ready: OwnedFd,
}

impl InitChild<'_> {
    /// Ends in exec; returns only what went wrong.
    fn become_init(&self) -> Failure {
        match self.steps() {
            Ok(never) => match never {},
            Err(failure) => failure,
        }
    }

    fn steps(&self) -> Result<std::convert::Infallible, Failure> {
        cred::die_with_parent().doing(|| "ask to die with the supervisor".into())?;
        let template = self.make_template()?;
        self.empty_root()?;
        let mut kinds = ns::kind::USER | ns::kind::IPC | ns::kind::UTS | ns::kind::CGROUP;
        if self.plan.net.is_own() {
            kinds |= ns::kind::NET;
        }
        // Not root's, for the reason that [`users::Holder::start`] has.
        if self.plan.weaken & weaken::INIT == 0 {
            cred::effective_uid(self.base)
                .and_then(|()| cred::die_with_parent())
                .doing(|| format!("become user {}", self.base))?;
        }
        ns::unshare(kinds).doing(|| "make the pod's namespaces".into())?;
        let wire = (self.plan.net == Net::Private)
            .then(|| self.open_wire())
            .transpose()?;
        let mut brought = vec![template.as_fd()];
        brought.extend(wire.as_ref().map(Socket::fd));
        socket::send(&self.talk, &encode_outcome(&Ok(())), &brought)
            .doing(|| "talk to the supervisor".into())?;
        drop(wire);
        // End of file instead of a word: the supervisor is gone.
        let mut word = [0u8];
        match socket::recv(&self.talk, &mut word) {
            Ok((1, _)) => {}
            _ => process::exit(1),
        }
        rustix::system::sethostname(self.plan.hostname.as_bytes())
            .doing(|| format!("set the host name `{}`", self.plan.hostname))?;
        if self.plan.net.is_own() {
            rkt_net::loopback::up().doing(|| "bring up `lo`".into())?;
            let last = self.plan.slots.saturating_mul(SLOT_IDS).saturating_sub(1);
            rkt_net::sysctl::apply(self.host.proc.as_fd(), last)
                .map_err(|(name, e)| Failure::new(format!("set `{name}`"), e.to_string()))?;
            if metadata::is_open(&self.plan.networks) {
                metadata::close()?;
            }
        }
        self.settings()?;
        let _ = process::join_session_keyring();
        self.shed()?;
        let argv = CStrings::new(["rkt-init"]).doing(|| "name init".into())?;
        let none: [&str; 0] = [];
        let envp = CStrings::new(none).doing(|| "name init".into())?;
        let error = process::execve_fd(self.host.exe.as_fd(), &argv, &envp);
        Err(Failure::new("execute the pod's PID 1", error.to_string()))
    }

    /// Readies the pod's network for devices, and opens the socket by which they are set up.
    fn open_wire(&self) -> Result<Socket, Failure> {
        rkt_net::sysctl::before_devices(self.host.proc.as_fd())
            .map_err(|(name, e)| Failure::new(format!("set `{name}`"), e.to_string()))?;
        Ok(Socket::open(Family::Route)?)
    }

    /// Settings that were asked for, and the limit of nested user namespaces for apps that live in
    /// the pod's own: through the host's procfs, which shows a writer its own namespaces.
    fn settings(&self) -> Result<(), Failure> {
        let nested = apps_in_pod(self.plan).then(|| Setting {
            path: "user/max_user_namespaces".to_owned(),
            value: "0".to_owned(),
        });
        let all = self.plan.sysctls.iter().chain(&nested);
        if all.clone().next().is_none() {
            return Ok(());
        }
        // IPC's belong to the root of the namespace, which a process without an id in it is not.
        cred::keep_caps(true)
            .and_then(|()| cred::become_ids(0, 0, &[]))
            .and_then(|()| cred::die_with_parent())
            .doing(|| "become the root of the pod's namespaces".into())?;
        for setting in all {
            let doing = || format!("set the sysctl `{}` to `{}`", setting.path, setting.value);
            let path = format!("sys/{}", setting.path);
            let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file = rustix::fs::openat(&self.host.proc, path, flags, Mode::empty());
            let file = file
                .doing(doing)
                .map_err(|f| f.hint("this kernel may not have it, or not let a pod set it"))?;
            rustix::io::write(&file, setting.value.as_bytes()).doing(doing)?;
        }
        Ok(())
    }

    /// The template of every app's mounts: an empty root with a place to stage an app's, and the
    /// pod's shared memory. Its namespace lives on in the descriptor that is given back.
    fn make_template(&self) -> Result<OwnedFd, Failure> {
        let doing = || "make the template of the apps' mounts".to_owned();
        mount::make_all_private().doing(doing)?;
        let bounded = bounded(self.plan);
        let root = enter_new_root(bounded.len() + 3).doing(doing)?;
        for name in [STAGE, SHM] {
            rustix::fs::mkdirat(CWD, name, Mode::from_raw_mode(0o555)).doing(doing)?;
        }
        let apps = self.plan.apps.iter();
        let bytes = apps.map(|a| a.walls.shm_bytes).max().unwrap_or(64 << 20);
        let shm = NewFs::open(c"tmpfs")
            .and_then(|fs| {
                fs.set(c"size", &bytes.to_string())?.set(c"mode", "1777")?;
                fs.set(c"nr_inodes", "65536")?;
                fs.mount(
                    mount::Attr::MOUNT_ATTR_NOSUID
                        | mount::Attr::MOUNT_ATTR_NODEV
                        | mount::Attr::MOUNT_ATTR_NOEXEC,
                )
            })
            .doing(|| "make the pod's shared memory".into())?;
        mount::attach_at(&shm, c"/s").doing(doing)?;
        for (n, volume) in bounded {
            let doing = || format!("make volume `{}`", volume.name);
            let fs = tmpfs(volume.bytes).doing(doing)?;
            // Ids are the apps' own numbers: each sees them through an idmapped mount of its own.
            fs.set(c"mode", &format!("{:o}", volume.mode & 0o7777))
                .and_then(|fs| fs.set(c"uid", &volume.uid.to_string()))
                .and_then(|fs| fs.set(c"gid", &volume.gid.to_string()))
                .doing(doing)?;
            let name = volume_place(n);
            rustix::fs::mkdirat(CWD, &*name, Mode::from_raw_mode(0o555)).doing(doing)?;
            let place = rustix::fs::openat(CWD, &*name, PLACE, Mode::empty()).doing(doing)?;
            let made = fs.mount(mount::Attr::MOUNT_ATTR_NOSUID | mount::Attr::MOUNT_ATTR_NODEV);
            mount::attach(made.doing(doing)?, place).doing(doing)?;
        }
        read_only(&root).doing(doing)?;
        // `self` of the host's procfs is this process, whatever namespaces it is in.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.host.proc, c"self/ns/mnt", flags, Mode::empty()).doing(doing)
    }

    /// init's own root has nothing at all in it.
    fn empty_root(&self) -> Result<(), Failure> {
        let doing = || "give the pod's PID 1 an empty root".to_owned();
        ns::unshare(ns::kind::MOUNT).doing(doing)?;
        let root = enter_new_root(1).doing(doing)?;
        read_only(&root).doing(doing)
    }

    /// Gives up every id, capability and descriptor but the ready pipe.
    fn shed(&self) -> Result<(), Failure> {
        let doing = || "take every power from the pod's PID 1".to_owned();
        let ready = fd::number(&self.ready);
        if ready != 3 {
            // Number 3 is what the new program expects; what is there now is not needed.
            fd::onto_number(self.ready.as_fd(), 3).doing(doing)?;
        } else {
            fd::keep_on_exec(self.ready.as_fd()).doing(doing)?;
        }
        if self.plan.weaken & weaken::INIT == 0 {
            cred::limit_bounding(0).doing(doing)?;
            cred::become_ids(INIT_ID, INIT_ID, &[]).doing(doing)?;
            cred::capset(0, 0, 0).doing(doing)?;
        }
        cred::die_with_parent().doing(doing)?;
        fd::cloexec_from(4).doing(doing)?;
        // A closed 0, 1 or 2 would make the runtime open /dev/null, which is not there.
        for number in 0..3 {
            fd::onto_stdio(self.ready.as_fd(), number).doing(doing)?;
        }
        Ok(())
    }
}

/// Volumes of the plan that are kept in memory, with their numbers.
fn bounded(plan: &Plan) -> Vec<(usize, &VolumePlan)> {
    let all = plan.volumes.iter().enumerate();
    all.filter(|(_, v)| v.kind == VolumeKind::Empty && v.bytes > 0)
        .collect()
}

/// A file system in memory for so many bytes, and for a file for every 4 KiB of them: files without
/// content take memory too.
pub(crate) fn tmpfs(bytes: u64) -> std::io::Result<NewFs> {
    let fs = NewFs::open(c"tmpfs")?;
    fs.set(c"size", &bytes.to_string())?
        .set(c"nr_inodes", &(bytes / BYTES_PER_FILE).to_string())?;
    Ok(fs)
}

/// Makes a new tmpfs with room for so many inodes the root, and forgets all else.
fn enter_new_root(inodes: usize) -> std::io::Result<OwnedFd> {
    let fs = NewFs::open(c"tmpfs")?;
    fs.set(c"size", "4k")?
        .set(c"nr_inodes", &inodes.to_string())?
        .set(c"mode", "0555")?;
    let root = fs.mount(mount::Attr::MOUNT_ATTR_NOSUID | mount::Attr::MOUNT_ATTR_NODEV)?;
    mount::attach_at(&root, c"/")?;
    rustix::process::fchdir(&root)?;
    mount::pivot_to_cwd()?;
    Ok(root)
}

fn read_only(root: &OwnedFd) -> std::io::Result<()> {
    let set = attr::RDONLY | attr::NOEXEC;
    mount::set_attr(
        root.as_fd(),
        &mount::Change {
            set,
            ..mount::Change::default()
        },
    )
}
