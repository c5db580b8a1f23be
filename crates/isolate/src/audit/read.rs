//! Facts of a process, fetched from the host's /proc.
//!
//! Everything is read through one descriptor of `/proc/PID`, which the kernel ties to the process
//! and not to its number: when the process is gone, reads fail, whoever has the number then.

use super::facts::{self, Descriptor, Facts, NAMESPACES, Socket};
use crate::error::{Doing, Error};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;

/// Most bytes read of one file.
const LIMIT: usize = 16 << 20;
/// Most descriptors looked at.
const DESCRIPTORS: usize = 65_536;
/// Clock ticks a second in `stat`: USER_HZ, part of the kernel's interface.
const TICKS: u64 = 100;
/// How often a process that executes meanwhile is read again.
const TRIES: u32 = 5;

/// What to look up in the root of the process.
#[derive(Debug, Clone, Default)]
pub(super) struct Paths<'a> {
    /// Whether they are there.
    pub(super) covered: Vec<&'a str>,
    /// In which mount they lie.
    pub(super) places: Vec<&'a str>,
}

/// Reads a process; `None` when it is gone, or ended while it was read. Needs root.
pub(super) fn process(pid: i32, paths: &Paths<'_>) -> Result<Option<Facts>, Error> {
    for _ in 0..TRIES {
        match attempt(pid, paths) {
            Ok(Some(Some(facts))) => return Ok(Some(facts)),
            // It executed another program between two reads.
            Ok(Some(None)) => {}
            Ok(None) | Err(Errno::SRCH | Errno::NOENT) => return Ok(None),
            Err(e) => return Err(e).doing(|| format!("read process {pid}")),
        }
    }
    Ok(None)
}

fn attempt(pid: i32, paths: &Paths<'_>) -> Result<Option<Option<Facts>>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = rustix::fs::open(format!("/proc/{pid}"), flags, Mode::empty())?;
    let at = proc.as_fd();
    let before = program(at)?;
    let Some(facts) = all(at, pid, before, paths)? else {
        return Ok(None);
    };
    // Still the same process, alive, and still the same program.
    let alive = facts::task(&text(at, "status")?).is_some();
    let same = program(at)? == before;
    Ok(alive.then(|| same.then_some(facts)))
}

fn all(
    at: BorrowedFd<'_>,
    pid: i32,
    program: (u64, u64),
    paths: &Paths<'_>,
) -> Result<Option<Facts>, Errno> {
    let status = text(at, "status")?;
    let Some((parent, inner_pid)) = facts::pids(&status) else {
        return Ok(None);
    };
    let Some(tasks) = tasks(at, &status, pid)? else {
        return Ok(None);
    };
    let mut facts = Facts {
        pid,
        parent,
        inner_pid,
        age_ms: age(&text(at, "stat")?)?,
        program,
        program_path: link(at, "exe")?,
        proc_owner: rustix::fs::statat(at, "mem", AtFlags::empty())?.st_uid,
        tasks,
        uid_map: facts::id_map(&text(at, "uid_map")?),
        gid_map: facts::id_map(&text(at, "gid_map")?),
        namespaces: namespaces(at)?,
        cgroups: facts::cgroups(&text(at, "cgroup")?),
        limits: facts::limits(&text(at, "limits")?),
        oom_score_adj: text(at, "oom_score_adj")?.trim().parse().ok(),
        root: link(at, "root")?,
        mounts: facts::mount_table(&text(at, "mountinfo")?),
        ..Facts::default()
    };
    descriptors(at, pid, &mut facts)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(at, "root", flags, Mode::empty())?;
    facts.root_entries = Dir::read_from(&root)?
        .flatten()
        .filter(|e| !matches!(e.file_name().to_bytes(), b"." | b".."))
        .take(2)
        .count();
    for path in &paths.covered {
        if look(&root, path).is_some() {
            facts.present.insert((*path).to_owned());
        }
    }
    for path in &paths.places {
        if let Some(id) = look(&root, path).and_then(|fd| mount_id(&fd)) {
            facts.places.insert((*path).to_owned(), id);
        }
    }
    Ok(Some(facts))
}

/// The directory of a process that was read before, and whether it is still the same one.
pub(super) fn held(facts: &Facts) -> Option<(OwnedFd, impl Fn() -> bool)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = rustix::fs::open(format!("/proc/{}", facts.pid), flags, Mode::empty()).ok()?;
    let again = rustix::io::fcntl_dupfd_cloexec(&proc, 0).ok()?;
    let same = move || {
        let is = program(again.as_fd()).is_ok_and(|p| p == facts.program);
        is && namespaces(again.as_fd()).is_ok_and(|n| n == facts.namespaces)
    };
    same().then_some((proc, same))
}

/// The host's own namespaces: those of this process.
pub(super) fn own_namespaces() -> Result<BTreeMap<&'static str, u64>, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open("/proc/self", flags, Mode::empty())
        .and_then(|own| namespaces(own.as_fd()))
        .doing(|| "read the host's namespaces".into())
}

/// Number of filters a process has; 0 when it is gone or the kernel does not say.
pub(super) fn filters(pid: i32) -> u32 {
    let status = text(CWD, &format!("/proc/{pid}/status"));
    let task = status.ok().and_then(|text| facts::task(&text));
    task.and_then(|task| task.filters).unwrap_or(0)
}

/// Processes of the host that are in a PID namespace.
pub(super) fn in_pid_namespace(inode: u64) -> Result<Vec<i32>, Error> {
    let doing = || "list the host's processes".to_owned();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = rustix::fs::open("/proc", flags, Mode::empty()).doing(doing)?;
    let pids = numbers(&proc).doing(doing)?;
    let inside = |pid: &i32| {
        let name = link(proc.as_fd(), &format!("{pid}/ns/pid"));
        name.is_ok_and(|name| inode_of(&name) == Some(inode))
    };
    Ok(pids.into_iter().filter(inside).collect())
}

fn numbers(dir: impl AsFd) -> Result<Vec<i32>, Errno> {
    let mut all = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name: Option<i32> = entry?
            .file_name()
            .to_str()
            .ok()
            .and_then(|n| n.parse().ok());
        all.extend(name);
    }
    Ok(all)
}

pub(super) fn text(at: impl AsFd, name: &str) -> Result<String, Errno> {
    let fd = rustix::fs::openat(at, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 16_384];
    loop {
        let n = rustix::io::retry_on_intr(|| rustix::io::read(&fd, &mut chunk))?;
        match chunk.get(..n) {
            Some(part) if n > 0 && bytes.len() < LIMIT => bytes.extend_from_slice(part),
            _ => break,
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn link(at: impl AsFd, name: &str) -> Result<String, Errno> {
    let target = rustix::fs::readlinkat(at, name, Vec::new())?;
    Ok(target.to_string_lossy().into_owned())
}

fn program(at: BorrowedFd<'_>) -> Result<(u64, u64), Errno> {
    let stat = rustix::fs::statat(at, "exe", AtFlags::empty())?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Every thread; the first one from the status that was read already.
fn tasks(at: BorrowedFd<'_>, status: &str, pid: i32) -> Result<Option<Vec<facts::Task>>, Errno> {
    let Some(first) = facts::task(status) else {
        return Ok(None);
    };
    let mut all = vec![first];
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(at, "task", flags, Mode::empty())?;
    for id in numbers(&dir)?.into_iter().filter(|id| *id != pid) {
        // A thread that has ended meanwhile has nothing any more.
        let status = text(&dir, &format!("{id}/status"));
        all.extend(status.ok().and_then(|text| facts::task(&text)));
    }
    Ok(Some(all))
}

fn age(stat: &str) -> Result<u64, Errno> {
    // The name before it may have blanks and brackets of its own.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let started = rest.split_whitespace().nth(19).and_then(|n| n.parse().ok());
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let now = u64::try_from(now.tv_sec).unwrap_or(0) * 1000
        + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000;
    let started: u64 = started.ok_or(Errno::INVAL)?;
    Ok(now.saturating_sub(started.saturating_mul(1000 / TICKS)))
}

fn inode_of(link: &str) -> Option<u64> {
    link.split_once(":[")?.1.strip_suffix(']')?.parse().ok()
}

fn namespaces(at: BorrowedFd<'_>) -> Result<BTreeMap<&'static str, u64>, Errno> {
    let mut all = BTreeMap::new();
    for name in NAMESPACES {
        match link(at, &format!("ns/{name}")) {
            Ok(target) => all.extend(inode_of(&target).map(|inode| (name, inode))),
            // A thread that ends loses them first.
            Err(e) => return Err(e),
        }
    }
    Ok(all)
}

/// A handle on a process; `None` when it is gone.
fn pidfd(pid: i32) -> Option<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid)?;
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
}

/// Where a socket of a process lives, by a copy of the descriptor that is closed at once; `None`
/// when it is closed meanwhile, or the kernel does not tell.
fn socket(pidfd: &OwnedFd, number: i32) -> Option<Socket> {
    let flags = rustix::process::PidfdGetfdFlags::empty();
    let copy = rustix::process::pidfd_getfd(pidfd, number, flags).ok()?;
    let network = rkt_sys::socket::namespace(&copy).ok()?;
    let address = rustix::net::getsockname(&copy).ok();
    Some(Socket {
        network: rustix::fs::fstat(&network).ok()?.st_ino,
        address: address.and_then(|a| a.try_into().ok()),
    })
}

fn descriptors(at: BorrowedFd<'_>, pid: i32, facts: &mut Facts) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(at, "fd", flags, Mode::empty())?;
    let mut names: Vec<i32> = numbers(&dir)?;
    facts.too_many_descriptors = names.len() > DESCRIPTORS;
    names.truncate(DESCRIPTORS);
    names.sort_unstable();
    let pidfd = pidfd(pid);
    let numbered = names.iter().map(|n| (n.to_string(), format!("fd/{n}")));
    let named = ["cwd", "root", "exe"].map(|n| (n.to_owned(), n.to_owned()));
    for (name, path) in numbered.chain(named) {
        // Closed meanwhile.
        let Ok(target) = link(at, &path) else {
            continue;
        };
        let mut open = Descriptor {
            name,
            link: target,
            ..Descriptor::default()
        };
        if !open.link.contains(":[") || open.link.starts_with('/') {
            // Held by O_PATH nothing is opened, and what is asked is of one and the same file.
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let Ok(held) = rustix::fs::openat(at, path.as_str(), flags, Mode::empty()) else {
                continue;
            };
            let Ok(target) = link(CWD, &format!("/proc/self/fd/{}", held.as_raw_fd())) else {
                continue;
            };
            if target.starts_with('/') || target.starts_with('(') {
                open.mount = mount_id(&held);
                let stat = rustix::fs::fstat(&held)?;
                let (major, minor) = (
                    rustix::fs::major(stat.st_dev),
                    rustix::fs::minor(stat.st_dev),
                );
                open.device = format!("{major}:{minor}");
            }
        }
        if open.link.starts_with("socket:[") {
            let number = open.name.parse().ok();
            open.socket = number.and_then(|n| socket(pidfd.as_ref()?, n));
        }
        facts.descriptors.push(open);
    }
    Ok(())
}

/// A path in a root that is not ours, never out of it and never through a magic link.
fn look(root: &OwnedFd, path: &str) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rkt_sys::fd::open(root, path, flags, Mode::empty(), resolve).ok()
}

fn mount_id(fd: &OwnedFd) -> Option<u64> {
    let info = text(CWD, &format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).ok()?;
    let line = info.lines().find_map(|l| l.strip_prefix("mnt_id:"))?;
    line.trim().parse().ok()
}
