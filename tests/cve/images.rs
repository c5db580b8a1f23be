//! Holes of tools that fetch and unpack images.

use super::{PROBE, run};
use rkt_tests::Rkt;
use rkt_tests::layout::Image;
use rkt_tests::tar::{Entry, archive};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

#[test]
fn cve_2021_29136_a_root_that_is_a_link_leads_nowhere() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let outside = rkt.open_dir("outside");
    let target = outside.display().to_string();
    for name in [".", "./", "/", "./."] {
        for lower in [true, false] {
            let mut image = Image::with_probe(&[]);
            let place = if lower { 0 } else { 1 };
            let layer = archive(&[Entry::link(name, &target)]);
            image.layers.insert(place, layer);
            image.layers.push(archive(&[Entry::file("pwn", "x")]));
            let done = run(&rkt, &image, &["--", "list", "/"]);
            assert!([0, 125].contains(&done.status), "{name}\n{done}");
            if done.status == 125 {
                done.is_one_clear_error();
            } else {
                assert!(done.out.contains("pwn"), "{name}\n{done}");
            }
            assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{name}");
        }
    }
    rkt.leaves_nothing();
}

#[test]
fn cve_2021_32760_modes_and_owners_of_the_hosts_files_stay() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let outside = rkt.open_dir("outside");
    let victim = outside.join("victim");
    fs::write(&victim, "x").unwrap();
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
    let target = victim.display().to_string();
    let open = |entry: Entry| entry.mode(0o6777).owner(1234, 1234);
    let mut image = Image::with_probe(&[open(Entry::link("d", &target))]);
    image.layers.push(archive(&[
        open(Entry::hard("h", "d")),
        open(Entry::hard("i", &target)),
    ]));
    let mut other = Image::with_probe(&[Entry::link("d", &target)]);
    other.layers.push(archive(&[
        open(Entry::hard("h", "d")),
        open(Entry::file("h", "y")),
    ]));
    let seen = || {
        let meta = fs::metadata(&victim).unwrap();
        (meta.mode() & 0o7777, meta.uid(), fs::read(&victim).unwrap())
    };
    let before = seen();
    for image in [image, other] {
        let done = run(&rkt, &image, &["--", "exit", "0"]);
        assert!([0, 125].contains(&done.status), "{done}");
        assert_eq!(seen(), before, "{done}");
    }
    rkt.leaves_nothing();
}

/// What is named by such a digest is there, and it is the very blob: who joins the words finds it.
#[test]
fn cve_2024_3727_a_digest_is_no_path() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let mut layout = Image::with_probe(&[]).write(&rkt.file("layout"));
    rkt.run(&[&layout.reference(), "--", "exit", "0"]).ok();
    let plain = layout.manifest();
    for (tag, place) in [("config", "/config"), ("layer", "/layers/0")] {
        let blob = plain.pointer(place).unwrap()["digest"].as_str().unwrap();
        let outside = rkt.open_dir(&format!("outside-{tag}")).join("blob");
        fs::copy(layout.blob_path(blob), &outside).unwrap();
        let up = format!(
            "{}{}",
            "../".repeat(30),
            &outside.display().to_string()[1..]
        );
        let whole = outside.display().to_string();
        for (n, text) in [
            format!("sha256:{up}"),
            format!("sha256:{whole}"),
            format!("sha256:../sha256/{}", &blob["sha256:".len()..]),
            "sha256:".to_owned(),
            "sha256".to_owned(),
            String::new(),
            blob.to_uppercase(),
            format!("../{blob}"),
        ]
        .iter()
        .enumerate()
        {
            let mut manifest = plain.clone();
            manifest.pointer_mut(place).unwrap()["digest"] = json!(text);
            let tag = format!("{tag}-{n}");
            layout.tag(&manifest, &tag);
            let image = format!("{}:{tag}", layout.reference());
            rkt.run(&[&image, "--", "exit", "0"])
                .ends_with(125)
                .is_one_clear_error()
                .says("digest");
        }
    }
    rkt.run(&[PROBE, "--", "exit", "0"]).ok();
    rkt.leaves_nothing();
}
