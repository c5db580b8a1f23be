//! An app of a running pod: its walls held open, its launcher, its processes.

use crate::error::{Doing, EXIT_CANNOT_EXECUTE, EXIT_NOT_FOUND, Failure};
use crate::host::{SETUP_DEADLINE, wait_readable};
use crate::launcher::{Child, Launcher, What};
use crate::stdio::Given;
use rkt_isolate::cgroup;
use rkt_spec::plan::{AppPlan, Process};
use rkt_stage2::autopsy::{self, Cause};
use rkt_stage2::{Failed, LISTENER, Mode, Step};
use rkt_sys::{process, signal};
use rustix::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// An app whose root and walls are made.
#[derive(Debug)]
pub(crate) struct App {
    /// Its place in the plan.
    pub(crate) plan: AppPlan,
    /// First id of its slot.
    pub(crate) uid0: u32,
    /// Its user namespace; kept for later launchers.
    pub(crate) user: Option<OwnedFd>,
    /// Its `/`, `O_PATH`.
    pub(crate) root: OwnedFd,
    /// Its generated `/etc/hosts`, for writing; `None` when nothing is ever added to it.
    pub(crate) hosts: Option<OwnedFd>,
    /// Its mount namespace.
    pub(crate) mounts: OwnedFd,
    /// Its Landlock ruleset; kept for later launchers.
    pub(crate) ruleset: Option<OwnedFd>,
    /// Its cgroups.
    pub(crate) cgroup: cgroup::App,
    /// Sockets of the host that its program gets, in order; kept for later launchers.
    pub(crate) sockets: Vec<OwnedFd>,
    /// Who clones its processes.
    pub(crate) launcher: Launcher,
}

/// A process that was asked for.
#[derive(Debug)]
pub(crate) struct Asked {
    report: OwnedFd,
}

/// A process that has been cloned and is on its way to exec.
#[derive(Debug)]
pub(crate) struct Starting {
    pub(crate) child: Child,
    /// Ends without a byte when the program runs.
    pub(crate) report: OwnedFd,
}

impl App {
    /// Asks the launcher for a process without waiting for it.
    pub(crate) fn ask(&self, what: What<'_>, mode: Mode, given: &Given) -> Result<Asked, Failure> {
        let doing = || format!("start a process of app `{}`", self.plan.name);
        let told = self.tells(what) && mode == Mode::Execute;
        let (report, theirs) = if told {
            rkt_sys::socket::pair().doing(|| "make a socket pair".into())?
        } else {
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
                .doing(|| "make a pipe".into())?
        };
        let [stdin, stdout, stderr] = &given.child;
        let stdio = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        self.launcher
            .ask(what, mode, given.tty, stdio, theirs.as_fd())
            .doing(doing)?;
        Ok(Asked { report })
    }

    /// Takes the process that was asked for.
    pub(crate) fn cloned(&self, asked: Asked) -> Result<Starting, Failure> {
        let child = self
            .launcher
            .answer()
            .doing(|| "clone its process".into())
            .doing(|| format!("start app `{}`", self.plan.name))?;
        Ok(Starting {
            child,
            report: asked.report,
        })
    }

    /// Waits until the process has become the program, or says why it has not.
    ///
    /// The app's root can stop a child of its own between its user namespace and exec, so the
    /// wait has an end, and then so has the child.
    pub(crate) fn finish(&self, starting: Starting, what: What<'_>) -> Result<Child, Failure> {
        let deadline = Instant::now() + SETUP_DEADLINE;
        if !self.tells(what) {
            let word = last_word(&starting.report, deadline);
            return self.outcome(starting.child, word, what);
        }
        let (word, listener) = last_message(&starting.report, deadline);
        let child = self.outcome(starting.child, word, what)?;
        Ok(Child { listener, ..child })
    }

    /// Whether refused calls of this process are told; those of entered ones are not.
    fn tells(&self, what: What<'_>) -> bool {
        matches!(what, What::Main) && !self.plan.walls.traced.0.is_empty()
    }

    /// Judges what a process said before its pipe ended; `None` when it said nothing in time.
    pub(crate) fn outcome(
        &self,
        child: Child,
        word: Option<Vec<u8>>,
        what: What<'_>,
    ) -> Result<Child, Failure> {
        let failed = match word {
            Some(bytes) if bytes.is_empty() => return Ok(child),
            Some(bytes) => Failed::parse(&bytes),
            None => None,
        };
        let _ = signal::send(child.pidfd.as_fd(), 9);
        let _ = process::wait_pidfd(child.pidfd.as_fd());
        let failure = match failed {
            None => Failure::new("reach its program", "it was held up for too long")
                .exit(EXIT_CANNOT_EXECUTE),
            Some(failed) if matches!(failed.step, Step::Exec | Step::Program) => {
                self.explain(failed, what)
            }
            Some(failed) => {
                let because = std::io::Error::from_raw_os_error(failed.errno).to_string();
                let failure = if failed.step == Step::WorkingDirectory {
                    let cwd = &self.process(what).cwd;
                    Failure::new(format!("enter the working directory `{cwd}`"), because)
                        .hint("`--working-dir=` chooses another")
                } else {
                    Failure::new(failed.step.doing(), because)
                };
                failure.exit(EXIT_CANNOT_EXECUTE)
            }
        };
        Err(failure.within(format!("start app `{}`", self.plan.name)))
    }

    fn process<'a>(&'a self, what: What<'a>) -> &'a Process {
        match what {
            What::Main => &self.plan.process,
            What::Other(process) => process,
        }
    }

    /// Has a confined child look at the program, and tells what it found.
    fn explain(&self, failed: Failed, what: What<'_>) -> Failure {
        let (cause, text) = self
            .autopsy(what)
            .unwrap_or((Cause::Unknown, String::new()));
        let process = self.process(what);
        let words: Vec<_> = process
            .argv
            .iter()
            .map(|w| String::from_utf8_lossy(&w.0).into_owned())
            .collect();
        let name = words.first().map_or("", String::as_str);
        verdict(name, process, failed, cause, &text)
    }

    fn autopsy(&self, what: What<'_>) -> Option<(Cause, String)> {
        let given = Given::nothing(self.root.as_fd()).ok()?;
        let asked = self.ask(what, Mode::Autopsy, &given).ok()?;
        let Starting { child, report } = self.cloned(asked).ok()?;
        let word = last_word(&report, Instant::now() + Duration::from_secs(2));
        let _ = signal::send(child.pidfd.as_fd(), 9);
        let _ = process::wait_pidfd(child.pidfd.as_fd());
        Some(autopsy::parse(&word?))
    }
}

/// Everything a child says until its end of the pipe closes; `None` after the deadline.
fn last_word(report: &OwnedFd, deadline: Instant) -> Option<Vec<u8>> {
    let mut said = Vec::new();
    let mut buffer = [0u8; 512];
    while wait_readable(report, deadline) {
        match rustix::io::read(report, &mut buffer) {
            Ok(0) => return Some(said),
            Ok(n) if said.len() < 1024 => said.extend_from_slice(buffer.get(..n).unwrap_or(&[])),
            Ok(_) => return Some(said),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    None
}

/// As [`last_word`], of a child that also hands over the listener of its refused calls.
fn last_message(report: &OwnedFd, deadline: Instant) -> (Option<Vec<u8>>, Option<OwnedFd>) {
    let mut listener = None;
    let mut buffer = [0u8; 64];
    while wait_readable(report, deadline) {
        match rkt_sys::socket::recv(report, &mut buffer) {
            Ok((0, _)) => return (Some(Vec::new()), listener),
            Ok((1, fds)) if buffer.first() == Some(&LISTENER) => listener = fds.into_iter().next(),
            Ok((n, _)) => return (buffer.get(..n).map(<[u8]>::to_vec), None),
            Err(_) => return (None, None),
        }
    }
    (None, None)
}

fn verdict(name: &str, process: &Process, failed: Failed, cause: Cause, text: &str) -> Failure {
    let cannot = format!("execute `{name}`");
    let fail = |because: String| Failure::new(cannot.clone(), because).exit(EXIT_CANNOT_EXECUTE);
    let system = std::io::Error::from_raw_os_error(failed.errno).to_string();
    match cause {
        Cause::Missing => {
            let path = process.env.iter().rev().find_map(|e| e.0.strip_prefix(b"PATH="));
            let place = match path {
                Some(path) if !name.contains('/') => {
                    format!("there is no `{name}` in the image's PATH, `{}`", String::from_utf8_lossy(path))
                }
                _ => format!("there is no `{name}` in the image"),
            };
            Failure::new(cannot, place)
                .exit(EXIT_NOT_FOUND)
                .hint("`--exec=` chooses the program; `rkt image cat-manifest` shows what the image wants to run")
        }
        Cause::NotAFile => fail(format!("`{name}` is not a file")),
        Cause::NotExecutable => fail(format!(
            "`{name}` is not executable for user {} (or a directory above it is closed to that user)",
            process.uid
        ))
        .hint("`chmod +x` it in the image, or choose another `--user`"),
        Cause::InterpreterMissing => {
            fail(format!("its interpreter `{text}` (the `#!` line) is not in the image"))
                .hint("install the interpreter in the image, or change the script's first line")
        }
        Cause::WindowsLineEnds => fail(format!(
            "the `#!` line of `{name}` ends with a carriage return, so the interpreter `{text}\\r` is looked for"
        ))
        .hint("the script has Windows line ends: convert it with `dos2unix`"),
        Cause::LoaderMissing => {
            fail(format!("its loader `{text}` is not in the image"))
                .hint("the program is dynamically linked; use a base image with its C library or link it statically")
        }
        Cause::OtherMachine => fail(format!(
            "it is a program for {text}, and this host is {}",
            if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }
        ))
        .hint("`--arch=` chooses the image for another architecture"),
        Cause::NoFormat => fail("it is neither an ELF program nor a script with a `#!` line".into())
            .hint("begin the script with `#!/bin/sh`"),
        Cause::Empty => fail("the file is empty".into()),
        Cause::Unknown if failed.errno == rustix::io::Errno::NOENT.raw_os_error() => {
            Failure::new(cannot, system).exit(EXIT_NOT_FOUND)
        }
        Cause::Unknown => fail(system),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rkt_spec::codec::Bytes;

    #[test]
    fn every_cause_has_a_text_and_never_status_1() {
        let process = Process {
            argv: vec![Bytes(b"dyn".to_vec())],
            env: vec![Bytes(b"PATH=/bin".to_vec())],
            uid: 0,
            gid: 0,
            groups: vec![],
            cwd: "/".into(),
            make_cwd: false,
            umask: 0,
        };
        let failed = Failed {
            step: Step::Exec,
            errno: 2,
            candidate: 0,
        };
        for byte in 0..=9u8 {
            let (cause, text) = autopsy::parse(&[byte, b'/', b'x']);
            let failure = verdict("dyn", &process, failed, cause, &text);
            assert!(matches!(failure.exit, 126 | 127), "{cause:?}");
            assert!(!failure.because.is_empty());
        }
    }
}
