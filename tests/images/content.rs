//! What an image contains is what an app sees, and hostile content stays inside.

use rkt_tests::attack::record_held;
use rkt_tests::layout::{Image, Pack};
use rkt_tests::tar::{Entry, Kind};
use rkt_tests::{Done, Rkt};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Runs the probe in an image of these layers on top of the probe's own.
fn run(rkt: &Rkt, layers: &[&[Entry]], words: &[&str]) -> Done {
    let probe = Image::with_probe(&[]);
    let mut image = Image::new(layers);
    image.layers.insert(0, probe.layers[0].clone());
    let layout = image.write(&rkt.file(&format!("layout-{}", rkt_tests::rkt::unique())));
    let name = layout.reference();
    let mut all = vec![name.as_str(), "--"];
    all.extend(words);
    rkt.run(&all)
}

#[test]
fn files_keep_content_mode_owner_and_links() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let layer = [
        Entry::dir("d").mode(0o2751).owner(7, 8),
        Entry::file("d/file", "hello\n")
            .mode(0o640)
            .owner(1000, 1001),
        Entry::link("d/soft", "file"),
        Entry::hard("d/hard", "d/file"),
        Entry::new("d/fifo", Kind::Fifo),
        Entry::file(format!("d/{}", "n".repeat(200)), "long\n"),
        Entry::file("d/big", vec![b'b'; 5_000_000]),
    ];
    let probe = Image::with_probe(&layer);
    let layout = probe.write(&rkt.file("layout"));
    let pod = rkt.start(&[&layout.reference(), "--name=a", "--", "sleep"]);
    let app = pod.app("a");
    let base = u32::try_from(app.base()).unwrap();
    let look = |path: &str| rustix::fs::lstat(app.path(path)).unwrap();
    let dir = look("/d");
    assert_eq!(
        (dir.st_mode & 0o7777, dir.st_uid, dir.st_gid),
        (0o2751, base + 7, base + 8)
    );
    let file = look("/d/file");
    assert_eq!(
        (
            file.st_mode & 0o7777,
            file.st_uid,
            file.st_gid,
            file.st_size
        ),
        (0o640, base + 1000, base + 1001, 6)
    );
    assert_eq!((file.st_nlink, look("/d/hard").st_ino), (2, file.st_ino));
    assert_eq!(
        fs::read_link(app.path("/d/soft")).unwrap().to_str(),
        Some("file")
    );
    assert_eq!(
        rustix::fs::FileType::from_raw_mode(look("/d/fifo").st_mode),
        rustix::fs::FileType::Fifo
    );
    assert_eq!(fs::read(app.path("/d/big")).unwrap().len(), 5_000_000);
    assert_eq!(
        pod.enter(
            None,
            &["/rkt-probe", "cat", &format!("/d/{}", "n".repeat(200))]
        )
        .ok(),
        "long\n"
    );
}

#[test]
fn later_layers_cover_and_remove_what_earlier_ones_have() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let low = [
        Entry::dir("a"),
        Entry::file("a/one", "low"),
        Entry::file("a/two", "low"),
        Entry::dir("b"),
        Entry::file("b/gone", "low"),
        Entry::file("c", "a file"),
    ];
    let high = [
        Entry::file("a/one", "high"),
        Entry::file("a/.wh.two", ""),
        Entry::dir("b"),
        Entry::file("b/.wh..wh..opq", ""),
        Entry::file("b/new", "high"),
        Entry::dir("c"),
        Entry::file("c/now", "a directory"),
    ];
    let layers: [&[Entry]; 2] = [&low, &high];
    let list = |path: &str| run(&rkt, &layers, &["list", path]).ok();
    assert_eq!(list("/a"), "one\n");
    assert_eq!(list("/b"), "new\n");
    assert_eq!(list("/c"), "now\n");
    assert_eq!(run(&rkt, &layers, &["cat", "/a/one"]).ok(), "high");
}

#[test]
fn layers_may_be_plain_or_gzip() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    for pack in [Pack::Plain, Pack::Gzip] {
        let mut image = Image::with_probe(&[Entry::file("x", "hello\n")]);
        image.pack = pack;
        let layout = image.write(&rkt.file(&format!("{pack:?}")));
        assert_eq!(
            rkt.run(&[&layout.reference(), "--", "cat", "/x"]).ok(),
            "hello\n"
        );
    }
}

/// Who unpacks these entries by path, and obeys marks of removal by path, reaches what is outside.
fn naive(rkt: &Rkt, entries: &[Entry], outside: &Path) -> bool {
    let name = rkt_tests::rkt::unique();
    let (file, root) = (
        rkt.file(&format!("naive-{name}.tar")),
        rkt.open_dir(&format!("naive-{name}")),
    );
    fs::write(&file, rkt_tests::tar::archive(entries)).unwrap();
    let mut tar = std::process::Command::new("tar");
    tar.args(["--extract", "--absolute-names", "--overwrite", "--file"]);
    tar.arg(&file).arg("--directory").arg(&root);
    // Of some entries it says that it does not like them, and goes on.
    let _ = rkt_tests::command::run(tar, None);
    let victim = outside.join("victim");
    let marked = root.join("d/.wh.victim");
    if marked.exists() {
        fs::remove_file(root.join("d/victim")).unwrap();
    }
    let touched = fs::read_to_string(&victim).unwrap_or_default() != "untouched";
    let reached = touched || outside.join("pwn").exists();
    let _ = fs::remove_file(outside.join("pwn"));
    fs::write(&victim, "untouched").unwrap();
    reached
}

/// Each of these wants to reach the host; nothing of the host may change, whatever rkt says.
#[test]
fn hostile_paths_reach_nothing() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let outside = rkt.open_dir("outside");
    fs::write(outside.join("victim"), "untouched").unwrap();
    let target = outside.display().to_string();
    let up = format!("{}{}", "../".repeat(30), &target[1..]);
    let cases: Vec<(&str, Vec<Entry>)> = vec![
        ("dots", vec![Entry::file(format!("{up}/pwn"), "x")]),
        (
            "dots inside",
            vec![Entry::dir("a"), Entry::file(format!("a/{up}/pwn"), "x")],
        ),
        ("absolute", vec![Entry::file(format!("{target}/pwn"), "x")]),
        (
            "symlinked parent",
            vec![Entry::link("d", &target), Entry::file("d/pwn", "x")],
        ),
        (
            "symlinked parent, relative",
            vec![Entry::link("d", &up), Entry::file("d/pwn", "x")],
        ),
        (
            "hard link out",
            vec![
                Entry::hard("h", format!("{target}/victim")),
                Entry::file("h", "pwned"),
            ],
        ),
        (
            "hard link up",
            vec![
                Entry::hard("h", format!("{up}/victim")),
                Entry::file("h", "pwned"),
            ],
        ),
        (
            "hard link through a symlink",
            vec![
                Entry::link("d", &target),
                Entry::hard("h", "d/victim"),
                Entry::file("h", "pwned"),
            ],
        ),
        (
            "whiteout up",
            vec![Entry::link("d", &target), Entry::file("d/.wh.victim", "")],
        ),
        (
            "whiteout of dots",
            vec![Entry::file(".wh...", ""), Entry::file(".wh..", "")],
        ),
        (
            "pax path",
            vec![Entry::file("x", "x").pax("path", format!("{up}/pwn"))],
        ),
    ];
    let mut works = BTreeMap::<&str, bool>::new();
    for (name, entries) in cases {
        let done = run(&rkt, &[&entries], &["list", "/"]);
        assert!([0, 125].contains(&done.status), "{name}\n{done}");
        if done.status == 125 {
            done.is_one_clear_error();
        }
        assert!(!outside.join("pwn").exists(), "{name}");
        assert_eq!(
            fs::read_to_string(outside.join("victim")).unwrap(),
            "untouched",
            "{name}"
        );
        let row = match name {
            _ if name.starts_with("symlinked") => "G02.1",
            _ if name.starts_with("hard") => "G03.1",
            _ if name.starts_with("whiteout") => "G05.1",
            _ => "G01.1",
        };
        *works.entry(row).or_default() |= naive(&rkt, &entries, &outside);
    }
    for (row, works) in works {
        record_held(row, true, works);
    }
    rkt.leaves_nothing();
}

#[test]
fn wrong_archives_are_refused_and_not_believed() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let mut huge = Entry::file("huge", "x");
    huge.claimed = Some(1 << 32);
    let mut negative = Entry::file("x", "x");
    negative.mode = 0o777_7777;
    let deep: Vec<u8> = "d/".repeat(20_000).into_bytes();
    let cases: Vec<(&str, Vec<Entry>)> = vec![
        ("claims more than it has", vec![huge]),
        ("odd mode", vec![negative]),
        (
            "NUL in a name",
            vec![Entry::file("x", "x").pax("path", b"a\0b")],
        ),
        ("very deep", vec![Entry::file("x", "x").pax("path", &deep)]),
        (
            "very long name",
            vec![Entry::file("x", "x").pax("path", "n".repeat(5000))],
        ),
        ("empty name", vec![Entry::file("", "x")]),
        ("the root as a file", vec![Entry::file(".", "x")]),
        ("hard link to nothing", vec![Entry::hard("h", "nosuch")]),
        ("hard link to itself", vec![Entry::hard("h", "h")]),
    ];
    for (name, entries) in cases {
        let done = run(&rkt, &[&entries], &["exit", "0"]);
        assert!([0, 125].contains(&done.status), "{name}\n{done}");
        assert!(!done.err.contains("panicked"), "{name}\n{done}");
        assert!(done.took.as_secs() < 20, "{name}\n{done}");
    }
    // An odd name that is one arrives as it is.
    let odd = [
        Entry::file(b"new\nline \xff".as_slice(), "odd\n"),
        Entry::link("way", b"new\nline \xff".as_slice()),
    ];
    let done = run(&rkt, &[&odd], &["cat", "/way"]);
    record_held("G04.1", true, done.out == "odd\n");
    // Bytes that are no archive at all, and one that stops in the middle.
    for (name, bytes) in [
        ("noise", vec![0xa5; 70_000]),
        (
            "cut",
            rkt_tests::tar::archive(&[Entry::file("x", vec![1; 9000])])[..3000].to_vec(),
        ),
    ] {
        let mut image = Image::with_probe(&[]);
        image.layers.push(bytes);
        let layout = image.write(&rkt.file(name));
        rkt.run(&[&layout.reference(), "--", "exit", "0"])
            .ends_with(125)
            .is_one_clear_error();
    }
    rkt.leaves_nothing();
}

#[test]
fn a_small_blob_that_becomes_huge_is_refused() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let mut image = Image::with_probe(&[]);
    let mut bomb = Entry::file("bomb", vec![0; 64 << 20]);
    bomb.claimed = Some(8 << 40);
    image.layers.push(rkt_tests::tar::archive(&[bomb]));
    let layout = image.write(&rkt.file("bomb"));
    let done = rkt
        .run(&[&layout.reference(), "--", "exit", "0"])
        .ends_with(125)
        .is_one_clear_error();
    assert!(done.took.as_secs() < 20, "{done}");
}

#[test]
fn device_nodes_of_an_image_do_not_work() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let mut disk = Entry::new("disk", Kind::Block).mode(0o666);
    disk.device = (254, 0);
    let mut memory = Entry::new("memory", Kind::Character).mode(0o666);
    memory.device = (1, 1);
    for path in ["/disk", "/memory"] {
        let done = run(&rkt, &[&[disk.clone(), memory.clone()]], &["cat", path]);
        assert_ne!(done.status, 0, "{done}");
        assert!(
            done.err.contains("EACCES") || done.err.contains("ENOENT") || done.status == 125,
            "{done}"
        );
    }
}

#[test]
fn special_directories_of_an_image_do_not_move_our_mounts() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let outside = rkt.open_dir("outside");
    for name in ["dev", "proc", "sys"] {
        let layer = [Entry::link(name, outside.display().to_string())];
        let done = run(&rkt, &[&layer], &["exit", "0"]);
        assert!([0, 125].contains(&done.status), "{name}\n{done}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{name}");
    }
    rkt.leaves_nothing();
}
