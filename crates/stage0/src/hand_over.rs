//! The last step: this process, or a child of it, becomes stage1.

use crate::error::{Doing, Error};
use crate::scope::SystemdScope;
use rkt_spec::codec::Record;
use rkt_spec::plan::{Plan, Ready};
use rkt_sys::fd::{cloexec_from, keep_on_exec, onto_stdio, sealed_memfd};
use rkt_sys::process::{CStrings, Cloned, clone3, execve, exit};
use rustix::pipe::{PipeFlags, pipe_with};
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Longest last word of a supervisor that is read, bytes.
const MAX_READY: usize = 1 << 20;

/// Everything that the exec needs.
#[derive(Debug)]
pub(crate) struct HandOver<'a> {
    /// The program.
    pub(crate) program: &'a Path,
    /// Complete but for `ready_fd`.
    pub(crate) plan: Plan,
    /// Every descriptor that the plan names.
    pub(crate) descriptors: Vec<BorrowedFd<'a>>,
    /// What to ask systemd for first.
    pub(crate) scope: Option<SystemdScope>,
    /// `NOTIFY_SOCKET` of the caller.
    pub(crate) notify_socket: Option<&'a OsStr>,
    /// Whether a detached supervisor is to stop its pod when its starter ends.
    pub(crate) owned: bool,
}

impl HandOver<'_> {
    /// Becomes stage1, by the same pid. Returns only with an error.
    pub(crate) fn exec(mut self) -> Error {
        self.plan.ready_fd = None;
        self.become_stage1()
    }

    /// Lets a child in a session of its own become stage1, and waits for what it says.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn detach(mut self) -> Result<Ready, Error> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).doing(|| "make a pipe".to_owned())?;
        self.plan.owner = self.owned.then(std::process::id);
        match clone3(0, None).doing(|| "fork the supervisor".to_owned())? {
            Cloned::Child => {
                drop(reader);
                self.plan.ready_fd = Some(rkt_sys::fd::number(&writer));
                let error = match leave_session(self.plan.debug) {
                    Ok(()) => self.with(writer.as_fd()).become_stage1(),
                    Err(error) => error,
                };
                let ready = Ready {
                    exit: error.status(),
                    message: format!("rkt: {error}"),
                };
                // Nobody is left to hear of a failure to tell of a failure.
                let _ = rustix::io::write(&writer, &ready.to_bytes());
                exit(i32::from(error.status()))
            }
            Cloned::Parent { .. } => {
                drop(writer);
                ready(&reader)
            }
        }
    }

    fn with<'b>(self, more: BorrowedFd<'b>) -> HandOver<'b>
    where
        Self: 'b,
    {
        let mut descriptors: Vec<BorrowedFd<'b>> = self.descriptors;
        descriptors.push(more);
        HandOver {
            program: self.program,
            plan: self.plan,
            descriptors,
            scope: self.scope,
            notify_socket: self.notify_socket,
            owned: self.owned,
        }
    }

    fn become_stage1(&self) -> Error {
        if let Some(Err(error)) = self.scope.as_ref().map(SystemdScope::enter) {
            return error;
        }
        match self.try_exec() {
            Ok(error) => Error::from(error).while_doing(format!(
                "execute the supervisor `{}`",
                self.program.display()
            )),
            Err(error) => error.while_doing("hand the pod over to its supervisor"),
        }
    }

    fn try_exec(&self) -> Result<std::io::Error, Error> {
        let memory = sealed_memfd("rkt-plan", &self.plan.encode())?;
        // What the caller left open is not the pod's business.
        cloexec_from(3)?;
        for descriptor in &self.descriptors {
            keep_on_exec(*descriptor)?;
        }
        let number = keep_on_exec(memory.as_fd())?.to_string();
        let program = CString::new(self.program.as_os_str().as_bytes())
            .map_err(|_| Error::new("its path has a NUL byte"))?;
        let argv = CStrings::new(["rkt-stage1", "run", &number])?;
        let env = self
            .notify_socket
            .map(|socket| [b"NOTIFY_SOCKET=", socket.as_bytes()].concat());
        let env = CStrings::new(env)?;
        // The supervisor is to keep no directory of the caller busy.
        rustix::process::chdir("/")?;
        Ok(execve(&program, &argv, &env))
    }
}

/// A session of its own, and nothing of the caller's terminal; with `--debug` stderr stays.
fn leave_session(debug: bool) -> Result<(), Error> {
    let doing = || "leave the caller's session".to_owned();
    rustix::process::setsid().doing(doing)?;
    let null = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .doing(doing)?;
    for number in 0..if debug { 2 } else { 3 } {
        onto_stdio(null.as_fd(), number).doing(doing)?;
    }
    Ok(())
}

/// Reads the one record; end of file without it means that the supervisor is dead.
fn ready(reader: &OwnedFd) -> Result<Ready, Error> {
    let doing = || "start the supervisor".to_owned();
    let mut bytes = Vec::new();
    let mut buffer = [0u8; 4096];
    loop {
        match rustix::io::read(reader, &mut buffer) {
            Ok(0) => {
                return Err(Error::new("it died before it said anything").while_doing(doing()));
            }
            Ok(n) => bytes.extend_from_slice(buffer.get(..n).unwrap_or(&[])),
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(errno).doing(doing),
        }
        // Complete as soon as it can be read: whoever else has the pipe may keep it open.
        if let Ok(ready) = Ready::from_bytes(&bytes) {
            return Ok(ready);
        }
        if bytes.len() > MAX_READY {
            return Err(Error::new("it says too much").while_doing(doing()));
        }
    }
}
