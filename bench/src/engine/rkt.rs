//! rkt itself.

use std::path::PathBuf;

use super::{Engine, NAP, Words, words};
use crate::world::World;

/// One way of using rkt.
pub(crate) struct Rkt {
    /// Heading.
    pub(crate) name: &'static str,
    /// The program.
    pub(crate) program: PathBuf,
    /// A data directory of ours.
    pub(crate) dir: PathBuf,
    /// A run directory of ours.
    pub(crate) run_dir: PathBuf,
    /// The image's name as `run` takes it: in the store already.
    pub(crate) image: String,
    /// Options that every app gets, such as `--pids=0`.
    pub(crate) app: &'static str,
    /// Its pods' network.
    pub(crate) net: Net,
}

/// The network of the pods of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Net {
    /// Loopback only.
    None,
    /// Loopback only, in a world where others have networks.
    NoneBeside,
    /// The engine's default one.
    Default,
}

impl Net {
    /// Where such pods are run.
    pub(crate) fn world(self, of: World) -> World {
        match self {
            Self::None => of,
            Self::NoneBeside | Self::Default => of.with_network(),
        }
    }

    /// As rkt takes it.
    fn word(self) -> &'static str {
        match self {
            Self::None | Self::NoneBeside => "none",
            Self::Default => "default",
        }
    }
}

impl Rkt {
    /// The program with its directories, then `line`.
    pub(crate) fn line(&self, line: &str) -> Words {
        let (program, dir) = (self.program.display(), self.dir.display());
        words(&format!(
            "{program} --dir={dir} --run-dir={} {line}",
            self.run_dir.display()
        ))
    }
}

impl Engine for Rkt {
    fn name(&self) -> &str {
        self.name
    }
    fn world(&self) -> World {
        self.net.world(World::Host)
    }
    fn run_true(&self, _id: &str) -> Vec<Words> {
        vec![self.line(&format!(
            "run --rm --net={} {} {} --exec=/bin/true",
            self.net.word(),
            self.image,
            self.app
        ))]
    }
    fn up(&self, id: &str) -> Vec<Words> {
        let (image, app) = (&self.image, self.app);
        let pod = format!("run --detach --net={} --pod-name={id}", self.net.word());
        vec![self.line(&format!(
            "{pod} {image} {app} --name=a --exec=/bin/sleep -- {NAP}"
        ))]
    }
    fn enter(&self, id: &str) -> Vec<Words> {
        vec![self.line(&format!("enter {id} /bin/true"))]
    }
    fn restart(&self, id: &str) -> Vec<Words> {
        vec![self.line(&format!("app restart {id} --app=a"))]
    }
    fn stop(&self, id: &str) -> Vec<Words> {
        vec![self.line(&format!("stop --force {id}"))]
    }
    fn remove(&self, id: &str) -> Vec<Words> {
        vec![self.line(&format!("rm {id}"))]
    }
    fn pod_up(&self, id: &str) -> Vec<Words> {
        let one = |name: &str| {
            format!(
                "{} {} --name={name} --exec=/bin/sleep -- {NAP}",
                self.image, self.app
            )
        };
        let pod = format!("run --detach --net={} --pod-name={id}", self.net.word());
        vec![self.line(&format!(
            "{pod} {} --- {} --- {}",
            one("a"),
            one("b"),
            one("c")
        ))]
    }
    fn pod_down(&self, id: &str) -> Vec<Words> {
        [self.stop(id), self.remove(id)].concat()
    }
    fn keepers(&self) -> Vec<String> {
        // rkt-stage1 is unpacked below the data directory; supervisor, init and launchers run it.
        vec![format!("{}/", self.dir.display())]
    }
}
