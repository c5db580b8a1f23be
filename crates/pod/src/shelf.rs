//! State is derived, never stored: the shelf a pod stands on, and whether its lock is held.

/// A directory below `pods/`. A pod only ever moves to a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shelf {
    /// Being made; not locked yet perhaps.
    Embryo,
    /// stage0 is writing it.
    Prepare,
    /// Complete, waiting to be run.
    Prepared,
    /// Run, now or once.
    Run,
    /// Ended and marked by gc, waiting for its grace period.
    ExitedGarbage,
    /// To be removed.
    Garbage,
}

impl Shelf {
    /// All, in the order a pod passes them. Looking a pod up in this order cannot miss it.
    pub const ALL: [Self; 6] = [
        Self::Embryo,
        Self::Prepare,
        Self::Prepared,
        Self::Run,
        Self::ExitedGarbage,
        Self::Garbage,
    ];

    /// Name of the directory.
    pub const fn dir(self) -> &'static str {
        match self {
            Self::Embryo => "embryo",
            Self::Prepare => "prepare",
            Self::Prepared => "prepared",
            Self::Run => "run",
            Self::ExitedGarbage => "exited-garbage",
            Self::Garbage => "garbage",
        }
    }
}

/// Whether a living process holds the pod's lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// Somebody lives who makes, keeps or removes the pod.
    Held,
    /// Nobody does; the kernel has let the lock go with the last process.
    Free,
}

/// What a pod is up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Its directory has just been made.
    Embryo,
    /// stage0 is writing it.
    Preparing,
    /// stage0 died while writing it.
    AbortedPrepare,
    /// Ready to be run.
    Prepared,
    /// Its supervisor lives.
    Running,
    /// Its supervisor has ended; everything is still there.
    Exited,
    /// Ended and marked for removal after a grace period.
    ExitedGarbage,
    /// Ended, and being removed.
    ExitedDeleting,
    /// Never ran, and marked for removal.
    Garbage,
    /// Being removed.
    Deleting,
}

impl State {
    /// The state that the two facts make.
    pub const fn of(shelf: Shelf, lock: Lock) -> Self {
        match (shelf, lock) {
            (Shelf::Embryo, _) => Self::Embryo,
            (Shelf::Prepare, Lock::Held) => Self::Preparing,
            (Shelf::Prepare, Lock::Free) => Self::AbortedPrepare,
            (Shelf::Prepared, _) => Self::Prepared,
            (Shelf::Run, Lock::Held) => Self::Running,
            (Shelf::Run, Lock::Free) => Self::Exited,
            (Shelf::ExitedGarbage, Lock::Free) => Self::ExitedGarbage,
            (Shelf::ExitedGarbage, Lock::Held) => Self::ExitedDeleting,
            (Shelf::Garbage, Lock::Free) => Self::Garbage,
            (Shelf::Garbage, Lock::Held) => Self::Deleting,
        }
    }

    /// The original's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Embryo => "embryo",
            Self::Preparing => "preparing",
            Self::AbortedPrepare => "aborted prepare",
            Self::Prepared => "prepared",
            Self::Running => "running",
            Self::Exited => "exited",
            Self::ExitedGarbage => "exited garbage",
            Self::ExitedDeleting => "exited deleting",
            Self::Garbage => "garbage",
            Self::Deleting => "deleting",
        }
    }

    /// Whether it ran and has ended.
    pub const fn has_exited(self) -> bool {
        matches!(
            self,
            Self::Exited | Self::ExitedGarbage | Self::ExitedDeleting
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_facts_is_a_state() {
        for (shelf, held, free) in [
            (Shelf::Prepare, "preparing", "aborted prepare"),
            (Shelf::Prepared, "prepared", "prepared"),
            (Shelf::Run, "running", "exited"),
            (Shelf::ExitedGarbage, "exited deleting", "exited garbage"),
            (Shelf::Garbage, "deleting", "garbage"),
        ] {
            assert_eq!(State::of(shelf, Lock::Held).as_str(), held);
            assert_eq!(State::of(shelf, Lock::Free).as_str(), free);
        }
        assert!(State::Exited.has_exited() && !State::Running.has_exited());
    }
}
