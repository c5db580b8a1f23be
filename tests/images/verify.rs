//! A flipped bit is found, wherever it is, and named.

use rkt_tests::layout::Image;
use rkt_tests::tar::Entry;
use rkt_tests::{Done, Rkt};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Two layers, the second of which means something only on the first.
pub(super) fn image() -> Image {
    let base = Image::with_probe(&[
        Entry::dir("etc"),
        Entry::file("etc/passwd", "root:x:0:0::/:/bin/sh\n"),
        Entry::file("big", vec![7; 200_000]),
    ]);
    let mut image = Image::new(&[&[Entry::file("etc/.wh.gone", ""), Entry::file("new", "new")]]);
    image.layers.insert(0, base.layers[0].clone());
    image
}

/// The image in the store: its name and its id.
pub(super) fn fetched(rkt: &Rkt) -> (String, String) {
    let name = image().write(&rkt.file("layout")).reference();
    let id = rkt.rkt(&["fetch", "--quiet", &name]).ok().trim().to_owned();
    (name, id)
}

/// All files of the store that verify vouches for, relative to the data directory.
pub(super) fn files(data: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for place in ["blobs", "layers", "chains"] {
        walk(&data.join(place), &mut all);
    }
    all.iter()
        .map(|p| p.strip_prefix(data).unwrap().to_owned())
        .collect()
}

fn walk(dir: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, all);
        } else {
            all.push(path);
        }
    }
}

/// Flips one bit of a file that is read-only and stays so.
pub(super) fn flip(path: &Path, at: u64) {
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}

fn damage(done: &Done) -> Vec<serde_json::Value> {
    done.out
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .flat_map(|v| v["damage"].as_array().unwrap().clone())
        .collect()
}

#[test]
fn a_flipped_bit_is_found_wherever_it_is() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let (name, id) = fetched(&rkt);
    let good = rkt.rkt(&["image", "verify"]).ok();
    assert_eq!(
        good,
        format!("successfully verified checksum for image: \"{name}\"\n")
    );
    let value = rkt.rkt(&["image", "verify", "--format=json", &id]).json();
    assert_eq!(
        (&value["ok"], &value["id"]),
        (&true.into(), &id.as_str().into())
    );
    assert!(value["bytes"].as_u64().unwrap() > 200_000, "{value}");
    let files = files(&rkt.data());
    // Two blobs, two tars, an index of the first layer alone, two chains of an index each, and
    // beside them records and accounts.
    assert!(files.len() >= 13, "{files:?}");
    for file in &files {
        let path = rkt.data().join(file);
        let size = fs::metadata(&path).unwrap().len();
        for at in [0, size / 3, size.saturating_sub(1)] {
            if size == 0 {
                continue;
            }
            flip(&path, at);
            let done = rkt
                .rkt(&["image", "verify", "--format=json", &id])
                .ends_with(1);
            done.clone().is_one_clear_error();
            let found = damage(&done);
            let named = found.iter().any(|d| d["file"] == file.to_str().unwrap());
            assert!(named, "{} at {at}: {found:?}", file.display());
            if !file.starts_with("blobs") {
                assert!(found.iter().all(|d| d["layer"].is_string()), "{found:?}");
            }
            // Whom it concerns, for people.
            done.says(&format!("image `{name}`"))
                .says(file.to_str().unwrap());
            rkt.rkt(&["image", "verify"]).ends_with(1);
            flip(&path, at);
        }
    }
    rkt.rkt(&["image", "verify"]).ok();
}

#[test]
fn what_is_missing_or_cut_is_found() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let (_, id) = fetched(&rkt);
    for file in files(&rkt.data()) {
        let path = rkt.data().join(&file);
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let done = rkt
            .rkt(&["image", "verify", "--format=json", &id])
            .ends_with(1);
        assert!(!damage(&done).is_empty(), "{}: {done}", file.display());
        done.is_one_clear_error();
        if !bytes.is_empty() {
            fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
            rkt.rkt(&["image", "verify", &id])
                .ends_with(1)
                .is_one_clear_error();
        }
        fs::write(&path, &bytes).unwrap();
    }
    rkt.rkt(&["image", "verify", &id]).ok();
}

/// An index and the digest in its record that were changed together: only the tar tells.
#[test]
fn an_index_that_was_changed_with_its_record_is_found() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let (_, id) = fetched(&rkt);
    let chains = rkt.data().join("chains/sha256");
    for chain in fs::read_dir(chains).unwrap() {
        let dir = chain.unwrap().path();
        let (index, info) = (dir.join("index"), dir.join("info"));
        let (old, old_info) = (fs::read(&index).unwrap(), fs::read(&info).unwrap());
        // A file of root's becomes setuid, and the record is told so.
        let mut new = old.clone();
        let modes = [0o100_755_u16, 0o100_644].map(u16::to_le_bytes);
        let at = (1152 / 32..new.len() / 32)
            .map(|n| n * 32)
            .find(|at| modes.iter().any(|mode| new[at + 4..at + 6] == mode[..]))
            .unwrap();
        new[at + 5] |= 0x08;
        let hex = |bytes: &[u8]| rkt_tests::layout::digest(bytes)[7..].to_owned();
        let raw = |bytes: &[u8]| -> Vec<u8> {
            let hex = hex(bytes);
            (0..32)
                .map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap())
                .collect()
        };
        let mut new_info = old_info.clone();
        for (from, to) in [
            (hex(&old).into_bytes(), hex(&new).into_bytes()),
            (raw(&old), raw(&new)),
        ] {
            if let Some(at) = new_info.windows(from.len()).position(|w| w == from) {
                new_info[at..at + to.len()].copy_from_slice(&to);
            }
        }
        assert_ne!(new_info, old_info, "the record holds the digest");
        fs::write(&index, &new).unwrap();
        fs::write(&info, &new_info).unwrap();
        rkt.rkt(&["image", "verify", &id])
            .ends_with(1)
            .is_one_clear_error()
            .says("/index`");
        fs::write(&index, &old).unwrap();
        fs::write(&info, &old_info).unwrap();
    }
    rkt.rkt(&["image", "verify", &id]).ok();
}

/// Where EROFS cannot be mounted a layer is a directory tree: each file of it is compared.
#[test]
fn damage_in_a_directory_tree_is_found() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let name = image().write(&rkt.file("layout")).reference();
    rkt.run(&["--layers=directory", &name, "--", "exit", "0"])
        .ok();
    rkt.rkt(&["image", "verify", &name]).ok();
    let chains = fs::read_dir(rkt.data().join("chains/sha256")).unwrap();
    let trees: Vec<PathBuf> = chains.map(|c| c.unwrap().path().join("tree")).collect();
    let base = trees.iter().find(|t| t.join("big").exists()).unwrap();
    let says = |words: &str| {
        rkt.rkt(&["image", "verify", &name])
            .ends_with(1)
            .is_one_clear_error()
            .says(words);
    };
    let time = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let big = base.join("big");
    let was = time(&big);
    flip(&big, 150_000);
    // As a disk does it: the time stays.
    fs::File::options()
        .write(true)
        .open(&big)
        .unwrap()
        .set_modified(was)
        .unwrap();
    says("tree/big`: byte 150000 is not what the layer has");
    flip(&big, 150_000);
    fs::File::options()
        .write(true)
        .open(&big)
        .unwrap()
        .set_modified(was)
        .unwrap();
    rkt.rkt(&["image", "verify", &name]).ok();
    std::os::unix::fs::chown(&big, Some(7), None).unwrap();
    says("tree/big`: its kind, mode, owner, size or time is another");
    std::os::unix::fs::chown(&big, Some(0), None).unwrap();
    let etc = base.join("etc");
    let was = time(&etc);
    fs::write(etc.join("more"), "").unwrap();
    says("tree/etc/more`: the layer has no such thing");
    fs::remove_file(etc.join("more")).unwrap();
    fs::remove_file(etc.join("passwd")).unwrap();
    fs::File::open(&etc).unwrap().set_modified(was).unwrap();
    says("tree/etc/passwd`: it is not there");
}
