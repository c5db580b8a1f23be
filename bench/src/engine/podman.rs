//! podman: an engine with images, a database and a monitor process for each app.

use std::{fs, path::PathBuf};

use super::{Engine, NAP, Words, rkt::Net, words};
use crate::{
    fault::{Doing, Result},
    world::World,
};

/// The name under which the small image is in podman's store.
pub(crate) const IMAGE: &str = "localhost/true:latest";

/// podman with a store of its own.
pub(crate) struct Podman {
    /// A directory of ours for its store, its state and its configuration.
    pub(crate) dir: PathBuf,
    /// A directory of ours for what dies with the machine.
    pub(crate) run_dir: PathBuf,
    /// The cgroup tree it is shown.
    pub(crate) world: World,
    /// A cgroup name of ours.
    pub(crate) cgroup: String,
    /// Its pods' network.
    pub(crate) net: Net,
}

impl Podman {
    /// Writes its configuration; the answer is the environment that points to it.
    ///
    /// Limits are at or below what any host allows, since podman dies where it may not raise them.
    pub(crate) fn configure(&self) -> Result<Vec<(String, String)>> {
        fs::create_dir_all(&self.dir).doing(|| format!("create `{}`", self.dir.display()))?;
        let dir = self.dir.display();
        let conf = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
            pids_limit = 0\n[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nruntime = \"crun\"\n";
        let storage = format!(
            "[storage]\ndriver = \"overlay\"\ngraphroot = \"{dir}/graph\"\nrunroot = \"{}\"\n",
            self.run_dir.display()
        );
        for (name, text) in [("containers.conf", conf), ("storage.conf", &storage)] {
            let path = self.dir.join(name);
            fs::write(&path, text).doing(|| format!("write `{}`", path.display()))?;
        }
        Ok(vec![
            (
                "CONTAINERS_CONF".to_owned(),
                format!("{dir}/containers.conf"),
            ),
            (
                "CONTAINERS_STORAGE_CONF".to_owned(),
                format!("{dir}/storage.conf"),
            ),
        ])
    }

    fn alone(&self) -> String {
        let network = match self.net {
            Net::None | Net::NoneBeside => "none",
            Net::Default => "podman",
        };
        format!("--network={network} --cgroup-parent=/{}", self.cgroup)
    }
}

impl Engine for Podman {
    fn name(&self) -> &'static str {
        match self.net {
            Net::None | Net::NoneBeside => "podman",
            Net::Default => "podman, bridge (netavark)",
        }
    }
    fn world(&self) -> World {
        self.net.world(self.world)
    }
    fn run_true(&self, _id: &str) -> Vec<Words> {
        vec![words(&format!(
            "podman run --rm {} {IMAGE} /bin/true",
            self.alone()
        ))]
    }
    fn up(&self, id: &str) -> Vec<Words> {
        let alone = self.alone();
        vec![words(&format!(
            "podman run -d --name {id} {alone} {IMAGE} /bin/sleep {NAP}"
        ))]
    }
    fn enter(&self, id: &str) -> Vec<Words> {
        vec![words(&format!("podman exec {id} /bin/true"))]
    }
    fn restart(&self, id: &str) -> Vec<Words> {
        vec![words(&format!("podman restart -t 0 {id}"))]
    }
    fn stop(&self, id: &str) -> Vec<Words> {
        vec![words(&format!("podman stop -t 0 {id}"))]
    }
    fn remove(&self, id: &str) -> Vec<Words> {
        vec![words(&format!("podman rm -f -t 0 {id}"))]
    }
    fn pod_up(&self, id: &str) -> Vec<Words> {
        let mut all = vec![words(&format!(
            "podman pod create --name {id} {}",
            self.alone()
        ))];
        for app in ["a", "b", "c"] {
            let line =
                format!("podman create --pod {id} --name {id}{app} {IMAGE} /bin/sleep {NAP}");
            all.push(words(&line));
        }
        all.push(words(&format!("podman pod start {id}")));
        all
    }
    fn pod_down(&self, id: &str) -> Vec<Words> {
        vec![words(&format!("podman pod rm -f -t 0 {id}"))]
    }
    fn keepers(&self) -> Vec<String> {
        vec![
            "/usr/bin/conmon".to_owned(),
            "/usr/libexec/podman/catatonit".to_owned(),
        ]
    }
}
