//! The verbs of `rkt image` and `rkt system`, one after the other.

use rkt_tests::command::tool;
use rkt_tests::layout::Image;
use rkt_tests::tar::Entry;
use rkt_tests::{Need, Rkt};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// A base, and a layer that changes it.
fn image() -> Image {
    let base = [
        Entry::dir("etc").mode(0o750).owner(1, 2),
        Entry::file("etc/conf", "base\n").mode(0o640),
        Entry::file("gone", "x"),
        Entry::link("link", "etc/conf"),
        Entry::file("tool", "#!x").mode(0o4755),
    ];
    let top = [
        Entry::file("etc/more", "more\n"),
        Entry::file(".wh.gone", ""),
    ];
    let mut image = Image::new(&[&base, &top]);
    image.config["history"] = json!([
        { "created": "2026-01-02T03:04:05Z", "created_by": "COPY base /", "comment": "one" },
        { "created_by": "ENV \u{1b}[2Jx=y", "empty_layer": true },
        { "created_by": "RUN change" },
    ]);
    image
}

fn fetched(rkt: &Rkt) -> (String, String) {
    let layout = image().write(&rkt.file("layout"));
    let name = layout.reference();
    let id = rkt.rkt(&["fetch", "--quiet", &name]).ok().trim().to_owned();
    (name, id)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

#[test]
fn extract_and_render_write_the_files_of_an_image() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let (name, _) = fetched(&rkt);
    for verb in ["extract", "render"] {
        let dir = rkt.file(verb);
        let word = dir.display().to_string();
        rkt.rkt(&["image", verb, &name, &word]).ok();
        let manifest: Value =
            serde_json::from_slice(&fs::read(dir.join("manifest")).unwrap()).unwrap();
        assert_eq!(manifest["name"], name.as_str());
        let root = dir.join("rootfs");
        assert_eq!(fs::read_to_string(root.join("link")).unwrap(), "base\n");
        assert_eq!(fs::read_to_string(root.join("etc/more")).unwrap(), "more\n");
        assert!(!root.join("gone").exists());
        let etc = fs::metadata(root.join("etc")).unwrap();
        assert_eq!((etc.mode() & 0o7777, etc.uid(), etc.gid()), (0o750, 1, 2));
        assert_eq!(
            fs::metadata(root.join("tool")).unwrap().mode() & 0o7777,
            0o4755
        );
        // What is there stays, unless it is to be replaced: then all of it goes.
        fs::write(dir.join("mine"), "mine").unwrap();
        rkt.rkt(&["image", verb, &name, &word])
            .ends_with(254)
            .is_one_clear_error()
            .says("output directory exists (try --overwrite)");
        assert!(dir.join("mine").exists());
        let done = rkt.rkt(&[
            "image",
            verb,
            "--overwrite",
            "--rootfs-only",
            "--format=json",
            &name,
            &word,
        ]);
        assert_eq!(done.json()["rootfs"], word.as_str());
        assert!(!dir.join("mine").exists() && !dir.join("manifest").exists());
        assert!(dir.join("etc/more").exists());
        // Nothing hidden is left beside.
        let left: Vec<_> = fs::read_dir(rkt.file(""))
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert!(
            left.iter().all(|n| !n.to_string_lossy().starts_with('.')),
            "{left:?}"
        );
    }
}

#[test]
fn extract_refuses_what_would_destroy() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let (name, _) = fetched(&rkt);
    let data = rkt.data().display().to_string();
    let top = rkt.top.display().to_string();
    let inside = format!("{data}/new");
    std::os::unix::fs::symlink("/", rkt.file("root")).unwrap();
    let root = rkt.file("root").display().to_string();
    let dots = format!("{root}/etc/..");
    for (word, says) in [
        ("/", "this would delete your root filesystem. Refusing."),
        ("/..", "this would delete your root filesystem. Refusing."),
        (&root, "this would delete your root filesystem. Refusing."),
        (&dots, "this would delete your root filesystem. Refusing."),
        (&data, "rkt's own data"),
        (&top, "rkt's own data"),
        (&inside, "rkt's own data"),
    ] {
        for words in [
            vec!["image", "extract", "--overwrite", &name, word],
            vec![
                "image",
                "render",
                "--overwrite",
                "--rootfs-only",
                &name,
                word,
            ],
        ] {
            rkt.rkt(&words)
                .ends_with(254)
                .is_one_clear_error()
                .says(says);
        }
    }
    let link = rkt.file("link");
    fs::create_dir(rkt.file("real")).unwrap();
    std::os::unix::fs::symlink("real", &link).unwrap();
    rkt.rkt(&[
        "image",
        "extract",
        "--overwrite",
        &name,
        &link.display().to_string(),
    ])
    .ends_with(254)
    .is_one_clear_error()
    .says("is a symlink");
    rkt.rkt(&["image", "list", "-q"]).ok();
}

#[test]
fn what_is_exported_is_the_same_image_elsewhere() {
    let Some(rkt) = Rkt::needs(&[Need::Tool("skopeo")]) else {
        return;
    };
    let (name, id) = fetched(&rkt);
    rkt.rkt(&["image", "tag", &name, "example.com/team/app:1.2"])
        .ok();
    for (format, scheme) in [("oci", "oci-archive"), ("docker", "docker-archive")] {
        let option = format!("--format={format}");
        let file = rkt.file(&format!("{format}.tar"));
        let word = file.display().to_string();
        rkt.rkt(&["image", "export", &option, &name, &word]).ok();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o111, 0);
        // To stdout it is the same, and again.
        let mut command = rkt.command(&["image", "export", &option, &name, "-"]);
        let out = command.output().unwrap();
        assert!(out.stdout == fs::read(&file).unwrap(), "{format}");
        // Another engine reads it: all of its digests fit, and the configuration is the same.
        let source = format!("{scheme}:{word}");
        let copy = rkt.file(&format!("{format}-copy"));
        tool(
            "skopeo",
            &[
                "copy",
                "--quiet",
                &source,
                &format!("dir:{}", copy.display()),
            ],
        );
        let manifest: Value =
            serde_json::from_slice(&fs::read(copy.join("manifest.json")).unwrap()).unwrap();
        assert_eq!(manifest["config"]["digest"], id.as_str(), "{format}");
        assert_eq!(manifest["layers"].as_array().unwrap().len(), 2);
        let tagged = tool(
            "tar",
            &[
                "-xOf",
                &word,
                if format == "oci" {
                    "index.json"
                } else {
                    "manifest.json"
                },
            ],
        );
        assert!(tagged.contains("example.com/team/app:1.2"), "{tagged}");
        // rkt itself reads it, as the same image.
        let mut command = rkt.inside(rkt_tests::need::binary().unwrap());
        let data = rkt.file(&format!("{format}-data"));
        command
            .arg(format!("--dir={}", data.display()))
            .args(["fetch", "--quiet", &source]);
        let again = rkt_tests::command::run(command, None).ok();
        assert_eq!(again.trim(), id);
        rkt.rkt(&["image", "export", &option, &name, &word])
            .ends_with(254)
            .is_one_clear_error()
            .says("exists (try --overwrite)");
        rkt.rkt(&["image", "export", "--overwrite", &option, &name, &word])
            .ok();
    }
    // Damage does not get out.
    let tar = fs::read_dir(rkt.data().join("layers/sha256"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let tar = tar.path().join("tar");
    let mut bytes = fs::read(&tar).unwrap();
    bytes[600] ^= 1;
    fs::write(&tar, bytes).unwrap();
    let file = rkt.file("damaged.tar").display().to_string();
    rkt.rkt(&["image", "export", &name, &file])
        .ends_with(254)
        .is_one_clear_error()
        .says("digest");
    assert!(!rkt.file("damaged.tar").exists());
}

#[test]
fn images_have_names_and_a_history() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let (name, id) = fetched(&rkt);
    rkt.rkt(&["tag", &name, "example.com/a:1", "b"]).ok();
    let listed = &lines(&rkt.rkt(&["image", "list", "--format=json"]).ok())[0];
    let names: Vec<&str> = listed["names"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n.as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "docker://docker.io/library/b:latest",
            "docker://example.com/a:1",
            &name
        ]
    );
    assert_eq!(
        rkt.rkt(&["fetch", "--quiet", "--pull-policy=never", "example.com/a:1"])
            .ok()
            .trim(),
        id
    );
    for bad in ["oci:/x", "sha256:aabb", &format!("a@{id}")] {
        rkt.rkt(&["image", "tag", &name, bad])
            .ends_with(254)
            .is_one_clear_error();
    }
    rkt.rkt(&["image", "tag", "nosuch", "c"])
        .ends_with(254)
        .is_one_clear_error();
    // A name of several goes alone; the last takes the image with it.
    assert!(rkt.rkt(&["image", "rm", "b"]).ok().contains("removed name"));
    rkt.rkt(&["image", "rm", "example.com/a:1"]).ok();
    let done = rkt
        .rkt(&["image", "rm", "nosuch", &name, "b"])
        .ends_with(254);
    assert!(done.out.contains("successfully removed image"), "{done}");
    done.says("1 image(s) successfully removed")
        .says("2 image(s) cannot be removed");
    rkt.rkt(&["fetch", "--quiet", &name]).ok();

    let history = rkt.rkt(&["history", &name]);
    let text = history.ok();
    let rows: Vec<&str> = text.lines().collect();
    assert!(rows[0].starts_with("LAYER") && rows.len() == 4, "{text}");
    assert!(
        rows[1].contains("RUN change") && rows[3].contains("COPY base /"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "{text:?}");
    let steps = lines(&rkt.rkt(&["image", "history", "--format=json", &name]).ok());
    assert_eq!(steps[1]["empty_layer"], true);
    assert_eq!(
        (&steps[1]["layer"], &steps[2]["comment"]),
        (&Value::Null, &json!("one"))
    );
    assert!(steps[2]["size"].as_u64().unwrap() > 1000 && steps[2]["layer"].is_string());
}

#[test]
fn lists_have_the_originals_columns_and_order() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let small = Image::new(&[&[Entry::file("a", "a")]]).write(&rkt.file("small"));
    let large = Image::new(&[&[Entry::file("b", vec![1; 100_000])]]).write(&rkt.file("large"));
    for layout in [&large, &small] {
        rkt.rkt(&["fetch", "--quiet", &layout.reference()]).ok();
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
    let text = rkt.rkt(&["image", "list"]).ok();
    let head: Vec<&str> = text
        .lines()
        .next()
        .unwrap()
        .split('\t')
        .filter(|w| !w.is_empty())
        .collect();
    assert_eq!(head, ["ID", "NAME", "SIZE", "IMPORT TIME", "LAST USED"]);
    let names = |words: &[&str]| -> Vec<String> {
        let mut all = vec!["image", "list", "--no-legend", "--fields=name"];
        all.extend(words);
        rkt.rkt(&all)
            .ok()
            .lines()
            .map(|l| l.trim().to_owned())
            .collect()
    };
    let (s, l) = (small.reference(), large.reference());
    assert_eq!(names(&[]), [l.as_str(), &s], "by time of import");
    assert_eq!(names(&["--order=desc"]), [s.as_str(), &l]);
    assert_eq!(names(&["--sort=size"]), [s.as_str(), &l]);
    assert_eq!(names(&["--sort=lastused"]), [l.as_str(), &s]);
    // To be used is to be fetched or run.
    rkt.rkt(&["fetch", "--quiet", "--pull-policy=new", &l]).ok();
    assert_eq!(names(&["--sort=lastused"]), [s.as_str(), &l]);
    let text = rkt
        .rkt(&["image", "list", "--fields=size,id", "--full", "--no-legend"])
        .ok();
    let first: Vec<&str> = text.lines().next().unwrap().split_whitespace().collect();
    assert!(
        first[0].parse::<u64>().is_ok() && first[1].starts_with("sha256:"),
        "{text}"
    );
    rkt.rkt(&["image", "list", "--fields=color"])
        .ends_with(254)
        .is_one_clear_error();
}

#[test]
fn gc_takes_what_nobody_used_for_long_and_says_so() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let probe = Image::with_probe(&[]).write(&rkt.file("probe"));
    let pinned = Image::new(&[&[Entry::file("p", "p")]]).write(&rkt.file("pinned"));
    let old = Image::new(&[&[Entry::file("o", vec![3; 1 << 20])]]).write(&rkt.file("old"));
    for layout in [&probe, &pinned, &old] {
        rkt.rkt(&["fetch", "--quiet", &layout.reference()]).ok();
    }
    rkt.rkt(&["image", "pin", &pinned.reference()]).ok();
    let pod = rkt.start(&[&probe.reference(), "--name=a", "--", "sleep"]);
    let gc = |words: &[&str]| -> Value {
        let mut all = vec!["image", "gc", "--format=json"];
        all.extend(words);
        rkt.rkt(&all).json()
    };
    // Nothing is older than the usual day.
    let report = gc(&[]);
    assert_eq!(
        (&report["images"], &report["layers"]),
        (&json!([]), &json!(0))
    );
    let would = gc(&["--grace-period=0s", "--dry-run"]);
    assert_eq!(would["images"][0]["names"][0], old.reference());
    assert_eq!(rkt.rkt(&["image", "list", "-q"]).ok().lines().count(), 3);
    let report = gc(&["--grace-period=0s"]);
    assert_eq!(report["images"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(
        (&report["layers"], &report["chains"]),
        (&json!(1), &json!(1))
    );
    assert!(report["bytes"].as_u64().unwrap() >= 1 << 20, "{report}");
    assert_eq!(
        would["bytes"], report["bytes"],
        "what it would give back is what it gave back"
    );
    rkt.rkt(&["image", "verify"]).ok();
    assert_eq!(pod.enter(None, &["/rkt-probe", "exit", "7"]).status, 7);
    // An image that was removed under a pod: its layers stay until the pod is gone.
    rkt.rkt(&["image", "rm", &probe.reference()]).ok();
    assert_eq!(gc(&["--grace-period=0s"])["layers"], 0);
    pod.stop().ok();
    rkt.rkt(&["rm", &pod.uuid]).ok();
    assert_eq!(gc(&["--grace-period=0s"])["layers"], 1);
    rkt.rkt(&["image", "unpin", &pinned.reference()]).ok();
    let text = rkt.rkt(&["image", "gc", "--grace-period=0s"]).ok();
    assert!(
        text.contains(&format!("removed image \"{}\"", pinned.reference())),
        "{text}"
    );
    for place in [
        "blobs/sha256",
        "layers/sha256",
        "chains/sha256",
        "images",
        "refs",
        "pins",
        "forgotten",
        "tmp",
    ] {
        let left: Vec<_> = fs::read_dir(rkt.data().join(place)).unwrap().collect();
        assert!(left.is_empty(), "{place}: {left:?}");
    }
}

#[test]
fn system_df_weighs_everything() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let none = rkt.rkt(&["system", "df", "--format=json"]).json();
    assert_eq!(
        (&none["tars"]["count"], &none["mounted"]),
        (&json!(0), &json!([]))
    );
    let used = Image::with_probe(&[]).write(&rkt.file("used"));
    let gone = Image::new(&[&[Entry::file("x", vec![1; 1 << 20])]]).write(&rkt.file("gone"));
    for layout in [&used, &gone] {
        rkt.rkt(&["fetch", "--quiet", &layout.reference()]).ok();
    }
    rkt.rkt(&["image", "rm", &gone.reference()]).ok();
    let pod = rkt.start(&[&used.reference(), "--name=web", "--", "sleep"]);
    let df = rkt.rkt(&["system", "df", "--format=json"]).json();
    for part in ["images", "blobs", "tars", "indexes", "pods"] {
        assert!(df[part]["size"].as_u64().unwrap() > 0, "{part}: {df}");
    }
    assert_eq!(
        (&df["tars"]["count"], &df["pods"]["count"]),
        (&json!(2), &json!(1))
    );
    let unused = df["tars"]["reclaimable"].as_u64().unwrap();
    assert!((1 << 20..2 << 20).contains(&unused), "{df}");
    let mounted = df["mounted"].as_array().unwrap();
    assert_eq!(mounted.len(), 1, "{df}");
    assert_eq!(mounted[0]["pods"], json!([pod.uuid]));
    assert_eq!(mounted[0]["images"], json!([used.reference()]));
    let text = rkt.rkt(&["system", "df"]).ok();
    assert!(
        text.starts_with("TYPE") && text.contains("MOUNTED LAYER") && text.contains(&pod.uuid[..8]),
        "{text}"
    );
    // What it says can be given back is what gc gives back.
    let sum: u64 = ["blobs", "tars", "indexes", "trees", "unfinished"]
        .iter()
        .map(|part| df[part]["reclaimable"].as_u64().unwrap())
        .sum();
    let freed = rkt.rkt(&["image", "gc", "--format=json"]).json()["bytes"]
        .as_u64()
        .unwrap();
    assert!(sum.abs_diff(freed) <= 32 << 10, "{sum} and {freed}");
}

#[test]
fn manifests_of_images_are_printed() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let (name, id) = fetched(&rkt);
    let value = rkt
        .rkt(&["image", "cat-manifest", "--format=json", &name])
        .json();
    assert_eq!(value["id"], id.as_str());
    assert_eq!(value["config"]["entrypoint"], json!(["/rkt-probe"]));
    assert!(
        rkt.rkt(&["image", "cat-manifest", &name])
            .ok()
            .lines()
            .count()
            > 10
    );
    assert_eq!(
        rkt.rkt(&["image", "cat-manifest", "--pretty-print=false", &name])
            .ok()
            .lines()
            .count(),
        1
    );
    let raw = rkt.rkt(&["image", "cat-manifest", "--raw", &name]).ok();
    assert_eq!(rkt_tests::layout::digest(raw.as_bytes()), id);
    rkt.rkt(&["image", "cat-manifest", "nosuch"])
        .ends_with(254)
        .is_one_clear_error();
}
