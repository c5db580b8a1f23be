//! Debian's docker-registry on a free port of the loopback: open, or with a password, TLS,
//! tokens, or blobs that are somewhere else.

use crate::command::{self, tool};
use crate::tls::Ca;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// `me` with the password `secret`, as bcrypt has it.
const HTPASSWD: &str = "me:$2a$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

/// A registry that ends with the test.
pub struct Registry {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub address: String,
    /// What skopeo needs to push.
    credentials: Option<&'static str>,
}

/// What a registry wants and does, besides what is in it.
#[derive(Default)]
pub struct Setting<'a> {
    /// TLS by a certificate of this authority.
    pub tls: Option<&'a Ca>,
    /// A password by `Basic`: `me` and `secret`.
    pub basic: bool,
    /// Tokens of this service, at `https://ADDRESS/token`, which takes the same password.
    pub tokens: Option<&'a str>,
    /// Blobs are sent for to this address.
    pub redirect: Option<&'a str>,
}

impl Registry {
    /// Starts one that keeps its images below `dir`.
    pub fn start(dir: &Path) -> Self {
        Self::start_as(dir, &Setting::default())
    }

    /// Starts one with a setting.
    pub fn start_as(dir: &Path, setting: &Setting<'_>) -> Self {
        fs::create_dir_all(dir).unwrap();
        // A port that is free now: the listener is gone when the registry takes it.
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let address = format!("127.0.0.1:{port}");
        let place = |name: &str| dir.join(name).display().to_string();
        let mut text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: {address}\n",
            place("store")
        );
        if let Some(ca) = setting.tls {
            text.push_str(&format!(
                "  tls:\n    certificate: {}\n    key: {}\n",
                ca.certificate.display(),
                ca.key.display()
            ));
        }
        if setting.basic {
            fs::write(dir.join("htpasswd"), HTPASSWD).unwrap();
            text.push_str(&format!(
                "auth:\n  htpasswd:\n    realm: \"a, realm\"\n    path: {}\n",
                place("htpasswd")
            ));
        }
        if let (Some(service), Some(ca)) = (setting.tokens, setting.tls) {
            text.push_str(&format!(
                "auth:\n  token:\n    realm: https://{service}/token\n    service: lab\n    issuer: lab\n    rootcertbundle: {}\n",
                ca.root.display()
            ));
        }
        if let Some(to) = setting.redirect {
            text.push_str(&format!(
                "middleware:\n  storage:\n    - name: redirect\n      options:\n        baseurl: http://{to}/\n"
            ));
        }
        let config = dir.join("config.yml");
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
        let locked = setting.basic || setting.tokens.is_some();
        Self {
            child,
            address,
            credentials: locked.then_some("--dest-creds=me:secret"),
        }
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
        words.extend(self.credentials);
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
