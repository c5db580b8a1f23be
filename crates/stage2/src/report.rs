//! What a child says when it cannot become the app: a few bytes on a close-on-exec pipe.
//!
//! Silence is success: `execve` closes the pipe, and end of file tells the supervisor that the
//! app's own program is running.

use rustix::fd::BorrowedFd;
use std::io;

/// The step that failed. The number is the wire form: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Entering the pod's namespaces.
    EnterPod = 1,
    /// Entering the app's mount namespace.
    EnterRoot = 2,
    /// Joining a v1 cgroup or making the cgroup namespace.
    Cgroup = 3,
    /// Taking over the standard descriptors and the terminal.
    Stdio = 4,
    /// Setting a resource limit.
    Limits = 5,
    /// Entering the app's user namespace.
    EnterUser = 6,
    /// Becoming the app's user and groups.
    Identity = 7,
    /// Reducing capabilities.
    Capabilities = 8,
    /// Entering the working directory.
    WorkingDirectory = 9,
    /// Finding the program.
    Program = 10,
    /// Loading the seccomp filter.
    Seccomp = 11,
    /// Executing the program.
    Exec = 12,
    /// Setting the OOM score.
    OomScore = 13,
}

impl Step {
    /// What the child was doing, for a sentence.
    pub fn doing(self) -> &'static str {
        match self {
            Self::EnterPod => "enter the pod's namespaces",
            Self::EnterRoot => "enter the app's root file system",
            Self::Cgroup => "join the app's cgroup",
            Self::Stdio => "set up stdin, stdout and stderr",
            Self::Limits => "set a resource limit",
            Self::EnterUser => "enter the app's user namespace",
            Self::Identity => "become the app's user",
            Self::Capabilities => "reduce capabilities",
            Self::WorkingDirectory => "enter the working directory",
            Self::Program => "find the program",
            Self::Seccomp => "load the seccomp filter",
            Self::Exec => "execute the program",
            Self::OomScore => "set the OOM score",
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::EnterPod,
            2 => Self::EnterRoot,
            3 => Self::Cgroup,
            4 => Self::Stdio,
            5 => Self::Limits,
            6 => Self::EnterUser,
            7 => Self::Identity,
            8 => Self::Capabilities,
            9 => Self::WorkingDirectory,
            10 => Self::Program,
            11 => Self::Seccomp,
            12 => Self::Exec,
            13 => Self::OomScore,
            _ => return None,
        })
    }
}

/// Bytes of a report: step, errno, index of the program tried.
pub const BYTES: usize = 6;

/// A child's last words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    /// What it was doing.
    pub step: Step,
    /// Why it failed.
    pub errno: i32,
    /// Which candidate of the program it had found, for [`Step::Exec`].
    pub candidate: u8,
}

impl Failed {
    /// Reads a report; `None` when the bytes are no report.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let [step, a, b, c, d, candidate] = *bytes.first_chunk::<BYTES>()?;
        Some(Self {
            step: Step::from_byte(step)?,
            errno: i32::from_le_bytes([a, b, c, d]),
            candidate,
        })
    }

    pub(crate) fn new(step: Step, error: &io::Error) -> Self {
        Self {
            step,
            errno: error.raw_os_error().unwrap_or(0),
            candidate: 0,
        }
    }

    pub(crate) fn send(self, to: BorrowedFd<'_>) {
        let [a, b, c, d] = self.errno.to_le_bytes();
        // Nobody is left to tell when this fails; the supervisor sees the child end without exec.
        let _ = rustix::io::write(to, &[self.step as u8, a, b, c, d, self.candidate]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_survives_the_wire() {
        for byte in 1..=13u8 {
            let step = Step::from_byte(byte).unwrap();
            assert_eq!(step as u8, byte);
            let got = Failed::parse(&[byte, 2, 0, 0, 0, 3]).unwrap();
            assert_eq!(
                got,
                Failed {
                    step,
                    errno: 2,
                    candidate: 3
                }
            );
        }
        assert_eq!(Failed::parse(&[0; BYTES]), None);
        assert_eq!(Failed::parse(&[1, 2]), None);
    }
}
