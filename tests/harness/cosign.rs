//! Signatures as cosign makes them, by openssl and a few requests to a registry.

use crate::command::run;
use crate::layout::digest;
use serde_json::json;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A key pair.
pub struct Cosign {
    dir: PathBuf,
}

impl Cosign {
    /// A new one in this directory.
    pub fn new(dir: PathBuf) -> Self {
        fs::create_dir_all(&dir).unwrap();
        let cosign = Self { dir };
        cosign.openssl(&[
            "ecparam",
            "-genkey",
            "-name",
            "prime256v1",
            "-noout",
            "-out",
            "key",
        ]);
        cosign.openssl(&["ec", "-in", "key", "-pubout", "-out", "key.pub"]);
        cosign
    }

    #[track_caller]
    fn openssl(&self, words: &[&str]) -> String {
        let mut command = Command::new("openssl");
        command.args(words).current_dir(&self.dir);
        run(command, None).ok()
    }

    /// The public key.
    pub fn public(&self) -> PathBuf {
        self.dir.join("key.pub")
    }

    /// Signs that the image with this digest is `place`, and puts that beside `repository`'s
    /// image of the digest `beside`.
    #[track_caller]
    pub fn sign(&self, address: &str, repository: &str, beside: &str, place: &str, image: &str) {
        let payload = json!({
            "critical": {
                "identity": { "docker-reference": place },
                "image": { "docker-manifest-digest": image },
                "type": "cosign container image signature",
            },
            "optional": null,
        })
        .to_string();
        fs::write(self.dir.join("payload"), &payload).unwrap();
        self.openssl(&[
            "dgst",
            "-sha256",
            "-sign",
            "key",
            "-out",
            "signature",
            "payload",
        ]);
        let signature = self.openssl(&["base64", "-A", "-in", "signature"]);
        let config = json!({ "architecture": "", "os": "", "config": {},
            "rootfs": { "type": "layers", "diff_ids": [digest(payload.as_bytes())] } })
        .to_string();
        for blob in [&payload, &config] {
            put_blob(address, repository, blob.as_bytes());
        }
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest(config.as_bytes()), "size": config.len() },
            "layers": [{ "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
                "digest": digest(payload.as_bytes()), "size": payload.len(),
                "annotations": { "dev.cosignproject.cosign/signature": signature.trim() } }],
        });
        let tag = format!("{}.sig", beside.replace(':', "-"));
        let kind = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
        let path = format!("/v2/{repository}/manifests/{tag}");
        let (status, ..) = ask(address, "PUT", &path, kind, manifest.to_string().as_bytes());
        assert_eq!(status, 201, "put {tag}");
    }
}

/// The digest of the manifest that a tag has.
#[track_caller]
pub fn digest_of(address: &str, repository: &str, tag: &str) -> String {
    let accept = "Accept: application/vnd.oci.image.manifest.v1+json\r\n";
    let path = format!("/v2/{repository}/manifests/{tag}");
    let (status, _, body) = ask(address, "GET", &path, accept, b"");
    assert_eq!(status, 200, "get {path}");
    digest(&body)
}

#[track_caller]
fn put_blob(address: &str, repository: &str, bytes: &[u8]) {
    let path = format!("/v2/{repository}/blobs/uploads/");
    let (status, head, _) = ask(address, "POST", &path, "", b"");
    assert_eq!(status, 202, "{head}");
    let location = head
        .lines()
        .find_map(|l| l.strip_prefix("Location: "))
        .unwrap();
    let path = match location.split_once("://") {
        Some((_, rest)) => &rest[rest.find('/').unwrap()..],
        None => location,
    };
    let sign = if path.contains('?') { '&' } else { '?' };
    let path = format!("{path}{sign}digest={}", digest(bytes));
    let kind = "Content-Type: application/octet-stream\r\n";
    let (status, head, _) = ask(address, "PUT", &path, kind, bytes);
    assert_eq!(status, 201, "{head}");
}

fn ask(
    address: &str,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> (u16, String, Vec<u8>) {
    let mut socket = TcpStream::connect(address).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).unwrap();
    socket.write_all(body).unwrap();
    let mut all = Vec::new();
    socket.read_to_end(&mut all).unwrap();
    let end = all.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&all[..end]).replace("\r\n", "\n");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, all[end + 4..].to_vec())
}

/// Writes a policy file of one rule.
pub fn policy(config: &Path, name: &str, text: &str) {
    let dir = config.join("policy.d");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(format!("{name}.toml")), text).unwrap();
}
