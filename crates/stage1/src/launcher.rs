//! The launcher of an app: a fork of the supervisor inside the app's Landlock domain, from which
//! every process of the app is cloned: its start, its restarts and each `rkt enter`.
//!
//! Domains are shared by fork only. A process that entered the app with a domain of its own,
//! however equal, would be a stranger to the app: blind to its processes, unable to signal them.
//! The launcher is outside the pod: it is in none of its namespaces, and no app can see it.
//! What it needs of the host it holds open (`docs/design/launcher.md`).

use crate::error::{Doing, Failure};
use crate::host::{Host, SETUP_DEADLINE, wait_readable};
use crate::sandbox::Shared;
use rkt_spec::codec::Record;
use rkt_spec::plan::{AppPlan, Process};
use rkt_stage2::{Mode, Namespaces, Program, Start, become_app};
use rkt_sys::process::{self, CStrings, Cloned};
use rkt_sys::{cred, fd, landlock, ns, signal, socket};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;
use std::ffi::CString;
use std::io;
use std::time::Instant;

/// Longest message to a launcher: a process record of `rkt enter`.
const MAX_MESSAGE: usize = rkt_pod::control::MAX_FRAME + 16;

/// What a message asks for.
mod kind {
    /// Take the namespaces and enter the domain; what descriptors come is told by bits of `with`.
    pub(super) const SETUP: u8 = 1;
    /// Clone a process; descriptors: stdin, stdout, stderr, report.
    pub(super) const START: u8 = 2;
    /// Try to open the directory that comes, the host's `/`, and say what came of it.
    pub(super) const PROVE: u8 = 3;
    /// Some of the sockets that the app's program is to have.
    pub(super) const SOCKETS: u8 = 4;
}

/// Which descriptors a SETUP brings after the mount, PID, IPC and UTS namespaces, in this order.
mod with {
    pub(super) const NET: u8 = 1;
    pub(super) const USER: u8 = 2;
    pub(super) const RULESET: u8 = 4;
}

/// A running launcher; killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Launcher {
    pub(crate) pidfd: OwnedFd,
    socket: OwnedFd,
}

/// What a launcher is made from.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) host: &'a Host,
    pub(crate) app: &'a AppPlan,
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
    pub(crate) cgroup_v1: Vec<BorrowedFd<'a>>,
    /// What the app's sockets are called, in order.
    pub(crate) listen: Vec<String>,
    pub(crate) weaken: u64,
}

/// Where an app's processes live: what a launcher enters or hands on.
#[derive(Debug)]
pub(crate) struct Home<'a> {
    pub(crate) mounts: BorrowedFd<'a>,
    pub(crate) pids: BorrowedFd<'a>,
    pub(crate) shared: &'a Shared,
    pub(crate) user: Option<BorrowedFd<'a>>,
    pub(crate) ruleset: Option<BorrowedFd<'a>>,
    pub(crate) sockets: &'a [OwnedFd],
}

impl Drop for Launcher {
    fn drop(&mut self) {
        let _ = signal::send(self.pidfd.as_fd(), 9);
    }
}

/// A process of an app on its way to exec.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
    /// Where its refused calls arrive, and those of what it forks.
    pub(crate) listener: Option<OwnedFd>,
}

/// What to start.
#[derive(Debug, Clone, Copy)]
pub(crate) enum What<'a> {
    /// The app's own program.
    Main,
    /// Another process in the app.
    Other(&'a Process),
}

impl Launcher {
    /// Forks it. It joins the app's v1 cgroups at once.
    pub(crate) fn start(parts: &Parts<'_>) -> Result<Self, Failure> {
        let doing = || format!("start the launcher of app `{}`", parts.app.name);
        let (ours, theirs) = socket::pair().doing(doing)?;
        match process::clone3(0, None).doing(doing)? {
            Cloned::Parent { pidfd, .. } => Ok(Self {
                pidfd,
                socket: ours,
            }),
            Cloned::Child => {
                let status = match Body::prepare(parts, &theirs) {
                    Ok(body) => body.serve(),
                    Err(_) => 1,
                };
                process::exit(status)
            }
        }
    }

    /// Hands over the app's namespaces and ruleset; the launcher enters the domain.
    pub(crate) fn setup(&self, home: &Home<'_>) -> io::Result<()> {
        let shared = home.shared;
        let more = [
            (with::NET, shared.net.as_ref().map(AsFd::as_fd)),
            (with::USER, home.user),
            (with::RULESET, home.ruleset),
        ];
        let mut fds = vec![
            home.mounts,
            home.pids,
            shared.ipc.as_fd(),
            shared.uts.as_fd(),
        ];
        fds.extend(more.iter().filter_map(|(_, fd)| *fd));
        let brought = more.iter().filter(|(_, fd)| fd.is_some());
        let brought = brought.fold(0, |bits, (bit, _)| bits | bit);
        socket::send(&self.socket, &[kind::SETUP, brought], &fds)?;
        for some in home.sockets.chunks(socket::MAX_FDS) {
            let some: Vec<BorrowedFd<'_>> = some.iter().map(AsFd::as_fd).collect();
            socket::send(&self.socket, &[kind::SOCKETS], &some)?;
        }
        Ok(())
    }

    /// Asks for a process; [`Launcher::answer`] gives it.
    pub(crate) fn ask(
        &self,
        what: What<'_>,
        mode: Mode,
        tty: bool,
        stdio: [BorrowedFd<'_>; 3],
        report: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let mut bytes = vec![kind::START, u8::from(mode == Mode::Autopsy), u8::from(tty)];
        match what {
            What::Main => bytes.push(0),
            What::Other(process) => {
                bytes.push(1);
                process.put(&mut bytes);
            }
        }
        if bytes.len() > MAX_MESSAGE {
            return Err(io::Error::from_raw_os_error(
                rustix::io::Errno::TOOBIG.raw_os_error(),
            ));
        }
        let [stdin, stdout, stderr] = stdio;
        socket::send(&self.socket, &bytes, &[stdin, stdout, stderr, report])
    }

    /// The errno that it gets for an open of the host's `/`; 0 when it is in no domain.
    pub(crate) fn prove(&self) -> io::Result<i32> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = rustix::fs::open("/", flags, rustix::fs::Mode::empty())?;
        socket::send(&self.socket, &[kind::PROVE], &[top.as_fd()])?;
        let mut bytes = [0u8; 4];
        if !wait_readable(&self.socket, Instant::now() + SETUP_DEADLINE) {
            return Err(rustix::io::Errno::TIMEDOUT.into());
        }
        match socket::recv(&self.socket, &mut bytes)? {
            (4, _) => Ok(i32::from_le_bytes(bytes)),
            _ => Err(rustix::io::Errno::PIPE.into()),
        }
    }

    /// The process asked for: a child of the supervisor, not of the launcher.
    pub(crate) fn answer(&self) -> io::Result<Child> {
        if !wait_readable(&self.socket, Instant::now() + SETUP_DEADLINE) {
            return Err(io::Error::from_raw_os_error(
                rustix::io::Errno::TIMEDOUT.raw_os_error(),
            ));
        }
        let mut bytes = [0u8; 8];
        let (n, fds) = socket::recv(&self.socket, &mut bytes)?;
        if n != bytes.len() {
            return Err(io::Error::from_raw_os_error(
                rustix::io::Errno::PIPE.raw_os_error(),
            ));
        }
        let [a, b, c, d, e, f, g, h] = bytes;
        let (errno, pid) = (
            i32::from_le_bytes([a, b, c, d]),
            u32::from_le_bytes([e, f, g, h]),
        );
        match fds.into_iter().next() {
            Some(pidfd) if errno == 0 => Ok(Child {
                pid,
                pidfd,
                listener: None,
            }),
            _ => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

/// The launcher's own side.
struct Body<'a> {
    parts: &'a Parts<'a>,
    socket: &'a OwnedFd,
    namespaces: Option<Namespaces>,
    cgroup: OwnedFd,
    argv: CStrings,
    envp: CStrings,
    program: Program,
    cwd: CString,
    /// The app's sockets, at numbers above those they will have in the app.
    sockets: Vec<OwnedFd>,
}

/// What an open of a directory outside the app gives.
fn opened(fds: &[OwnedFd]) -> i32 {
    let Some(top) = fds.first() else {
        return rustix::io::Errno::BADF.raw_os_error();
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::openat(top, ".", flags, rustix::fs::Mode::empty()) {
        Ok(_) => 0,
        Err(errno) => errno.raw_os_error(),
    }
}

/// The prepared form of a process: program, arguments, environment, directory.
fn prepared(process: &Process) -> io::Result<(Program, CStrings, CStrings, CString)> {
    let list = |items: &[rkt_spec::codec::Bytes]| CStrings::new(items.iter().map(|b| b.0.clone()));
    let cwd = CString::new(process.cwd.as_str())
        .map_err(|_| io::Error::from_raw_os_error(rustix::io::Errno::INVAL.raw_os_error()))?;
    Ok((
        Program::new(process)?,
        list(&process.argv)?,
        list(&process.env)?,
        cwd,
    ))
}

/// The environment of the app's own program: with its sockets, what `sd_listen_fds(3)` reads.
fn main_environment(process: &Process, names: &[String]) -> io::Result<CStrings> {
    let all = process.env.iter().map(|b| b.0.clone());
    if names.is_empty() {
        return CStrings::new(all);
    }
    let foreign = |entry: &Vec<u8>| !entry.starts_with(b"LISTEN_");
    let told = [
        format!("LISTEN_FDS={}", names.len()),
        format!("LISTEN_FDNAMES={}", names.join(":")),
    ];
    let all = all.filter(foreign).chain(told.map(String::into_bytes));
    Ok(CStrings::new(all)?.with_number("LISTEN_PID="))
}

/// The cgroup namespace of the app's processes, all of which share it. It is made by a child born
/// in the app's v2 leaf, after the v1 groups were joined: a namespace's root is where its maker is,
/// and made earlier it would show the host's path.
fn cgroup_namespace(parts: &Parts<'_>) -> io::Result<OwnedFd> {
    let (ours, theirs) = socket::pair()?;
    let (pid, pidfd) = match process::clone3(0, parts.cgroup)? {
        Cloned::Parent { pid, pidfd } => (pid, pidfd),
        Cloned::Child => {
            drop(ours);
            let made = cred::die_with_parent().and_then(|()| ns::unshare(ns::kind::CGROUP));
            if made.and_then(|()| socket::send(&theirs, &[1], &[])).is_ok() {
                let _ = socket::recv(&theirs, &mut [0u8]);
            }
            process::exit(0)
        }
    };
    drop(theirs);
    let deadline = Instant::now() + SETUP_DEADLINE;
    let mut word = [0u8];
    let made =
        wait_readable(&ours, deadline) && matches!(socket::recv(&ours, &mut word), Ok((1, _)));
    let flags = rustix::fs::OFlags::RDONLY;
    let namespace = parts.host.open_pid(pid, "ns/cgroup", flags);
    let _ = signal::send(pidfd.as_fd(), 9);
    let _ = process::wait_pidfd(pidfd.as_fd());
    if made {
        Ok(namespace?)
    } else {
        Err(io::Error::from_raw_os_error(libc_child()))
    }
}

/// `ECHILD`: a set-up child ended without a word.
fn libc_child() -> i32 {
    rustix::io::Errno::CHILD.raw_os_error()
}

impl<'a> Body<'a> {
    fn prepare(parts: &'a Parts<'a>, socket: &'a OwnedFd) -> io::Result<Self> {
        cred::die_with_parent()?;
        if !parts.host.is_parent() {
            process::exit(1);
        }
        cred::set_dumpable(false)?;
        cred::set_name(c"rkt-launcher");
        // Everything else of the supervisor's stays with it: another app's socket held here would
        // keep its end of file from ever coming, and the pod's lock from ever being free.
        let proc = &parts.host.proc;
        let mut keep: Vec<i32> = [proc, socket].into_iter().map(fd::number).collect();
        let groups = parts.cgroup.iter().chain(&parts.cgroup_v1);
        keep.extend(groups.map(fd::number));
        fd::close_all_but(3, &mut keep)?;
        // The operator's terminal has no business here.
        for number in 0..3 {
            fd::onto_stdio(socket.as_fd(), number)?;
        }
        rustix::process::setsid()?;
        // For the processes it will clone: what is ignored here would be ignored there.
        signal::default_all();
        for tasks in &parts.cgroup_v1 {
            rustix::io::write(tasks, b"0")?;
        }
        let cgroup = cgroup_namespace(parts)?;
        // The host's procfs was needed for that only.
        keep.retain(|number| *number != fd::number(proc));
        keep.push(fd::number(&cgroup));
        fd::close_all_but(3, &mut keep)?;
        let (program, argv, _, cwd) = prepared(&parts.app.process)?;
        let envp = main_environment(&parts.app.process, &parts.listen)?;
        Ok(Self {
            parts,
            socket,
            namespaces: None,
            cgroup,
            argv,
            envp,
            program,
            cwd,
            sockets: vec![],
        })
    }

    fn serve(mut self) -> i32 {
        let mut buffer = vec![0u8; MAX_MESSAGE];
        loop {
            let Ok((n, fds)) = socket::recv(self.socket, &mut buffer) else {
                return 1;
            };
            let result = match buffer.get(..n) {
                // End of file: the supervisor is gone or done with us.
                Some([]) | None => return 0,
                Some([kind::SETUP, brought]) => match self.setup(*brought, fds) {
                    Ok(()) => continue,
                    Err(_) => return 1,
                },
                Some([kind::PROVE]) => {
                    let errno = opened(&fds).to_le_bytes();
                    match socket::send(self.socket, &errno, &[]) {
                        Ok(()) => continue,
                        Err(_) => return 1,
                    }
                }
                Some([kind::SOCKETS]) => match self.keep_sockets(fds) {
                    Ok(()) => continue,
                    Err(_) => return 1,
                },
                Some([kind::START, autopsy, tty, other, record @ ..]) => {
                    let record = (*other == 1).then_some(record);
                    self.start(*autopsy == 1, *tty == 1, record, &fds)
                }
                Some(_) => return 1,
            };
            if self.answer(result).is_err() {
                return 1;
            }
        }
    }

    fn answer(&self, result: io::Result<(u32, OwnedFd)>) -> io::Result<()> {
        let (errno, pid, pidfd) = match &result {
            Ok((pid, pidfd)) => (0, *pid, Some(pidfd.as_fd())),
            Err(error) => (error.raw_os_error().unwrap_or(-1), 0, None),
        };
        let mut bytes = errno.to_le_bytes().to_vec();
        bytes.extend(pid.to_le_bytes());
        socket::send(self.socket, &bytes, pidfd.as_slice())
    }

    /// The first number that is none of the app's sockets.
    fn above(&self) -> i32 {
        i32::try_from(self.parts.listen.len())
            .unwrap_or(i32::MAX)
            .saturating_add(3)
    }

    /// Holds them where placing one in a child covers none of the others.
    fn keep_sockets(&mut self, fds: Vec<OwnedFd>) -> io::Result<()> {
        for fd in fds {
            let held = rustix::io::fcntl_dupfd_cloexec(&fd, self.above())?;
            self.sockets.push(held);
        }
        Ok(())
    }

    fn setup(&mut self, brought: u8, fds: Vec<OwnedFd>) -> io::Result<()> {
        let none = || io::Error::from_raw_os_error(rustix::io::Errno::BADF.raw_os_error());
        let mut fds = fds.into_iter();
        let mut next = || fds.next().ok_or_else(none);
        let (mount, pids, ipc, uts) = (next()?, next()?, next()?, next()?);
        let mut optional = |bit| (brought & bit != 0).then(&mut next).transpose();
        let (net, user) = (optional(with::NET)?, optional(with::USER)?);
        let ruleset = optional(with::RULESET)?;
        // Children only: the launcher itself stays in the host's, where no app has a pid for it.
        ns::enter(pids.as_fd(), ns::kind::PID)?;
        self.namespaces = Some(Namespaces {
            net,
            ipc,
            uts,
            mount,
            cgroup: self.cgroup.as_fd().try_clone_to_owned()?,
            user,
        });
        // Never no_new_privs here: children inherit it, and an app may be without it.
        if let Some(ruleset) = ruleset {
            landlock::restrict_self(ruleset.as_fd())?;
        }
        Ok(())
    }

    fn start(
        &self,
        autopsy: bool,
        tty: bool,
        record: Option<&[u8]>,
        fds: &[OwnedFd],
    ) -> io::Result<(u32, OwnedFd)> {
        let invalid = || io::Error::from_raw_os_error(rustix::io::Errno::INVAL.raw_os_error());
        let namespaces = self.namespaces.as_ref().ok_or_else(invalid)?;
        let [stdin, stdout, stderr, report] = fds else {
            return Err(invalid());
        };
        let other = match record {
            Some(bytes) => Some(Process::from_bytes(bytes).map_err(|_| invalid())?),
            None => None,
        };
        let own = other.as_ref().map(prepared).transpose()?;
        let sockets = match record {
            None if !autopsy => self.sockets.as_slice(),
            _ => &[],
        };
        // Placing the sockets must not cover it.
        let above = (!sockets.is_empty())
            .then(|| rustix::io::fcntl_dupfd_cloexec(report, self.above()))
            .transpose()?;
        let report = above.as_ref().unwrap_or(report);
        let (program, argv, envp, cwd) = match &own {
            Some((program, argv, envp, cwd)) => (program, argv, envp, cwd),
            None => (&self.program, &self.argv, &self.envp, &self.cwd),
        };
        let start = Start {
            namespaces,
            walls: &self.parts.app.walls,
            process: other.as_ref().unwrap_or(&self.parts.app.process),
            program,
            argv,
            envp,
            cwd,
            stdio: [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
            tty,
            report: report.as_fd(),
            sockets,
            mode: if autopsy {
                Mode::Autopsy
            } else {
                Mode::Execute
            },
            trace: record.is_none() && !autopsy && !self.parts.app.walls.traced.0.is_empty(),
            weaken: self.parts.weaken,
        };
        match process::clone3(process::flags::PARENT, self.parts.cgroup)? {
            Cloned::Parent { pid, pidfd } => Ok((pid, pidfd)),
            Cloned::Child => become_app(&start),
        }
    }
}
