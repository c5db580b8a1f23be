//! Verbs of `rkt image` on App Container Images.

use super::{UNSIGNED, file};
use rkt_tests::Rkt;
use rkt_tests::aci::Aci;
use rkt_tests::tar::Entry;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Fetches an image without a signature, and gives its id.
fn fetch(rkt: &Rkt, aci: &Aci) -> String {
    let path = file(rkt, &format!("c{}", rkt_tests::rkt::unique()), aci);
    let id = rkt.rkt(&["fetch", "--quiet", UNSIGNED, &path]).ok();
    id.trim().to_owned()
}

/// The paths below a directory.
fn below(dir: &Path) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            all.insert(path.strip_prefix(dir).unwrap().display().to_string());
            if entry.file_type().unwrap().is_dir() {
                left.push(path);
            }
        }
    }
    all
}

#[test]
fn extract_writes_the_image_alone_and_render_what_its_app_sees() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let base = [
        Entry::dir("etc").mode(0o750).owner(1, 2),
        Entry::file("etc/low", "low\n"),
        Entry::file("etc/both", "low\n"),
        Entry::file("etc/unlisted", "low\n"),
    ];
    fetch(&rkt, &Aci::new("example.com/base", &base));
    // Its files lie in a directory of the image below, and one is not on its list.
    let own = [
        Entry::file("etc/both", "top\n").mode(0o640),
        Entry::file("etc/own", "own\n"),
        Entry::file("etc/hidden", "own\n"),
        Entry::file(".wh.etc", "no whiteout\n"),
    ];
    let top = Aci::new("example.com/top", &own)
        .set("dependencies", json!([{ "imageName": "example.com/base" }]))
        .set(
            "pathWhitelist",
            json!(["/etc/low", "/etc/both", "/etc/own", "/.wh.etc"]),
        );
    fetch(&rkt, &top);
    let name = "aci:example.com/top";
    let write = |verb: &str, more: &[&str]| {
        let dir = rkt.file(&format!("{verb}{}", more.len()));
        let mut words = vec!["image", verb];
        words.extend(more);
        let word = dir.display().to_string();
        words.extend([name, &word]);
        rkt.rkt(&words).ok();
        dir
    };
    let set =
        |paths: &[&str]| -> BTreeSet<String> { paths.iter().map(|p| (*p).to_owned()).collect() };
    let alone = ["etc", "etc/both", "etc/own", "etc/hidden", ".wh.etc"];
    let merged = ["etc", "etc/both", "etc/own", "etc/low", ".wh.etc"];
    for (verb, want) in [("extract", alone), ("render", merged)] {
        let dir = write(verb, &[]);
        let manifest = fs::read_to_string(dir.join("manifest")).unwrap();
        assert_eq!(manifest, top.manifest.to_string(), "{verb}");
        let root = dir.join("rootfs");
        assert_eq!(below(&root), set(&want), "{verb}");
        assert_eq!(fs::read_to_string(root.join("etc/both")).unwrap(), "top\n");
        assert_eq!(
            below(&write(verb, &["--rootfs-only"])),
            set(&want),
            "{verb}"
        );
    }
    // What was made for it is kept for nobody, and the image is as good as before.
    rkt.rkt(&["image", "gc"]).ok();
    rkt.rkt(&["image", "verify"]).ok();
    write("render", &["--rootfs-only", "--overwrite"]);
}

#[test]
fn a_given_name_is_shown_and_goes_alone() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let aci = Aci::new("example.com/app", &[Entry::file("a", "a")]);
    let id = fetch(&rkt, &aci);
    rkt.rkt(&[
        "image",
        "tag",
        "aci:example.com/app",
        "example.com/team/app:2",
        "b",
    ])
    .ok();
    let names = || -> Vec<String> {
        let words = ["image", "list", "--no-legend", "--fields=name"];
        let text = rkt.rkt(&words).ok();
        text.lines().map(|l| l.trim().to_owned()).collect()
    };
    let own = "example.com/app:1.0";
    let (team, b) = (
        "docker://example.com/team/app:2",
        "docker://docker.io/library/b:latest",
    );
    assert_eq!(names(), [own, b, team]);
    let found = rkt.rkt(&["fetch", "--quiet", "--pull-policy=never", UNSIGNED, "b"]);
    assert_eq!(found.ok().trim(), id);
    let done = rkt.rkt(&["image", "rm", "b"]).ok();
    assert!(done.contains("removed name") && done.contains(b), "{done}");
    assert_eq!(names(), [own, team]);
    let done = rkt.rkt(&["image", "rm", "--format=json", "example.com/team/app:2"]);
    let done: Value = done.json();
    assert_eq!(
        (&done["action"], &done["name"]),
        (&json!("untagged"), &json!(team))
    );
    assert_eq!(names(), [own]);
    rkt.rkt(&["image", "rm", "b"])
        .ends_with(254)
        .is_one_clear_error();
    // What it calls itself cannot be taken from it.
    rkt.rkt(&["image", "tag", "aci:example.com/app", "b"]).ok();
    let done = rkt.rkt(&["image", "rm", "aci:example.com/app"]).ok();
    assert!(done.contains("removed image"), "{done}");
    assert_eq!(names(), [] as [&str; 0]);
}

#[test]
fn its_history_names_its_archive() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let aci = Aci::new("example.com/app", &[Entry::file("a", "a")]);
    fetch(&rkt, &aci);
    let id = aci.id();
    let history = |words: &[&str]| {
        let mut all = vec!["image", "history", "--no-legend"];
        all.extend(words);
        all.push("aci:example.com/app");
        let text = rkt.rkt(&all).ok();
        text.split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(history(&[]), id[..19]);
    assert_eq!(history(&["--full"]), id.replace('-', ":"));
}
