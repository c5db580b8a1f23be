//! containerd: a daemon beside the commands that are measured, with directories of its own.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::fault::{Doing, Fault, Result};

/// A running daemon; it ends with this value.
pub(crate) struct Daemon(Child);

impl Daemon {
    /// Starts one below `dir`; what it brings is there when `dir` is empty.
    pub(crate) fn start(dir: &Path) -> Result<Self> {
        let (config, socket) = (dir.join("config.toml"), socket(dir));
        let dir_words = dir.display();
        let text = format!(
            "version = 2\nroot = \"{dir_words}/root\"\nstate = \"{dir_words}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = \"{socket}\"\n[ttrpc]\naddress = \"{socket}.ttrpc\"\n"
        );
        fs::write(&config, text).doing(|| format!("write `{}`", config.display()))?;
        let log = File::create(dir.join("log")).doing(|| "create containerd's log".to_owned())?;
        let child = Command::new("containerd")
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .doing(|| "start `containerd`".to_owned())?;
        let daemon = Self(child);
        for _try in 0..200 {
            if std::os::unix::net::UnixStream::connect(&socket).is_ok() {
                return Ok(daemon);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(Fault::new("containerd does not answer"))
    }

    /// Microseconds of processor time that it and its children have used (`proc_pid_stat(5)`).
    pub(crate) fn cpu_us(&self) -> Option<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).ok()?;
        let (_, rest) = stat.rsplit_once(')')?;
        let ticks = rest.split_whitespace().skip(11).take(4);
        let ticks: f64 = ticks.filter_map(|word| word.parse::<f64>().ok()).sum();
        // USER_HZ is 100 on every Linux.
        Some(ticks * 10_000.0)
    }
}

/// Where it listens.
pub(crate) fn socket(dir: &Path) -> String {
    dir.join("socket").display().to_string()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _told = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ended = self.0.wait();
    }
}
