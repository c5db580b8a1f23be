//! Archives that are no App Container Images, or mean harm.

use super::UNSIGNED;
use rkt_tests::Rkt;
use rkt_tests::aci::{self, Aci, Squeeze};
use rkt_tests::tar::{self, Entry, Kind};
use serde_json::json;
use std::fs;

/// Fetches these bytes as an image, which has to fail with one clear error that says this.
#[track_caller]
fn refused(rkt: &Rkt, bytes: &[u8], why: &str) {
    let path = aci::write(&rkt.file("hostile.aci"), bytes, Squeeze::Plain);
    let start = std::time::Instant::now();
    rkt.rkt(&["fetch", "--quiet", UNSIGNED, path.to_str().unwrap()])
        .ends_with(254)
        .is_one_clear_error()
        .says(why);
    assert!(start.elapsed().as_secs() < 10, "{why}: too slow");
}

fn good_manifest() -> Entry {
    Entry::file(
        "manifest",
        Aci::new("example.com/app", &[]).manifest.to_string(),
    )
}

fn root() -> Entry {
    Entry::dir("rootfs")
}

#[test]
fn an_archive_has_one_manifest_one_root_and_nothing_else() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    for (entries, why) in [
        (vec![root()], "has no `manifest`"),
        (vec![good_manifest()], "has no `rootfs`"),
        (
            vec![Entry::file("rootfs/x", ""), good_manifest()],
            "has no `rootfs`",
        ),
        (vec![good_manifest(), root(), good_manifest()], "twice"),
        (vec![root(), root(), good_manifest()], "twice"),
        (
            vec![
                root(),
                Entry::file("./rootfs/a", "1"),
                Entry::file("rootfs//a", "2"),
                good_manifest(),
            ],
            "twice",
        ),
        (
            vec![
                root(),
                Entry::dir("rootfs/a"),
                Entry::link("rootfs/a", "/"),
                good_manifest(),
            ],
            "twice",
        ),
        (
            vec![
                root(),
                Entry::file("rootfs/a/b", ""),
                Entry::link("rootfs/a", "/"),
                good_manifest(),
            ],
            "twice",
        ),
        (
            vec![Entry::file("rootfs", "x"), good_manifest()],
            "`rootfs` is no directory",
        ),
        (
            vec![Entry::link("rootfs", "/"), good_manifest()],
            "`rootfs` is no directory",
        ),
        (vec![root(), Entry::dir("manifest")], "no regular file"),
        (
            vec![root(), Entry::link("manifest", "/etc/passwd")],
            "no regular file",
        ),
        (
            vec![root(), Entry::hard("manifest", "rootfs/x")],
            "no regular file",
        ),
        (
            vec![root(), Entry::dir("rootfsx"), good_manifest()],
            "nothing else",
        ),
        (
            vec![root(), Entry::file("etc/passwd", ""), good_manifest()],
            "nothing else",
        ),
        (
            vec![root(), Entry::file("manifest/x", ""), good_manifest()],
            "nothing else",
        ),
        (
            vec![root(), Entry::file("../x", ""), good_manifest()],
            "leads out",
        ),
        (
            vec![root(), Entry::file("rootfs/../../x", ""), good_manifest()],
            "leads out",
        ),
        (
            vec![root(), Entry::file("rootfs/../x", ""), good_manifest()],
            "nothing else",
        ),
        (
            vec![root(), Entry::file("/etc/x", ""), good_manifest()],
            "nothing else",
        ),
        (
            vec![root(), Entry::hard("rootfs/a", "manifest"), good_manifest()],
            "not in `rootfs`",
        ),
        (
            vec![
                root(),
                Entry::hard("rootfs/a", "/etc/shadow"),
                good_manifest(),
            ],
            "not in `rootfs`",
        ),
        (
            vec![
                root(),
                Entry::hard("rootfs/a", "rootfs/../../etc/shadow"),
                good_manifest(),
            ],
            "leads out",
        ),
        (
            vec![
                root(),
                Entry::hard("rootfs/a", "rootfs/nosuch"),
                good_manifest(),
            ],
            "does not exist",
        ),
        (
            vec![
                root(),
                Entry::new("rootfs/dev", Kind::Character),
                good_manifest(),
            ],
            "0:0",
        ),
        (
            vec![
                root(),
                Entry::new("rootfs/x", Kind::Other(b'D')),
                good_manifest(),
            ],
            "none of a layer",
        ),
    ] {
        refused(&rkt, &tar::archive(&entries), why);
    }
    assert_eq!(rkt.rkt(&["image", "list", "--no-legend"]).ok(), "");
    rkt.rkt(&["image", "gc"]).ok();
    let left = fs::read_dir(rkt.data().join("layers/sha512"))
        .unwrap()
        .count();
    assert_eq!(left, 0, "nothing of them is kept");
}

#[test]
fn links_that_lead_out_lead_to_the_apps_own_root() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let outside = rkt.open_dir("outside");
    let out = outside.display().to_string();
    let aci = Aci::with_probe(
        "example.com/app",
        &[
            Entry::link("d", &out),
            Entry::file("d/pwn", "written\n"),
            Entry::link("up", "../../../../../.."),
            Entry::file("up/top", "written\n"),
        ],
    );
    let path = super::file(&rkt, "x", &aci);
    assert_eq!(
        super::run(&rkt, &path, &["cat", &format!("{out}/pwn")]).ok(),
        "written\n"
    );
    assert_eq!(super::run(&rkt, &path, &["cat", "/top"]).ok(), "written\n");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn manifests_that_are_none_are_refused() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let with = |text: &[u8]| tar::archive(&[root(), Entry::file("manifest", text)]);
    refused(&rkt, &with(b""), "read its manifest");
    refused(&rkt, &with(b"{"), "read its manifest");
    refused(&rkt, &with(b"\xff\xfe"), "read its manifest");
    refused(
        &rkt,
        &with("[".repeat(200_000).as_bytes()),
        "read its manifest",
    );
    let mut kind = Aci::new("example.com/app", &[]).manifest;
    kind["acKind"] = json!("PodManifest");
    refused(&rkt, &with(kind.to_string().as_bytes()), "PodManifest");
    let escapes = Aci::new("example.com/\u{1b}[2Japp", &[]).manifest;
    refused(&rkt, &with(escapes.to_string().as_bytes()), "AC Identifier");
    refused(&rkt, &with(&vec![b' '; 5 << 20]), "manifests end at");
    let mut lying = Entry::file("manifest", "{}");
    lying.claimed = Some(1 << 40);
    refused(&rkt, &tar::archive(&[root(), lying]), "manifests end at");
}

#[test]
fn files_that_are_no_archives_are_refused() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    refused(&rkt, b"", "no App Container Image");
    refused(&rkt, &[b'x'; 4096], "it is no tar");
    refused(
        &rkt,
        b"\xfd7zXZ\0garbage after the magic",
        "compressed stream",
    );
    refused(&rkt, b"BZh9garbage after the magic", "compressed stream");
    refused(&rkt, b"-----BEGIN PGP MESSAGE-----\n", "encrypted");
    refused(&rkt, b"\x8c\x0d\x04\x09\x03\x02", "encrypted");
    let whole = Aci::new("example.com/app", &[]).tar();
    refused(&rkt, &whole[..700], "tar ends");
    let mut more = whole.clone();
    more.extend_from_slice(b"more");
    refused(&rkt, &more, "after the end");
    // A directory, a pipe: nothing waits, nothing hangs.
    fs::create_dir(rkt.file("dir.aci")).unwrap();
    rkt.rkt(&["fetch", UNSIGNED, rkt.file("dir.aci").to_str().unwrap()])
        .ends_with(254)
        .is_one_clear_error();
    rkt_tests::command::tool("mkfifo", &[rkt.file("pipe.aci").to_str().unwrap()]);
    rkt.rkt(&["fetch", UNSIGNED, rkt.file("pipe.aci").to_str().unwrap()])
        .ends_with(254)
        .is_one_clear_error()
        .says("not a regular file");
}
