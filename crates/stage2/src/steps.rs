//! The steps from a cloned child to the app, in the order that makes them irrevocable.

use crate::autopsy;
use crate::report::{Failed, Step};
use crate::start::{Mode, Start};
use rkt_spec::plan::weaken;
use rkt_sys::{cred, fd, ns, process, seccomp, signal, socket, tty};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode as FileMode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::io;

/// Where a root without pivot lies in the host's tree; for test builds only.
pub const ROOT_WITHOUT_PIVOT: &str = "/mnt/r";

/// Every capability bit there is.
const ALL: u64 = (1 << (cred::LAST_CAP + 1)) - 1;

/// Turns the calling process, a fresh child of a launcher, into a process of the app.
///
/// Runs with the supervisor's privileges until the app's user namespace is entered, and never
/// returns: it ends in the app's program, or in a report on `start.report` and exit status 127.
///
/// The caller is already in the app's Landlock domain (domains are shared by fork only, see
/// `docs/design/launcher.md`), in the pod's PID namespace and in the app's v2 cgroup.
pub fn become_app(start: &Start<'_>) -> ! {
    let failed = match prepare(start) {
        Ok(()) => match start.mode {
            Mode::Execute => finish(start),
            Mode::Autopsy => {
                autopsy::examine(start);
                process::exit(0)
            }
        },
        Err(failed) => failed,
    };
    failed.send(start.report);
    process::exit(127)
}

fn at<T>(step: Step, result: io::Result<T>) -> Result<T, Failed> {
    result.map_err(|error| Failed::new(step, &error))
}

/// Everything up to the app's credentials: what the supervisor's privileges are needed for.
fn prepare(start: &Start<'_>) -> Result<(), Failed> {
    let walls = start.walls;
    at(Step::EnterPod, cred::die_with_parent())?;
    enter_pod(start)?;
    at(Step::Stdio, take_stdio(start))?;
    rustix::process::umask(FileMode::from_raw_mode(start.process.umask));
    at(Step::OomScore, set_oom_score(walls.oom_score_adj))?;
    for limit in &walls.rlimits {
        at(
            Step::Limits,
            cred::set_rlimit(limit.resource, limit.soft, limit.hard),
        )?;
    }
    // Kernel keys are not namespaced: without this the app would hold the operator's session.
    match process::join_session_keyring() {
        Err(error) if error.raw_os_error() != Some(Errno::NOSYS.raw_os_error()) => {
            return Err(Failed::new(Step::Identity, &error));
        }
        _ => {}
    }
    if let Some(user) = &start.namespaces.user {
        at(Step::EnterUser, ns::enter(user.as_fd(), ns::kind::USER))?;
    }
    reduce(start)
}

fn enter_pod(start: &Start<'_>) -> Result<(), Failed> {
    let spaces = start.namespaces;
    if let Some(net) = &spaces.net {
        at(Step::EnterPod, ns::enter(net.as_fd(), ns::kind::NET))?;
    }
    at(Step::EnterPod, ns::enter(spaces.ipc.as_fd(), ns::kind::IPC))?;
    at(Step::EnterPod, ns::enter(spaces.uts.as_fd(), ns::kind::UTS))?;
    let entered = ns::enter(spaces.cgroup.as_fd(), ns::kind::CGROUP);
    at(Step::Cgroup, entered)?;
    let entered = ns::enter(spaces.mount.as_fd(), ns::kind::MOUNT);
    at(Step::EnterRoot, entered)?;
    if start.weaken & weaken::PIVOT != 0 {
        let entered = rustix::process::chroot(ROOT_WITHOUT_PIVOT);
        at(Step::EnterRoot, entered.map_err(io::Error::from))?;
        at(
            Step::EnterRoot,
            rustix::process::chdir(c"/").map_err(io::Error::from),
        )?;
    }
    Ok(())
}

fn take_stdio(start: &Start<'_>) -> io::Result<()> {
    rustix::process::setsid()?;
    for (number, from) in (0..).zip(start.stdio) {
        fd::onto_stdio(from, number)?;
    }
    if start.tty {
        tty::make_controlling(rustix::stdio::stdin())?;
    }
    Ok(())
}

/// Written through the app's own procfs, which only the supervisor could have mounted there.
fn set_oom_score(score: i32) -> io::Result<()> {
    if score == 0 {
        return Ok(());
    }
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(c"/proc/self/oom_score_adj", flags, FileMode::empty())?;
    let mut text = [0u8; 12];
    let digits = decimal(score, &mut text);
    match rustix::io::write(&file, digits) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A number as text without allocation.
fn decimal(value: i32, buffer: &mut [u8; 12]) -> &[u8] {
    let mut rest = value.unsigned_abs();
    let mut at = buffer.len();
    loop {
        at -= 1;
        if let Some(slot) = buffer.get_mut(at) {
            *slot = b'0' + (rest % 10) as u8;
        }
        rest /= 10;
        if rest == 0 || at == 1 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        if let Some(slot) = buffer.get_mut(at) {
            *slot = b'-';
        }
    }
    buffer.get(at..).unwrap_or(&[])
}

/// Identity, bounding set, inheritable and ambient sets. Permitted stays full, so that a filter
/// can still be loaded without no_new_privs; effective is what the app will have.
fn reduce(start: &Start<'_>) -> Result<(), Failed> {
    let (walls, who) = (start.walls, start.process);
    let weak = start.weaken & weaken::CAPS != 0;
    let all = everything(start);
    if weak {
        at(Step::Identity, cred::keep_caps(true))?;
        at(
            Step::Identity,
            cred::become_ids(who.uid, who.gid, &who.groups),
        )?;
        at(Step::Capabilities, cred::capset(all, all, all))?;
        at(Step::Capabilities, cred::raise_ambient(all))?;
        return at(Step::Identity, cred::die_with_parent());
    }
    at(Step::Capabilities, cred::limit_bounding(walls.bounding.0))?;
    at(Step::Identity, cred::keep_caps(true))?;
    at(
        Step::Identity,
        cred::become_ids(who.uid, who.gid, &who.groups),
    )?;
    // A change of uid clears the wish to die with the parent.
    at(Step::Identity, cred::die_with_parent())?;
    at(
        Step::Capabilities,
        cred::capset(first_effective(start) & all, all, walls.ambient.0),
    )?;
    at(Step::Capabilities, cred::clear_ambient())?;
    at(Step::Capabilities, cred::raise_ambient(walls.ambient.0))
}

/// All that can be permitted here: everything in the app's own user namespace; without one (a
/// test took that wall away) what the supervisor has, which may be less.
fn everything(start: &Start<'_>) -> u64 {
    if start.namespaces.user.is_some() {
        ALL
    } else {
        cred::permitted()
    }
}

/// The sets an app's process starts with: root's grant, or the ambient grant of another user.
fn first_effective(start: &Start<'_>) -> u64 {
    if start.process.uid == 0 {
        start.walls.permitted.0
    } else {
        start.walls.ambient.0
    }
}

/// From the app's credentials to its program.
fn finish(start: &Start<'_>) -> Failed {
    match last_steps(start) {
        Ok(never) => match never {},
        Err(failed) => failed,
    }
}

fn last_steps(start: &Start<'_>) -> Result<std::convert::Infallible, Failed> {
    let walls = start.walls;
    at(Step::WorkingDirectory, enter_cwd(start))?;
    let candidate = find_program(start)?;
    let path = start.program.candidates().get(usize::from(candidate));
    let path = path.ok_or(Failed {
        step: Step::Program,
        errno: 2,
        candidate,
    })?;
    at(Step::Exec, fd::cloexec_from(3))?;
    at(Step::Exec, place_sockets(start))?;
    // Ignored signals stay ignored over exec; the launcher has given each its default. Here, since
    // a list of the user's may leave nothing but execve behind the filter.
    signal::unblock_all();
    let filter = if start.weaken & weaken::SECCOMP == 0 {
        walls.seccomp.0.as_slice()
    } else {
        &[]
    };
    let privs_fixed = walls.no_new_privs && start.weaken & weaken::NO_NEW_PRIVS == 0;
    let keep_all = start.weaken & weaken::CAPS != 0;
    let effective = first_effective(start);
    if privs_fixed {
        if !keep_all {
            at(
                Step::Capabilities,
                cred::capset(effective, effective, walls.ambient.0),
            )?;
        }
        at(Step::Capabilities, cred::no_new_privs())?;
        at(Step::Seccomp, load(start, filter))?;
    } else {
        // Loading a filter without no_new_privs takes CAP_SYS_ADMIN, here and for the last time.
        at(
            Step::Seccomp,
            cred::capset(everything(start), everything(start), walls.ambient.0),
        )?;
        at(Step::Seccomp, load(start, filter))?;
        if !keep_all {
            at(
                Step::Capabilities,
                cred::capset(effective, effective, walls.ambient.0),
            )?;
        }
    }
    let error = process::execve(path, start.argv, start.envp);
    Err(Failed {
        candidate,
        ..Failed::new(Step::Exec, &error)
    })
}

/// Puts the app's sockets where `sd_listen_fds(3)` looks for them, and tells whom they are for.
fn place_sockets(start: &Start<'_>) -> io::Result<()> {
    for (number, socket) in (3..).zip(start.sockets) {
        fd::onto_number(socket.as_fd(), number)?;
    }
    if !start.sockets.is_empty() {
        let own = rustix::process::getpid().as_raw_nonzero().get();
        start.envp.set_number(own.unsigned_abs());
    }
    Ok(())
}

/// What a report says when it brings the listener of refused calls; no [`Step`] has this number.
pub const LISTENER: u8 = 0xff;

fn load(start: &Start<'_>, filter: &[u8]) -> io::Result<()> {
    if filter.is_empty() {
        return Ok(());
    }
    if !start.trace {
        return Ok(seccomp::load(filter)?);
    }
    let listener = seccomp::load_listening(&start.walls.traced.0)?;
    socket::send(start.report, &[LISTENER], &[listener.as_fd()])
}

/// A path of the app, never through a magic link: `/proc/self/fd/N` as working directory or
/// program would lead to what the launcher holds open (CVE-2024-21626, CVE-2019-5736).
fn open_own(path: &std::ffi::CStr, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
    let rules = ResolveFlags::NO_MAGICLINKS;
    Ok(fd::open(CWD, path, flags, FileMode::empty(), rules)?)
}

fn enter_cwd(start: &Start<'_>) -> io::Result<()> {
    let dir = open_own(start.cwd, OFlags::DIRECTORY)?;
    Ok(rustix::process::fchdir(&dir)?)
}

/// The first place that has a file, as execvp(3) has it: a place that may not be looked at is
/// remembered, and only told of when no other has the file.
fn find_program(start: &Start<'_>) -> Result<u8, Failed> {
    let mut refused: Option<(u8, i32)> = None;
    for (n, path) in (0u8..).zip(start.program.candidates()) {
        match open_own(path, OFlags::empty()) {
            Ok(found) => {
                let is_file = rustix::fs::fstat(&found)
                    .is_ok_and(|s| rustix::fs::FileType::from_raw_mode(s.st_mode).is_file());
                if is_file || start.program.candidates().len() == 1 {
                    return Ok(n);
                }
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                let missing = [Errno::NOENT, Errno::NOTDIR]
                    .iter()
                    .any(|e| e.raw_os_error() == errno);
                if !missing && refused.is_none() {
                    refused = Some((n, errno));
                }
            }
        }
    }
    let (candidate, errno) = refused.unwrap_or((0, Errno::NOENT.raw_os_error()));
    Err(Failed {
        step: Step::Program,
        errno,
        candidate,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_become_text_without_allocation() {
        for value in [0, 7, 100, -999, 1000, -1000] {
            assert_eq!(
                super::decimal(value, &mut [0; 12]),
                value.to_string().as_bytes()
            );
        }
    }
}
