//! Documents name tests and files: they are there.

use super::defences::{exists, is_module};
use std::fs;
use std::path::PathBuf;

/// Where a document's names of tests begin.
const MODULES: [&str; 7] = [
    "isolation",
    "pods",
    "images",
    "life",
    "net",
    "promises",
    "cve",
];

/// The documents that say which test holds what.
fn documents() -> Vec<PathBuf> {
    let top = super::top();
    let mut all = vec![top.join("SPECIFICATION.md"), top.join("docs/cve.md")];
    let more = fs::read_dir(top.join("docs/reference")).unwrap().flatten();
    all.extend(more.map(|e| e.path()));
    all
}

/// Words in back-ticks.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// What a line names and there is not.
fn missing(line: &str) -> Vec<String> {
    let mut gone = Vec::new();
    let mut module = String::new();
    for word in quoted(line) {
        let begins = MODULES.iter().any(|m| word.starts_with(&format!("{m}::")));
        let plain = word
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_:".contains(&b));
        if plain && begins {
            if is_module(word) {
                module = word.to_owned();
                continue;
            }
            let (of, _) = word.rsplit_once("::").unwrap_or_default();
            module = of.to_owned();
            gone.extend((!exists(word)).then(|| word.to_owned()));
        } else if plain && let Some(name) = word.strip_prefix("::") {
            // The same module as the one before, or one above it.
            let whole = format!("{module}::{name}");
            gone.extend((!exists(&whole)).then_some(whole));
        } else if word.starts_with("crates/") && word.ends_with(".rs") {
            gone.extend((!super::top().join(word).exists()).then(|| word.to_owned()));
        }
    }
    gone
}

#[test]
fn every_test_and_file_that_a_document_names_is_there() {
    let mut names = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for (n, line) in text.lines().enumerate() {
            let gone = missing(line);
            assert!(
                gone.is_empty(),
                "{}:{}: there is no {gone:?}",
                document.display(),
                n + 1
            );
            names += quoted(line).filter(|w| w.contains("::")).count();
        }
    }
    assert!(names > 150, "only {names} names were found");
    assert_eq!(missing("`isolation::siblings::nobody`").len(), 1);
    assert_eq!(missing("`isolation::siblings`, `::nobody`").len(), 1);
    assert_eq!(missing("`crates/nobody.rs`").len(), 1);
}

/// Ids of a row's first cell: `CVE-2019-16884, -19921` are two.
fn ids(line: &str) -> Vec<String> {
    let cell = line.split('|').nth(1).unwrap_or_default();
    let mut year = String::new();
    let mut all = Vec::new();
    for word in cell.split([',', ' ']).filter(|w| !w.is_empty()) {
        if let Some((y, number)) = word.strip_prefix("CVE-").and_then(|w| w.split_once('-')) {
            y.clone_into(&mut year);
            all.push(format!("CVE-{y}-{number}"));
        } else if let Some(number) = word.strip_prefix('-').filter(|_| !year.is_empty()) {
            all.push(format!("CVE-{year}-{number}"));
        } else if word.starts_with("GHSA-") {
            all.push(word.to_owned());
        }
    }
    all
}

#[test]
fn every_known_hole_has_one_row_with_an_answer() {
    let text = fs::read_to_string(super::top().join("docs/cve.md")).unwrap();
    let rows: Vec<&str> = text.lines().filter(|l| l.starts_with("| ")).collect();
    let all: Vec<String> = rows.iter().flat_map(|l| ids(l)).collect();
    assert!(all.len() > 70, "{}", all.len());
    for id in &all {
        assert_eq!(all.iter().filter(|other| *other == id).count(), 1, "{id}");
    }
    for row in rows.iter().filter(|l| !ids(l).is_empty()) {
        // A test, or a word that says why there is none.
        let says = [
            "::",
            "`crates/",
            "no test yet",
            "not yet",
            " no",
            "unit tests",
        ];
        assert!(says.iter().any(|w| row.contains(w)), "{row}");
    }
    assert_eq!(ids("| CVE-2019-1, -22, GHSA-a-b | x |").len(), 3);
}
