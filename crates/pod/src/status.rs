//! What the supervisor knows about its pod, in one small file that is replaced whole.
//!
//! `RKTS`, a `u16` version, the fields. Whether the pod *lives* is not in it: that is the
//! lock's to say, and a supervisor that was killed has no time to write that it was.

use crate::error::{Doing, Error, Kind};
use crate::{Result, file};
use rkt_spec::codec::{Reader, Record};
use rkt_spec::network::{PortPlan, Wired};
use rkt_spec::{AppName, PodName};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Version of the record; raised with every change of a field.
pub const VERSION: u16 = 4;
const MAGIC: &[u8; 4] = b"RKTS";
const FILE: &str = "status";
/// Longest record that is read, bytes.
const LIMIT: usize = 1 << 20;

rkt_spec::record_enum! {
    /// What an app is up to, as far as its supervisor has written it down.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub enum AppState {
        /// Not started yet.
        #[default]
        Created = 0,
        /// Its first process runs.
        Running = 1,
        /// It has ended, or never came to run.
        Exited = 2,
    }
}

impl AppState {
    /// The original's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Exited => "exited",
        }
    }
}

rkt_spec::record! {
    /// What the supervisor knows about one app.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct AppStatus {
        /// Its name.
        pub name: AppName,
        /// What it is up to.
        pub state: AppState,
        /// Host pid of its first process; 0 when there is none.
        pub pid: u32,
        /// When it was made: nanoseconds since 1970, 0 when not yet.
        pub created_at: u64,
        /// When it was last executed: nanoseconds since 1970, 0 when not yet.
        pub started_at: u64,
        /// When it last ended: nanoseconds since 1970, 0 when not yet.
        pub finished_at: u64,
        /// Exit status as a shell has it: its code, or 128 + `signal`; `None` before the end.
        pub exit_code: Option<i32>,
        /// Signal that ended it; 0 when none did.
        pub signal: u8,
        /// Whether the program was ever executed: a status of 126 or 127 without that is rkt's.
        pub ran: bool,
        /// How often the kernel killed one of its processes for memory.
        pub oom: u32,
        /// How often it was started again.
        pub restarts: u32,
        /// Why it did not run or did not end by itself; empty when there is nothing to say.
        pub reason: String,
        /// Its image, as the user named it.
        pub image_name: String,
        /// Its image's id.
        pub image_id: String,
    }
}

rkt_spec::record! {
    /// What the supervisor knows about its pod.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct PodStatus {
        /// Name of the pod, when it has one.
        pub name: Option<PodName>,
        /// Host pid of the supervisor.
        pub supervisor: u32,
        /// Host pid of the pod's init; 0 before there is one.
        pub pid: u32,
        /// When the pod was made: nanoseconds since 1970.
        pub created: u64,
        /// When its apps were started: nanoseconds since 1970, 0 when not yet.
        pub started: u64,
        /// When it ended: nanoseconds since 1970, 0 when not yet.
        pub finished: u64,
        /// Whether every app runs (or has run), and the start is over.
        pub ready: bool,
        /// Exit status of the pod; `None` before the end.
        pub exit_code: Option<i32>,
        /// Why it ended or could not start; empty when there is nothing to say.
        pub reason: String,
        /// Networks as the original lists them, such as `host`.
        pub networks: Vec<String>,
        /// The networks it has joined, with its devices and addresses there.
        pub wired: Vec<Wired>,
        /// Ports of the host that lead into it now; their sockets are the supervisor's (-1).
        pub ports: Vec<PortPlan>,
        /// Its apps, in start order.
        pub apps: Vec<AppStatus>,
    }
}

impl AppStatus {
    /// An app that is not started yet.
    pub fn new(name: AppName, now: u64) -> Self {
        Self {
            name,
            state: AppState::Created,
            pid: 0,
            created_at: now,
            started_at: 0,
            finished_at: 0,
            exit_code: None,
            signal: 0,
            ran: false,
            oom: 0,
            restarts: 0,
            reason: String::new(),
            image_name: String::new(),
            image_id: String::new(),
        }
    }
}

impl PodStatus {
    /// A pod whose supervisor has just begun.
    pub fn new(name: Option<PodName>, supervisor: u32, now: u64) -> Self {
        Self {
            name,
            supervisor,
            pid: 0,
            created: now,
            started: 0,
            finished: 0,
            ready: false,
            exit_code: None,
            reason: String::new(),
            networks: Vec::new(),
            wired: Vec::new(),
            ports: Vec::new(),
            apps: Vec::new(),
        }
    }

    /// The record with magic and version.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        VERSION.put(&mut out);
        self.put(&mut out);
        out
    }

    /// Reads what [`PodStatus::encode`] wrote.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when it is something else, or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut from = Reader::new(bytes);
        if from.bytes(4, "magic")? != MAGIC {
            return Err(Error::new(Kind::Corrupt, "it is not a status of rkt"));
        }
        let version = u16::take(&mut from)?;
        if version != VERSION {
            return Err(Error::new(
                Kind::Corrupt,
                format!("it has version {version}, this rkt reads version {VERSION}"),
            ));
        }
        let status = Self::take(&mut from)?;
        from.finish()?;
        Ok(status)
    }

    /// Reads the status of a pod; `None` when its supervisor has not written one.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn read(pod_dir: BorrowedFd<'_>) -> Result<Option<Self>> {
        match file::read(pod_dir, FILE, LIMIT)? {
            Some(bytes) => Self::decode(&bytes)
                .doing(|| "read the pod's status".into())
                .map(Some),
            None => Ok(None),
        }
    }
}

/// The supervisor's end: changes are collected and written by one rename.
#[derive(Debug)]
pub struct StatusWriter {
    dir: OwnedFd,
    status: PodStatus,
    dirty: bool,
}

impl StatusWriter {
    /// Begins with `status`; nothing is written before the first [`StatusWriter::flush`].
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn new(pod_dir: BorrowedFd<'_>, status: PodStatus) -> Result<Self> {
        let dir = rustix::io::fcntl_dupfd_cloexec(pod_dir, 3)
            .doing(|| "keep the pod's directory".into())?;
        Ok(Self {
            dir,
            status,
            dirty: true,
        })
    }

    /// What is known now.
    pub fn status(&self) -> &PodStatus {
        &self.status
    }

    /// To change what is known; the next flush writes it.
    pub fn change(&mut self) -> &mut PodStatus {
        self.dirty = true;
        &mut self.status
    }

    /// To change what is known about one app; `None` when there is no such app.
    pub fn change_app(&mut self, name: &AppName) -> Option<&mut AppStatus> {
        self.dirty = true;
        self.status.apps.iter_mut().find(|a| a.name == *name)
    }

    /// Writes what has changed; does nothing when nothing has.
    ///
    /// # Errors
    /// When the disk is full, for example. The change is kept for the next flush, and a
    /// reader sees the last one that was written.
    pub fn flush(&mut self) -> Result<()> {
        if self.dirty {
            file::replace(self.dir.as_fd(), FILE, &self.status.encode())?;
            self.dirty = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> PodStatus {
        let mut status = PodStatus::new(Some(PodName::new("web").unwrap()), 42, 7);
        let mut app = AppStatus::new(AppName::new("a").unwrap(), 8);
        app.exit_code = Some(137);
        app.signal = 9;
        app.oom = 3;
        status.apps.push(app);
        status
    }

    #[test]
    fn a_status_is_replaced_whole_and_only_when_it_changed() {
        let dir = crate::tests::Scratch::new();
        assert!(PodStatus::read(dir.fd()).unwrap().is_none());
        let mut writer = StatusWriter::new(dir.fd(), sample()).unwrap();
        writer.flush().unwrap();
        assert_eq!(PodStatus::read(dir.fd()).unwrap().unwrap(), sample());
        let inode = dir.inode("status");
        writer.flush().unwrap();
        assert_eq!(dir.inode("status"), inode);
        let name = AppName::new("a").unwrap();
        writer.change_app(&name).unwrap().restarts = 1;
        assert!(writer.change_app(&AppName::new("b").unwrap()).is_none());
        writer.flush().unwrap();
        assert_eq!(
            PodStatus::read(dir.fd()).unwrap().unwrap().apps[0].restarts,
            1
        );
        assert!(dir.inode("status.new").is_none());
    }

    #[test]
    fn a_status_that_is_cut_or_of_another_version_is_an_error_not_a_panic() {
        let bytes = sample().encode();
        for n in 0..bytes.len() {
            assert!(PodStatus::decode(&bytes[..n]).is_err());
        }
        let mut other = bytes.clone();
        other[4] = 99;
        assert!(
            PodStatus::decode(&other)
                .unwrap_err()
                .to_string()
                .contains("version 99")
        );
        let mut long = bytes;
        long.push(0);
        assert_eq!(PodStatus::decode(&long).unwrap_err().kind(), Kind::Corrupt);
    }

    #[test]
    fn a_full_disk_keeps_the_old_status() {
        let dir = crate::tests::Scratch::new();
        let mut writer = StatusWriter::new(dir.fd(), sample()).unwrap();
        writer.flush().unwrap();
        // A directory where the temporary file goes: the write fails as on a full disk.
        dir.mkdir("status.new/x");
        writer.change().ready = true;
        assert!(writer.flush().is_err());
        assert!(!PodStatus::read(dir.fd()).unwrap().unwrap().ready);
        dir.remove("status.new/x");
        dir.remove("status.new");
        writer.flush().unwrap();
        assert!(PodStatus::read(dir.fd()).unwrap().unwrap().ready);
    }
}
