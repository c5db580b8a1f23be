//! Policies that want a simple signing signature: by gpg, by skopeo, and by nobody who counts.

use super::policy::Lab;
use rkt_tests::Need;
use rkt_tests::command::run;
use rkt_tests::gpg::Gpg;
use rkt_tests::web::{Page, Web};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const LONG_AGO: &[&str] = &["--faked-system-time", "20200101T000000"];

/// A policy's keys and its lookaside, beside the registry of the other policy tests.
struct Signed {
    lab: Lab,
    gpg: Gpg,
}

impl Signed {
    fn new() -> Option<Self> {
        let lab = Lab::with(&[Need::Tool("gpg"), Need::Tool("gpgconf")])?;
        Some(Self {
            gpg: Gpg::new(lab.rkt.file("gpg")),
            lab,
        })
    }

    fn lookaside(&self) -> PathBuf {
        self.lab.rkt.file("sigs")
    }

    fn wants(&self, key: &str) {
        let url = format!("file://{}", self.lookaside().display());
        self.wants_at(key, &url);
    }

    fn wants_at(&self, key: &str, lookaside: &str) {
        let key = self.gpg.export(key);
        self.lab.policy(&format!(
            "[[policy]]\nprefix = \"HOST/team\"\nverdict = \"signed-by\"\n\
             keys = [\"{}\"]\nlookaside = \"{lookaside}\"\n",
            key.display()
        ));
    }

    /// What is signed of an image: its whole name and its digest.
    fn payload(&self, name: &str, digest: &str) -> Value {
        json!({
            "critical": {
                "type": "atomic container signature",
                "identity": { "docker-reference": name },
                "image": { "docker-manifest-digest": digest },
            },
            "optional": { "creator": "tests", "timestamp": 1 },
        })
    }

    /// The file of a signature of the image with this digest.
    fn place(&self, name: &str, digest: &str, number: usize) -> PathBuf {
        let dir = self
            .lookaside()
            .join(format!("{name}@{}", digest.replace(':', "=")));
        fs::create_dir_all(&dir).unwrap();
        dir.join(format!("signature-{number}"))
    }

    fn full(&self, name: &str) -> String {
        format!("{}/{name}:latest", self.lab.registry.address)
    }

    fn sign(&self, key: &str, payload: &Value, to: &Path, more: &[&str]) {
        let file = self.lab.rkt.file("payload");
        fs::write(&file, payload.to_string()).unwrap();
        self.gpg.message(key, &file, to, more);
    }
}

#[test]
fn a_signature_at_the_lookaside_by_the_policys_key_is_enough() {
    let Some(s) = Signed::new() else { return };
    let key = s.gpg.key("good", "ed25519", "never", &[]);
    s.wants(&key);
    let (image, digest) = s.lab.push("team/app");
    s.lab.refused(&image, "there is none");
    assert_eq!(
        s.lab.call(&["image", "list", "--no-legend"]).ok(),
        "",
        "not even fetched"
    );
    let payload = s.payload(&s.full("team/app"), &digest);
    let place = s.place("team/app", &digest, 1);
    for compression in ["none", "zip", "zlib"] {
        s.sign(&key, &payload, &place, &["--compress-algo", compression]);
        s.lab.call(&["image", "rm", &image]);
        s.lab
            .call(&["fetch", &image])
            .says(&format!("signed by the policy's OpenPGP key {key}"))
            .ok();
    }
    s.lab.run(&image).ends_with(3);
    let trust = s.lab.call(&["image", "list", "--format=json"]).json()["trust"].clone();
    assert_eq!(trust["verdict"], "simple-signed");
    assert_eq!(trust["digest"], *digest);
    assert_eq!(trust["by"], *key);
    // What was proved once needs no lookaside again, for this name and digest.
    fs::remove_file(&place).unwrap();
    s.lab.run(&image).ends_with(3);
    let repository = image.trim_end_matches(":latest");
    let other = format!("{repository}:other");
    s.lab.call(&["image", "tag", &image, &other]);
    s.lab.refused(&other, "wants a signature");
    // By skopeo, for the image asked for by its digest.
    let manifest = s.lab.rkt.file("manifest.json");
    let raw = rkt_tests::command::tool(
        "skopeo",
        &["inspect", "--raw", "--tls-verify=false", &image],
    );
    fs::write(&manifest, raw.trim_end_matches('\n')).unwrap();
    let mut skopeo = Command::new("skopeo");
    skopeo
        .arg("standalone-sign")
        .arg(&manifest)
        .args([&s.full("team/app"), &key, "--output"])
        .arg(&place)
        .env("GNUPGHOME", s.gpg.home());
    run(skopeo, None).ok();
    s.lab.call(&["image", "rm", &image]);
    s.lab.run(&format!("{repository}@{digest}")).ends_with(3);
    s.lab.run(&image).ends_with(3);
    // A key that is revoked afterwards ends the use.
    s.gpg.revoke(&key);
    s.wants(&key);
    s.lab.refused(&image, "is revoked");
}

#[test]
fn a_lookaside_may_be_a_server_over_tls() {
    let Some(s) = Signed::new() else { return };
    let web = Web::start(&s.lab.rkt, "sigs.test");
    let key = s.gpg.key("good", "rsa2048", "never", &[]);
    s.wants_at(&key, "https://sigs.test/store/");
    let (image, digest) = s.lab.push("team/app");
    let fetch = |status: i32| {
        let config = format!("--local-config={}", s.lab.rkt.file("local").display());
        let mut command = s.lab.rkt.command(&["fetch", &config, &image]);
        command.env("SSL_CERT_FILE", &web.root);
        for name in ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(name);
        }
        run(command, None).ends_with(status)
    };
    fetch(254).is_one_clear_error().says("there is none");
    let file = s.place("team/app", &digest, 1);
    s.sign(&key, &s.payload(&s.full("team/app"), &digest), &file, &[]);
    let path = |n: u8| {
        format!(
            "https/store/team/app@{}/signature-{n}",
            digest.replace(':', "=")
        )
    };
    // A server that is not well is no reason to go without.
    web.put(&path(1), Page::new("").status(500));
    fetch(254)
        .is_one_clear_error()
        .says("signature-1")
        .says("status 500");
    // The first is nobody's, the second counts.
    let stranger = s.gpg.key("stranger", "ed25519", "never", &[]);
    let other = s.place("team/app", &digest, 2);
    s.sign(
        &stranger,
        &s.payload(&s.full("team/app"), &digest),
        &other,
        &[],
    );
    web.put(&path(1), Page::new(fs::read(&other).unwrap()));
    fetch(254).is_one_clear_error().says("unknown entity");
    web.put(&path(2), Page::new(fs::read(&file).unwrap()));
    fetch(0).says("signed by the policy's OpenPGP key");
}

#[test]
fn a_signature_that_does_not_count_is_told_why() {
    let Some(s) = Signed::new() else { return };
    let good = s.gpg.key("good", "ed25519", "never", LONG_AGO);
    let stranger = s.gpg.key("stranger", "ed25519", "never", &[]);
    let expired = s.gpg.key("expired", "ed25519", "1d", LONG_AGO);
    let revoked = s.gpg.key("revoked", "ed25519", "never", &[]);
    let (image, digest) = s.lab.push("team/app");
    let (_, other) = s.lab.push("team/other");
    let name = s.full("team/app");
    let place = s.place("team/app", &digest, 1);
    let right = s.payload(&name, &digest);
    s.sign(&revoked, &right, &place, &[]);
    s.gpg.revoke(&revoked);
    s.wants(&revoked);
    s.lab.refused(&image, "is revoked");
    s.wants(&expired);
    s.sign(&expired, &right, &place, LONG_AGO);
    s.lab.refused(&image, "has expired");
    s.wants(&good);
    s.sign(&stranger, &right, &place, &[]);
    s.lab.refused(&image, "unknown entity");
    let short = [LONG_AGO, &["--default-sig-expire", "1d"]].concat();
    s.sign(&good, &right, &place, &short);
    s.lab.refused(&image, "the signature has expired");
    s.sign(&good, &right, &place, &["--digest-algo", "SHA1"]);
    s.lab.refused(&image, "weak hash");
    let with = |change: &dyn Fn(&mut Value)| {
        let mut payload = right.clone();
        change(&mut payload);
        s.sign(&good, &payload, &place, &[]);
    };
    with(&|p| p["critical"]["image"]["docker-manifest-digest"] = json!(other));
    s.lab.refused(&image, "has signed another image");
    let names = [
        s.full("team/other"),
        name.replace(":latest", ":1"),
        name.replace(":latest", ""),
        "docker.io/team/app:latest".to_owned(),
    ];
    for wrong in names {
        with(&|p| p["critical"]["identity"]["docker-reference"] = json!(wrong));
        s.lab
            .refused(&image, &format!("has signed it as `{wrong}`"));
    }
    with(&|p| p["critical"]["type"] = json!("something else"));
    s.lab.refused(&image, "is a `something else`");
    with(&|p| p["critical"]["only-on-sundays"] = json!(true));
    s.lab.refused(&image, "not about an image");
    // No message at all, a signature of a file, data that nobody signed, one changed byte, a bomb.
    fs::write(&place, "no message").unwrap();
    s.lab.refused(&image, "no signed OpenPGP message");
    fs::write(&place, vec![b'x'; 1 << 20]).unwrap();
    s.lab.refused(&image, "larger than");
    let file = s.lab.rkt.file("payload");
    fs::write(&file, right.to_string()).unwrap();
    fs::copy(s.gpg.sign(&good, &file, &[]), &place).unwrap();
    s.lab.refused(&image, "no signed OpenPGP message");
    s.sign(&good, &right, &place, &["--compress-algo", "none"]);
    let mut bytes = fs::read(&place).unwrap();
    let at = bytes.windows(6).position(|w| w == b"sha256").unwrap() + 10;
    bytes[at] ^= 1;
    fs::write(&place, bytes).unwrap();
    s.lab.refused(&image, "has not signed these bytes");
    let bomb = json!({ "critical": null, "optional": "0".repeat(8 << 20) });
    s.sign(&good, &bomb, &place, &["-z", "9"]);
    s.lab.refused(&image, "larger than");
    s.sign(&good, &right, &place, &[]);
    s.lab.run(&image).ends_with(3);
}

#[test]
fn keys_and_lookaside_need_each_other() {
    let Some(s) = Signed::new() else { return };
    let (image, _) = s.lab.push("team/app");
    let key = s.gpg.key("good", "ed25519", "never", &[]);
    let rule = "[[policy]]\nprefix = \"HOST/team\"\nverdict = \"signed-by\"\n";
    let file = s.gpg.export(&key);
    s.lab
        .policy(&format!("{rule}keys = [\"{}\"]\n", file.display()));
    s.lab.refused(&image, "key of OpenPGP");
    s.lab.policy(&format!(
        "{rule}keys = [\"{}\"]\nlookaside = \"http://sigs.test\"\n",
        file.display()
    ));
    s.lab.refused(&image, "is no lookaside");
}
