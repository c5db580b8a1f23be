//! Which way dependencies point: `cargo metadata` against the table of ARCHITECTURE.md.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// A crate of ours, and which others of ours it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("rkt-spec", &[]),
    ("rkt-sys", &[]),
    ("rkt-store", &["rkt-spec", "rkt-sys"]),
    ("rkt-pod", &["rkt-spec", "rkt-sys"]),
    ("rkt-isolate", &["rkt-spec", "rkt-sys"]),
    ("rkt-net", &["rkt-spec", "rkt-sys"]),
    (
        "rkt-stage0",
        &[
            "rkt-spec",
            "rkt-sys",
            "rkt-store",
            "rkt-pod",
            "rkt-isolate",
            "rkt-net",
        ],
    ),
    (
        "rkt-stage1",
        &[
            "rkt-spec",
            "rkt-sys",
            "rkt-pod",
            "rkt-isolate",
            "rkt-net",
            "rkt-stage2",
        ],
    ),
    ("rkt-stage2", &["rkt-spec", "rkt-sys", "rkt-isolate"]),
    ("rkt-probe", &["rkt-sys"]),
];

/// Crates of others that a crate of ours may use by name; the rest may use what it likes.
const EXTERNAL: &[(&str, &[&str])] = &[
    ("rkt-spec", &["serde"]),
    ("rkt-sys", &["rustix", "libc"]),
    ("rkt-stage1", &["rustix", "libc"]),
    ("rkt-stage2", &["rustix", "libc"]),
    ("rkt-probe", &["rustix"]),
];

/// Nothing of this may be in the supervisor, however deep: it reads no foreign bytes and has one thread.
const NEVER_IN_STAGE1: &[&str] = &[
    "clap",
    "flate2",
    "hyper",
    "indicatif",
    "rustls",
    "serde_json",
    "sha2",
    "tar",
    "tokio",
    "ureq",
    "zlib-rs",
    "zstd",
];

struct Packages {
    by_name: BTreeMap<String, Value>,
}

impl Packages {
    fn read() -> Self {
        let out = Command::new(env!("CARGO"))
            .args([
                "metadata",
                "--format-version=1",
                "--no-deps",
                "--offline",
                "--locked",
            ])
            .current_dir(super::top())
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        let all: Value = serde_json::from_slice(&out.stdout).unwrap();
        let by_name = all["packages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| (p["name"].as_str().unwrap().to_owned(), p.clone()))
            .collect();
        Self { by_name }
    }

    /// Direct dependencies of the built crate; those of its tests are not the crate's.
    fn dependencies(&self, name: &str) -> BTreeSet<String> {
        let package = self
            .by_name
            .get(name)
            .unwrap_or_else(|| panic!("no crate {name}"));
        package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|d| d["kind"].is_null())
            .map(|d| d["name"].as_str().unwrap().to_owned())
            .collect()
    }
}

#[test]
fn dependencies_point_one_way() {
    let packages = Packages::read();
    for (name, allowed) in MAY_USE {
        for used in packages
            .dependencies(name)
            .iter()
            .filter(|d| d.starts_with("rkt"))
        {
            assert!(
                allowed.contains(&used.as_str()),
                "{name} may not know {used}"
            );
        }
    }
    let known: BTreeSet<&str> = MAY_USE
        .iter()
        .map(|(n, _)| *n)
        .chain(["rkt", "rkt-tests", "rkt-bench"])
        .collect();
    for name in packages.by_name.keys() {
        assert!(
            known.contains(name.as_str()),
            "{name} has no row in the table"
        );
    }
}

#[test]
fn the_lower_crates_use_few_others() {
    let packages = Packages::read();
    for (name, allowed) in EXTERNAL {
        for used in packages
            .dependencies(name)
            .iter()
            .filter(|d| !d.starts_with("rkt"))
        {
            assert!(
                allowed.contains(&used.as_str()),
                "{name} may not use {used}"
            );
        }
    }
}

#[test]
fn the_supervisor_has_no_parser_of_foreign_bytes() {
    let out = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--package=rkt-stage1",
            "--edges=normal",
            "--prefix=none",
            "--format={p}",
            "--offline",
            "--locked",
        ])
        .current_dir(super::top())
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let names: BTreeSet<&str> = text.lines().filter_map(|l| l.split(' ').next()).collect();
    assert!(names.contains("rkt-sys"), "{text}");
    for never in NEVER_IN_STAGE1 {
        assert!(!names.contains(never), "the supervisor has {never}");
    }
}

#[test]
fn every_crate_keeps_the_lints_of_the_workspace() {
    for entry in super::files::crates() {
        let text = std::fs::read_to_string(entry.join("Cargo.toml")).unwrap();
        assert!(
            text.contains("[lints]\nworkspace = true"),
            "{}",
            entry.display()
        );
    }
}
