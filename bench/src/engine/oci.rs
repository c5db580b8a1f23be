//! crun and runc: a ready root directory, a configuration, and nobody who stays behind.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use super::{Engine, NAP, Words, words};
use crate::{
    fault::{Doing, Result},
    world::World,
};

/// An OCI runtime in one world.
pub(crate) struct Oci {
    /// Heading.
    pub(crate) name: &'static str,
    /// The program.
    pub(crate) program: &'static str,
    /// The cgroup tree it is shown.
    pub(crate) world: World,
    /// A directory of ours for its state and the two configurations.
    pub(crate) dir: PathBuf,
}

impl Oci {
    /// Writes the configurations of `true` and of a sleeper over the root at `root`.
    ///
    /// With `walls` the app has a user namespace, as ours has. Neither has a device program:
    /// crun 1.8 cannot load it where limits may not be raised. Neither has a seccomp list.
    pub(crate) fn configure(&self, root: &std::path::Path, walls: bool) -> Result<()> {
        for (name, args) in [
            ("true", vec!["/bin/true"]),
            ("sleep", vec!["/bin/sleep", NAP]),
        ] {
            let bundle = self.dir.join(name);
            fs::create_dir_all(&bundle).doing(|| format!("create `{}`", bundle.display()))?;
            let text = configuration(&root.display().to_string(), &args, walls).to_string();
            let path = bundle.join("config.json");
            fs::write(&path, text).doing(|| format!("write `{}`", path.display()))?;
        }
        Ok(())
    }

    fn line(&self, line: &str) -> Words {
        words(&format!(
            "{} --root {}/state {line}",
            self.program,
            self.dir.display()
        ))
    }
}

impl Engine for Oci {
    fn name(&self) -> &str {
        self.name
    }
    fn world(&self) -> World {
        self.world
    }
    fn run_true(&self, id: &str) -> Vec<Words> {
        vec![self.line(&format!("run --bundle {}/true {id}", self.dir.display()))]
    }
    fn up(&self, id: &str) -> Vec<Words> {
        vec![self.line(&format!(
            "run -d --bundle {}/sleep {id}",
            self.dir.display()
        ))]
    }
    fn enter(&self, id: &str) -> Vec<Words> {
        vec![self.line(&format!("exec {id} /bin/true"))]
    }
    fn stop(&self, id: &str) -> Vec<Words> {
        vec![self.line(&format!("kill {id} KILL"))]
    }
    fn remove(&self, id: &str) -> Vec<Words> {
        vec![self.line(&format!("delete -f {id}"))]
    }
    fn pod_up(&self, id: &str) -> Vec<Words> {
        ["a", "b", "c"]
            .iter()
            .flat_map(|app| self.up(&format!("{id}{app}")))
            .collect()
    }
    fn pod_down(&self, id: &str) -> Vec<Words> {
        ["a", "b", "c"]
            .iter()
            .flat_map(|app| self.remove(&format!("{id}{app}")))
            .collect()
    }
    fn keepers(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What `runc spec` writes, less the device program.
fn configuration(root: &str, args: &[&str], walls: bool) -> Value {
    let caps = [
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_KILL",
        "CAP_SETGID",
        "CAP_SETUID",
    ];
    let mut spaces: Vec<&str> = vec!["pid", "network", "ipc", "uts", "mount", "cgroup"];
    let ids = json!([{ "containerID": 0, "hostID": 1 << 29, "size": 65536 }]);
    if walls {
        spaces.push("user");
    }
    let spaces: Vec<Value> = spaces.iter().map(|kind| json!({ "type": kind })).collect();
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": { "uid": 0, "gid": 0 }, "args": args, "cwd": "/",
            "env": ["PATH=/bin"], "noNewPrivileges": true,
            "capabilities": { "bounding": caps, "effective": caps, "permitted": caps },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
        },
        "root": { "path": root, "readonly": true },
        "hostname": "bench",
        "mounts": mounts(),
        "linux": {
            "uidMappings": if walls { ids.clone() } else { json!([]) },
            "gidMappings": if walls { ids } else { json!([]) },
            "namespaces": spaces,
            "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

fn mounts() -> Value {
    let mount = |target: &str, kind: &str, options: &[&str]| json!({ "destination": target, "type": kind, "source": kind, "options": options });
    json!([
        mount("/proc", "proc", &[]),
        mount(
            "/dev",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"]
        ),
        mount(
            "/dev/pts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5"
            ]
        ),
        mount(
            "/dev/shm",
            "tmpfs",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]
        ),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ])
}
