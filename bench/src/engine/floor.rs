//! The floor program: bare system calls, see `floor.c`.

use std::path::PathBuf;

use super::{Engine, Words, words};
use crate::world::World;

/// The floor and its places.
pub(crate) struct Floor {
    /// The compiled program.
    pub(crate) program: PathBuf,
    /// The root file system, as a directory.
    pub(crate) root: PathBuf,
    /// A directory of ours for states, with a directory `stage` in it.
    pub(crate) states: PathBuf,
    /// A cgroup of ours in the unified tree.
    pub(crate) cgroup: PathBuf,
}

impl Floor {
    /// The command for `verb` on the thing called `id`.
    fn verb(&self, verb: &str, id: &str) -> Vec<Words> {
        let (program, root) = (self.program.display(), self.root.display());
        let (states, cgroup) = (self.states.display(), self.cgroup.display());
        vec![words(&format!(
            "{program} {verb} {id} {states} {root} {cgroup}"
        ))]
    }

    /// The command for `verb` on what `hold` holds as `id`.
    fn held(&self, verb: &str, id: &str) -> Vec<Words> {
        vec![words(&format!(
            "{} {verb} {id} {}",
            self.program.display(),
            self.states.display()
        ))]
    }
}

impl Engine for Floor {
    fn name(&self) -> &'static str {
        "floor"
    }
    fn world(&self) -> World {
        World::Host
    }
    fn run_true(&self, id: &str) -> Vec<Words> {
        self.verb("full", id)
    }
    fn up(&self, id: &str) -> Vec<Words> {
        self.verb("hold", id)
    }
    fn enter(&self, id: &str) -> Vec<Words> {
        self.held("enter", id)
    }
    fn stop(&self, id: &str) -> Vec<Words> {
        self.held("drop", id)
    }
    fn remove(&self, _id: &str) -> Vec<Words> {
        Vec::new()
    }
    fn pod_up(&self, id: &str) -> Vec<Words> {
        self.verb("pod3", id)
    }
    fn pod_down(&self, _id: &str) -> Vec<Words> {
        Vec::new()
    }
    fn pod_ends_itself(&self) -> bool {
        true
    }
    fn keepers(&self) -> Vec<String> {
        vec![self.program.display().to_string()]
    }
}
