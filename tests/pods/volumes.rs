//! Volumes: whose files they are, and what stays read-only.

use rkt_tests::Rkt;
use std::fs;
use std::os::unix::fs::MetadataExt;

const PROBE: &str = "builtin:probe";

#[test]
fn a_host_directory_is_shared_both_ways() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let dir = rkt.open_dir("shared");
    fs::write(dir.join("in"), "from the host\n").unwrap();
    let volume = format!("-v{}:/data", dir.display());
    assert_eq!(
        rkt.run(&[&volume, PROBE, "--", "cat", "/data/in"]).ok(),
        "from the host\n"
    );
    rkt.run(&[&volume, PROBE, "--", "write", "/data/out", "from the pod"])
        .ok();
    assert_eq!(fs::read_to_string(dir.join("out")).unwrap(), "from the pod");
    rkt.leaves_nothing();
}

#[test]
fn the_owner_of_a_host_directory_appears_as_the_apps_user() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let dir = rkt.open_dir("owned");
    std::os::unix::fs::chown(&dir, Some(4321), Some(4321)).unwrap();
    let volume = format!("-v{}:/data", dir.display());
    rkt.run(&[&volume, PROBE, "--user=7", "--", "write", "/data/file", "x"])
        .ok();
    let meta = fs::metadata(dir.join("file")).unwrap();
    assert_eq!((meta.uid(), meta.mode() & 0o7777), (4321, 0o644));
}

#[test]
fn a_read_only_volume_is_read_only_with_everything_below_it() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let dir = rkt.open_dir("ro");
    fs::create_dir(dir.join("below")).unwrap();
    // A file system mounted below the source, in rkt's mount namespace only.
    let below = dir.join("below").display().to_string();
    let mut mount = rkt.inside("mount");
    mount.args(["-t", "tmpfs", "-o", "mode=777", "none", &below]);
    rkt_tests::command::run(mount, None).ok();
    for flag in [
        format!("-v{}:/data:ro", dir.display()),
        format!(
            "--volume=data,kind=host,source={},readOnly=true",
            dir.display()
        ),
    ] {
        for file in ["/data/x", "/data/below/x"] {
            let mut words = vec![flag.as_str(), PROBE];
            if flag.starts_with("--volume") {
                words.push("--mount=volume=data,target=/data");
            }
            words.extend(["--", "write", file, "x"]);
            rkt.run(&words).ends_with(1).says("EROFS");
        }
    }
    assert!(!dir.join("x").exists());
}

#[test]
fn an_empty_volume_is_shared_by_the_apps_that_mount_it() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[
        "--volume=shared,kind=empty,mode=1777",
        PROBE,
        "--name=a",
        "--mount=volume=shared,target=/here",
        "--",
        "sleep",
        "---",
        PROBE,
        "--name=b",
        "--mount=volume=shared,target=/there",
        "--",
        "sleep",
        "---",
        PROBE,
        "--name=c",
        "--",
        "sleep",
    ]);
    pod.enter(Some("a"), &["/rkt-probe", "write", "/here/x", "hello"])
        .ok();
    assert_eq!(
        pod.enter(Some("b"), &["/rkt-probe", "cat", "/there/x"])
            .ok(),
        "hello"
    );
    pod.enter(Some("c"), &["/rkt-probe", "list", "/here"])
        .ends_with(1);
    // Both see user 0 as the owner: the volume has ids of its own.
    let mine = pod.app("a").path("/here/x");
    let same = pod.app("b").path("/there/x");
    assert_eq!(
        fs::metadata(&mine).unwrap().ino(),
        fs::metadata(&same).unwrap().ino()
    );
}

#[test]
fn mounts_of_volumes_allow_neither_setuid_nor_devices() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let dir = rkt.open_dir("v");
    let volume = format!("-v{}:/data", dir.display());
    let pod = rkt.start(&[&volume, PROBE, "--name=a", "--", "sleep"]);
    let mounts = pod.app("a").mounts();
    let data = mounts
        .iter()
        .find(|m| m.path == "/data")
        .expect("the volume is mounted");
    assert!(data.has("nosuid") && data.has("nodev"), "{data:?}");
    assert!(
        data.propagation.iter().all(|p| !p.starts_with("shared")),
        "{data:?}"
    );
}

#[test]
fn a_read_only_root_leaves_volumes_as_they_are() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let dir = rkt.open_dir("rw");
    let volume = format!("-v{}:/data", dir.display());
    rkt.run(&[
        &volume,
        PROBE,
        "--readonly-rootfs",
        "--",
        "write",
        "/x",
        "x",
    ])
    .ends_with(1)
    .says("EROFS");
    rkt.run(&[
        &volume,
        PROBE,
        "--readonly-rootfs",
        "--",
        "write",
        "/data/x",
        "x",
    ])
    .ok();
    rkt.run(&[
        &volume,
        PROBE,
        "--readonly-rootfs",
        "--",
        "write",
        "/dev/shm/x",
        "x",
    ])
    .ok();
    rkt.run(&[PROBE, "--", "write", "/x", "x"]).ok();
}

#[test]
fn what_an_app_writes_to_its_root_is_gone_with_it() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    rkt.run(&[PROBE, "--", "write", "/x", "x"]).ok();
    rkt.run(&[PROBE, "--", "cat", "/x"])
        .ends_with(1)
        .says("ENOENT");
}

#[test]
fn a_file_can_be_a_volume() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let file = rkt.file("one");
    fs::write(&file, "one file\n").unwrap();
    let volume = format!("-v{}:/etc/one:ro", file.display());
    assert_eq!(
        rkt.run(&[&volume, PROBE, "--", "cat", "/etc/one"]).ok(),
        "one file\n"
    );
}

#[test]
fn a_file_system_that_cannot_be_idmapped_is_named_with_the_ways_out() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let dir = rkt.open_dir("ramfs");
    // One that knows no idmapped mounts, in rkt's own mount namespace.
    let mut command = rkt.inside("mount");
    command.args(["-t", "ramfs", "none"]).arg(&dir);
    rkt_tests::command::run(command, None).ok();
    let mut command = rkt.inside("chown");
    command.arg("4321:4321").arg(&dir);
    rkt_tests::command::run(command, None).ok();
    let volume = |more: &str| format!("--volume=data,kind=host,source={}{more}", dir.display());
    let words = [
        "builtin:probe",
        "--mount=volume=data,target=/data",
        "--",
        "list",
        "/data",
    ];
    let start = |volume: &str| {
        let mut all = vec![volume];
        all.extend(words);
        rkt.run(&all)
    };
    let done = start(&volume(""));
    assert_eq!(done.status, 125, "{done}");
    for words in [
        "cannot be idmapped",
        dir.to_str().unwrap(),
        "`owner=host`",
        "copy the files",
    ] {
        assert!(done.err.contains(words), "no `{words}`: {done}");
    }
    rkt.leaves_nothing();
    // Both words for the way out.
    for way in [",owner=host", ",idmap=none"] {
        start(&volume(way)).ok();
    }
}
