//! Waiting until a log grows.

use super::DIR;
use crate::error::Doing;
use crate::{Result, file};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify;
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Wakes when any log of a pod changes (inotify); where that is not to be had, or nothing was
/// logged yet, after a while.
#[derive(Debug)]
pub struct LogWatch {
    pod_dir: OwnedFd,
    watch: Option<OwnedFd>,
}

impl LogWatch {
    /// Watches the logs of a pod. Begin this before reading, so that nothing is missed.
    ///
    /// # Errors
    /// When the directory cannot be opened.
    pub fn open(pod_dir: BorrowedFd<'_>) -> Result<Self> {
        let doing = || "watch the pod's logs".to_owned();
        let mut watch = Self {
            pod_dir: rustix::io::fcntl_dupfd_cloexec(pod_dir, 3).doing(doing)?,
            watch: None,
        };
        watch.begin().doing(doing)?;
        Ok(watch)
    }

    /// The directory is made for the first record.
    fn begin(&mut self) -> Result<(), Errno> {
        let dir = match file::open_dir(self.pod_dir.as_fd(), DIR) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(()),
            Err(e) => return Err(e),
        };
        let watch = || {
            let watch =
                inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
            let flags = inotify::WatchFlags::MODIFY
                | inotify::WatchFlags::CREATE
                | inotify::WatchFlags::MOVED_TO;
            let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
            inotify::add_watch(&watch, path, flags)?;
            Ok::<_, Errno>(watch)
        };
        // The user's inotify instances may be used up: then the time-out has to do.
        self.watch = watch().ok();
        Ok(())
    }

    /// Waits for a change, at most `patience` (100 ms where there is no inotify).
    ///
    /// # Errors
    /// When polling fails.
    pub fn wait(&mut self, patience: Duration) -> Result<()> {
        let Some(watch) = &self.watch else {
            std::thread::sleep(patience.min(Duration::from_millis(100)));
            // The caller reads after this: nothing that came before the watch is missed.
            return self.begin().doing(|| "watch the pod's logs".into());
        };
        let timeout = Timespec::try_from(patience).ok();
        let mut fds = [PollFd::new(watch, PollFlags::IN)];
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e).doing(|| "wait for the pod's logs".into()),
        }
        // What exactly has changed does not matter: empty the queue.
        let mut buffer = [0u8; 4096];
        while matches!(rustix::io::read(watch.as_fd(), &mut buffer), Ok(n) if n > 0) {}
        Ok(())
    }
}
