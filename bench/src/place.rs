//! A directory and a cgroup name of our own, and their end: nothing of the host's is touched.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::{
    mount::{MountFlags, UnmountFlags, mount, unmount},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use crate::{
    fault::{Doing, Result},
    world,
};

/// Where everything of one run lies. Its end removes it, with mounts and cgroups of its name.
pub(crate) struct Place {
    /// The directory; world-searchable, since apps in user namespaces walk through it.
    pub(crate) dir: PathBuf,
    /// The name of our cgroup in every tree.
    pub(crate) cgroup: String,
}

impl Place {
    /// Makes the directory and the cgroup of the unified tree, after removing those of runs that
    /// were killed.
    pub(crate) fn make() -> Result<Self> {
        for name in entries(Path::new("/var/tmp")) {
            let run = name
                .strip_prefix("rkt-bench-")
                .and_then(|pid| pid.parse::<u32>().ok());
            if run.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
                drop(Self {
                    dir: Path::new("/var/tmp").join(&name),
                    cgroup: name,
                });
            }
        }
        let cgroup = format!("rkt-bench-{}", std::process::id());
        let dir = Path::new("/var/tmp").join(&cgroup);
        fs::create_dir_all(&dir).doing(|| format!("create `{}`", dir.display()))?;
        let place = Self { dir, cgroup };
        // What lives below /run on a real host: there it is a tmpfs, on small machines a disk.
        let run = place.room("run")?;
        mount("tmpfs", &run, "tmpfs", MountFlags::empty(), c"mode=0755")
            .doing(|| format!("mount a tmpfs on `{}`", run.display()))?;
        let tree = place.unified()?;
        fs::create_dir_all(&tree).doing(|| format!("create `{}`", tree.display()))?;
        Ok(place)
    }

    /// Our cgroup in the unified tree.
    pub(crate) fn unified(&self) -> Result<PathBuf> {
        Ok(world::unified()?.join(&self.cgroup))
    }

    /// A directory below ours.
    pub(crate) fn room(&self, name: &str) -> Result<PathBuf> {
        let room = self.dir.join(name);
        fs::create_dir_all(&room).doing(|| format!("create `{}`", room.display()))?;
        Ok(room)
    }

    /// Unmounts what lies below `dir`, the newest first, and removes it.
    pub(crate) fn clear(dir: &Path) {
        let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let points = table.lines().filter_map(|line| line.split(' ').nth(1));
        let mut ours: Vec<&str> = points
            .filter(|point| Path::new(point).starts_with(dir))
            .collect();
        ours.reverse();
        for point in ours {
            let _gone = unmount(point, UnmountFlags::DETACH);
        }
        // What was mounted of images is immutable; `rm` copes with the rest, of any depth and mode.
        let _thawed = Command::new("chattr")
            .args(["-R", "-f", "-i"])
            .arg(dir)
            .status();
        let _gone = Command::new("rm").arg("-rf").arg(dir).status();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        end_keepers(&self.dir);
        for tree in world::trees().unwrap_or_default() {
            remove_cgroups(&tree.join(&self.cgroup));
        }
        Self::clear(&self.dir);
    }
}

/// Ends every process whose program lies below `dir`: supervisors that a failed case has left.
fn end_keepers(dir: &Path) {
    let runs_ours = |pid: Pid| {
        let exe = fs::read_link(format!("/proc/{}/exe", pid.as_raw_nonzero()));
        exe.is_ok_and(|exe| exe.starts_with(dir))
    };
    let pids = entries(Path::new("/proc"))
        .into_iter()
        .filter_map(|name| name.parse().ok());
    for pid in pids.filter_map(Pid::from_raw) {
        // The handle is taken before the look, so the signal cannot hit a successor of the pid.
        if let Ok(handle) = pidfd_open(pid, PidfdFlags::empty())
            && runs_ours(pid)
        {
            let _gone = pidfd_send_signal(&handle, Signal::KILL);
        }
    }
}

/// Ends what is left in a cgroup and those below it and removes them; an ended process may hold
/// one for a moment.
fn remove_cgroups(top: &Path) {
    for name in entries(top).iter().filter(|name| top.join(name).is_dir()) {
        remove_cgroups(&top.join(name));
    }
    for _try in 0..50 {
        if fs::remove_dir(top).is_ok() || !top.exists() {
            return;
        }
        let left = fs::read_to_string(top.join("cgroup.procs")).unwrap_or_default();
        let left = left
            .lines()
            .filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
        for pid in left.filter(|pid| *pid != rustix::process::getpid()) {
            let _gone = rustix::process::kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The names in a directory; none when it cannot be read.
fn entries(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}
