//! A directory and a cgroup name of our own, and their end: nothing of the host's is touched.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::mount::{UnmountFlags, unmount};

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
    /// Makes the directory and the cgroup of the unified tree.
    pub(crate) fn make() -> Result<Self> {
        let cgroup = format!("rkt-bench-{}", std::process::id());
        let dir = Path::new("/var/tmp").join(&cgroup);
        fs::create_dir_all(&dir).doing(|| format!("create `{}`", dir.display()))?;
        let place = Self { dir, cgroup };
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
        // `rm` copes with trees of any depth and mode.
        let _gone = Command::new("rm").arg("-rf").arg(dir).status();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Ok(tree) = self.unified() {
            // Ends what a failed case may have left in it; its own cgroup, so nobody else's.
            let _killed = fs::write(tree.join("cgroup.kill"), "1");
        }
        for tree in world::trees().unwrap_or_default() {
            remove_cgroups(&tree.join(&self.cgroup));
        }
        Self::clear(&self.dir);
    }
}

/// Removes a cgroup and those below it; an ended process may hold one for a moment.
fn remove_cgroups(top: &Path) {
    for below in fs::read_dir(top).into_iter().flatten().flatten() {
        if below.path().is_dir() {
            remove_cgroups(&below.path());
        }
    }
    for _try in 0..50 {
        if fs::remove_dir(top).is_ok() || !top.exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
