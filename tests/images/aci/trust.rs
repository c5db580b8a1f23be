//! Whose signature on an App Container Image counts, and for how long.

use super::{UNSIGNED, file};
use rkt_tests::aci::Aci;
use rkt_tests::gpg::Gpg;
use rkt_tests::{Done, Need, Rkt};
use std::fs;
use std::path::PathBuf;

/// A rkt with configuration and keys of its own.
struct Lab {
    rkt: Rkt,
    gpg: Gpg,
    local: PathBuf,
    system: PathBuf,
}

impl Lab {
    fn new() -> Option<Self> {
        let rkt = Rkt::needs(&[Need::Tool("gpg"), Need::Tool("gpgconf")])?;
        Some(Self {
            gpg: Gpg::new(rkt.file("gpg")),
            local: rkt.file("local"),
            system: rkt.file("system"),
            rkt,
        })
    }

    fn words<'a>(&self, words: &[&'a str]) -> Vec<std::borrow::Cow<'a, str>> {
        let mut all = vec![
            format!("--local-config={}", self.local.display()).into(),
            format!("--system-config={}", self.system.display()).into(),
        ];
        all.extend(words.iter().map(|w| (*w).into()));
        all
    }

    #[track_caller]
    fn call(&self, words: &[&str]) -> Done {
        let all: Vec<String> = self.words(words).into_iter().map(Into::into).collect();
        self.rkt.rkt(&all)
    }

    #[track_caller]
    fn run(&self, image: &str) -> Done {
        let words = [
            "run",
            "--rm",
            "--quiet",
            "--net=none",
            image,
            "--",
            "exit",
            "3",
        ];
        self.call(&words)
    }

    #[track_caller]
    fn trust(&self, fingerprint: &str, reach: &str) {
        let key = self.gpg.export(fingerprint);
        let words = [
            "trust",
            "add",
            reach,
            "--skip-fingerprint-review",
            key.to_str().unwrap(),
        ];
        self.call(&words).ok();
    }

    /// An image of this name, signed by this key.
    #[track_caller]
    fn signed(&self, name: &str, fingerprint: &str, more: &[&str]) -> String {
        let unique = format!("s{}", rkt_tests::rkt::unique());
        let path = file(&self.rkt, &unique, &Aci::with_probe(name, &[]));
        self.gpg.sign(fingerprint, path.as_ref(), more);
        path
    }

    /// An image signed so is refused with one clear error that says this, and leaves nothing.
    #[track_caller]
    fn refused(&self, path: &str, why: &str) {
        self.run(path).ends_with(125).is_one_clear_error().says(why);
        assert_eq!(
            self.call(&["image", "list", "--no-legend"]).ok(),
            "",
            "{why}"
        );
    }
}

const ARMOR: &[&str] = &["--armor"];
const LONG_AGO: &[&str] = &["--faked-system-time", "20200101T000000"];

#[test]
fn an_image_signed_by_a_trusted_key_runs() {
    let Some(lab) = Lab::new() else { return };
    for (name, kind) in [("ed", "ed25519"), ("rsa", "rsa2048"), ("nist", "nistp256")] {
        let key = lab.gpg.key(name, kind, "never", &[]);
        lab.trust(&key, "--prefix=example.com/app");
        for armor in [ARMOR, &[]] {
            let path = lab.signed("example.com/app", &key, armor);
            lab.run(&path).ends_with(3);
        }
    }
    let key = lab.gpg.key("root", "ed25519", "never", &[]);
    lab.gpg.subkey(&key, "ed25519");
    lab.trust(&key, "--root");
    let path = lab.signed("other.example/with/subkey", &key, ARMOR);
    lab.run(&path).ends_with(3);
    let said = lab.call(&["fetch", &path]);
    assert!(
        said.err
            .contains(&format!("signed by the trusted key {key}")),
        "{said}"
    );
    let list = lab.call(&["image", "list", "--format=json"]).ok();
    let value: serde_json::Value = serde_json::from_str(list.lines().last().unwrap()).unwrap();
    assert_eq!(value["trust"]["by"], key);
}

#[test]
fn a_signature_that_does_not_count_is_told_why() {
    let Some(lab) = Lab::new() else { return };
    let good = lab.gpg.key("good", "ed25519", "never", &[]);
    lab.trust(&good, "--prefix=example.com/app");
    // Nobody's, and nobody known.
    let path = file(
        &lab.rkt,
        "unsigned",
        &Aci::with_probe("example.com/app", &[]),
    );
    lab.refused(&path, "error opening signature file");
    let stranger = lab.gpg.key("stranger", "ed25519", "never", &[]);
    let path = lab.signed("example.com/app", &stranger, ARMOR);
    lab.refused(&path, "signature made by unknown entity");
    // Known, for other names.
    for name in ["example.com/apple", "example.com", "other.example/app"] {
        let path = lab.signed(name, &good, ARMOR);
        lab.refused(&path, "is not trusted for");
    }
    // Another file's, a file changed by one byte, a signature that is none.
    let path = lab.signed("example.com/app", &good, ARMOR);
    let other = Aci::with_probe("example.com/app", &[rkt_tests::tar::Entry::file("x", "y")]);
    other.write(path.as_ref());
    lab.refused(&path, "has not signed these bytes");
    let path = lab.signed("example.com/app", &good, ARMOR);
    let mut bytes = fs::read(&path).unwrap();
    // In gzip's header: the time, which changes nothing of what is in it.
    bytes[5] ^= 1;
    fs::write(&path, bytes).unwrap();
    lab.refused(&path, "has not signed these bytes");
    fs::write(format!("{path}.asc"), "no signature").unwrap();
    lab.refused(&path, "no OpenPGP signature");
    fs::write(format!("{path}.asc"), vec![b'x'; 1 << 20]).unwrap();
    lab.refused(&path, "larger than");
    let path = lab.signed("example.com/app", &good, &["--digest-algo", "SHA1"]);
    lab.refused(&path, "weak hash");
    let path = lab.signed("example.com/app", &good, &["--textmode"]);
    lab.refused(&path, "not one over a file");
    let old = lab.gpg.key("old", "ed25519", "never", LONG_AGO);
    lab.trust(&old, "--prefix=example.com/app");
    let short = [LONG_AGO, &["--default-sig-expire", "1d"]].concat();
    let path = lab.signed("example.com/app", &old, &short);
    lab.refused(&path, "the signature has expired");
}

#[test]
fn expired_revoked_and_weak_keys_sign_nothing() {
    let Some(lab) = Lab::new() else { return };
    let expired = lab.gpg.key("expired", "ed25519", "1d", LONG_AGO);
    let revoked = lab.gpg.key("revoked", "ed25519", "never", &[]);
    let weak = lab.gpg.key("weak", "rsa1024", "never", &[]);
    let keys = lab.local.join("trustedkeys/root.d");
    fs::create_dir_all(&keys).unwrap();
    let signed = [
        lab.signed("example.com/app", &expired, LONG_AGO),
        lab.signed("example.com/app", &revoked, ARMOR),
        lab.signed("example.com/app", &weak, ARMOR),
    ];
    lab.gpg.revoke(&revoked);
    for (key, path, why) in [
        (&expired, &signed[0], "has expired"),
        (&revoked, &signed[1], "is revoked"),
        (&weak, &signed[2], "too weak"),
    ] {
        let exported = lab.gpg.export(key);
        // Nobody is led to trust it,
        lab.call(&[
            "trust",
            "add",
            "--root",
            "--skip-fingerprint-review",
            exported.to_str().unwrap(),
        ])
        .ends_with(254)
        .is_one_clear_error()
        .says(why);
        // and what was trusted before counts no more.
        fs::copy(&exported, keys.join(key)).unwrap();
        lab.refused(path, why);
    }
    let list = lab.call(&["trust", "list", "--format=json-pretty"]).json();
    let states: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|k| k["state"].as_str().unwrap())
        .collect();
    assert_eq!(
        states.iter().filter(|s| **s == "trusted").count(),
        0,
        "{states:?}"
    );
}

#[test]
fn the_administrators_keys_lie_over_the_systems() {
    over_the_systems("prefix.d/example.com", "--prefix=example.com");
}

#[test]
fn the_administrators_root_keys_lie_over_the_systems() {
    over_the_systems("root.d", "--root");
}

/// Keys of the system in this directory, masked and replaced by the administrator's.
fn over_the_systems(place: &str, reach: &str) {
    let Some(lab) = Lab::new() else { return };
    let place = std::path::Path::new("trustedkeys").join(place);
    let key = lab.gpg.key("distribution", "ed25519", "never", &[]);
    let system = lab.system.join(&place);
    fs::create_dir_all(&system).unwrap();
    fs::copy(lab.gpg.export(&key), system.join(&key)).unwrap();
    let path = lab.signed("example.com/deep/app", &key, ARMOR);
    lab.run(&path).ends_with(3);
    // Taken away by the administrator: an empty file masks it.
    let removed = lab
        .call(&["trust", "rm", reach, "--format=json", &key])
        .json();
    assert_eq!(removed["masked"], true);
    let mask = lab.local.join(&place).join(&key);
    assert_eq!(fs::metadata(&mask).unwrap().len(), 0);
    // What it let in before is in the store, and is not used any more.
    let never = [
        "run",
        "--rm",
        "--quiet",
        "--net=none",
        "--pull-policy=never",
        &path,
        "--",
        "exit",
        "3",
    ];
    lab.call(&never)
        .ends_with(125)
        .is_one_clear_error()
        .says("is not trusted for");
    lab.run(&path)
        .ends_with(125)
        .is_one_clear_error()
        .says("unknown entity");
    let list = lab.call(&["trust", "list", "--format=json"]).json();
    assert_eq!(
        (&list["masked"], &list["state"]),
        (&true.into(), &"masked".into())
    );
    // Revoked since, the key counts for nothing, whatever it let in.
    fs::remove_file(&mask).unwrap();
    lab.run(&path).ends_with(3);
    lab.gpg.revoke(&key);
    fs::copy(lab.gpg.export(&key), system.join(&key)).unwrap();
    lab.call(&never)
        .ends_with(125)
        .is_one_clear_error()
        .says("is not trusted for");
    // A file that holds another key than its name says vouches for nobody.
    let other = lab.gpg.key("other", "ed25519", "never", &[]);
    fs::copy(lab.gpg.export(&other), &mask).unwrap();
    lab.run(&path)
        .ends_with(125)
        .is_one_clear_error()
        .says("another key than its name says");
}

#[test]
fn a_key_is_looked_at_before_it_is_trusted() {
    let Some(lab) = Lab::new() else { return };
    let key = lab.gpg.key("alice", "ed25519", "never", &[]);
    let exported = lab.gpg.export(&key).display().to_string();
    let ask = |words: &[&str], answer: &str| {
        let all: Vec<String> = lab.words(words).into_iter().map(Into::into).collect();
        lab.rkt.rkt_with(&all, answer.as_bytes())
    };
    let add = ["trust", "add", "--prefix=example.com", &exported];
    let no = ask(&add, "no\n").ends_with(254);
    let spaced = key.to_ascii_uppercase();
    assert!(
        no.err.contains(&spaced[..2]) && no.err.contains("alice@example.com"),
        "{no}"
    );
    assert!(no.err.contains("Are you sure"), "{no}");
    ask(&add, "")
        .ends_with(254)
        .says("--skip-fingerprint-review");
    assert_eq!(lab.call(&["trust", "list", "--no-legend"]).ok(), "");
    // The original's words have no verb.
    let yes = ask(&["trust", "--prefix=example.com", &exported], "yes\n").ok();
    assert!(
        yes.starts_with("Added key for prefix \"example.com\" at \""),
        "{yes}"
    );
    let list = lab.call(&["trust", "list"]).ok();
    assert!(
        list.contains(&key) && list.contains("trusted") && list.contains("alice"),
        "{list}"
    );
    lab.call(&["trust", "rm", "--root", &key])
        .ends_with(254)
        .is_one_clear_error();
    lab.call(&["trust", "rm", "--prefix=example.com", &spaced])
        .ok();
    assert_eq!(lab.call(&["trust", "list", "--no-legend"]).ok(), "");
    for words in [
        &["trust", "add", &exported][..],
        &["trust", "add", "--prefix=../x", &exported],
        &["trust", "add", "--root", "/nosuch"],
        &["trust", "add", "--root", "/etc/passwd"],
        &["trust", "rm", "--root", "../../x"],
    ] {
        lab.call(words).ends_with(254);
    }
    // Without a check it is still possible, when somebody says so.
    let path = lab.signed("example.com/app", &key, ARMOR);
    let words = [
        "run",
        "--rm",
        "--quiet",
        "--net=none",
        UNSIGNED,
        &path,
        "--",
        "exit",
        "3",
    ];
    lab.call(&words).ends_with(3);
}
