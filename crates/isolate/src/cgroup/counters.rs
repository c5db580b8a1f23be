//! What a cgroup has counted, for status.

use super::dir;
use super::layout::{Controller, Version};
use rustix::fd::BorrowedFd;

/// Counters of an app; `None` where no controller counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes of memory in use.
    pub memory: Option<u64>,
    /// Processes that the kernel killed for want of memory.
    pub oom_kills: Option<u64>,
    /// Tasks alive.
    pub tasks: Option<u64>,
    /// How often a fork was refused because of the tasks limit.
    pub forks_refused: Option<u64>,
    /// Processor time used, microseconds.
    pub cpu_us: Option<u64>,
}

impl Counters {
    /// Adds what one directory counts for a controller.
    pub(super) fn read(&mut self, dir: BorrowedFd<'_>, controller: Controller, version: Version) {
        let number = |file| dir::read(dir, file).ok()?.trim().parse().ok();
        let field = |file, key| field(&dir::read(dir, file).ok()?, key);
        match (controller, version) {
            (Controller::Memory, Version::V2) => {
                self.memory = number("memory.current");
                self.oom_kills = field("memory.events", "oom_kill");
            }
            (Controller::Memory, Version::V1) => {
                self.memory = number("memory.usage_in_bytes");
                self.oom_kills = field("memory.oom_control", "oom_kill");
            }
            (Controller::Pids, _) => {
                self.tasks = number("pids.current");
                self.forks_refused = field("pids.events", "max");
            }
            (Controller::Cpu, Version::V2) => {
                self.cpu_us = field("cpu.stat", "usage_usec");
            }
            // The time itself is counted by cpuacct, which no limit needs.
            (Controller::Cpu, Version::V1) => {}
        }
    }
}

/// The number after `key` in a file of `key number` lines.
pub(super) fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "low 0\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(field(text, "oom_kill"), Some(2));
        assert_eq!(field(text, "oom"), Some(3));
        assert_eq!(field(text, "max"), None);
        assert_eq!(field("oom_kill x\n", "oom_kill"), None);
    }
}
