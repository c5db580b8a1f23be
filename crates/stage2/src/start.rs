//! What a process of an app needs to start, prepared before the fork.

use rkt_spec::plan::{Process, Walls};
use rkt_sys::process::CStrings;
use rustix::fd::{BorrowedFd, OwnedFd};
use std::ffi::CString;
use std::io;

/// The namespaces of an app, as descriptors held by the launcher.
#[derive(Debug)]
pub struct Namespaces {
    /// The pod's network; `None` when the pod shares the host's.
    pub net: Option<OwnedFd>,
    /// The pod's IPC.
    pub ipc: OwnedFd,
    /// The pod's host name.
    pub uts: OwnedFd,
    /// The app's mounts.
    pub mount: OwnedFd,
    /// The app's view of the cgroup tree: its own groups are the root.
    pub cgroup: OwnedFd,
    /// The app's ids; `None` only when a test build took this wall away.
    pub user: Option<OwnedFd>,
}

/// What to execute: the places to look, in order.
#[derive(Debug)]
pub struct Program {
    candidates: Vec<CString>,
}

impl Program {
    /// Looks a name without a slash up in the `PATH` of `env` (the default one when unset); a
    /// name with a slash is itself the only place.
    ///
    /// # Errors
    /// `EINVAL` when there is no argument or a name holds a NUL byte.
    pub fn new(process: &Process) -> io::Result<Self> {
        let invalid = || io::Error::from_raw_os_error(libc_einval());
        let name = &process.argv.first().ok_or_else(invalid)?.0;
        if name.is_empty() {
            return Err(invalid());
        }
        let cstring = |bytes: Vec<u8>| CString::new(bytes).map_err(|_| invalid());
        if name.contains(&b'/') {
            return Ok(Self {
                candidates: vec![cstring(name.clone())?],
            });
        }
        let path = process
            .env
            .iter()
            .rev()
            .find_map(|e| e.0.strip_prefix(b"PATH="))
            .unwrap_or(b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let candidates = path
            .split(|b| *b == b':')
            .take(usize::from(u8::MAX))
            .map(|dir| {
                let mut full = if dir.is_empty() {
                    b".".to_vec()
                } else {
                    dir.to_vec()
                };
                full.push(b'/');
                full.extend_from_slice(name);
                cstring(full)
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { candidates })
    }

    /// The places, in order.
    pub fn candidates(&self) -> &[CString] {
        &self.candidates
    }
}

/// `EINVAL`, without a dependency on libc.
fn libc_einval() -> i32 {
    rustix::io::Errno::INVAL.raw_os_error()
}

/// What the child does at the very end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Executes the program.
    Execute,
    /// Says on the report pipe why the program cannot be executed (see [`crate::autopsy`]).
    Autopsy,
}

/// All that [`crate::become_app`] needs; made by the launcher before the fork.
#[derive(Debug)]
pub struct Start<'a> {
    /// Where to go.
    pub namespaces: &'a Namespaces,
    /// The app's walls.
    pub walls: &'a Walls,
    /// Who to be.
    pub process: &'a Process,
    /// What to execute.
    pub program: &'a Program,
    /// Its arguments.
    pub argv: &'a CStrings,
    /// Its environment.
    pub envp: &'a CStrings,
    /// `process.cwd`, terminated.
    pub cwd: &'a CString,
    /// stdin, stdout, stderr.
    pub stdio: [BorrowedFd<'a>; 3],
    /// Whether stdin is a terminal to take as the controlling one.
    pub tty: bool,
    /// Where to report.
    pub report: BorrowedFd<'a>,
    /// Sockets that the program finds at 3 and on. Each has a number above all of those, and so
    /// has `report`; `envp` has room for the process's own number.
    pub sockets: &'a [OwnedFd],
    /// What to do at the end.
    pub mode: Mode,
    /// Whether refused calls are asked about: `report` is a socket then, and gets the listener.
    pub trace: bool,
    /// Defences taken away; always 0 outside test builds.
    pub weaken: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use rkt_spec::codec::Bytes;

    fn process(name: &str, env: &[&str]) -> Process {
        Process {
            argv: vec![Bytes(name.into())],
            env: env.iter().map(|e| Bytes((*e).into())).collect(),
            uid: 0,
            gid: 0,
            groups: vec![],
            cwd: "/".into(),
            make_cwd: false,
            umask: 0o022,
        }
    }

    #[test]
    fn a_bare_name_is_looked_up_in_the_apps_own_path() {
        let found = Program::new(&process("sh", &["PATH=/a::/b"])).unwrap();
        let texts: Vec<_> = found
            .candidates()
            .iter()
            .map(|c| c.to_str().unwrap())
            .collect();
        assert_eq!(texts, ["/a/sh", "./sh", "/b/sh"]);
        let found = Program::new(&process("./x/sh", &["PATH=/a"])).unwrap();
        assert_eq!(found.candidates().len(), 1);
        assert!(Program::new(&process("", &[])).is_err());
        assert!(Program::new(&process("a\0b", &[])).is_err());
    }
}
