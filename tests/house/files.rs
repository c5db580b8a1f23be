//! Sizes of files, names of things, and where `unsafe` may be.

use std::fs;
use std::path::{Path, PathBuf};

/// Longest file, in lines; tables and tests may be longer.
const LONGEST: usize = 600;
/// Median of all files.
const MEDIAN: usize = 200;
/// Tables: long because they are lists.
const TABLES: &[&str] = &[
    "crates/rkt/src/args/table.rs",
    "crates/probe/src/attack/table.rs",
];
/// Names that say nothing.
const NAMES: &[&str] = &[
    "util", "utils", "common", "helper", "helpers", "manager", "misc",
];
/// Words that belong to other engines; the word of ours is beside it.
const WORDS: &[(&str, &str)] = &[
    ("Container", "app or pod"),
    ("Shim", "launcher or init"),
    ("Bundle", "plan"),
    ("Util", "a verb"),
];

/// Directories of all crates.
pub fn crates() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(super::top().join("crates"))
        .unwrap()
        .flatten()
        .map(|e| e.path())
        .collect();
    all.extend(["tests", "bench"].map(|d| super::top().join(d)));
    all.into_iter()
        .filter(|d| d.join("Cargo.toml").exists())
        .collect()
}

/// Every source file: its path from the top, and its text.
fn sources() -> Vec<(String, String)> {
    let mut todo = crates();
    let mut found = Vec::new();
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() && path.file_name().is_some_and(|n| n != "target") {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path
                    .strip_prefix(super::top())
                    .unwrap()
                    .display()
                    .to_string();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// Whether a file is only tests.
fn is_test(name: &str) -> bool {
    name.starts_with("tests/")
        || Path::new(name).components().any(|c| {
            let c = c.as_os_str();
            c == "tests" || c == "tests.rs"
        })
}

#[test]
fn files_are_short() {
    let mut lengths = Vec::new();
    let mut long = Vec::new();
    for (name, text) in sources() {
        let lines = text.lines().count();
        lengths.push(lines);
        if lines > LONGEST && !is_test(&name) && !TABLES.contains(&&*name) {
            long.push(format!("{name}: {lines}"));
        }
    }
    assert!(long.is_empty(), "longer than {LONGEST} lines: {long:#?}");
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    assert!(median <= MEDIAN, "the median file has {median} lines");
}

#[test]
fn unsafe_is_in_sys_only() {
    for dir in crates() {
        if dir.ends_with("sys") {
            continue;
        }
        let roots: Vec<PathBuf> = ["src/lib.rs", "src/main.rs", "harness/lib.rs"]
            .iter()
            .map(|f| dir.join(f))
            .filter(|f| f.exists())
            .collect();
        assert!(
            !roots.is_empty() || dir.ends_with("bench"),
            "{}",
            dir.display()
        );
        for root in roots {
            let text = fs::read_to_string(&root).unwrap();
            assert!(
                text.contains("#![forbid(unsafe_code)]"),
                "{} does not forbid unsafe code",
                root.display()
            );
        }
    }
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    for (name, text) in sources()
        .into_iter()
        .filter(|(n, _)| n.starts_with("crates/sys/"))
    {
        let lines: Vec<&str> = text.lines().collect();
        for (i, line) in lines
            .iter()
            .enumerate()
            .filter(|(_, l)| l.contains("unsafe {"))
        {
            let near = &lines[i.saturating_sub(8)..=i];
            assert!(
                near.iter().any(|l| l.contains("SAFETY:")),
                "{name}:{}: {line}",
                i + 1
            );
        }
        let empty = [
            "parameters are valid",
            "arguments are valid",
            "this is safe",
        ];
        assert!(
            empty.iter().all(|e| !text.to_lowercase().contains(e)),
            "{name} has an empty SAFETY comment"
        );
    }
}

#[test]
fn names_say_what_a_thing_is_for() {
    for (name, text) in sources() {
        for part in Path::new(&name).with_extension("").components() {
            let part = part.as_os_str().to_string_lossy().into_owned();
            assert!(
                !NAMES.contains(&part.as_str()),
                "{name}: nothing is called `{part}`"
            );
        }
        if name.starts_with("tests/house/") {
            continue;
        }
        for (i, line) in text.lines().enumerate() {
            let code = line.trim_start();
            let declares = ["struct ", "enum ", "trait ", "mod ", "fn ", "type "]
                .iter()
                .find_map(|k| {
                    code.split_once(k)
                        .filter(|(before, _)| before.is_empty() || before.starts_with("pub"))
                });
            let Some((_, rest)) = declares else { continue };
            let named: String = rest
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            for (word, better) in WORDS {
                let found =
                    named.contains(word) || named.split('_').any(|w| w == word.to_lowercase());
                assert!(!found, "{name}:{}: `{named}`: say {better}", i + 1);
            }
        }
    }
}

#[test]
fn nothing_is_left_to_do() {
    // Built from halves, so that this file is not found by itself.
    let words = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["XX", "X:"],
        ["#[ign", "ore"],
        ["unimpl", "emented!"],
        ["to", "do!("],
    ]
    .map(|w| w.concat());
    for (name, text) in sources() {
        for (i, line) in text.lines().enumerate() {
            for word in &words {
                assert!(!line.contains(word.as_str()), "{name}:{}: {line}", i + 1);
            }
        }
    }
}

#[test]
fn libraries_read_no_environment() {
    let rooms = [
        "spec", "sys", "store", "pod", "isolate", "net", "stage0", "stage2",
    ];
    for (name, text) in sources() {
        if is_test(&name)
            || !rooms
                .iter()
                .any(|r| name.starts_with(&format!("crates/{r}/src")))
        {
            continue;
        }
        // What comes after the module of tests is not the library's.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for call in ["env::var(", "env::var_os(", "env::vars(", "env::vars_os("] {
            assert!(!code.contains(call), "{name} reads the environment");
        }
    }
}

#[test]
fn every_file_begins_with_what_it_is_for() {
    let silent: Vec<String> = sources()
        .into_iter()
        .filter(|(name, text)| !text.starts_with("//! ") && !name.ends_with("tests.rs"))
        .map(|(name, _)| name)
        .collect();
    assert!(silent.is_empty(), "no first sentence: {silent:#?}");
}
