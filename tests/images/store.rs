//! What is fetched is kept once, named, listed and forgotten.

use rkt_tests::images::{BUSYBOX, TAG, TOOLS};
use rkt_tests::layout::Image;
use rkt_tests::registry::Registry;
use rkt_tests::tar::Entry;
use rkt_tests::{Need, Rkt};
use std::fs;

#[test]
fn an_image_is_fetched_listed_and_removed() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let layout = Image::with_probe(&[]).write(&rkt.file("layout"));
    let id = rkt.rkt(&["fetch", "--quiet", &layout.reference()]).ok();
    assert!(id.trim().starts_with("sha256"), "{id}");
    let list = rkt.rkt(&["image", "list"]).ok();
    assert!(list.contains("NAME") && list.lines().count() == 2, "{list}");
    assert_eq!(rkt.rkt(&["images"]).ok().lines().count(), 2, "the alias");
    rkt.rkt(&["image", "rm", id.trim()]).ok();
    assert_eq!(rkt.rkt(&["image", "list", "--no-legend"]).ok(), "");
    rkt.rkt(&["image", "rm", "nosuch"])
        .ends_with(254)
        .is_one_clear_error();
}

#[test]
fn what_is_there_is_not_asked_for_again() {
    let mut needs = TOOLS.to_vec();
    needs.push(Need::Tool("docker-registry"));
    let Some(rkt) = Rkt::needs(&needs) else {
        return;
    };
    let registry = Registry::start(&rkt.file("registry"));
    let name = registry.push(&BUSYBOX.layout(), TAG, "busybox");
    rkt.rkt(&["pull", "--quiet", &name]).ok();
    drop(registry);
    let out = rkt.run(&[&name, "--", "sh", "-c", "echo here"]).ok();
    assert_eq!(out, "here\n");
    rkt.run(&["--pull-policy=update", &name, "--", "true"])
        .ends_with(125)
        .is_one_clear_error();
    let policy = rkt.run(&[
        "--pull-policy=never",
        "docker://127.0.0.1:1/other",
        "--",
        "true",
    ]);
    policy.ends_with(125).is_one_clear_error();
}

#[test]
fn a_layer_of_two_images_is_kept_once() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let base = vec![Entry::file("big", vec![b'x'; 4 << 20])];
    let one = [Entry::file("one", "1")];
    let two = [Entry::file("two", "2")];
    let size = |rkt: &Rkt| -> u64 {
        let out = rkt_tests::command::tool("du", &["-sk", &rkt.data().display().to_string()]);
        out.split_whitespace().next().unwrap().parse().unwrap()
    };
    let first = Image::new(&[&base, &one]).write(&rkt.file("one"));
    rkt.rkt(&["fetch", "--quiet", &first.reference()]).ok();
    let before = size(&rkt);
    let second = Image::new(&[&base, &two]).write(&rkt.file("two"));
    rkt.rkt(&["fetch", "--quiet", &second.reference()]).ok();
    assert!(
        size(&rkt) - before < 1024,
        "{before} KiB, then {} KiB",
        size(&rkt)
    );
}

#[test]
fn layers_are_no_files_of_the_host() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let entries = [
        Entry::file("setuid", "#!x").mode(0o4755),
        Entry::file("plain", "x"),
    ];
    let layout = Image::with_probe(&entries).write(&rkt.file("layout"));
    rkt.rkt(&["fetch", "--quiet", &layout.reference()]).ok();
    let out = rkt_tests::command::tool(
        "find",
        &[
            &rkt.data().display().to_string(),
            "-name",
            "plain",
            "-o",
            "-perm",
            "-4000",
        ],
    );
    assert_eq!(out, "");
}

#[test]
fn the_data_directory_is_for_root_only() {
    let Some(rkt) = Rkt::needs(&[Need::Tool("setpriv")]) else {
        return;
    };
    let layout = Image::with_probe(&[]).write(&rkt.file("layout"));
    // A data directory that rkt makes itself, where anybody could look.
    let data = rkt.open_dir("open").join("data");
    let mut command = rkt.inside(rkt_tests::need::binary().unwrap());
    command
        .arg(format!("--dir={}", data.display()))
        .arg(format!("--run-dir={}", rkt.run_dir().display()))
        .args(["fetch", "--quiet", &layout.reference()]);
    rkt_tests::command::run(command, None).ok();
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&data).unwrap().permissions());
    assert_eq!(mode & 0o077, 0, "{mode:o}");
}
