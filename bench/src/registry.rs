//! A registry of our own on loopback, with the large image in it.

use std::{
    fs::{self, File},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::fault::{Doing, Fault, Result};

/// A running registry; it ends with this value.
pub(crate) struct Registry {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
}

impl Registry {
    /// Starts one with its data below `dir`.
    pub(crate) fn start(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).doing(|| format!("create `{}`", dir.display()))?;
        let free = TcpListener::bind("127.0.0.1:0").doing(|| "find a free port".to_owned())?;
        let address = free
            .local_addr()
            .doing(|| "find a free port".to_owned())?
            .to_string();
        drop(free);
        let config = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\n\
             storage:\n  filesystem:\n    rootdirectory: {}/data\nhttp:\n  addr: {address}\n",
            dir.display()
        );
        let path = dir.join("config.yml");
        fs::write(&path, config).doing(|| format!("write `{}`", path.display()))?;
        let log = File::create(dir.join("log")).doing(|| "create the registry's log".to_owned())?;
        let mut child = Command::new("docker-registry")
            .args(["serve".as_ref(), path.as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .doing(|| "start `docker-registry`".to_owned())?;
        for _try in 0..100 {
            if TcpStream::connect(&address).is_ok() {
                return Ok(Self { child, address });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ended = child.kill().and_then(|()| child.wait());
        Err(Fault::new("the registry does not answer"))
    }

    /// Sends the image of a layout there, as `name:latest`.
    pub(crate) fn push(&self, layout: &Path, name: &str) -> Result<()> {
        let from = format!("oci:{}:latest", layout.display());
        let to = format!("docker://{}/{name}:latest", self.address);
        let status = Command::new("skopeo")
            .args([
                "--insecure-policy",
                "copy",
                "-q",
                "--dest-tls-verify=false",
                &from,
                &to,
            ])
            .status()
            .doing(|| "start `skopeo`".to_owned())?;
        if status.success() {
            Ok(())
        } else {
            Err(Fault::new(format!("push `{to}`: {status}")))
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}
