//! What there is of the host to be reached: a volume, a process, settings; and the victim's files.

use crate::failure::Failure;
use rkt_isolate::cgroup::Canary;
use rkt_spec::{AppName, Uuid};
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The one file of the volume, and what is in it.
const FILE: (&str, &str) = ("canary", "sings\n");
/// What the probe plants in a sibling that it reaches.
const PLANTED: &str = "rkt-probe-planted";
/// Settings of the host that an attack might change.
const SETTINGS: [&str; 5] = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/domainname",
    "/proc/sys/user/max_user_namespaces",
];

/// Gone with all that it has made when it is dropped.
#[derive(Debug)]
pub(super) struct Scene {
    dir: PathBuf,
    uuid: Uuid,
    canary: Canary,
    /// Locked: [`sweep`] leaves what is in use alone.
    _lock: OwnedFd,
    settings: BTreeMap<&'static str, String>,
}

/// Begins the names of a scene's directory and of its canary's cgroups.
const NAME: &str = "rkt-selftest-";

fn lock(dir: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(dir, flags, Mode::empty())?;
    rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive)?;
    Ok(fd)
}

/// Removes scenes whose makers are gone. What cannot be removed is tried again next time.
pub(super) fn sweep(run_dir: &Path) {
    for entry in fs::read_dir(run_dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|n| n.starts_with(NAME)) else {
            continue;
        };
        if let Ok(_lock) = lock(&entry.path()) {
            Canary::sweep(name);
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn settings() -> BTreeMap<&'static str, String> {
    SETTINGS
        .into_iter()
        .map(|path| (path, fs::read_to_string(path).unwrap_or_default()))
        .collect()
}

impl Scene {
    pub(super) fn make(run_dir: &Path, uuid: Uuid) -> Result<Self, Failure> {
        let dir = run_dir.join(format!("{NAME}{uuid}"));
        let failed = |e: io::Error| {
            Failure::usage(format!("make the directory `{}`", dir.display())).because(e.to_string())
        };
        let mut private = fs::DirBuilder::new();
        private
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(failed)?;
        let lock = lock(&dir).map_err(|e| failed(e.into()))?;
        let scene = Self {
            canary: Canary::start(format!("{NAME}{uuid}"))?,
            _lock: lock,
            dir: dir.clone(),
            uuid,
            settings: settings(),
        };
        scene.fill().map_err(failed)?;
        Ok(scene)
    }

    /// Source of the volume, open to everybody.
    pub(super) fn volume(&self) -> PathBuf {
        self.dir.join("volume")
    }

    /// Cgroup of the process that may be stopped.
    pub(super) fn cgroup(&self) -> &str {
        self.canary.cgroup()
    }

    /// The victim's abstract socket.
    pub(super) fn socket(&self) -> String {
        format!("@rkt-selftest-{}", self.uuid)
    }

    /// The volume as it is at first.
    fn fill(&self) -> io::Result<()> {
        let volume = self.volume();
        fs::create_dir(&volume)?;
        fs::set_permissions(&volume, fs::Permissions::from_mode(0o777))?;
        self.put_right()
    }

    fn is_written(&self) -> bool {
        let same = fs::read_to_string(self.volume().join(FILE.0)).is_ok_and(|t| t == FILE.1);
        let names = fs::read_dir(self.volume()).into_iter().flatten().flatten();
        !same || names.into_iter().any(|e| e.file_name() != FILE.0)
    }

    /// What is not as it was, and puts it right for the next attack.
    pub(super) fn harm(&self, victim: &Path) -> Vec<String> {
        let mut harm: Vec<String> = self.canary.harm().map(str::to_owned).into_iter().collect();
        if self.is_written() {
            harm.push("the read-only volume was written to".to_owned());
            // What cannot be put right is told of again, which is better than not at all.
            let _ = self.put_right();
        }
        let planted = victim.join(PLANTED);
        if planted.exists() {
            harm.push("a file was planted in the sibling".to_owned());
            let _ = fs::remove_file(planted);
        }
        let now = settings();
        for (path, was) in &self.settings {
            if now.get(path) != Some(was) {
                harm.push(format!("the host's setting `{path}` was changed"));
                let _ = fs::write(path, was);
            }
        }
        harm
    }

    /// The volume's content, in place: the pod has it mounted.
    fn put_right(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.volume())?.flatten() {
            let path = entry.path();
            let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        }
        let file = self.volume().join(FILE.0);
        fs::write(&file, FILE.1)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// What an app of a running pod has written over its image.
pub(super) fn upper(data: &Path, pod: Uuid, app: &AppName) -> PathBuf {
    let shelf = data.join("pods").join("run").join(pod.to_string());
    shelf.join("apps").join(app.as_str()).join("upper")
}
