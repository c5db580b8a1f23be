//! What the kernel shows of an index, against what the tar says, entry by entry.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use rkt_store::Kind;
use rkt_store::layer;
use rkt_store::mounts::Way;
use std::path::Path;
use support::TestStore;
use support::kernel::{attach, overlay, place, private_mounts, put, rendered};
use support::model::Model;
use support::tarball::{Tarball, dir, file, hard, header, symlink};
use support::tree::{Seen, Tree, hash, look, same, xattrs};

/// Bytes that differ from block to block.
fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n / 512 + n % 251) as u8).collect()
}

/// Everything that a layer may hold, in its most awkward form. ext4 takes 4 KiB of attributes a
/// file and ends in 2446, so what goes beyond comes only where `large` says so.
fn everything(large: bool) -> Model {
    let mut m = Model::default()
        .put(dir("./").mode(0o751).owner(3, 4))
        .put(dir("sizes/"));
    for len in [0, 1, 511, 512, 513, 4095, 4096, 4097, (1 << 20) + 3] {
        m = m.put(file(format!("sizes/{len}"), bytes(len)));
    }
    m = m.put(dir("names"));
    for name in [
        &b"!x"[..],
        b"+x",
        b"-x",
        b".-x",
        b"..x",
        b"...",
        b"\xff\xfe",
        b"\x01",
        b"~",
        b"a b",
    ] {
        m = m.put(file([b"names/", name].concat(), name));
    }
    m = m.put(file(format!("names/{}", "n".repeat(255)), "long"));
    m = m.put(dir("many"));
    for n in 0..5000 {
        m = m.put(file(format!("many/{n}"), if n % 7 == 0 { "x" } else { "" }));
    }
    let mut deep = String::from("deep");
    m = m.put(dir(&deep));
    for n in 0..30 {
        deep = format!("{deep}/{}{n}", "d".repeat(64));
        m = m.put(dir(&deep).mode(0o700 + n));
    }
    m = m.put(file(format!("{deep}/end"), "deep")).put(dir("links"));
    for len in [
        1, 400, 431, 448, 449, 463, 464, 480, 500, 511, 512, 513, 600, 1024, 4000, 4095,
    ] {
        m = m.put(symlink(format!("links/{len}"), "t".repeat(len)));
    }
    m = m
        .put(file("links/first", "shared"))
        .put(symlink("links/to", "first"));
    for n in 0..300 {
        m = m.hard(format!("links/hard{n}"), "links/first");
    }
    m = m.hard("links/to-the-link", "links/to");
    m = m
        .put(dir("dev"))
        .put(header("dev/null", b'3').device(1, 3).mode(0o666))
        .put(header("dev/high", b'3').device(259, 1_000_000))
        .put(header("dev/sda", b'4').device(8, 0).mode(0o660))
        .put(header("dev/fifo", b'6').mode(0o600))
        .hard("dev/null2", "dev/null")
        .put(file("high-id", "").owner(4_294_967_294, 4_294_967_294))
        .put(file("setuid", "").mode(0o6755))
        .put(dir("tmp").mode(0o1777))
        .with(
            file("big-pax-id", "")
                .pax("uid", "3000000")
                .pax("gid", "3000001"),
            |s| (s.uid, s.gid) = (3_000_000, 3_000_001),
        );
    for (name, pax, time) in [
        ("t0", "-1.5", (-2, 500_000_000)),
        ("t1", "0", (0, 0)),
        ("t2", "2147483653", (2_147_483_653, 0)),
        ("t3", "17179869183", (17_179_869_183, 0)),
        ("t4", "1700000000.123456789", (1_700_000_000, 123_456_789)),
        ("t5", "0.25", (0, 250_000_000)),
    ] {
        if name == "t3" && !large {
            continue;
        }
        m = m.with(file(name, "").pax("mtime", pax), |s| s.mtime = time);
    }
    m = m.put(file("t6", "").mtime(-5));
    let capability = b"\x01\0\0\x02\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    let value = bytes(if large { 30_000 } else { 300 });
    m = m
        .with(
            file("xattrs", "x")
                .xattr("security.capability", &capability)
                .xattr("user.empty", "")
                .xattr("user.nul", b"a\0b")
                .xattr("security.selinux", "dropped")
                .xattr("trusted.overlay.opaque", "y")
                .xattr("trusted.other", "y")
                .xattr("user.overlay.opaque", "y")
                .pax("LIBARCHIVE.xattr.user.b64", "aGVsbG8="),
            |s| {
                s.xattrs
                    .insert(b"security.capability".to_vec(), capability.clone());
                s.xattrs.insert(b"user.empty".to_vec(), Vec::new());
                s.xattrs.insert(b"user.nul".to_vec(), b"a\0b".to_vec());
                s.xattrs.insert(b"user.b64".to_vec(), b"hello".to_vec());
            },
        )
        .with(dir("xattr-dir").xattr("user.k", "v"), |s| {
            s.xattrs.insert(b"user.k".to_vec(), b"v".to_vec());
        })
        .with(file("xattr-large", "").xattr("user.large", &value), |s| {
            s.xattrs.insert(b"user.large".to_vec(), value.clone());
        });
    let list = |all: &[(u16, u16, u32)]| -> Vec<u8> {
        let mut out = 2u32.to_le_bytes().to_vec();
        for (tag, permissions, id) in all {
            out.extend(tag.to_le_bytes());
            out.extend(permissions.to_le_bytes());
            out.extend(id.to_le_bytes());
        }
        out
    };
    const NONE: u32 = u32::MAX;
    let user = (2, 4, 1000);
    let acl = list(&[
        (1, 6, NONE),
        user,
        (4, 0, NONE),
        (16, 4, NONE),
        (32, 0, NONE),
    ]);
    let minimal = list(&[(1, 7, NONE), (4, 5, NONE), (32, 5, NONE)]);
    m = m
        .with(
            file("acl", "x")
                .mode(0o640)
                .xattr("system.posix_acl_access", &acl),
            |s| {
                s.xattrs
                    .insert(b"system.posix_acl_access".to_vec(), acl.clone());
            },
        )
        // The mode follows; what only repeats the mode goes.
        .with(
            header("acl-fifo", b'6')
                .mode(0o777)
                .xattr("system.posix_acl_access", &acl)
                .xattr("user.no", "no"),
            |s| {
                s.mode = 0o010_640;
                s.xattrs
                    .insert(b"system.posix_acl_access".to_vec(), acl.clone());
            },
        )
        .with(
            file("acl-minimal", "")
                .mode(0o600)
                .xattr("system.posix_acl_access", &minimal)
                .xattr("system.posix_acl_default", &minimal),
            |s| s.mode = 0o100_755,
        )
        .with(
            dir("acl-dir")
                .mode(0o640)
                .xattr("system.posix_acl_access", &acl)
                .xattr("system.posix_acl_default", &minimal),
            |s| {
                for (name, value) in [("access", &acl), ("default", &minimal)] {
                    let name = format!("system.posix_acl_{name}").into_bytes();
                    s.xattrs.insert(name, value.clone());
                }
            },
        )
        .put(file("acl-dir/inside", "inherits nothing"))
        .put(dir("acl-dir/below"));
    let mut many = file("xattr-many", "");
    for n in 0..60 {
        many = many.xattr(&format!("user.n{n}"), format!("{n}"));
    }
    m = m.with(many, |s| {
        for n in 0..60 {
            s.xattrs.insert(
                format!("user.n{n}").into_bytes(),
                format!("{n}").into_bytes(),
            );
        }
    });
    // Later entries win; a directory keeps what is in it.
    m = m
        .tar_only(file("twice", "first"))
        .put(file("twice", "second"))
        .tar_only(dir("again").mode(0o700))
        .put(file("again/inside", ""))
        .put(dir("again").mode(0o711))
        .tar_only(dir("was-dir"))
        .tar_only(file("was-dir/lost", ""))
        .put(file("was-dir", "now a file"))
        .tar_only(file("was-file", ""))
        .put(dir("was-file"))
        .put(file("was-file/x", ""));
    // Old headers: a directory by its slash alone.
    m.tar = m.tar.put(header("slash/", b'0').mode(0o755));
    m.tree.insert(
        b"slash".to_vec(),
        Seen {
            mode: 0o040_755,
            mtime: (1_700_000_000, 0),
            ..Seen::default()
        },
    );
    // Through a symlink of its own.
    m = m
        .put(dir("usr"))
        .put(dir("usr/lib"))
        .put(symlink("lib", "usr/lib"));
    let at = m.tar.clone().put(file("lib/through", "x"));
    m.tar = at;
    m.tree.insert(
        b"usr/lib/through".to_vec(),
        Seen {
            mode: 0o100_644,
            mtime: (1_700_000_000, 0),
            size: 1,
            links: 1,
            content: hash(b"x"),
            ..Seen::default()
        },
    );
    m.put(file("aufs", ""))
        .tar_only(file(".wh..wh.plnk", ""))
        .tar_only(dir(".wh..wh.orph"))
}

#[test]
fn the_kernel_shows_exactly_what_the_tar_says() {
    private_mounts();
    let store = TestStore::new("everything");
    for (name, way) in [
        ("file", Way::File),
        ("loop", Way::Loop),
        ("directory", Way::Directory),
    ] {
        let model = everything(way != Way::Directory);
        let chains = store.chain(&[model.tar.clone().end()]).unwrap();
        let fds = attach(&store, way, &chains);
        let at = put(&store, name, &fds[0]);
        let kind = rustix::fs::statfs(&at).unwrap().f_type;
        assert_eq!(kind == 0xE0F5_E1E2, way != Way::Directory, "{name}");
        same(&look(&at), &model.tree);
        let written = std::fs::write(at.join("new"), "");
        assert_eq!(
            written.unwrap_err().kind(),
            std::io::ErrorKind::ReadOnlyFilesystem
        );
        // The next way starts afresh.
        support::kernel::forget(&store);
        if way == Way::Directory {
            same(
                &look(&rendered(&store, "rendered", &chains[0])),
                &model.tree,
            );
        }
    }
}

/// Name, size, and what is data: offset and length.
type Holed = (&'static str, u64, Vec<(u64, usize)>);

#[test]
fn holes_stay_holes_and_data_stay_data() {
    private_mounts();
    let store = TestStore::new("holes");
    let dir = place(&store, "src");
    let mut expected = Vec::new();
    // Segments: offset, length. Real writers round to their own block size.
    let cases: Vec<Holed> = vec![
        (
            "aligned",
            1 << 20,
            vec![(0, 4096), (65536, 8192), (1_044_480, 4096)],
        ),
        ("trailing", 3 << 20, vec![(4096, 100)]),
        ("all-hole", 5 << 20, vec![]),
        ("large", 7 << 30, vec![(1 << 30, 4096), (6 << 30, 70_000)]),
        ("unaligned", 300_001, vec![(1000, 3000), (200_000, 77)]),
    ];
    for (name, size, parts) in &cases {
        use std::os::unix::fs::FileExt;
        let f = std::fs::File::create(dir.join(name)).unwrap();
        f.set_len(*size).unwrap();
        for (offset, len) in parts {
            f.write_all_at(&bytes(*len), *offset).unwrap();
        }
        expected.push(*name);
    }
    for format in [
        "gnu",
        "posix",
        "posix --sparse-version=0.0",
        "posix --sparse-version=0.1",
    ] {
        let mut tar = std::process::Command::new("tar");
        tar.arg("-C").arg(&dir).args(["-S", "-c", "-f", "-", "-H"]);
        let out = tar
            .args(format.split(' '))
            .args(&expected)
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{format}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        assert!(out.stdout.len() < 1 << 20, "{format}: {}", out.stdout.len());
        let chains = store.chain(&[out.stdout]).unwrap();
        let fds = attach(&store, Way::File, &chains);
        let at = put(&store, &format.replace([' ', '='], "-"), &fds[0]);
        compare_holes(&dir, &at, &cases);
        let written = rendered(
            &store,
            &format!("r-{}", format.replace([' ', '='], "-")),
            &chains[0],
        );
        compare_holes(&dir, &written, &cases);
    }
    // Parts that lie on no block of anything: copied into the index.
    let mut text = b"3\n5\n7\n600\n100\n2000\n1\n".to_vec();
    text.resize(512, 0);
    text.extend(bytes(108));
    let odd = file("odd", text);
    let mut odd = odd
        .pax("GNU.sparse.major", "1")
        .pax("GNU.sparse.minor", "0")
        .pax("GNU.sparse.realsize", "2001")
        .pax("GNU.sparse.name", "real-name");
    odd.name = b"GNUSparseFile.1/odd".to_vec();
    let chains = store.chain(&[Tarball::new().put(odd).end()]).unwrap();
    let fds = attach(&store, Way::File, &chains);
    let at = put(&store, "odd", &fds[0]);
    let got = std::fs::read(at.join("real-name")).unwrap();
    let mut want = vec![0; 2001];
    let data = bytes(108);
    want[5..12].copy_from_slice(&data[..7]);
    want[600..700].copy_from_slice(&data[7..107]);
    want[2000] = data[107];
    assert!(got == want);
}

#[test]
fn a_hard_link_to_a_lower_file_keeps_its_holes() {
    private_mounts();
    let store = TestStore::new("lower-holes");
    let map = |text: &str, data: usize| {
        let mut bytes_ = text.as_bytes().to_vec();
        bytes_.resize(512, 0);
        bytes_.extend(bytes(data));
        bytes_
    };
    let sparse = |name: &str, size: u64, data: Vec<u8>| {
        file(name, data)
            .pax("GNU.sparse.major", "1")
            .pax("GNU.sparse.minor", "0")
            .pax("GNU.sparse.realsize", size.to_string())
    };
    let base = Tarball::new()
        .put(sparse(
            "aligned",
            3 << 20,
            map("2\n4096\n4096\n1048576\n8192\n", 12_288),
        ))
        // On no block of the tar: its bytes are in the index of the lowest layer.
        .put(sparse(
            "odd",
            20_001,
            map("3\n5\n7\n600\n100\n20000\n1\n", 108),
        ))
        .put(sparse("empty", 1 << 20, map("0\n", 0)))
        .end();
    let middle = Tarball::new()
        .put(hard("aligned2", "aligned"))
        .put(hard("odd2", "odd"))
        .put(hard("empty2", "empty"))
        .put(file("other", "other"))
        .end();
    // And once more, from a layer that has borrowed them itself.
    let top = Tarball::new()
        .put(file(".wh.aligned", ""))
        .put(hard("aligned3", "aligned2"))
        .put(hard("odd3", "odd2"))
        .put(hard("empty3", "empty2"))
        .end();
    let mut chains = store.chain(&[base, middle, top]).unwrap();
    chains.reverse();
    let fds = attach(&store, Way::File, &chains);
    let merged = overlay(&store, "merged", &fds);
    let written = rendered(&store, "written", &chains[0]);
    let mut aligned = vec![0; 3 << 20];
    let data = bytes(12_288);
    aligned[4096..8192].copy_from_slice(&data[..4096]);
    aligned[1 << 20..(1 << 20) + 8192].copy_from_slice(&data[4096..]);
    let mut odd = vec![0; 20_001];
    odd[5..12].copy_from_slice(&bytes(108)[..7]);
    odd[600..700].copy_from_slice(&bytes(108)[7..107]);
    odd[20_000] = bytes(108)[107];
    for root in [&merged, &written] {
        for (name, want) in [
            ("aligned", &aligned),
            ("odd", &odd),
            ("empty", &vec![0; 1 << 20]),
        ] {
            for n in ["2", "3"] {
                let got = std::fs::read(root.join(format!("{name}{n}"))).unwrap();
                assert!(got == *want, "{name}{n} of {}", root.display());
            }
        }
    }
    // The large holes take no room.
    use std::os::unix::fs::MetadataExt;
    let on_disk = written.join("aligned3").metadata().unwrap().blocks() * 512;
    assert!(on_disk <= 64 << 10, "{on_disk}");
}

fn compare_holes(left: &Path, right: &Path, cases: &[Holed]) {
    use std::os::unix::fs::FileExt;
    for (name, size, parts) in cases {
        let (a, b) = (left.join(name), right.join(name));
        assert_eq!(b.metadata().unwrap().len(), *size, "{name}");
        if *size < 1 << 26 {
            assert!(
                std::fs::read(&a).unwrap() == std::fs::read(&b).unwrap(),
                "{name}"
            );
            continue;
        }
        let (a, b) = (
            std::fs::File::open(a).unwrap(),
            std::fs::File::open(b).unwrap(),
        );
        for (offset, len) in parts {
            let (mut one, mut two) = (vec![0; len + 20_000], vec![1; len + 20_000]);
            a.read_exact_at(&mut one, offset - 10_000).unwrap();
            b.read_exact_at(&mut two, offset - 10_000).unwrap();
            assert!(one == two, "{name} at {offset}");
        }
    }
}

#[test]
fn broken_maps_of_holes_are_refused() {
    let store = TestStore::new("broken-holes");
    let with = |map: &str, data: usize, size: &str| {
        let mut text = map.as_bytes().to_vec();
        text.resize(512, 0);
        text.extend(bytes(data));
        file("f", text)
            .pax("GNU.sparse.major", "1")
            .pax("GNU.sparse.minor", "0")
            .pax("GNU.sparse.realsize", size)
    };
    let one = |entry| Tarball::new().put(entry).end();
    for (name, tar, kind) in [
        (
            "overlap",
            one(with("2\n0\n512\n100\n512\n", 1024, "4096")),
            Kind::Corrupt,
        ),
        (
            "past the end",
            one(with("1\n4000\n512\n", 512, "4096")),
            Kind::Corrupt,
        ),
        (
            "more than stored",
            one(with("1\n0\n512\n", 100, "4096")),
            Kind::Corrupt,
        ),
        (
            "less than stored",
            one(with("1\n0\n100\n", 512, "4096")),
            Kind::Corrupt,
        ),
        ("no numbers", one(with("x\n", 0, "4096")), Kind::Corrupt),
        ("no end", one(with("9\n", 0, "4096")), Kind::Corrupt),
        (
            "huge count",
            one(with("99999999999\n", 0, "4096")),
            Kind::TooLarge,
        ),
        (
            "huge sum",
            one(with("2\n0\n18446744073709551615\n1\n1\n", 0, "4096")),
            Kind::Corrupt,
        ),
        (
            "island in an ocean",
            one(with("1\n4503599627370496\n512\n", 512, "9007199254740992")),
            Kind::TooLarge,
        ),
        (
            "unpaired",
            one(file("f", "")
                .pax("GNU.sparse.map", "1,2,3")
                .pax("GNU.sparse.size", "9")),
            Kind::Corrupt,
        ),
    ] {
        let error = store
            .add(&tar)
            .map(|i| panic!("{name}: {i:?}"))
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{name}: {error}");
    }
}

/// Layers whose meaning depends on those below.
fn stack() -> Vec<Vec<u8>> {
    let base = Tarball::new()
        .put(dir("./").mode(0o750).owner(7, 8))
        .put(
            dir("etc")
                .mode(0o700)
                .owner(1, 2)
                .mtime(1000)
                .xattr("user.e", "tc"),
        )
        .put(file(
            "etc/passwd",
            "root:x:0:0::/root:/bin/sh\nredis:x:100:101::/:/bin/false\n",
        ))
        .put(file("etc/group", "root:x:0:\nredis:x:101:\n"))
        .put(file("etc/gone", "x"))
        .put(dir("usr"))
        .put(dir("usr/lib").mode(0o711))
        .put(file("usr/lib/libc", "base libc").xattr("user.l", "c"))
        .put(symlink("lib", "usr/lib"))
        .put(symlink("abs", "/usr/lib"))
        .put(symlink("up", "../../../usr"))
        .put(dir("opaque"))
        .put(file("opaque/old", ""))
        .put(dir("opaque/sub"))
        .put(file("opaque/sub/old", ""))
        .put(dir("replaced"))
        .put(file("replaced/old", ""))
        .put(file("becomes-dir", "file"))
        .put(dir("becomes-file"))
        .put(file("becomes-file/x", ""))
        .put(dir("var"))
        .put(dir("var/lib"))
        .put(dir("var/lib/lists"))
        .put(file("var/lib/lists/a", "a"))
        .put(file("linked", "one"))
        .put(hard("linked2", "linked"))
        .end();
    let middle = Tarball::new()
        // No entry for etc, lib, usr: their attributes are the lower ones.
        .put(file("etc/new", "new"))
        .put(file("etc/.wh.gone", ""))
        .put(file("lib/through", "written through lib"))
        .put(file("abs/through-abs", "2"))
        .put(file("up/through-up", "3"))
        .put(hard("copy-of-libc", "usr/lib/libc"))
        .put(hard("copy-of-lib", "/lib"))
        .put(file("opaque/new", "n"))
        .put(file("opaque/.wh..wh..opq", ""))
        .put(file(".wh.replaced", ""))
        .put(file("replaced/new", "implicit and new"))
        .put(file("becomes-dir/x", "").mtime(5))
        .put(file("var/lib/lists/.wh.a", ""))
        .put(file("var/lib/lists/.wh.never-was", ""))
        .put(dir("only-here"))
        .put(file("only-here/.wh.nothing", ""))
        .end();
    // `becomes-dir/x` over a lower file: refused by docker, a directory for us.
    let top = Tarball::new()
        .put(dir("etc").mode(0o755))
        .put(file("etc/passwd", "root:x:0:0:top::/bin/sh\n"))
        .put(file("opaque/sub/again", ""))
        .put(file("becomes-file", "now"))
        .put(file(".wh.linked", ""))
        .put(hard("libc-again", "copy-of-libc"))
        .put(file(".wh.lib", ""))
        .put(dir("lib"))
        .put(file("lib/own", ""))
        .end();
    vec![base, middle, top]
}

fn shown<'a>(tree: &'a Tree, name: &str) -> &'a Seen {
    tree.get(name.as_bytes())
        .unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn overlay_and_directory_show_the_same_merged_tree() {
    private_mounts();
    let store = TestStore::new("merged");
    let chains = store.chain(&stack()).unwrap();
    for depth in 1..=chains.len() {
        let mut wanted: Vec<_> = chains[..depth].to_vec();
        wanted.reverse();
        let fds = attach(&store, Way::File, &wanted);
        let merged = look(&overlay(&store, &format!("merged{depth}"), &fds));
        let written = look(&rendered(&store, &format!("dir{depth}"), &wanted[0]));
        let without_links = |tree: &Tree| -> Tree {
            let one = |(name, seen): (&Vec<u8>, &Seen)| {
                // Names that upper layers hide still count in the lower inode.
                let links = u64::from(seen.links != 0);
                (
                    name.clone(),
                    Seen {
                        links,
                        ..seen.clone()
                    },
                )
            };
            tree.iter().map(one).collect()
        };
        same(&without_links(&merged), &without_links(&written));
        if depth == 2 {
            check_middle(&merged);
        }
        if depth == 3 {
            check_top(&merged);
        }
    }
    let accounts = layer::accounts(store.path(), &chains[1]).unwrap();
    assert!(
        accounts
            .passwd
            .ends_with(b"redis:x:100:101::/:/bin/false\n")
    );
    assert_eq!(accounts.group, b"root:x:0:\nredis:x:101:\n");
    let accounts = layer::accounts(store.path(), &chains[2]).unwrap();
    assert_eq!(accounts.passwd, b"root:x:0:0:top::/bin/sh\n");
    assert_eq!(accounts.group, b"root:x:0:\nredis:x:101:\n");
}

fn check_middle(tree: &Tree) {
    let root = shown(tree, "");
    assert_eq!((root.mode & 0o7777, root.uid, root.gid), (0o750, 7, 8));
    let etc = shown(tree, "etc");
    assert_eq!(
        (etc.mode & 0o7777, etc.uid, etc.gid, etc.mtime.0),
        (0o700, 1, 2, 1000)
    );
    assert_eq!(etc.xattrs[&b"user.e"[..]], b"tc");
    assert_eq!(shown(tree, "usr/lib").mode & 0o7777, 0o711);
    assert_eq!(
        shown(tree, "usr/lib/through").content,
        hash(b"written through lib")
    );
    shown(tree, "usr/lib/through-abs");
    shown(tree, "usr/through-up");
    assert_eq!(shown(tree, "lib").target, b"usr/lib");
    let copy = shown(tree, "copy-of-libc");
    assert_eq!(copy.content, hash(b"base libc"));
    assert_eq!(copy.xattrs[&b"user.l"[..]], b"c");
    assert_eq!(shown(tree, "copy-of-lib").target, b"usr/lib");
    assert_eq!(shown(tree, "replaced").mode & 0o7777, 0o755);
    shown(tree, "replaced/new");
    shown(tree, "becomes-dir/x");
    for gone in [
        "etc/gone",
        "opaque/old",
        "opaque/sub",
        "replaced/old",
        "var/lib/lists/a",
        "var/lib/lists/never-was",
        "only-here/nothing",
    ] {
        assert!(!tree.contains_key(gone.as_bytes()), "{gone}");
    }
}

fn check_top(tree: &Tree) {
    assert_eq!(shown(tree, "etc").mode & 0o7777, 0o755);
    shown(tree, "etc/new");
    assert_eq!(shown(tree, "becomes-file").content, hash(b"now"));
    assert_eq!(shown(tree, "libc-again").content, hash(b"base libc"));
    assert!(!tree.contains_key(&b"linked"[..]));
    shown(tree, "linked2");
    shown(tree, "lib/own");
    assert!(!tree.contains_key(&b"lib/through"[..]));
    shown(tree, "usr/lib/through");
    shown(tree, "opaque/sub/again");
    assert!(!tree.contains_key(&b"opaque/sub/old"[..]));
}

#[test]
fn an_opaque_root_hides_everything_below() {
    private_mounts();
    let store = TestStore::new("opaque-root");
    let base = Tarball::new()
        .put(dir("a"))
        .put(file("a/x", ""))
        .put(file("b", ""))
        .end();
    let top = Tarball::new()
        .put(file("a/y", ""))
        .put(file(".wh..wh..opq", ""))
        .put(file("c", ""))
        .end();
    let mut chains = store.chain(&[base, top]).unwrap();
    chains.reverse();
    let fds = attach(&store, Way::File, &chains);
    let merged = look(&overlay(&store, "merged", &fds));
    let names: Vec<_> = merged.keys().map(|k| String::from_utf8_lossy(k)).collect();
    assert_eq!(names, ["", "a", "a/y", "c"]);
    same(&merged, &look(&rendered(&store, "dir", &chains[0])));
}

#[test]
fn a_directory_layer_carries_the_marks_of_overlayfs() {
    private_mounts();
    let store = TestStore::new("marks");
    let mut chains = store.chain(&stack()).unwrap();
    chains.reverse();
    let files = look(&overlay(
        &store,
        "files",
        &attach(&store, Way::File, &chains),
    ));
    support::kernel::forget(&store);
    let fds = attach(&store, Way::Directory, &chains);
    let middle = put(&store, "raw", &fds[1]);
    let opaque = xattrs(&middle.join("opaque"));
    assert_eq!(opaque[&b"trusted.overlay.opaque"[..]], b"y");
    let fds = attach(&store, Way::Directory, &chains);
    let directories = look(&overlay(&store, "directories", &fds));
    same(&files, &directories);
}

#[test]
fn links_to_nothing_below_are_refused() {
    let store = TestStore::new("nothing-below");
    let base = Tarball::new().put(dir("d")).put(file("f", "")).end();
    for target in ["nothing", "d", "f/x"] {
        let top = Tarball::new().put(hard("l", target)).end();
        let error = store.chain(&[base.clone(), top]).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    }
    // Alone, the layer can be stored: it says nothing wrong yet.
    assert_eq!(layer::layers(store.path()).unwrap().len(), 4);
    assert_eq!(layer::chains(store.path()).unwrap().len(), 1);
    assert_eq!(store.left_over(), 0);
}

#[test]
fn accounts_come_from_regular_files_of_bounded_size_only() {
    let store = TestStore::new("accounts");
    let one = |entry| Tarball::new().put(dir("etc")).put(entry).end();
    let cases = [
        (one(file("etc/passwd", "ok")), &b"ok"[..]),
        (one(symlink("etc/passwd", "/proc/self/environ")), b""),
        (one(symlink("etc/passwd", "passwd")), b""),
        (one(header("etc/passwd", b'6')), b""),
        (one(dir("etc/passwd")), b""),
        (one(file("etc/passwd", vec![b'x'; (1 << 20) + 1])), b""),
        (
            Tarball::new()
                .put(symlink("etc", "../conf"))
                .put(dir("conf"))
                .put(symlink("conf/passwd", "/conf/real"))
                .put(file("conf/real", "followed"))
                .end(),
            b"followed",
        ),
    ];
    for (tar, passwd) in cases {
        let chains = store.chain(&[tar]).unwrap();
        assert_eq!(
            layer::accounts(store.path(), &chains[0]).unwrap().passwd,
            passwd
        );
    }
}
