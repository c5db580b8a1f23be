//! Three ways to the files of an image show the same, entry by entry and byte by byte: the mount
//! of its layers (EROFS below overlayfs), `rkt image render`, and `umoci unpack`.

#[path = "../../crates/store/tests/support/stack.rs"]
mod stack;
#[allow(dead_code)]
#[path = "../../crates/store/tests/support/tarball.rs"]
mod tarball;
#[allow(dead_code)]
#[path = "../../crates/store/tests/support/tree.rs"]
mod tree;

use rkt_store::layer::{CHILD_VERB, ChainId};
use rkt_store::{HUB, LayerProgram, OpenMode, Store, mounts};
use rkt_sys::mount;
use rkt_tests::command::{run, tool};
use rkt_tests::images::{BUSYBOX, DEBIAN, NGINX, TOOLS};
use rkt_tests::layout::Image;
use rkt_tests::registry::Registry;
use rkt_tests::{Need, Rkt};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tarball::{Tarball, dir, file, hard, header, symlink};
use tree::{Tree, look};

/// A tree, and which names are one file.
pub(super) struct Shown {
    tree: Tree,
    links: Vec<Vec<Vec<u8>>>,
}

fn shown(root: &Path) -> Shown {
    let mut tree = look(root);
    let mut groups: BTreeMap<(u64, u64), Vec<Vec<u8>>> = BTreeMap::new();
    for (name, seen) in &mut tree {
        if seen.links != 0 {
            use std::os::unix::ffi::OsStrExt;
            let path = root.join(std::ffi::OsStr::from_bytes(name));
            let meta = fs::symlink_metadata(path).unwrap();
            groups
                .entry((meta.dev(), meta.ino()))
                .or_default()
                .push(name.clone());
        }
        // overlayfs counts names that upper layers hide; the groups say what is linked.
        seen.links = u64::from(seen.links != 0);
    }
    let mut links: Vec<_> = groups.into_values().filter(|g| g.len() > 1).collect();
    links.sort();
    Shown { tree, links }
}

fn same(what: &str, left: &Shown, right: &Shown) {
    let done = std::panic::catch_unwind(|| tree::same(&left.tree, &right.tree));
    // The differences themselves are above.
    assert!(done.is_ok(), "{what} differ");
    assert_eq!(left.links, right.links, "{what}: hard links");
}

/// What overlayfs shows of an image's layers, as a pod has them below its own. The mounts end with
/// a thread that has a mount namespace of its own.
fn mounted(rkt: &Rkt, name: &str) -> Shown {
    std::thread::scope(|scope| scope.spawn(|| shown(&merged(rkt, name))).join().unwrap())
}

fn merged(rkt: &Rkt, name: &str) -> PathBuf {
    rkt_sys::ns::unshare(rkt_sys::ns::kind::MOUNT).unwrap();
    mount::make_all_private().unwrap();
    let program = LayerProgram {
        path: rkt_tests::need::binary().unwrap(),
        args: vec![CHILD_VERB.into()],
    };
    let store = Store::open(rkt.data(), OpenMode::Use).unwrap();
    let image = store.find(name, HUB).unwrap();
    let run_dir = rkt.file("mounts-run");
    fs::create_dir_all(&run_dir).unwrap();
    let chains: Vec<ChainId> = image
        .chains
        .iter()
        .rev()
        .cloned()
        .map(ChainId::from_digest)
        .collect();
    let way = mounts::Way::File;
    let fds = mounts::attach(store.dir(), &run_dir, &program, way, &chains).unwrap();
    let unique = rkt_tests::rkt::unique();
    stack::overlay(
        &|name: &str| {
            let at = rkt.file(&format!("{name}-{unique}"));
            fs::create_dir_all(&at).unwrap();
            at
        },
        "merged",
        &fds,
    )
}

/// As umoci unpacks it.
fn unpacked(rkt: &Rkt, layout: &Path, tag: &str) -> PathBuf {
    let bundle = rkt.file(&format!("bundle-{}", rkt_tests::rkt::unique()));
    let image = format!("{}:{tag}", layout.display());
    tool(
        "umoci",
        &["unpack", "--image", &image, &bundle.display().to_string()],
    );
    bundle.join("rootfs")
}

fn rendered(rkt: &Rkt, name: &str) -> PathBuf {
    let at = rkt.file(&format!("rendered-{}", rkt_tests::rkt::unique()));
    rkt.rkt(&[
        "image",
        "render",
        "--rootfs-only",
        name,
        &at.display().to_string(),
    ])
    .ok();
    at
}

/// Compares the three; `forgive` takes from both what umoci is known to do otherwise.
fn compare(rkt: &Rkt, layout: &Path, tag: &str, forgive: impl Fn(&mut Shown)) -> Shown {
    let name = format!("oci:{}:{tag}", layout.display());
    compare_as(rkt, &name, layout, tag, forgive)
}

/// The same for another name of the image in the layout.
fn compare_as(
    rkt: &Rkt,
    name: &str,
    layout: &Path,
    tag: &str,
    forgive: impl Fn(&mut Shown),
) -> Shown {
    rkt.rkt(&["fetch", "--quiet", name]).ok();
    pulled(rkt, name, layout, tag, forgive)
}

/// The same for an image that is in the store.
pub(super) fn pulled(
    rkt: &Rkt,
    name: &str,
    layout: &Path,
    tag: &str,
    forgive: impl Fn(&mut Shown),
) -> Shown {
    rkt.rkt(&["image", "verify", name]).ok();
    let mut ours = shown(&rendered(rkt, name));
    let mount = mounted(rkt, name);
    assert!(mount.tree.len() > 5, "{name} is empty");
    same("the mount and the directory", &mount, &ours);
    let mut theirs = shown(&unpacked(rkt, layout, tag));
    let result = Shown {
        tree: ours.tree.clone(),
        links: ours.links.clone(),
    };
    forgive(&mut ours);
    forgive(&mut theirs);
    same("the directory and umoci's", &ours, &theirs);
    result
}

fn needs(more: &[&'static str]) -> Vec<Need> {
    let mut needs = TOOLS.to_vec();
    needs.extend(more.iter().map(|name| Need::Tool(name)));
    needs
}

#[test]
fn images_of_debian_packages_are_the_same_three_ways() {
    let Some(rkt) = Rkt::needs(&needs(&["umoci"])) else {
        return;
    };
    for recipe in [BUSYBOX, DEBIAN, NGINX] {
        compare(&rkt, &recipe.layout(), "latest", |_| {});
    }
    rkt.leaves_nothing();
}

/// Changes that a layer can hold, made in a directory tree by the tools of the host.
fn change(root: &Path) {
    let script = "set -e; cd \"$0\"
        rm -rf usr/share/common-licenses etc/debian_version
        rm -r var/lib/apt; mkdir -p var/lib/apt; echo new > var/lib/apt/only
        echo more >> etc/hosts-like; chown 12:34 etc/hosts-like; chmod 2711 etc/hosts-like
        ln etc/hosts-like linked; ln bin/bash bash-linked || ln usr/bin/bash bash-linked
        rm etc/issue; mkdir etc/issue; echo x > etc/issue/inside
        truncate -s 3M sparse; printf data | dd of=sparse bs=1 seek=1048576 conv=notrunc status=none
        setfattr -n user.k -v value sparse
        cp bin/sh capable; setcap cap_net_raw+ep capable
        mkfifo fifo; ln -s /nowhere dangling; mkdir -m 1777 sticky
        touch -d '1969-12-31 00:00:00.5 UTC' old; touch -d '2100-01-01 UTC' new
        printf x > \"$(printf 'odd \\377\\001 name')\"";
    let mut command = Command::new("bash");
    command.args(["-c", script]).arg(root);
    run(command, None).ok();
}

#[test]
fn a_layer_that_umoci_made_is_the_same_three_ways() {
    let Some(rkt) = Rkt::needs(&needs(&["umoci", "setfattr", "setcap"])) else {
        return;
    };
    let copy = rkt.file("umoci");
    tool(
        "cp",
        &[
            "-r",
            &DEBIAN.layout().display().to_string(),
            &copy.display().to_string(),
        ],
    );
    let (image, bundle) = (format!("{}:latest", copy.display()), rkt.file("work"));
    let bundle = bundle.display().to_string();
    tool("umoci", &["unpack", "--image", &image, &bundle]);
    change(&Path::new(&bundle).join("rootfs"));
    let new = format!("{}:new", copy.display());
    tool("umoci", &["repack", "--image", &new, &bundle]);
    let tree = compare(&rkt, &copy, "new", |_| {});
    changed(&tree);
}

#[test]
fn an_image_that_buildah_made_and_pushed_is_the_same_three_ways_and_runs() {
    let Some(rkt) = Rkt::needs(&needs(&[
        "umoci",
        "buildah",
        "docker-registry",
        "setfattr",
        "setcap",
    ])) else {
        return;
    };
    let work = rkt.file("buildah");
    let buildah = |words: &[&str]| -> String {
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--propagation",
            "private",
            "buildah",
            "--storage-driver=vfs",
        ]);
        command.arg(format!("--root={}", work.join("root").display()));
        command.arg(format!("--runroot={}", work.join("run").display()));
        command.env("TMPDIR", rkt.open_dir("tmp")).args(words);
        run(command, None).ok().trim().to_owned()
    };
    let container = buildah(&["from", "--pull-never", &DEBIAN.oci()]);
    let root = buildah(&["mount", &container]);
    change(Path::new(&root));
    buildah(&[
        "config",
        "--env=WHO=buildah",
        "--workingdir=/sticky",
        "--cmd=[\"sh\", \"-c\", \"pwd; cat /linked; echo $WHO\"]",
        &container,
    ]);
    buildah(&["commit", "--quiet", &container, "made"]);
    buildah(&["rm", &container]);
    // To a registry and back, as OCI has it and as docker has it.
    let registry = Registry::start(&rkt.file("registry"));
    for format in ["oci", "v2s2"] {
        let name = format!("docker://{}/team/made:{format}", registry.address);
        let as_format = format!("--format={format}");
        buildah(&[
            "push",
            "--quiet",
            "--tls-verify=false",
            &as_format,
            "made",
            &name,
        ]);
        let layout = rkt.file(format);
        let to = format!("oci:{}:latest", layout.display());
        tool(
            "skopeo",
            &["copy", "--quiet", "--src-tls-verify=false", &name, &to],
        );
        let shown = compare_as(&rkt, &name, &layout, "latest", |_| {});
        changed(&shown);
        assert_eq!(
            rkt.run(&[&name]).ok(),
            "/sticky\nmore\nbuildah\n",
            "{format}"
        );
    }
    drop(registry);
}

/// That the changes are there, and not only the same thing three times.
fn changed(shown: &Shown) {
    let tree = &shown.tree;
    let seen = |name: &str| {
        tree.get(name.as_bytes())
            .unwrap_or_else(|| panic!("no {name}"))
    };
    for gone in [
        "usr/share/common-licenses",
        "etc/debian_version",
        "var/lib/apt/lists",
    ] {
        assert!(!tree.contains_key(gone.as_bytes()), "{gone}");
    }
    let hosts = seen("etc/hosts-like");
    assert_eq!(
        (hosts.mode & 0o7777, hosts.uid, hosts.gid),
        (0o2711, 12, 34)
    );
    assert_eq!(seen("sparse").size, 3 << 20);
    assert_eq!(seen("sparse").xattrs[&b"user.k"[..]], b"value");
    assert_eq!(
        seen("capable").xattrs[&b"security.capability"[..]].len(),
        20
    );
    // Half a second before midnight; umoci writes whole seconds.
    assert!([-86_400, -86_399].contains(&seen("old").mtime.0));
    assert!(tree.contains_key(&b"odd \xff\x01 name"[..]));
    let linked = |a: &str, b: &str| {
        let has = |g: &Vec<Vec<u8>>, n: &str| g.iter().any(|x| x == n.as_bytes());
        assert!(
            shown.links.iter().any(|g| has(g, a) && has(g, b)),
            "{a} and {b}"
        );
    };
    linked("etc/hosts-like", "linked");
}

/// Bytes that differ from block to block.
fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n / 512 + n % 251) as u8).collect()
}

/// Layers by hand: what no tool writes today, and some did.
fn layers() -> Vec<Vec<u8>> {
    let capability = b"\x01\0\0\x02\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let mut sparse = b"2\n4096\n4096\n1048576\n8192\n".to_vec();
    sparse.resize(512, 0);
    sparse.extend(bytes(12_288));
    let mut odd = b"3\n5\n7\n600\n100\n20000\n1\n".to_vec();
    odd.resize(512, 0);
    odd.extend(bytes(108));
    let holed = |name: &str, size: &str, data: &[u8]| {
        let mut entry = file(format!("GNUSparseFile.0/{name}"), data)
            .pax("GNU.sparse.major", "1")
            .pax("GNU.sparse.minor", "0")
            .pax("GNU.sparse.realsize", size)
            .pax("GNU.sparse.name", name);
        entry.mtime = 1_600_000_000;
        entry
    };
    let mut base = Tarball::new()
        .put(dir("./").mode(0o751).owner(3, 4))
        .put(
            dir("etc")
                .mode(0o750)
                .owner(1, 2)
                .mtime(1000)
                .xattr("user.e", "tc"),
        )
        .put(file("etc/a", "a").mode(0o4755))
        .put(file("etc/b", "b").mode(0o2755).owner(4_294_967_294, 70_000))
        .put(dir("gone"))
        .put(file("gone/x", "x"))
        .put(dir("opaque").mode(0o700))
        .put(file("opaque/old", ""))
        .put(dir("opaque/sub"))
        .put(file("opaque/sub/old", ""))
        .put(dir("usr"))
        .put(dir("usr/lib").mode(0o711))
        .put(symlink("lib", "usr/lib"))
        .put(file("usr/lib/libc", "libc").xattr("user.l", "c"))
        .put(hard("usr/lib/libc2", "usr/lib/libc"))
        .put(
            file("capable", "x")
                .mode(0o755)
                .xattr("security.capability", capability),
        )
        .put(
            file("empty-value", "")
                .xattr("user.empty", "")
                .xattr("user.nul", b"a\0b"),
        )
        .put(holed("sparse", "3145728", &sparse))
        .put(holed("odd-sparse", "20001", &odd))
        .put(header("fifo", b'6').mode(0o600))
        .put(header("null", b'3').device(1, 3).mode(0o666))
        .put(header("disk", b'4').device(8, 1).mode(0o660))
        .put(file("t", "").pax("mtime", "1700000000.123456789"))
        .put(file("early", "").mtime(-5))
        .put(file("twice", "first"))
        .put(file("twice", "second").mode(0o600))
        .put(dir("sticky").mode(0o1777))
        .put(file("file-then-dir", "x"))
        .put(dir("dir-then-file"))
        .put(file("dir-then-file/x", "x"))
        .put(dir("names"));
    for name in [
        &b"\xff\xfe"[..],
        b"\x01\x1b[2J",
        b"a b",
        b"-n",
        b"...",
        b"new\nline",
    ] {
        base = base.put(file([b"names/", name].concat(), name));
    }
    base = base.put(file(format!("names/{}", "n".repeat(255)), "long"));
    let deep = format!("names{}", format!("/{}", "d".repeat(60)).repeat(20));
    for (end, _) in deep.match_indices('/').skip(1) {
        base = base.put(dir(&deep[..end]));
    }
    base = base
        .put(dir(&deep))
        .put(file(format!("{deep}/end"), "deep"));
    for len in [1, 512, 1000] {
        base = base.put(symlink(format!("names/to-{len}"), "t".repeat(len)));
    }
    let middle = Tarball::new()
        .put(dir("etc").mode(0o755).mtime(2000))
        .put(file("etc/.wh.a", ""))
        .put(file(".wh.gone", ""))
        .put(dir("opaque").mode(0o711))
        .put(file("opaque/.wh..wh..opq", ""))
        .put(file("opaque/new", "new"))
        .put(file("lib/through", "through the link").mtime(5))
        .put(dir("usr/lib").mode(0o711))
        .put(hard("libc-up", "usr/lib/libc"))
        .put(hard("sparse-up", "sparse"))
        .put(hard("odd-up", "odd-sparse"))
        .put(dir("file-then-dir"))
        .put(file("file-then-dir/now", ""))
        .put(file("dir-then-file", "now"));
    let top = Tarball::new()
        .put(file(".wh.usr", ""))
        .put(dir("usr"))
        .put(file("usr/fresh", "fresh"))
        .put(hard("libc-again", "libc-up"))
        .put(dir("gone"))
        .put(file("gone/again", ""));
    vec![base.end(), middle.end(), top.end()]
}

#[test]
fn layers_by_hand_are_the_same_three_ways() {
    let Some(rkt) = Rkt::needs(&[Need::Tool("umoci")]) else {
        return;
    };
    let mut image = Image::new(&[]);
    image.layers = layers();
    let layout = image.write(&rkt.file("layout"));
    let shown = compare(&rkt, &layout.dir, "latest", |shown| {
        // Go takes an extended record without a value for one that takes a value back.
        for seen in shown.tree.values_mut() {
            seen.xattrs.remove(&b"user.empty"[..]);
        }
        // A link to a file of a lower layer has its bytes and attributes, and an inode of its
        // own layer: docs/design/layers.md.
        let across = [&b"libc-again"[..], b"libc-up", b"odd-up", b"sparse-up"];
        for group in &mut shown.links {
            group.retain(|name| !across.contains(&name.as_slice()));
        }
        shown.links.retain(|group| group.len() > 1);
    });
    let tree = &shown.tree;
    assert!(
        tree[&b"empty-value"[..]]
            .xattrs
            .contains_key(&b"user.empty"[..])
    );
    assert!(!tree.contains_key(&b"opaque/old"[..]) && !tree.contains_key(&b"usr/lib"[..]));
    assert_eq!(
        tree[&b"sparse-up"[..]].content,
        tree[&b"sparse"[..]].content
    );
    assert_eq!(tree[&b"capable"[..]].xattrs.len(), 1);
    rkt.leaves_nothing();
}

/// fsck.erofs and dump.erofs 1.8 from Debian 13's package: Debian 12's do not know extra devices
/// well enough. Kept with the images made for tests.
fn erofs_tool(name: &str) -> Command {
    let cache = rkt_tests::images::cache();
    let lock = fs::File::create(cache.join("erofs-utils.lock")).unwrap();
    lock.lock().unwrap();
    let at = cache.join("erofs-utils");
    if !at.join("done").exists() {
        let _ = fs::remove_dir_all(&at);
        let words = ["--variant=extract", "--include=erofs-utils", "trixie"];
        rkt_tests::images::mmdebstrap(&words, &at);
        fs::write(at.join("done"), "").unwrap();
    }
    let libraries = at
        .join("usr/lib")
        .join(format!("{}-linux-gnu", std::env::consts::ARCH));
    let loader = fs::read_dir(&libraries)
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| {
            p.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("ld-linux")
        })
        .unwrap();
    let mut command = Command::new(loader);
    command
        .arg("--library-path")
        .arg(&libraries)
        .arg(at.join("usr/bin").join(name));
    command
}

/// The tars that an index names, in order: what follows its own digest in its record.
fn devices(data: &Path, chain: &Path) -> Vec<PathBuf> {
    let index = rkt_tests::layout::digest(&fs::read(chain.join("index")).unwrap());
    let info = fs::read(chain.join("info")).unwrap();
    let raw = |hex: &str| -> Vec<u8> {
        (0..32)
            .map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap())
            .collect()
    };
    let find = |from: usize, hex: &str| -> Option<usize> {
        let [raw, text] = [raw(hex), hex.as_bytes().to_vec()];
        let tail = &info[from..];
        let at = |want: &[u8]| tail.windows(want.len()).position(|w| w == want);
        at(&raw).or_else(|| at(&text)).map(|at| from + at)
    };
    let start = find(0, &index[7..]).unwrap();
    let mut found: Vec<(usize, PathBuf)> = fs::read_dir(data.join("layers/sha256"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter_map(|layer| {
            let hex = layer.file_name()?.to_str()?.to_owned();
            Some((find(start, &hex)?, layer.join("tar")))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, tar)| tar).collect()
}

/// A reader that is not ours and not the kernel's takes every index, and reads the same from it.
#[test]
fn indexes_are_accepted_and_read_by_erofs_utils() {
    let Some(rkt) = Rkt::needs(&needs(&["umoci"])) else {
        return;
    };
    let mut image = Image::new(&[]);
    image.layers = layers();
    let by_hand = image.write(&rkt.file("layout"));
    let names = [by_hand.reference(), DEBIAN.oci()];
    for name in &names {
        rkt.rkt(&["fetch", "--quiet", name]).ok();
    }
    let chains = rkt.data().join("chains/sha256");
    let (mut all, mut extracted) = (0, 0);
    for chain in fs::read_dir(&chains).unwrap() {
        let chain = chain.unwrap().path();
        let index = chain.join("index");
        let devices = devices(&rkt.data(), &chain);
        let mut fsck = erofs_tool("fsck.erofs");
        for device in &devices {
            fsck.arg(format!("--device={}", device.display()));
        }
        fsck.arg("--extract").arg(&index);
        run(fsck, None).ok();
        // It does notice: the same without the inodes is refused.
        let broken = rkt.file("broken");
        let mut bytes = fs::read(&index).unwrap();
        let half = 2048.min(bytes.len() / 2);
        bytes[half..].fill(0xff);
        fs::write(&broken, bytes).unwrap();
        let mut fsck = erofs_tool("fsck.erofs");
        for device in &devices {
            fsck.arg(format!("--device={}", device.display()));
        }
        fsck.arg("--extract").arg(&broken);
        assert_ne!(run(fsck, None).status, 0);
        all += 1;
        let mut dump = erofs_tool("dump.erofs");
        dump.arg("-s").arg(&index);
        let text = run(dump, None).ok();
        assert!(
            text.contains("device_table") && text.contains("512"),
            "{text}"
        );
        // The lowest layer has no whiteouts: extracted, it is what the image shows of it.
        let hex = chain.file_name().unwrap().to_str().unwrap().to_owned();
        if !rkt.data().join("layers/sha256").join(&hex).exists() {
            continue;
        }
        let to = rkt.file(&format!("fsck-{hex}"));
        let mut fsck = erofs_tool("fsck.erofs");
        for device in &devices {
            fsck.arg(format!("--device={}", device.display()));
        }
        fsck.arg(format!("--extract={}", to.display()));
        fsck.args(["--preserve", "--xattrs"]).arg(&index);
        run(fsck, None).ok();
        let mut image = Image::new(&[]);
        image.layers =
            vec![fs::read(rkt.data().join("layers/sha256").join(&hex).join("tar")).unwrap()];
        let alone = image.write(&rkt.file(&format!("alone-{hex}")));
        rkt.rkt(&["fetch", "--quiet", &alone.reference()]).ok();
        let mut ours = shown(&rendered(&rkt, &alone.reference()));
        let mut theirs = shown(&to);
        // fsck.erofs 1.8 looks for data in an address range of a second device in the first, and
        // reads zeros: of contents it can say nothing. (The kernel's reading is compared above.)
        for seen in ours.tree.values_mut().chain(theirs.tree.values_mut()) {
            seen.content.clear();
        }
        // Nor does it cut a file to its size after a last hole, write data before capabilities
        // (which the kernel then drops), or go on after an attribute without a value.
        for name in [&b"sparse"[..], b"capable", b"empty-value"] {
            assert_eq!(
                ours.tree.remove(name).is_some(),
                theirs.tree.remove(name).is_some()
            );
        }
        same("the directory and fsck.erofs's", &ours, &theirs);
        extracted += 1;
    }
    assert_eq!((all, extracted), (4, 2));
}
