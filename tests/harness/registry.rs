//! Debian's docker-registry on a free port of the loopback.

use crate::command::{self, tool};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A registry that ends with the test.
pub struct Registry {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub address: String,
}

impl Registry {
    /// Starts one that keeps its images below `dir`.
    pub fn start(dir: &Path) -> Self {
        fs::create_dir_all(dir).unwrap();
        // A port that is free now: the listener is gone when the registry takes it.
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let address = format!("127.0.0.1:{port}");
        let config = dir.join("config.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: {address}\n",
            dir.join("store").display()
        );
        fs::write(&config, text).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.join("log")).unwrap())
            .spawn()
            .unwrap();
        crate::wait_for("the registry", 15, || TcpStream::connect(&address).is_ok());
        Self { child, address }
    }

    /// Copies the image of an OCI layout to it; the name to run it by.
    #[track_caller]
    pub fn push(&self, layout: &Path, tag: &str, name: &str) -> String {
        self.push_as(layout, tag, name, &[])
    }

    /// As [`Registry::push`], with options of `skopeo copy`, such as another compression.
    #[track_caller]
    pub fn push_as(&self, layout: &Path, tag: &str, name: &str, options: &[&str]) -> String {
        let from = format!("oci:{}:{tag}", layout.display());
        let to = format!("docker://{}/{name}", self.address);
        let mut words = vec!["copy", "--quiet", "--dest-tls-verify=false"];
        words.extend(options);
        words.extend([from.as_str(), to.as_str()]);
        tool("skopeo", &words);
        to
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = command::wait(&mut self.child, std::time::Duration::from_secs(5));
    }
}
