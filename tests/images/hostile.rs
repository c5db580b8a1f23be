//! Images of enemies: refused or contained, in bounded time and on a bounded disk, and the error
//! names image, layer and entry. What crate store tests of its reader alone is in its own tests
//! (`layers.rs`, `rootfs.rs`, `bombs.rs`): here the real command meets it.

use rkt_tests::attack::record_held;
use rkt_tests::command::run_for;
use rkt_tests::eyes::all_pids;
use rkt_tests::layout::Image;
use rkt_tests::tar::{Entry, Kind, archive};
use rkt_tests::{Done, Rkt};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Longest that any of these may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Fetches an image of these layers.
fn fetch(rkt: &Rkt, layers: Vec<Vec<u8>>, words: &[&str]) -> (String, Done) {
    let mut image = Image::new(&[]);
    image.layers = layers;
    fetch_image(rkt, &image, words)
}

fn fetch_image(rkt: &Rkt, image: &Image, words: &[&str]) -> (String, Done) {
    let dir = rkt.file(&format!("layout-{}", rkt_tests::rkt::unique()));
    let name = image.write(&dir).reference();
    let mut all = vec!["fetch", "--quiet", &name];
    all.extend(words);
    let done = run_for(rkt.command(&all), None, PATIENCE);
    (name, done)
}

/// Bytes of disk below a directory.
fn weight(dir: &Path) -> u64 {
    let out = rkt_tests::command::tool("du", &["-sk", &dir.display().to_string()]);
    out.split_whitespace()
        .next()
        .unwrap()
        .parse::<u64>()
        .unwrap()
        << 10
}

/// Every name and its bytes or kind, below a directory that must not change.
fn picture(dir: &Path) -> BTreeMap<String, String> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            let meta = fs::symlink_metadata(entry.path()).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::mode(&meta.permissions());
            (
                entry.file_name().to_string_lossy().into_owned(),
                format!("{mode:o} {text}"),
            )
        })
        .collect()
}

/// Refused: one error that names image, layer and entry; nothing of it is left.
fn refused(rkt: &Rkt, what: &str, layers: Vec<Vec<u8>>, entry: &str) {
    let before = weight(&rkt.data());
    let id = rkt_tests::layout::digest(layers.last().unwrap());
    let (name, done) = fetch(rkt, layers, &[]);
    assert_eq!(done.status, 254, "{what}\n{done}");
    let done = done.is_one_clear_error().says(&name);
    assert!(
        done.err.contains(&id[7..19]),
        "{what}: no layer `{}`\n{done}",
        &id[7..19]
    );
    assert!(
        done.err.contains(entry),
        "{what}: no entry `{entry}`\n{done}"
    );
    assert!(
        !done.err.contains('\u{1b}') && done.err.lines().count() < 12,
        "{what}\n{done}"
    );
    assert_eq!(
        fs::read_dir(rkt.data().join("tmp")).unwrap().count(),
        0,
        "{what}"
    );
    assert!(weight(&rkt.data()) <= before + (1 << 20), "{what}");
}

#[test]
fn wrong_entries_are_refused_by_name() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    // The store has its directories from here on.
    fetch(&rkt, vec![archive(&[Entry::file("x", "x")])], &[])
        .1
        .ok();
    let long = "n".repeat(256);
    let deep = format!("{}end", "d/".repeat(1500));
    let acl = [2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255];
    let cases: Vec<(&str, Entry, &str)> = vec![
        ("G01 up", Entry::file("../../x", "x"), "../../x"),
        ("G01 up later", Entry::file("a/../../x", "x"), "a/../../x"),
        (
            "G01 pax path",
            Entry::file("x", "x").pax("path", "../../pax"),
            "../../pax",
        ),
        (
            "G03 link up",
            Entry::hard("link", "../../../etc/shadow"),
            "link",
        ),
        ("G03 link to itself", Entry::hard("self", "self"), "self"),
        (
            "G03 link to the root",
            Entry::hard("to-root", "/"),
            "to-root",
        ),
        (
            "G04 NUL",
            Entry::file("x", "x").pax("path", b"nul\0l"),
            "nul",
        ),
        ("G04 long", Entry::file(&long, "x"), &long[..100]),
        ("G04 the root", Entry::file(".", "x"), "entry `.`"),
        ("G04 link as root", Entry::link(".", "/"), "entry `.`"),
        (
            "G04 escapes",
            Entry::file("../\u{1b}[2J\nrkt: all is well", "x"),
            "\\u{1b}[2J\\nrkt",
        ),
        ("G05 nothing", Entry::file("a/.wh.", ""), ".wh."),
        ("G05 dot", Entry::file("a/.wh..", ""), ".wh.."),
        ("G05 dots", Entry::file(".wh...", ""), ".wh..."),
        ("G05 below", Entry::file(".wh.a/b", ""), ".wh.a/b"),
        (
            "8.4.8 hidden whiteout",
            Entry::new("c", Kind::Character),
            "entry `c`",
        ),
        ("8.4 socket", Entry::new("sock", Kind::Other(b's')), "sock"),
        (
            "8.6 uid",
            Entry::file("u", "").pax("uid", "4294967295"),
            "entry `u`",
        ),
        (
            "8.6 gid",
            Entry::file("g", "").pax("gid", "99999999999"),
            "entry `g`",
        ),
        (
            "8.6 sizes",
            Entry::file("s", "12345").pax("size", "4"),
            "entry `s`",
        ),
        (
            "G06 capability",
            Entry::file("cap", "").pax("SCHILY.xattr.security.capability", "abc"),
            "capability",
        ),
        (
            "G06 acl",
            Entry::file("acl", "").pax("SCHILY.xattr.system.posix_acl_access", acl),
            "posix_acl_access",
        ),
        ("G06 many", many_attributes(), "user."),
        (
            "G07 depth",
            Entry::file("x", "x").pax("path", &deep),
            "d/d/d/",
        ),
        ("G07 hole", hole(), "hole"),
    ];
    for (what, entry, words) in cases {
        refused(&rkt, what, vec![archive(&[Entry::dir("a"), entry])], words);
    }
    // On a layer below: what only the chain can know.
    let base = archive(&[
        Entry::dir("d"),
        Entry::file("f", "f"),
        Entry::link("s", "/nowhere"),
    ]);
    for (what, entry, words) in [
        (
            "link to a lower directory",
            Entry::hard("l", "d"),
            "entry `l`",
        ),
        (
            "link to nothing below",
            Entry::hard("l2", "nosuch"),
            "entry `l2`",
        ),
    ] {
        let top = archive(&[entry]);
        let id = rkt_tests::layout::digest(&top);
        let (name, done) = fetch(&rkt, vec![base.clone(), top], &[]);
        assert_eq!(done.status, 254, "{what}\n{done}");
        done.is_one_clear_error()
            .says(&name)
            .says(words)
            .says(&id[7..19]);
    }
    rkt.rkt(&["image", "gc", "--grace-period=0s"]).ok();
    rkt.rkt(&["image", "verify"]).ok();
}

fn many_attributes() -> Entry {
    (0..300).fold(Entry::file("many", ""), |e, n| {
        e.pax(&format!("SCHILY.xattr.user.{n}"), "v")
    })
}

/// Eight EiB and one block of data.
fn hole() -> Entry {
    let mut map = b"1\n4503599627370496\n512\n".to_vec();
    map.resize(1024, 0);
    Entry::file("hole", map)
        .pax("GNU.sparse.major", "1")
        .pax("GNU.sparse.minor", "0")
        .pax("GNU.sparse.realsize", "9223372036854775807")
}

#[test]
fn archives_that_are_none_are_refused() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    fetch(&rkt, vec![archive(&[Entry::file("x", "x")])], &[])
        .1
        .ok();
    let good = archive(&[Entry::file("file", vec![1; 3000])]);
    let mut bad_sum = good.clone();
    bad_sum[0] ^= 1;
    let mut claims = Entry::file("claims", "x");
    claims.claimed = Some(1 << 32);
    let mut negative = good.clone();
    negative[124..136].fill(0xff);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("noise", vec![0xa5; 70_000]),
        ("cut", good[..1500].to_vec()),
        ("sum", bad_sum),
        ("claims", archive(&[claims])),
        ("negative", negative),
        ("after the end", [good.clone(), vec![1; 512]].concat()),
    ];
    for (what, bytes) in cases {
        refused(&rkt, what, vec![bytes], "");
    }
}

/// Reaches for the host, through links of this and of lower layers: nothing outside changes, and
/// what the image has is what its own root shows.
#[test]
fn what_reaches_out_stays_inside() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let outside = rkt.open_dir("outside");
    fs::write(outside.join("victim"), "untouched").unwrap();
    let before = picture(&outside);
    let target = outside.display().to_string();
    let up = format!("{}{}", "../".repeat(30), &target[1..]);
    for to in [&target, &up] {
        let link = Entry::link("d", to);
        let writes = [
            Entry::file("d/pwn", "x"),
            Entry::dir("d/dir").mode(0o777),
            Entry::file("d/.wh.victim", ""),
            Entry::file("d/.wh..wh..opq", ""),
            Entry::link("d/link", "victim"),
            Entry::file("d/victim", "changed").mode(0o777),
        ];
        let mut one = vec![link.clone()];
        one.extend(writes.clone());
        for layers in [
            vec![archive(&one)],
            vec![archive(&[link]), archive(&writes)],
        ] {
            let (name, done) = fetch(&rkt, layers, &[]);
            done.ok();
            assert_eq!(picture(&outside), before);
            // The directory writer, which makes files of the host, too.
            let to = rkt.file(&format!("rendered-{}", rkt_tests::rkt::unique()));
            let word = to.display().to_string();
            rkt.rkt(&["image", "render", "--rootfs-only", &name, &word])
                .ok();
            assert_eq!(picture(&outside), before);
            let inside = to.join(&target[1..]);
            assert_eq!(
                fs::read_to_string(inside.join("victim")).unwrap(),
                "changed"
            );
            assert_eq!(fs::read_to_string(inside.join("pwn")).unwrap(), "x");
        }
    }
}

/// Attributes that the kernel would obey on the host's side, and names that are hard to print.
#[test]
fn attributes_and_names_are_cleaned() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let xattr = |e: Entry, name: &str, value: &[u8]| e.pax(&format!("SCHILY.xattr.{name}"), value);
    let base = [Entry::dir("secret"), Entry::file("secret/file", "lower")];
    let mut three = vec![1, 0, 0, 3];
    three.resize(20, 4);
    three.extend(1000u32.to_le_bytes());
    let mut file = Entry::file("file", "file");
    for (name, value) in [
        ("trusted.overlay.redirect", &b"/secret"[..]),
        ("trusted.overlay.metacopy", b""),
        ("trusted.overlay.opaque", b"y"),
        ("user.overlay.redirect", b"/secret"),
        ("user.overlay.metacopy", b""),
        ("security.selinux", b"system_u:object_r:shadow_t"),
        ("security.ima", b"x"),
        ("security.evm", b"x"),
        ("system.nfs4_acl", b"x"),
        ("user.kept", &[7; 60_000]),
    ] {
        file = xattr(file, name, value);
    }
    let mut dir = Entry::dir("dir");
    for name in [
        "trusted.overlay.redirect",
        "user.overlay.redirect",
        "trusted.overlay.opaque",
    ] {
        dir = xattr(dir, name, b"/secret");
    }
    let top = [
        file,
        dir,
        xattr(
            Entry::file("capable", "x").mode(0o755),
            "security.capability",
            &three,
        ),
        Entry::file("line\nbreak \u{1b}[2J", "odd"),
    ];
    let probe = Image::with_probe(&base);
    let mut image = Image::new(&[&top]);
    image.layers.insert(0, probe.layers[0].clone());
    let (name, done) = fetch_image(&rkt, &image, &[]);
    done.ok();
    let pod = rkt.start(&[&name, "--name=a", "--", "sleep"]);
    let app = pod.app("a");
    let names = |path: &str| -> Vec<String> {
        let mut list = vec![0; 4096];
        let n = rustix::fs::listxattr(app.path(path), &mut list[..]).unwrap();
        let names = list[..n].split(|b| *b == 0).filter(|n| !n.is_empty());
        names
            .map(|n| String::from_utf8_lossy(n).into_owned())
            .collect()
    };
    let (kept, of_dir) = (names("/file"), names("/dir"));
    let cleaned = |names: &[String]| names.iter().all(|n| n == "user.kept");
    record_held(
        "G06.1",
        cleaned(&kept) && cleaned(&of_dir),
        kept.contains(&"user.kept".to_owned()),
    );
    assert_eq!(names("/file"), ["user.kept"]);
    assert_eq!(names("/dir"), [] as [&str; 0]);
    assert_eq!(fs::read_to_string(app.path("/file")).unwrap(), "file");
    assert_eq!(
        fs::read_dir(app.path("/dir")).unwrap().count(),
        0,
        "no redirect"
    );
    assert_eq!(
        fs::read_to_string(app.path("/line\nbreak \u{1b}[2J")).unwrap(),
        "odd"
    );
    // A foreign root id is gone; what the file says is for the app's own root.
    let mut value = [0; 64];
    let n =
        rustix::fs::getxattr(app.path("/capable"), "security.capability", &mut value[..]).unwrap();
    let root_id = match n {
        20 => None,
        24 => Some(u32::from_le_bytes(value[20..24].try_into().unwrap())),
        _ => panic!("{n} bytes"),
    };
    assert!(root_id.is_none_or(|id| id != 1000), "{root_id:?}");
    pod.stop().ok();
}

/// What the reader of layers may have of memory at any time.
const MEMORY: u64 = 64 << 20;

/// The largest resident memory of the readers of a store, while `body` runs, in bytes.
fn memory<T>(rkt: &Rkt, body: impl FnOnce() -> T) -> (T, u64) {
    let data = rkt.data();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looks = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                for pid in all_pids() {
                    let of =
                        |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
                    // By its word, then by its files: other tests have readers too.
                    if !of("cmdline").ends_with(b"\0__layer\0") {
                        continue;
                    }
                    let files = fs::read_dir(format!("/proc/{pid}/fd"))
                        .into_iter()
                        .flatten();
                    let links = files.flatten().filter_map(|f| fs::read_link(f.path()).ok());
                    if !links.into_iter().any(|to| to.starts_with(&data)) {
                        continue;
                    }
                    let status = String::from_utf8_lossy(&of("status")).into_owned();
                    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
                    let kib = line.and_then(|l| l.trim().strip_suffix(" kB")?.parse::<u64>().ok());
                    most = most.max(kib.unwrap_or(0) << 10);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            most
        });
        let result = body();
        done.store(true, Ordering::Relaxed);
        (result, looks.join().unwrap())
    })
}

/// Bombs of every kind, through the whole command.
#[test]
fn bombs_are_refused_in_time_and_leave_nothing() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    fetch(&rkt, vec![archive(&[Entry::file("x", "x")])], &[])
        .1
        .ok();
    let before = weight(&rkt.data());
    let zeros = vec![Entry::file("zeros", vec![0; 300 << 20])];
    let many: Vec<Entry> = (0..250_000)
        .map(|n| Entry::file(format!("{n:0>200}"), ""))
        .collect();
    let pax: Vec<Entry> = (0..600)
        .map(|n| Entry::file(format!("{n}"), "").pax("comment", vec![b'c'; 1 << 19]))
        .collect();
    // Forty links of sixteen hundred steps each, and files behind all of them.
    let turns = "a/../".repeat(800);
    let mut entangled = vec![Entry::dir("a")];
    for n in 0..40 {
        let next = match n {
            39 => "a".to_owned(),
            n => format!("l{}", n + 1),
        };
        entangled.push(Entry::link(format!("l{n}"), format!("{turns}{next}")));
    }
    entangled.extend((0..40_000).map(|n| Entry::file(format!("l0/{n}"), "")));
    for (what, entries, option, words) in [
        (
            "entangled links",
            entangled,
            "--layer-limits=",
            "the paths of the layer take too many steps",
        ),
        (
            "ratio",
            zeros,
            "--layer-limits=ratio=20",
            "--layer-limits=ratio=N",
        ),
        (
            "names",
            many,
            "--layer-limits=",
            "--layer-limits=metadata=SIZE",
        ),
        (
            "extended headers",
            pax,
            "--layer-limits=",
            "extended headers of the layer are too large",
        ),
    ] {
        let tar = archive(&entries);
        drop(entries);
        let ((_, done), most) = memory(&rkt, || fetch(&rkt, vec![tar], &[option]));
        assert!((1..=MEMORY).contains(&most), "{what}: {most} bytes");
        assert_eq!(done.status, 254, "{what}\n{done}");
        done.is_one_clear_error().says(words);
        assert!(weight(&rkt.data()) <= before + (1 << 20), "{what}");
    }
    // A small one goes off where nothing bounds it.
    let zeros = || vec![archive(&[Entry::file("zeros", vec![0; 16 << 20])])];
    let walled = fetch(&rkt, zeros(), &["--layer-limits=bytes=8Mi"]).1;
    let open = fetch(&rkt, zeros(), &[]).1;
    record_held("G07.1", walled.status == 254, open.status == 0);
}

/// A byte, a size or an id that is not what was promised, in each document and in a layer.
#[test]
fn what_is_not_what_its_digest_says_is_refused() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let probe = || Image::with_probe(&[Entry::file("x", vec![7; 3000])]);
    let layout = || probe().write(&rkt.file(&format!("layout-{}", rkt_tests::rkt::unique())));
    let run = |name: &str| rkt.run(&[name, "--", "exit", "0"]);
    let digests = |layout: &rkt_tests::layout::Layout| {
        let manifest = layout.manifest();
        let of = |v: &serde_json::Value| v["digest"].as_str().unwrap().to_owned();
        [
            layout.manifest_digest(),
            of(&manifest["config"]),
            of(&manifest["layers"][0]),
        ]
    };
    let mut held = true;
    for which in 0..3 {
        for at in [3, 2] {
            let layout = layout();
            let path = layout.blob_path(&digests(&layout)[which]);
            let mut bytes = fs::read(&path).unwrap();
            let place = bytes.len() * (at - 1) / at;
            bytes[place] ^= 1;
            fs::write(&path, bytes).unwrap();
            let done = run(&layout.reference()).is_one_clear_error();
            held &= done.status == 125;
        }
    }
    // Whole, and longer or shorter than its descriptor says.
    for size in [-1, 1] {
        let mut layout = layout();
        let mut manifest = layout.manifest();
        let said = manifest["layers"][0]["size"].as_i64().unwrap();
        manifest["layers"][0]["size"] = (said + size).into();
        layout.tag(&manifest, "other");
        let name = format!("{}:other", layout.reference());
        held &= run(&name).is_one_clear_error().status == 125;
    }
    // What is in the blob is not the layer that the configuration names.
    let mut layout_of = layout();
    let mut config: serde_json::Value =
        serde_json::from_slice(&fs::read(layout_of.blob_path(&digests(&layout_of)[1])).unwrap())
            .unwrap();
    config["rootfs"]["diff_ids"][0] = rkt_tests::layout::digest(b"another").into();
    let mut manifest = layout_of.manifest();
    let kind = manifest["config"]["mediaType"].as_str().unwrap().to_owned();
    manifest["config"] = layout_of.blob(config.to_string().as_bytes(), &kind);
    layout_of.tag(&manifest, "other");
    let name = format!("{}:other", layout_of.reference());
    held &= run(&name).is_one_clear_error().status == 125;
    record_held("G08.1", held, run(&layout().reference()).status == 0);
    rkt.rkt(&["image", "gc", "--grace-period=0s"]).ok();
    rkt.rkt(&["image", "verify"]).ok();
}

/// Each limit holds where it is set, and `--layer-limits` moves it, for fetch and for run.
#[test]
fn limits_are_moved_by_their_words() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let deep = format!("{}end", "d/".repeat(40));
    let mut entries: Vec<Entry> = (0..100).map(|n| Entry::file(format!("f{n}"), "")).collect();
    entries.push(Entry::file(&deep, "deep"));
    entries.push(Entry::file("big", vec![1; 100_000]));
    let layers = || vec![archive(&entries)];
    for (limit, words) in [
        ("bytes=64Ki", "bytes=SIZE"),
        ("entries=50", "entries=N"),
        ("depth=20", "depth=N"),
    ] {
        let option = format!("--layer-limits={limit}");
        let (_, done) = fetch(&rkt, layers(), &[&option]);
        assert_eq!(done.status, 254, "{limit}\n{done}");
        done.is_one_clear_error()
            .says(&format!("--layer-limits={words}"));
    }
    fetch(
        &rkt,
        layers(),
        &["--layer-limits=bytes=1Mi,entries=200,depth=50,ratio=500"],
    )
    .1
    .ok();
    let (_, done) = fetch(&rkt, layers(), &["--layer-limits=files=3"]);
    assert_eq!(done.status, 254, "{done}");
    done.is_one_clear_error().says("no limit `files`");
    let layout = Image::with_probe(&entries).write(&rkt.file("run"));
    rkt.run(&[
        "--layer-limits=entries=50",
        &layout.reference(),
        "--",
        "exit",
        "0",
    ])
    .ends_with(125)
    .is_one_clear_error()
    .says("entries=N");
    rkt.run(&[&layout.reference(), "--", "exit", "0"]).ok();
    // A path of more than the usual depth, when that is asked for.
    let very = format!("{}end", "d/".repeat(1200));
    let tar = || vec![archive(&[Entry::file("x", "x").pax("path", &very)])];
    assert_eq!(fetch(&rkt, tar(), &[]).1.status, 254);
    fetch(&rkt, tar(), &["--layer-limits=depth=1500"]).1.ok();
}

/// A layer stops before the disk is full, and a part of it stays free.
#[test]
fn a_layer_does_not_fill_the_disk() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    fs::create_dir_all(rkt.data()).unwrap();
    let mut mount = rkt.inside("mount");
    mount
        .args(["-t", "tmpfs", "-o", "size=32m", "none"])
        .arg(rkt.data());
    run_for(mount, None, PATIENCE).ok();
    let free = |rkt: &Rkt| -> u64 {
        let mut df = rkt.inside("df");
        df.args(["--output=avail", "-k"]).arg(rkt.data());
        let out = run_for(df, None, PATIENCE).ok();
        out.lines().last().unwrap().trim().parse().unwrap()
    };
    fetch(&rkt, vec![archive(&[Entry::file("x", "x")])], &[])
        .1
        .ok();
    let before = free(&rkt);
    let (_, done) = fetch(
        &rkt,
        vec![archive(&[Entry::file("big", vec![1; 40 << 20])])],
        &[],
    );
    assert_eq!(done.status, 254, "{done}");
    done.is_one_clear_error().says("the disk has room for");
    assert!(
        free(&rkt) + 64 >= before,
        "{} of {before} KiB are left",
        free(&rkt)
    );
}
