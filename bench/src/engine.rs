//! What is compared: engines that turn verbs into command lines. None of them runs anything here.

pub(crate) mod floor;
pub(crate) mod oci;
pub(crate) mod podman;
pub(crate) mod rkt;

use crate::world::World;

/// Program and arguments.
pub(crate) type Words = Vec<String>;

/// How long a sleeper sleeps, in seconds: longer than any bench.
pub(crate) const NAP: &str = "100000";

/// One column of the tables. An empty answer to a verb means: there is no such step here.
pub(crate) trait Engine {
    /// Heading of the column.
    fn name(&self) -> &str;
    /// The cgroup tree it can live with.
    fn world(&self) -> World;
    /// A static `true`, from nothing to nothing.
    fn run_true(&self, id: &str) -> Vec<Words>;
    /// A sleeper that stays when the command returns.
    fn up(&self, id: &str) -> Vec<Words>;
    /// `true` inside the sleeper.
    fn enter(&self, id: &str) -> Vec<Words>;
    /// The sleeper's program once more.
    fn restart(&self, _id: &str) -> Vec<Words> {
        Vec::new()
    }
    /// The sleeper's end, by SIGKILL.
    fn stop(&self, id: &str) -> Vec<Words>;
    /// What is left of it goes.
    fn remove(&self, id: &str) -> Vec<Words>;
    /// Three sleepers that share what the engine can let them share.
    fn pod_up(&self, id: &str) -> Vec<Words>;
    /// Their end, nothing left.
    fn pod_down(&self, id: &str) -> Vec<Words>;
    /// Whether `pod_up` says "up" by a byte, ends the pod itself and needs no `pod_down`.
    fn pod_ends_itself(&self) -> bool {
        false
    }
    /// Where the programs lie that stay behind for each sleeper, the sleeper itself aside.
    fn keepers(&self) -> Vec<String>;
}

/// Words from a line; no word of it has a space in it.
pub(crate) fn words(line: &str) -> Words {
    line.split_whitespace().map(str::to_owned).collect()
}
