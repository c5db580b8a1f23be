//! From names to images and keys, over HTTPS.

use super::UNSIGNED;
use rkt_tests::aci::Aci;
use rkt_tests::gpg::Gpg;
use rkt_tests::tar::Entry;
use rkt_tests::web::{Page, Web};
use rkt_tests::{Done, Need, Rkt};
use serde_json::json;
use std::fs;

pub(super) const HOST: &str = "images.example.test";

/// A server of files, keys, and a rkt that knows both.
pub(super) struct Lab {
    pub(super) web: Web,
    pub(super) gpg: Gpg,
    pub(super) rkt: Rkt,
}

impl Lab {
    pub(super) fn new() -> Option<Self> {
        let rkt = Rkt::needs(&[Need::Tool("gpg"), Need::Tool("openssl")])?;
        Some(Self {
            web: Web::start(&rkt, HOST),
            gpg: Gpg::new(rkt.file("gpg")),
            rkt,
        })
    }

    #[track_caller]
    pub(super) fn call(&self, words: &[&str]) -> Done {
        rkt_tests::command::run(self.command(words), None)
    }

    pub(super) fn command(&self, words: &[&str]) -> std::process::Command {
        let mut command = self.rkt.command(&[
            format!("--local-config={}", self.rkt.file("local").display()),
            format!("--system-config={}", self.rkt.file("system").display()),
        ]);
        command.args(words).env("SSL_CERT_FILE", &self.web.root);
        for name in [
            "http_proxy",
            "https_proxy",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
            "all_proxy",
        ] {
            command.env_remove(name);
        }
        command
    }

    #[track_caller]
    pub(super) fn which(&self, options: &[&str], image: &str) -> Done {
        let mut words = vec!["run", "--rm", "--quiet", "--net=none"];
        words.extend(options);
        words.extend([image, "--", "cat", "/which"]);
        self.call(&words)
    }

    /// An image that says this, as a file's bytes.
    pub(super) fn image(&self, name: &str, version: &str, text: &str) -> Vec<u8> {
        let aci = Aci::with_probe(name, &[Entry::file("which", text)]).set(
            "labels",
            json!([{ "name": "version", "value": version }, { "name": "os", "value": "linux" }, { "name": "arch", "value": "amd64" }]),
        );
        fs::read(aci.write(&self.rkt.file("made.aci"))).unwrap()
    }

    pub(super) fn sign(&self, key: &str, image: &[u8]) -> Vec<u8> {
        let path = self.rkt.file("made.aci");
        fs::write(&path, image).unwrap();
        fs::read(self.gpg.sign(key, &path, &["--armor"])).unwrap()
    }

    /// A page with these tags.
    fn page(&self, path: &str, tags: &[(&str, String)]) {
        let metas: String = tags
            .iter()
            .map(|(name, content)| format!("<meta name=\"{name}\" content=\"{content}\">\n"))
            .collect();
        self.web.put(
            path,
            Page::new(format!("<html><head>{metas}</head></html>")),
        );
    }
}

fn template() -> (&'static str, String) {
    (
        "ac-discovery",
        format!("{HOST} https://{HOST}/files/{{name}}-{{version}}-{{os}}-{{arch}}.{{ext}}"),
    )
}

#[test]
fn a_name_leads_to_its_image_its_signature_and_its_keys() {
    let Some(lab) = Lab::new() else { return };
    let key = lab.gpg.key("maker", "ed25519", "never", &[]);
    // The page of the name is missing; the one above speaks for it. Tags of others do not count.
    lab.page(
        "https/team?ac-discovery=1",
        &[
            (
                "ac-discovery",
                "other.example https://evil.example/{name}.{ext}".into(),
            ),
            (
                "ac-discovery",
                format!("{HOST}/te https://evil.example/{{name}}.{{ext}}"),
            ),
            (
                "ac-discovery",
                format!("{HOST} https://{HOST}/{{flavour}}.{{ext}}"),
            ),
            template(),
            (
                "ac-discovery-pubkeys",
                format!("{HOST} https://{HOST}/keys"),
            ),
        ],
    );
    let name = format!("{HOST}/team/app");
    let image = lab.image(&name, "1.0", "one\n");
    let path = format!("https/files/{name}-1.0-linux-amd64.aci");
    lab.web.put(&path, Page::new(image.clone()));
    lab.web
        .put(&format!("{path}.asc"), Page::new(lab.sign(&key, &image)));
    lab.web.put(
        "https/keys",
        Page::new(fs::read(lab.gpg.export(&key)).unwrap()),
    );
    let wanted = format!("{name}:1.0,arch=amd64");
    // Nobody is trusted by themselves,
    lab.which(&[], &wanted)
        .ends_with(125)
        .is_one_clear_error()
        .says("unknown entity");
    let asked = lab.web.asked();
    assert_eq!(
        asked[..2],
        [
            "https/team/app?ac-discovery=1".to_owned(),
            "https/team?ac-discovery=1".to_owned()
        ]
    );
    assert!(!asked.contains(&"https/keys".to_owned()), "{asked:?}");
    // unless the user wants that,
    assert_eq!(
        lab.which(&["--trust-keys-from-https"], &wanted).ok(),
        "one\n"
    );
    let list = lab.call(&["trust", "list", "--format=json"]).json();
    assert_eq!(
        (&list["fingerprint"], &list["prefix"]),
        (&json!(key), &json!(name))
    );
    // and by name, after a look.
    lab.call(&["trust", "rm", &format!("--prefix={name}"), &key])
        .ok();
    let added = lab
        .call(&[
            "trust",
            "add",
            "--skip-fingerprint-review",
            &format!("--prefix={HOST}/team"),
        ])
        .ok();
    assert!(added.contains("Added key for prefix"), "{added}");
    lab.web.asked();
    assert_eq!(lab.which(&[], &wanted).ok(), "one\n");
    assert_eq!(lab.web.asked(), [] as [&str; 0], "it is in the store");
    assert_eq!(lab.which(&[], &format!("aci:{name}")).ok(), "one\n");
}

#[test]
fn what_comes_is_what_was_asked_for() {
    let Some(lab) = Lab::new() else { return };
    lab.page("https/?ac-discovery=1", &[template()]);
    for (asked, name, version, why) in [
        (
            "app:2.0",
            "app",
            "1.0",
            "differs from fetched aci label value",
        ),
        ("app:3.0", "other", "3.0", "is called"),
    ] {
        let image = lab.image(&format!("{HOST}/{name}"), version, "x");
        let path = format!(
            "https/files/{HOST}/{}-linux-amd64.aci",
            asked.replace(':', "-")
        );
        lab.web.put(&path, Page::new(image));
        lab.which(&[UNSIGNED], &format!("aci:{HOST}/{asked}"))
            .ends_with(125)
            .is_one_clear_error()
            .says(why);
    }
    // No version is the latest.
    let image = lab.image(&format!("{HOST}/new"), "7.0", "seven\n");
    lab.web.put(
        &format!("https/files/{HOST}/new-latest-linux-amd64.aci"),
        Page::new(image),
    );
    assert_eq!(
        lab.which(&[UNSIGNED], &format!("aci:{HOST}/new")).ok(),
        "seven\n"
    );
    for (name, why) in [("missing", "404"), ("missing:1.0", "404")] {
        lab.which(&[UNSIGNED], &format!("aci:{HOST}/{name}"))
            .ends_with(125)
            .is_one_clear_error()
            .says(why);
    }
    // A dependency is found in the same way.
    let base = lab.image(&format!("{HOST}/base"), "1.0", "of the base\n");
    lab.web.put(
        &format!("https/files/{HOST}/base-1.0-linux-amd64.aci"),
        Page::new(base.clone()),
    );
    let dependency = |size: usize| {
        json!([{ "imageName": format!("{HOST}/base"), "size": size,
        "labels": [{ "name": "version", "value": "1.0" }] }])
    };
    for (file, size, good) in [
        ("wrong", base.len() + 1, false),
        ("right", base.len(), true),
    ] {
        let top = Aci::with_probe("example.com/top", &[]).set("dependencies", dependency(size));
        let path = super::file(&lab.rkt, file, &top);
        let done = lab.which(&[UNSIGNED], &path);
        match good {
            true => assert_eq!(done.ok(), "of the base\n"),
            false => drop(done.ends_with(125).is_one_clear_error().says("should have")),
        }
    }
}

#[test]
fn plain_http_is_asked_only_when_the_user_says_so() {
    let Some(lab) = Lab::new() else { return };
    let name = format!("{HOST}/app");
    lab.page(
        "http/app?ac-discovery=1",
        &[("ac-discovery", format!("{HOST} http://{HOST}/x.{{ext}}"))],
    );
    lab.web
        .put("http/x.aci", Page::new(lab.image(&name, "1.0", "plain\n")));
    lab.which(&[UNSIGNED], &format!("aci:{name}:1.0"))
        .ends_with(125)
        .is_one_clear_error();
    assert!(lab.web.asked().iter().all(|p| p.starts_with("https/")));
    let both = "--insecure-options=image,http";
    assert_eq!(
        lab.which(&[both], &format!("aci:{name}:1.0")).ok(),
        "plain\n"
    );
    let asked = lab.web.asked();
    assert!(
        asked[0].starts_with("https/") && asked.contains(&"http/x.aci".to_owned()),
        "{asked:?}"
    );
    lab.which(&[UNSIGNED], &format!("http://{HOST}/x.aci"))
        .ends_with(125)
        .is_one_clear_error()
        .says("plain HTTP");
    // Not even a redirect leads there.
    lab.web.put(
        "https/y.aci",
        Page::new("")
            .status(302)
            .header("Location", &format!("http://{HOST}/x.aci")),
    );
    lab.which(&[both], &format!("https://{HOST}/y.aci"))
        .ends_with(125)
        .is_one_clear_error()
        .says("redirects");
}

#[test]
fn what_has_not_changed_is_not_fetched_again() {
    let Some(lab) = Lab::new() else { return };
    let image = lab.image("example.com/app", "1.0", "first\n");
    let page = |body: Vec<u8>, tag: &str, control: &str| {
        Page::new(body)
            .header("ETag", tag)
            .header("Cache-Control", control)
    };
    lab.web
        .put("https/x.aci", page(image.clone(), "\"a\"", "no-cache"));
    let url = format!("https://{HOST}/x.aci");
    let update = [UNSIGNED, "--pull-policy=update"];
    assert_eq!(lab.which(&update, &url).ok(), "first\n");
    lab.web.asked();
    // The same ETag: one request, nothing flows.
    assert_eq!(lab.which(&update, &url).ok(), "first\n");
    assert_eq!(lab.web.asked(), ["https/x.aci"]);
    // Another one, and an hour to keep it.
    let second = lab.image("example.com/app", "1.0", "second\n");
    lab.web
        .put("https/x.aci", page(second, "\"b\"", "max-age=3600"));
    assert_eq!(
        lab.which(&[UNSIGNED], &url).ok(),
        "first\n",
        "policy new asks nobody"
    );
    assert_eq!(lab.which(&update, &url).ok(), "second\n");
    lab.web.asked();
    assert_eq!(lab.which(&update, &url).ok(), "second\n");
    assert_eq!(
        lab.web.asked(),
        [] as [&str; 0],
        "it may be kept for an hour"
    );
    // A body that is cut short is no image.
    let mut cut = Page::new(image[..image.len() / 2].to_vec());
    cut.headers
        .push(("Content-Encoding".into(), "identity".into()));
    lab.web.put("https/cut.aci", cut);
    lab.which(&[UNSIGNED], &format!("https://{HOST}/cut.aci"))
        .ends_with(125)
        .is_one_clear_error();
}

#[test]
fn a_signature_may_come_after_the_image() {
    let Some(lab) = Lab::new() else { return };
    let key = lab.gpg.key("slow", "ed25519", "never", &[]);
    let exported = lab.gpg.export(&key);
    lab.call(&[
        "trust",
        "add",
        "--root",
        "--skip-fingerprint-review",
        exported.to_str().unwrap(),
    ])
    .ok();
    let image = lab.image("example.com/app", "1.0", "signed\n");
    let signature = Page::new(lab.sign(&key, &image));
    lab.web.put("https/x.aci", Page::new(image.clone()));
    lab.web
        .put("https/x.aci.asc", Page::new("").status(202).then(signature));
    assert_eq!(
        lab.which(&[], &format!("https://{HOST}/x.aci")).ok(),
        "signed\n"
    );
    let asked = lab.web.asked();
    assert_eq!(asked, ["https/x.aci", "https/x.aci.asc", "https/x.aci.asc"]);
    // Once, and not for ever.
    lab.web.put("https/y.aci", Page::new(image));
    lab.web.put("https/y.aci.asc", Page::new("").status(202));
    lab.which(&[], &format!("https://{HOST}/y.aci"))
        .ends_with(125)
        .is_one_clear_error()
        .says("no signature after");
}
