//! `--net=pasta`: the one process that carries a pod's packets, started and ended with the pod.
//!
//! It lives on the host's network, since that is where it opens sockets, with the id of the pod's
//! root in the pod's user namespace: to the host it is nobody. There it holds what it needs to make
//! the tap device; of that it gives up the rest by itself, with an empty root and a filter of its
//! own. Its mount namespace has the pod's network namespace at a path, a device node for tap
//! devices, and nothing of the host below /run.

use crate::error::{Doing, Failure};
use crate::host::{Host, MAKE_DEADLINE, wait_readable};
use crate::network::{Network, Place};
use rkt_net::pasta;
use rkt_spec::network::{Driver, NetworkPlan, Wired};
use rkt_spec::plan::Plan;
use rkt_sys::mount::{self, Attr, NewFs};
use rkt_sys::process::{self, CStrings, Cloned};
use rkt_sys::{cred, fd, ns, signal};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::pipe::{PipeFlags, pipe_with};
use std::ffi::CString;
use std::io;
use std::time::Instant;

/// What it may hold of capabilities, in the pod's user namespace: SETGID, SETUID, NET_BIND_SERVICE,
/// NET_ADMIN, SYS_ADMIN (to enter the network, and to empty its own root).
const CAPABILITIES: u64 = 1 << 6 | 1 << 7 | 1 << 10 | 1 << 12 | 1 << 21;

/// `/dev/net/tun`.
const TUN: (u32, u32) = (10, 200);

/// A running pasta; killed and reaped when this is dropped.
#[derive(Debug)]
pub(crate) struct Pasta {
    pub(crate) pidfd: OwnedFd,
    /// Its complaints go here; it would end by a signal without a reader.
    _complaints: OwnedFd,
}

/// The network that pasta makes, once the pod has joined it.
#[derive(Debug, Default)]
pub(crate) struct ByPasta(pub(crate) Option<Pasta>);

impl Network for ByPasta {
    fn join(&mut self, pod: &Place<'_>) -> Result<Vec<Wired>, Failure> {
        let Some(net) = pod.net else {
            return Ok(Vec::new());
        };
        let Some((pasta, wired)) = start(pod.host, pod.plan, pod.init, pod.base, net)? else {
            return Ok(Vec::new());
        };
        self.0 = Some(pasta);
        Ok(vec![wired])
    }

    fn leave(&mut self) -> Result<(), Failure> {
        self.0 = None;
        Ok(())
    }
}

impl Drop for Pasta {
    fn drop(&mut self) {
        let _ = signal::send(self.pidfd.as_fd(), 9);
        let _ = process::wait_pidfd(self.pidfd.as_fd());
    }
}

/// What it is started with.
struct Start<'a> {
    path: CString,
    argv: CStrings,
    user: OwnedFd,
    net: BorrowedFd<'a>,
    /// The pod's root, on the host.
    base: u32,
}

/// Starts it for a pod that has such a network, and waits until packets go; `None` without one.
fn start(
    host: &Host,
    plan: &Plan,
    init: u32,
    base: u32,
    net: BorrowedFd<'_>,
) -> Result<Option<(Pasta, Wired)>, Failure> {
    let mut all = plan.networks.iter().filter(|n| n.driver == Driver::Pasta);
    let Some(network) = all.next() else {
        return Ok(None);
    };
    let doing = || format!("join the network `{}`", network.name);
    if all.next().is_some() {
        return Err(Failure::new(doing(), "a pod can have one network by pasta"));
    }
    let start = Start {
        path: program().doing(doing)?,
        argv: words(network, plan).doing(doing)?,
        user: host.namespace(init, "user").doing(doing)?,
        net,
        base,
    };
    let pasta = start.run().doing(doing)?;
    Ok(Some((pasta, pasta::wired(network))))
}

fn program() -> Result<CString, Failure> {
    let found = pasta::PROGRAMS
        .iter()
        .find(|path| rustix::fs::stat(**path).is_ok());
    let missing = || {
        Failure::new(
            "find the program `pasta`",
            "it is not installed on this host",
        )
        .hint("Debian has it in the package `passt`")
    };
    let found = found.ok_or_else(missing)?;
    CString::new(*found).map_err(|_| missing())
}

fn words(network: &NetworkPlan, plan: &Plan) -> Result<CStrings, Failure> {
    let ports = match plan.leads_ports() {
        true => &[][..],
        false => &plan.ports,
    };
    let words = pasta::arguments(network, ports);
    let words = words.map_err(|why| Failure::new("write the words for pasta", why))?;
    CStrings::new(words).doing(|| "write the words for pasta".into())
}

impl Start<'_> {
    fn run(&self) -> Result<Pasta, Failure> {
        let doing = || "start pasta".to_owned();
        let (ready, ready_theirs) = pipe_with(PipeFlags::CLOEXEC).doing(doing)?;
        // Its complaints must never hold it up.
        let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
        let (complaints, complaints_theirs) = pipe_with(flags).doing(doing)?;
        // It opens the pipe once more, by name.
        let (uid, gid) = (Uid::from_raw(self.base), Gid::from_raw(self.base));
        rustix::fs::fchown(&ready_theirs, Some(uid), Some(gid)).doing(doing)?;
        let none: [&str; 0] = [];
        let envp = CStrings::new(none).doing(doing)?;
        let pidfd = match process::clone3(0, None).doing(doing)? {
            Cloned::Parent { pidfd, .. } => pidfd,
            Cloned::Child => {
                let error = match self.prepare(&ready_theirs, &complaints_theirs) {
                    Ok(()) => process::execve(&self.path, &self.argv, &envp),
                    Err(error) => error,
                };
                let text = format!("before its start: {error}");
                let _ = rustix::io::write(&complaints_theirs, text.as_bytes());
                process::exit(127)
            }
        };
        let pasta = Pasta {
            pidfd,
            _complaints: complaints,
        };
        drop((ready_theirs, complaints_theirs));
        let mut byte = [0u8; 16];
        let deadline = Instant::now() + MAKE_DEADLINE;
        let begun = wait_readable(&ready, deadline)
            && rustix::io::read(&ready, &mut byte).is_ok_and(|n| n > 0);
        if begun {
            return Ok(pasta);
        }
        let mut said = [0u8; 4096];
        let n = rustix::io::read(&pasta._complaints, &mut said).unwrap_or(0);
        let said = String::from_utf8_lossy(said.get(..n).unwrap_or(&[])).into_owned();
        Err(Failure::new(doing(), pasta::complaint(&said)))
    }

    /// In the child: its descriptors, its mounts, its ids.
    fn prepare(&self, ready: &OwnedFd, complaints: &OwnedFd) -> io::Result<()> {
        cred::die_with_parent()?;
        let null = rustix::fs::open(c"/dev/null", OFlags::RDWR, Mode::empty())?;
        let given = [&null, ready, complaints];
        (0..)
            .zip(given)
            .try_for_each(|(number, from)| fd::onto_stdio(from.as_fd(), number))?;
        fd::cloexec_from(3)?;
        rustix::process::setsid()?;
        rustix::process::chdir(c"/")?;
        signal::default_all();
        signal::unblock_all();
        self.mounts()?;
        ns::enter(self.user.as_fd(), ns::kind::USER)?;
        cred::limit_bounding(CAPABILITIES)?;
        cred::become_ids(0, 0, &[])?;
        cred::capset(CAPABILITIES, CAPABILITIES, 0)?;
        cred::die_with_parent()?;
        cred::no_new_privs()
    }

    fn mounts(&self) -> io::Result<()> {
        ns::unshare(ns::kind::MOUNT)?;
        mount::make_all_private()?;
        let run = NewFs::open(c"tmpfs")?;
        run.set(c"size", "16k")?.set(c"mode", "0755")?;
        let run = run.mount(Attr::MOUNT_ATTR_NOSUID | Attr::MOUNT_ATTR_NOEXEC)?;
        mount::attach_at(&run, c"/run")?;
        let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::open(pasta::NAMESPACE, create, Mode::RUSR)?;
        let path = CString::new(pasta::NAMESPACE)?;
        mount::attach_at(&mount::clone_tree(self.net, false)?, &path)?;
        // The host's node may be for its root alone.
        let device = rustix::fs::makedev(TUN.0, TUN.1);
        let mode = Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(CWD, c"/run/tun", FileType::CharacterDevice, mode, device)?;
        rustix::fs::chmod(c"/run/tun", mode)?;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let node = rustix::fs::open(c"/run/tun", flags, Mode::empty())?;
        mount::attach_at(&mount::clone_tree(&node, false)?, c"/dev/net/tun")
    }
}
