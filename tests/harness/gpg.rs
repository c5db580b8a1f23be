//! OpenPGP keys and signatures, made by the real `gpg` in a home of the test's own.

use crate::command::run;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A home of `gpg`; its agent ends with it.
pub struct Gpg {
    home: PathBuf,
}

impl Gpg {
    /// An empty one in this directory.
    pub fn new(home: PathBuf) -> Self {
        fs::create_dir_all(&home).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(&home, private).unwrap();
        Self { home }
    }

    #[track_caller]
    fn gpg(&self, words: &[&str], stdin: Option<&[u8]>) -> String {
        let mut command = Command::new("gpg");
        command
            .arg("--homedir")
            .arg(&self.home)
            .args([
                "--batch",
                "--quiet",
                "--yes",
                "--pinentry-mode=loopback",
                "--passphrase=",
            ])
            .args(words);
        run(command, stdin).ok()
    }

    /// Makes a key and gives its fingerprint in lower case. `kind` is gpg's word, such as
    /// `ed25519` or `rsa2048`; `more` are options such as a faked time.
    #[track_caller]
    pub fn key(&self, name: &str, kind: &str, expire: &str, more: &[&str]) -> String {
        let user = format!("{name} <{name}@example.com>");
        let mut words = more.to_vec();
        words.extend(["--quick-generate-key", &user, kind, "sign", expire]);
        self.gpg(&words, None);
        self.fingerprint(name)
    }

    /// Adds a subkey for signing, which gpg prefers from then on.
    #[track_caller]
    pub fn subkey(&self, fingerprint: &str, kind: &str) {
        self.gpg(
            &["--quick-add-key", fingerprint, kind, "sign", "never"],
            None,
        );
    }

    #[track_caller]
    fn fingerprint(&self, name: &str) -> String {
        let user = format!("<{name}@example.com>");
        let list = self.gpg(&["--with-colons", "--list-keys", &user], None);
        let line = list.lines().find(|l| l.starts_with("fpr:")).unwrap();
        line.split(':').nth(9).unwrap().to_ascii_lowercase()
    }

    /// Revokes a key by the certificate that gpg made with it.
    #[track_caller]
    pub fn revoke(&self, fingerprint: &str) {
        let name = format!("{}.rev", fingerprint.to_ascii_uppercase());
        let path = self.home.join("openpgp-revocs.d").join(name);
        // A colon guards it against use by accident.
        let text = fs::read_to_string(path).unwrap().replace("\n:---", "\n---");
        self.gpg(&["--import"], Some(text.as_bytes()));
    }

    /// Writes the public key and gives its path.
    #[track_caller]
    pub fn export(&self, fingerprint: &str) -> PathBuf {
        let text = self.gpg(&["--armor", "--export", fingerprint], None);
        let path = self.home.join(format!("{fingerprint}.pub"));
        fs::write(&path, text).unwrap();
        path
    }

    /// Where gpg keeps its keys, for other programs that use it.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Writes a file and the signature over it as one message, as simple signing wants it.
    #[track_caller]
    pub fn message(&self, fingerprint: &str, file: &Path, to: &Path, more: &[&str]) {
        let mut words = more.to_vec();
        let (to, from) = (to.to_str().unwrap(), file.to_str().unwrap());
        words.extend(["--local-user", fingerprint, "--output", to, "--sign", from]);
        self.gpg(&words, None);
    }

    /// Signs a file, the signature beside it with `.asc` behind its name.
    #[track_caller]
    pub fn sign(&self, fingerprint: &str, file: &Path, more: &[&str]) -> PathBuf {
        let signature = PathBuf::from(format!("{}.asc", file.display()));
        let mut words = more.to_vec();
        let (to, from) = (signature.to_str().unwrap(), file.to_str().unwrap());
        words.extend([
            "--local-user",
            fingerprint,
            "--output",
            to,
            "--detach-sign",
            from,
        ]);
        self.gpg(&words, None);
        signature
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let mut command = Command::new("gpgconf");
        command
            .arg("--homedir")
            .arg(&self.home)
            .args(["--kill", "all"]);
        let _ = command.status();
    }
}
