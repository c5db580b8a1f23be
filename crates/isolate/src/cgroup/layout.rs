//! Which cgroup trees this host has. Only looks.

use rustix::fs::{FsWord, statfs};
use std::path::{Path, PathBuf};

/// `CGROUP2_SUPER_MAGIC`.
pub(super) const MAGIC_V2: FsWord = 0x6367_7270;
/// `CGROUP_SUPER_MAGIC`.
pub(super) const MAGIC_V1: FsWord = 0x0027_e0eb;

const ROOT: &str = "/sys/fs/cgroup";

/// A resource controller that a knob needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Controller {
    /// Memory.
    Memory,
    /// Number of tasks.
    Pids,
    /// Processor time.
    Cpu,
}

impl Controller {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];

    /// The kernel's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }
}

/// Which of the two interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy per controller.
    V1,
    /// The unified hierarchy.
    V2,
}

/// The shape of a host's cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// v2 only.
    Unified,
    /// v1 controllers beside a v2 tree.
    Hybrid,
    /// v1 only.
    Legacy,
    /// No cgroups at all.
    None,
}

/// The cgroup trees of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// Root of the v2 tree.
    pub v2: Option<PathBuf>,
    /// Controllers that the v2 tree's root has.
    pub v2_controllers: Vec<Controller>,
    /// Roots of v1 hierarchies by controller.
    pub v1: Vec<(Controller, PathBuf)>,
}

impl Layout {
    /// Looks at the usual places below /sys/fs/cgroup. A place counts only when the file system
    /// there is a cgroup one: a directory made on the tmpfs between would bound nothing.
    pub fn detect() -> Self {
        Self::detect_below(Path::new(ROOT))
    }

    fn detect_below(root: &Path) -> Self {
        let mut layout = Self::default();
        let unified = root.join("unified");
        if is(root, MAGIC_V2) {
            layout.v2 = Some(root.to_owned());
        } else if is(&unified, MAGIC_V2) {
            layout.v2 = Some(unified);
        }
        if let Some(v2) = &layout.v2 {
            let text = std::fs::read_to_string(v2.join("cgroup.controllers")).unwrap_or_default();
            layout.v2_controllers = controllers(&text);
        }
        for controller in Controller::ALL {
            let path = root.join(controller.name());
            if !layout.v2_controllers.contains(&controller) && is(&path, MAGIC_V1) {
                layout.v1.push((controller, path));
            }
        }
        layout
    }

    /// Which interface holds the limits of a controller; `None` when the host has no such
    /// controller mounted.
    pub fn version_of(&self, controller: Controller) -> Option<Version> {
        if self.v2_controllers.contains(&controller) {
            Some(Version::V2)
        } else {
            self.v1_root(controller).map(|_| Version::V1)
        }
    }

    /// Root of the v1 hierarchy of a controller.
    pub fn v1_root(&self, controller: Controller) -> Option<&Path> {
        let found = self.v1.iter().find(|(c, _)| *c == controller);
        found.map(|(_, path)| path.as_path())
    }

    /// The host's shape.
    pub fn shape(&self) -> Shape {
        match (&self.v2, self.v1.is_empty()) {
            (Some(_), true) => Shape::Unified,
            (Some(_), false) => Shape::Hybrid,
            (None, false) => Shape::Legacy,
            (None, true) => Shape::None,
        }
    }
}

/// The controllers that a `cgroup.controllers` or `cgroup.subtree_control` names.
pub(super) fn controllers(text: &str) -> Vec<Controller> {
    let named = |c: &Controller| text.split_ascii_whitespace().any(|word| word == c.name());
    Controller::ALL.into_iter().filter(named).collect()
}

/// Whether a file system of this kind is at a path.
pub(super) fn is(path: &Path, magic: FsWord) -> bool {
    statfs(path).is_ok_and(|fs| fs.f_type == magic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_directory_is_no_cgroup() {
        let dir = std::env::temp_dir().join(format!("rkt-layout-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("memory")).unwrap();
        std::fs::create_dir_all(dir.join("unified")).unwrap();
        let layout = Layout::detect_below(&dir);
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(layout, Layout::default());
        assert_eq!(layout.shape(), Shape::None);
    }

    #[test]
    fn controllers_are_read_by_whole_words() {
        assert_eq!(
            controllers("cpuset cpu io memory hugetlb pids rdma\n"),
            vec![Controller::Memory, Controller::Pids, Controller::Cpu]
        );
        assert_eq!(controllers("cpuset hugetlb"), vec![]);
    }
}
