//! App Container Images that rkt makes: of an app that has ended, and of images of other kinds.

use rkt_tests::command::tool;
use rkt_tests::layout::Image;
use rkt_tests::tar::Entry;
use rkt_tests::{Need, Rkt};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// busybox, and what an app may change: two layers, and a file of this group.
fn image(group: u64) -> Image {
    let busybox = fs::read("/bin/busybox").unwrap();
    let long = format!("data/{}", "long".repeat(40));
    let base = [
        Entry::dir("bin"),
        Entry::file("bin/busybox", busybox).mode(0o755),
        Entry::link("bin/sh", "busybox"),
        Entry::dir("etc").mode(0o751),
        Entry::file("etc/conf", "base\n").mode(0o640).owner(11, 12),
        Entry::file("gone", "x"),
        Entry::dir("data").mode(0o1770).owner(7, 8),
    ];
    let top = [
        Entry::file("data/kept", "kept\n")
            .mode(0o4755)
            .owner(7, group),
        Entry::hard("data/again", "data/kept"),
        Entry::file(&long, "long\n").pax("mtime", "-1.5"),
        Entry::link("data/far", "/".repeat(150)),
        Entry::file("data/marked", "m").pax("SCHILY.xattr.user.mark", b"a\0b"),
        Entry::file("etc/.wh.nothing", ""),
    ];
    Image::new(&[&base, &top])
        .set("Entrypoint", serde_json::json!([]))
        .set("Cmd", serde_json::json!(["sh", "-c", "cat /etc/conf"]))
        .set("Env", serde_json::json!(["PATH=/bin", "COLOR=red"]))
        .set("User", serde_json::json!("7:8"))
        .set("ExposedPorts", serde_json::json!({ "80/tcp": {} }))
}

const NEEDS: [Need; 2] = [Need::Tool("busybox"), Need::Tool("getfattr")];

/// Everything that can be told of the files below a directory.
fn told(dir: &Path) -> String {
    let dir = dir.display().to_string();
    let script = "cd \"$1\" && find . -printf '%P %y %m %U %G %s %l %T@\\n' | sort && \
        find . -type f | sort | xargs -d '\\n' sha256sum && getfattr -Rhdm - . | sort";
    tool("sh", &["-c", script, "sh", &dir])
}

fn render(rkt: &Rkt, image: &str, to: &str) -> std::path::PathBuf {
    let dir = rkt.file(to);
    let words = [
        "image",
        "render",
        "--rootfs-only",
        image,
        dir.to_str().unwrap(),
    ];
    rkt.rkt(&words).ok();
    dir
}

fn manifest(rkt: &Rkt, image: &str) -> Value {
    rkt.rkt(&["image", "cat-manifest", image]).json()
}

/// What a list of `name` and `value` says.
fn value<'a>(list: &'a Value, name: &str) -> Option<&'a str> {
    let list = list.as_array().unwrap();
    let pair = list.iter().find(|pair| pair["name"] == name)?;
    pair["value"].as_str()
}

#[test]
fn an_app_that_has_ended_becomes_an_image_with_what_it_wrote() {
    let Some(rkt) = Rkt::needs(&NEEDS) else {
        return;
    };
    let layout = image(9).write(&rkt.file("layout"));
    let script = "echo changed >> /etc/conf; rm /gone; mkdir /new; echo own > /new/file; \
        chown 33:44 /new/file; chmod 4710 /new/file; ln /new/file /new/second; ln -s file /new/link; \
        mkfifo /new/pipe; rm -r /data; mkdir /data; echo only > /data/one; exit 3";
    let uuid = rkt.file("uuid");
    rkt.rkt(&[
        "run",
        "--quiet",
        "--net=none",
        &format!("--uuid-file-save={}", uuid.display()),
        &layout.reference(),
        "--user=0",
        "--environment=COLOR=blue",
        "--memory=64M",
        "--pids=50",
        "--",
        "sh",
        "-c",
        script,
    ])
    .ends_with(3);
    let uuid = fs::read_to_string(uuid).unwrap();
    let uuid = uuid.trim();
    let file = rkt.file("out.aci").display().to_string();
    let told = rkt.rkt(&["export", "--format=json", uuid, &file]);
    // A limit of tasks is no word of images.
    let told = told.says("resource/pids").json();
    assert_eq!(told["file"], file.as_str());
    assert_eq!(told["size"].as_u64().unwrap() % 512, 0);
    // The same again is the same, and nothing is written over unasked.
    rkt.rkt(&["export", uuid, &file])
        .ends_with(254)
        .is_one_clear_error()
        .says("exists (try --overwrite)");
    let first = fs::read(&file).unwrap();
    rkt.rkt(&["export", "--overwrite", uuid, &file]).ok();
    assert!(first == fs::read(&file).unwrap(), "other bytes");

    rkt.rkt(&["fetch", "--insecure-options=image", &file]).ok();
    let root = render(&rkt, &file, "files");
    assert_eq!(
        fs::read_to_string(root.join("etc/conf")).unwrap(),
        "base\nchanged\n"
    );
    assert!(!root.join("gone").exists());
    let own = fs::metadata(root.join("new/file")).unwrap();
    let facts = (own.uid(), own.gid(), own.mode() & 0o7777, own.nlink());
    assert_eq!(facts, (33, 44, 0o4710, 2));
    let second = fs::metadata(root.join("new/second")).unwrap();
    assert_eq!(own.ino(), second.ino());
    assert_eq!(
        fs::read_link(root.join("new/link")).unwrap(),
        Path::new("file")
    );
    let pipe = fs::metadata(root.join("new/pipe")).unwrap();
    assert!(pipe.file_type().is_fifo());
    // A directory that was made anew hides what was there before.
    let data: Vec<_> = fs::read_dir(root.join("data")).unwrap().collect();
    assert_eq!(data.len(), 1);
    // What the app did not touch is the image's still.
    let conf = fs::metadata(root.join("etc/conf")).unwrap();
    assert_eq!(
        (conf.uid(), conf.gid(), conf.mode() & 0o7777),
        (11, 12, 0o640)
    );

    let manifest = manifest(&rkt, &file);
    let app = &manifest["app"];
    assert_eq!(app["exec"][0], "sh");
    assert_eq!((&app["user"], &app["group"]), (&"0".into(), &"0".into()));
    assert_eq!(value(&app["environment"], "COLOR"), Some("blue"));
    assert_eq!(value(&app["environment"], "AC_APP_NAME"), None);
    assert_eq!(value(&manifest["labels"], "arch"), Some("amd64"));
    let isolators = app["isolators"].as_array().unwrap();
    assert!(isolators.iter().any(|i| i["name"] == "resource/memory"));
    // And it runs; words after `--` come after what it runs by itself.
    let words = [
        "--insecure-options=image",
        &file,
        "--exec=sh",
        "--",
        "-c",
        "cat /etc/conf; id -u",
    ];
    assert_eq!(rkt.run(&words).ok(), "base\nchanged\n0\n");
}

#[test]
fn only_one_app_that_has_ended_is_exported() {
    let Some(rkt) = Rkt::needs(&NEEDS) else {
        return;
    };
    let layout = image(9).write(&rkt.file("layout"));
    let name = layout.reference();
    let pod = rkt.start(&[
        &name,
        "--name=one",
        "--",
        "sh",
        "-c",
        "echo 1 >/tmp1; sleep 1000",
        "---",
        &name,
        "--name=two",
        "--",
        "sh",
        "-c",
        "sleep 1000",
    ]);
    let uuid = pod.dir().file_name().unwrap().to_str().unwrap().to_owned();
    let file = rkt.file("out.aci").display().to_string();
    let refused = |words: &[&str], why: &str| {
        let words = [&["export"], words].concat();
        rkt.rkt(&words)
            .ends_with(254)
            .is_one_clear_error()
            .says(why);
        assert!(!Path::new(&file).exists());
    };
    refused(&["--app=one", &uuid, &file], "is running");
    refused(&[&uuid, "out.tar"], "must end in `.aci`");
    refused(&["nobody", &file], "nobody");
    pod.kill().ok();
    refused(&[&uuid, &file], "several apps");
    refused(&["--app=three", &uuid, &file], "`one`, `two`");
    rkt.rkt(&["export", "--app=two", &uuid, &file]).ok();
    // Nothing half-written beside it.
    let dir = Path::new(&file).parent().unwrap();
    let hidden = fs::read_dir(dir).unwrap().flatten();
    assert_eq!(
        hidden
            .filter(|e| e.file_name().to_string_lossy().starts_with('.'))
            .count(),
        0
    );
}

#[test]
fn an_image_of_another_kind_goes_out_as_an_aci() {
    let Some(rkt) = Rkt::needs(&NEEDS) else {
        return;
    };
    // More than a header has room for.
    let layout = image(3_000_000).write(&rkt.file("layout"));
    let name = layout.reference();
    rkt.rkt(&["fetch", "--quiet", &name]).ok();
    let file = rkt.file("out.aci").display().to_string();
    rkt.rkt(&["image", "export", "--format=aci", &name, &file])
        .ok();
    rkt.rkt(&["fetch", "--insecure-options=image", &file]).ok();
    let (before, after) = (render(&rkt, &name, "before"), render(&rkt, &file, "after"));
    assert_eq!(told(&before), told(&after));
    let again = fs::metadata(after.join("data/again")).unwrap();
    assert_eq!(
        again.ino(),
        fs::metadata(after.join("data/kept")).unwrap().ino()
    );
    let manifest = manifest(&rkt, &file);
    let app = &manifest["app"];
    assert_eq!(
        app["exec"],
        serde_json::json!(["sh", "-c", "cat /etc/conf"])
    );
    assert_eq!((&app["user"], &app["group"]), (&"7".into(), &"8".into()));
    assert_eq!(value(&app["environment"], "COLOR"), Some("red"));
    assert_eq!(app["ports"][0]["name"], "80-tcp");
    let words = ["--insecure-options=image", &file, "--user=0"];
    assert_eq!(rkt.run(&words).ok(), "base\n");
    // Damage does not get out.
    let layers = fs::read_dir(rkt.data().join("layers/sha256")).unwrap();
    for layer in layers.flatten() {
        let tar = layer.path().join("tar");
        tool("chattr", &["-i", tar.to_str().unwrap()]);
        let mut bytes = fs::read(&tar).unwrap();
        bytes[600] ^= 1;
        fs::remove_file(&tar).unwrap();
        fs::write(&tar, bytes).unwrap();
    }
    rkt.rkt(&[
        "image",
        "export",
        "--format=aci",
        "--overwrite",
        &name,
        &file,
    ])
    .ends_with(254)
    .is_one_clear_error();
}
