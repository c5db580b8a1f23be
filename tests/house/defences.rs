//! The table of defences names tests: they are there.

use rkt_isolate::defences::DEFENCES;
use std::fs;
use std::path::PathBuf;

fn files(module: &str) -> [PathBuf; 2] {
    let (top, path) = (super::top(), module.replace("::", "/"));
    [
        top.join(format!("tests/{path}.rs")),
        top.join(format!("tests/{path}/mod.rs")),
    ]
}

/// Whether `isolation::siblings` is a file of tests.
pub(crate) fn is_module(name: &str) -> bool {
    files(name).iter().any(|p| p.exists())
}

/// `isolation::siblings::name` is `fn name` in `tests/isolation/siblings.rs` or its `mod.rs`.
pub(crate) fn exists(test: &str) -> bool {
    let Some((modules, function)) = test.rsplit_once("::") else {
        return false;
    };
    let places = files(modules);
    let texts = places.iter().filter_map(|p| fs::read_to_string(p).ok());
    let head = format!("#[test]\nfn {function}() {{");
    texts.into_iter().any(|text| text.contains(&head))
}

#[test]
fn every_defence_is_missed_by_a_test() {
    for d in DEFENCES {
        for test in d.tests {
            assert!(exists(test), "{}: there is no test {test}", d.id);
        }
    }
    assert!(!exists("isolation::siblings::no_such_test"));
}
