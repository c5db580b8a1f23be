//! Reading layers: what is taken, what is refused, and in what kind of process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use rkt_spec::Digest;
use rkt_store::Kind;
use rkt_store::layer::{self, Limits, Writer};
use sha2::{Digest as _, Sha256};
use std::io::Write;
use support::tarball::{Tarball, dir, file, hard, header, seal, symlink};
use support::{TestStore, reader};

fn diff(bytes: &[u8]) -> Digest {
    Digest::sha256(&Sha256::digest(bytes).into())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn small() -> Vec<u8> {
    Tarball::new()
        .put(dir("./"))
        .put(dir("etc/"))
        .put(file("etc/passwd", "root:x:0:0::/:/bin/sh\n"))
        .put(symlink("etc/mtab", "/proc/mounts"))
        .put(hard("etc/shadow", "etc/passwd"))
        .end()
}

#[test]
fn every_compression_gives_the_same_layer() {
    let store = TestStore::new("compressions");
    let tar = small();
    let members = [gzip(&tar[..1000]), gzip(&tar[1000..])].concat();
    let zstd = zstd::encode_all(&tar[..], 3).unwrap();
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9][..], &zstd].concat();
    for bytes in [tar.clone(), gzip(&tar), members, zstd, skippable] {
        let info = store.add(&bytes).unwrap();
        assert_eq!(info.diff_id, diff(&tar));
        assert_eq!(info.tar_bytes, tar.len() as u64);
        assert_eq!(info.entries, 5);
        assert!(!info.needs_lower);
        assert_eq!(store.left_over(), 0);
        layer::verify(store.path(), &info.diff_id).unwrap();
        layer::remove_layer(store.path(), &info.diff_id).unwrap();
        assert!(
            layer::has_layer(store.path(), &info.diff_id)
                .unwrap()
                .is_none()
        );
    }
}

#[test]
fn odd_lengths_are_hashed_as_they_are() {
    let store = TestStore::new("lengths");
    let whole = small();
    let without_end = whole[..whole.len() - 1024].to_vec();
    let one_block = whole[..whole.len() - 512].to_vec();
    let padded = [whole.clone(), vec![0; 8192 + 100]].concat();
    for bytes in [Vec::new(), vec![0; 512], without_end, one_block, padded] {
        let info = store.add(&bytes).unwrap();
        assert_eq!(info.diff_id, diff(&bytes));
        layer::verify(store.path(), &info.diff_id).unwrap();
    }
    assert_eq!(layer::layers(store.path()).unwrap().len(), 5);
}

#[test]
fn damage_is_found_by_verify() {
    let store = TestStore::new("damage");
    let info = store.add(&small()).unwrap();
    let tar = store.layer_dir(&info.diff_id).join("tar");
    let mut bytes = std::fs::read(&tar).unwrap();
    bytes[2000] ^= 1;
    std::fs::write(&tar, &bytes).unwrap();
    let error = layer::verify(store.path(), &info.diff_id).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    let nothing = Digest::sha256(&[0; 32]);
    assert_eq!(
        layer::verify(store.path(), &nothing).unwrap_err().kind(),
        Kind::NotFound
    );
}

#[test]
fn what_is_no_layer_is_refused_and_leaves_nothing() {
    let store = TestStore::new("refused");
    let one = |entry| Tarball::new().put(entry).end();
    let mut bad_sum = small();
    bad_sum[520] ^= 1;
    let mut negative = header("x", b'0').block();
    negative[124..136].fill(0xff);
    seal(&mut negative);
    let tar = small();
    let cut = |at: usize| gzip(&tar)[..at].to_vec();
    let two_sizes = file("x", "12345").pax("size", "4");
    let mut sizes = Tarball::new().put(two_sizes).end();
    sizes.truncate(sizes.len() - 512);
    let link_with_data = {
        let mut entry = hard("b", "a");
        entry.data = vec![1; 10];
        Tarball::new().put(file("a", "")).put(entry).end()
    };
    let deep = "a/".repeat(1100) + "x";
    let cases: Vec<(&str, Vec<u8>, Kind)> = vec![
        ("leads out", one(file("../x", "")), Kind::Corrupt),
        ("leads out later", one(file("a/../../x", "")), Kind::Corrupt),
        ("root is a file", one(file(".", "")), Kind::Corrupt),
        ("root is a link", one(symlink(".", "/etc")), Kind::Corrupt),
        (
            "name with NUL",
            one(file("x", "").pax("path", b"a\0b")),
            Kind::Corrupt,
        ),
        (
            "long component",
            one(file("x".repeat(256), "")),
            Kind::Corrupt,
        ),
        ("long path", one(file("y/".repeat(2100), "")), Kind::Corrupt),
        ("deep path", one(file(deep, "")), Kind::TooLarge),
        ("whiteout of nothing", one(file(".wh.", "")), Kind::Corrupt),
        ("whiteout of dot", one(file("a/.wh..", "")), Kind::Corrupt),
        ("whiteout of dots", one(file("a/.wh...", "")), Kind::Corrupt),
        (
            "children of a whiteout",
            one(file(".wh.a/b", "")),
            Kind::Corrupt,
        ),
        ("hidden whiteout", one(header("c", b'3')), Kind::Corrupt),
        (
            "huge device",
            one(header("c", b'3').device(1 << 13, 0)),
            Kind::Corrupt,
        ),
        (
            "uid -1",
            one(file("u", "").owner(0xffff_ffff, 0)),
            Kind::Corrupt,
        ),
        (
            "uid of 33 bits",
            one(file("u", "").owner(1 << 33, 0)),
            Kind::Corrupt,
        ),
        (
            "pax uid text",
            one(file("u", "").pax("uid", "0x10")),
            Kind::Corrupt,
        ),
        ("empty target", one(symlink("s", "")), Kind::Corrupt),
        (
            "long target",
            one(symlink("s", "t".repeat(4096))),
            Kind::Corrupt,
        ),
        ("unknown kind", one(header("m", b'M')), Kind::Unsupported),
        ("two sizes", sizes, Kind::Corrupt),
        ("data of a link", link_with_data, Kind::Corrupt),
        (
            "link to a directory",
            Tarball::new().put(dir("d")).put(hard("l", "d")).end(),
            Kind::Corrupt,
        ),
        (
            "through a file",
            Tarball::new().put(file("f", "")).put(file("f/x", "")).end(),
            Kind::Corrupt,
        ),
        (
            "symlink loop",
            Tarball::new()
                .put(symlink("a", "b"))
                .put(symlink("b", "a"))
                .put(file("a/x", ""))
                .end(),
            Kind::Corrupt,
        ),
        ("bad sum", bad_sum, Kind::Corrupt),
        ("negative size", negative.to_vec(), Kind::Corrupt),
        (
            "bytes after the end",
            [tar.clone(), vec![1; 512]].concat(),
            Kind::Corrupt,
        ),
        (
            "one zero block, then more",
            [&[0; 512][..], &tar].concat(),
            Kind::Corrupt,
        ),
        ("cut header", tar[..300].to_vec(), Kind::Corrupt),
        ("cut data", tar[..512 * 3 + 10].to_vec(), Kind::Corrupt),
        ("cut gzip", cut(100), Kind::Corrupt),
        ("cut gzip end", cut(gzip(&tar).len() - 3), Kind::Corrupt),
        (
            "gzip and garbage",
            [gzip(&tar), b"garbage!".to_vec()].concat(),
            Kind::Corrupt,
        ),
        ("xz", b"\xfd7zXZ\0\0\0\0".to_vec(), Kind::Unsupported),
        ("bzip2", b"BZh91AY&SY".to_vec(), Kind::Unsupported),
        (
            "text",
            b"hello world, this is no tar at all".repeat(40),
            Kind::Corrupt,
        ),
        (
            "zstd window",
            {
                let mut out = zstd::Encoder::new(Vec::new(), 1).unwrap();
                out.window_log(28).unwrap();
                out.include_contentsize(false).unwrap();
                out.write_all(&tar).unwrap();
                out.finish().unwrap()
            },
            Kind::Corrupt,
        ),
    ];
    for (name, bytes, kind) in cases {
        match store.add(&bytes) {
            Ok(info) => panic!("{name}: taken as {info:?}"),
            Err(error) => assert_eq!(error.kind(), kind, "{name}: {error}"),
        }
        assert_eq!(store.left_over(), 0, "{name}");
    }
    assert!(layer::layers(store.path()).unwrap().is_empty());
}

#[test]
fn an_error_names_the_entry() {
    let store = TestStore::new("names");
    let tar = Tarball::new().put(dir("a")).put(header("a/b", b'M')).end();
    let error = store.add(&tar).unwrap_err();
    assert!(
        error.to_string().contains("read entry `a/b`: its kind `M`"),
        "{error}"
    );
}

#[test]
fn limits_hold() {
    let store = TestStore::new("limits");
    let tar = small();
    let limits = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        limits
    };
    for limits in [
        limits(|l| l.bytes = 2048),
        limits(|l| l.entries = 3),
        limits(|l| l.metadata = 200),
        limits(|l| l.depth = 0),
    ] {
        let error = store.add_within(&tar, &limits).unwrap_err();
        assert_eq!(error.kind(), Kind::TooLarge, "{limits:?}: {error}");
    }
}

/// What the host's side says of the children of this process that run the reader.
fn readers() -> Vec<std::path::PathBuf> {
    let me = format!("PPid:\t{}\n", std::process::id());
    let ours = |path: &std::path::PathBuf| {
        let status = std::fs::read_to_string(path.join("status")).unwrap_or_default();
        status.contains(&me) && status.starts_with("Name:\trkt-layer-rea")
    };
    std::fs::read_dir("/proc")
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(ours)
        .collect()
}

#[test]
fn the_reader_has_no_power() {
    let store = TestStore::new("walls");
    let limits = Limits::default();
    let mut writer = Writer::start(store.path(), &reader(), &limits).unwrap();
    writer.write_all(&small()[..600]).unwrap();
    // Hard and soft: what it can have at most, in the words of proc(5).
    let bounds = [
        ("Max core file size", 0),
        ("Max open files", 1024),
        ("Max file size", limits.bytes + (1 << 30)),
        ("Max address space", limits.metadata * 4 + (320 << 20)),
    ];
    let bounded = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path.join("limits")).unwrap_or_default();
        bounds.iter().all(|(name, most)| {
            let line = text.lines().find_map(|l| l.strip_prefix(name));
            let mut words = line.unwrap_or("").split_whitespace();
            let most = most.to_string();
            words.next() == Some(&most) && words.next() == Some(&most)
        })
    };
    let locked = |path: &std::path::PathBuf| {
        let status = std::fs::read_to_string(path.join("status")).unwrap_or_default();
        let line = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name));
            line.unwrap_or("").trim().to_owned()
        };
        let namespace = |name: &str| std::fs::read_link(path.join("ns").join(name)).ok();
        let own = |name: &str| {
            let mine = std::fs::read_link(format!("/proc/self/ns/{name}")).ok();
            namespace(name).is_some_and(|theirs| Some(theirs) != mine)
        };
        line("Seccomp:") == "2"
            && line("NoNewPrivs:") == "1"
            && ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"]
                .iter()
                .all(|set| line(set) == "0000000000000000")
            && ["user", "mnt", "net", "ipc", "uts", "cgroup"]
                .iter()
                .all(|n| own(n))
            && bounded(path)
    };
    // Other tests of this process run readers too; ours blocks on its pipe and stays.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    loop {
        let all = readers();
        if !all.is_empty() && all.iter().any(locked) {
            break;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "no reader got behind its walls: {all:?}"
        );
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    drop(writer);
    assert_eq!(store.left_over(), 0);
}

#[test]
fn a_killed_reader_is_an_error_and_leaves_nothing() {
    let store = TestStore::new("killed");
    let program = rkt_store::options::LayerProgram {
        path: "/bin/false".into(),
        args: Vec::new(),
    };
    let failed = match Writer::start(store.path(), &program, &Limits::default()) {
        Ok(writer) => writer.finish().map(drop),
        Err(error) => Err(error),
    };
    assert_eq!(failed.unwrap_err().kind(), Kind::System);
    assert_eq!(store.left_over(), 0);
}

#[test]
fn writing_on_after_a_refusal_tells_the_reason() {
    let store = TestStore::new("reason");
    let mut writer = Writer::start(store.path(), &reader(), &Limits::default()).unwrap();
    let bytes = [Tarball::new().put(file("../x", "")).0, vec![0; 64 << 20]].concat();
    let error = writer.write_all(&bytes).unwrap_err();
    let error = rkt_store::Error::from(error);
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
}

/// What a reader sees that goes on after the data by the size in the plain header, whatever an
/// extended one says.
fn by_plain_sizes(tar: &[u8]) -> Vec<String> {
    let (mut at, mut names) = (0, Vec::new());
    while let Some(header) = tar.get(at..at + 512).filter(|h| h[0] != 0) {
        let text = |from: usize, to: usize| {
            let bytes: Vec<u8> = header[from..to]
                .iter()
                .copied()
                .take_while(|b| *b != 0)
                .collect();
            String::from_utf8(bytes).unwrap()
        };
        let size = usize::from_str_radix(text(124, 136).trim(), 8).unwrap();
        if header[156] == b'0' {
            names.push(text(0, 100));
        }
        at += 512 + size.div_ceil(512) * 512;
    }
    names
}

/// CVE-2025-62518: the data of an entry are a tar of their own. A reader that goes by the plain header
/// takes them for more entries; two sizes that say different things are refused, and where the plain
/// one says nothing there is one reading only.
#[test]
fn a_tar_within_a_tar_is_data_whatever_the_sizes_say() {
    let store = TestStore::new("nested");
    let inner = Tarball::new().put(file("smuggled", "evil")).0;
    let size = inner.len().to_string();
    let outer = |plain: u64| {
        let mut entry = file("data", &inner).pax("size", &size);
        entry.size = Some(plain);
        Tarball::new().put(entry).put(file("after", "x")).end()
    };
    let names = by_plain_sizes(&outer(0));
    assert_eq!(
        names,
        ["data", "smuggled", "after"],
        "no reader is deceived"
    );
    let info = store.add(&outer(0)).unwrap();
    assert_eq!(info.entries, 2);
    assert_eq!(info.diff_id, diff(&outer(0)));
    let index = std::fs::read(store.layer_dir(&info.diff_id).join("index")).unwrap();
    let has = |name: &[u8]| index.windows(name.len()).any(|w| w == name);
    assert!(has(b"data") && has(b"after") && !has(b"smuggled"));
    for plain in [1, 512, inner.len() as u64 - 1, inner.len() as u64 + 1] {
        let error = store.add(&outer(plain)).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{plain}: {error}");
    }
    // Agreement is no contradiction.
    assert_eq!(store.add(&outer(inner.len() as u64)).unwrap().entries, 2);
}
