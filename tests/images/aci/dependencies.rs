//! Images on top of the images they depend on.

use super::{UNSIGNED, file, run};
use rkt_tests::Rkt;
use rkt_tests::aci::Aci;
use rkt_tests::tar::Entry;
use serde_json::{Value, json};

/// Keeps an image, so that others find it in the store.
fn keep(rkt: &Rkt, aci: &Aci) -> String {
    let path = file(rkt, &format!("d{}", rkt_tests::rkt::unique()), aci);
    rkt.rkt(&["fetch", "--quiet", UNSIGNED, &path]).ok();
    path
}

fn on(name: &str) -> Value {
    json!({ "imageName": name })
}

fn text(path: &str, text: &str) -> Entry {
    Entry::file(path, format!("{text}\n"))
}

#[test]
fn the_last_dependency_wins_and_the_image_over_all() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let base = |name: &str, letter: &str| {
        let entries = [
            Entry::dir("d").mode(0o755),
            text(&format!("d/{letter}"), letter),
            text("d/all", letter),
            text("d/bcd", letter),
            text("d/bd", if letter == "c" { "x" } else { letter }),
        ];
        let entries = if letter == "c" {
            &entries[..4]
        } else {
            &entries[..]
        };
        Aci::new(name, entries)
    };
    // A -> [B, C], C -> [D]: B, D, C, A from below.
    keep(&rkt, &base("example.com/d", "d"));
    keep(&rkt, &base("example.com/b", "b"));
    keep(
        &rkt,
        &base("example.com/c", "c").set("dependencies", json!([on("example.com/d")])),
    );
    let a = Aci::with_probe("example.com/a", &[Entry::dir("d"), text("d/all", "a")]).set(
        "dependencies",
        json!([on("example.com/b"), on("example.com/c")]),
    );
    let path = keep(&rkt, &a);
    for (name, want) in [
        ("all", "a"),
        ("bcd", "c"),
        ("bd", "d"),
        ("b", "b"),
        ("c", "c"),
        ("d", "d"),
    ] {
        let got = run(&rkt, &path, &["cat", &format!("/d/{name}")]).ok();
        assert_eq!(got.trim(), want, "{name}");
    }
    // Forgotten, those below stay as long as the image needs them.
    rkt.rkt(&["image", "rm", "aci:example.com/b", "aci:example.com/d"])
        .ok();
    rkt.rkt(&["image", "gc"]).ok();
    assert_eq!(run(&rkt, &path, &["cat", "/d/b"]).ok(), "b\n");
}

#[test]
fn an_image_replaces_a_link_below_and_never_writes_through_it() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    keep(
        &rkt,
        &Aci::new(
            "example.com/base",
            &[
                Entry::dir("usr"),
                Entry::dir("usr/lib"),
                text("usr/lib/real", "low"),
                Entry::link("lib", "usr/lib"),
            ],
        ),
    );
    let top = Aci::with_probe(
        "example.com/top",
        &[Entry::dir("lib"), text("lib/new", "top")],
    )
    .set("dependencies", json!([on("example.com/base")]));
    let path = keep(&rkt, &top);
    assert_eq!(run(&rkt, &path, &["list", "/lib"]).ok(), "new\n");
    assert_eq!(run(&rkt, &path, &["list", "/usr/lib"]).ok(), "real\n");
}

#[test]
fn a_whitelist_shows_what_it_names() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    keep(
        &rkt,
        &Aci::new(
            "example.com/base",
            &[
                Entry::dir("etc").mode(0o750),
                text("etc/kept", "base"),
                text("etc/hidden", "base"),
                Entry::dir("opt"),
                text("opt/hidden", "base"),
                Entry::hard("etc/second", "opt/hidden"),
            ],
        ),
    );
    let top = Aci::with_probe(
        "example.com/top",
        &[
            Entry::dir("own"),
            text("own/shown", "top"),
            text("own/gone", "top"),
        ],
    )
    .set("dependencies", json!([on("example.com/base")]))
    .set(
        "pathWhitelist",
        json!(["/rkt-probe", "/etc/kept", "/etc/second", "/own/shown"]),
    );
    let path = keep(&rkt, &top);
    let list = |dir: &str| run(&rkt, &path, &["list", dir]).ok();
    assert_eq!(
        list("/etc")
            .lines()
            .filter(|l| *l == "kept" || *l == "second" || *l == "hidden")
            .collect::<Vec<_>>(),
        ["kept", "second"]
    );
    assert_eq!(list("/own"), "shown\n");
    assert!(
        !list("/").contains("opt"),
        "a directory of another image that nobody lists"
    );
    // A hard link keeps its data when the first name of them is hidden.
    assert_eq!(run(&rkt, &path, &["cat", "/etc/second"]).ok(), "base\n");
    // What verify makes once more and what render writes are the same.
    rkt.rkt(&["image", "verify"]).ok();
    let dir = rkt.file("rendered");
    rkt.rkt(&[
        "image",
        "render",
        "aci:example.com/top",
        dir.to_str().unwrap(),
    ])
    .ok();
    assert!(dir.join("rootfs/etc/second").exists() && !dir.join("rootfs/opt").exists());
    // What the base is alone has not changed.
    let alone = Aci::with_probe("example.com/alone", &[])
        .set("dependencies", json!([on("example.com/base")]));
    assert_eq!(
        run(&rkt, &keep(&rkt, &alone), &["cat", "/opt/hidden"]).ok(),
        "base\n"
    );
}

#[test]
fn dependencies_are_the_ones_that_were_meant() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let base = Aci::new("example.com/base", &[text("which", "one")]);
    keep(&rkt, &base);
    let two = Aci::new("example.com/base", &[text("which", "two")]).set(
        "labels",
        json!([{ "name": "version", "value": "2.0" }, { "name": "os", "value": "linux" }, { "name": "arch", "value": "amd64" }]),
    );
    keep(&rkt, &two);
    let on_base = |extra: Value| {
        let mut dependency = on("example.com/base");
        for (key, value) in extra.as_object().unwrap() {
            dependency[key] = value.clone();
        }
        Aci::with_probe("example.com/top", &[]).set("dependencies", json!([dependency]))
    };
    let version = |v: &str| json!({ "labels": [{ "name": "version", "value": v }] });
    for (extra, want) in [
        (version("1.0"), "one\n"),
        (version("2.0"), "two\n"),
        (json!({ "imageID": base.id() }), "one\n"),
        (json!({ "imageID": &two.id()[..71] }), "two\n"),
    ] {
        let path = file(
            &rkt,
            &format!("t{}", rkt_tests::rkt::unique()),
            &on_base(extra),
        );
        assert_eq!(run(&rkt, &path, &["cat", "/which"]).ok(), want);
    }
    for extra in [
        version("3.0"),
        json!({ "imageID": format!("sha512-{}", "0".repeat(128)) }),
        json!({ "imageID": base.id(), "labels": [{ "name": "version", "value": "2.0" }] }),
    ] {
        let path = file(
            &rkt,
            &format!("t{}", rkt_tests::rkt::unique()),
            &on_base(extra),
        );
        run(&rkt, &path, &["cat", "/which"])
            .ends_with(125)
            .is_one_clear_error()
            .says("example.com/base");
    }
}

#[test]
fn rings_and_towers_of_images_end() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    // One that depends on itself is found in the store by its name the second time.
    let first = Aci::new("example.com/ring", &[]);
    keep(&rkt, &first);
    let ring = first
        .clone()
        .set("dependencies", json!([on("example.com/ring")]))
        .app("user", json!("1"));
    keep(&rkt, &ring);
    let mut below = "example.com/t0".to_owned();
    keep(&rkt, &Aci::new(&below, &[]));
    for n in 1..20 {
        let name = format!("example.com/t{n}");
        let aci = Aci::new(&name, &[]).set("dependencies", json!([on(&below)]));
        let path = file(&rkt, &format!("t{n}"), &aci);
        let done = rkt.rkt(&["fetch", "--quiet", UNSIGNED, &path]);
        if n < 16 {
            done.ok();
        } else {
            done.ends_with(254)
                .is_one_clear_error()
                .says("more than 16");
            return;
        }
        below = name;
    }
    panic!("no end of the tower");
}

#[test]
fn a_link_into_an_image_below_is_refused() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    keep(&rkt, &Aci::new("example.com/base", &[text("file", "low")]));
    let top = Aci::with_probe("example.com/top", &[Entry::hard("link", "file")])
        .set("dependencies", json!([on("example.com/base")]));
    let path = file(&rkt, "x", &top);
    run(&rkt, &path, &["cat", "/link"])
        .ends_with(125)
        .is_one_clear_error()
        .says("does not exist");
}
