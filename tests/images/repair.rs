//! What `rkt image verify --repair` makes again, of what, and what it leaves alone.

use super::aci::UNSIGNED;
use super::verify::{fetched, files, flip, image};
use rkt_tests::aci::Aci;
use rkt_tests::images::TAG;
use rkt_tests::layout::Image;
use rkt_tests::registry::Registry;
use rkt_tests::tar::Entry;
use rkt_tests::{Done, Need, Rkt};
use std::fs;
use std::path::{Path, PathBuf};

/// Takes off the flag that keeps what is mounted from being changed, where it is set.
fn thaw(path: &Path) {
    let mut command = std::process::Command::new("chattr");
    command.arg("-i").arg(path);
    let _ = rkt_tests::command::run(command, None);
}

fn repair(rkt: &Rkt, more: &[&str]) -> Done {
    let mut words = vec!["image", "verify", "--repair"];
    words.extend(more);
    rkt.rkt(&words)
}

/// What is made of a tar, and not the tar.
fn is_made(file: &Path) -> bool {
    file.starts_with("chains") || file.ends_with("index") || file.ends_with("info")
}

#[test]
fn what_a_tar_can_give_is_made_from_it_without_the_source() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let (name, id) = fetched(&rkt);
    fs::remove_dir_all(rkt.file("layout")).unwrap();
    let made: Vec<PathBuf> = files(&rkt.data())
        .into_iter()
        .filter(|f| is_made(f))
        .collect();
    assert!(made.len() >= 7, "{made:?}");
    for file in &made {
        let path = rkt.data().join(file);
        for harm in 0..3 {
            let whole = fs::read(&path).unwrap();
            match harm {
                0 if whole.is_empty() => continue,
                0 => flip(&path, whole.len() as u64 / 2),
                1 => fs::write(&path, &whole[..whole.len() / 2]).unwrap(),
                _ => fs::remove_file(&path).unwrap(),
            }
            if harm == 1 && whole.is_empty() {
                continue;
            }
            let value = repair(&rkt, &["--format=json", &id]).json();
            assert_eq!(value["ok"], true, "{}: {value}", file.display());
            let repaired = value["repaired"].as_array().unwrap();
            assert!(
                repaired.iter().any(|f| *f == *file.to_str().unwrap()),
                "{value}"
            );
            assert_eq!(fs::read(&path).unwrap(), whole, "{}", file.display());
        }
    }
    let out = repair(&rkt, &[]).ok();
    assert!(!out.contains("repaired"), "nothing to do: {out}");
    rkt.run(&["--pull-policy=never", &name, "--", "exit", "0"])
        .ok();
}

#[test]
fn the_rest_is_fetched_again_or_left_as_it_was() {
    let Some(rkt) = Rkt::needs(&[Need::Tool("chattr")]) else {
        return;
    };
    let (name, id) = fetched(&rkt);
    let list = fs::read_dir(rkt.data().join("images")).unwrap();
    let record = list.map(|e| e.unwrap().file_name()).next().unwrap();
    let record = PathBuf::from("images").join(record);
    let mut kept: Vec<PathBuf> = files(&rkt.data())
        .into_iter()
        .filter(|f| !is_made(f))
        .collect();
    assert!(
        kept.iter().filter(|f| f.ends_with("tar")).count() == 2,
        "{kept:?}"
    );
    kept.push(record);
    for file in &kept {
        let path = rkt.data().join(file);
        let whole = fs::read(&path).unwrap();
        flip(&path, whole.len() as u64 / 3);
        rkt.rkt(&["image", "verify", &id]).ends_with(1);
        let out = repair(&rkt, &[&id]).ok();
        assert!(
            out.contains(&format!("repaired `{}`", file.display())),
            "{out}"
        );
        rkt.rkt(&["image", "verify"]).ok();
        fs::remove_file(&path).unwrap();
        repair(&rkt, &[&name]).ok();
        rkt.rkt(&["image", "verify"]).ok();
    }
    // Without the source, nothing is lost that is still there.
    fs::rename(rkt.file("layout"), rkt.file("away")).unwrap();
    let before = files(&rkt.data());
    for file in &kept {
        let path = rkt.data().join(file);
        flip(&path, 0);
        let spoilt = fs::read(&path).unwrap();
        repair(&rkt, &[&id])
            .ends_with(254)
            .is_one_clear_error()
            .says("repair image");
        assert_eq!(fs::read(&path).unwrap(), spoilt);
        flip(&path, 0);
        rkt.rkt(&["image", "verify"]).ok();
        assert_eq!(files(&rkt.data()), before);
    }
    rkt.run(&["--pull-policy=never", &name, "--", "exit", "0"])
        .ok();
    // Nobody knows where an image without a name came from.
    let tar = rkt
        .data()
        .join(kept.iter().find(|f| f.ends_with("tar")).unwrap());
    for entry in fs::read_dir(rkt.data().join("refs")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    thaw(&tar);
    flip(&tar, 0);
    repair(&rkt, &[&id])
        .ends_with(254)
        .is_one_clear_error()
        .says("nobody knows where");
}

#[test]
fn a_registrys_image_comes_by_its_digest_though_its_tag_has_moved() {
    let needs = ["skopeo", "docker-registry"].map(Need::Tool);
    let Some(rkt) = Rkt::needs(&needs) else {
        return;
    };
    let registry = Registry::start(&rkt.file("registry"));
    let layout = image().write(&rkt.file("layout"));
    let name = registry.push(&layout.dir, TAG, "team/app");
    let id = rkt.rkt(&["fetch", "--quiet", &name]).ok().trim().to_owned();
    let other = Image::with_probe(&[Entry::file("other", "other")]).write(&rkt.file("other"));
    registry.push(&other.dir, TAG, "team/app");
    let list = rkt.rkt(&["image", "list", "--format=json"]).ok();
    for file in files(&rkt.data()).iter().filter(|f| f.ends_with("tar")) {
        flip(&rkt.data().join(file), 700);
    }
    repair(&rkt, &[]).ok();
    rkt.rkt(&["image", "verify", &id]).ok();
    let same = |text: &str| {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        (
            value["id"].clone(),
            value["names"].clone(),
            value["name"].clone(),
        )
    };
    let now = rkt.rkt(&["image", "list", "--format=json"]).ok();
    assert_eq!(same(&now), same(&list), "one image, with the names it had");
    drop(registry);
}

#[test]
fn a_pod_goes_on_and_the_next_one_has_what_was_repaired() {
    let Some(rkt) = Rkt::needs(&[Need::Tool("chattr")]) else {
        return;
    };
    let (name, id) = fetched(&rkt);
    let pod = rkt.start(&[&name, "--", "sleep"]);
    for file in files(&rkt.data()) {
        if file.ends_with("index") || file.ends_with("tar") {
            let path = rkt.data().join(file);
            thaw(&path);
            let last = fs::metadata(&path).unwrap().len() - 1;
            flip(&path, last);
        }
    }
    repair(&rkt, &[&id]).ok();
    rkt.rkt(&["image", "verify"]).ok();
    rkt.run(&[&name, "--", "exit", "3"]).ends_with(3);
    assert_eq!(pod.state(), "running");
    drop(pod);
}

#[test]
fn an_image_of_appc_is_made_again_too() {
    let Some(rkt) = Rkt::needs(&[Need::Tool("chattr")]) else {
        return;
    };
    let aci = Aci::with_probe("example.com/app", &[Entry::file("which", "aci\n")]);
    let path = super::aci::file(&rkt, "one", &aci);
    rkt.rkt(&["fetch", "--quiet", UNSIGNED, &path]).ok();
    for file in files(&rkt.data()) {
        let at = rkt.data().join(&file);
        let size = fs::metadata(&at).unwrap().len();
        if size == 0 {
            continue;
        }
        flip(&at, size / 2);
        rkt.rkt(&["image", "verify"]).ends_with(1);
        repair(&rkt, &[UNSIGNED]).ok();
        rkt.rkt(&["image", "verify"]).ok();
    }
    assert_eq!(
        rkt.run(&[UNSIGNED, &path, "--", "cat", "/which"]).ok(),
        "aci\n"
    );
    // What nobody has signed comes again only with the word that took it.
    let tar = files(&rkt.data())
        .into_iter()
        .find(|f| f.ends_with("tar"))
        .unwrap();
    let tar = rkt.data().join(tar);
    thaw(&tar);
    flip(&tar, 100);
    repair(&rkt, &[])
        .ends_with(254)
        .is_one_clear_error()
        .says("signature");
}
