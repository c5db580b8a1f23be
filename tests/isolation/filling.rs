//! Bounds on what an app may fill: volumes and roots in memory, by bytes and by files without any.

use super::resources::made;
use rkt_tests::attack::record_held;
use rkt_tests::layout::Image;
use rkt_tests::tar::Entry;
use rkt_tests::{Need, Rkt};
use std::fs;
use std::os::unix::fs::MetadataExt;

const PROBE: &str = "builtin:probe";
/// A mebibyte, and as many files as it may have.
const SIZE: u64 = 1 << 20;
const FILES: u64 = SIZE / 4096;

/// Fills what there is of room, first by bytes, then by files: how much of each was got, and why no more.
fn filled(rkt: &Rkt, words: &[&str], place: &str) -> [(u64, String); 2] {
    let file = format!("{place}/all");
    [
        ["fill", file.as_str(), "4000000"],
        ["litter", place, "2000"],
    ]
    .map(|part| {
        let mut all = words.to_vec();
        all.push("--");
        all.extend(part);
        made(&rkt.run(&all))
    })
}

#[test]
fn a_volume_with_a_size_holds_that_and_no_more() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    let mount = "--mount=volume=v,target=/data";
    let volume = |more: &str| {
        filled(
            &rkt,
            &[&format!("--volume=v,kind=empty{more}"), PROBE, mount],
            "/data",
        )
    };
    let [bytes, files] = volume(",size=1Mi");
    let [free_bytes, free_files] = volume("");
    assert_eq!((bytes.1.as_str(), files.1.as_str()), ("ENOSPC", "ENOSPC"));
    record_held("C12.3", bytes.0 <= SIZE, free_bytes.0 >= 4_000_000);
    record_held("C12.4", files.0 <= FILES, free_files.0 == 2000);
    rkt.leaves_nothing();
}

#[test]
fn a_root_with_a_size_holds_that_and_no_more() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    let [bytes, files] = filled(&rkt, &[PROBE, "--root-size=1Mi"], "");
    let litter = made(&rkt.run(&[PROBE, "--root-size=1Mi", "--", "litter", "/", "2000"]));
    let [free_bytes, _] = filled(&rkt, &[PROBE], "/");
    let free_files = made(&rkt.run(&[PROBE, "--", "litter", "/", "2000"]));
    assert_eq!((bytes.1.as_str(), litter.1.as_str()), ("ENOSPC", "ENOSPC"));
    assert!(files.0 <= FILES, "{files:?}");
    record_held("C12.5", bytes.0 <= SIZE, free_bytes.0 >= 4_000_000);
    record_held("C12.6", litter.0 <= FILES, free_files.0 == 2000);
    rkt.leaves_nothing();
}

#[test]
fn a_volume_in_memory_is_one_for_all_apps_that_mount_it() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    let pod = rkt.start(&[
        "--volume=v,kind=empty,size=1Mi,mode=2750,uid=7,gid=8",
        PROBE,
        "--name=a",
        "--mount=volume=v,target=/here",
        "--",
        "sleep",
        "---",
        PROBE,
        "--name=b",
        "--mount=volume=v,target=/there,readOnly=true",
        "--",
        "sleep",
    ]);
    let (a, b) = (pod.app("a"), pod.app("b"));
    let top = fs::metadata(a.path("/here")).unwrap();
    let seen = |id: u32, base: u64| u64::from(id) - base;
    assert_eq!(
        (
            seen(top.uid(), a.base()),
            seen(top.gid(), a.base()),
            top.mode() & 0o7777
        ),
        (7, 8, 0o2750)
    );
    pod.enter(Some("a"), &["/rkt-probe", "write", "/here/x", "kept"])
        .ok();
    assert_eq!(
        pod.enter(Some("b"), &["/rkt-probe", "cat", "/there/x"])
            .ok(),
        "kept"
    );
    pod.enter(Some("b"), &["/rkt-probe", "write", "/there/x", "x"])
        .ends_with(1)
        .says("EROFS");
    let file = |process: &rkt_tests::eyes::Process, path: &str| {
        let meta = fs::metadata(process.path(path)).unwrap();
        (meta.ino(), seen(meta.uid(), process.base()))
    };
    assert_eq!(file(&a, "/here/x"), file(&b, "/there/x"));
    for (process, path) in [(&a, "/here"), (&b, "/there")] {
        let mounts = process.mounts();
        let mount = mounts.iter().find(|m| m.path == path).unwrap();
        assert_eq!(mount.kind, "tmpfs");
        assert!(mount.has("nosuid") && mount.has("nodev"), "{mount:?}");
        assert!(mount.super_options.contains("size=1024k"), "{mount:?}");
    }
    // It lasts as long as the pod, and nothing of it is on the disk.
    rkt.rkt(&["app", "restart", &pod.uuid, "--app=a", "--force"])
        .ok();
    assert_eq!(
        pod.enter(Some("a"), &["/rkt-probe", "cat", "/here/x"]).ok(),
        "kept"
    );
    assert!(!pod.dir().join("volumes").exists());
    rkt.rkt(&["audit", &pod.uuid]).ok();
    let told = rkt.rkt(&["explain", &pod.uuid]).ok();
    assert!(told.contains("1048576 bytes in memory"), "{told}");
    pod.kill().ok();
}

#[test]
fn a_root_in_memory_is_the_image_and_goes_with_the_pod() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    let image = Image::with_probe(&[Entry::file("of-the-image", "here\n")]);
    let name = image.write(&rkt.file("layout")).reference();
    let pod = rkt.start(&[&name, "--name=a", "--root-size=1Mi", "--", "sleep"]);
    let enter = |words: &[&str]| {
        let mut all = vec!["/rkt-probe"];
        all.extend(words);
        pod.enter(None, &all)
    };
    assert_eq!(enter(&["cat", "/of-the-image"]).ok(), "here\n");
    enter(&["write", "/of-the-image", "changed"]).ok();
    enter(&["write", "/new", "mine"]).ok();
    let app = pod.app("a");
    let new = fs::metadata(app.path("/new")).unwrap();
    assert_eq!(u64::from(new.uid()), app.base());
    rkt.rkt(&["app", "restart", "--force", &pod.uuid]).ok();
    assert_eq!(enter(&["cat", "/of-the-image"]).ok(), "changed");
    assert!(!pod.dir().join("apps/a/upper").exists());
    rkt.rkt(&["audit", &pod.uuid]).ok();
    let told = rkt.rkt(&["explain", &pod.uuid]).ok();
    assert!(told.contains("1048576 bytes can be written"), "{told}");
    pod.kill().ok();
    pod.wait_for_end();
    // What is gone is not exported as if it had never been.
    let file = rkt.file("gone.aci").display().to_string();
    rkt.rkt(&["export", &pod.uuid, &file])
        .ends_with(254)
        .is_one_clear_error()
        .says("in memory");
    rkt.rkt(&["rm", &pod.uuid]).ok();
    rkt.leaves_nothing();
}

#[test]
fn a_size_that_cannot_be_is_refused() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    for (words, why) in [
        (
            &["--volume=v,kind=empty,size=0", PROBE][..],
            "at least 64Ki",
        ),
        (
            &["--volume=v,kind=host,source=/srv,size=1Mi", PROBE],
            "kind=empty",
        ),
        (&[PROBE, "--root-size=12"], "at least 64Ki"),
        (&[PROBE, "--root-size=much"], "needs a number"),
    ] {
        rkt.run(words).ends_with(254).is_one_clear_error().says(why);
    }
}

/// D11: what one app leaves in a volume for another, who is a user there and may become root by
/// the setuid programs of its own image.
#[test]
fn a_setuid_program_in_a_shared_volume_makes_nobody_root() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    let who = |text: &str| text.contains("euid=0 ");
    for volume in [
        "--volume=shared,kind=empty,mode=1777",
        "--volume=shared,kind=empty,mode=1777,size=64Mi",
    ] {
        let pod = rkt.start(&[
            volume,
            "--mount=volume=shared,target=/shared",
            PROBE,
            "--name=red",
            "--",
            "sleep",
            "---",
            PROBE,
            "--name=blue",
            "--user=1000",
            "--no-new-privs=false",
            "--",
            "sleep",
        ]);
        pod.enter(Some("red"), &["/rkt-probe", "plant", "/shared/su"])
            .ok();
        let (red, blue) = (pod.app("red"), pod.app("blue"));
        let meta = |p: &rkt_tests::eyes::Process| fs::metadata(p.path("/shared/su")).unwrap();
        assert_eq!(meta(&red).mode() & 0o7777, 0o4755);
        // Both know their own user 0 for its owner.
        assert_eq!(u64::from(meta(&red).uid()), red.base());
        assert_eq!(u64::from(meta(&blue).uid()), blue.base());
        let done = pod.enter(Some("blue"), &["/shared/su", "who"]).ok();
        assert!(done.contains("euid=3e8 "), "{done}");
        pod.enter(Some("blue"), &["/rkt-probe", "write", "/shared/su", "x"])
            .ends_with(1);
        pod.kill().ok();
        let probe = fs::read(rkt_tests::attack::probe()).unwrap();
        let own = Image::with_probe(&[Entry::file("su", probe).mode(0o4755)]);
        let layout = own.write(&rkt.file(&format!("own-{}", rkt_tests::rkt::unique())));
        let control = rkt.run(&[
            &layout.reference(),
            "--user=1000",
            "--no-new-privs=false",
            "--exec=/su",
            "--",
            "who",
        ]);
        record_held("D11.1", !who(&done), who(&control.ok()));
    }
}
